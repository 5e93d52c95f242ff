"""What holds for every test: nobody's own home is touched, and a slow machine fails nothing."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

# Threads of torch wait for one another by spinning: tests side by side take several times as long.
os.environ["OMP_NUM_THREADS"] = "1"

# Hypothesis fails examples that take over 200 ms; a shared machine does that to anything.
hypothesis.settings.register_profile("skep", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("skep")


@pytest.fixture(scope="session", autouse=True)
def home_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever forgets to name a home, here or in a child process, gets an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKEP_HOME", str(tmp_path_factory.mktemp("home")))
        yield
