"""Every kind of record whose author says something: its words can be changed, and nothing else."""

import msgspec
import pytest

from skep.records import KINDS, Claim, Members, Note, Payload, Profile, Retract
from skep.words import WORDS, reworded
from tests.factories import content_id, make_run

SAID: list[Payload] = [
    make_run("a", note="secret"),
    Claim(
        program=content_id("a"),
        parent=content_id("b"),
        run=content_id("c"),
        effect=-5,
        note="secret",
    ),
    Note(role="finding", about=None, text="secret", cites=()),
    Profile(name="secret", tier="", role="full", software="skep 1"),
    Retract(record=content_id("a"), reason="secret"),
]


@pytest.mark.parametrize("said", SAID, ids=lambda one: type(one).__name__)
def test_words_are_changed_and_the_rest_stays(said: Payload) -> None:
    name = WORDS[type(said)]
    after = reworded(said, lambda _: "held")
    assert getattr(after, name) == "held"
    assert msgspec.structs.replace(after, **{name: "secret"}) == said
    assert reworded(said, lambda text: text) is said


def test_every_kind_of_record_has_words_or_is_known_to_have_none() -> None:
    assert set(KINDS.values()) - set(WORDS) == {Members}
    assert {type(one) for one in SAID} == set(WORDS)
