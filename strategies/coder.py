"""From a prompt to programs that may be run: ask, read, check, and let the model mend once.

What a model writes may be steered by strangers whose words it was shown. Its answer is only ever
parsed: bounded in size, in a worker thread, by a parser whose failures are errors. Running it is
the sandbox's business.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import trio
from msgspec import Struct
from msgspec.structs import replace

from skep.errors import ModelError, PatchError
from skep.model import Message, Reply
from strategies.checks import check
from strategies.llm import Ready, Talk
from strategies.prompt import Prompt, crashed, repair
from strategies.reply import Format, Idea, Miss, read, schema
from strategies.shown import Shown

Ask = Callable[[Sequence[Message], Mapping[str, Any] | None], Awaitable[Reply]]
"""Sends a conversation to the model, with the JSON schema of its answer if there is one."""

MENDS_MAX = 2
"""Crashes of one idea that the model is told of."""


class Rules(Struct, frozen=True, kw_only=True):
    """What a new program must keep to.

    Attributes:
        known: fingerprints of what was tried.
        deny: names that may not be touched.
        constants: names that may be set.
    """

    known: Collection[bytes]
    deny: Collection[str]
    constants: Collection[str]


class Purpose(Struct, frozen=True, kw_only=True):
    """Why the model is asked: how many ideas, for which hypothesis; fields as of `Ready`."""

    ideas: int
    foreign: bool
    gain: float = 0.0
    cites: tuple[bytes, ...] = ()


class Written(Struct, frozen=True, kw_only=True):
    """What came of asking.

    Attributes:
        ideas: may be run.
        misses: what is dropped.
        applied, tried: how many ideas were edits that apply, and how many there were.
        fault: why the model could not be asked for the repair, if it could not.
    """

    ideas: tuple[Ready, ...] = ()
    misses: tuple[Miss, ...] = ()
    applied: int = 0
    tried: int = 0
    fault: ModelError | None = None


async def write(
    ask: Ask, prompt: Prompt, tag: str, shown: Shown, form: Format, rules: Rules, purpose: Purpose
) -> Written:
    """Ask for edits, and once more for those that do not apply.

    Args:
        ask: reaches the model.
        prompt: as `strategies.prompt.coder` made it, and
        tag: the tag in it.
        shown: the program in it.
        form: the format that it asks for.
        rules: what the programs must keep to.
        purpose: what goes into the ideas.

    Raises:
        ModelError: there is no first answer.
    """
    messages = (Message("system", prompt.system), Message("user", prompt.user))
    talk = Talk(messages=messages, tag=tag, shown=shown, form=form)
    return await _answered(ask, talk, rules, purpose)


async def mend(ask: Ask, idea: Ready, log: str, rules: Rules) -> Written:
    """Tell the model how its program failed, and take what it makes of that.

    Args:
        log: what the program printed, and why the run ended.

    Raises:
        ModelError: there is no answer.
        ValueError: the log holds the tag of the conversation: it was written to forge its marks.
    """
    said = Message("user", crashed(idea.hypothesis, log, tag=idea.talk.tag))
    messages = (*idea.talk.messages, said)
    talk = replace(idea.talk, messages=messages, mends=idea.talk.mends + 1)
    purpose = Purpose(ideas=1, foreign=idea.foreign, gain=idea.gain, cites=idea.cites)
    return await _answered(ask, talk, rules, purpose)


async def _answered(ask: Ask, talk: Talk, rules: Rules, purpose: Purpose) -> Written:
    first, talk = await _round(ask, talk, rules, purpose)
    if not first.misses:
        return first
    said = Message("user", repair(first.misses))
    try:
        again = replace(talk, messages=(*talk.messages, said))
        second, _ = await _round(ask, again, rules, purpose)
    except ModelError as fault:
        return replace(first, fault=fault)
    return Written(
        ideas=(*first.ideas, *second.ideas),
        misses=second.misses,
        applied=first.applied + second.applied,
        tried=first.tried + second.tried,
    )


async def _round(ask: Ask, talk: Talk, rules: Rules, purpose: Purpose) -> tuple[Written, Talk]:
    """One answer, and the conversation with it."""
    settings = talk.form == "settings"
    reply = await ask(talk.messages, schema(rules.constants, purpose.ideas) if settings else None)
    # Of a turn without words a server is not sure that there was one.
    said = Message("assistant", reply.text or "NONE")
    talk = replace(talk, messages=(*talk.messages, said))
    return await trio.to_thread.run_sync(_judged, reply, talk, rules, purpose), talk


def _judged(reply: Reply, talk: Talk, rules: Rules, purpose: Purpose) -> Written:
    """The ideas of a reply: those that may be run, and what is wrong with the others."""
    found = read(reply.text, talk.shown, talk.form, complete=reply.complete)
    ideas: list[Ready] = []
    misses: list[Miss] = []
    for one in found:
        checked = one if isinstance(one, Miss) else _checked(one, talk.shown.source, rules)
        if isinstance(checked, Miss):
            misses.append(checked)
            continue
        ready = Ready(
            hypothesis=checked.hypothesis,
            source=checked.source,
            foreign=purpose.foreign,
            gain=purpose.gain,
            cites=purpose.cites,
            talk=talk,
        )
        ideas.append(ready)
    applied = sum(isinstance(one, Idea) for one in found)
    return Written(ideas=tuple(ideas), misses=tuple(misses), applied=applied, tried=len(found))


def _checked(idea: Idea, parent: str, rules: Rules) -> Idea | Miss:
    try:
        check(idea.source, parent, known=rules.known, deny=rules.deny)
    except PatchError as error:
        return Miss(idea.hypothesis, str(error))
    return idea
