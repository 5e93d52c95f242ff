"""Any text as one short line of printable ASCII: what others said, and what models answer. Pure."""

import re
import unicodedata

LINE_MAX = 280
"""Characters of a hypothesis or a finding."""
READ_MAX = 4096
"""No more of a text is looked at."""

TYPED = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′", "'"),  # noqa: RUF001
        **dict.fromkeys("“”„‟″", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),  # noqa: RUF001
        "→": "->",
        "×": "x",
        "·": "*",
        "…": "...",
        "σ": "sigma",
        "≤": "<=",
        "≥": ">=",
        "≈": "~",
    }
)
"""What people and models type, and how it is written in ASCII."""

HIDDEN = re.compile(r"[^\x20-\x7e]+")


def one_line(text: str, limit: int = LINE_MAX) -> str:
    """At most `limit` printable ASCII characters; the same for the same text, everywhere.

    Letters lose their accents; of other characters nothing is left.
    """
    ascii_only = unicodedata.normalize("NFKD", text[:READ_MAX].translate(TYPED))
    line = " ".join(HIDDEN.sub("", " ".join(ascii_only.split())).split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."
