"""The rows people see: numbers, descriptions, verdicts and effects, from recorded runs."""

import pytest
from msgspec.structs import replace

from node.history import Experiment, describe, history
from skep.records import Edit, Hunk, SetConstant, Status, program_id
from tests.factories import CPU, make_run
from tests.node.recorded import SEED_PROGRAM, STORIES, Idea, Recording, setting, small_search

SOURCES = {b"parent": SEED_PROGRAM}


def rows_of(recording: Recording) -> tuple[Experiment, ...]:
    return history(recording.runs, recording.task, recording.sources.__getitem__).experiments


def test_a_small_search_reads_as_five_rows() -> None:
    rows = rows_of(small_search())
    assert [(row.number, row.verdict, row.description) for row in rows] == [
        (0, "baseline", "baseline"),
        (1, "keep", "LR 0.003 → 0.012"),
        (2, "discard", "DEPTH 3 → 9"),
        (3, "crash", "LR 0.012 → 50.0"),
        (4, "discard", "say nothing in a comment"),
    ]
    assert [row.parent == rows[1].program for row in rows] == [False, False, True, True, True]
    assert [len(row.runs) for row in rows] == [3, 2, 1, 1, 1]
    assert rows[3].reason == "loss is not finite"
    assert (rows[3].value, rows[3].delta, rows[3].sigmas) == (None, None, None)
    assert rows[0].seconds == 69.0
    assert rows[0].memory_gib == pytest.approx(0.2861, abs=1e-4)


def test_value_and_effect_come_from_reruns_not_from_the_screen_that_was_selected() -> None:
    recording = small_search()
    kept = rows_of(recording)[1]
    runs = [run for _, run in recording.runs if run.program == kept.program]
    rerun = runs[1]
    assert kept.value == pytest.approx(rerun.scores[0].micro / 1e6)
    baseline = sum(row.micro for row in rerun.rescored) / len(rerun.rescored)
    assert kept.delta == pytest.approx((rerun.scores[1].micro - baseline) / 1e6)
    assert kept.reason.startswith(f"{kept.sigmas:+.1f}σ over 1 against 3 runs")
    assert kept.e is not None
    assert kept.e >= 20


def test_lineage_leads_from_the_start_to_the_champion() -> None:
    recording = small_search()
    found = history(recording.runs, STORIES, recording.sources.__getitem__)
    assert [row.number for row in found.lineage] == [0, 1]
    assert found.lineage[-1].program == found.research.champion


def test_nothing_recorded_is_an_empty_history() -> None:
    found = history([], STORIES, SOURCES.__getitem__)
    assert (found.experiments, found.lineage, found.tier) == ((), (), "")
    assert found.research.champion == program_id(SEED_PROGRAM)


def test_for_a_metric_to_be_maximised_the_delta_is_as_measured_and_sigmas_stay_negative() -> None:
    task = replace(STORIES, direction="max")
    recording = Recording(task)
    recording.try_out(setting("LR", 0.012, worth=+0.15))
    kept = rows_of(recording)[1]
    assert kept.verdict == "keep"
    assert kept.delta == pytest.approx(0.15, abs=0.05)
    assert kept.sigmas is not None
    assert kept.sigmas < -5


def test_runs_of_another_tier_are_left_out() -> None:
    recording = small_search()
    elsewhere = replace(CPU, probe_ns=CPU.probe_ns * 8)
    moved = [
        (run_id, replace(run, environment=elsewhere)) if number < 4 else (run_id, run)
        for number, (run_id, run) in enumerate(recording.runs)
    ]
    found = history(moved, STORIES, recording.sources.__getitem__)
    assert found.tier == "cpu-float32-cpu-o0"
    assert recording.runs[0][0] not in {run for row in found.experiments for run in row.runs}


def test_a_candidate_that_waits_for_evidence_is_pending() -> None:
    recording = Recording()
    recording.try_out(setting("LR", 0.012, worth=-0.15))
    screened = [pair for pair in recording.runs if pair[1].strategy == "baseline"]
    screened.append(next(pair for pair in recording.runs if pair[1].strategy == "tune"))
    (_, row) = history(screened, STORIES, recording.sources.__getitem__).experiments
    assert (row.verdict, row.e) == ("pending", None)
    assert row.sigmas is not None
    assert row.sigmas < -1


def test_a_number_never_changes_as_more_comes_in() -> None:
    recording = small_search()
    before = {row.program: row.number for row in rows_of(recording)}
    recording.try_out(Idea((SetConstant("DEPTH", 2),), worth=-0.1))
    after = {row.program: row.number for row in rows_of(recording)}
    assert {program: after[program] for program in before} == before


@pytest.mark.parametrize(
    ("edits", "note", "status", "words"),
    [
        ((SetConstant("LR", 0.012),), "", "done", "LR 0.003 → 0.012"),
        ((SetConstant("LR", 0.012),), "faster", "done", "LR 0.003 → 0.012"),
        ((SetConstant("BETAS", (0.8, 0.95)),), "", "done", "BETAS (0.9, 0.95) → (0.8, 0.95)"),
        ((SetConstant("NEW", 1),), "", "done", "NEW → 1"),
        (
            (SetConstant("DEPTH", 4), SetConstant("LR", 0.01)),
            "",
            "done",
            "DEPTH 3 → 4, LR 0.003 → 0.01",
        ),
        ((Hunk(3, "a\n", "b\nc\n"),), "swap a", "done", "swap a"),
        ((Hunk(3, "a\n", "b\nc\n"),), "out of memory", "oom", "line 3: -1 +2"),
        (
            (Hunk(3, "a\n", "b\n"), SetConstant("LR", 1.0)),
            "",
            "done",
            "line 3: -1 +1, LR 0.003 → 1.0",
        ),
        ((), "why", "crash", "llm"),
    ],
)
def test_an_edit_in_a_few_words(
    edits: tuple[Edit, ...], note: str, status: Status, words: str
) -> None:
    run = make_run("p", edits=edits, note=note, status=status, strategy="llm")
    assert describe(replace(run, parent=b"parent"), SOURCES.__getitem__) == words


def test_an_edit_of_a_parent_that_is_not_stored_has_no_old_value() -> None:
    run = make_run("p", edits=(SetConstant("LR", 0.5),), parent="elsewhere")
    assert describe(run, SOURCES.__getitem__) == "LR → 0.5"


def test_a_long_description_is_cut() -> None:
    run = make_run("p", edits=(), note="word " * 60, strategy="llm")
    assert len(describe(run, SOURCES.__getitem__)) == 200
