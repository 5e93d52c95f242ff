"""A small GPT and how to train it: the one file that experiments edit.

    build_model(meta) -> module     maps int64 tokens [B, T] to logits [B, T, vocab]
    train(run) -> module            trains one, asking `run.steps()` for every step

`meta` holds `vocab` and `context`. `run` holds `meta`, `tokens` (the training text, uint16, 1-D),
`device` and `seed`; `run.steps()` yields the progress in [0, 1) once per optimiser step, as often
as the budget pays for, and `run.log(loss, tokens)` is called once in each. Everything else may
change. Data, tokenizer, budget and scoring lie outside and do not.
"""

# mypy: allow-untyped-calls, no-warn-return-any

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Model
DEPTH = 3  # blocks
WIDTH = 64  # channels of the residual stream
HEADS = 2  # attention heads; they divide the width
MLP_MULT = 4  # hidden width of the MLP, in widths
NORM_EPS = 1e-5

# Initialisation
EMBED_INIT = 1.0  # sd of the token embedding
POSITION_INIT = 1.0  # sd of the position embedding
MATRIX_INIT = 1.0  # sd of the blocks' input matrices, times 1 / sqrt(fan-in)
OUTPUT_INIT = 0.0  # the same for the matrices that write to the residual stream
HEAD_INIT = 0.001  # sd of the output head

# Optimiser (AdamW)
LR = 3e-3
EMBED_LR_SCALE = 1.0  # learning rate of both embeddings, relative to LR
HEAD_LR_SCALE = 1.0  # learning rate of the output head, relative to LR
BETAS = (0.9, 0.95)
ADAM_EPS = 1e-8
WEIGHT_DECAY = 0.1  # of matrices and embeddings
GRAD_CLIP = 1.0  # largest norm of the gradient
WARMUP_FRAC = 0.0  # part of the run over which the learning rate rises from 0
WARMDOWN_FRAC = 0.0  # part of the run over which it falls to 0

# Batches
BATCH_SIZE = 16  # windows per step
WINDOW = 128  # tokens per window, at most meta["context"]


class Block(nn.Module):
    """Attention, then an MLP, each reading a normalised residual stream and adding to it."""

    def __init__(self) -> None:
        super().__init__()
        hidden = MLP_MULT * WIDTH
        self.attention_norm = nn.LayerNorm(WIDTH, NORM_EPS)
        self.qkv = matrix(WIDTH, 3 * WIDTH, MATRIX_INIT)
        self.attention_out = matrix(WIDTH, WIDTH, OUTPUT_INIT)
        self.mlp_norm = nn.LayerNorm(WIDTH, NORM_EPS)
        self.mlp_in = matrix(WIDTH, hidden, MATRIX_INIT)
        self.mlp_out = matrix(hidden, WIDTH, OUTPUT_INIT)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))

    def attention(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        heads = self.qkv(x).view(batch, length, 3, HEADS, WIDTH // HEADS)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each [batch, heads, length, channels]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))


class GPT(nn.Module):
    """Token and position embeddings, blocks, and a head that shares no weights with them."""

    def __init__(self, vocab: int, context: int) -> None:
        super().__init__()
        self.tokens = embedding(vocab, EMBED_INIT)
        self.positions = embedding(context, POSITION_INIT)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, NORM_EPS)
        self.head = matrix(WIDTH, vocab, HEAD_INIT * math.sqrt(WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).float()


def matrix(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """A linear map without bias whose outputs have sd `gain` where its inputs have sd 1."""
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=gain / math.sqrt(inputs))
    return linear


def embedding(rows: int, sd: float) -> nn.Embedding:
    table = nn.Embedding(rows, WIDTH)
    nn.init.normal_(table.weight, std=sd)
    return table


def build_model(meta: dict[str, int]) -> GPT:
    return GPT(meta["vocab"], meta["context"])


def build_optimizer(model: GPT) -> torch.optim.Optimizer:
    """AdamW; vectors do not decay, embeddings and head have learning rates of their own."""
    blocks = list(model.blocks.parameters()) + list(model.norm.parameters())
    matrices = [p for p in blocks if p.ndim > 1]
    vectors = [p for p in blocks if p.ndim < 2]
    embeddings = [model.tokens.weight, model.positions.weight]
    groups = [
        {"params": matrices, "scale": 1.0, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "scale": 1.0, "weight_decay": 0.0},
        {"params": embeddings, "scale": EMBED_LR_SCALE, "weight_decay": WEIGHT_DECAY},
        {"params": [model.head.weight], "scale": HEAD_LR_SCALE, "weight_decay": WEIGHT_DECAY},
    ]
    return torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=ADAM_EPS)


def schedule(progress: float) -> float:
    """Learning rate at `progress` in [0, 1), relative to its peak."""
    rising = progress / WARMUP_FRAC if progress < WARMUP_FRAC else 1.0
    falling = (1 - progress) / WARMDOWN_FRAC if 1 - progress < WARMDOWN_FRAC else 1.0
    return min(rising, falling)


def train(run: Any) -> GPT:
    torch.manual_seed(run.seed)
    rng = np.random.default_rng(run.seed)
    model = build_model(run.meta).to(run.device).train()
    optimizer = build_optimizer(model)
    bf16 = torch.autocast("cuda", torch.bfloat16, enabled=run.device.startswith("cuda"))
    span = np.arange(WINDOW + 1)
    for progress in run.steps():
        starts = rng.integers(len(run.tokens) - WINDOW, size=(BATCH_SIZE, 1))
        batch = torch.from_numpy(run.tokens[starts + span].astype(np.int64)).to(run.device)
        with bf16:
            logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at {progress:.0%} of the run")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
        for group in optimizer.param_groups:
            group["lr"] = LR * group["scale"] * schedule(progress)
        optimizer.step()
        optimizer.zero_grad()
        run.log(loss.detach(), BATCH_SIZE * WINDOW)
    return model
