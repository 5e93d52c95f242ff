"""What holds for every test: nobody's own home is touched, and a slow machine fails nothing."""

import os
from collections import Counter
from collections.abc import Iterator

import hypothesis
import pytest

# Threads of torch wait for one another by spinning: tests side by side take several times as long.
os.environ["OMP_NUM_THREADS"] = "1"

# Hypothesis fails examples that take over 200 ms; a shared machine does that to anything.
hypothesis.settings.register_profile("skep", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("skep")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let every worker of xdist begin with some of the end-to-end tests, the longest first.

    They wait more than they compute, and one that begins last keeps all from ending. xdist gives
    each worker as many of the tests in a row; of modules that belong here, a long test has one to
    itself.
    """
    long = [item for item in items if item.path.parent.name == "e2e"]
    rest = [item for item in items if item.path.parent.name != "e2e"]
    sizes = Counter(item.path for item in long)
    long.sort(key=lambda item: sizes[item.path])
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items.clear()
    for worker in range(workers):
        first, last = (len(rest) * number // workers for number in (worker, worker + 1))
        items += [*long[worker::workers], *rest[first:last]]


@pytest.fixture(scope="session", autouse=True)
def home_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever forgets to name a home, here or in a child process, gets an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKEP_HOME", str(tmp_path_factory.mktemp("home")))
        yield
