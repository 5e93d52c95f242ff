"""A corpus of hostile patches: what each tries, and the check that has to stop it.

Every group has a benign twin, a patch of the same shape that applies: without it, a test that
nothing applies could not fail. Not here: what goes wrong in a child process (tests/trainer), and
hostile records (tests/gossip).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from skep.ports import Knob
from skep.records import Edit, Hunk, SetConstant

Stage = Literal["apply", "text", "hash", "parse"]
"""The check that refuses: exact context, the byte rules, the announced id, being Python."""

SEED = """\
# A program under attack.
LR = 0.01
DEPTH = 3
BETAS = (0.9, 0.95)
URL = "https://example.org/data"
FAST = False


class Config:
    inner: int = 1


def train(run):
    label = f"depth {DEPTH}"
    return label
"""
KNOBS = {
    "LR": Knob("float", 1e-4, 0.1),
    "DEPTH": Knob("int", 1, 8),
    "BETAS": Knob("floats", 0.0, 0.9999),
}
FAST = "FAST = False\n"
"""Line 6: what most patches replace."""


class Hostile(Struct, frozen=True):
    """One attack.

    Attributes:
        tries: what it is after.
        edits: the patch.
        parent: what it is applied to.
        announced: text whose id the record names; None for what the edits do make.
    """

    tries: str
    edits: Sequence[Edit]
    parent: str = SEED
    announced: str | None = None


class Group(Struct, frozen=True):
    """Attacks that one check stops, with a message, and a twin of theirs that nothing stops."""

    stage: Stage
    why: str
    twin: Hostile
    attacks: dict[str, Hostile]


def put(text: str, tries: str) -> Hostile:
    """Replaces line 6."""
    return Hostile(tries, [Hunk(6, FAST, text)])


def head(text: str, tries: str) -> Hostile:
    """Puts lines in front of the program."""
    return Hostile(tries, [Hunk(1, "", text)])


def at(line: int, before: str, after: str, tries: str) -> Hostile:
    """One hunk."""
    return Hostile(tries, [Hunk(line, before, after)])


def set_in(parent: str, tries: str, name: str = "LR") -> Hostile:
    """Sets a constant of a program to 2."""
    return Hostile(tries, [SetConstant(name, 2)], parent)


def set_to(value: Any, tries: str) -> Hostile:
    """Sets LR of SEED to something."""
    return Hostile(tries, [SetConstant("LR", value)])


class Sly(int):
    """Writes itself as code."""

    def __repr__(self) -> str:
        return "__import__('os').system('id')"


class SlyTuple(tuple[int, ...]):
    """Writes itself as code."""

    __repr__ = Sly.__repr__


def nested(depth: int) -> Any:
    """A tuple in a tuple in a tuple."""
    value: Any = (1,)
    for _ in range(depth):
        value = (value,)
    return value


HIDDEN = {
    "NUL": ("\0", "end the text early for a reader in C"),
    "carriage return": ("'\rimport os\n#'", "start a line that most viewers do not show"),
    "carriage return and line feed": ("\r\n", "a text of the same lines with another hash"),
    "form feed": ("\f", "reset Python's column count"),
    "vertical tab": ("\v", "break a line for str.splitlines alone"),
    "file separator": ("\x1c", "break a line for str.splitlines alone"),
    "escape": ("\x1b[2K", "wipe the line off the reader's terminal"),
    "U+0085": ("\x85", "break a line for some readers"),
    "U+2028": ("\u2028", "break a line for some readers"),
    "U+2029": ("\u2029", "break a line for some readers"),
    "right-to-left override": ("\u202e", "show code in another order than it runs"),
    "isolate": ("\u2066", "show code in another order than it runs"),
    "Arabic letter mark": ("\u061c", "show code in another order than it runs"),
    "zero-width space": ("\u200b", "two strings that look the same"),
    "zero-width joiner": ("\u200d", "two strings that look the same"),
    "soft hyphen": ("\xad", "two strings that look the same"),
    "Hangul filler": ("\u3164", "a name that cannot be seen"),
    "musical format": ("\U0001d173", "two strings that look the same"),
    "ignorable by default": ("\U000e0fff", "two strings that look the same"),
    "tag characters": ("\U000e0041", "text for machines that people cannot see"),
    "byte order mark inside": ("\ufeff", "two strings that look the same"),
    "lone surrogate": ("\ud800", "a text that cannot be encoded"),
}

CHARACTERS = Group(
    "text",
    r"line \d holds the character U\+",
    put("FAST = 'Größe ² ⚠️'\n", "letters of other languages"),
    {
        **{name: put(f"FAST = 'a{c}b'\n", tries) for name, (c, tries) in HIDDEN.items()},
        "byte order mark in front": head("\ufeff# first\n", "be dropped by some readers"),
    },
)

COOKIES = Group(
    "text",
    r"line [12] declares a coding",
    at(3, "", "# coding: utf-7\n", "say it where Python does not look"),
    {
        "utf-7 in line 1": head("# coding: utf-7\n", "hide code in +ADs-"),
        "utf-7 in line 2": at(2, "", "# -*- coding: utf-7 -*-\n", "hide code in +ADs-"),
        "utf-7 below a shebang": head("#!/usr/bin/python\n# coding=utf_7\n", "hide code in +ADs-"),
        "for vim": head("# vim: set fileencoding=utf-7 :\n", "hide code in +ADs-"),
        "indented": head("\t #coding:rot13\n", "read all of it in another way"),
        "made by deleting": Hostile(
            "pull a harmless line 3 up",
            [Hunk(1, "a = 1\n", "")],
            "a = 1\nb = 2\n# coding: utf-7\n",
        ),
    },
)

NAMES = Group(
    "text",
    "normal form",
    put("größe = 1\n", "a name in another language"),
    {
        "full-width LR": put("\uff2c\uff32 = 9\n", "rebind LR unseen by a text search"),
        "full-width import": put("import \uff4f\uff53\n", "get past a search for os"),
        "ligature": put("\ufb01le = 1\n", "rebind file"),
        "in an f-string": put("FAST = f'{\uff4f\uff53}'\n", "code inside of a string"),
        "superscript": put("x² = 1\n", "a second name for x2"),
        "decomposed": put("e\u0301 = 1\n", "two writings of one name"),
        "variation selector": put("LR\ufe0f = 9\n", "a second LR that looks the same"),
        "Mongolian variation selector": put("LR\u180b = 9\n", "a second LR that looks the same"),
        "supplementary selector": put("LR\U000e0100 = 9\n", "a second LR that looks the same"),
    },
)

SIZES = Group(
    "text",
    r"65537 bytes|4001 lines|over 2000 characters",
    put("#" * 2000 + "\n", "the longest line there may be"),
    {
        "one byte too many": Hostile(
            "exceed a record", [Hunk(65, "", "#")], ("#" * 1023 + "\n") * 64
        ),
        "one line too many": Hostile("exceed a screen", [Hunk(1, "", "\n")], "\n" * 4000),
        "one character too many": put("#" * 2001 + "\n", "hide code at the right"),
        "an emoji a byte": Hostile(
            "count characters for bytes",
            [Hunk(64, "", "\U0001f600" * 256 + "\n")],
            ("#" * 1023 + "\n") * 63,
        ),
    },
)

HEADERS = Group(
    "parse",
    "not Python|cannot be parsed",
    put("# --- a/train.py\n", "a comment"),
    {
        "unified diff": put("--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n", "a patch in a patch"),
        "second file": put("diff --git a/x.py b/sitecustomize.py\n", "write another file"),
        "path traversal": put("+++ b/../../../sitecustomize.py\n", "write outside of the folder"),
        "absolute path": put("--- /dev/null\n+++ /etc/cron.d/x\n", "write outside of the folder"),
        "rename": put("rename from train.py\nrename to ../x.py\n", "move the program"),
        "symbolic link": put("new file mode 120000\n", "plant a link"),
        "binary patch": put("GIT binary patch\nliteral 5\n", "bytes that nobody reads"),
        "ed script": put("6,7d\n.\nw ../x\n", "what GNU patch once handed to ed"),
        "merge markers": put("<<<<<<< ours\n", "leave a conflict behind"),
    },
)

CONTEXTS = Group(
    "apply",
    r"line -?\d+ is |starts at line|would join two lines",
    at(2, "LR = 0.01\n", "LR = 0.02\n", "the exact lines"),
    {
        "another line": at(2, "LR = 0.1\n", "", "delete what is not there"),
        "one line too high": at(1, "LR = 0.01\n", "", "have it looked for"),
        "one line too low": at(3, "LR = 0.01\n", "", "have it looked for"),
        "matches elsewhere": at(9, FAST, "FAST = True\n", "have it looked for"),
        "first line differs": at(2, "LR = 0.02\nDEPTH = 3\n", "x = 1\n", "apply with fuzz 1"),
        "last line differs": at(2, "LR = 0.01\nDEPTH = 4\n", "x = 1\n", "apply with fuzz 1"),
        "trailing blank": at(2, "LR = 0.01 \n", "", "apply ignoring blanks"),
        "tab for blanks": at(10, "\tinner: int = 1\n", "", "apply ignoring blanks"),
        "other case": at(2, "lr = 0.01\n", "", "apply ignoring case"),
        "other line end": at(2, "LR = 0.01\r\n", "", "apply ignoring line ends"),
        "half a line": at(2, "LR = 0", "LR = 9", "cut a line in two"),
        "diff header as context": at(1, "--- a/train.py\n", "", "apply to another file"),
        "runs past the end": at(15, "    return label\n\n", "", "a line that is not there"),
        "behind the end": at(17, "", "x = 1\n", "a place that is not there"),
        "far behind the end": at(2**62, "", "x = 1\n", "overflow a counter"),
        "line 0": at(0, "", "x = 1\n", "wrap around"),
        "line -1": at(-1, "    return label\n", "", "count from the end"),
        "joins two lines": at(1, "# A program under attack.\n", "#", "comment out line 2"),
        "joins behind an insertion": at(6, "", "# ", "comment out line 6"),
    },
)

OVERLAPS = Group(
    "apply",
    "two edits overlap",
    Hostile("side by side", [Hunk(2, "LR = 0.01\n", ""), Hunk(3, "DEPTH = 3\n", "DEPTH = 4\n")]),
    {
        "same line twice": Hostile("two results", [Hunk(6, FAST, ""), Hunk(6, FAST, "x = 1\n")]),
        "across": Hostile(
            "two results",
            [
                Hunk(2, "LR = 0.01\nDEPTH = 3\n", ""),
                Hunk(3, "DEPTH = 3\nBETAS = (0.9, 0.95)\n", ""),
            ],
        ),
        "insert into a deletion": Hostile(
            "keep what is deleted", [Hunk(2, "LR = 0.01\nDEPTH = 3\n", ""), Hunk(3, "", "x = 1\n")]
        ),
        "same place twice": Hostile("two orders", [Hunk(6, "", "a = 1\n"), Hunk(6, "", "b = 1\n")]),
        "set twice": Hostile("two results", [SetConstant("LR", 0.02), SetConstant("LR", 0.03)]),
        "set in a deletion": Hostile(
            "write into what is gone", [SetConstant("LR", 0.02), Hunk(2, "LR = 0.01\n", "x = 1\n")]
        ),
    },
)

HASHES = Group(
    "hash",
    "announced",
    Hostile("the right id", [SetConstant("LR", 0.02)], SEED, SEED.replace("0.01", "0.02")),
    {
        "another number": Hostile(
            "run what was not announced",
            [SetConstant("LR", 0.03)],
            SEED,
            SEED.replace("0.01", "0.02"),
        ),
        "the parent's id": Hostile("pass for the parent", [SetConstant("LR", 0.02)], SEED, SEED),
        "no last line end": Hostile("two writings of one program", [], SEED, SEED[:-1]),
        "another writing": Hostile(
            "two writings", [SetConstant("LR", 0.02)], SEED, SEED.replace("0.01", "2e-2")
        ),
        "on another parent": Hostile(
            "move an edit", [SetConstant("LR", 0.02)], SEED[:-1], SEED.replace("0.01", "0.02")
        ),
    },
)

CONSTANTS = Group(
    "apply",
    "no constant .* that could be set",
    set_in("LR = 1\ndef f(LR): return LR\n", "a parameter of that name is no second LR"),
    {
        "unknown": set_in(SEED, "make a new name", "LRR"),
        "empty": set_in(SEED, "make a new name", ""),
        "code for a name": set_in(SEED, "inject a statement", "LR = 1; import os #"),
        "two lines for a name": set_in(SEED, "inject a statement", "LR\nimport os"),
        "dunder": set_in(SEED, "reach the module", "__builtins__"),
        "attribute": set_in("import os\nos.X = 1\n", "set what others read", "os.X"),
        "item": set_in("import os\nos.environ['LD_PRELOAD'] = 1\n", "LD_PRELOAD", "LD_PRELOAD"),
        "a string": set_in(SEED, "load from another place", "URL"),
        "a bool": set_in(SEED, "turn a check off", "FAST"),
        "local name": set_in(SEED, "reach into a function", "label"),
        "nested name": set_in(SEED, "reach into a function", "train.label"),
        "class body by its bare name": set_in(SEED, "reach into a class", "inner"),
        "class within a class": set_in(
            "class A:\n    class B:\n        X = 1\n", "reach deeper", "A.B.X"
        ),
        "Cyrillic": set_in("BETA = 1\n", "a name that looks the same", "\u0412\u0415\u0422\u0410"),
        "full-width": set_in(SEED, "a name that Python reads as LR", "\uff2c\uff32"),
        "defined twice": set_in("LR = 1\nLR = 3\n", "show one number, use another"),
        "defined in a branch": set_in("LR = 1\nif LR:\n    LR = 3\n", "the same"),
        "global": set_in("LR = 1\ndef f():\n    global LR\n    LR = 3\n", "the same"),
        "imported": set_in("LR = 1\nfrom a import LR\n", "the same"),
        "function": set_in("LR = 1\ndef LR(): pass\n", "the same"),
        "class": set_in("LR = 1\nclass LR: pass\n", "the same"),
        "deleted": set_in("LR = 1\ndel LR\n", "the same"),
        "loop": set_in("LR = 1\nfor LR in (3, 4): pass\n", "the same"),
        "walrus": set_in("LR = 1\n(LR := 3)\n", "the same"),
        "with": set_in("LR = 1\nwith a as LR: pass\n", "the same"),
        "except": set_in("LR = 1\ntry: a\nexcept E as LR: pass\n", "the same"),
        "match as": set_in("LR = 1\nmatch 3:\n    case LR: pass\n", "the same"),
        "match star": set_in("LR = 1\nmatch a:\n    case [*LR]: pass\n", "the same"),
        "match rest": set_in("LR = 1\nmatch a:\n    case {**LR}: pass\n", "the same"),
        "chained": set_in("LR = OTHER = 1\n", "set two names"),
        "starred": set_in("LR, *REST = 1, 2, 3\n", "set a list"),
        "tower of powers": set_in("LR = 9**9**9\n", "hang whoever folds it"),
        "carriage return": set_in("# \rLR = 1\n", "shift the columns"),
    },
)

VALUES = Group(
    "apply",
    "'LR' is set to",
    set_to((2**63 - 1, -1e308), "the largest numbers there are"),
    {
        "bool": set_to(True, "turn a check on"),
        "over 64 bits": set_to(2**63, "what no record holds"),
        "5,000 digits": set_to(10**5000, "hang or crash whoever prints it"),
        "not a number": set_to(math.nan, "compare unequal to itself"),
        "infinity": set_to(-math.inf, "a name instead of a number"),
        "string": set_to("__import__('os')", "inject code"),
        "bytes": set_to(b"1", "another literal"),
        "complex": set_to(1j, "another literal"),
        "nothing": set_to(None, "another literal"),
        "list": set_to([1], "something that can change"),
        "empty tuple": set_to((), "no number at all"),
        "nested tuple": set_to(((1,),), "a shape that nobody checks"),
        "deep tuple": set_to(nested(50_000), "exhaust the stack"),
        "tuple with a bool": set_to((1, True), "turn a check on"),
        "tuple with a string": set_to((1, "x"), "inject code"),
        "number that prints as code": set_to(Sly(1), "inject code"),
    },
)

PRINTS_AS_CODE = Group(
    "apply",
    "not Python|would change more than the value",
    set_to((1, 2), "a plain tuple"),
    {"tuple that prints as code": set_to(SlyTuple((1,)), "inject code")},
)

BOMBS = Group(
    "parse",
    "not Python|cannot be parsed",
    put("x = " + "(" * 50 + "1" + ")" * 50 + "\n", "some brackets"),
    {
        "brackets": put("x = " + "(" * 900 + ")" * 900 + "\n", "exhaust the parser"),
        "lists": put("x = " + "[" * 900 + "]" * 900 + "\n", "exhaust the parser"),
        "unary minus": put("x = (\n" + ("-" * 1900 + "\n") * 30 + "1)\n", "exhaust the parser"),
        "not": put("x = (\n" + ("not " * 480 + "\n") * 30 + "1)\n", "exhaust the parser"),
        "lambdas": put("x = (\n" + ("lambda:" * 270 + "\n") * 30 + "1)\n", "exhaust the parser"),
        "powers": put("x = (\n" + ("2**" * 600 + "\n") * 30 + "1)\n", "exhaust the parser"),
        "sum": put("x = (\n" + ("1+" * 950 + "\n") * 30 + "1)\n", "exhaust whoever walks the tree"),
        "attributes": put("x = (a\n" + (".b" * 950 + "\n") * 30 + ")\n", "the same"),
        "calls": put("x = (a\n" + ("()" * 950 + "\n") * 30 + ")\n", "the same"),
        "indentation": put("".join(" " * i + "if 1:\n" for i in range(120)), "exhaust a stack"),
        "f-strings in f-strings": put(
            "x = f'" + "{x:" * 400 + "}" * 400 + "'\n", "grow with every level"
        ),
        "null coalescing": put("x = 1 ?? 2\n", "another language"),
        "half a statement": put("x = (\n", "leave a bracket open"),
        "no statement": put("x = = 1\n", "not Python"),
    },
)

GROUPS = {
    "characters": CHARACTERS,
    "cookies": COOKIES,
    "names": NAMES,
    "sizes": SIZES,
    "headers": HEADERS,
    "contexts": CONTEXTS,
    "overlaps": OVERLAPS,
    "hashes": HASHES,
    "constants": CONSTANTS,
    "values": VALUES,
    "prints as code": PRINTS_AS_CODE,
    "bombs": BOMBS,
}
