"""Whose word counts in a swarm, and how little of the rest a single one can move."""

import math
import random
from itertools import pairwise

import pytest
from msgspec.structs import replace

from skep.evidence import Evidence
from skep.tier import tier
from tests.factories import CPU, content_id, make_run
from tests.skep.test_verdict import NODES, TASK, Swarm, swarm_of


def test_a_thousand_keys_that_agree_with_one_another_have_no_say() -> None:
    swarm = swarm_of(3)
    keys = [content_id(f"key {number}") for number in range(1000)]
    claim = swarm.claim(keys[0])
    honest = swarm.claim(NODES[0], "honest")
    swarm.replicate(honest, NODES[1], -2.0, program="honest")
    before = swarm.judged(*NODES[:3])
    for key in keys[1:]:
        swarm.replicate(claim, key, -3.0)
    after = swarm.judged(*NODES[:3])
    assert after.claims[claim].state == "open"
    assert after.claims[claim].counted == 0
    assert after.claims[honest] == before.claims[honest]
    assert (after.replicated, after.identities) == (before.replicated, before.identities)


def test_standing_is_earned_by_agreeing_with_a_root_on_four_claims_and_lost_by_outliers() -> None:
    swarm = swarm_of(2)
    me, peer, author = NODES[0], NODES[1], content_id("author")
    claims = [swarm.claim(author, f"child {number}") for number in range(12)]
    for number, claim in enumerate(claims):
        swarm.replicate(claim, me, -2.0, program=f"child {number}")
    found = []
    for number, claim in enumerate(claims):
        sigmas = -2.0 if number < 4 else 8.0
        swarm.replicate(claim, peer, sigmas, program=f"child {number}")
        found.append(swarm.judged(me).standings[peer].counts)
    assert found == [False, False, False, True, *[False] * 8]
    assert swarm.judged(me).standings[peer].agreed == 4


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_no_number_of_runs_of_one_decides_what_is_noise_for_all(spread: float) -> None:
    chance = random.Random(5)
    swarm = Swarm()
    for node in NODES[:8]:
        swarm.baselines(node, *(chance.gauss(1.0, 0.01) for _ in range(9)))
    before = swarm.judged(*NODES[:9]).noise
    for seed in range(3000):
        value = 1.0 + spread * (-1) ** seed
        swarm.say(NODES[8], make_run("flat", seed=seed, pinned=value))
    after = swarm.judged(*NODES[:9]).noise
    assert after.sigma == pytest.approx(before.sigma, rel=0.25)
    assert after.dof == before.dof + 8


def test_levels_that_one_makes_up_do_not_move_the_prior() -> None:
    task = replace(TASK, sigma=0.01, noise=0.0)
    swarm = swarm_of(4)
    for seed in range(100):
        swarm.say(NODES[4], make_run("parent", seed=seed, pinned=30.0))
    evidence = Evidence(task, tier(CPU))
    for one in swarm.said:
        evidence.take(*one)
    alone, all_of_them = evidence.noise(NODES[:1]), evidence.noise(NODES[:5])
    assert alone.sigma * math.sqrt(alone.dof) == pytest.approx(0.01 * math.sqrt(10))
    assert all_of_them.sigma * math.sqrt(all_of_them.dof) == pytest.approx(0.01 * math.sqrt(10))


def test_a_clock_of_ones_own_hides_no_outlier() -> None:
    swarm = swarm_of(2)
    me, liar, author = NODES[0], NODES[1], content_id("author")
    for number in range(30):
        claim = swarm.claim(author, f"child {number}")
        swarm.replicate(claim, me, -2.0, program=f"child {number}")
        sigmas = -2.0 if number < 12 else 12.0
        swarm.replicate(claim, liar, sigmas, program=f"child {number}")
        if number < 12:  # These it would like to have made last.
            content, by, _, run = swarm.said[-1]
            swarm.said[-1] = content, by, 2**62, run
    known = swarm.judged(me).standings[liar]
    assert (known.agreed, known.compared, known.counts) == (12, 30, False)


def test_claims_dated_into_the_future_hide_no_made_up_numbers() -> None:
    swarm = swarm_of(3)
    me, liar = NODES[:2]
    for number in range(24):
        effect, time = (-0.02, 2**62) if number < 12 else (-0.3, number)
        claim = swarm.claim(liar, f"child {number}", effect=effect)
        content, by, _, said = swarm.said[-1]
        swarm.said[-1] = content, by, time, said
        swarm.replicate(claim, me, -2.0 if number < 12 else 0.0, program=f"child {number}")
    known = swarm.judged(me).standings[liar].overclaimed
    assert known is not None
    assert known > 4.0


def test_those_who_vouch_for_one_another_reach_only_so_far() -> None:
    swarm = swarm_of(1)
    keys = [NODES[0], *(content_id(f"key {number}") for number in range(20))]
    for number, (one, following) in enumerate(pairwise(keys)):
        for part in range(4):
            program = f"child {number} {part}"
            claim = swarm.claim(content_id("author"), program)
            for who in (one, following):
                swarm.replicate(claim, who, -2.0, program=program)
    known = swarm.judged(NODES[0]).standings
    assert [known[key].counts for key in keys] == [True] * 17 + [False] * 4


def test_keys_that_contradict_one_another_lose_their_say_and_an_honest_one_keeps_it() -> None:
    swarm = swarm_of(2)
    me, honest, author = NODES[0], NODES[1], content_id("author")
    keys = [content_id(f"key {number}") for number in range(200)]
    for number in range(8):
        claim = swarm.claim(author, f"child {number}")
        for one in (me, honest) if number < 4 else ():
            swarm.replicate(claim, one, -2.0, program=f"child {number}")
        for place, key in enumerate(keys):
            sigmas = -2.0 if number < 4 else (30.0 + place) * (-1) ** (number + place)
            swarm.replicate(claim, key, sigmas, program=f"child {number}")
    known = swarm.judged(me).standings
    assert known[honest].counts
    assert sum(known[key].counts for key in keys) <= 4


def test_an_author_whose_claims_are_far_from_the_truth_loses_its_say() -> None:
    swarm = swarm_of(3)
    me, other, liar = NODES[:3]
    honest = [swarm.claim(other, f"true {number}") for number in range(5)]
    made_up = [swarm.claim(liar, f"false {number}", effect=-0.1) for number in range(5)]
    for number in range(5):
        for node in (me, liar):
            swarm.replicate(honest[number], node, -2.5, program=f"true {number}")
        swarm.replicate(made_up[number], me, 0.0, program=f"false {number}")
    known = swarm.judged(me).standings[liar]
    assert (known.agreed, known.counts) == (5, False)
    assert known.overclaimed is not None
    assert known.overclaimed > 4.0


def test_of_two_roots_that_differ_either_may_be_wrong_but_of_three_the_one() -> None:
    for nodes, expected in ((2, [True, True]), (3, [True, False])):
        swarm = swarm_of(nodes)
        for number in range(6):
            claim = swarm.claim(content_id("author"), f"child {number}")
            for node in NODES[:nodes]:
                sigmas = 9.0 if node == NODES[1] else 0.0
                swarm.replicate(claim, node, sigmas, program=f"child {number}")
        known = swarm.judged(*NODES[:nodes]).standings
        assert [known[node].counts for node in NODES[:2]] == expected
