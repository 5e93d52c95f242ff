"""Constants become axes on which one unit is about a factor of two, and come back readable."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.ports import Knob
from strategies.constants import Coordinate, Scale, coordinates, form, scale_of

NO_DENY: frozenset[str] = frozenset()

PROGRAM = """\
LR, DEPTH = 3e-3, 3
BETAS = (0.9, 0.95)
TOTAL = 2**19
FLAG = True
NAME = "x"
EVAL_TOKENS = 4096
lower = 1.0

@dataclass
class Config:
    width: int = 64
    max_steps: int = 10

class Plain:
    size: int = 3
"""


def only(name: str, value: float, knob: Knob | None = None) -> Coordinate:
    (found,) = coordinates({name: value}, {name: knob} if knob else {})
    return found


def reach(name: str, value: float, knob: Knob | None = None) -> list[float]:
    """Lowest and highest value to try, or all of them for integers."""
    coordinate = only(name, value, knob)
    axis = coordinate.axis(value)
    return [coordinate.decode(place) for place in axis.grid or (axis.low, axis.high)]


def test_numbers_of_module_and_dataclasses_are_tunable_unless_denied() -> None:
    found = form(PROGRAM, frozenset({"EVAL_TOKENS", "max_steps"}))
    assert found is not None
    assert dict(found.values) == {
        "LR": 3e-3,
        "DEPTH": 3,
        "BETAS": (0.9, 0.95),
        "TOTAL": 524288,
        "Config.width": 64,
    }


@pytest.mark.parametrize(
    "twin",
    [
        PROGRAM.replace("3e-3, 3", "-1, 2.0"),
        PROGRAM.replace("2**19", "7"),
        PROGRAM.replace("0.9, 0.95", "1, 2 * 3"),
        PROGRAM.replace("width: int = 64", "width: int = 8  # narrow"),
    ],
)
def test_programs_that_differ_in_tunable_numbers_share_a_skeleton(twin: str) -> None:
    ours, theirs = form(PROGRAM, NO_DENY), form(twin, NO_DENY)
    assert ours is not None
    assert theirs is not None
    assert ours.skeleton == theirs.skeleton


@pytest.mark.parametrize(
    "other",
    [
        PROGRAM.replace("FLAG = True", "FLAG = False"),
        PROGRAM.replace("(0.9, 0.95)", "(0.9, 0.95, 0.99)"),
        PROGRAM.replace("4096", "4097"),
        PROGRAM + "LR2 = 1\n",
    ],
)
def test_any_other_difference_makes_another_skeleton(other: str) -> None:
    deny = frozenset({"EVAL_TOKENS"})
    ours, theirs = form(PROGRAM, deny), form(other, deny)
    assert ours is not None
    assert theirs is not None
    assert ours.skeleton != theirs.skeleton


def test_a_program_that_is_not_python_has_no_form() -> None:
    assert form("def", NO_DENY) is None


@pytest.mark.parametrize(
    ("name", "value", "scale"),
    [
        ("LR", 3e-3, "log"),
        ("EMBED_LR_SCALE", 0.9, "log"),
        ("SOFTCAP", 15.0, "log"),
        ("WEIGHT_DECAY", 0.9, "log"),
        ("OFFSET", -1.5, "log"),
        ("BETAS", 0.5, "complement"),
        ("ADAM_BETA1", 0.7, "complement"),
        ("EMA", 0.99, "complement"),
        ("WARMUP_FRAC", 0.1, "logit"),
        ("Config.dropout", 0.9, "logit"),
        ("WARMDOWN_FRAC", 1.0, "log"),
        ("WARMUP_FRAC", 0.0, "zero"),
        ("BATCH_SIZE", 16, "power"),
        ("HEADS", 2, "power"),
        ("DEPTH", 8, "count"),
        ("N_LAYER", 4, "count"),
        ("HEADS", 6, "count"),
        ("HEADS", 1, "count"),
        ("SHIFT", 0, "step"),
        ("SHIFT", -2, "step"),
    ],
)
def test_name_and_value_decide_how_a_constant_is_moved(
    name: str, value: float, scale: Scale
) -> None:
    assert scale_of(name, value) == scale


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LR", 3e-3, [7.5e-4, 0.012]),
        ("OFFSET", -1.5, [-0.375, -6.0]),
        ("BETA2", 0.95, [0.8, 0.987]),
        ("BETA", 0.5, [0.0, 0.88]),
        ("DROPOUT", 0.2, [0.0588, 0.5]),
        ("WARMDOWN_FRAC", 1.0, [0.25, 1.0]),
        ("OUTPUT_INIT", 0.0, [0.0, 0.1]),
        ("BATCH_SIZE", 16, [8, 16, 32]),
        ("TOTAL", 2**19, [2**18, 2**19, 2**20]),
        ("DEPTH", 3, [2, 3, 4]),
        ("DEPTH", 8, [6, 7, 8, 9, 10]),
        ("DEPTH", 1, [1, 2]),
        ("SHIFT", 0, [0, 1]),
        ("SHIFT", -2, [-1, -2, -3]),
    ],
)
def test_the_range_around_an_incumbent(name: str, value: float, expected: list[float]) -> None:
    assert sorted(reach(name, value)) == sorted(expected)


def test_a_long_range_of_integers_is_thinned_out() -> None:
    tried = reach("STEPS", 50_001)
    assert (len(tried), tried[0], tried[-1]) == (31, 50_001 - 11_730, 50_001 + 11_730)


@pytest.mark.parametrize(
    ("name", "value", "knob", "expected"),
    [
        ("LR", 3e-3, Knob("float", 1e-3, 0.1), [1e-3, 0.012]),
        ("WINDOW", 128, Knob("int", 16, 128), [64, 128]),
        ("DEPTH", 8, Knob("int", 1, 8), [6, 7, 8]),
        ("WEIGHT_DECAY", 0.0, Knob("float", 0.0, 0.05), [0.0, 0.05]),
        ("OFFSET", -1.0, Knob("float", -2.0, 0.0), [-0.25, -2.0]),
    ],
)
def test_the_task_clips_the_range(
    name: str, value: float, knob: Knob, expected: list[float]
) -> None:
    assert reach(name, value, knob) == expected


def test_every_element_of_a_tuple_is_a_coordinate() -> None:
    found = coordinates({"BETAS": (0.9, 0.95)}, {"BETAS": Knob("floats", 0.0, 0.96)})
    assert [(c.name, c.index, c.high) for c in found] == [("BETAS", 0, 0.96), ("BETAS", 1, 0.96)]


@pytest.mark.parametrize(
    ("name", "value", "twice"),
    [("LR", 3e-3, 6e-3), ("BETA2", 0.95, 0.975), ("BATCH", 16, 32), ("OFFSET", -1.0, -2.0)],
)
def test_one_unit_is_a_factor_of_two(name: str, value: float, twice: float) -> None:
    coordinate = only(name, value)
    assert coordinate.encode(twice) - coordinate.encode(value) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "value", "place", "readable"),
    [
        ("LR", 3e-3, math.log2(0.0123456), 0.0123),
        ("BETA2", 0.95, -math.log2(0.0123456), 0.988),
        ("FRAC", 0.5, 2.3, 0.83),
        ("FRAC", 0.5, -2.3, 0.169),
        ("INIT", 0.0, 0.05, 0.0),
        ("INIT", 0.0, 0.1, 0.001),
        ("INIT", 0.0, 1.0, 0.01),
        ("DEPTH", 3, 2.1, 4),
    ],
)
def test_values_are_rounded_to_what_people_write(
    name: str, value: float, place: float, readable: float
) -> None:
    found = only(name, value).decode(place)
    assert (found, type(found)) == (readable, type(readable))


@given(
    st.sampled_from([("LR", 3e-3), ("BETA2", 0.95), ("DROPOUT", 0.3), ("INIT", 0.0), ("X", -2.0)]),
    st.floats(0, 1),
)
def test_a_decoded_value_comes_back_to_itself(start: tuple[str, float], share: float) -> None:
    coordinate = only(*start)
    axis = coordinate.axis(start[1])
    value = coordinate.decode(axis.low + share * (axis.high - axis.low))
    assert coordinate.decode(coordinate.encode(value)) == value
    assert abs(coordinate.encode(value) - axis.nearest(coordinate.encode(value))) < 0.1


@given(st.integers(-(2**40), 2**40))
def test_an_integer_comes_back_to_itself_and_stays_an_integer(value: int) -> None:
    coordinate = only("N", value)
    for place in coordinate.axis(value).grid:
        found = coordinate.decode(place)
        assert type(found) is int
        assert coordinate.encode(found) == pytest.approx(place)
    assert value in [coordinate.decode(place) for place in coordinate.axis(value).grid]
