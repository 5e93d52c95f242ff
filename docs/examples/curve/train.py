"""Fit a cubic to a sine by random search, and print how good the fit is (1 is perfect)."""

import math
import os
import random

STEP_SCALE = 0.5  # sd of the first change
SHRINK = 0.98  # of that sd, per attempt
ATTEMPTS = 500  # the budget: denied in task.toml

random.seed(int(os.environ.get("SKEP_SEED", "0")))
points = [(x / 32, math.sin(x / 8)) for x in range(-32, 33)]


def error(weights):
    return sum((y - sum(w * x**i for i, w in enumerate(weights))) ** 2 for x, y in points)


best = [0.0, 0.0, 0.0, 0.0]
for attempt in range(ATTEMPTS):
    step = STEP_SCALE * SHRINK**attempt
    best = min(best, [w + random.gauss(0, step) for w in best], key=error)
print(f"---\nr2: {1 - error(best) / error([0.0]):.6f}")
