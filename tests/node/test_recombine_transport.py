"""What was found here and what a peer found end in one champion, without anybody's help.

The trainer is the fake of `test_loop_transport`, which says how good a program is.
"""

from pathlib import Path

import pytest
import trio
import trio.testing

from skep.patch import apply, make
from skep.ports import Proposal, View
from skep.records import SetConstant, program_id
from strategies.adopt import short
from strategies.recombine import Recombine
from tests.node.recorded import SEED_PROGRAM
from tests.node.strangers import BOB, Stranger
from tests.node.test_adopt_transport import BETTER, Judging, better, node, until

DEEPER = SetConstant("DEPTH", 4)


class Summing(Judging):
    """What is found here gains 0.2, what Bob found 0.5, and both of it 0.7."""

    def _micro(self, source: str) -> int:
        gain = 200_000 * ("DEPTH = 4" in source) + 500_000 * ("LR * 2" in source)
        return 2_000_000 - gain + round(self._rng.gauss(0, 5_000))


class Idle:
    """Goes on with edits of no use, so that there is time to hear something."""

    name = "idle"

    def ready(self, view: View) -> bool:
        return True

    async def propose(self, view: View) -> Proposal | None:
        source = view.champion_source + f"UNUSED_{len(view.trials)} = 1\n"
        edits = make(view.champion_source, source)
        return Proposal(
            source=source, parent=view.champion, edits=edits, strategy=self.name, note=""
        )


class Deepen:
    """Proposes one edit, and only on the start program."""

    name = "deepen"

    def ready(self, view: View) -> bool:
        return view.champion == program_id(SEED_PROGRAM)

    async def propose(self, view: View) -> Proposal | None:
        source = apply(view.champion_source, [DEEPER])
        if program_id(source) in {trial.program for trial in view.trials}:
            return None
        return Proposal(
            source=source, parent=view.champion, edits=(DEEPER,), strategy=self.name, note=""
        )


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(rate=1000)


async def test_what_a_peer_found_is_put_on_top_of_the_own_find(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    executor, both = Summing({}), program_id(apply(BETTER, [DEEPER]))
    async with (
        node(tmp_path, executor, proposals=None, own=[Recombine(), Deepen(), Idle()]) as home,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(home.researcher.run)
        own = program_id(apply(SEED_PROGRAM, [DEEPER]))
        await until(lambda: home.researcher.research.champion == own)
        await home.hears(*better(Stranger(BOB)))
        await until(lambda: home.researcher.research.champion == both)
        await home.researcher.finish()
        runs = home.runs
    assert [kept.program for kept in home.researcher.research.kept] == [own, both]
    tried = [run for run in runs if run.strategy != "baseline"]
    strategies = {run.program: run.strategy for run in tried if run.program in (own, both)}
    assert strategies == {own: "deepen", both: "adopt"}
    assert {run.claim for run in runs} == {None}, "it is not the program that was claimed"
    (adopting,) = (run for run in runs if run.strategy == "adopt")
    assert adopting.note == f"from {BOB.name} ({short(program_id(BETTER))}): twice"
    assert adopting.parent == own
    assert executor.codes[both] == {"stranger"}, "Bob's text is in it"


async def test_a_strangers_text_that_was_not_adopted_never_passes_for_the_own(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    class Hardly(Judging):
        """Bob's program is a little better, and never enough to be adopted."""

        def _micro(self, source: str) -> int:
            gain = 300_000 * ("DEPTH = 4" in source) + 18_000 * ("LR * 2" in source)
            return 2_000_000 - gain + round(self._rng.gauss(0, 1_000))

    executor = Hardly({})
    async with node(
        tmp_path, executor, *better(Stranger(BOB)), proposals=4, own=[Recombine(), Deepen()]
    ) as home:
        with trio.move_on_after(2e4):
            await home.researcher.run()
        runs = home.runs
    tried = {run.program: run.strategy for run in runs}
    assert tried[program_id(BETTER)] == "adopt"
    assert home.researcher.research.champion == program_id(apply(SEED_PROGRAM, [DEEPER]))
    assert program_id(apply(BETTER, [DEEPER])) not in executor.codes
