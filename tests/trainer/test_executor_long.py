"""Long jobs: they live on, print as much as they like, and a pause stops all of them."""

from collections.abc import Iterator

import psutil
import pytest
import trio
from msgspec.structs import replace

from skep.ports import Outcome, Progress
from tests.trainer.small import Bench, make_task, processes_of, program
from trainer import sandbox

BUSY = program(
    """
    reader, writer = os.pipe()
    for _ in range(2):
        if os.fork() == 0:
            os.setsid()
            os.fork()
            os.write(writer, b"x")
            while True: pass
    for _ in range(4): os.read(reader, 1)
    for _ in run.steps():
        time.sleep(0.05)
        run.log(1.0, 1)
    return build_model(run.meta)
    """,
    "import os, time",
)
LONG = program(
    """
    for _ in run.steps():
        time.sleep(0.25)
        run.log(1.0, 1)
    return build_model(run.meta)
    """,
    "import time",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    backend, _ = sandbox.choose()
    task = make_task(folder)
    patient = replace(task, limits=replace(task.limits, timeout_s=120))
    with Bench(patient, folder, backend) as running:
        yield running


def test_a_pause_stops_every_descendant_and_voids_the_run(bench: Bench) -> None:
    seen: list[list[str]] = []

    async def pause_it() -> Outcome:
        busy = trio.Event()

        def report(progress: Progress) -> None:
            if progress.loss is not None:
                busy.set()

        outcomes: list[Outcome] = []

        async def train() -> None:
            order = bench.order(BUSY, steps=20)
            outcomes.append(await bench.executor.train(0, order, report))
            busy.set()  # or an early end would be waited for

        async with trio.open_nursery() as nursery:
            nursery.start_soon(train)
            await busy.wait()
            job = processes_of("worker.py")
            await bench.executor.pause()
            with trio.move_on_after(10):  # signals take their time on a loaded machine
                while set(await states(job)) != {psutil.STATUS_STOPPED}:
                    pass
            seen.append(await states(job))
            await bench.executor.resume()
        return outcomes[0]

    async def states(job: list[psutil.Process]) -> list[str]:
        await trio.sleep(0.01)
        return [process.status() for process in job]

    outcome = bench.call(pause_it)
    assert seen == [6 * [psutil.STATUS_STOPPED]]  # worker, program, four children
    assert (outcome.status, outcome.paused) == ("void", True)


def test_a_job_of_more_than_ten_seconds_survives(bench: Bench) -> None:
    """What a thread of the node starts dies with that thread, which idles out after ten."""
    outcome = bench.train(LONG, steps=48)
    assert (outcome.status, outcome.reason) == ("done", "")


def test_500_mb_of_output_harm_nobody(bench: Bench) -> None:
    order = bench.order(
        program("for _ in range(500): print('x' * 2**20)\nreturn honest(run)"), steps=2
    )
    outcome = bench.call(lambda: bench.executor.train(0, order, lambda _: None))
    assert (outcome.status, outcome.reason) == ("done", "")
    assert len((order.folder / "log.txt").read_text()) < 140_000
