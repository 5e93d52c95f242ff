"""Settings: what `config.toml` says, overlaid by the flags of the command line.

One frozen struct serves both, so that every flag of `skep join` can be made permanent by writing
it down. Nothing else configures a node; the only environment variables are `SKEP_HOME` and, where
no other server is named, ollama's own `OLLAMA_HOST`.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from skep.errors import ConfigError
from trainer.policy import OWN_FLAG, STRANGERS_FLAG

CONFIG_NAME = "config.toml"
FLAGS_ONLY = "Remove it; it is taken from the command line of each start alone."
URL = r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$"
MODEL_NAME = r"^[!-~]{1,200}$"
DEVICE = r"^(auto|cpu|mps|cuda(:[0-9]{1,2})?)$"
YEAR_MINUTES = 366 * 24 * 60
MONTH_SECONDS = 30 * 24 * 3600


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this node shall work.

    Attributes:
        home: folder of everything durable; never a key of the file.
        task: name of a task pack, or the path of a folder with one.
        solo: research alone: open no socket, meet no peers.
        bootstrap: addresses to meet others at, or files of them; None takes those that come with
            Skep.
        listen: where to listen for peers, as `/ip4/HOST/tcp/PORT`; port 0 takes any. Empty only
            reaches out.
        announce: addresses to tell others, where they differ from those of this machine.
        mdns: announce this node on the local network, and look for others there; None does in the
            public swarm and does not in a lab.
        train: run experiments; without, the node keeps the records of the swarm and passes them on.
        verify_only: try nothing of its own, only what peers found.
        experiments: stop after this many judged proposals; None goes on for ever.
        minutes: stop after this much wall-clock time; None goes on for ever.
        budget: training budget of one experiment in seconds (reference-seconds on a CPU,
            wall-clock on a GPU); None takes the task's own. Another budget is another task.
        jobs: experiments at once; None takes what the machine offers.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        program: file to start the search from in place of the task's seed program.
        archive_gb: gigabytes (10^9 bytes) of records of others that this home keeps.
        model: name of the language model to ask for ideas; None takes the best that is there.
        ollama_url: address of an ollama server; None takes `OLLAMA_HOST`, or this machine.
        openai_url: base address of an OpenAI-compatible endpoint, to be asked in place of ollama.
        openai_key_file: private file with the endpoint's key.
    """

    home: Path
    task: str = "stories"
    solo: bool = False
    bootstrap: tuple[str, ...] | None = None
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    announce: tuple[str, ...] = ()
    mdns: bool | None = None
    train: bool = True
    verify_only: bool = False
    experiments: Annotated[int, Meta(ge=1)] | None = None
    minutes: Annotated[float, Meta(gt=0, le=YEAR_MINUTES)] | None = None
    budget: Annotated[float, Meta(gt=0, le=MONTH_SECONDS)] | None = None
    jobs: Annotated[int, Meta(ge=1, le=256)] | None = None
    device: Annotated[str, Meta(pattern=DEVICE)] = "auto"
    program: Path | None = None
    archive_gb: Annotated[float, Meta(ge=0.01, le=100_000)] = 4
    model: Annotated[str, Meta(pattern=MODEL_NAME)] | None = None
    ollama_url: Annotated[str, Meta(pattern=URL)] | None = None
    openai_url: Annotated[str, Meta(pattern=URL)] | None = None
    openai_key_file: Path | None = None

    @property
    def archive_bytes(self) -> int:
        """What `archive_gb` is in bytes."""
        return round(self.archive_gb * 10**9)


KEYS = tuple(name for name in Settings.__struct_fields__ if name != "home")


_entered: ContextVar[Path | None] = ContextVar("home of a lab", default=None)


@contextmanager
def entered(home: Path) -> Iterator[None]:
    """Within the block, `home_folder` is this one: that of a lab."""
    before = _entered.set(home)
    try:
        yield
    finally:
        _entered.reset(before)


def home_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the home is: that of a lab if one was entered, `SKEP_HOME`, else the platform's."""
    inside = _entered.get()
    if inside is not None:
        return inside
    chosen = environ.get("SKEP_HOME", "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("skep", appauthor=False)


def load(home: Path, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings of a home: its `config.toml`, if there is one, overlaid by `flags`.

    Args:
        home: the home folder; it need not exist.
        flags: values given on the command line, by key; None stands for "not given".

    Raises:
        ConfigError: the file is no TOML, a key is unknown, a value out of its range, or two of
            them contradict each other.
    """
    _refuse_consent()
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    for key, value in given.items():
        _convert(home, {key: value}, f"--{key.replace('_', '-')} {value}")
    settings = _convert(home, _from_file(home) | given, str(home / CONFIG_NAME))
    _check_model(settings)
    return settings


def _check_model(settings: Settings) -> None:
    if settings.openai_url and settings.ollama_url:
        raise ConfigError(
            "both an ollama server and another endpoint are named",
            "A node asks one model: leave out ollama_url or openai_url.",
        )
    if settings.openai_key_file and not settings.openai_url:
        raise ConfigError(
            "a key for an endpoint is named, and no endpoint", "Give it by --openai-url."
        )


def _from_file(home: Path) -> dict[str, Any]:
    path = home / CONFIG_NAME
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})", "Check its mode.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML ({error})", "Mend that line.") from error
    for key in found:
        if f"--{key.replace('_', '-')}" in (OWN_FLAG, STRANGERS_FLAG):
            raise ConfigError(f"{path}: `{key}` is no setting", FLAGS_ONLY)
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            known = f"Did you mean `{near[0]}`?" if near else f"Known keys: {', '.join(KEYS)}."
            raise ConfigError(f"{path}: unknown key `{key}`", known)
    _convert(home, found, str(path))
    for key in {"program", "openai_key_file"} & found.keys():
        found[key] = _beside(home, found[key])
    if "/" in found.get("task", ""):
        found["task"] = str(_beside(home, found["task"]))
    return found


def _refuse_consent() -> None:
    """What a user answers for is said anew at every start, or somebody else could say it."""
    for flag in (OWN_FLAG, STRANGERS_FLAG):
        name = f"SKEP_{flag.strip('-').upper().replace('-', '_')}"
        if name in os.environ:
            raise ConfigError(f"{name} is set, but {flag} is no setting", FLAGS_ONLY)


def _beside(home: Path, path: str) -> Path:
    """A path of the file, relative to the folder that the file is in."""
    return home / Path(path).expanduser()


def _convert(home: Path, values: dict[str, Any], source: str) -> Settings:
    try:
        return msgspec.convert(values | {"home": home}, Settings, dec_hook=_path)
    except msgspec.ValidationError as error:
        what, key = _explain(str(error))
        place = source if source.startswith("--") else f"{source}: `{key}`"
        raise ConfigError(f"{place}: {what}", "See `skep join --help`.") from error


def _explain(message: str) -> tuple[str, str]:
    """Split msgspec's "Expected `int` >= 1 - at `$.jobs`" into its clause and the key."""
    match = re.fullmatch(r"(.*?)(?: - at `\$\.(\w+)`)?", message, re.DOTALL)
    assert match is not None  # noqa: S101 - the pattern matches every text
    what, key = match[1], match[2] or ""
    if key == "device":
        return "expected auto, cpu, cuda, cuda:N or mps", key
    if key.endswith("_url") and "regex" in what:
        return "expected an address like http://HOST:PORT", key
    if key == "model" and "regex" in what:
        return "expected the name of a model, without blanks", key
    return (what[:1].lower() + what[1:]).replace("`", ""), key


def _path(kind: type, value: object) -> Path:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError("expected a path in quotes")
