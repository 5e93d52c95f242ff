"""The swarm's verdict: it takes several machines, and neither an author nor a liar can make one."""

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from skep.evidence import Evidence, Verdicts, log_e_value, replication_seed, verdict
from skep.evidence.evalue import BETWEEN_SIGMA
from skep.evidence.verdict import Heard, confirmed_among
from skep.ports import TaskFacts
from skep.records import Claim, Payload, Rescore, Run, Score
from skep.tier import tier
from tests.factories import CPU, content_id, make_run

TASK = TaskFacts(
    name="t",
    id=bytes(32),
    metric="val_bpb",
    direction="min",
    scored_by="harness",
    budget_ms=20_000,
    sigma=0.01,
    noise=0.01,
    seed_program="",
)
NODES = [content_id(f"node {number}") for number in range(12)]
Said = tuple[bytes, bytes, int, Payload]
"""Record id, author, time and payload."""


class Swarm:
    """Everything that is said, in some order."""

    def __init__(self) -> None:
        self.said: list[Said] = []

    def say(self, author: bytes, payload: Payload) -> bytes:
        number = len(self.said)
        self.said.append((content_id(f"record {number}"), author, number, payload))
        return self.said[-1][0]

    def claim(self, author: bytes, program: str = "child", effect: float = -0.03) -> bytes:
        run = self.say(author, make_run(program, parent="parent", strategy="tune", pinned=0.97))
        said = Claim(
            program=content_id(program),
            parent=content_id("parent"),
            run=run,
            effect=round(effect * 1e6),
        )
        return self.say(author, said)

    def baselines(self, author: bytes, *values: float) -> list[bytes]:
        return [
            self.say(author, make_run("parent", seed=seed, pinned=value))
            for seed, value in enumerate(values)
        ]

    def replicate(
        self,
        claim: bytes,
        author: bytes,
        sigmas: float,
        *,
        program: str = "child",
        number: int = 0,
        seed: int | None = None,
        draw: int = 7,
        parents: tuple[float, ...] = (1.0, 1.0, 1.0),
        lines: list[bytes] | None = None,
    ) -> None:
        """Run a claim's program once, so many sigma from the mean of the parent's runs."""
        lines = self.baselines(author, *parents) if lines is None else lines
        old = [Rescore(run, draw, "heldout", 1_000_000) for run in lines]
        run = make_run(program, parent="parent", strategy="adopt", claim=claim)
        self.say(
            author,
            replace(
                run,
                seed=replication_seed(claim, author, number) if seed is None else seed,
                scores=(Score(draw, "heldout", round((1.0 + 0.01 * sigmas) * 1e6)),),
                rescored=tuple(old),
            ),
        )

    def judged(self, *roots: bytes, said: list[Said] | None = None) -> Verdicts:
        evidence = Evidence(TASK, tier(CPU))
        for one in self.said if said is None else said:
            evidence.take(*one)
        return verdict(evidence, roots or tuple(NODES))


def swarm_of(nodes: int) -> Swarm:
    """All of them have runs on the tier, so that so many are heard."""
    swarm = Swarm()
    for node in NODES[:nodes]:
        swarm.baselines(node, 1.0, 1.0)
    return swarm


def test_three_machines_confirm_what_one_or_two_cannot() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    states = []
    for node in NODES[1:4]:
        swarm.replicate(claim, node, -20.0)
        states.append(swarm.judged().claims[claim].state)
    assert states == ["open", "open", "confirmed"]
    assert swarm.judged().log_cap == pytest.approx(math.log(20) / 3)


def test_without_the_cap_one_liar_would_confirm_alone() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    swarm.replicate(claim, NODES[1], -20.0)
    known = swarm.judged().claims[claim]
    assert known.voices[0].log_e > math.log(20) > known.log_e


def test_what_a_liar_says_would_do_where_one_voice_could_carry_the_threshold() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    evidence = Evidence(TASK, tier(CPU))
    for one in swarm.said:
        evidence.take(*one)
    known = evidence.claim(claim)
    assert known is not None
    lie = Heard(known, {}, {NODES[1]: 1000.0}, None, 1.0)
    assert confirmed_among([lie], voices=1)[1] == {claim}
    assert confirmed_among([lie], voices=3)[1] == frozenset()


def test_a_claim_that_nobody_else_sees_is_refuted_by_two() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    swarm.replicate(claim, NODES[1], 2.0)
    assert swarm.judged().claims[claim].state == "open"
    swarm.replicate(claim, NODES[2], 2.0)
    assert swarm.judged().claims[claim].state == "refuted"


