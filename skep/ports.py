"""Protocols between the rooms: what a strategy sees, what an executor does.

These are the only types that `strategies`, `trainer`, `gossip` and `node` share besides the
records. Values are frozen; the Protocols have several implementations or a verified fake.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from skep.errors import SandboxError
from skep.records import Edit, Environment, Split, Status

Code = Literal["knob", "own", "stranger"]
"""How far a program is trusted: see `trainer.policy`."""

ADOPT = "adopt"
"""Strategy of runs that try what a peer offers; what such a program leads to stays a stranger's."""

REPLICATE = "replicate"
"""Strategy of runs that try the edit of a peer's claim, as evidence for the swarm."""

FOREIGN = frozenset({ADOPT, REPLICATE})
"""Strategies whose programs come from peers."""

ABLATE = "ablate"
"""Strategy of runs that leave one kept edit out; see `skep.evidence.rules` for what they must show.
"""

Direction = Literal["min", "max"]
BETTER: dict[Direction, str] = {"min": "lower is better", "max": "higher is better"}
"""A direction in words."""


class Knob(Struct, frozen=True):
    """A constant of the seed program that may be set without trusting anybody: type and range."""

    type: Literal["int", "float", "floats"]
    low: float
    high: float


class TaskFacts(Struct, frozen=True, kw_only=True):
    """What the rest of the node needs to know of a task.

    Attributes:
        name: short name, e.g. `stories`.
        id: 32-byte task id (TRAINING: prepare.py, seed program, task.toml, budget, data manifest).
        metric: name of the number, e.g. `val_bpb`.
        direction: whether less or more of it is better.
        scored_by: `harness` (split scorer) or `program` (prints its own number).
        budget_ms: reference-milliseconds on CPU, wall-clock on GPU; 0 where the program decides.
        sigma: prior noise floor, as a fraction of the metric's value.
        noise: the same in units of the metric, for metrics that may be near zero.
        seed_program: source of the program the search starts from.
        deny: names of constants that no strategy may touch.
        knob_program: the task's own seed program, if it ships with Skep; else empty. It differs
            from `seed_program` where the user gave another to start from.
        knobs: its safe constants by name.
    """

    name: str
    id: bytes
    metric: str
    direction: Direction
    scored_by: Literal["harness", "program"]
    budget_ms: int
    sigma: float
    seed_program: str
    noise: float | None = None
    deny: tuple[str, ...] = ()
    knob_program: str = ""
    knobs: Mapping[str, Knob] = {}


class Trial(Struct, frozen=True, kw_only=True):
    """Everything the ledger knows of one program, as a strategy sees it.

    Attributes:
        program: content id.
        source: its text.
        values: scores on the pinned draw, in units of the metric, one per finished run, as
            recorded (not sign-flipped: see `TaskFacts.direction`).
        failed: how many of its runs ended in anything but `done` or `void`.
    """

    program: bytes
    source: str
    values: tuple[float, ...]
    failed: int


class Offer(Struct, frozen=True, kw_only=True):
    """A program that a peer of the same task and tier found better; nothing of it is tested here.

    Attributes:
        program: content id.
        theirs: its text, which was examined in a limited child.
        base: text of the program from which on it is news to the champion; empty where it shall
            take the champion's place as it is.
        source: what to try: the champion with what is new in theirs, or theirs.
        fingerprint: of that; see `skep.fingerprint`.
        author: public key of the peer whose word this is.
        name: what people call that peer.
        note: the author's hypothesis, one line; may be empty.
        claim: id of the author's claim that running `source` replicates, if it does.
        estimate: how much better than the champion it is by the author's own numbers, in units of
            the metric; negative is better. It orders offers and is never shown as an effect.
        held, failed: how many of the author's earlier offers this machine kept, and how many not.
        recent: how many of the latest offers that were tried here were this author's.
        rooted: whether the champion holds an earlier find of the author's.
    """

    program: bytes
    theirs: str
    base: str
    source: str
    fingerprint: bytes
    author: bytes
    name: str
    note: str
    claim: bytes | None
    estimate: float
    held: int
    failed: int
    recent: int
    rooted: bool = False

    @property
    def balance(self) -> int:
        """How much more of its author's held here than failed."""
        return self.held + self.rooted - self.failed

    @property
    def doubtful(self) -> bool:
        """Whether more of its author's offers failed here than held."""
        return self.balance < 0


