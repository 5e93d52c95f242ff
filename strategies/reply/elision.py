"""Lines by which a model leaves something out: `...`, `# rest of the code`. Pure.

To apply one would delete what it stands for. They are refused, though now and then an honest
comment looks the same; the model is told and can write it in another way.
"""

import re

LOOKED_AT = 400
"""Characters of a line: half at its start, half at its end."""

DOTS = r"(?:\.{3,}|…)"
WORDS = (
    r"(?:existing|previous|original|remaining|rest of|same (?:as|code)|unchanged"
    r"|as (?:before|above)|omitted|truncated|elided|your code|code here|stays? the same"
    r"|remains? the same|no changes?)"
)
ALONE = re.compile(rf"(?:#|//|/\*)?[\s\[(<]*+{DOTS}.*")
AT_THE_END = re.compile(rf"(?:#|//).*{DOTS}[\s\])>*/]*+")
IN_WORDS = re.compile(rf"(?:pass\s*+)?(?:#|//|\[).*\b{WORDS}\b.*", re.IGNORECASE)
STUB = re.compile(rf"(?:async def|def|class)\b.*:\s*+{DOTS}")


def leaves_out(row: str) -> bool:
    """Whether a line seems to stand for others that are not given."""
    row = row.strip()
    if len(row) > LOOKED_AT:
        row = row[: LOOKED_AT // 2] + row[-LOOKED_AT // 2 :]
    return any(p.fullmatch(row) for p in (ALONE, AT_THE_END, IN_WORDS, STUB))
