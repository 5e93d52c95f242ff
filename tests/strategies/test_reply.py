"""A reply becomes the program it means, or an error: never a no-op, and never something else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.errors import PatchError
from skep.fingerprint import fingerprint
from skep.source import parse
from strategies.reply import Format, Idea, Miss, read
from strategies.reply.text import REPLY_MAX
from strategies.shown import whole
from tests.strategies.sloppy import MEANT, PROGRAM, Fate, Meant, corpus, written

SHOWN = whole(PROGRAM)
CORPUS = list(corpus())
SMALL = """\
LR = 3e-3  # rate
DEPTH = 3
BETAS = (0.9, 0.95)


class A:
    def forward(self, x):
        return x

    def loss(self, x):
        return x * LR


class B:
    def forward(self, x):
        return -x


def main():
    for step in range(DEPTH):
        print(step)
    print(LR)
"""


def one(reply: str, form: Format = "blocks", source: str = SMALL, *, complete: bool = True) -> str:
    """The program of a reply of one idea, or why there is none."""
    ideas = read(reply, whole(source), form, complete=complete)
    assert len(ideas) == 1
    return ideas[0].source if isinstance(ideas[0], Idea) else ideas[0].why


def block(search: str, replace: str) -> str:
    return written("why not", ((search, replace),))


def code(text: str, line: str = "") -> str:
    return f"IDEA: why not\n{line}\n```python\n{text}```\n"


def bare(source: str) -> list[str]:
    """Lines without what neither Python nor anybody else sees."""
    return [row.rstrip() for row in source.split("\n") if row.strip()]


def runs(idea: Idea | Miss) -> bool:
    """Whether there is a program that Python can read."""
    try:
        return isinstance(idea, Idea) and bool(parse(idea.source))
    except PatchError:
        return False


def test_the_corpus_has_over_two_hundred_sloppy_replies() -> None:
    assert len({reply for _, _, reply, _ in CORPUS}) >= 280


@pytest.mark.parametrize(
    ("meant", "reply", "fate"), [c[1:] for c in CORPUS], ids=[c[0] for c in CORPUS]
)
def test_a_sloppy_reply_is_what_was_meant_or_an_error(meant: Meant, reply: str, fate: Fate) -> None:
    ideas = read(reply, SHOWN, "blocks", complete=True)
    found = [idea for idea in ideas if runs(idea)]
    if fate == "same" or (fate == "safe" and found):
        assert [(one.hypothesis, isinstance(one, Idea)) for one in ideas] == [
            (meant.hypothesis, True)
        ]
        source = getattr(ideas[0], "source", "")
        assert bare(source) == bare(meant.program) or (
            fingerprint(source) == fingerprint(meant.program)
        )
    else:
        assert found == []


def test_every_idea_of_a_reply_stands_for_itself() -> None:
    spoiled = MEANT[1].reply().replace(">>>>>>> REPLACE\n", "")
    reply = "Four ideas.\n\n" + "\n".join([MEANT[0].reply(), spoiled, MEANT[2].reply()])
    first, second, third = read(reply, SHOWN, "blocks", complete=True)
    assert (first, third) == tuple(Idea(m.hypothesis, m.program) for m in (MEANT[0], MEANT[2]))
    assert second == Miss(
        MEANT[1].hypothesis,
        "The block of line 11 of the reply is broken by line 21: '<<<<<<< SEARCH'.",
    )


def test_a_plan_in_front_is_no_idea_but_one_announced_behind_is_missed() -> None:
    plan = "1. IDEA: faster\n2. IDEA: slower\n\n"
    assert len(read(plan + MEANT[0].reply(), SHOWN, "blocks", complete=True)) == 1
    _, second = read(MEANT[0].reply() + "IDEA: and more\n", SHOWN, "blocks", complete=True)
    assert second == Miss("and more", "An idea has no SEARCH/REPLACE block. Follow the example.")


def test_of_a_reply_that_was_cut_off_the_last_idea_is_missed() -> None:
    reply = MEANT[0].reply() + MEANT[2].reply()
    first, second = read(reply, SHOWN, "blocks", complete=False)
    assert first == Idea(MEANT[0].hypothesis, MEANT[0].program)
    assert second == Miss(MEANT[2].hypothesis, "The reply was cut off in this idea. Be brief.")


@pytest.mark.parametrize("share", range(1, 60))
def test_wherever_a_reply_ends_no_other_program_comes_of_it(share: int) -> None:
    meant = MEANT[2]
    reply = meant.reply()[: len(meant.reply()) * share // 60]
    behind_first = meant.reply().index("REPLACE") + len("REPLACE")
    for idea in read(reply, SHOWN, "blocks", complete=len(reply) < behind_first):
        assert not runs(idea)


@pytest.mark.parametrize(
    ("search", "replace", "said"),
    [
        ("LR = 4e-3\n", "LR = 1\n", "not in the program. The nearest are lines 1 to 1; quote"),
        (
            "return y\n",
            "return 2\n",
            "The nearest are lines 8 to 8; quote them exactly:\n        return x",
        ),
        ("# nothing\n", "y = 1\n", "There are no lines like them; quote the program exactly."),
        ("    def forward(self, x):\n", "    def f(self, x):\n", "at lines 7 and 15. Quote more"),
        ("DEPTH = 3\n...\ndef main():\n", "DEPTH = 4\n", "a SEARCH leaves lines out"),
        ("LR = 3e-3\n", "# ... as before\nLR = 1\n", "leaves lines out: '# ... as before'"),
        ("\n \n", "x = 1\n", "a SEARCH is empty"),
        ("DEPTH = 3\n", "DEPTH = 3\n", "the same as its SEARCH"),
        ("print(LR)\n", "    print(DEPTH)\n", "In the program the line is indented by 4."),
        ("      print(LR)\n", "      print(\n 1)\n", "indented less than its SEARCH"),
        ("print(LR)\n", 'print("""\na""")\n', "a text over several lines would be moved"),
    ],
)
def test_a_block_that_does_not_fit_says_what_to_quote(search: str, replace: str, said: str) -> None:
    assert said in one(block(search, replace))


@pytest.mark.parametrize(
    ("search", "replace"),
    [
        ("LR = 3e-3\nDEPTH = 3\n", "LR = 3e-3\nDEPTH = 4\n"),
        ("LR = 3e-3  # learning rate\nDEPTH = 3\n", "LR = 3e-3  # learning rate\nDEPTH = 4\n"),
        ("DEPTH = 3   \nBETAS = (0.9,0.95)\n", "DEPTH = 4\nBETAS = (0.9,0.95)\n"),
        ("\n\nDEPTH = 3\n\n", "\n\nDEPTH = 4\n\n"),
    ],
)
def test_what_an_edit_keeps_stays_as_it_is_in_the_program(search: str, replace: str) -> None:
    assert one(block(search, replace)) == SMALL.replace("DEPTH = 3", "DEPTH = 4")


def test_a_kept_line_may_be_quoted_nearly_right_and_a_changed_one_may_not() -> None:
    near = "    for i in range(DEPTH):\n        print(step)\n    print(LR)\n"
    assert one(block(near, near.replace("print(LR)", "print(-LR)"))) == SMALL.replace(
        "    print(LR)", "    print(-LR)"
    )
    assert "not in the program" in one(block(near, near.replace("for i", "for j")))


def test_two_places_that_are_nearly_right_are_none() -> None:
    search = "x = f(a, b, c, d, e, f, g)\ny = 1\n"
    program = search.replace("g)", "h)") + search.replace("g)", "i)")
    why = one(block(search, search.replace("y = 1", "y = 2")), source=program)
    assert why.startswith(
        "the lines of a SEARCH, nearly, stand at more than one place: at lines 1 "
    )


def test_lines_are_moved_to_where_the_program_has_them() -> None:
    search, replace = "for step in range(DEPTH):\n    print(step)\n", "while True:\n    pass\n"
    expected = SMALL.replace(
        "for step in range(DEPTH):\n        print(step)", "while True:\n        pass"
    )
    assert one(block(search, replace)) == expected
    assert (
        one(block("\t" + search.replace("    ", "\t\t"), "\t" + replace.replace("    ", "\t\t")))
        == expected
    )


def test_blocks_of_one_idea_may_share_context_and_not_lines() -> None:
    first = ("LR = 3e-3  # rate\nDEPTH = 3\n", "LR = 1.0\nDEPTH = 3\n")
    second = ("DEPTH = 3\nBETAS = (0.9, 0.95)\n", "DEPTH = 3\nBETAS = (0.8, 0.9)\n")
    expected = SMALL.replace("3e-3  # rate", "1.0").replace("0.9, 0.95", "0.8, 0.9")
    assert one(written("both", (first, second))) == expected
    assert "two edits of one idea change line 1" in one(written("both", (first, first)))


@pytest.mark.parametrize(
    ("given_code", "before", "after"),
    [
        (
            "def main():\n    print(1)\n",
            SMALL[SMALL.index("def main") :],
            "def main():\n    print(1)\n",
        ),
        ("DEPTH = 9\n", "DEPTH = 3", "DEPTH = 9"),
        ("    def loss(self, x):\n        return 2\n", "return x * LR", "return 2"),
        ("def loss(self, x):\n\treturn 2\n", "return x * LR", "return 2"),
        (SMALL.replace("x * LR", "2"), "return x * LR", "return 2"),
    ],
)
def test_a_whole_function_takes_the_place_of_its_namesake(
    given_code: str, before: str, after: str
) -> None:
    assert one(code(given_code), "functions") == SMALL.replace(before, after)


def test_a_method_that_several_classes_have_is_named() -> None:
    text = "def forward(self, x):\n    return x + x\n"
    assert "of which class forward is a method" in one(code(text), "functions")
    assert one(code(text, "**METHOD: B.forward**"), "functions") == SMALL.replace("-x", "x + x")
    assert "not that of a method 'B.loss'" in one(code(text, "METHOD: B.loss"), "functions")


def test_what_is_new_must_be_used_by_what_is_replaced() -> None:
    new = "RATE = 2\n\n\ndef scaled(x):\n    return x * RATE\n"
    used = "    def loss(self, x):\n        return scaled(x)\n"
    both = f"IDEA: scale\n```python\n{new}```\nMETHOD: A.loss\n```python\n{used}```\n"
    source = one(both, "functions")
    assert source.index("RATE = 2") < source.index("def scaled") < source.index("class A:")
    assert "        return scaled(x)\n\n\nclass B:" in source
    renamed = code("def mian():\n    print(1)\n")
    assert one(renamed, "functions").startswith("the program has no 'mian' to replace. It has A,")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class A:\n    def loss(self, x):\n        return 2\n", "A is given without its forward"),
        ("def main():\n    # ... rest of the code\n    pass\n", "the code leaves lines out"),
        ("def main():\n    ...\n", "the code leaves lines out: '...'"),
        ("import os\n\n\ndef main():\n    pass\n", "cannot be put anywhere: 'import os'"),
        ("def main(:\n", "line 1 is not Python"),
        ("def main():\n    pass\n\n\ndef main():\n    pass\n", "main is given twice"),
        ("DEPTH = 3\n", "no code that differs"),
        ("", "no code that differs"),
    ],
)
def test_code_that_is_not_whole_is_refused(text: str, said: str) -> None:
    assert said in one(code(text), "functions")


def test_code_without_its_end_or_its_hypothesis_is_refused() -> None:
    text = "def main():\n    print(1)\n"
    assert one(code(text)[:-4], "functions").startswith("a block of code in an idea has no end")
    assert one(f"```\n{text}```\n", "functions").startswith("An idea has no line `IDEA: ...`.")


@pytest.mark.parametrize(
    ("wanted", "after"),
    [
        ('"LR": 0.006', SMALL.replace("3e-3", "0.006")),
        ('"DEPTH": 4.0', SMALL.replace("DEPTH = 3", "DEPTH = 4")),
        (
            '"LR": 1, "BETAS": [0.5, 0.9]',
            SMALL.replace("3e-3", "1.0").replace("0.9, 0.95", "0.5, 0.9"),
        ),
        ('"DEPTH": 4.5', "DEPTH is set to 4.5. It takes a whole number."),
        ('"DEPTH": true', "DEPTH is set to True. It takes a number."),
        ('"LR": "0.1"', "LR is set to '0.1'. It takes a number."),
        ('"BETAS": [0.5]', "BETAS is set to [0.5]. It takes 2 numbers."),
        (
            '"RATE": 1',
            "the program has no constant 'RATE' that could be set. It has LR, DEPTH, BETAS.",
        ),
        (
            '"LR": 1, "LR": 2',
            "the reply is no JSON: a key stands twice in one object. Answer JSON and nothing else.",
        ),
        ('"LR": NaN', "the reply is no JSON: NaN is no number. Answer JSON and nothing else."),
        ("", 'an idea has no "set" of 1 to 8 constants. Write "set": {"NAME": 1.0}.'),
    ],
)
def test_a_setting_is_a_number_of_the_kind_that_is_there(wanted: str, after: str) -> None:
    reply = f'Here:\n```json\n{{"ideas": [{{"why": "why not", "set": {{{wanted}}}}}]}}\n```'
    assert one(reply, "settings") == after


@pytest.mark.parametrize(
    "reply", ["", "I cannot.", "{", "[" * 60_000, '{"ideas": 3}', "{}", '["x"]']
)
def test_rubbish_instead_of_settings_is_an_error(reply: str) -> None:
    ideas = read(reply, whole(SMALL), "settings", complete=True)
    assert [type(idea) for idea in ideas] == [Miss]


HOSTILE = [
    "x" * (REPLY_MAX + 1),
    "<<<<<<< SEARCH\n" * 4000,
    "IDEA: a\n" * 8000,
    "IDEA" + " " * 60_000,
    "#" * 60_000,
    "." * 60_000,
    "IDEA: a\n```\n" + "```\n" * 15_000,
    "```python\n" * 6000,
    block("x\n" * 80, "." * 50_000 + "\n"),
    block("'" * 30_000 + "\n", "'\\" * 10_000 + "\n"),
    "\n".join(block("pass\n" * 79 + "end\n", "pass\n" * 79 + f"{i}\n") for i in range(60)),
    "IDEA: a\n```\n" + "(" * 50_000 + "\n```\n",
    "IDEA: a\n```\n" + "x = 1\n" * 10_000 + "```\n",
    "<think>" * 9000,
    "</think>" * 8000,
    "\ud800\x00\u202e IDEA: \x1b[2J",
]


@pytest.mark.parametrize("form", ["blocks", "functions", "settings"])
@pytest.mark.parametrize("reply", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_replies_end_in_errors_and_soon(form: Format, reply: str) -> None:
    ideas = read(reply, whole("pass\n" * 3999), form, complete=True)
    assert 1 <= len(ideas) <= 9
    assert not [idea for idea in ideas if isinstance(idea, Idea)]


PIECES = st.sampled_from(
    [
        *("<<<<<<< SEARCH\n", "=======\n", ">>>>>>> REPLACE\n", "```python\n", "```\n"),
        *("IDEA: a\n", "IDEA: b\n", "METHOD: A.loss\n", "...\n", "<think>\n", "</think>\n"),
        *("DEPTH = 3\n", "DEPTH = 4\n", "LR = 3e-3  # rate\n", "    print(LR)\n", "\tprint(LR)\n"),
        *("def main():\n", "    pass\n", "        return x\n", "class A:\n", "\n", "chatter\n"),
    ]
)


@given(
    st.lists(PIECES, max_size=24).map("".join) | st.text(), st.sampled_from(["blocks", "functions"])
)
@settings(max_examples=150)
def test_whatever_is_read_is_a_hypothesis_with_a_changed_program(reply: str, form: Format) -> None:
    ideas = read(reply, whole(SMALL), form, complete=True)
    assert ideas
    for idea in ideas:
        assert len(idea.hypothesis) <= 280
        assert idea.hypothesis.isascii()
        if isinstance(idea, Idea):
            assert idea.hypothesis
            assert idea.source != SMALL
        else:
            assert idea.why


LINES = st.lists(
    st.sampled_from(["a = 1", "b = 2", "def f():", "    c = 3", "    d = 4", ""]), min_size=1
)


@given(LINES, st.data())
def test_lines_quoted_once_become_what_is_asked_and_nothing_else_changes(
    rows: list[str], data: st.DataObject
) -> None:
    rows = [f"{row}  # {place}" for place, row in enumerate(rows)]
    first = data.draw(st.integers(0, len(rows) - 1))
    last = data.draw(st.integers(first, len(rows) - 1))
    new = data.draw(LINES)
    quoted, program = rows[first : last + 1], "".join(row + "\n" for row in rows)
    reply = block("".join(r + "\n" for r in quoted), "".join(r + "\n" for r in new))
    expected = [*rows[:first], *new, *rows[last + 1 :]]
    assert one(reply, source=program) == "".join(row + "\n" for row in expected)
