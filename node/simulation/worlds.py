"""Worlds with a known truth: what edits really do, and what a machine would measure of them.

A surrogate for the trainer, for simulations only: nothing is trained. Effects are in *sigma*, the
standard deviation of one run with a fresh seed. How often edits help follows published logs of
research by agents; see docs/evidence.md. What is done with the runs is `node.simulation.panel`'s.
"""

import math
from collections.abc import Mapping

import numpy as np
from msgspec import Struct

SIGMA = 0.01
"""One sigma in units of the simulated task's metric, around a score of 1."""


class World(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How edits and machines behave.

    Attributes:
        gains: share of edits that improve.
        nulls: share that change nothing.
        mean_gain: mean of the exponential distribution of gains, in sigma.
        mean_harm: the same of the rest.
        deplete: after so many gains found they are 1/e as frequent.
        between: sd of what one edit does more or less on one machine, in sigma.
        heavy: whether noise has heavy tails (Student's t with 5 degrees of freedom).
        believed: sigma as the task pack states it, as a part of the truth.
    """

    gains: float = 0.10
    nulls: float = 0.25
    mean_gain: float = 2.0
    mean_harm: float = 5.0
    deplete: float = 25.0
    between: float = 0.3
    heavy: bool = False
    believed: float = 1.0


WORLDS: Mapping[str, World] = {
    "A": World(),
    "B": World(gains=0.03, deplete=math.inf),
    "C": World(gains=0.03, nulls=0.7, deplete=math.inf),
    "D": World(mean_gain=1.0),
    "E": World(heavy=True),
    "F": World(believed=0.7),
    "G": World(between=0.8),
    "H": World(gains=0.0, nulls=1.0),
}
"""A base; B late search; C late search, mostly null edits; D small gains; E heavy-tailed noise;
F sigma believed too small; G machines that differ much; H no edit works."""

NU = 5
"""Degrees of freedom of heavy-tailed noise."""


class Nature:
    """Draws edits and noise of one world.

    Args:
        world: its numbers.
        seed: same seed, same course.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = np.random.default_rng(seed)
        self._machine: dict[tuple[int, bytes], float] = {}

    def effect(self, found: int) -> float:
        """True effect of a new edit in sigma, negative is better; `found` gains are known."""
        world, chance = self.world, self.rng.random()
        gains = world.gains * math.exp(-found / world.deplete)
        if chance < gains:
            return -float(self.rng.exponential(world.mean_gain))
        if chance < gains + world.nulls:
            return 0.0
        return float(self.rng.exponential(world.mean_harm))

    def measured(self, node: int, truth: float, edit: bytes | None = None) -> float:
        """Score of one run with a fresh seed.

        Args:
            node: number of the machine.
            truth: true level of the program, in sigma from the start program's.
            edit: what is new in it; one machine always treats an edit alike.
        """
        here = self.on(node, edit) if edit is not None else 0.0
        return 1.0 + SIGMA * (truth + here + self.noise())

    def on(self, node: int, edit: bytes) -> float:
        """What an edit does more or less on one machine, in sigma: always the same."""
        if (node, edit) not in self._machine:
            self._machine[node, edit] = float(self.rng.normal(0, self.world.between))
        return self._machine[node, edit]

    def noise(self) -> float:
        """What the seed of one run does, in sigma."""
        if self.world.heavy:
            return float(self.rng.standard_t(NU)) / math.sqrt(NU / (NU - 2))
        return float(self.rng.normal())
