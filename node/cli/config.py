"""`skep config`: every setting as it counts now, and where everything lies."""

from pathlib import Path

from node.cli.output import AsJson, emit, facts, say
from node.config import CONFIG_NAME, KEYS, home_folder, load
from node.home import Home


def show(*, json: AsJson = False) -> None:
    """Every setting of `skep join` as the home's config.toml and the defaults make it.

    Args:
        json: print a JSON object.
    """
    settings = load(home_folder())
    values = {key: getattr(settings, key) for key in KEYS}
    values |= {key: str(path) for key, path in values.items() if isinstance(path, Path)}
    if json:
        emit(values)
        return
    for key, value in values.items():
        say(f"# {key} is not set" if value is None else f"{key} = {_toml(value)}")


def paths(*, json: AsJson = False) -> None:
    """Where everything lies. Nothing needs to exist yet.

    Args:
        json: print a JSON object.
    """
    home = Home(home_folder())
    found = {
        "home": home.root,
        "config": home.root / CONFIG_NAME,
        "identity": home.identity,
        "feed": home.feed,
        "database": home.database,
        "results": home.results,
        "library": home.library,
        "program_md": home.program_md,
        "runs": home.runs,
        "tasks": home.tasks,
        "cache": home.cache,
    }
    named = {name: str(path) for name, path in found.items()}
    emit(named) if json else facts(list(named.items()))


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}"'
    return str(value)
