"""Texts of what peers offer: rebuilt by the real examiner, wanted, handed over, or refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from gossip.ledger import Ledger
from node.library import REFUSALS_MAX, Library
from node.offers import Lead, Peers
from skep.patch import apply, fingerprint
from skep.records import Edit, Hunk, SetConstant, program_id
from skep.tier import tier
from tests.factories import CPU, make_run
from tests.gossip.scenes import KEY, open_ledger
from tests.node.recorded import SEED_PROGRAM, STORIES
from tests.node.strangers import BOB, EVE, Stranger, deliver
from trainer.examination import Examiner
from trainer.launcher import Launcher

START = program_id(SEED_PROGRAM)
CHILD = apply(SEED_PROGRAM, [SetConstant("LR", 0.01)])
GRANDCHILD = CHILD.replace("return LR", "return LR * 2")
BOMB = "x = " + "(" * 60_000 + "\n"


class Scene:
    """A ledger with the start program in it, and what peers say."""

    def __init__(self, ledger: Ledger, examiner: Examiner) -> None:
        self.ledger = ledger
        self.peers = Peers(STORIES, tier(CPU), KEY.public)
        self.library = Library(ledger, self.peers, examiner.examine)

    async def ran(self, author: Stranger, text: str, parent: bytes, *edits: Edit) -> Lead:
        """An author says that it ran a program, made from a parent by edits."""
        run = make_run("x", strategy="llm", parent=parent, edits=edits, pinned=1.5)
        signed = author.says(replace(run, program=program_id(text)))
        await deliver(self.ledger, signed)
        self.peers.take(signed.id, author.key.public, signed.run)
        return lead(author, text)

    async def collect(self, author: Stranger, *leads: Lead) -> bool:
        return await self.library.collect(author.key.public, leads)


def lead(author: Stranger, text: str) -> Lead:
    program, key = program_id(text), author.key.public
    return Lead(
        program=program,
        author=key,
        claim=None,
        estimate=-0.1,
        gain=-0.1,
        parent=program_id(SEED_PROGRAM),
        chain={},
        note="",
    )


def line_of(text: str) -> Hunk:
    return Hunk(7, "    return LR\n", text)


@asynccontextmanager
async def scene(home: Path) -> AsyncIterator[Scene]:
    async with (
        Launcher.open() as launcher,
        Examiner.open(launcher, "", {}) as examiner,
        open_ledger(home) as ledger,
    ):
        await ledger.add_program(SEED_PROGRAM, fingerprint(SEED_PROGRAM))
        yield Scene(ledger, examiner)


async def test_a_program_is_rebuilt_through_all_that_lie_between(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        bob = Stranger(BOB)
        await it.ran(bob, CHILD, START, SetConstant("LR", 0.01))
        last = await it.ran(bob, GRANDCHILD, program_id(CHILD), line_of("    return LR * 2\n"))
        assert await it.collect(bob, last)
        known = it.ledger.programs()[program_id(GRANDCHILD)]
        assert (known.source, known.fingerprint) == (GRANDCHILD, fingerprint(GRANDCHILD))
        assert it.library.wanted == ()


async def test_what_cannot_be_rebuilt_is_wanted_and_taken_from_anybody(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        bob = Stranger(BOB)
        there = await it.ran(bob, GRANDCHILD, program_id(CHILD), line_of("    return LR * 2\n"))
        assert not await it.collect(bob, there)
        assert it.library.wanted == (program_id(GRANDCHILD),)
        assert not await it.library.take(program_id(GRANDCHILD), CHILD), "another text"
        assert not await it.library.take(program_id(CHILD), CHILD), "nobody asked for that"
        assert await it.library.take(program_id(GRANDCHILD), GRANDCHILD)
        assert it.library.wanted == ()
        assert it.ledger.program(program_id(GRANDCHILD)) == GRANDCHILD


async def test_what_an_author_no_longer_offers_is_not_wanted(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        bob, eve = Stranger(BOB), Stranger(EVE)
        await it.collect(bob, lead(bob, CHILD))
        await it.collect(eve, lead(eve, GRANDCHILD))
        await it.collect(bob)
        assert it.library.wanted == (program_id(GRANDCHILD),)


async def test_edits_that_make_another_program_are_refused_and_nothing_is_wanted(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as it:
        eve, bob = Stranger(EVE), Stranger(BOB)
        lie = await it.ran(eve, CHILD, START, SetConstant("LR", 0.02))
        assert not await it.collect(eve, lie)
        assert it.library.wanted == ()
        assert program_id(CHILD) not in it.ledger.programs()
        truth = await it.ran(bob, CHILD, START, SetConstant("LR", 0.01))
        assert await it.collect(bob, truth), "the lie of one is not the fault of another"


async def test_programs_that_nobody_may_parse_are_refused_however_they_come(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as it:
        eve = Stranger(EVE)
        hostile = {
            "a bomb": BOMB,
            "a hidden character": SEED_PROGRAM + "# \u202e\n",
            "a coding": "# coding: utf-7\n" + SEED_PROGRAM,
            "no Python": "def (:\n",
            "too long": "# " + "x" * 70_000 + "\n",
        }
        for text in hostile.values():
            await it.collect(eve, lead(eve, text))
            assert it.library.wanted == (program_id(text),)
            assert not await it.library.take(program_id(text), text)
            await it.collect(eve, lead(eve, text))
            assert it.library.wanted == (), "asked for once"
        bomb = await it.ran(eve, BOMB, START, Hunk(1, SEED_PROGRAM, "x = (\n"))
        assert not await it.collect(eve, bomb)
        assert list(it.ledger.programs()) == [START]


async def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        bob = Stranger(BOB)
        await it.collect(bob, lead(bob, CHILD))
        assert not await it.library.take(program_id(CHILD), "\ud800")


async def test_a_text_that_only_lies_here_is_examined_before_it_counts(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        bob = Stranger(BOB)
        await it.ledger.add_program(CHILD, b"")
        assert await it.collect(bob, lead(bob, CHILD))
        await it.ledger.add_program(BOMB, b"")
        assert not await it.collect(bob, lead(bob, BOMB))


async def test_after_some_refusals_an_author_is_not_listened_to(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        eve = Stranger(EVE)
        for number in range(REFUSALS_MAX):
            lie = await it.ran(eve, f"x = {number}\n", START, SetConstant("LR", 0.01))
            await it.collect(eve, lie)
        assert not await it.collect(eve, lead(eve, "y = 1\n"))
        assert it.library.wanted == ()


async def test_a_recipe_that_runs_in_a_circle_is_wanted_instead(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        eve = Stranger(EVE)
        edit = SetConstant("LR", 0.01)
        await it.ran(eve, CHILD, program_id(GRANDCHILD), edit)
        circle = await it.ran(eve, GRANDCHILD, program_id(CHILD), edit)
        assert not await it.collect(eve, circle)
        assert it.library.wanted == (program_id(GRANDCHILD),)


async def test_nobody_takes_back_what_somebody_else_wants_to_be_tried(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        bob, eve, edit = Stranger(BOB), Stranger(EVE), line_of("    return LR * 2\n")
        for author in (bob, eve):
            said = await it.ran(author, GRANDCHILD, program_id(CHILD), edit)
            await it.collect(author, said)
        await it.collect(eve)
        assert it.library.wanted == (program_id(GRANDCHILD),)
        await it.collect(bob)
        assert it.library.wanted == ()
