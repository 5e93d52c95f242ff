"""What peers offer: folds author by author, estimates against the own chain, and bounds."""

from msgspec.structs import replace

from node.offers import CLAIMS_MAX, OFFERS_MAX, TIERS_MAX, Lead, Peers, ahead, believed
from skep.evidence import Candidate, Fold, Research
from skep.records import Claim, Environment, Rescore, Retract, Run, Score, program_id
from skep.tier import tier
from tests.factories import CPU, content_id, make_run
from tests.node.recorded import SEED_PROGRAM, STORIES, Recording, setting

START = program_id(SEED_PROGRAM)
ME, ANN, BOB = content_id("me"), content_id("ann"), content_id("bob")
NOTHING = Fold(start=START, direction="min", sigma_prior=0.006).snapshot()


def peers() -> Peers:
    return Peers(STORIES, tier(CPU), ME)


def search(*worths: float, seed: int = 1) -> Recording:
    """A search that tried one constant after the other."""
    recording = Recording(seed=seed)
    for number, worth in enumerate(worths):
        recording.try_out(setting("LR", 0.01 + number / 100, worth))
    return recording


def heard(found: Peers, author: bytes, recording: Recording) -> Peers:
    for run_id, run in recording.runs:
        found.take(run_id, author, run)
    return found


def leads(found: Peers, author: bytes = ANN, own: Research = NOTHING) -> list[Lead]:
    return found.leads(author, own, lambda program: program in own.candidates)


def own_research(recording: Recording) -> Research:
    fold = Fold(start=START, direction="min", sigma_prior=0.006)
    for run_id, run in recording.runs:
        fold.add(run_id, run)
    return fold.snapshot()


def screen(name: str, **fields: object) -> Run:
    """A first run that its author's fold leaves open, if its baselines are `search`'s."""
    run = make_run(name, strategy="tune", pinned=2.0, scores=[(99, 2.0)])
    baseline = Rescore((0).to_bytes(2, "big").ljust(32, b"r"), 99, "dev", 2_300_000)
    return replace(run, **({"parent": START, "rescored": (baseline,)} | fields))


def claim_of(name: str, effect: float = -0.3, note: str = "") -> Claim:
    micro = round(effect * 1e6)
    run = content_id(f"run {name}")
    return Claim(program=content_id(name), parent=START, run=run, effect=micro, note=note)


def test_a_peers_champion_is_what_the_shipped_fold_makes_of_its_runs() -> None:
    recording = search(-0.15, +0.1, -0.15)
    (lead,) = leads(heard(peers(), ANN, recording))
    research = own_research(recording)
    assert lead.program == research.champion
    assert lead.author == ANN
    assert lead.claim is None
    assert lead.estimate == sum(kept.effect for kept in research.kept)


def test_authors_are_folded_apart_and_own_records_are_not_looked_at() -> None:
    found = heard(heard(peers(), ANN, search(-0.15)), BOB, search(+0.1))
    assert len(leads(found, ANN)) == 1
    assert leads(found, BOB) == []
    assert heard(peers(), ME, search(-0.15)).authors == ()


def on(environment: Environment, *worths: float) -> list[tuple[bytes, Run]]:
    """A search as `search`, on another machine."""
    return [(one, replace(run, environment=environment)) for one, run in search(*worths).runs]


def of_tier(octave: int) -> Environment:
    return replace(CPU, probe_ns=CPU.probe_ns << octave)


def test_runs_that_are_scored_otherwise_are_no_offers() -> None:
    found = peers()
    for run_id, run in search(-0.15).runs:
        found.take(run_id, BOB, replace(run, scored_by="program"))
    assert found.authors == ()


def test_what_was_kept_on_another_tier_is_believed_by_half_and_claims_nothing_here() -> None:
    found = peers()
    for run_id, run in on(of_tier(3), -0.15, +0.1):
        found.take(run_id, ANN, run)
    (here,) = leads(heard(peers(), ANN, search(-0.15, +0.1)))
    (lead,) = leads(found)
    assert lead.estimate == here.estimate / 2
    assert lead.gain == here.gain / 2
    assert lead.program == here.program
    assert (lead.claim, found.claimed(ANN)) == (None, [])
    assert found.origin(lead.program, None) == ANN
    assert found.first_run(lead.program, ANN) is not None
    assert not found.ran(lead.program), "here nobody has"


def test_what_was_not_kept_on_another_tier_is_no_offer_nor_are_its_claims() -> None:
    found = peers()
    for run_id, run in on(of_tier(3), +0.1):
        found.take(run_id, ANN, run)
    found.take(content_id("claim x"), ANN, claim_of("x"))
    found.take(content_id("run x"), ANN, screen("x", environment=of_tier(3)))
    assert leads(found) == []


def test_of_invented_tiers_only_so_many_are_listened_to() -> None:
    found = peers()
    for octave in range(1, TIERS_MAX + 3):
        author = content_id(f"author {octave}")
        for run_id, run in on(of_tier(octave), -0.15):
            found.take(run_id, author, run)
    assert len(found.authors) == TIERS_MAX


def test_what_was_tried_here_is_no_offer() -> None:
    recording = search(-0.15)
    found = heard(peers(), ANN, recording)
    assert len(leads(found)) == 1
    assert leads(found, own=own_research(recording)) == []


