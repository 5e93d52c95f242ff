"""Models that play by the rules pass the probe, however they are made."""

from collections.abc import Iterator

import pytest

from skep.ports import Draw
from tests.trainer.models import HONEST, UNIFORM, open_bench, program
from tests.trainer.small import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with open_bench(tmp_path_factory.mktemp("bench")) as running:
        yield running


@pytest.mark.parametrize("kind", HONEST)
def test_an_honest_model_passes_the_probe(bench: Bench, kind: str) -> None:
    source = program(HONEST[kind])
    outcome = bench.train(source, steps=40)
    assert outcome.checkpoint is not None, outcome.reason
    scored = bench.score(source, outcome.checkpoint, Draw(0), Draw(7))
    assert scored.fault == ""
    assert all(0 < micro < UNIFORM for micro in scored.micro)
