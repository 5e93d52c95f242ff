"""What peers offer on its way through the loop: heard, rebuilt, run, adopted, built upon.

The trainer is the fake of `test_loop_transport`, which says how good a program is; everything else
is what ships. What real trainers make of it is tested end to end.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from gossip.ledger import Ledger
from node.experiment import Bench
from node.loop import Researcher
from skep.events import Event, Judged, Said, Started
from skep.patch import apply, fingerprint, make
from skep.ports import Order, Outcome, Strategy
from skep.records import Claim, Edit, Role, Run, SetConstant, SignedRecord, program_id
from strategies.adopt import Adopt, short
from strategies.tune import Tune
from tests.factories import CPU, make_run
from tests.gossip.scenes import KEY, SWARM
from tests.node.recorded import SEED_PROGRAM, STORIES
from tests.node.strangers import BOB, EVE, Stranger, deliver
from tests.node.test_loop_transport import FakeExecutor
from trainer.examination import Examined, Refusal

START = program_id(SEED_PROGRAM)
BETTER = SEED_PROGRAM.replace("return LR", "return LR * 2")
GOOD, BAD = 1_500_000, 2_500_000


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(rate=1000)


async def examine(parent: str, edits: Sequence[Edit], program: bytes) -> Examined | Refusal:
    """The examiner without its child, for clocks that run too fast for processes."""
    source = apply(parent, edits)
    if program_id(source) != program:
        return Refusal("another program")
    return Examined(source, fingerprint(source), None)


class Judging(FakeExecutor):
    """Scores as told; 2 for everything else. Notes the code class of what it runs."""

    def __init__(self, levels: dict[str, int], slots: int = 2) -> None:
        super().__init__(slots, lambda *_: "done")
        self._levels = levels
        self.codes: dict[bytes, set[str]] = {}

    async def train(self, slot: int, order: Order, report: Callable[..., None]) -> Outcome:
        self.codes.setdefault(program_id(order.source), set()).add(order.code)
        return await super().train(slot, order, report)

    def _micro(self, source: str) -> int:
        level = next((n for text, n in self._levels.items() if text in source), 2_000_000)
        return level + round(self._rng.gauss(0, 5_000))


class Home:
    """A node on a home, with what it said and its peers' records."""

    def __init__(self, ledger: Ledger, researcher: Researcher, events: list[Event]) -> None:
        self.ledger = ledger
        self.researcher = researcher
        self.events = events

    async def hears(self, *records: SignedRecord) -> None:
        await deliver(self.ledger, *records)
        self.researcher.heard()

    @property
    def runs(self) -> list[Run]:
        return [run for _, run in self.ledger.runs(STORIES.id)]


async def until(condition: Callable[[], bool]) -> None:
    """Wait under a clock that runs fast; the limit of `node` ends what never comes."""
    while not condition():  # noqa: ASYNC110 - no event says so, and none is needed but for tests
        await trio.sleep(1)


@asynccontextmanager
async def node(
    folder: Path,
    executor: FakeExecutor,
    *before: SignedRecord,
    proposals: int | None = 4,
    role: Role = "full",
    own: Sequence[Strategy] = (Tune(),),
) -> AsyncIterator[Home]:
    events: list[Event] = []
    strategies: list[Strategy] = [Adopt(), *own]
    async with Ledger.open(folder, KEY, swarm=SWARM, clock=lambda: 0) as ledger:
        await deliver(ledger, *before)
        researcher = Researcher(
            ledger=ledger,
            bench=Bench(STORIES, executor, folder / "runs", CPU),
            strategies=strategies,
            author=KEY.public,
            proposals=proposals,
            emit=events.append,
            role=role,
            examine=examine,
        )
        with trio.fail_after(1e5):
            yield Home(ledger, researcher, events)


def finding(author: Stranger, text: str, *edits: Edit, effect: float = -0.5) -> list[SignedRecord]:
    """A screen and the claim it opens."""
    run = make_run("x", strategy="llm", parent=START, edits=edits, pinned=1.5, note="twice")
    shown = author.says(replace(run, program=program_id(text)))
    claim = Claim(
        program=program_id(text),
        parent=START,
        run=shown.id,
        effect=round(effect * 1e6),
        note="twice",
    )
    return [shown, author.says(claim)]


