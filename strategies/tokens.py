"""How many tokens a text is, near enough to keep a prompt within bounds. Pure.

Tokenizers of current models make one token of a common word, of a run of blanks in front of a line,
and of most single signs; of digits one each. This counts that way, and no model is asked. Of seven
files (Python, Markdown, a prompt) it made 1.00 to 1.22 times what the vocabulary cl100k does, with
digits taken one by one as Qwen's models take them.
"""

import re

WORD_CHARACTERS = 7
"""A longer run of letters counts as several."""

PIECE = re.compile(r"[A-Za-z]+|[^\x00-\x7f]|\d|\n+|[ \t]{2,}|[^\w\s]{1,2}|_")


def tokens(text: str) -> int:
    """Estimate for English and Python."""
    return sum(
        -(-len(piece) // WORD_CHARACTERS) if piece[0].isalpha() else 1
        for piece in PIECE.findall(text)
    )
