"""The own history with offers: standing of authors, shares of run time, what is left to try."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gossip.ledger import Ledger
from node.experiment import Bench
from node.hearing import Hearing
from node.notebook import Notebook
from skep.patch import apply, make
from skep.ports import Proposal
from skep.records import Claim, Run, SetConstant, program_id
from tests.factories import CPU, make_run
from tests.gossip.scenes import KEY
from tests.node.recorded import SEED_PROGRAM, STORIES
from tests.node.strangers import BOB, EVE, Stranger, claims
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
    adopted = run_of(0.02, 1.5, strategy="adopt")
    runs = [*(baseline(i) for i in range(3)), run_of(0.01, 1.5), adopted]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM,)) as ledger:
        book = notebook(ledger, tmp_path)
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
