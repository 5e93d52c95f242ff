"""Builds runs and records for tests with one line each; every field has a plain default."""

from typing import Any

from msgspec.structs import replace

from skep.records import Environment, Rescore, Run, Score

CPU = Environment(
    backend="cpu",
    device="test cpu",
    dtype="float32",
    memory_mib=8192,
    threads=1,
    torch="2.13.0",
    driver="",
    isa="AVX2",
    probe_ns=1_000_000,
    sandbox="bwrap",
)


def content_id(name: str) -> bytes:
    """A readable 32-byte id."""
    return name.encode().ljust(32, b".")


def make_run(program: str, **fields: Any) -> Run:
    """A finished run of a program, with any field overridden.

    `pinned` sets the score on the pinned draw; `scores` and `rescored` may be given as plain
    tuples of (draw, value) and (run name, draw, value) in units of the metric.
    """
    base = Run(
        program=content_id(program),
        parent=None,
        edits=(),
        strategy="baseline",
        seed=1,
        steps=100,
        tokens=204_800,
        budget_ms=20_000,
        spent_ms=20_000,
        train_ms=20_000,
        total_ms=23_000,
        peak_kib=300_000,
        parameters=288_000,
        status="done",
        weights=None,
        scores=(),
        rescored=(),
        scored_by="harness",
        environment=CPU,
    )
    scores = [(0, fields.pop("pinned"))] if "pinned" in fields else []
    scores += fields.pop("scores", ())
    rescored = fields.pop("rescored", ())
    if isinstance(fields.get("parent"), str):
        fields["parent"] = content_id(fields["parent"])
    return replace(
        base,
        scores=tuple(Score(draw, "dev", round(value * 1e6)) for draw, value in scores),
        rescored=tuple(
            Rescore(content_id(run), draw, "dev", round(value * 1e6))
            for run, draw, value in rescored
        ),
        **fields,
    )