def better(author: Stranger) -> list[SignedRecord]:
    return finding(author, BETTER, *make(SEED_PROGRAM, BETTER))


def settings(author: Stranger, count: int) -> list[SignedRecord]:
    """Claims of that many rates, none of which is any good."""
    rates = [0.01 + number / 1000 for number in range(count)]
    edits = [SetConstant("LR", rate) for rate in rates]
    return [
        record for edit in edits for record in finding(author, apply(SEED_PROGRAM, [edit]), edit)
    ]


async def test_what_a_peer_found_is_rerun_adopted_and_built_upon(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    executor = Judging({"LR * 2": GOOD})
    records = better(Stranger(BOB))
    async with (
        node(tmp_path, executor, *records, proposals=None) as home,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(home.researcher.run)
        child = lambda run: run.parent == program_id(BETTER) and run.strategy == "tune"  # noqa: E731
        await until(lambda: any(map(child, home.runs)))
        await home.researcher.finish()
        research = home.researcher.research
        assert [kept.program for kept in research.kept][:1] == [program_id(BETTER)]
        mine = [run for run in home.runs if run.program == program_id(BETTER)]
        adopting = [run for run in mine if run.strategy == "adopt"]
        assert len(adopting) >= 1, "the first run here may be enough"
        assert {run.claim for run in adopting} == {records[1].id}
        assert {run.claim for run in home.runs if run not in adopting} == {None}
        assert {run.parent for run in adopting} == {START}
        later = [run for run in home.runs if child(run)]
        (kept,) = [e for e in home.events if isinstance(e, Judged) and e.verdict == "keep"][:1]
        assert kept.note == f"adopted from {BOB.name} ({short(program_id(BETTER))}): twice"
        assert executor.codes[START] == {"own"}
        assert executor.codes[program_id(BETTER)] == {"stranger"}
        assert {c for run in later for c in executor.codes[run.program]} == {"stranger"}
        claimed = home.ledger.said(STORIES.id, "claim")
        assert program_id(BETTER) not in {
            one.record.payload.program for one in claimed if one.record.author == KEY.public
        }


async def test_a_program_that_does_not_hold_is_not_adopted_and_its_author_waits(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    records = settings(Stranger(EVE), 20)
    async with node(tmp_path, Judging({}), *records, proposals=25) as home:
        await home.researcher.run()
        took = [run.total_ms for run in home.runs]
        adopting = sum(run.total_ms for run in home.runs if run.strategy == "adopt")
        tried = {run.program for run in home.runs if run.strategy == "adopt"}
        assert home.researcher.research.champion == START
        assert 1 <= len(tried) <= 3, "a fifth of a quarter, once the first has failed"
        assert adopting <= 0.25 * sum(took) + 2 * max(took), "two slots, and no two runs are equal"


async def test_one_flooding_author_does_not_keep_others_from_their_turn(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    records = settings(Stranger(EVE), 40) + better(Stranger(BOB))
    async with node(tmp_path, Judging({"LR * 2": GOOD}), *records, proposals=16) as home:
        await home.researcher.run()
        assert program_id(BETTER) in {run.program for run in home.runs}


async def test_a_node_that_only_verifies_waits_and_wakes_when_something_is_offered(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    executor = Judging({"LR * 2": GOOD})
    async with (
        node(tmp_path, executor, proposals=None, role="verify") as home,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(home.researcher.run)
        await trio.sleep(500)
        assert {run.program for run in home.runs} == {START}
        assert [e.text[:17] for e in home.events if isinstance(e, Said)] == ["nothing to verify"]
        await home.hears(*better(Stranger(BOB)))
        await until(lambda: home.researcher.research.champion != START)
        await trio.sleep(500)
        await home.researcher.finish()
    assert {e.strategy for e in home.events if isinstance(e, Started)} == {"baseline", "adopt"}


@pytest.mark.parametrize("hope", ["", "what peers find"])
async def test_a_node_out_of_ideas_ends_or_waits_for_whoever_may_have_some(
    tmp_path: Path, fast_clock: trio.testing.MockClock, hope: str
) -> None:
    executor = Judging({"LR * 2": GOOD})
    async with (
        node(tmp_path, executor, proposals=None, own=()) as home,
        trio.open_nursery() as nursery,
    ):
        home.researcher.hopes.append(lambda: hope)
        if not hope:
            await home.researcher.run()
            assert [e.text[:23] for e in home.events if isinstance(e, Said)] == [
                "nothing is left to try:"
            ]
            return
        nursery.start_soon(home.researcher.run)
        await trio.sleep(500)
        assert [e.text for e in home.events if isinstance(e, Said)] == [
            "nothing to try at the moment; waiting for what peers find"
        ]
        await home.hears(*better(Stranger(BOB)))
        await until(lambda: home.researcher.research.champion != START)
        await home.researcher.finish()


@pytest.mark.parametrize("steps", range(12))
async def test_an_idle_node_ends_whenever_it_is_told(
    tmp_path: Path, fast_clock: trio.testing.MockClock, steps: int
) -> None:
    async with (
        node(tmp_path, Judging({}), proposals=None, own=(), role="verify") as home,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(home.researcher.run)
        await until(lambda: any(isinstance(one, Said) for one in home.events))
        home.researcher.consider()
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        await home.researcher.finish()
        with trio.fail_after(5000):
            while nursery.child_tasks:  # noqa: ASYNC110 - there is no event for it
                await trio.sleep(1)


async def test_a_program_that_has_to_be_fetched_is_tried_once_it_is_there(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    executor = Judging({"LR * 2": GOOD})
    async with (
        node(tmp_path, executor, proposals=1, role="verify") as home,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(home.researcher.run)
        await home.hears(*finding(Stranger(BOB), BETTER))
        await until(lambda: bool(home.researcher.wanted_programs()))
        assert home.researcher.wanted_programs() == (program_id(BETTER),)
        assert await home.researcher.take_program(program_id(BETTER), BETTER)
    assert home.researcher.research.champion == program_id(BETTER)


async def test_a_relay_runs_nothing_and_ends_when_told(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    executor = Judging({})
    async with (
        node(tmp_path, executor, *better(Stranger(BOB)), role="relay") as home,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(home.researcher.run)
        await trio.sleep(500)
        await home.researcher.finish()
    assert not executor.orders


async def test_a_burst_of_thousands_of_records_is_taken_in_beside_the_experiments(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    records = settings(Stranger(EVE), 1500)
    async with node(tmp_path, Judging({}), proposals=3) as home, trio.open_nursery() as nursery:
        nursery.start_soon(home.researcher.run)
        await trio.sleep(20)
        await home.hears(*records)
    assert len([e for e in home.events if isinstance(e, Judged)]) == 3


async def test_an_adoption_that_was_broken_off_goes_on_after_a_restart_as_a_strangers(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    executor, records = Judging({"LR * 2": GOOD}), better(Stranger(BOB))
    async with node(tmp_path, executor, *records, proposals=2) as home:
        with trio.move_on_after(1e5) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(home.researcher.run)
                await until(lambda: program_id(BETTER) in executor.codes)
                scope.cancel()
    again = Judging({"LR * 2": GOOD})
    async with node(tmp_path, again, *records, proposals=3) as home:
        await home.researcher.run()
        assert home.researcher.research.kept[0].program == program_id(BETTER)
    assert again.codes[program_id(BETTER)] == {"stranger"}


async def test_a_program_that_fails_once_it_is_built_upon_gives_way_and_stops_nobody(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    class Turning(Judging):
        """What is made of Eve's program looks two sigma better, so that it has to be run again."""

        tried = 0

        def _micro(self, source: str) -> int:
            return super()._micro(source) - 25_000 * ("LR * 2" in source and source != BETTER)

        async def train(self, slot: int, order: Order, report: Callable[..., None]) -> Outcome:
            outcome = await super().train(slot, order, report)
            self.tried += order.source == BETTER
            turns = order.source == BETTER and self.tried > 1
            return Outcome(status="crash", reason="boo") if turns else outcome

    executor, records = Turning({"LR * 2": GOOD}), better(Stranger(EVE))
    async with node(tmp_path, executor, *records, proposals=12) as home:
        await home.researcher.run()
        fallen = home.researcher.research.candidates[program_id(BETTER)]
        assert (fallen.stage, fallen.reason) == (
            "failed",
            "failed 3 times in a row after it was kept",
        )
        assert home.researcher.research.champion != program_id(BETTER)
        assert len(home.researcher.research.candidates) == 12, "and the search went on"
