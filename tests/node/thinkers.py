"""Nodes in a test whose ideas come from a scripted model behind a real HTTP server.

Everything between the server and the slots is what ships; the trainer is the fake of
`test_loop_transport`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from gossip.ledger import Ledger
from node.arm import Arm
from node.asking import Find
from node.config import Settings
from node.experiment import Bench
from node.gate import Gate, Gated
from node.home import Home
from node.loop import Researcher
from node.outgoing import scanner_of, wording
from node.plan import Wait
from skep.events import Event, Said
from skep.ports import Executor, Strategy
from skep.records import Note, Run, SignedRecord
from strategies.adopt import Adopt
from strategies.llm import Ideas, Llm
from strategies.ollama import find_model
from strategies.servers import Patience
from strategies.tune import Tune
from tests.factories import CPU
from tests.gossip.scenes import KEY, SWARM
from tests.node.recorded import STORIES
from tests.node.strangers import deliver
from tests.node.test_adopt_transport import examine

FOREVER = Patience(connect=1e6, answer=1e6, first=1e6, silence=1e6, whole=1e6, unload=1e6)
"""Under a clock that runs fast no real socket is in time."""


def function(hypothesis: str, *body: str) -> str:
    """An idea in the format that a model of 7 billion parameters is asked for."""
    rows = "".join(f"    {row}\n" for row in body)
    return f"IDEA: {hypothesis}\n```python\ndef train(run):\n{rows}```\n"


def role_of(asked: dict[str, Any]) -> str:
    """What a model is asked to be, by the last thing that it is told."""
    last = asked["messages"][-1]["content"]
    for role, words in {
        "planner": "You write no\ncode",
        "critic": "Judge the experiment above",
        "repair": "this could not be used",
        "mend": "The run failed",
    }.items():
        if words in last:
            return role
    return "coder"


def at(url: str, patience: Patience = FOREVER) -> Find:
    """Finds the model of a server."""
    return lambda: find_model(url, None, None, patience)


class Watched(Researcher):
    """A researcher whose idle slots are counted."""

    waits = 0

    async def _decide(self) -> Any:
        choice = await super()._decide()
        self.waits += isinstance(choice, Wait)
        return choice


class Thinker:
    """A node on a home, its model's arm, and all that happened."""

    def __init__(
        self, ledger: Ledger, researcher: Watched, arm: Arm, events: list[Event], ideas: Ideas
    ) -> None:
        self.ledger = ledger
        self.researcher = researcher
        self.arm = arm
        self.events = events
        self.ideas = ideas

    @property
    def runs(self) -> list[Run]:
        return [run for _, run in self.ledger.runs(STORIES.id)]

    def of(self, strategy: str) -> list[Run]:
        return [run for run in self.runs if run.strategy == strategy]

    @property
    def said(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Said)]

    @property
    def notes(self) -> list[Note]:
        found = self.ledger.said_by(KEY.public, STORIES.id, "note")
        return [one.record.payload for one in found if isinstance(one.record.payload, Note)]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - no event says so, and none is needed but for tests
            await trio.sleep(1)


@asynccontextmanager
async def thinker(
    folder: Path,
    executor: Executor,
    find: Find,
    *before: SignedRecord,
    proposals: int | None = None,
    gate: Gate | None = None,
    settings: Settings | None = None,
    extra: tuple[Strategy, ...] = (Tune(),),
    limit_s: float = 5e4,
) -> AsyncIterator[Thinker]:
    """A node that researches and thinks within the block, at the latest until the limit."""
    events: list[Event] = []
    arms: list[Arm] = []

    def emit(event: Event) -> None:
        events.append(event)
        for arm in arms:
            arm.thinking.take(event)

    async with Ledger.open(folder, KEY, swarm=SWARM, clock=lambda: 0) as ledger:
        await deliver(ledger, *before)
        ideas = Ideas()
        settings = settings or Settings(home=folder)
        scanner = scanner_of(settings, KEY.seed, f"{STORIES.seed_program}{STORIES.name}")
        ledger.wording = wording(scanner, emit)
        bench = Bench(STORIES, Gated(executor, gate) if gate else executor, folder / "runs", CPU)
        researcher = Watched(
            ledger=ledger,
            bench=bench,
            strategies=[Adopt(), Llm(ideas), *extra],
            author=KEY.public,
            proposals=proposals,
            emit=emit,
            examine=examine,
        )
        arm = Arm(
            settings=settings,
            home=Home(folder),
            author=KEY.public,
            ledger=ledger,
            bench=bench,
            researcher=researcher,
            ideas=ideas,
            gate=gate,
            scanner=scanner,
            clock=lambda: 0,
            emit=emit,
            find=find,
        )
        arms.append(arm)
        with trio.fail_after(limit_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(arm.run)
                nursery.start_soon(researcher.run)
                yield Thinker(ledger, researcher, arm, events, ideas)
                nursery.cancel_scope.cancel()
