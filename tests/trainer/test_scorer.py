"""The scorer's own arithmetic, and what it does with a model that does not play along."""

import math
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
import torch

from trainer.scorer import Exchange, Refused, bits
from trainer.scoring import Meta, shared_memory

SHAPE = (4, 3, 8)
"""Windows at a time, context, vocabulary."""


class Twins:
    """Memory and a connection as a scorer and a model share them, both ends in this process."""

    def __init__(self, seconds: float = 5.0) -> None:
        self.inputs = shared_memory(4 * 3 * 8)
        self.logits = shared_memory(4 * 3 * 8 * 4)
        self.peer, scorer = socket.socketpair()
        given = [os.dup(self.inputs), os.dup(self.logits), scorer.detach()]
        self.exchange = Exchange(given, SHAPE, seconds)

    def close(self) -> None:
        self.exchange.close()
        self.peer.close()
        os.close(self.inputs)
        os.close(self.logits)


@pytest.fixture
def twins() -> Iterator[Twins]:
    made = Twins()
    yield made
    made.close()


def test_bits_are_those_of_the_softmax_whatever_the_scale() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [1000.0, 1000.0], [-1000.0, -1000.0]])
    targets = torch.tensor([1, 0, 1])
    counted = torch.ones(3, dtype=torch.bool)
    assert bits(logits, targets, counted) == pytest.approx(math.log2(4 / 3) + 1 + 1)


def test_what_stands_for_no_bytes_is_not_counted() -> None:
    logits = torch.zeros(2, 4)
    counted = torch.tensor([True, False])
    assert bits(logits, torch.tensor([0, 0]), counted) == pytest.approx(2.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_logit_that_is_not_finite_is_refused(value: float) -> None:
    logits = torch.zeros(3, 4)
    logits[1, 2] = value
    with pytest.raises(Refused):
        bits(logits, torch.zeros(3, dtype=torch.long), torch.ones(3, dtype=torch.bool))


def test_no_logits_beat_a_certain_guess() -> None:
    logits = torch.full((1, 4), -1e30)
    logits[0, 2] = 1e30
    assert bits(logits, torch.tensor([2]), torch.ones(1, dtype=torch.bool)) == 0.0


def test_logits_are_copied_before_they_are_looked_at(twins: Twins) -> None:
    twins.peer.sendall(b"k")
    logits = twins.exchange.ask(torch.zeros(4, 3, dtype=torch.long))
    os.pwrite(twins.logits, struct.pack("f", 7.0), 0)
    assert logits[0, 0, 0].item() == 0.0


def test_the_inputs_reach_the_model(twins: Twins) -> None:
    twins.peer.sendall(b"k")
    twins.exchange.ask(torch.arange(6).reshape(2, 3))
    assert twins.peer.recv(4) == b"\0\0\0\2"
    assert os.pread(twins.inputs, 48, 0) == struct.pack("6q", *range(6))


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (lambda peer: peer.close(), "ended"),
        (lambda peer: peer.sendall(b"?"), "ended"),
    ],
)
def test_a_model_that_does_not_answer_is_refused(
    twins: Twins, behave: Callable[[socket.socket], None], why: str
) -> None:
    behave(twins.peer)
    with pytest.raises(Refused, match=why):
        twins.exchange.ask(torch.zeros(4, 3, dtype=torch.long))


def test_a_model_that_takes_too_long_is_refused() -> None:
    twins = Twins(seconds=0.0)
    with pytest.raises(Refused, match="too long"):
        twins.exchange.ask(torch.zeros(4, 3, dtype=torch.long))
    twins.close()


def test_shared_memory_cannot_be_resized() -> None:
    descriptor = shared_memory(4096)
    for size in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    os.close(descriptor)


def test_windows_fit_the_exchange() -> None:
    assert Meta({"context": 128, "vocab": 1024}).windows == 16
    assert Meta({"context": 2048, "vocab": 8192}).windows == 1
