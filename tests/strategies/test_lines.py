"""Of what planner and critic answer, only lines that begin as asked are read."""

import pytest

from skep.errors import PatchError
from strategies.reply.lines import Finding, Hypothesis, finding, hypotheses


def test_hypotheses_are_read_with_what_they_promise() -> None:
    reply = """\
<think>HYPOTHESIS: not this</think>
Here are mine.

1. **HYPOTHESIS:** a higher rate → faster | EXPECT: 1.5 sigma
- hypothesis: A HIGHER RATE -> faster | EXPECT: 9
HYPOTHESIS: tie the embeddings
HYPOTHESIS: magic | EXPECT: 400
HYPOTHESIS: <what to change> | EXPECT: <gain>
A good HYPOTHESIS: none
"""
    assert hypotheses(reply) == (
        Hypothesis("a higher rate -> faster", 1.5),
        Hypothesis("tie the embeddings", None),
        Hypothesis("magic", None),
    )


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("FINDING: it helps\nFOLLOW: more of it", Finding("it helps", "follow", "more of it")),
        (
            "So:\n**FINDING:** it hurts\r\n- ABLATE: the norm",
            Finding("it hurts", "ablate", "the norm"),
        ),
        ("FINDING: nothing\nFINDING: more", Finding("nothing")),
        (f"FINDING: {'long ' * 100}", Finding(("long " * 56)[:277].rstrip() + "...")),
    ],
)
def test_a_finding_is_one_line_and_what_follows_another(reply: str, expected: Finding) -> None:
    assert finding(reply) == expected


@pytest.mark.parametrize("reply", ["", "It helps.", "FINDING: ", "FINDING: <what>", "\n" * 70_000])
def test_a_reply_without_such_a_line_is_an_error(reply: str) -> None:
    with pytest.raises(PatchError):
        finding(reply)
    with pytest.raises(PatchError):
        hypotheses(reply)
