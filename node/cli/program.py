"""`skep program`: what the researcher is told by its user, and what a model would change in it."""

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from msgspec import Struct

from gossip.identity import Identity
from node.cli.knowledge import gathered
from node.cli.output import AsJson, TaskName, emit, printable, say
from node.cli.reading import NOTHING_YET, reading
from node.config import Settings, home_folder, load
from node.home import Home, write_atomic
from node.models import model_of
from node.outgoing import scanner_of
from node.program_md import program_file, read_program, suggest, told_of
from skep.errors import ConfigError
from strategies.program_text import Suggestion, diff
from strategies.prompt import Told

Write = Annotated[bool, Parameter(name="--write", negative="")]
Text = Annotated[str | None, Parameter(negative="")]

NO_MODEL = "there is no language model to ask"
NO_CHANGE = "the model sees no reason to change program.md"
NOT_SHOWN = "no change of this program.md was proposed that could be written"


class Shown(Struct, frozen=True):
    """A suggestion that a person was shown, kept until it is written or the file changes.

    Attributes:
        base: SHA-256 of the program.md that it changes, in hex.
        why, text: of the suggestion.
    """

    base: str
    why: str
    text: str


async def propose(
    *,
    task: TaskName = None,
    write: Write = False,
    model: Text = None,
    ollama_url: Text = None,
    json: AsJson = False,
) -> None:
    """Let the language model suggest a change of program.md from what worked, as a diff.

    Nothing is changed by that. Look at it, and say `skep program propose --write` to take it over.

    Args:
        task: name or id; by default the one joined last.
        write: write the change that was shown last to program.md; asks no model.
        model: name of the model to ask.
        ollama_url: address of an ollama server, where it is not the one of the settings.
        json: print a JSON object.
    """
    root = home_folder()
    settings = load(root, {"model": model, "ollama_url": ollama_url})
    home = Home(root)
    path = program_file(home)
    text = read_program(path)
    if write:
        _write(home, text, json)
        return
    told = _told(task, text)
    if told is None:
        if json:
            emit(_document(path, text, None, "", written=False))
        else:
            say(NOTHING_YET)
        return
    name, found = await _asked(settings, told)
    if found:
        _keep(home, text, found)
    if json:
        emit(_document(path, text, found, name, written=False))
    elif found is None:
        say(NO_CHANGE)
    else:
        _show(text, found)
        say("\nto take it over: skep program propose --write")


def _told(task: str | None, text: str) -> Told | None:
    with reading() as home:
        history, facts = home.history(task), home.task(task)
        if history is None or facts is None:
            return None
        return told_of(text, history, gathered(home, facts).known())


async def _asked(settings: Settings, told: Told) -> tuple[str, Suggestion | None]:
    """The model's name and what it suggests."""
    found = await model_of(settings)
    if found is None:
        raise ConfigError(NO_MODEL, "See `skep models`.")
    scanner = scanner_of(settings, Identity.load(settings.home).seed, public=told.program_md)
    return found.name, await suggest(found, told, scanner)


def _write(home: Home, text: str, json: bool) -> None:
    """Show the change that was shown last once more, and write it."""
    found = _kept(home, text)
    if not json:
        _show(text, found)
    write_atomic(home.program_md, found.text)
    _file(home).unlink(missing_ok=True)
    if json:
        emit(_document(home.program_md, text, found, "", written=True))
    else:
        say(f"\nwritten: {home.program_md}")


def _show(text: str, found: Suggestion) -> None:
    say(printable(found.why))
    say()
    say(printable(diff(text, found.text)))


def _keep(home: Home, text: str, found: Suggestion) -> None:
    home.cache.mkdir(parents=True, exist_ok=True)
    shown = Shown(_digest(text), found.why, found.text)
    write_atomic(_file(home), msgspec.json.encode(shown).decode())


def _kept(home: Home, text: str) -> Suggestion:
    """The suggestion that was shown last.

    Raises:
        ConfigError: there is none, or program.md is no longer what it was made for.
    """
    try:
        shown = msgspec.json.decode(_file(home).read_bytes(), type=Shown)
    except (OSError, msgspec.MsgspecError):
        shown = None
    if shown is None or shown.base != _digest(text):
        raise ConfigError(NOT_SHOWN, "Look at one first: `skep program propose`.")
    return Suggestion(shown.why, shown.text)


def _file(home: Home) -> Path:
    return home.cache / "program.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _document(
    path: Path, text: str, found: Suggestion | None, model: str, *, written: bool
) -> dict[str, object]:
    return {
        "file": str(path),
        "model": model or None,
        "why": found.why if found else None,
        "diff": diff(text, found.text) if found else None,
        "text": found.text if found else None,
        "written": written,
    }
