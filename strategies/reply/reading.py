"""One reply of a model, made into ideas: each a program that follows from it, or what is wrong.

Pure. The text of a reply is parsed here as Python, which the text of strangers must not be: what
this is given was written by a model that the node itself has asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile, islice
from typing import NamedTuple

from msgspec import Struct

from skep.errors import PatchError
from skep.patch import apply
from strategies.reply import blocks, functions, ladder
from strategies.reply.settings import Setting, settings
from strategies.reply.text import (
    IDEAS_MAX,
    Format,
    Header,
    cleaned,
    header_of,
    is_fence,
    names_language,
)
from strategies.shown import Change, Shown

METHOD = "METHOD:"


class Idea(Struct, frozen=True):
    """A hypothesis of one line, and the program that its edits make of the parent."""

    hypothesis: str
    source: str


class Miss(Struct, frozen=True):
    """An idea that does not apply; `why` tells the model, in one repair, what to do about it."""

    hypothesis: str
    why: str


class _Coded(Struct):
    """An idea of whole functions, so far; `open` where a block of its code has no end."""

    hypothesis: str
    pieces: list[functions.Piece]
    open: bool = False


class _Edited(NamedTuple):
    """An idea whose edits are read: what it changes, or a fault."""

    hypothesis: str
    changes: Sequence[Change]
    fault: str = ""


def read(reply: str, parent: Shown, form: Format, *, complete: bool) -> tuple[Idea | Miss, ...]:
    """The ideas of a reply in order, at least one. Never raises, whatever the text.

    Args:
        reply: all that the model wrote.
        parent: the program to edit, as the model was shown it.
        form: what it was asked for.
        complete: whether the model came to an end by itself; else the last idea is a `Miss`.
    """
    try:
        found = list(islice(_ideas(reply, parent, form), IDEAS_MAX + 1))
    except PatchError as error:
        return (Miss("", str(error)),)
    if not found:
        return (Miss("", "The reply holds no idea. Follow the example of the format."),)
    if len(found) > IDEAS_MAX:
        found[IDEAS_MAX:] = [Miss("", f"The reply holds over {IDEAS_MAX} ideas.")]
    if not complete:
        found[-1] = Miss(found[-1].hypothesis, "The reply was cut off in this idea. Be brief.")
    return tuple(found)


def _ideas(reply: str, parent: Shown, form: Format) -> Iterator[Idea | Miss]:
    rows = cleaned(reply)
    if form == "settings":
        for setting in settings("\n".join(rows), parent.source):
            yield _set(setting, parent)
        return
    header = header_of(rows)
    edited = _by_blocks if form == "blocks" else _by_functions
    for idea in edited(rows, header, parent):
        yield _judged(idea, parent)


def _set(setting: Setting, parent: Shown) -> Idea | Miss:
    if setting.fault or not setting.hypothesis:
        why = setting.fault or 'An idea has no "why". Say in one line why it should help.'
        return Miss(setting.hypothesis, why)
    try:
        return Idea(setting.hypothesis, apply(parent.source, setting.edits))
    except PatchError as error:
        return Miss(setting.hypothesis, str(error))


def _judged(idea: _Edited, parent: Shown) -> Idea | Miss:
    if idea.fault:
        return Miss(idea.hypothesis, idea.fault)
    if not idea.hypothesis:
        return Miss("", "An idea has no line `IDEA: ...`. Say in one line why it should help.")
    try:
        return Idea(idea.hypothesis, parent.edited(idea.changes))
    except PatchError as error:
        return Miss(idea.hypothesis, str(error))


def _by_blocks(rows: Sequence[str], header: Header, parent: Shown) -> Iterator[_Edited]:
    drafts = list(blocks.drafts(rows, header))
    for draft in _without_plan(drafts):
        fault, changes = draft.fault, []
        try:
            if not fault:
                changes = [
                    one for block in draft.blocks for one in ladder.change(parent.rows, block)
                ]
        except PatchError as error:
            fault = str(error)
        yield _Edited(draft.hypothesis, changes, fault)


def _without_plan(drafts: Sequence[blocks.Draft]) -> Iterator[blocks.Draft]:
    """Ideas with edits; those only announced are a plan where it is in front, else a fault."""
    begun = False
    for draft in drafts:
        begun = begun or bool(draft.blocks or draft.fault)
        if begun:
            if not draft.blocks:
                draft.fail("An idea has no SEARCH/REPLACE block. Follow the example.")
            yield draft


def _by_functions(rows: Sequence[str], header: Header, parent: Shown) -> Iterator[_Edited]:
    found = _coded(rows, header)
    for coded in dropwhile(lambda one: not one.pieces and not one.open, found):
        try:
            if coded.open:
                raise PatchError("a block of code in an idea has no end", "Close the fence.")
            yield _Edited(coded.hypothesis, functions.changes(parent.text, coded.pieces))
        except PatchError as error:
            yield _Edited(coded.hypothesis, (), str(error))


def _coded(rows: Iterable[str], header: Header) -> list[_Coded]:
    """Ideas with the code that stands in their fences."""
    found: list[_Coded] = []
    code: list[str] | None = None
    method = ""
    for row in rows:
        hypothesis = header.hypothesis(row) if code is None else None
        if is_fence(row):
            idea = _last(found)
            if code is None:
                code = []
            elif names_language(row):
                idea.open, code = True, []
            else:
                idea.pieces.append(functions.Piece(tuple(code), method))
                code, method = None, ""
        elif code is not None:
            code.append(row)
        elif hypothesis is not None:
            if not found or found[-1].hypothesis != hypothesis:
                found.append(_Coded(hypothesis, []))
        elif row.strip(" *`#").upper().startswith(METHOD):
            method = row.strip(" *`#")[len(METHOD) :].strip(" *`()")
    if code is not None:
        _last(found).open = True
    return found


def _last(found: list[_Coded]) -> _Coded:
    """The idea that code belongs to; one without a hypothesis where none has begun."""
    if not found:
        found.append(_Coded("", []))
    return found[-1]