class Find(Struct, frozen=True, kw_only=True):
    """An edit that helped a program, which may be another than the champion of today.

    Attributes:
        program: content id of the program with it.
        source: its text.
        base: text of the program that the edit was made from.
        effect: by runs of this machine, units of the metric; negative is better.
        chance: probability that it helps at all.
    """

    program: bytes
    source: str
    base: str
    effect: float
    chance: float


class Step(Struct, frozen=True, kw_only=True):
    """A kept edit, which the champion may hold: what could be left out by itself.

    Attributes:
        program: content id of the program with which it was kept.
        name: of the constant that it sets, where several came in one step; else empty.
        source: a program with it.
        base: the same without.
        effect: by runs of this machine when it was kept, units of the metric; negative is better.
            Of several in one step each has its equal part.
        spread: standard deviation of the whole step's effect.
        since: how many steps were kept after leaving it out was last judged; None if it never was.
    """

    program: bytes
    name: str
    source: str
    base: str
    effect: float
    spread: float
    since: int | None = None


class Arm(Struct, frozen=True):
    """What a strategy has brought so far; older experiments count less.

    Attributes:
        tried: settled experiments.
        gained: of what was kept of them, in noise floors.
        seconds: that they took.
    """

    tried: float = 0.0
    gained: float = 0.0
    seconds: float = 0.0


class View(Struct, frozen=True, kw_only=True):
    """Immutable snapshot of ledger and node for one decision of a strategy.

    Attributes:
        task: facts of the task.
        champion: content id of the program that this node builds on.
        champion_source: its text.
        trials: all programs ever run here under this task and tier, oldest first.
        pending: sources of programs that are queued or running now.
        fingerprints: of everything run, pending or announced; never propose these again.
        sigma: noise floor now, in units of the metric.
        seed: for all randomness of this decision: same view, same proposal.
        offers: of peers, where this decision is about them; else none.
        claims: of peers, where it is about re-running one of them, in the order of their worth.
        finds: edits that helped, most of all first; the champion may hold them already.
        steps: edits that were kept, oldest first; none while one is being left out, or ablations
            have had their share of the runs.
        foreign: whether the champion holds text of strangers.
        stuck: whether so many ideas in a row have failed that it is time to look farther away.
    """

    task: TaskFacts
    champion: bytes
    champion_source: str
    trials: tuple[Trial, ...]
    pending: tuple[str, ...]
    fingerprints: frozenset[bytes]
    sigma: float
    seed: int
    offers: tuple[Offer, ...] = ()
    claims: tuple[Offer, ...] = ()
    finds: tuple[Find, ...] = ()
    steps: tuple[Step, ...] = ()
    foreign: bool = False
    stuck: bool = False


class Proposal(Struct, frozen=True, kw_only=True):
    """A program that a strategy wants judged against the champion it was made from.

    `claim` is the record id of a peer's claim that running it replicates.
    """

    source: str
    parent: bytes
    edits: tuple[Edit, ...]
    strategy: str
    note: str
    claim: bytes | None = None


class Strategy(Protocol):
    """One way of finding the next experiment. Same view, same proposal."""

    name: str

    def ready(self, view: View) -> bool:
        """Whether it could propose anything at all here."""
        ...

    async def propose(self, view: View) -> Proposal | None:
        """The next experiment, or None when nothing is worth running."""
        ...


class Pace(Struct, frozen=True):
    """What an earlier run of the same program cost on this machine, metered as a whole."""

    steps: int
    spent_ms: int


