"""Honest language models of many kinds, and a task with something to learn for them.

Not here: programs that cheat, which are in `test_cheats`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.trainer.small import AROUND_A_TEXT, CONTEXT, VOCABULARY, Bench, make_task
from trainer import sandbox, scoring, serving

WINDOWS = 16
UNIFORM = 2_500_000
"""Micro-bits per byte of a guess: 32 tokens, 2 bytes each."""

PREPARE = f"""{AROUND_A_TEXT}
def text(stream, size):
    # Four times in five a token follows from the one before it: in half of all cases by a rule
    # that holds for all texts, in the others by a rule that holds for this text alone.
    rng = np.random.default_rng(stream)
    rule = np.random.default_rng(0).permutation(VOCABULARY)
    rule[VOCABULARY // 2 :] = rng.permutation(rule[VOCABULARY // 2 :])
    tokens = rng.integers(0, VOCABULARY, size)
    follows = rng.random(size) < 0.8
    for place in range(1, size):
        if follows[place]:
            tokens[place] = rule[tokens[place - 1]]
    return tokens

def prepare(data, report):
    keep(data, np.concatenate([text([number, 2], 500) for number in range(40)]))

def validation(data, split, seed):
    return windows(text([seed, split == "heldout"], 64 * CONTEXT + 1))
"""

IMPORTS = """
import torch
from torch import nn
from torch.nn import functional as F
"""

TRAIN = """
def next_token_loss(model, batch):
    return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1).float(), batch[:, 1:].flatten())

loss_of = next_token_loss

def build_model(meta):
    return Model(meta["vocab"], meta["context"])

def train(run):
    model = build_model(run.meta)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    tokens = torch.from_numpy(run.tokens.astype("int64"))
    span = torch.arange(run.meta["context"] + 1)
    for progress in run.steps():
        starts = torch.randint(len(tokens) - len(span), (16, 1))
        loss = loss_of(model, tokens[starts + span])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        run.log(loss.detach(), 256)
    return model
"""

BLOCK = """
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.mlp(x)
"""

BIGRAM = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.table = nn.Embedding(vocab, vocab)

    def forward(self, tokens):
        return self.table(tokens)
"""

TIED = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 32)
        self.block = Block(32)
        self.head = nn.Linear(32, vocab, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.block(self.embedding(tokens)))
"""

RECURRENT = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 32)
        self.memory = nn.GRU(32, 32, batch_first=True)
        self.head = nn.Linear(32, vocab)

    def forward(self, tokens):
        return self.head(self.memory(self.embedding(tokens))[0])
"""

BIGRAM_MIXED = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.table = nn.Embedding(vocab, vocab)
        self.embedding = nn.Embedding(vocab, 32)
        self.block = Block(32)
        self.head = nn.Linear(32, vocab)

    def forward(self, tokens):
        return self.table(tokens) + self.head(self.block(self.embedding(tokens)))
"""

SHARED_DEPTH = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 32)
        self.positions = nn.Embedding(context, 32)
        self.block = Block(32)
        self.head = nn.Linear(32, vocab)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]]
        for _ in range(3):
            x = self.block(x)
        return self.head(x)
"""

TWO_HEADS = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 32)
        self.block = Block(32)
        self.heads = nn.ModuleList(nn.Linear(32, vocab) for _ in range(2))

    def forward(self, tokens, head=0):
        return self.heads[head](self.block(self.embedding(tokens)))

def loss_of(model, batch):
    after_next = model(batch[:, :-2], head=1)
    later = F.cross_entropy(after_next.flatten(0, 1), batch[:, 2:].flatten())
    return next_token_loss(model, batch) + 0.3 * later
"""

EXPERTS = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 32)
        self.block = Block(32)
        self.router = nn.Linear(32, 4)
        self.experts = nn.ModuleList(nn.Linear(32, 32) for _ in range(4))
        self.head = nn.Linear(32, vocab)

    def forward(self, tokens):
        x = self.block(self.embedding(tokens)).flatten(0, 1)
        gate, chosen = self.router(x).softmax(-1).max(-1)
        mixed = x.clone()
        for number, expert in enumerate(self.experts):
            here = (chosen == number).nonzero().squeeze(1)
            mixed = mixed.index_add(0, here, gate[here, None] * F.gelu(expert(x[here])))
        return self.head(mixed).view(*tokens.shape, -1)
"""

HALF = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 32)
        self.block = Block(32)
        self.head = nn.Linear(32, vocab)
        self.bfloat16()

    def forward(self, tokens):
        return self.head(self.block(self.embedding(tokens)))
"""

SMALL = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.embedding = nn.Embedding(vocab, 2)
        self.head = nn.Linear(2, vocab)

    def forward(self, tokens):
        return self.head(self.embedding(tokens))
"""

HONEST = {
    "tied": TIED,
    "recurrent": RECURRENT,
    "bigram-mixed": BIGRAM_MIXED,
    "shared depth": SHARED_DEPTH,
    "multi-token head": TWO_HEADS,
    "mixture of experts": EXPERTS,
    "half precision": HALF,
    "very small": SMALL,
}


def program(model: str) -> str:
    """A program that trains a `Model`; what else the text defines takes the place of ours."""
    return f"{IMPORTS}{BLOCK}{TRAIN}{model}"


@contextmanager
def open_bench(folder: Path) -> Iterator[Bench]:
    """A bench for the task above in the best sandbox there is.

    Its batches are of 16 windows, as those of real tasks, and a probe has to hurry.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "EXCHANGE_BYTES", 4 * VOCABULARY * CONTEXT * WINDOWS)
        patch.setattr(serving, "PROBE_S", 0.5)
        with Bench(make_task(folder, PREPARE), folder, sandbox.choose()[0]) as bench:
            yield bench
