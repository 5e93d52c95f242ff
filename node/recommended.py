"""Which language models are worth having, and which of them a machine can run. Pure.

The list is short on purpose: models for code, from one family whose apply rates with the edit
formats are known (aider's tables: qwen2.5-coder 7B, 14B, 32B), and its successor. What a model
takes is counted from its published shape: file, plus keys and values for 32k tokens, plus buffers.
"""

from msgspec import Struct

from strategies.installed import Installed

SLOW_ACTIVE_MAX = 8 * 10**9
"""Without a GPU a model that computes with more parameters a token takes minutes for an answer."""


class Room(Struct, frozen=True):
    """What a model may take here.

    Attributes:
        memory: bytes.
        what: where they are, in words.
        fast: whether a GPU computes with them.
    """

    memory: int
    what: str
    fast: bool


class Recommended(Struct, frozen=True):
    """A model that can be downloaded, and with how many parameters it computes a token."""

    model: Installed
    active: int

    def runs_in(self, room: Room) -> bool:
        """Whether a machine can run it at a speed that is of use."""
        fast_enough = room.fast or self.active <= SLOW_ACTIVE_MAX
        return fast_enough and self.model.memory <= room.memory


def _coder(name: str, file_gb: float, billions: float, shape: tuple[int, int]) -> Recommended:
    """From layers and heads of keys; each head has keys and values of 128 numbers of 2 bytes."""
    layers, heads = shape
    size = round(billions * 1e9)
    model = Installed(
        name=name,
        file_bytes=round(file_gb * 1e9),
        size=size,
        context=32_768,
        cache=layers * heads * 128 * 4,
    )
    return Recommended(model, size)


RECOMMENDED = (
    _coder("qwen2.5-coder:1.5b", 0.99, 1.54, (28, 2)),
    _coder("qwen2.5-coder:3b", 1.9, 3.09, (36, 2)),
    _coder("qwen2.5-coder:7b", 4.7, 7.62, (28, 4)),
    _coder("qwen2.5-coder:14b", 9.0, 14.8, (48, 8)),
    _coder("qwen2.5-coder:32b", 19.9, 32.8, (64, 8)),
    # 128 experts, 8 of them at a time: as fast as a model of 3 billion.
    Recommended(_coder("qwen3-coder:30b", 18.6, 30.5, (48, 4)).model, 3_300_000_000),
)
"""The better, the later. Sizes as ollama's library lists them, shapes from the model cards."""


def best_for(room: Room) -> Recommended | None:
    """The best of them for a machine; None if it is too small for any."""
    return next((one for one in reversed(RECOMMENDED) if one.runs_in(room)), None)