class Order(Struct, frozen=True, kw_only=True):
    """One experiment for an executor.

    Attributes:
        job: local name of the job; its folder is `runs/<job>` in the home.
        source: the program.
        code: how far it is trusted.
        seed: seed of initialisation and data order.
        budget_ms: reference-milliseconds on CPU, wall-clock on GPU.
        steps: fixed step count to replay (`reproduce`); None buys as many as the budget pays for.
        pace: tells how many that are; without it a calibration finds out.
        folder: where log, curve and checkpoint go; made by the caller.
    """

    job: str
    source: str
    code: Code
    seed: int
    budget_ms: int
    steps: int | None
    folder: Path
    pace: Pace | None = None


class Progress(Struct, frozen=True, kw_only=True):
    """A sign of life of a running experiment (a few a second at most).

    Attributes:
        phase: what is going on.
        step: optimiser steps done.
        steps: planned steps, 0 if unknown.
        loss: last training loss, None if unknown.
        left_s: estimated seconds until training ends, None if unknown.
    """

    phase: Literal["starting", "calibrating", "training", "scoring"]
    step: int = 0
    steps: int = 0
    loss: float | None = None
    left_s: float | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """How one training ended. A candidate's failure is a value, never an exception.

    Attributes:
        status: see `skep.records.Status`; `void` when the budget was overshot or the job paused.
        reason: one line for humans, empty when done.
        steps, tokens, spent_ms, train_ms, total_ms, peak_kib, parameters: as in `Run`.
        weights: SHA-256 of the checkpoint file, None without one.
        checkpoint: the checkpoint file, None without one.
        curve: (step, training loss) samples, at most 500.
        log_tail: last lines of what the program printed.
        own_micro: for tasks scored by the program itself: its number in micro-units.
        paused: the job spanned a pause: `void`, to be repeated and never recorded.
    """

    status: Status
    reason: str = ""
    steps: int = 0
    tokens: int = 0
    spent_ms: int = 0
    train_ms: int = 0
    total_ms: int = 0
    peak_kib: int = 0
    parameters: int = 0
    weights: bytes | None = None
    checkpoint: Path | None = None
    curve: tuple[tuple[int, float], ...] = ()
    log_tail: str = ""
    own_micro: int | None = None
    paused: bool = False


class Subject(Struct, frozen=True):
    """A trained model to be scored: its program, its checkpoint file, how far it is trusted."""

    source: str
    checkpoint: Path
    code: Code


class Draw(Struct, frozen=True):
    """A validation text: `seed` feeds the task's generator (or picks windows of a shard)."""

    seed: int
    split: Split = "dev"


class Scored(Struct, frozen=True):
    """Result of scoring one subject: one value per draw in micro-units, or why there is none."""

    micro: tuple[int, ...]
    fault: str = ""


class Executor(Protocol):
    """Runs experiments on `slots` slots at once. Slots never wait for one another."""

    slots: int

    @property
    def environment(self) -> Environment:
        """The machine, as it goes into every run."""
        ...

    def refusal(self, code: Code) -> SandboxError | None:
        """Why code of a class may not run here; None where it may."""
        ...

    async def pause(self) -> None:
        """Stop every process of every experiment at once; what is in training becomes void."""
        ...

    async def resume(self) -> None:
        """Let everything that `pause` stopped go on."""
        ...

    async def train(self, slot: int, order: Order, report: Callable[[Progress], None]) -> Outcome:
        """Train one program on a slot. Cancelling kills its whole process tree.

        Raises:
            SandboxError: code of that class may not run here.
            TrainerFault: our own helpers failed; the order may be repeated.
        """
        ...

    async def score(
        self, slot: int, subjects: Sequence[Subject], draws: Sequence[Draw], *, probe: bool
    ) -> list[Scored]:
        """Score each subject on each draw with the trusted scorer, in order.

        Args:
            slot: where.
            subjects: the models.
            draws: the texts.
            probe: whether a model that uses what it predicts, or other texts, shall be a fault.
                Finding that out takes a second process for each subject.

        Raises:
            TrainerFault: our own helpers failed; the order may be repeated.
        """
        ...
