"""The probe kernel: a fixed piece of work whose time says how fast this machine is just now.

A budget in reference-seconds is CPU time divided by the time of this kernel, run beside the
training on the same machine under the same load. It does what training a small language model
does, forwards and backwards, so that whatever slows one slows the other. It never changes: its
time is part of a run's environment (`probe_ns`) and of its tier.
"""

import statistics
import time

import torch
from torch import Tensor
from torch.nn import functional as F

TOKENS, WIDTH, HIDDEN, VOCABULARY = 1024, 64, 256, 1024
REPEATS = 5


class Probe:
    """The kernel, with its inputs made once."""

    def __init__(self, device: str = "cpu") -> None:
        made = torch.Generator().manual_seed(1)
        self._device = torch.device(device)

        def tensor(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=made).to(self._device)

        self._x = tensor(TOKENS, WIDTH)
        self._in = tensor(WIDTH, HIDDEN).div_(WIDTH**0.5)
        self._out = tensor(HIDDEN, WIDTH).div_(HIDDEN**0.5)
        self._head = tensor(WIDTH, VOCABULARY).div_(WIDTH**0.5)

    @torch.no_grad()
    def kernel(self) -> Tensor:
        """The work itself: an MLP, a head and their gradients by hand, some 80 MFLOP."""
        h = self._x @ self._in
        y = F.layer_norm(self._x + F.gelu(h) @ self._out, (WIDTH,))
        p = torch.softmax(y @ self._head, -1)
        p[:, 0] -= 1
        back = p @ self._head.t()
        head = y.t() @ p
        hidden = (back @ self._out.t()) * h
        return head.sum() + (self._x.t() @ hidden).sum()

    def once(self) -> float:
        """CPU seconds (wall-clock on a GPU) of one run of the kernel."""
        if self._device.type == "cpu":
            start = time.thread_time()
            self.kernel()
            return time.thread_time() - start
        start = time.perf_counter()
        self.kernel().item()  # waits for the device
        return time.perf_counter() - start

    def warm(self) -> float:
        """Seconds of one run, after one that fills the caches."""
        self.once()
        return self.once()

    def measure(self) -> float:
        """Median seconds of a few runs, after one that does not count."""
        self.once()
        return statistics.median(self.once() for _ in range(REPEATS))
