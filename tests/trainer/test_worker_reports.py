"""What a candidate reports and prints, and what we make of it: pure functions, no processes."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.ports import Pace
from skep.records import Status
from trainer.log import HEAD_BYTES, TAIL_BYTES, Log, printable
from trainer.messages import (
    MAX_BYTES,
    Begun,
    Calibrated,
    Failed,
    Finished,
    Garbled,
    Reader,
    Report,
    Step,
)
from trainer.meter import REFERENCE_PROBE_S, Bias, Ended, Meter, typical
from trainer.outcome import CURVE_POINTS, Said, failure

CPU = Meter(on_cpu=True, speed=1.0)
GPU = Meter(on_cpu=False, speed=1.0)


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def message(**fields: object) -> bytes:
    return frame(json.dumps(fields).encode())


def ended(**fields: object) -> Ended:
    plain = {"status": 0, "stopped": "", "cpu": 1.0, "wall": 1.0, "peak": 0, "probes": (1.0,)}
    return Ended(**{**plain, **fields})  # type: ignore[arg-type]


def test_messages_are_read_however_they_are_cut() -> None:
    stream = message(type="begun") + message(type="step", step=1, tokens=2, loss=3.0)
    for cut in range(len(stream)):
        reader = Reader()
        reports = [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])]
        assert reports == [Begun(), Step(step=1, tokens=2, loss=3.0)]


@pytest.mark.parametrize(
    "bad",
    [
        frame(b""),
        frame(b"null"),
        frame(b"\xff"),
        frame(b"[" * 10_000),
        frame(b'{"type":"step","step":1,"tokens":1,"loss":' + b"[" * 60_000),
        message(type="unknown"),
        message(type="begun", extra=1),
        message(type="step", step=-1, tokens=0, loss=0.0),
        message(type="step", step=2**60, tokens=0, loss=0.0),
        message(type="step", step="1", tokens=0, loss=0.0),
        message(type="step", step=1, tokens=1, loss=math.nan),
        message(type="failed", kind="done", reason=""),
        message(type="failed", kind="crash", reason="x" * 3000),
        (MAX_BYTES + 1).to_bytes(4, "big"),
    ],
)
def test_garbage_ends_the_reading(bad: bytes) -> None:
    reader = Reader()
    assert list(reader.feed(bad + message(type="begun"))) == [Garbled()]
    assert list(reader.feed(message(type="begun"))) == []


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    for report in Reader().feed(data):
        assert isinstance(report, Report | Garbled)


def test_a_log_keeps_both_ends() -> None:
    log = Log()
    log.add(b"first\n" + b"a" * HEAD_BYTES)
    for _ in range(100):
        log.add(b"b" * TAIL_BYTES)
    log.add(b"\nlast")
    assert log.text.startswith("first\na")
    assert log.text.endswith("b\nlast")
    assert "bytes left out" in log.text
    assert log.tail.endswith("\nlast")


@given(st.lists(st.binary(max_size=300)))
def test_a_short_log_keeps_everything(parts: list[bytes]) -> None:
    log = Log()
    for part in parts:
        log.add(part)
    assert log.text == printable(b"".join(parts).decode(errors="replace"))


def test_text_of_strangers_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[31m\u202eb\r\n\tc\x00é\ud800") == "a[31mb\n\tcé"


def test_a_budget_buys_steps_after_the_setup() -> None:
    idle, loaded = (REFERENCE_PROBE_S,), (2 * REFERENCE_PROBE_S,)
    assert CPU.steps(20_000, step_s=0.2, setup_s=0.0, probes=idle) == 100
    assert CPU.steps(20_000, step_s=0.2, setup_s=10.0, probes=idle) == 50
    assert CPU.steps(20_000, step_s=0.4, setup_s=20.0, probes=loaded) == 50
    assert GPU.steps(300_000, step_s=0.5, setup_s=60.0, probes=()) == 600


def test_a_pace_buys_what_the_budget_pays_for() -> None:
    assert CPU.steps_at(20_000, Pace(steps=340, spent_ms=19_000)) == 358
    assert CPU.steps_at(20_000, Pace(steps=1, spent_ms=90_000)) == 1


def test_what_calibrations_are_off_by_is_learned() -> None:
    bias = Bias()
    for _ in range(200):
        foreseen = bias.factor
        bias.learn(foreseen, 20_000, round(20_000 * 1.04 / foreseen))
    assert bias.factor == pytest.approx(1.04, abs=0.002)


def test_one_cheat_teaches_little_about_all() -> None:
    bias = Bias()
    before = bias.factor
    bias.learn(before, 20_000, 60_000)
    assert bias.factor < 1.05 * before


@pytest.mark.parametrize(
    ("step", "setup"), [(1e9, 0.0), (1.0, 1e12), (0.0, 0.0), (1e-300, 0.0), (5e-324, 1e12)]
)
def test_a_budget_buys_at_least_one_step_and_not_infinitely_many(step: float, setup: float) -> None:
    assert 1 <= CPU.steps(20_000, step, setup, (REFERENCE_PROBE_S,)) <= 2**40


def test_cpu_time_counts_by_the_probe_beside_it() -> None:
    slow = ended(cpu=20.0, probes=(2 * REFERENCE_PROBE_S,) * 3)
    assert CPU.spent_ms(slow, trained_s=99.0) == 10_000
    assert GPU.spent_ms(slow, trained_s=99.0) == 99_000


def test_a_stray_probe_does_not_count() -> None:
    assert typical([1.0, 1.0, 1.0, 1.0, 1.0, 9.0]) == 1.0
    assert typical([3.0, 5.0]) == 4.0


@pytest.mark.parametrize(
    ("spent_ms", "over"), [(19_000, False), (21_000, False), (22_500, True), (40_000, True)]
)
def test_overshooting_a_budget_of_20_s(spent_ms: int, over: bool) -> None:
    assert CPU.overshot(20_000, spent_ms) is over


def test_a_curve_stays_short_and_in_order() -> None:
    said = Said()
    for step in range(5000):
        said.hear(Step(step=step, tokens=step, loss=float(step)))
    assert len(said.curve) <= CURVE_POINTS
    assert said.curve == sorted(said.curve)
    assert said.curve[-1] == (4999, 4999.0)


DONE = Finished(step=1, tokens=1, parameters=1, memory=0)


@pytest.mark.parametrize(
    ("how", "reports", "status"),
    [
        ({}, [DONE], None),
        ({}, [], "crash"),
        ({"status": 1}, [DONE], "crash"),
        ({"status": -9}, [], "killed"),
        ({"status": -11}, [DONE], "crash"),
        ({"status": -24}, [], "timeout"),
        ({"status": -64}, [], "crash"),
        ({"status": 1}, [Failed(kind="oom", reason="")], "oom"),
        ({"status": -9, "stopped": "memory"}, [], "oom"),
        ({"status": -9, "stopped": "cpu"}, [], "timeout"),
        ({"status": -9, "stopped": "wall"}, [DONE], "timeout"),
        ({"status": -9, "stopped": "order"}, [], "killed"),
        ({}, [DONE, Garbled()], "crash"),
        ({"stopped": "memory"}, [Failed(kind="nan", reason="")], "oom"),
    ],
)
def test_what_was_seen_from_outside_comes_first(
    how: dict[str, object], reports: list[Report | Garbled], status: Status | None
) -> None:
    said = Said()
    for report in reports:
        said.hear(report)
    found = failure(ended(**how), said, complete=said.finished is not None)
    assert (found and found[0]) == status


def test_a_calibration_is_heard() -> None:
    said = Said()
    said.hear(Calibrated(step=7.0, setup=1.0))
    assert said.calibrated == Calibrated(step=7.0, setup=1.0)
