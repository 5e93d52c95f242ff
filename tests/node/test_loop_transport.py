"""The research loop where things go wrong: faults, pauses, voids, many slots, lost checkpoints.

The trainer here is a fake: these tests are about the transport of jobs between slots, ledger and
trainer, under a clock that runs fast. What real trainers do is tested end to end.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from gossip.ledger import Ledger
from node.experiment import Bench
from node.loop import Researcher
from skep.errors import SandboxError, SkepError, TrainerFault
from skep.events import Event, Judged, Started
from skep.ports import Code, Draw, Order, Outcome, Progress, Scored, Subject
from skep.records import Status, program_id
from strategies.tune import Tune
from tests.factories import CPU
from tests.gossip.scenes import KEY, SWARM
from tests.node.recorded import SEED_PROGRAM, STORIES

Plan = Callable[[int, Order], Status | Exception]
"""What becomes of an order, from its number among those of its slot and the order itself."""


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """A second passes in a millisecond. (Jumping clocks do not see that a thread is writing.)"""
    return trio.testing.MockClock(rate=1000)


class FakeExecutor:
    """Trains in no real time; scores depend on the program alone, plus noise."""

    environment = CPU

    def __init__(self, slots: int, plan: Plan, seconds: float = 20.0) -> None:
        self.slots = slots
        self._plan = plan
        self._seconds = seconds
        self._rng = random.Random(1)
        self.running: Counter[str] = Counter()
        self.orders: Counter[int] = Counter()
        self.scored: list[tuple[Path, int]] = []

    def refusal(self, code: Code) -> SandboxError | None:
        return None

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def train(self, slot: int, order: Order, report: Callable[[Progress], None]) -> Outcome:
        self.orders[slot] += 1
        number = self.orders[slot]
        self.running[order.job] += 1
        assert self.running[order.job] == 1, "one job runs twice at once"
        try:
            await trio.sleep(self._seconds * self._rng.uniform(0.5, 1.5))
        finally:
            self.running[order.job] -= 1
        status = self._plan(number, order)
        if isinstance(status, Exception):
            raise status
        checkpoint = order.folder / "checkpoint.safetensors"
        if status == "done":
            checkpoint.touch()
        return Outcome(status=status, reason=status, steps=9, checkpoint=checkpoint)

    async def score(
        self, slot: int, subjects: Sequence[Subject], draws: Sequence[Draw], *, probe: bool
    ) -> list[Scored]:
        await trio.sleep(1)
        self.scored += [(one.checkpoint, draw.seed) for one in subjects for draw in draws]
        return [Scored(tuple(self._micro(subject.source) for _ in draws)) for subject in subjects]

    def _micro(self, source: str) -> int:
        level = 2_000_000 + program_id(source)[0] * 200
        return level + round(self._rng.gauss(0, 10_000))


async def research(
    home: Path, executor: FakeExecutor, proposals: int, *, limit_s: float = 1e5
) -> list[Event]:
    """Events of a search on a home; it must end by itself within the limit of virtual time."""
    events: list[Event] = []
    async with Ledger.open(home, KEY, swarm=SWARM, clock=lambda: 0) as ledger:
        researcher = Researcher(
            ledger=ledger,
            bench=Bench(STORIES, executor, home / "runs", executor.environment),
            strategies=[Tune()],
            author=KEY.public,
            proposals=proposals,
            emit=events.append,
        )
        with trio.fail_after(limit_s):
            await researcher.run()
        runs = Counter((run.program, run.seed) for _, run in ledger.runs(STORIES.id))
        assert max(runs.values()) == 1, "no program runs twice with a seed"
        assert not ledger.jobs(), "no job is left over"
    return events


def verdicts(events: list[Event]) -> list[Judged]:
    return [event for event in events if isinstance(event, Judged)]


@pytest.mark.parametrize("slots", [1, 2, 8])
async def test_however_many_slots_every_proposal_is_compared_and_judged(
    tmp_path: Path, fast_clock: trio.testing.MockClock, slots: int
) -> None:
    events = await research(tmp_path, FakeExecutor(slots, lambda *_: "done"), 12)
    assert len(verdicts(events)) == 12
    assert not [one for one in verdicts(events) if "no run" in one.reason]


async def test_faults_of_our_own_helpers_repeat_the_job(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    def plan(number: int, _: Order) -> Status | Exception:
        return TrainerFault("the spawner died") if number % 2 == 0 else "done"

    events = await research(tmp_path, FakeExecutor(3, plan), 10)
    assert len(verdicts(events)) == 10
    starts = Counter(event.job for event in events if isinstance(event, Started))
    assert max(starts.values()) > 1, "the job itself, not another in its place"


async def test_helpers_that_always_fail_end_the_node(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await research(tmp_path, FakeExecutor(2, lambda *_: TrainerFault("no torch")), 1)
    assert caught.group_contains(TrainerFault, match="no torch")


async def test_a_candidate_killed_again_and_again_is_judged(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    start = program_id(SEED_PROGRAM)

    def plan(_: int, order: Order) -> Status:
        return "done" if program_id(order.source) == start else "killed"

    events = await research(tmp_path, FakeExecutor(2, plan), 3)
    assert [one.verdict for one in verdicts(events)] == ["crash"] * 3


async def test_a_void_screen_gets_one_more_chance(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    start, tried = program_id(SEED_PROGRAM), Counter[bytes]()

    def plan(_: int, order: Order) -> Status:
        program = program_id(order.source)
        tried[program] += 1
        return "void" if program != start and tried[program] == 1 else "done"

    events = await research(tmp_path, FakeExecutor(2, plan), 5)
    assert len(verdicts(events)) == 5
    assert not [one for one in verdicts(events) if one.verdict == "crash"]


async def test_a_baseline_that_never_holds_its_budget_ends_the_node(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await research(tmp_path, FakeExecutor(1, lambda *_: "void"), 1)
    assert caught.group_contains(SkepError, match="overshot its budget 6 times in a row")


async def test_lost_checkpoints_are_made_again_before_anything_is_judged(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    await research(tmp_path, FakeExecutor(2, lambda *_: "done"), 2)
    for path in (tmp_path / "runs").glob("*/checkpoint.safetensors"):
        path.unlink()
    events = await research(tmp_path, FakeExecutor(2, lambda *_: "done"), 4)
    assert [e.purpose for e in events if isinstance(e, Started)][:2] == ["baseline", "baseline"]
    assert not [one for one in verdicts(events) if "no run" in one.reason]


async def test_nothing_is_scored_twice_on_one_draw(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    executor = FakeExecutor(1, lambda *_: "done")
    await research(tmp_path, executor, 15)
    assert max(Counter(executor.scored).values()) == 1


async def test_an_unrecordable_score_is_a_verdict_not_the_end(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    class Diverging(FakeExecutor):
        def _micro(self, source: str) -> int:
            return 2_000_000 if source == SEED_PROGRAM else 33_000_000

    events = await research(tmp_path, Diverging(2, lambda *_: "done"), 2)
    assert [one.verdict for one in verdicts(events)] == ["crash"] * 2
    assert all("32 bits" in one.reason for one in verdicts(events))


async def test_seeds_of_one_device_are_not_used_again_on_another(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    await research(tmp_path, FakeExecutor(2, lambda *_: "done"), 1)
    faster = FakeExecutor(2, lambda *_: "done")
    faster.environment = replace(CPU, probe_ns=CPU.probe_ns // 8)
    await research(tmp_path, faster, 1)
    with Ledger.read(tmp_path) as ledger:
        runs = [run for _, run in ledger.runs(STORIES.id)]
    assert len({run.environment.probe_ns for run in runs}) == 2
    assert len({(run.program, run.seed) for run in runs}) == len(runs)
