"""program.md: which file counts, what it says, and what is known when it is to be changed.

The user's own lies in the home; while there is none, the one that comes with Skep counts. Nothing
here writes one: that takes a person (`node.cli.program`).
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

import skep
from node.history import History
from node.home import Home
from node.knowledge import Known
from skep.errors import ConfigError, ModelError, PatchError
from skep.model import Message, Model
from skep.secrets import Scanner
from strategies.program_text import Suggestion, added, suggested
from strategies.prompt import EFFECTS_MAX, Arm, Learnt, Told, editor, repair
from strategies.reply import Miss

SHIPPED = "program.md"
BYTES_MAX = 64 * 1024
TEMPERATURE = 0.7
REPLY_LIMIT = 2048
TAG_BYTES = 8


def program_file(home: Home) -> Path:
    """The program.md that counts: that of the home, else the one that comes with Skep."""
    return home.program_md if home.program_md.exists() else shipped()


def shipped() -> Path:
    """The program.md that comes with Skep, from a checkout or from the package."""
    beside = Path(skep.__file__).parent.parent / SHIPPED
    return beside if beside.exists() else Path(__file__).with_name(SHIPPED)


def read_program(path: Path) -> str:
    """What a program.md says; lines end in line feeds.

    Raises:
        ConfigError: it cannot be read, is no UTF-8, or is far too long.
    """
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "Mend it, or delete it.") from error
    if len(content) > BYTES_MAX:
        raise ConfigError(f"{path} has over {BYTES_MAX} bytes", "Shorten it.")
    return text.replace("\r\n", "\n")


def told_of(text: str, history: History, known: Sequence[Known]) -> Told:
    """What an editor of program.md is told.

    Args:
        text: program.md.
        history: the own experiments.
        known: what everybody's runs say of each kind of edit.
    """
    here = [one for one in known if one.tier == history.tier]
    helped = sorted((one for one in here if one.belief == "helps"), key=lambda one: one.effect)
    hurt = sorted((one for one in here if one.belief == "hurts"), key=lambda one: -one.effect)
    return Told(
        program_md=text,
        metric=history.task.metric,
        direction=history.task.direction,
        confirmed=tuple(_learnt(one) for one in helped[:EFFECTS_MAX]),
        refuted=tuple(_learnt(one) for one in hurt[:EFFECTS_MAX]),
        arms=_arms(history),
    )


async def suggest(model: Model, told: Told, scanner: Scanner) -> Suggestion | None:
    """A change of program.md, with one repair; None if the model sees no need for any.

    Raises:
        ModelError: it does not answer, or twice with nothing that can be used.
        PromptError: there is more to tell than it can be told.
    """
    prompt = editor(told, tag=secrets.token_hex(TAG_BYTES))
    messages = [Message("system", prompt.system), Message("user", prompt.user)]
    why = ""
    for _ in range(2):
        reply = await model.chat(messages, temperature=TEMPERATURE, reply_limit=REPLY_LIMIT)
        try:
            found = suggested(reply.text, told.program_md, complete=reply.complete)
            if found is not None:
                _scan(found, told.program_md, scanner)
        except PatchError as error:
            why = error.what
            correction = repair([Miss("", str(error))])
            messages += [Message("assistant", reply.text), Message("user", correction)]
        else:
            return found
    raise ModelError(
        "rubbish",
        f"what {model.name} suggests cannot be used: {why}",
        "Ask again, or ask a larger model by --model.",
    )


def _scan(suggestion: Suggestion, old: str, scanner: Scanner) -> None:
    labels = scanner.found("\n".join([suggestion.why, *added(old, suggestion.text)]))
    if labels:
        raise PatchError(f"the change would write down {', '.join(labels)}", "Leave that out.")


def _learnt(one: Known) -> Learnt:
    return Learnt(
        topic=one.topic,
        effect=one.effect,
        error=one.error,
        runs=one.runs,
        machines=one.authors,
    )


def _arms(history: History) -> tuple[Arm, ...]:
    names = dict.fromkeys(row.strategy for row in history.experiments if row.number)
    return tuple(_arm(name, history) for name in names)


def _arm(name: str, history: History) -> Arm:
    rows = [row for row in history.experiments if row.strategy == name and row.verdict != "pending"]
    return Arm(
        name=name,
        tried=len(rows),
        kept=sum(row.verdict == "keep" for row in rows),
        minutes=sum(row.seconds for row in rows) / 60,
    )
