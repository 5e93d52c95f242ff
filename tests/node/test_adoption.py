"""The own history with offers: standing of authors, shares of run time, what is left to try."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gossip.ledger import Ledger
from node.adoption import WORTH_SIGMA
from node.experiment import Bench
from node.hearing import Hearing
from node.notebook import Notebook
from skep.patch import apply, make
from skep.ports import Offer, Proposal
from skep.records import Claim, Run, SetConstant, program_id
from strategies.adopt import describe
from tests.factories import CPU, make_run
from tests.gossip.scenes import KEY
from tests.node.recorded import SEED_PROGRAM, STORIES
from tests.node.strangers import BOB, EVE, Stranger, claims, deliver
from tests.node.test_notebook import START, baseline, ledger_with


class AnyCode:
    """An executor that would run everything; these tests never ask it to."""

    def refusal(self, code: str) -> None:
        return None


def notebook(ledger: Ledger, home: Path) -> Notebook:
    """A notebook for which all is read that was said before."""
    bench = Bench(STORIES, AnyCode(), home / "runs", CPU)  # type: ignore[arg-type]
    book = Notebook(ledger, bench, KEY.public)
    hearing = Hearing(ledger, book, None, wake=lambda: None, emit=print)
    while hearing.take_some():
        assert book.adoption.offers(book.research, []) == []
    book.adoption.begin()
    return book


def text(rate: float) -> str:
    return apply(SEED_PROGRAM, (SetConstant("LR", rate),))


def run_of(rate: float, value: float, seed: int = 0, **fields: Any) -> Run:
    strategy = fields.pop("strategy", "tune")
    scores = [(7, value)]
    run = make_run("x", seed=seed, strategy=strategy, pinned=value, scores=scores, note="hotter")
    edits = (SetConstant("LR", rate),)
    return replace(run, program=program_id(text(rate)), parent=START, edits=edits, **fields)


async def test_what_an_author_claims_is_on_offer_with_its_name_and_its_claim(
    tmp_path: Path,
) -> None:
    runs = [baseline(i) for i in range(3)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, text(0.01))) as ledger:
        claim = await claims(ledger, Stranger(BOB), run_of(0.01, 1.5))
        book = notebook(ledger, tmp_path)
        (offer,) = book.adoption.offers(book.research, [])
        assert (offer.source, offer.author, offer.claim) == (text(0.01), BOB.public, claim)
        assert (offer.name, offer.note) == (BOB.name, "hotter")


async def test_an_offer_whose_text_is_not_known_or_that_ran_here_is_none(tmp_path: Path) -> None:
    written_otherwise = text(0.01) + "# the same\n"
    mine = replace(run_of(0.01, 2.1), program=program_id(written_otherwise))
    runs = [*(baseline(i) for i in range(3)), mine]
    programs = (SEED_PROGRAM, text(0.01), written_otherwise)
    async with ledger_with(tmp_path, *runs, programs=programs) as ledger:
        bob = Stranger(BOB)
        await claims(ledger, bob, run_of(0.01, 1.5))
        await claims(ledger, bob, run_of(0.02, 1.5))
        book = notebook(ledger, tmp_path)
        assert book.adoption.offers(book.research, []) == []
        leads = book.adoption.leads([BOB.public], book.research)
        assert len(leads) == 2, "one is the same program in other words, one has no text"


async def test_standing_and_shares_come_from_own_runs_and_survive_a_restart(
    tmp_path: Path,
) -> None:
    runs = [baseline(i) for i in range(3)]
    programs = (SEED_PROGRAM, text(0.01), text(0.02), text(0.03))
    async with ledger_with(tmp_path, *runs, programs=programs) as ledger:
        eve = Stranger(EVE)
        said = [await claims(ledger, eve, run_of(rate, 1.5)) for rate in (0.01, 0.02, 0.03)]
        live = notebook(ledger, tmp_path)
        for number, value in ((0, 2.5), (1, 2.5)):
            rate = (0.01, 0.02)[number]
            mine = run_of(rate, value, seed=9, strategy="adopt", claim=said[number])
            live.take_in((await ledger.publish(mine, STORIES.id)).id, mine)
        for book in (live, notebook(ledger, tmp_path)):
            (offer,) = book.adoption.offers(book.research, [])
            assert (offer.held, offer.failed, offer.recent) == (0, 2, 2)
            assert offer.doubtful
            swarm = book.adoption.swarm([offer], [])
            assert (swarm.trusted, swarm.doubtful) == (0, 1)
            assert (swarm.total_ms, swarm.spent_ms) == (5 * 23_000, 2 * 23_000)
            assert swarm.doubted_ms == 23_000, "the second was tried in spite of the first"
            assert swarm.doubted == {program_id(text(0.02))}


async def test_jobs_in_flight_count_at_the_usual_length(tmp_path: Path) -> None:
    runs = [baseline(i) for i in range(3)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, text(0.01))) as ledger:
        await claims(ledger, Stranger(BOB), run_of(0.01, 1.5))
        book = notebook(ledger, tmp_path)
        (offer,) = book.adoption.offers(book.research, [])
        proposal = Proposal(
            source=offer.source,
            parent=START,
            edits=(SetConstant("LR", 0.01),),
            strategy="adopt",
            note="from bob",
            claim=offer.claim,
        )
        job = book.screening(proposal, [])
        assert (job.strategy, job.claim) == ("adopt", offer.claim)
        assert book.adoption.offers(book.research, [job]) == []
        swarm = book.adoption.swarm([], [job])
        assert (swarm.total_ms, swarm.spent_ms) == (4 * 23_000, 23_000)


async def test_an_edit_too_large_for_a_record_leaves_the_program_to_be_fetched(
    tmp_path: Path,
) -> None:
    long = "".join(f"X{n} = {n}\n" for n in range(3000))
    async with ledger_with(tmp_path, baseline(0), programs=(SEED_PROGRAM, long)) as ledger:
        book = notebook(ledger, tmp_path)
        edits = make(SEED_PROGRAM, long)
        proposal = Proposal(source=long, parent=START, edits=edits, strategy="adopt", note="")
        job = book.screening(proposal, [])
        assert job.edits == ()
        await ledger.publish(
            replace(run_of(0.01, 2.0), program=job.program, edits=job.edits), STORIES.id
        )


async def test_an_own_screen_that_looks_good_is_claimed_once_and_an_adopted_one_never(
    tmp_path: Path,
) -> None:
    adopted = run_of(0.02, 1.97, strategy="adopt")
    runs = [*(baseline(i) for i in range(3)), run_of(0.01, 1.5), adopted]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM,)) as ledger:
        book = notebook(ledger, tmp_path)
        assert {one.stage for one in book.research.candidates.values()} == {"open"}
        (claim,) = book.claims_due()
        assert claim == Claim(
            program=program_id(text(0.01)),
            parent=START,
            run=ledger.runs(STORIES.id)[3][0],
            effect=-500_000,
            note="hotter",
        )
        assert list(book.claims_due()) == []
        await ledger.publish(claim, STORIES.id)
        assert list(notebook(ledger, tmp_path).claims_due()) == []


# What was put into the own champion

DEEPER = apply(SEED_PROGRAM, [SetConstant("DEPTH", 4)])


def put_in(rate: float, value: float, note: str, **fields: Any) -> Run:
    """An own run of a program that nobody else has run."""
    source = apply(text(rate), [SetConstant("DEPTH", 4)])
    run = run_of(rate, value, strategy="adopt")
    return replace(run, program=program_id(source), edits=(), note=note, **fields)


async def standings(ledger: Ledger, home: Path, *runs: Run) -> list[dict[str, tuple[int, int]]]:
    """Who held and failed how often, as it goes on, and after a restart."""
    live = notebook(ledger, home)
    for run in runs:
        live.take_in((await ledger.publish(run, STORIES.id)).id, run)
    return [
        {one.name: (one.held, one.failed) for one in book.adoption.offers(book.research, [])}
        for book in (live, notebook(ledger, home))
    ]


async def test_credit_for_what_was_put_in_survives_a_restart_by_its_note_alone(
    tmp_path: Path,
) -> None:
    runs = [baseline(i) for i in range(3)]
    stack = apply(text(0.03), [SetConstant("DEPTH", 4)])
    programs = (SEED_PROGRAM, text(0.01), text(0.02), stack)
    async with ledger_with(tmp_path, *runs, programs=programs) as ledger:
        await claims(ledger, Stranger(BOB), run_of(0.01, 1.5), -0.8)
        await claims(ledger, Stranger(EVE), run_of(0.02, 1.5), -0.8)
        both = put_in(0.03, 1.7, f"from {BOB.name} and {EVE.name}")
        found = await standings(ledger, tmp_path, both)
        assert found == [{BOB.name: (1, 0), EVE.name: (1, 0)}] * 2


async def test_a_stack_that_fails_is_nobodys_failure_and_one_find_alone_is_its_authors(
    tmp_path: Path,
) -> None:
    runs = [baseline(i) for i in range(3)]
    programs = (SEED_PROGRAM, text(0.01), text(0.02))
    async with ledger_with(tmp_path, *runs, programs=programs) as ledger:
        await claims(ledger, Stranger(BOB), run_of(0.01, 1.5))
        await claims(ledger, Stranger(EVE), run_of(0.02, 1.5))
        both = put_in(0.03, 2.5, f"from {BOB.name} and {EVE.name}")
        alone = put_in(0.04, 2.5, f"from {EVE.name} (0123456789ab): hot")
        found = await standings(ledger, tmp_path, both, alone)
        assert found == [{BOB.name: (0, 0), EVE.name: (0, 1)}] * 2


async def test_a_find_is_put_in_once_and_then_its_program_may_take_the_champions_place(
    tmp_path: Path,
) -> None:
    kept = replace(run_of(0.003, 1.7), program=program_id(DEEPER), edits=())
    runs = [*(baseline(i) for i in range(3)), kept, replace(kept, seed=1)]
    programs = (SEED_PROGRAM, DEEPER, text(0.01))
    async with ledger_with(tmp_path, *runs, programs=programs) as ledger:
        claim = await claims(ledger, Stranger(BOB), run_of(0.01, 1.5), -0.8)
        book = notebook(ledger, tmp_path)
        assert book.research.champion == program_id(DEEPER)
        (offer,) = book.adoption.offers(book.research, [])
        both = apply(text(0.01), [SetConstant("DEPTH", 4)])
        assert (offer.source, offer.base, offer.theirs) == (both, SEED_PROGRAM, text(0.01))
        assert (offer.claim, offer.estimate) == (None, -0.4)
        tried = replace(put_in(0.01, 2.5, describe([offer])), parent=program_id(DEEPER))
        await ledger.publish(tried, STORIES.id)
        again = notebook(ledger, tmp_path)
        (whole,) = again.adoption.offers(again.research, [])
        assert (whole.source, whole.base, whole.claim) == (text(0.01), "", claim)
        assert whole.estimate == pytest.approx(-0.4 + 0.3)


async def test_nobody_is_rooted_in_the_start_program_or_in_what_was_found_here(
    tmp_path: Path,
) -> None:
    kept = replace(run_of(0.003, 1.7), program=program_id(DEEPER), edits=())
    runs = [*(baseline(i) for i in range(3)), kept, replace(kept, seed=1)]
    after = apply(DEEPER, [SetConstant("LR", 0.01)])
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, DEEPER, after)) as ledger:
        eve = Stranger(EVE)
        own_find = [replace(one, strategy="tune") for one in runs]
        after_it = replace(run_of(0.01, 1.5), program=program_id(after), parent=kept.program)
        await deliver(ledger, *(eve.says(run) for run in own_find))
        await claims(ledger, eve, after_it)
        book = notebook(ledger, tmp_path)
        (offer,) = book.adoption.offers(book.research, [])
        assert (offer.base, offer.theirs) == (DEEPER, after)
        assert book.peers.origin(program_id(DEEPER), None) == EVE.public
        assert not offer.rooted, "whoever repeats what I found has found nothing"


async def test_an_author_is_rooted_where_a_find_of_its_own_was_adopted(tmp_path: Path) -> None:
    runs = [baseline(i) for i in range(3)]
    after = apply(text(0.01), [SetConstant("DEPTH", 4)])
    programs = (SEED_PROGRAM, text(0.01), after)
    async with ledger_with(tmp_path, *runs, programs=programs) as ledger:
        bob = Stranger(BOB)
        for run in (*runs, run_of(0.01, 1.5), run_of(0.01, 1.5, seed=1)):
            await deliver(ledger, bob.says(run))
        await ledger.publish(run_of(0.01, 1.5, strategy="adopt", seed=5), STORIES.id)
        parent = program_id(text(0.01))
        await claims(
            ledger, bob, replace(run_of(0.02, 1.2), program=program_id(after), parent=parent)
        )
        book = notebook(ledger, tmp_path)
        (offer,) = book.adoption.offers(book.research, [])
        assert (offer.theirs, offer.base, offer.rooted) == (after, text(0.01), True)


# How much is taken over at once


def promising(offer: Offer, estimate: float, held: int = 0) -> Offer:
    return replace(offer, estimate=estimate, held=held)


async def offered(ledger: Ledger, home: Path) -> tuple[Notebook, Offer]:
    book = notebook(ledger, home)
    return book, next(iter(book.adoption.offers(book.research, [])))


async def test_what_promises_less_than_one_run_would_show_waits_for_more(tmp_path: Path) -> None:
    runs = [baseline(i) for i in range(3)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, text(0.01))) as ledger:
        await claims(ledger, Stranger(BOB), run_of(0.01, 1.5))
        book, offer = await offered(ledger, tmp_path)
        least = WORTH_SIGMA * book.research.noise.sigma
        small, large = promising(offer, -0.9 * least), promising(offer, -1.1 * least)
        assert book.adoption.worth_it([small, large], book.research) == [large]


async def test_small_finds_come_along_with_one_that_is_worth_it_if_they_can_be_stacked(
    tmp_path: Path,
) -> None:
    runs = [baseline(i) for i in range(3)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, text(0.01))) as ledger:
        await claims(ledger, Stranger(BOB), run_of(0.01, 1.5))
        book, offer = await offered(ledger, tmp_path)
        small, large = promising(offer, -0.001, held=1), promising(offer, -0.5, held=1)
        stranger = promising(offer, -0.001)
        assert book.adoption.worth_it([small], book.research) == []
        assert book.adoption.worth_it([small, large, stranger], book.research) == [small, large]
        assert book.adoption.worth_it([small, promising(offer, -0.5)], book.research) == [
            promising(offer, -0.5)
        ]


async def test_the_more_there_is_and_the_shorter_the_search_the_more_has_to_come_together(
    tmp_path: Path,
) -> None:
    kept = replace(run_of(0.003, 1.7), program=program_id(DEEPER), edits=())
    runs = [*(baseline(i) for i in range(3)), kept, replace(kept, seed=1)]
    programs = (SEED_PROGRAM, DEEPER, text(0.01))
    async with ledger_with(tmp_path, *runs, programs=programs) as ledger:
        await claims(ledger, Stranger(BOB), run_of(0.01, 1.5))
        book, offer = await offered(ledger, tmp_path)
        (step,) = book.research.kept
        assert step.effect == pytest.approx(-0.3)
        # 5 runs: sqrt(2 * 2 / 5) = 0.894 of what there is then, 8.5 times what there is now.
        early = [promising(offer, -2.5), promising(offer, -2.6)]
        assert book.adoption.worth_it(early, book.research) == [early[1]]
        for seed in range(10, 80):
            run = replace(kept, seed=seed, strategy="baseline")
            book.take_in((await ledger.publish(run, STORIES.id)).id, run)
        # 75 runs: 0.23 of what there is then, 0.3 times what there is now.
        late = [promising(offer, -0.085), promising(offer, -0.095)]
        assert book.adoption.worth_it(late, book.research) == [late[1]]
