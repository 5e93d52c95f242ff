"""A thousand keys of one liar around a node: what they say of one another moves nothing here.

The trainer is the fake of `test_loop_transport`, in which what they praise does harm; everything
else is what ships. How such keys fare in a verdict is in `tests/skep/test_standing.py`.
"""

from pathlib import Path

import trio.testing
from msgspec.structs import replace

from gossip.identity import Identity
from skep.ports import FOREIGN
from skep.records import Claim, Run, SignedRecord
from tests.factories import content_id
from tests.gossip.scenes import KEY
from tests.node.recorded import Recording, setting
from tests.node.strangers import Stranger
from tests.node.test_adopt_transport import BAD, Judging, fast_clock, node

__all__ = ["fast_clock"]

KEYS, PROPOSALS = 1000, 40
PRAISED = "LR = 0.7"


def confirmed_by_themselves() -> list[SignedRecord]:
    """Every key invents a search that found a gain, and confirms the finds of the next two."""
    liars = [Stranger(Identity(content_id(f"liar {number}"))) for number in range(KEYS)]
    said: list[SignedRecord] = []
    finds: list[tuple[Run, bytes]] = []
    for number, liar in enumerate(liars):
        recording = Recording(seed=number)
        recording.try_out(setting("LR", round(0.7 + number / 10_000, 4), worth=-0.12))
        found = tell(liar, recording)
        said += found
        run = next(run for _, run in recording.runs if run.parent is not None)
        finds.append((run, found[-1].id))
    for number, liar in enumerate(liars):
        for other in (1, 2):
            run, claim = finds[(number + other) % KEYS]
            said.append(liar.says(replace(run, claim=claim, rescored=())))
    return said


def tell(author: Stranger, recording: Recording) -> list[SignedRecord]:
    """A search as its author would publish it, with a claim of its last find at the end."""
    said: list[SignedRecord] = []
    ids: dict[bytes, bytes] = {}
    for invented, run in recording.runs:
        rescored = tuple(replace(row, run=ids[row.run]) for row in run.rescored)
        said.append(author.says(replace(run, rescored=rescored)))
        ids[invented] = said[-1].id
    kept = recording.research.kept[-1]
    screen = next(one for one, run in recording.runs if run.program == kept.program)
    effect = round(kept.effect * 1e6)
    claim = Claim(program=kept.program, parent=kept.parent, run=ids[screen], effect=effect, note="")
    return [*said, author.says(claim)]


async def test_a_thousand_keys_that_confirm_one_another_get_nothing_adopted(
    tmp_path: Path, fast_clock: trio.testing.MockClock
) -> None:
    executor = Judging({PRAISED: BAD})
    said = confirmed_by_themselves()
    async with node(tmp_path, executor, *said, proposals=PROPOSALS) as home:
        await home.researcher.run()
        kept = home.researcher.research.kept
        foreign = [run for run in home.runs if run.strategy in FOREIGN]
        spent = sum(run.total_ms for run in foreign) / sum(run.total_ms for run in home.runs)
        known = home.researcher.notebook.evidence.verdicts(frozenset({KEY.public}))
    assert foreign, "what they offer is tried"
    assert not [one for one in kept if one.strategy in FOREIGN]
    assert spent <= 0.2
    assert {verdict.state for verdict in known.claims.values()} == {"open"}
