"""What is not new, not whole or none of a model's business is refused with one exact reason."""

import pytest

from skep.errors import PatchError
from skep.fingerprint import fingerprint
from strategies.checks import check

PARENT = """\
import math
from torch import nn

LR = 1.0
SEED = 7
EVAL_TOKENS: int = 4096


class Config:
    seed = 3


def train(run):
    return run.steps() * LR + EVAL_TOKENS + math.sqrt(2) + len(str(nn))
"""
DENY = ("EVAL_TOKENS", "SEED", "Config.seed")


def refusal(source: str, *, known: tuple[bytes, ...] = ()) -> str:
    with pytest.raises(PatchError) as caught:
        check(source, PARENT, known=known, deny=DENY)
    return caught.value.what


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LR = 1.0", "LR = 2.0"),
        ("import math", "import math, torch.nn.utils"),
        ("from torch import nn", "from torch import nn\nfrom torch.optim import SGD"),
        ("LR = 1.0\nSEED = 7", "SEED = 7\nLR = 1.5"),
        ("* LR", "* LR * EVAL_TOKENS"),
    ],
)
def test_an_edit_within_its_business_has_a_fingerprint(old: str, new: str) -> None:
    source = PARENT.replace(old, new)
    assert check(source, PARENT, deny=DENY) == fingerprint(source)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("return", "retrun", "line 14 is not Python: invalid syntax"),
        ("LR = 1.0", "LR = 1.0  # fast", "the edit changes nothing that runs"),
        ("LR = 1.0", "LR = 2.0\r", "line 4 holds the character U+000D"),
        ("LR = 1.0", "LR = “2”", "line 4 is not Python: invalid character '“' (U+201C)"),
        ("import math", "import math, os", "the edit imports os"),
        ("    return", "    from urllib import request\n    return", "the edit imports urllib"),
        ("import math", "from . import x\nimport math", "the edit imports ."),
        ("LR = 1.0", "LR = eval('2')", "the edit uses eval"),
        ("SEED = 7", "SEED = 8", "the edit touches SEED"),
        ("SEED = 7\n", "", "the edit touches SEED"),
        ("    seed = 3", "    seed = 4", "the edit touches seed"),
        ("EVAL_TOKENS: int = 4096", "EVAL_TOKENS: int = 1", "the edit touches EVAL_TOKENS"),
        ("LR = 1.0", "LR = 1.0\nEVAL_TOKENS += 1", "the edit touches EVAL_TOKENS"),
        ("    return", "    for run.SEED in (1,): pass\n    return", "the edit touches SEED"),
        ("    return", "    global SEED\n    return", "the edit touches SEED"),
        ("(run)", "(run, SEED=1)", "the edit touches SEED"),
        ("run.steps()", "run.steps(SEED=1)", "the edit touches SEED"),
        ("import math", "import math as SEED", "the edit touches SEED"),
        ("LR = 1.0", "LR = (SEED := 1)", "the edit touches SEED"),
        ("LR = 1.0", "LR = 1.0\n" + "x = 1\n" * 4100, "over 4000"),
        ("LR = 1.0", "LR = 1.0\n" + f"x = '{'a' * 1000}'\n" * 30, "the edit changes 30"),
    ],
)
def test_an_edit_that_may_not_run_has_one_reason(old: str, new: str, why: str) -> None:
    assert PARENT.count(old) == 1
    assert why in refusal(PARENT.replace(old, new))


def test_a_program_that_was_tried_is_known_by_what_it_does() -> None:
    source = PARENT.replace("1.0", "2.0")
    known = (fingerprint(source.replace("LR = 2.0", "LR = 2.0  # once more")),)
    assert refusal(source, known=known) == "this very program was tried before"
