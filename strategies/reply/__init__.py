"""What a model answers, made into programs: formats, ideas, and where their edits belong. Pure.

    from strategies.reply import read
    for idea in read(reply.text, shown, "blocks", complete=reply.complete): ...

An idea applies as it was meant, or it is a `Miss` with a reason that the model can act on; nothing
is guessed, skipped or half done. Whether an idea is worth running is not decided here, and
whether it may run is `strategies.checks`' to say.
"""

from strategies.reply.reading import Idea, Miss, read
from strategies.reply.settings import schema
from strategies.reply.text import Format

__all__ = ["Format", "Idea", "Miss", "read", "schema"]
