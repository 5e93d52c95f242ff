"""Records that came before the one they follow: messages overtake one another. Pure."""

from collections import OrderedDict
from collections.abc import Callable

from skep.records import SignedRecord

EARLY_MAX = 512
"""Records that are kept; of more, the oldest are asked for anew."""

EARLY_S = 60.0


class Early:
    """Such records by chain and place, for a while."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bytes, int], tuple[float, SignedRecord]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, now: float, key: bytes, signed: SignedRecord) -> None:
        """Keep one of a chain: it may fit in a moment."""
        self._kept[key, signed.record.seq] = (now, signed)
        if len(self._kept) > EARLY_MAX:
            self._kept.popitem(last=False)

    def at(self, key: bytes, seq: int) -> SignedRecord | None:
        """Take out the one at a place."""
        found = self._kept.pop((key, seq), None)
        return found[1] if found else None

    def before(self, key: bytes, end: int) -> list[SignedRecord]:
        """Take out those of a chain before a place."""
        places = [one for one in self._kept if one[0] == key and one[1] < end]
        return [self._kept.pop(one)[1] for one in places]

    def tidy(self, now: float, is_here: Callable[[bytes, int], bool]) -> None:
        """Forget those that waited for long, and those whose place is taken."""
        for place, (since, _) in list(self._kept.items()):
            if now - since > EARLY_S or is_here(*place):
                del self._kept[place]
