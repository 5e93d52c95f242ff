"""The rules of an idle slot, as a table over literal states."""

from msgspec.structs import replace

from node.plan import Action, Flight, Propose, Repeat, Stop, Wait
from node.plan import next_action as decide
from skep.evidence import Candidate, Noise, Research
from tests.factories import content_id

SEED, X, Y = content_id("seed"), content_id("x"), content_id("y")
BASELINE = Flight(SEED, "baseline")


def state(baselines: int, *candidates: Candidate) -> Research:
    return Research(
        start=SEED,
        champion=SEED,
        kept=(),
        candidates={c.program: c for c in candidates},
        baselines=tuple(content_id(f"b{i}") for i in range(baselines)),
        noise=Noise(sigma=0.01, dof=20, upper=0.012),
        judged=sum(c.stage == "discarded" for c in candidates),
        reopened=sum(c.stage == "open" for c in candidates),
    )


def next_action(research: Research, flights: list[Flight], proposals: int | None = None) -> Action:
    """The shipped rules, where every run of the champion can still be compared with."""
    return decide(research, flights, comparable=len(research.baselines), proposals=proposals)


def promising(program: bytes, delta: float, **fields: object) -> Candidate:
    given = {"parent": SEED, "strategy": "tune", "stage": "open", "delta": delta}
    return Candidate(program=program, **(given | fields))  # type: ignore[arg-type]


def test_three_baselines_come_first_and_those_in_flight_count() -> None:
    assert next_action(state(0), []) == Repeat(SEED, "baseline")
    assert next_action(state(1), [BASELINE]) == Repeat(SEED, "baseline")
    assert next_action(state(1), [BASELINE, BASELINE]) == Propose()


def test_of_a_later_champion_the_runs_that_got_it_kept_will_do() -> None:
    later = replace(state(1), champion=X)
    assert next_action(later, []) == Propose()
    assert next_action(replace(later, baselines=()), []) == Repeat(X, "baseline")


def test_without_any_finished_baseline_every_slot_makes_one() -> None:
    assert next_action(state(0), [BASELINE] * 7) == Repeat(SEED, "baseline")


def test_baselines_whose_checkpoints_are_gone_do_not_count() -> None:
    assert decide(state(6), [], comparable=0) == Repeat(SEED, "baseline")


def test_a_promising_candidate_is_rerun_before_anything_new() -> None:
    assert next_action(state(3, promising(X, -0.02)), []) == Repeat(X, "rerun")


def test_the_most_promising_candidate_goes_first() -> None:
    research = state(3, promising(X, -0.02), promising(Y, -0.2))
    assert next_action(research, []) == Repeat(Y, "rerun")


def test_a_clear_case_gets_one_rerun_at_a_time_a_weak_one_several() -> None:
    clear = state(3, promising(X, -0.5))
    weak = state(3, promising(X, -0.015))
    flying = [Flight(X, "rerun")]
    assert next_action(clear, flying) == Propose()
    assert next_action(weak, flying) == Repeat(X, "rerun")


def test_a_fourth_rerun_needs_a_fourth_baseline() -> None:
    weak = promising(X, -0.015, effect=-0.015, reruns=3)
    assert next_action(state(3, weak), []) == Repeat(SEED, "baseline")
    assert next_action(state(4, weak), []) == Repeat(X, "rerun")


def test_what_a_peer_offers_is_rerun_twice_for_each_run_of_a_later_champion() -> None:
    def after(baselines: int, reruns: int, strategy: str) -> Action:
        weak = promising(X, -0.015, effect=-0.015, reruns=reruns, strategy=strategy)
        return next_action(replace(state(baselines, weak), start=Y), [])

    assert after(1, 1, "adopt") == after(2, 3, "replicate") == Repeat(X, "rerun")
    assert after(1, 2, "adopt") == after(1, 1, "tune") == Repeat(SEED, "baseline")


def test_a_candidate_waiting_for_a_champion_run_gets_it() -> None:
    waiting = promising(X, -0.015, effect=-0.015, reruns=6, missing=1)
    assert next_action(state(6, waiting), []) == Repeat(SEED, "baseline")
    assert next_action(state(6, waiting), [BASELINE]) == Propose()


def test_a_candidate_overtaken_at_its_last_rerun_gets_one_more_against_the_new_champion() -> None:
    overtaken = promising(X, -0.5, effect=-0.5, reruns=6)
    assert next_action(state(9, overtaken), [], proposals=1) == Repeat(X, "rerun")
    assert next_action(state(9, overtaken), [Flight(X, "rerun")], proposals=1) == Wait()


def test_the_asked_number_of_proposals_is_not_exceeded_and_open_ones_are_finished() -> None:
    done = promising(Y, 0.1, stage="discarded")
    assert next_action(state(3, done), [], proposals=1) == Stop()
    assert next_action(state(3), [Flight(X, "screen")], proposals=1) == Wait()
    assert next_action(state(3, promising(X, -0.02)), [], proposals=1) == Repeat(X, "rerun")
    assert next_action(state(3, done), [], proposals=2) == Propose()
