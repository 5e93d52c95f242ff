"""The edits of `code_edits.toml`, read as replies of a model and applied to a program.

What measures them is `code_edits.py`, what hides them in a conversation `scripts/soak/ideas.py`.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from skep.errors import PatchError
from strategies.reply import Miss, read
from strategies.shown import whole

FILE = Path(__file__).with_name("code_edits.toml")

Kind = Literal["real", "null", "harmful", "broken", "cheat"]


class Edit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One idea of a model; what the fields are stands in the file."""

    name: str
    kind: Kind
    on: tuple[str, ...] = ()
    reply: str


def edits() -> dict[str, Edit]:
    """All of them by name, in the order of the file."""
    document = tomllib.loads(FILE.read_text())
    found = msgspec.convert(document["idea"], list[Edit])
    return {edit.name: edit for edit in found}


def applied(edit: Edit, program: str) -> str:
    """The program with an edit, as the node would read it from a reply.

    Raises:
        PatchError: the edit does not apply.
    """
    (idea,) = read(edit.reply, whole(program), "blocks", complete=True)
    if isinstance(idea, Miss):
        raise PatchError(f"{edit.name}: {idea.why}")
    return idea.source


def parent_of(edit: Edit, known: Mapping[str, Edit], program: str) -> str:
    """The program that an edit is made on: that with the edits that it needs.

    Raises:
        PatchError: one of these does not apply.
    """
    for name in edit.on:
        program = applied(known[name], parent_of(known[name], known, program))
    return program
