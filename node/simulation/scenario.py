"""What a simulated swarm is like: machines, world, network. One frozen value, readable from JSON.

Times are seconds of virtual time. What comes out is `node.simulation.swarm`'s business.
"""

import math
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from node.simulation.worlds import WORLDS, World
from skep.errors import ConfigError
from skep.records import ScoredBy

NODES_MAX = 512
RUNS_MAX = 200_000
Roots = Literal["one", "all"]
Rule = Literal["evidence", "keep-if-lower"]


class Tier(Struct, frozen=True, forbid_unknown_fields=True):
    """Machines of one kind; results of different tiers are never compared.

    Attributes:
        name: for people.
        count: how many.
        speed: of one machine; a run takes `run_s` divided by it.
    """

    name: str = "cpu"
    count: int = 12
    speed: float = 1.0


class Scenario(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A swarm to be simulated.

    Attributes:
        tiers: the machines.
        slots: experiments at once on each of them.
        world: letter of a world, or its numbers.
        runs: finished runs of honest machines, in all, after which it ends.
        run_s: how long one takes at a speed of 1.
        latency_s: how long a record is under way at least.
        jitter_s: mean of what comes on top, exponentially distributed.
        churn: share of its time that a machine is away; what it was running begins anew.
        away_s: how long it is away, on average.
        partition_s: from when to when every other machine is cut off from the rest.
        liars: how many machines invent their results: the last of the first tier.
        roots: whose replications count to begin with: each machine's `one`, its own, as in the
            public swarm; or those of `all`, as in a lab.
        rule: by which a machine keeps an edit.
        scored_by: whether runs are compared on fresh validation texts, as where the harness scores
            them, or by the one number that each program gave itself.
        seed: same seed, same course.
    """

    tiers: tuple[Tier, ...] = (Tier(),)
    slots: int = 1
    world: str | World = "A"
    runs: int = 1500
    run_s: float = 60.0
    latency_s: float = 1.0
    jitter_s: float = 1.0
    churn: float = 0.0
    away_s: float = 3600.0
    partition_s: tuple[float, float] | None = None
    liars: int = 0
    roots: Roots = "one"
    rule: Rule = "evidence"
    scored_by: ScoredBy = "harness"
    seed: int = 0

    @property
    def nodes(self) -> int:
        """How many machines."""
        return sum(tier.count for tier in self.tiers)

    @property
    def nature(self) -> World:
        """The numbers of the world."""
        return WORLDS[self.world] if isinstance(self.world, str) else self.world


def lone(scenario: Scenario) -> Scenario:
    """One machine of the first tier in the same world with as many runs, for comparison."""
    first = replace(scenario.tiers[0], count=1)
    return replace(scenario, tiers=(first,), liars=0, partition_s=None)


def read_scenario(path: Path) -> Scenario:
    """The scenario in a JSON file; what it leaves out is as by default.

    Raises:
        ConfigError: it cannot be read, or makes no sense.
    """
    try:
        return checked(msgspec.json.decode(path.read_bytes(), type=Scenario))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no scenario: {error}", "docs/cli.md has its keys") from error


def checked(scenario: Scenario) -> Scenario:
    """The same scenario, if it makes sense.

    Raises:
        ConfigError: it does not; names what.
    """
    if isinstance(scenario.world, str) and scenario.world not in WORLDS:
        raise ConfigError(f"there is no world {scenario.world!a}", f"There are {', '.join(WORLDS)}")
    for name, value, low, high in _bounds(scenario):
        if not low <= value <= high:
            raise ConfigError(f"{name} is {value:g}", f"It lies between {low:g} and {high:g}")
    return scenario


def _bounds(scenario: Scenario) -> list[tuple[str, float, float, float]]:
    """Names and values of all numbers, with the least and the most they may be."""
    world, first = scenario.nature, scenario.tiers[0].count if scenario.tiers else 0
    begin, end = scenario.partition_s or (0.0, 0.0)
    shares = [(f"{name} of the world", getattr(world, name), 0, 1) for name in ("gains", "nulls")]
    sizes = ("mean_gain", "mean_harm", "between")
    return [
        *((f"the speed of {tier.name!a}", tier.speed, 0.001, 1000) for tier in scenario.tiers),
        *((f"the count of {tier.name!a}", tier.count, 1, NODES_MAX) for tier in scenario.tiers),
        ("the number of machines", scenario.nodes, 1, NODES_MAX),
        ("slots", scenario.slots, 1, 64),
        ("runs", scenario.runs, 1, RUNS_MAX),
        ("run_s", scenario.run_s, 1, 1e7),
        ("latency_s", scenario.latency_s, 0, 1e7),
        ("jitter_s", scenario.jitter_s, 0, 1e7),
        ("churn", scenario.churn, 0, 0.95),
        ("away_s", scenario.away_s, 1, 1e7),
        ("the beginning of partition_s", begin, 0, 1e9),
        ("the end of partition_s", end, begin, 1e9),
        ("liars", scenario.liars, 0, max(first - 1, 0)),
        ("seed", scenario.seed, 0, 2**63),
        *shares,
        ("gains and nulls of the world together", world.gains + world.nulls, 0, 1),
        *((f"{name} of the world", getattr(world, name), 0, 100) for name in sizes),
        ("deplete of the world", world.deplete, 1, math.inf),
        ("believed of the world", world.believed, 0.01, 100),
    ]