def test_a_small_lab_needs_fewer_but_surer_voices_and_a_single_node_confirms_nothing() -> None:
    for nodes, states in ((1, ["open"]), (2, ["confirmed"]), (3, ["open", "confirmed"])):
        swarm = swarm_of(nodes)
        claim = swarm.claim(NODES[nodes - 1])
        found = []
        for node in [*NODES[: nodes - 1], *([NODES[0]] if nodes == 1 else [])]:
            if node != NODES[nodes - 1]:
                swarm.replicate(claim, node, -20.0)
            found.append(swarm.judged(*NODES[:nodes]).claims[claim].state)
        assert found == states
    assert swarm.judged(*NODES[:3]).sigma == pytest.approx(swarm.judged(*NODES[:3]).noise.upper)


def test_many_claims_raise_what_each_has_to_reach() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    for node in NODES[1:4]:
        swarm.replicate(claim, node, -20.0)
    for number in range(9):
        other = swarm.claim(NODES[0], f"null {number}")
        swarm.replicate(other, NODES[1], 0.0, program=f"null {number}", lines=[])
    assert swarm.judged().replicated == 1  # Without runs of the parent nothing was compared.
    for number in range(9):
        other = swarm.claim(NODES[0], f"next {number}")
        swarm.replicate(other, NODES[1], 0.0, program=f"next {number}")
    known = swarm.judged()
    assert (known.replicated, known.confirmed) == (10, 1)
    assert known.log_threshold == pytest.approx(math.log(200))


def test_an_author_cannot_add_to_its_own_claim() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    swarm.replicate(claim, NODES[1], -2.0)
    before = swarm.judged().claims[claim]
    for number in range(6):
        swarm.replicate(claim, NODES[0], -20.0, number=number)
    after = swarm.judged().claims[claim]
    assert after.state == "open"
    assert [voice.replication.author for voice in after.voices] == [NODES[1]]
    assert after.log_e == pytest.approx(before.log_e, abs=0.2)  # Only sigma knows more.


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(), (-20.0,), (-20.0, -20.0, -20.0), (2.0, 2.0)]),
    st.lists(
        st.tuples(
            st.sampled_from(["replicate", "screen", "baseline", "adopt"]),
            st.sampled_from([-20.0, -3.0, 0.0, 20.0]),
            st.integers(0, 7),
        ),
        max_size=8,
    ),
)
def test_whatever_an_author_runs_its_claim_stays_what_it_was(
    found: tuple[float, ...], runs: list[tuple[str, float, int]]
) -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    for node, sigmas in zip(NODES[1:], found, strict=False):
        swarm.replicate(claim, node, sigmas)
    before = swarm.judged().claims[claim]
    for kind, sigmas, number in runs:
        value = 1.0 + 0.01 * sigmas
        if kind == "replicate":
            swarm.replicate(claim, NODES[0], sigmas, number=number)
        elif kind == "baseline":
            swarm.baselines(NODES[0], value)
        else:
            strategy = "tune" if kind == "screen" else "baseline"
            said = make_run("child", parent="parent", strategy=strategy, seed=number, pinned=value)
            swarm.say(NODES[0], said)
    after = swarm.judged().claims[claim]
    assert after.state == before.state
    said_before, said_after = ([v.replication for v in one.voices] for one in (before, after))
    assert said_after == said_before


@pytest.mark.parametrize(
    ("how", "compared"),
    [
        ({}, 1),
        ({"seed": 5}, 0),
        ({"number": 6}, 0),
        ({"parents": (1.0,)}, 0),
        ({"program": "other"}, 0),
    ],
)
def test_only_the_given_seeds_against_own_runs_of_the_parent_count(
    how: dict[str, object], compared: int
) -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    swarm.replicate(claim, NODES[1], -2.0, **how)  # type: ignore[arg-type]
    assert len(swarm.judged().claims[claim].voices) == compared


def test_runs_of_somebody_else_are_no_baseline() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    theirs = swarm.baselines(NODES[2], 2.0, 2.0)
    swarm.replicate(claim, NODES[1], -2.0, lines=theirs)
    assert swarm.judged().claims[claim].voices == ()


def test_several_runs_on_one_draw_are_one_voice_of_more_weight() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    lines = swarm.baselines(NODES[1], 1.0, 1.0, 1.0)
    for number, sigmas in enumerate((-2.0, -4.0)):
        swarm.replicate(claim, NODES[1], sigmas, number=number, lines=lines)
    (voice,) = swarm.judged().claims[claim].voices
    assert (voice.replication.children, voice.replication.parents) == (2, 3)
    assert voice.replication.difference == pytest.approx(-0.03)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([-1.39, 0.5, 1.0, 1.6, 2.2, 3.0, 9.0]), min_size=1, max_size=6),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 3),
)
def test_as_many_are_confirmed_as_reach_the_threshold_of_so_many(
    said: list[list[float]], voices: int
) -> None:
    def reaching(k: int) -> list[int]:
        log_t = math.log(20 * len(said) / k)
        sums = [sum(min(one, log_t / voices) for one in them) for them in said]
        return [place for place, total in enumerate(sums) if total >= log_t - 1e-9]

    best = next((k for k in range(len(said), 0, -1) if len(reaching(k)) >= k), 0)
    swarm = swarm_of(1)
    claims = [swarm.claim(NODES[0], f"child {number}") for number in range(len(said))]
    evidence = Evidence(TASK, tier(CPU))
    for one in swarm.said:
        evidence.take(*one)
    heard = [
        Heard(known, {}, dict(zip(NODES, them, strict=False)), None, 1.0)
        for claim, them in zip(claims, said, strict=True)
        if (known := evidence.claim(claim))
    ]
    expected = frozenset(claims[place] for place in (reaching(best) if best else ()))
    assert confirmed_among(heard, voices)[1] == expected


