"""The scorer: a trusted process that alone knows the validation targets.

    python -s -P -B scorer.py PREPARE DATA          with a socket to the node as descriptor 3

It sends a candidate's process nothing but inputs, gets raw logits back through shared memory, and
does the log-softmax and the sum itself: whatever comes back is a normalised distribution by
construction. It copies the logits before it looks at them, else a thread of the candidate could
change them between the pass that normalises and the pass that picks. It never loads a candidate's
code or checkpoint.

A model that was scored can be *probed*: another process, which has seen none of it, is asked for
some of the same windows with other tokens from a cut on and in other company. What it predicts
before the cut must be what it predicted before, else it depends on what a language model must not
know: the tokens to come, or other texts.

Says {"meta": ...} when it starts. Then these, each with "windows", "seconds" and the descriptors
[inputs, logits, peer], are answered by {"micro": [...]} or {"fault": ...}:
    {"op": "score", "draws": [[seed, split], ...]}
    {"op": "probe"}      the model that was scored last; there is no number then
"""

import math
import mmap
import os
import random
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainer import frames

if TYPE_CHECKING:
    from torch import Tensor

CONTROL = 3
KEPT_DRAWS = 32
"""Tokenised draws to keep; a draw is some 600 KB and costs 15 ms to make again."""
MICRO = 1_000_000

CHANCE = random.SystemRandom()
TRIALS, WHOLE = 80, 5
"""Windows that are probed; of every `WHOLE` one keeps its text and only its company changes."""
TOLERANCE = 0.05
"""How much a prediction may change, in nats relative to 1 + its own: half precision rounds so."""
DRIFT = 0.005
"""By how many nats predictions may have been better than the probe's on average.

It bounds what hides below `TOLERANCE`. A token of `stories` costs 2.6 nats, one sd over seeds 0.03.
"""


class Text(NamedTuple):
    """A validation text: inputs and targets int64 [n, T], bytes of each target [n, T]."""

    inputs: "Tensor"
    targets: "Tensor"
    sizes: "Tensor"


class Scored(NamedTuple):
    """What a model made of a text: inputs and targets int64 [n, T], their losses [n, T] in nats."""

    inputs: "Tensor"
    targets: "Tensor"
    losses: "Tensor"


class Refused(Exception):
    """What the candidate's process answered cannot be scored."""


class Draws:
    """Validation texts by (seed, split), the last ones kept."""

    def __init__(self, prepare: Any, data: Path) -> None:
        self._prepare = prepare
        self._data = data
        self._kept: OrderedDict[tuple[int, str], Text] = OrderedDict()

    def text(self, seed: int, split: str) -> Text:
        """The text of a draw."""
        import torch

        key = (seed, split)
        if key not in self._kept:
            arrays = self._prepare.validation(self._data, split, seed)
            self._kept[key] = Text(*map(torch.from_numpy, arrays))
            if len(self._kept) > KEPT_DRAWS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