def test_what_an_author_found_is_an_offer_also_where_the_own_champion_is_ahead_of_it() -> None:
    theirs, mine = search(-0.15), Recording(seed=2)
    mine.try_out(setting("DEPTH", 4, -0.5))
    (lead,) = leads(heard(peers(), ANN, theirs), own=mine.research)
    assert lead.estimate > 0.2, "its program is the worse one"
    assert lead.gain == sum(kept.effect for kept in own_research(theirs).kept)
    assert -0.2 < lead.gain < -0.1, "what it found since the start may still be new here"
    assert lead.chain == {START: 0.0}


def test_what_its_author_says_is_no_better_than_what_it_was_made_from_is_no_offer() -> None:
    found = heard(peers(), ANN, search())
    found.take(content_id("run x"), ANN, screen("x"))
    found.take(content_id("claim x"), ANN, claim_of("x", effect=0.1))
    assert leads(found) == []


def test_the_chain_of_a_claim_ends_with_the_program_that_it_is_better_than() -> None:
    recording = search(-0.15)
    (kept,) = own_research(recording).kept
    found = heard(peers(), ANN, recording)
    found.take(content_id("run x"), ANN, screen("x", parent=kept.program))
    found.take(content_id("claim x"), ANN, replace(claim_of("x", -0.3), parent=kept.program))
    best, second = leads(found)
    assert best.program == content_id("x")
    assert best.chain == {START: 0.0, kept.program: kept.effect}
    assert best.gain == kept.effect - 0.15, "half of a selected screen is believed"
    assert second.program == kept.program


def test_a_claim_is_an_offer_once_its_screen_is_known_until_its_author_settles_it() -> None:
    found = heard(peers(), ANN, search())
    found.take(content_id("claim x"), ANN, claim_of("x", -0.3, "wider"))
    assert leads(found) == []
    found.take(content_id("run x"), ANN, screen("x"))
    (lead,) = leads(found)
    assert (lead.claim, lead.note) == (content_id("claim x"), "wider")
    assert lead.estimate == -0.15
    found.take(content_id("run 2"), ANN, screen("x", status="crash", scores=()))
    assert leads(found) == []


def test_of_a_claim_its_authors_re_runs_are_believed_and_of_its_screen_half() -> None:
    candidate = Candidate(program=content_id("x"), parent=START, strategy="tune", delta=-0.4)
    assert believed(candidate, -0.4) == believed(None, -0.4) == -0.2
    assert believed(replace(candidate, effect=-0.1, reruns=2), -0.4) == -0.1


def test_a_claim_that_was_taken_back_is_none_and_only_its_author_can() -> None:
    found = heard(peers(), ANN, search())
    found.take(content_id("run x"), ANN, screen("x"))
    found.take(content_id("claim x"), ANN, claim_of("x"))
    found.take(content_id("r1"), BOB, Retract(record=content_id("claim x")))
    assert len(leads(found)) == 1
    found.take(content_id("r2"), ANN, Retract(record=content_id("claim x")))
    assert leads(found) == []


def test_a_flood_of_claims_of_one_author_is_a_handful_of_offers() -> None:
    found = heard(peers(), ANN, search())
    for number in range(CLAIMS_MAX * 3):
        found.take(content_id(f"run {number}"), ANN, screen(f"p{number}"))
        found.take(
            content_id(f"claim {number}"), ANN, claim_of(f"p{number}", -0.01 * number - 0.01)
        )
    best = leads(found)
    assert len(best) == OFFERS_MAX
    assert best[0].program == content_id(f"p{CLAIMS_MAX - 1}"), "later ones are not listened to"


def test_estimates_are_measured_from_the_last_program_both_chains_share() -> None:
    a, b, c, d = (content_id(name) for name in "abcd")
    mine = {a: 0.0, b: -1.0, c: -1.5}
    assert ahead(d, 0.0, {a: 0.0, b: -3.0, d: -4.0}, mine) == -1.0 + 0.5
    assert ahead(d, 0.0, {a: 0.0, d: -4.0}, mine) == -4.0 + 1.5
    assert ahead(c, -0.25, {a: 0.0}, mine) == -0.25, "a claim on my own champion"
    assert ahead(b, -0.25, {a: 0.0}, mine) == -0.25 + 0.5, "on what I left behind"
    assert ahead(d, 0.0, {d: -4.0}, mine) == -4.0, "nothing shared"


def test_whose_offer_a_program_was() -> None:
    found = peers()
    found.take(content_id("1"), BOB, screen("x"))
    found.take(content_id("2"), ANN, screen("x"))
    found.take(content_id("c"), ANN, claim_of("x"))
    assert found.origin(content_id("x"), None) == BOB
    assert found.origin(content_id("x"), content_id("c")) == ANN
    assert found.origin(content_id("y"), None) is None


def test_no_record_that_a_stranger_can_sign_breaks_the_fold() -> None:
    found = heard(peers(), ANN, search(-0.15))
    odd = [
        screen("no scores", scores=()),
        screen("heldout only", scores=(Score(5, "heldout", 7),)),
        screen("itself", parent=content_id("itself")),
        replace(make_run("start"), program=START, scores=(), parent=START),
        screen("probe", environment=replace(CPU, probe_ns=0)),
    ]
    for number, run in enumerate(odd):
        for again in range(3):
            found.take(content_id(f"{number}.{again}"), ANN, run)
            found.take(content_id(f"{number}.{again}"), BOB, run)
    assert leads(found, BOB) == []
    assert len(leads(found, ANN)) == 1
