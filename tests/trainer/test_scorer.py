"""The scorer's own arithmetic, and what it does with a model that does not play along."""

import math
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
import torch

from trainer.scorer import (
    Exchange,
    Refused,
    Text,
    compare,
    finite_losses,
    micro,
    probe,
    score,
    with_other_tail,
)
from trainer.scoring import Meta
from trainer.sealed import shared_memory

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


def test_losses_are_those_of_the_softmax_whatever_the_scale() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [1000.0, 1000.0], [-1000.0, -1000.0]]])
    found = finite_losses(logits, torch.tensor([[1, 0, 1]]))
    assert found[0].tolist() == pytest.approx([math.log(4 / 3), math.log(2), math.log(2)])


def test_what_stands_for_no_bytes_is_not_counted() -> None:
    losses = torch.tensor([[math.log(4), math.log(16), 100.0]])
    assert micro(losses, torch.tensor([[1, 3, 0]])) == 1_500_000


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_logit_that_is_not_finite_is_refused(value: float) -> None:
    logits = torch.zeros(1, 3, 4)
    logits[0, 1, 2] = value
    with pytest.raises(Refused):
        finite_losses(logits, torch.zeros(1, 3, dtype=torch.long))


def test_no_logits_beat_a_certain_guess() -> None:
    logits = torch.full((1, 1, 4), -1e30)
    logits[0, 0, 2] = 1e30
    assert finite_losses(logits, torch.tensor([[2]])).item() == 0.0


KNOWN = torch.tensor([[1.0, 2.0, 3.0, 0.5]] * 10)
"""Losses of ten windows of four tokens."""
WHOLE = torch.full((10,), 4)


def test_a_model_that_says_the_same_again_has_nothing_to_answer_for() -> None:
    assert compare(KNOWN.clone(), KNOWN, WHOLE) == ""


def test_what_half_precision_rounds_is_let_pass() -> None:
    rounding = torch.linspace(-0.03, 0.03, 10)[:, None]
    assert compare(KNOWN * (1 + rounding), KNOWN, WHOLE) == ""


def test_only_what_stands_before_the_cut_has_to_be_alike() -> None:
    found = KNOWN.clone()
    found[:, 2:] = math.nan
    assert compare(found, KNOWN, torch.full((10,), 2)) == ""
    assert "on later tokens: 10 of 10" in compare(found, KNOWN, torch.full((10,), 3))


@pytest.mark.parametrize("value", [9.0, 0.0, math.nan, math.inf])
def test_one_prediction_that_is_another_is_enough(value: float) -> None:
    found = KNOWN.clone()
    found[7, 1] = value
    assert "1 of 10 windows changed" in compare(found, KNOWN, WHOLE)


def test_a_window_that_kept_its_text_tells_what_it_depends_on() -> None:
    found = KNOWN.clone()
    found[3, 0] = 9.0
    assert "on other texts" in compare(found, KNOWN, WHOLE)
    assert "on later tokens" in compare(found, KNOWN, torch.full((10,), 3))


def test_many_small_gains_are_as_bad_as_a_large_one() -> None:
    assert "0.02 nats" in compare(KNOWN + 0.02, KNOWN, WHOLE)
    assert compare(KNOWN - 0.02, KNOWN, WHOLE) == ""


def test_a_tail_keeps_no_token() -> None:
    window = torch.arange(100) % 3
    changed = with_other_tail(window, 40, 3)
    assert changed[:40].tolist() == window[:40].tolist()
    assert not (changed[40:] == window[40:]).any()
    assert set(changed.tolist()) == {0, 1, 2}


class Model:
    """Stands for an exchange with a model: a table of bigrams, which may look `ahead`."""

    def __init__(self, ahead: bool = False) -> None:
        self.table = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
        self.ahead = ahead
        self.asked: list[torch.Tensor] = []

    def ask(self, inputs: torch.Tensor) -> torch.Tensor:
        self.asked.append(inputs)
        logits = self.table[inputs]
        if self.ahead:
            logits[:, :-1].scatter_(2, inputs[:, 1:, None], 30.0)
        return logits


def make_text(count: int) -> Text:
    tokens = torch.randint(8, (count, 7), generator=torch.Generator().manual_seed(2))
    return Text(tokens[:, :-1], tokens[:, 1:], torch.ones(count, 6))


def test_windows_are_asked_for_in_no_order_but_all_of_them_and_as_many_at_a_time() -> None:
    model, text = Model(), make_text(50)
    scored = score(model, text, 16)  # type: ignore[arg-type]
    assert [len(asked) for asked in model.asked] == [16, 16, 16, 16]
    asked = torch.cat(model.asked)
    assert not torch.equal(asked[:50], text.inputs)
    assert sorted(asked[:50].tolist()) == sorted(text.inputs.tolist())
    assert torch.equal(scored.losses, finite_losses(model.table[text.inputs], text.targets))


def test_a_window_that_fills_the_last_batch_is_not_scored_again() -> None:
    class Forgetful(Model):
        def ask(self, inputs: torch.Tensor) -> torch.Tensor:
            logits = super().ask(inputs)
            if len(self.asked) == 4:
                logits[2:] = torch.nan
            return logits

    scored = score(Forgetful(), make_text(50), 16)  # type: ignore[arg-type]
    assert torch.isfinite(scored.losses).all()


@pytest.mark.parametrize("windows", [1, 16, 1000])
def test_a_probe_lets_honest_models_pass_and_no_others(windows: int) -> None:
    text = make_text(50)
    probe(Model(), [score(Model(), text, windows)], windows, 8)  # type: ignore[arg-type]
    ahead = Model(ahead=True)
    scored = [score(ahead, text, windows)] * 2  # type: ignore[arg-type]
    with pytest.raises(Refused, match="on later tokens"):
        probe(ahead, scored, windows, 8)  # type: ignore[arg-type]


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