class Exchange:
    """One candidate's process: inputs out, logits in."""

    def __init__(self, descriptors: list[int], shape: tuple[int, int, int], seconds: float) -> None:
        import numpy as np
        import torch

        inputs, logits, peer = descriptors
        self._deadline = time.monotonic() + seconds
        self._peer = socket.socket(fileno=peer)
        self._inputs = torch.from_numpy(
            np.frombuffer(mmap.mmap(inputs, 0), np.int64).reshape(shape[:2])
        )
        shared = mmap.mmap(logits, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self._logits = torch.from_numpy(np.frombuffer(shared, np.float32).reshape(shape))
        self._private = torch.empty(shape)
        os.close(inputs)
        os.close(logits)

    def ask(self, inputs: "Tensor") -> "Tensor":
        """Logits for some windows, [n, T, vocab], in memory that is only ours."""
        count = len(inputs)
        self._inputs[:count].copy_(inputs)
        try:
            self._peer.settimeout(max(0.001, self._deadline - time.monotonic()))
            self._peer.sendall(count.to_bytes(4, "big"))
            answer = self._peer.recv(1)
        except TimeoutError:
            raise Refused("scoring took too long") from None
        except OSError:
            answer = b""
        if answer != b"k":
            raise Refused("the process that serves the model ended")
        return self._private[:count].copy_(self._logits[:count])

    def close(self) -> None:
        """Hang up, which ends the candidate's process."""
        self._peer.close()


def losses(logits: "Tensor", targets: "Tensor") -> "Tensor":
    """-ln p(target) under the softmax of the logits, not finite where a logit of it is not.

    Args:
        logits: float32 [n, T, vocab].
        targets: int64 [n, T].

    Returns:
        float32 [n, T].
    """
    from torch.nn.functional import cross_entropy

    flat = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view_as(targets)


def finite_losses(logits: "Tensor", targets: "Tensor") -> "Tensor":
    """The same.

    Raises:
        Refused: a logit is not finite.
    """
    found = losses(logits, targets)
    if not math.isfinite(float(found.sum())) or not math.isfinite(float(logits.amin())):
        raise Refused("the model's logits are not finite")
    return found


def micro(found: "Tensor", sizes: "Tensor") -> int:
    """Micro-bits per byte by the losses of a text; targets that stand for no bytes do not count."""
    total = float(found[sizes > 0].double().sum()) / math.log(2)
    return round(total / int(sizes.sum()) * MICRO)


def score(exchange: Exchange, text: Text, windows: int) -> Scored:
    """The losses of one text.

    Nobody can foresee the order in which windows are asked for, so that neighbours rarely meet in
    a batch. All batches are of one size, since other shapes round differently: what the last one
    lacks is asked a second time, to no effect.
    """
    import torch

    count = len(text.inputs)
    size = min(windows, count)
    order = CHANCE.sample(range(count), count)
    order += order[: -count % size]
    found = torch.empty(text.targets.shape)
    for start in range(0, count, size):
        rows = order[start : start + size]
        new = rows[: count - start]
        logits = exchange.ask(text.inputs[rows])[: len(new)]
        found[new] = finite_losses(logits, text.targets[new])
    return Scored(text.inputs, text.targets, found)


def probe(exchange: Exchange, scored: Sequence[Scored], windows: int, vocab: int) -> None:
    """Ask for scored windows again, changed in what their predictions must not depend on.

    Args:
        exchange: a process that has seen none of it.
        scored: what another process of the same model answered.
        windows: how many are asked at a time.
        vocab: tokens there are.

    Raises:
        Refused: the predictions differ.
    """
    import torch

    inputs, targets, known = (torch.cat(parts) for parts in zip(*scored, strict=True))
    size = min(windows, len(scored[0].inputs))
    count = size * math.ceil(TRIALS / size)
    length = inputs.shape[1]
    rows = CHANCE.choices(range(len(inputs)), k=count)
    cuts = [CHANCE.randint(1, length) if trial % WHOLE else length for trial in range(count)]
    pairs = zip(rows, cuts, strict=True)
    asked = torch.stack([with_other_tail(inputs[row], cut, vocab) for row, cut in pairs])
    wanted, found = targets[rows], torch.empty(asked.shape)
    for start in range(0, count, size):
        part = slice(start, start + size)
        found[part] = losses(exchange.ask(asked[part]), wanted[part])
    if complaint := compare(found, known[rows], torch.tensor(cuts)):
        raise Refused(complaint)


def with_other_tail(window: "Tensor", cut: int, vocab: int) -> "Tensor":
    """A window [T] with another token at every position from `cut` on."""
    import torch

    steps = [CHANCE.randrange(1, vocab) for _ in range(cut, len(window))]
    tail = (window[cut:] + torch.tensor(steps, dtype=window.dtype)) % vocab
    return torch.cat([window[:cut], tail])


def compare(found: "Tensor", known: "Tensor", cuts: "Tensor") -> str:
    """What the losses of the probe say against a model; empty if nothing.

    Args:
        found: float32 [n, T], by the probe.
        known: float32 [n, T], as they were scored.
        cuts: int64 [n], how many positions of each window must be alike.
    """
    import torch

    count, length = known.shape
    alike = torch.arange(length) < cuts[:, None]
    change = torch.where(alike, found - known, 0)
    off = ~(change.abs() <= TOLERANCE * (1 + known)).all(1)
    drift = float(change[torch.arange(count), cuts - 1].mean())
    if off.any():
        cause = "on other texts, or on chance" if off[cuts == length].any() else "on later tokens"
        worst = float(change.abs().max())
        which = f"{int(off.sum())} of {count} windows changed, by up to {worst:.2g} nats"
        return f"its predictions depend {cause}: {which}"
    if drift > DRIFT:
        return f"its predictions gain {drift:.2g} nats each by later tokens or other texts"
    return ""


class Desk:
    """Answers requests; remembers the model that was scored last."""

    def __init__(self, meta: dict[str, int], draws: Draws) -> None:
        self._meta = meta
        self._draws = draws
        self._scored: list[Scored] = []

    def answer(self, request: frames.Message, descriptors: list[int]) -> frames.Message:
        """Score or probe one candidate's process."""
        windows, vocab = request["windows"], self._meta["vocab"]
        shape = (windows, self._meta["context"], vocab)
        exchange = Exchange(descriptors, shape, request["seconds"])
        try:
            if request["op"] == "probe":
                probe(exchange, self._scored, windows, vocab)
                return {"micro": []}
            return {"micro": self._score(exchange, request["draws"], windows)}
        except Refused as refused:
            return {"fault": str(refused)}
        finally:
            exchange.close()

    def _score(self, exchange: Exchange, draws: list[tuple[int, str]], windows: int) -> list[int]:
        texts = [self._draws.text(seed, split) for seed, split in draws]
        self._scored = [score(exchange, text, windows) for text in texts]
        return [
            micro(scored.losses, text.sizes)
            for scored, text in zip(self._scored, texts, strict=True)
        ]


def load_prepare(path: Path) -> Any:
    """The task's prepare.py as a module."""
    spec = spec_from_file_location("prepare", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(prepare_file: str, data_folder: str) -> None:
    node = socket.socket(fileno=CONTROL)
    data = Path(data_folder)
    prepare = load_prepare(Path(prepare_file))
    meta = prepare.meta(data)
    frames.send(node, {"meta": meta})  # training can start on this while torch is imported
    import torch

    torch.set_num_threads(1)
    desk = Desk(meta, Draws(prepare, data))
    with torch.inference_mode():
        while (request := frames.receive(node)) is not None:
            frames.send(node, desk.answer(*request))


if __name__ == "__main__":
    main(*sys.argv[1:])
