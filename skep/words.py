"""Which words of its author each kind of record carries, and how they are changed. Pure.

Everything else in a record is a number, an id, a fact of the machine, or the text of a program.
"""

from collections.abc import Callable

import msgspec

from skep.records import Claim, Note, Payload, Profile, Retract, Run

WORDS: dict[type, str] = {
    Run: "note",
    Claim: "note",
    Note: "text",
    Profile: "name",
    Retract: "reason",
}
"""Field of each kind that holds what its author says."""


def reworded(payload: Payload, change: Callable[[str], str]) -> Payload:
    """A payload whose words are what `change` makes of them; itself where nothing changes."""
    name = WORDS.get(type(payload))
    if name is None:
        return payload
    before = getattr(payload, name)
    after = change(before) if before else before
    return payload if after == before else msgspec.structs.replace(payload, **{name: after})
