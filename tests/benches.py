"""Loads a script of `scripts/bench`, which is not a package, so that a test can call into it."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

BENCH = Path(__file__).parents[1] / "scripts" / "bench"


def bench(name: str) -> ModuleType:
    """The script of this name; those that it imports from beside it are found, too."""
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCH))
