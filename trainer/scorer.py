"""The scorer: a trusted process that alone knows the validation targets.

    python -s -P -B scorer.py PREPARE DATA          with a socket to the node as descriptor 3

It sends a candidate's process nothing but inputs, gets raw logits back through shared memory, and
does the log-softmax and the sum itself: whatever comes back is a normalised distribution by
construction. It copies the logits before it looks at them, else a thread of the candidate could
change them between the pass that normalises and the pass that picks. It never loads a candidate's
code or checkpoint.

Says {"meta": ...} when it starts; then {"draws": [[seed, split], ...], "windows", "seconds"} +
[inputs, logits, peer] is answered by {"micro": [...]} or {"fault": ...}.
"""

import math
import mmap
import os
import socket
import sys
import time
from collections import OrderedDict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainer import frames

if TYPE_CHECKING:
    from torch import Tensor

CONTROL = 3
KEPT_DRAWS = 32
"""Tokenised draws to keep; a draw is some 600 KB and costs 15 ms to make again."""
MICRO = 1_000_000

Texts = tuple["Tensor", "Tensor", "Tensor"]


class Refused(Exception):
    """What the candidate's process answered cannot be scored."""


class Draws:
    """Validation texts by (seed, split), the last ones kept."""

    def __init__(self, prepare: Any, data: Path) -> None:
        self._prepare = prepare
        self._data = data
        self._kept: OrderedDict[tuple[int, str], Texts] = OrderedDict()

    def text(self, seed: int, split: str) -> Texts:
        """Inputs int64 [n, T], targets int64 [n, T], bytes of each target float64 [n, T]."""
        import torch

        key = (seed, split)
        if key not in self._kept:
            inputs, targets, sizes = self._prepare.validation(self._data, split, seed)
            self._kept[key] = (
                torch.from_numpy(inputs),
                torch.from_numpy(targets),
                torch.from_numpy(sizes),
            )
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


def bits(logits: "Tensor", targets: "Tensor", counted: "Tensor") -> float:
    """Sum of -log2 p(target) over the counted targets.

    Args:
        logits: float32 [n, vocab].
        targets: int64 [n].
        counted: bool [n].

    Raises:
        Refused: a logit is not finite.
    """
    from torch.nn.functional import cross_entropy

    losses = cross_entropy(logits, targets, reduction="none")
    if not math.isfinite(float(losses.sum())) or not math.isfinite(float(logits.amin())):
        raise Refused("the model's logits are not finite")
    return float(losses[counted].double().sum()) / math.log(2)


def score(exchange: Exchange, text: Texts, windows: int) -> int:
    """Micro-bits per byte of one text."""
    inputs, targets, sizes = text
    total = 0.0
    for start in range(0, len(inputs), windows):
        part = slice(start, start + windows)
        logits = exchange.ask(inputs[part])
        total += bits(logits.flatten(0, 1), targets[part].flatten(), sizes[part].flatten() > 0)
    return round(total / int(sizes.sum()) * MICRO)


def answer(
    request: frames.Message, descriptors: list[int], meta: dict[str, int], draws: Draws
) -> frames.Message:
    """Score one candidate's process on the draws of a request."""
    windows = request["windows"]
    shape = (windows, meta["context"], meta["vocab"])
    exchange = Exchange(descriptors, shape, request["seconds"])
    try:
        texts = (draws.text(seed, split) for seed, split in request["draws"])
        return {"micro": [score(exchange, text, windows) for text in texts]}
    except Refused as refused:
        return {"fault": str(refused)}
    finally:
        exchange.close()


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
    draws = Draws(prepare, data)
    with torch.inference_mode():
        while (request := frames.receive(node)) is not None:
            frames.send(node, answer(*request, meta, draws))


if __name__ == "__main__":
    main(*sys.argv[1:])
