"""A node that kept an edit which does not pay drops it by itself, and keeps those that do.

The trainer is the fake of `test_loop_transport`, which says how good a program is.
"""

from pathlib import Path

import pytest
import trio
import trio.testing

from skep.patch import apply, make
from skep.ports import Proposal, View
from skep.records import SetConstant, program_id
from strategies.ablate import Ablate
from strategies.recombine import Recombine
from tests.node.recorded import SEED_PROGRAM
from tests.node.test_adopt_transport import Judging, node

FIRST = apply(SEED_PROGRAM, [SetConstant("DEPTH", 4)])
SECOND = apply(FIRST, [SetConstant("LR", 0.01)])
THIRD = SECOND.replace("return LR", "return LR * 2")


class Replacing(Judging):
    """The third edit makes the first one useless, and a little worse than that."""

    def _micro(self, source: str) -> int:
        doubled = "LR * 2" in source
        gain = 200_000 * ("DEPTH = 4" in source and not doubled) - 30_000 * ("DEPTH = 4" in source)
        gain += 300_000 * ("LR = 0.01" in source) + 500_000 * doubled
        return 2_000_000 - gain + round(self._rng.gauss(0, 10_000))


class Ladder:
    """Proposes three edits, each on top of the one before; then runs of no use, one by one."""

    name = "ladder"

    def ready(self, view: View) -> bool:
        return True

    async def propose(self, view: View) -> Proposal | None:
        nexts = dict(zip((SEED_PROGRAM, FIRST, SECOND), (FIRST, SECOND, THIRD), strict=True))
        idle = view.champion_source + f"# {len(view.trials)}\nUNUSED_{len(view.trials)} = 1\n"
        source = nexts.get(view.champion_source, idle)
        edits = make(view.champion_source, source)
        return Proposal(
            source=source, parent=view.champion, edits=edits, strategy=self.name, note=""
        )


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(rate=1000)


async def test_an_edit_that_a_later_one_made_useless_is_dropped_and_stays_dropped(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    executor = Replacing({})
    own = [Recombine(), Ablate(), Ladder()]
    async with node(tmp_path, executor, proposals=8, own=own) as home:
        with trio.move_on_after(2e5):
            await home.researcher.run()
        runs = home.runs
    found = home.researcher.research
    leaner = program_id(apply(THIRD, [SetConstant("DEPTH", 3)]))
    assert [kept.program for kept in found.kept] == [
        program_id(FIRST),
        program_id(SECOND),
        program_id(THIRD),
        leaner,
    ]
    assert found.kept[-1].strategy == "ablate"
    ablations = sum(run.strategy == "ablate" for run in runs)
    assert ablations <= 0.1 * len(runs) + 24
