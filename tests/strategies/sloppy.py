"""Replies as models really write them: good ones, and ways of spoiling them, with what must follow.

`same`: it must be read as it was meant. `refused`: it says too little, and must be an error.
`safe`: either will do, but nothing else.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct

PROGRAM = Path(__file__).parents[2].joinpath("trainer/tasks/stories/train.py").read_text()

Fate = Literal["same", "refused", "safe"]
Pair = tuple[str, str]


class Meant(Struct, frozen=True):
    """An idea: its blocks, and the program that it means."""

    name: str
    hypothesis: str
    blocks: tuple[Pair, ...]

    @property
    def program(self) -> str:
        source = PROGRAM
        for search, replace in self.blocks:
            assert PROGRAM.count(search) == 1
            source = source.replace(search, replace)
        return source

    def reply(self) -> str:
        """How it is written when all is well."""
        return written(self.hypothesis, self.blocks)


def written(hypothesis: str, blocks: tuple[Pair, ...]) -> str:
    parts = [f"<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE\n" for old, new in blocks]
    return f"IDEA: {hypothesis}\n" + "\n".join(parts)


RELU = (
    "        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))\n",
    "        return x + self.mlp_out(F.relu(self.mlp_in(self.mlp_norm(x))).square())\n",
)
AVERAGE = (
    "    optimizer = build_optimizer(model)\n",
    "    optimizer = build_optimizer(model)\n    ema = None  # kept for later\n",
)
MEANT = (
    Meant(
        "one line",
        "squared ReLU is cheaper than GELU and sparse",
        (RELU,),
    ),
    Meant(
        "in context",
        "warm up linearly, then a cosine tail",
        (
            (
                "    rising = progress / WARMUP_FRAC if progress < WARMUP_FRAC else 1.0\n"
                "    falling = (1 - progress) / WARMDOWN_FRAC if 1 - progress < WARMDOWN_FRAC"
                " else 1.0\n"
                "    return min(rising, falling)\n",
                "    rising = progress / WARMUP_FRAC if progress < WARMUP_FRAC else 1.0\n"
                "    falling = 0.5 + 0.5 * math.cos(math.pi * progress)\n"
                "    return rising * falling\n",
            ),
        ),
    ),
    Meant(
        "two places",
        "queries and keys of unit length let the rate rise",
        (
            (
                "        q, k, v = heads.permute(2, 0, 3, 1, 4)"
                "  # each [batch, heads, length, channels]\n",
                "        q, k, v = heads.permute(2, 0, 3, 1, 4)"
                "  # each [batch, heads, length, channels]\n"
                "        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)\n",
            ),
            ("LR = 3e-3\n", "LR = 6e-3\n"),
        ),
    ),
    Meant(
        "a deletion",
        "the decay of embeddings only costs",
        (
            (
                '        {"params": embeddings, "scale": EMBED_LR_SCALE,'
                ' "weight_decay": WEIGHT_DECAY},\n',
                '        {"params": embeddings, "scale": EMBED_LR_SCALE, "weight_decay": 0.0},\n',
            ),
            (
                '        {"params": vectors, "scale": 1.0, "weight_decay": 0.0},\n',
                "",
            ),
        ),
    ),
    Meant(
        "an insertion",
        "an average of weights costs nothing",
        (AVERAGE,),
    ),
    Meant(
        "nested",
        "clip only where the loss spikes",
        (
            (
                "        loss.backward()\n"
                "        nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)\n",
                "        loss.backward()\n"
                "        if progress < 0.5:\n"
                "            nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)\n",
            ),
        ),
    ),
)

Way = Callable[[Meant], str]


class Spoiled(NamedTuple):
    """A way to write an idea, and what must become of it."""

    name: str
    write: Way
    fate: Fate


def rows(change: Callable[[str], str]) -> Way:
    """Every line of all blocks in another form."""

    def write(meant: Meant) -> str:
        blocks = tuple((_each(old, change), _each(new, change)) for old, new in meant.blocks)
        return written(meant.hypothesis, blocks)

    return write


def searches(change: Callable[[str], str]) -> Way:
    """Every line that is quoted in another form."""

    def write(meant: Meant) -> str:
        blocks = tuple((_each(old, change), new) for old, new in meant.blocks)
        return written(meant.hypothesis, blocks)

    return write


def replaces(change: Callable[[str], str]) -> Way:
    """Every line of what it becomes in another form."""

    def write(meant: Meant) -> str:
        blocks = tuple((old, _each(new, change)) for old, new in meant.blocks)
        return written(meant.hypothesis, blocks)

    return write


def texts(old: str, new: str) -> Way:
    """Some text of the reply replaced by another, everywhere."""
    return lambda meant: re.sub(old, new, meant.reply(), flags=re.MULTILINE)


def cut(share: float) -> Way:
    """The reply, ended too early."""
    return lambda meant: meant.reply()[: int(len(meant.reply()) * share)]


def last_of_search_changed(meant: Meant) -> str:
    """The line that is edited is quoted from memory."""
    blocks = tuple((old.replace("=", "!=").replace(".", "->"), new) for old, new in meant.blocks)
    return written(meant.hypothesis, blocks)


def context_from_memory(meant: Meant) -> str:
    """Lines in front are quoted, too, one of them nearly right, on both sides."""
    blocks = []
    for old, new in meant.blocks:
        above = PROGRAM[: PROGRAM.index(old)].split("\n")[-4:-1]
        wrong = [*above[:-2], *(re.sub(r"#.*", "# as I recall", row) for row in above[-2:])]
        context = "".join(row + "\n" for row in wrong)
        blocks.append((context + old, context + new))
    return written(meant.hypothesis, tuple(blocks))


def _each(text: str, change: Callable[[str], str]) -> str:
    return "".join(change(row) + "\n" for row in text.splitlines())


FENCED = "Sure!\n\n```python\n{}```\n\nThis should help because it is faster.\n"
THOUGHT = "<think>\nIDEA: no\n<<<<<<< SEARCH\nLR = 3e-3\n=======\nLR = 9\n>>>>>>> REPLACE\n</think>"

TWICE = (("\n", "import os\n"), ("        x = self.tokens(tokens)\n", "\n"))

WAYS = (
    Spoiled("as asked", Meant.reply, "same"),
    Spoiled("in a fence with chatter", lambda m: FENCED.format(m.reply()), "same"),
    Spoiled("after thinking", lambda m: f"{THOUGHT}\n\n{m.reply()}", "same"),
    Spoiled("end of thinking alone", lambda m: f"hm, LR...\n</think>\n{m.reply()}", "same"),
    Spoiled("line ends of Windows", lambda m: m.reply().replace("\n", "\r\n"), "same"),
    Spoiled("no line end at the end", lambda m: m.reply().rstrip("\n"), "same"),
    Spoiled("blanks behind lines", rows(lambda row: row + "  "), "same"),
    Spoiled("blanks behind quoted lines", searches(lambda row: row + " "), "same"),
    Spoiled("tabs", rows(lambda row: row.replace("    ", "\t")), "same"),
    Spoiled("moved to the right", rows(lambda row: "    " + row), "same"),
    Spoiled("in a list", lambda m: re.sub("^", "   ", m.reply(), flags=re.M), "same"),
    Spoiled("moved to the left", rows(lambda row: row.removeprefix("    ")), "same"),
    Spoiled("small markers", texts("(SEARCH|REPLACE)", r"\1>"), "safe"),
    Spoiled("short markers", texts("([<=>])[<=>]{6}", r"\1\1\1\1\1"), "same"),
    Spoiled("long markers", texts("^([<=>])[<=>]{6}", r"\1\1\1\1\1\1\1\1\1"), "same"),
    Spoiled("lower case", lambda m: m.reply().replace("SEARCH", "search"), "same"),
    Spoiled("another file's name", texts("^(<<<<<<< SEARCH)", r"model.py\n\1"), "same"),
    Spoiled("a file's name at the marker", texts("SEARCH$", "SEARCH train.py"), "same"),
    Spoiled("bold header", texts("^IDEA: (.*)$", r"**Idea 1: \1**"), "same"),
    Spoiled("heading", texts("^IDEA: ", "## Idea 2 - "), "same"),
    Spoiled("header before each block", lambda m: repeated(m), "same"),
    Spoiled("other word", texts("^IDEA: ", "Hypothesis: "), "same"),
    Spoiled("fences in the blocks", texts("(SEARCH|=======)\n", r"\1\n```python\n"), "refused"),
    Spoiled("fenced quotations", lambda m: fenced(m), "same"),
    Spoiled("blank lines around", lambda m: framed(m), "same"),
    Spoiled("context from memory", context_from_memory, "safe"),
    Spoiled("quoted from memory", last_of_search_changed, "refused"),
    Spoiled("quotations moved alone", searches(lambda row: "  " + row), "safe"),
    Spoiled("results moved alone", replaces(lambda row: "  " + row), "safe"),
    Spoiled("elision in SEARCH", lambda m: elided(m, 0), "refused"),
    Spoiled("elision in REPLACE", lambda m: elided(m, 1), "refused"),
    Spoiled("elision in words", lambda m: elided(m, 1, "    # rest of the code"), "refused"),
    Spoiled("no hypothesis", texts("^IDEA: .*$", ""), "refused"),
    Spoiled("empty quotation", lambda m: written(m.hypothesis, (("", "x = 1\n"),)), "refused"),
    Spoiled(
        "nothing changed", lambda m: written(m.hypothesis, ((m.blocks[0][0],) * 2,)), "refused"
    ),
    Spoiled("quoted twice in the program", lambda m: written(m.hypothesis, TWICE), "refused"),
    Spoiled("code before a block", texts("^(<<<<<<<)", r"```\nLR = 9.0\n\1"), "refused"),
    Spoiled("no divider", texts("^=======\n", ""), "refused"),
    Spoiled("no end", texts("^>>>>>>> REPLACE\n", ""), "refused"),
    Spoiled("no beginning", texts("^<<<<<<< SEARCH\n", ""), "refused"),
    Spoiled("a marker misspelt", texts("SEARCH$", "SAERCH"), "refused"),
    Spoiled("both markers misspelt", texts("(SEARCH|REPLACE)$", "CODE"), "refused"),
    Spoiled("two dividers", texts("^=======\n", "=======\n=======\n"), "refused"),
    Spoiled("code beside a block", lambda m: m.reply() + "```python\nLR = 9.0\n```\n", "refused"),
    Spoiled(
        "as a diff", lambda m: f"IDEA: {m.hypothesis}\n```diff\n-LR = 1\n+LR = 2\n```", "refused"
    ),
    Spoiled("only announced", lambda m: f"IDEA: {m.hypothesis}\n\nI would do that.", "refused"),
    Spoiled("quotation marks", rows(lambda row: row.replace('"', "”")), "safe"),
    Spoiled("numbered lines", rows(lambda row: f"12  {row}"), "refused"),
    Spoiled("quoted as mail", lambda m: re.sub("^", "> ", m.reply(), flags=re.M), "refused"),
    Spoiled("hidden characters", searches(lambda row: row + "\u200b"), "refused"),
    Spoiled("cut in the middle", cut(0.5), "refused"),
    Spoiled("cut near the end", cut(0.9), "refused"),
    Spoiled("all thought", lambda m: "<think>" + m.reply(), "refused"),
)


def repeated(meant: Meant) -> str:
    return "".join(written(meant.hypothesis, (block,)) for block in meant.blocks)


def fenced(meant: Meant) -> str:
    blocks = tuple((f"```\n{old}```\n", f"```\n{new}```\n") for old, new in meant.blocks)
    return written(meant.hypothesis, blocks)


def framed(meant: Meant) -> str:
    blocks = tuple((f"\n{old}\n", f"\n{new}\n") for old, new in meant.blocks)
    return written(meant.hypothesis, blocks)


def elided(meant: Meant, side: int, by: str = "        ...") -> str:
    """The last block with a line that stands for others."""
    *others, (old, new) = meant.blocks
    block = (f"{by}\n{old}", new) if side == 0 else (old, f"{new}{by}\n")
    return written(meant.hypothesis, (*others, block))


def corpus() -> Iterator[tuple[str, Meant, str, Fate]]:
    """Name, what was meant, the reply, and what must become of it."""
    for meant in MEANT:
        for way in WAYS:
            yield f"{meant.name}: {way.name}", meant, way.write(meant), way.fate