def test_thousands_of_claims_that_nearly_reach_it_are_judged_in_a_moment() -> None:
    swarm = swarm_of(1)
    claim = swarm.claim(NODES[0])
    evidence = Evidence(TASK, tier(CPU))
    for one in swarm.said:
        evidence.take(*one)
    known = evidence.claim(claim)
    assert known is not None
    loud = Heard(known, {}, {NODES[1]: 1000.0, NODES[2]: 0.1, NODES[3]: 0.1}, None, 1.0)
    assert confirmed_among([loud] * 20_000, 3)[1] == frozenset()


def test_what_adopters_do_not_find_is_overturned_and_what_they_find_stays() -> None:
    for found, state in ((1.0, "overturned"), (0.97, "confirmed")):
        swarm = swarm_of(12)
        claim = swarm.claim(NODES[0])
        for node in NODES[1:4]:
            swarm.replicate(claim, node, -3.0)
        assert swarm.judged().claims[claim].state == "confirmed"
        for node in NODES[1:4]:
            for seed in (1, 2):
                swarm.say(node, make_run("child", parent="parent", seed=seed, pinned=found))
        assert swarm.judged().claims[claim].state == state


def test_one_adopter_alone_overturns_nothing() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    for node in NODES[1:4]:
        swarm.replicate(claim, node, -3.0)
    for seed in range(6):
        swarm.say(NODES[1], make_run("child", parent="parent", seed=seed, pinned=1.1))
    assert swarm.judged().claims[claim].state == "confirmed"


def test_effects_come_from_replications_and_are_drawn_towards_zero() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0], effect=-0.09)
    swarm.replicate(claim, NODES[1], -2.0)
    known = swarm.judged().claims[claim]
    assert known.measured == pytest.approx(-0.02)
    assert known.effect is not None
    assert known.spread is not None
    assert -0.02 < known.effect < -0.005
    assert 0.0 < known.spread < 0.012


def test_a_metric_that_grows_turns_everything_round() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    for node in NODES[1:4]:
        swarm.replicate(claim, node, -20.0)
    evidence = Evidence(replace(TASK, direction="max"), tier(CPU))
    for one in swarm.said:
        evidence.take(*one)
    assert verdict(evidence, NODES).claims[claim].state == "refuted"


def test_runs_of_other_tiers_and_budgets_say_nothing() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    for node in NODES[1:4]:
        swarm.replicate(claim, node, -20.0)
    for fields in ({"budget_ms": 1}, {"environment": replace(CPU, probe_ns=10**9)}):
        said = [
            (one, by, at, replace(it, **fields) if isinstance(it, Run) and it.claim else it)
            for one, by, at, it in swarm.said
        ]
        assert swarm.judged(said=said).claims[claim].voices == ()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_the_order_in_which_records_come_the_verdicts_are_the_same(seed: int) -> None:
    chance = random.Random(seed)
    swarm = swarm_of(6)
    for number in range(4):
        claim = swarm.claim(NODES[number], f"child {number}")
        for node in NODES[:6]:
            if chance.random() < 0.7:
                sigmas = chance.gauss(-2, 2)
                swarm.replicate(claim, node, sigmas, program=f"child {number}")
    shuffled = chance.sample(swarm.said, len(swarm.said))
    assert swarm.judged(*NODES[:2], said=shuffled) == swarm.judged(*NODES[:2])


def expected_e(children: int, parents: int, believed: int) -> float:
    """E[e] of edits that do nothing, where so many runs of the parent are believed to be made."""
    spread = math.sqrt(1 / children + 1 / parents + BETWEEN_SIGMA**2)
    step = 0.02
    return sum(
        step
        * statistics.NormalDist(0, spread).pdf(step * i)
        * math.exp(
            log_e_value(step * i, 1.0, children=children, parents=believed, between=BETWEEN_SIGMA)
        )
        for i in range(-1_000, 1_001)
    )


@pytest.mark.parametrize(("children", "parents"), [(1, 2), (2, 3), (6, 6)])
def test_machines_that_differ_do_not_talk_an_e_value_up(children: int, parents: int) -> None:
    assert expected_e(children, parents, parents) == pytest.approx(1.0, abs=0.01)


def test_a_replicator_that_took_its_parent_for_known_would_triple_it() -> None:
    assert expected_e(1, 2, 10**9) == pytest.approx(3.1, abs=0.05)
