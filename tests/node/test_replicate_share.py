"""Re-running claims of peers: how much time it may take, and which claim is worth it."""

from pathlib import Path

from msgspec.structs import replace

from gossip.jobs import Job
from gossip.ledger import Ledger
from node.notebook import Notebook
from node.plan import Propose, Repeat, Replicate
from node.shares import REPLICATION_SHARE, Swarm
from skep.evidence import replication_seed
from skep.patch import apply
from skep.ports import Offer
from skep.records import Rescore, SetConstant, program_id
from tests.gossip.scenes import KEY
from tests.node.recorded import SEED_PROGRAM, STORIES
from tests.node.strangers import BOB, EVE, Stranger, claims, deliver
from tests.node.test_adoption import notebook, run_of, text
from tests.node.test_notebook import baseline, ledger_with
from tests.node.test_plan import promising, state
from tests.node.test_plan_share import X, decide

EVERYBODY = frozenset({KEY.public, BOB.public, EVE.public})


def swarm(total: float, replicated: float, claims: int = 1) -> Swarm:
    return Swarm(total_ms=total, replicated_ms=replicated, claims=claims, run_ms=10_000)


def test_a_claim_is_re_run_when_the_next_run_stays_within_the_share() -> None:
    assert REPLICATION_SHARE == 0.15
    assert decide(state(3), swarm(190_000, 20_000)) == Replicate()
    assert decide(state(3), swarm(180_000, 20_000)) == Propose()
    assert decide(state(3), swarm(190_000, 20_000, claims=0)) == Propose()


def test_a_node_without_ideas_has_all_its_time_for_claims() -> None:
    assert decide(state(3), swarm(10_000, 9_000), ideas=False) == Replicate()


def test_an_open_claim_gets_its_re_runs_only_within_the_share() -> None:
    candidate = promising(X, -0.5, strategy="replicate")
    assert decide(state(3, candidate), swarm(190_000, 20_000)) == Repeat(X, "rerun")
    assert decide(state(3, candidate), swarm(100_000, 20_000)) == Propose()


async def kept(ledger: Ledger, who: Stranger, rate: float, value: float, reruns: int = 2) -> bytes:
    """An author's claim, and its own re-runs that keep it; id of the claim."""
    lines = [who.says(baseline(seed)) for seed in (91, 92, 93)]
    who.lines = [line.id for line in lines]
    await deliver(ledger, *lines)
    said = await claims(ledger, who, run_of(rate, value))
    await deliver(
        ledger, *(who.says(run_of(rate, value, seed=1 + number)) for number in range(reruns))
    )
    return said


def open_claims(book: Notebook, jobs: list[Job] | None = None) -> list[Offer]:
    book.roots = lambda: EVERYBODY
    return book.claims_open(jobs or [])


OWN = [baseline(seed) for seed in range(3)]
PROGRAMS = (SEED_PROGRAM, text(0.01), text(0.02))


async def test_what_an_author_keeps_by_its_own_re_runs_asks_for_those_of_others(
    tmp_path: Path,
) -> None:
    async with ledger_with(tmp_path, *OWN, programs=PROGRAMS) as ledger:
        await kept(ledger, Stranger(BOB), 0.02, 1.5, reruns=0)
        assert open_claims(notebook(ledger, tmp_path)) == []
        claim = await kept(ledger, Stranger(EVE), 0.01, 1.5)
        (offer,) = open_claims(notebook(ledger, tmp_path))
        assert (offer.claim, offer.author, offer.source) == (claim, EVE.public, text(0.01))


async def test_its_edit_is_put_into_the_own_champion(tmp_path: Path) -> None:
    deeper = apply(SEED_PROGRAM, [SetConstant("DEPTH", 2)])
    mine = [
        replace(
            run_of(0.5, 1.0, seed=seed),
            program=program_id(deeper),
            edits=(SetConstant("DEPTH", 2),),
        )
        for seed in range(3)
    ]
    async with ledger_with(tmp_path, *OWN, *mine, programs=(*PROGRAMS, deeper)) as ledger:
        claim = await kept(ledger, Stranger(EVE), 0.01, 1.5)
        book = notebook(ledger, tmp_path)
        assert book.research.champion == program_id(deeper)
        (offer,) = open_claims(book)
        assert offer.source == apply(deeper, [SetConstant("LR", 0.01)])
        assert offer.claim == claim
        job = Job(
            task=STORIES.id,
            program=program_id(offer.source),
            parent=program_id(deeper),
            edits=(),
            strategy="replicate",
            seed=1,
            purpose="screen",
            note="",
        )
        await ledger.add_program(offer.source, offer.fingerprint)
        assert open_claims(book, [job]) == [], "it is on its way"


async def test_what_the_champion_has_set_otherwise_cannot_be_tried_on_it(tmp_path: Path) -> None:
    mine = [run_of(0.02, 1.0, seed=seed) for seed in range(3)]
    async with ledger_with(tmp_path, *OWN, *mine, programs=PROGRAMS) as ledger:
        await kept(ledger, Stranger(EVE), 0.01, 1.5)
        book = notebook(ledger, tmp_path)
        assert book.research.champion == program_id(text(0.02))
        assert open_claims(book) == []


async def test_the_claim_that_most_have_tried_goes_first(tmp_path: Path) -> None:
    async with ledger_with(tmp_path, *OWN, programs=PROGRAMS) as ledger:
        eve, bob = Stranger(EVE), Stranger(BOB)
        await kept(ledger, eve, 0.01, 1.5)
        second = await kept(ledger, bob, 0.02, 1.5)
        run = run_of(0.02, 1.9, strategy="replicate", claim=second)
        seed = replication_seed(second, eve.key.public, 0)
        lines = [Rescore(one, 7, "dev", 2_000_000) for one in eve.lines]
        await deliver(ledger, eve.says(replace(run, seed=seed, rescored=tuple(lines))))
        (offer,) = open_claims(notebook(ledger, tmp_path))
        assert offer.claim == second


async def test_one_that_was_tried_here_or_whose_author_failed_here_is_left(tmp_path: Path) -> None:
    async with ledger_with(tmp_path, *OWN, programs=PROGRAMS) as ledger:
        eve = Stranger(EVE)
        claim = await kept(ledger, eve, 0.01, 1.5)
        seed = replication_seed(claim, KEY.public, 0)
        mine = run_of(0.01, 2.5, strategy="replicate", claim=claim, seed=seed)
        await ledger.publish(mine, STORIES.id)
        assert open_claims(notebook(ledger, tmp_path)) == []
        await kept(ledger, eve, 0.02, 1.5)
        assert open_claims(notebook(ledger, tmp_path)) == [], "what she offered did not hold here"
