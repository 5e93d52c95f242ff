"""Which strategy goes first: the one that brings most a second, and every one now and then."""

from collections import Counter
from collections.abc import Mapping

from skep.ports import Arm, Proposal, View
from strategies.policy import FLOOR, in_order

RUN_S = 20.0
DRAWS = 2000


class Named:
    """A strategy that has nothing to say."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ready(self, view: View) -> bool:
        return False

    async def propose(self, view: View) -> Proposal | None:
        return None


ARMS = [Named("llm"), Named("tune"), Named("recombine")]


def first(known: Mapping[str, Arm]) -> dict[str, float]:
    """How often each goes first."""
    counts = Counter(in_order(ARMS, known, RUN_S, seed)[0].name for seed in range(DRAWS))
    return {one.name: counts[one.name] / DRAWS for one in ARMS}


def arm(tried: int, gained: float, seconds: float = RUN_S) -> Arm:
    return Arm(tried=tried, gained=gained, seconds=tried * seconds)


def test_where_nothing_is_known_all_are_alike() -> None:
    assert all(abs(share - 1 / 3) < 0.04 for share in first({}).values())


def test_what_brings_most_goes_first_mostly_and_the_others_never_starve() -> None:
    shares = first({"llm": arm(30, 1.0), "tune": arm(30, 15.0), "recombine": arm(30, 0.0)})
    assert shares["tune"] > 0.75
    assert min(shares.values()) > FLOOR * 0.5


def test_time_is_charged() -> None:
    slow = {"llm": arm(30, 9.0, seconds=RUN_S * 4), "tune": arm(30, 9.0), "recombine": arm(30, 0.0)}
    shares = first(slow)
    assert shares["tune"] > 2 * shares["llm"]


def test_an_arm_of_which_little_is_known_is_tried() -> None:
    shares = first({"tune": arm(40, 6.0), "recombine": arm(40, 6.0)})
    assert shares["llm"] > 0.3


def test_all_are_asked_and_the_same_seed_is_the_same_order() -> None:
    for seed in range(50):
        order = in_order(ARMS, {}, RUN_S, seed)
        assert sorted(one.name for one in order) == ["llm", "recombine", "tune"]
        assert order == in_order(ARMS, {}, RUN_S, seed)
    assert in_order([], {}, RUN_S, 0) == []
