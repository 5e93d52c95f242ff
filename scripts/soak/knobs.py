"""Sends mutated records of knob numbers through decoder and renderer and says how they ended.

python scripts/soak/knobs.py [COUNT] [SEED]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.skep.knob_records import campaign


def main() -> None:
    """Run the campaign; the first violation ends it with the record's number."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    ends = campaign(count, seed)
    print(f"{count} records, seed {seed}: " + ", ".join(f"{n} {end}" for end, n in ends.items()))
    print("none rendered anything but the seed program with its numbers in range")


if __name__ == "__main__":
    main()
