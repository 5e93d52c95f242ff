"""What others said is taken in from the ledger: a little at a time, everything, and once."""

from pathlib import Path
from typing import Any

from gossip.ledger import Ledger
from node.hearing import AT_ONCE, Hearing
from node.notebook import Notebook
from skep.records import Note, Run, SignedRecord
from tests.factories import make_run
from tests.gossip.scenes import open_ledger
from tests.node.recorded import STORIES
from tests.node.strangers import BOB, EVE, Stranger, deliver
from tests.node.test_notebook import notebook


def runs(author: Stranger, count: int) -> list[SignedRecord]:
    return [author.says(make_run("x", seed=seed, pinned=2.0)) for seed in range(count)]


def listening(ledger: Ledger, home: Path, taken: list[bytes]) -> tuple[Notebook, Hearing]:
    """A notebook, who fills it, and the ids it gets."""
    book: Any = notebook(ledger, home)

    def note(content_id: bytes, author: bytes, payload: Run) -> None:
        taken.append(content_id)

    book.peers.take = note
    return book, Hearing(ledger, book, None, wake=lambda: None, emit=print)


async def test_what_was_said_before_the_start_comes_in_pieces_and_nothing_is_read_twice(
    tmp_path: Path,
) -> None:
    bob, eve, taken = Stranger(BOB), Stranger(EVE), list[bytes]()
    async with open_ledger(tmp_path) as ledger:
        said = runs(bob, AT_ONCE + 20)
        await deliver(ledger, *said)
        await ledger.publish(make_run("own", pinned=2.0), STORIES.id)
        _, hearing = listening(ledger, tmp_path, taken)
        assert taken == [], "a start does not wait for it"
        assert hearing.take_some()
        assert taken == [one.id for one in said[:AT_ONCE]]
        more = runs(eve, AT_ONCE)
        await deliver(ledger, *more)
        while hearing.take_some():
            pass
        assert taken == [one.id for one in [*said, *more]]
        await deliver(ledger, *said)
        assert not hearing.take_some()


async def test_what_is_said_for_people_and_the_own_word_are_gone_past(tmp_path: Path) -> None:
    bob, eve, taken = Stranger(BOB), Stranger(EVE), list[bytes]()
    idea = Note(role="hypothesis", about=None, text="wider", cites=())
    async with open_ledger(tmp_path) as ledger:
        await ledger.publish(make_run("own", pinned=2.0), STORIES.id)
        await deliver(ledger, *(eve.says(idea) for _ in range(AT_ONCE)))
        (said,) = runs(bob, 1)
        await deliver(ledger, said)
        _, hearing = listening(ledger, tmp_path, taken)
        assert hearing.take_some()
        assert taken == []
        assert hearing.take_some()
        assert taken == [said.id]
        assert not hearing.take_some()
