"""What a node derives from its ledger: jobs, seeds, views, and programs that were lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gossip.ledger import Ledger
from node.experiment import Bench, checkpoint_path
from node.notebook import Notebook
from node.plan import Repeat
from skep.patch import apply, fingerprint
from skep.ports import Pace, Proposal
from skep.records import Run, SetConstant, program_id
from tests.factories import CPU, make_run
from tests.gossip.scenes import KEY, SWARM
from tests.node.recorded import SEED_PROGRAM, STORIES

START = program_id(SEED_PROGRAM)
EDITS = (SetConstant("LR", 0.01),)
CHILD = apply(SEED_PROGRAM, EDITS)
OTHER = apply(SEED_PROGRAM, (SetConstant("DEPTH", 2),))


@asynccontextmanager
async def ledger_with(home: Path, *runs: Run, programs: tuple[str, ...]) -> AsyncIterator[Ledger]:
    async with Ledger.open(home, KEY, swarm=SWARM, clock=lambda: 0) as ledger:
        for source in programs:
            await ledger.add_program(source, fingerprint(source))
        for run in runs:
            await ledger.publish(run, STORIES.id)
        yield ledger


def notebook(ledger: Ledger, home: Path) -> Notebook:
    bench = Bench(STORIES, None, home / "runs", CPU)  # type: ignore[arg-type]
    return Notebook(ledger, bench, KEY.public)


def baseline(seed: int, value: float = 2.0, draw: int = 7) -> Run:
    scores = [(draw, value)]
    return replace(make_run("x", seed=seed, pinned=value, scores=scores), program=START)


def child(source: str, seed: int, value: float, **fields: Any) -> Run:
    run = make_run("x", seed=seed, strategy="tune", pinned=value, scores=[(7, value)], note="idea")
    return replace(run, program=program_id(source), parent=START, edits=EDITS, **fields)


async def test_no_seed_of_a_program_is_given_twice(tmp_path: Path) -> None:
    async with ledger_with(tmp_path, programs=(SEED_PROGRAM,)) as ledger:
        book = notebook(ledger, tmp_path)
        jobs: list[Any] = []
        for _ in range(5):
            jobs.append(book.repetition(Repeat(START, "baseline"), jobs))
        assert len({job.seed for job in jobs}) == 5
        await ledger.publish(baseline(jobs[0].seed), STORIES.id)
        again = notebook(ledger, tmp_path)
        assert again.fresh_seed(START, []) == jobs[1].seed


async def test_each_run_tells_the_pace_of_one_other(tmp_path: Path) -> None:
    run = replace(baseline(0), steps=350, spent_ms=19_000)
    async with ledger_with(tmp_path, run, programs=(SEED_PROGRAM,)) as ledger:
        book = notebook(ledger, tmp_path)
        job = book.repetition(Repeat(START, "baseline"), [])
        assert book.pace(job) == Pace(steps=350, spent_ms=19_000)
        assert book.pace(job) is None


async def test_a_proposal_becomes_a_screen_with_its_edits_and_note(tmp_path: Path) -> None:
    async with ledger_with(tmp_path, programs=(SEED_PROGRAM, CHILD)) as ledger:
        proposal = Proposal(source=CHILD, parent=START, edits=EDITS, strategy="tune", note="a\nb")
        job = notebook(ledger, tmp_path).screening(proposal, [])
    assert (job.purpose, job.edits, job.parent, job.note) == ("screen", EDITS, START, "a b")


async def test_a_rerun_after_a_change_of_champion_names_the_new_one_as_parent(
    tmp_path: Path,
) -> None:
    runs = [baseline(i) for i in range(3)]
    runs += [child(CHILD, 0, 1.5), child(OTHER, 0, 1.2), child(CHILD, 1, 1.5)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, CHILD, OTHER)) as ledger:
        book = notebook(ledger, tmp_path)
        assert book.research.champion == program_id(CHILD)
        job = book.repetition(Repeat(program_id(OTHER), "rerun"), [])
    assert job.parent == program_id(CHILD)
    assert apply(CHILD, job.edits) == OTHER
    assert job.note == "idea"


async def test_the_note_of_a_program_is_its_hypothesis_not_the_reason_of_a_failure(
    tmp_path: Path,
) -> None:
    void = replace(child(CHILD, 0, 2.0), status="void", scores=(), note="too slow")
    runs = [baseline(0), void, child(CHILD, 1, 2.0)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, CHILD)) as ledger:
        assert notebook(ledger, tmp_path).note_of(program_id(CHILD)) == "idea"


async def test_runs_of_another_tier_are_not_mixed_in(tmp_path: Path) -> None:
    faster = replace(baseline(0), environment=replace(CPU, probe_ns=CPU.probe_ns // 4))
    async with ledger_with(tmp_path, faster, baseline(1), programs=(SEED_PROGRAM,)) as ledger:
        assert len(notebook(ledger, tmp_path).research.baselines) == 1


async def test_a_program_missing_from_the_database_is_rebuilt_from_its_edits(
    tmp_path: Path,
) -> None:
    runs = [baseline(0), child(CHILD, 0, 2.0)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM,)) as ledger:
        assert list(notebook(ledger, tmp_path).lost_programs()) == [CHILD]


async def test_a_view_shows_each_program_once_with_all_its_scores(tmp_path: Path) -> None:
    crash = replace(child(CHILD, 0, 2.0), status="crash", scores=())
    runs = [baseline(0, 2.0), baseline(1, 2.1), crash]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, CHILD)) as ledger:
        view = notebook(ledger, tmp_path).view([], 0)
    assert [(t.values, t.failed) for t in view.trials] == [((2.0, 2.1), 0), ((), 1)]
    assert view.fingerprints == {fingerprint(SEED_PROGRAM), fingerprint(CHILD)}


async def test_only_checkpoints_that_a_comparison_can_need_are_kept(tmp_path: Path) -> None:
    discarded = child(CHILD, 0, 2.5)
    runs = [baseline(i) for i in range(3)] + [discarded]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, CHILD)) as ledger:
        book = notebook(ledger, tmp_path)
        bench = Bench(STORIES, None, tmp_path / "runs", CPU)  # type: ignore[arg-type]
        for run in runs:
            path = checkpoint_path(bench, run)
            path.parent.mkdir(parents=True)
            path.touch()
        book.prune([])
        kept = [checkpoint_path(bench, run).exists() for run in runs]
    assert kept == [True, True, True, False]


async def test_a_waiting_job_matters_only_while_it_can_tell_something_new(tmp_path: Path) -> None:
    runs = [baseline(i) for i in range(3)] + [child(CHILD, 0, 2.5)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, CHILD, OTHER)) as ledger:
        book = notebook(ledger, tmp_path)
        new = book.screening(
            Proposal(source=OTHER, parent=START, edits=(), strategy="tune", note=""), []
        )
        assert book.still_matters(new)
        assert book.still_matters(book.repetition(Repeat(START, "baseline"), []))
        assert not book.still_matters(replace(new, program=program_id(CHILD)))
        judged = book.repetition(Repeat(program_id(CHILD), "rerun"), [])
        assert not book.still_matters(judged)


async def test_a_screen_whose_parent_was_overtaken_and_cleared_away_no_longer_matters(
    tmp_path: Path,
) -> None:
    runs = [baseline(i) for i in range(3)] + [child(CHILD, i, 1.5) for i in range(2)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM, CHILD, OTHER)) as ledger:
        book = notebook(ledger, tmp_path)
        assert book.research.champion == program_id(CHILD)
        old = book.screening(
            Proposal(source=OTHER, parent=START, edits=(), strategy="tune", note=""), []
        )
        assert not book.still_matters(old)
        assert book.still_matters(replace(old, parent=program_id(CHILD)))
        bench = Bench(STORIES, None, tmp_path / "runs", CPU)  # type: ignore[arg-type]
        checkpoint = checkpoint_path(bench, runs[0])
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        assert book.still_matters(old)
