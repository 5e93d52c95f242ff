"""`skep doctor`: the checks of `node.doctor`, one line each."""

from pathlib import Path

from msgspec import structs

from node.bundle import write_bundle
from node.cli.output import AsJson, console, emit, say
from node.config import home_folder
from node.doctor import examine
from trainer.sandbox.probing import Tried

EXIT_BAD = 1
STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def doctor(*, bundle: Path | None = None, json: AsJson = False) -> int:
    """Check what this machine offers and whether the home is in order; exits with 1 if not.

    Tries for real to get out of the sandbox that experiments run in.

    Args:
        bundle: write what was found into this new zip file, for somebody who helps; no secrets.
        json: print a JSON object.
    """
    root = home_folder()
    checks, tried = examine(root)
    if bundle is not None:
        write_bundle(bundle, root, checks, tried)
    if json:
        emit(
            {
                "checks": [structs.asdict(check) for check in checks],
                "escape_attempts": [structs.asdict(attempt) for attempt in tried],
            }
        )
    else:
        _print([(check.state, check.name, check.finding, check.fix) for check in checks])
        _print_attempts(tried)
        if bundle is not None:
            say(f"wrote {bundle}")
    return EXIT_BAD if any(check.state == "bad" for check in checks) else 0


def _print_attempts(tried: list[Tried]) -> None:
    from rich.text import Text

    screen = console()
    screen.print("\nattempts to get out of the sandbox, made just now:")
    for attempt in tried:
        word, style = ("OPEN", "bold red") if attempt.open else ("kept", "green")
        line = Text.assemble((f"{word:<5}", style), attempt.name, (f"  {attempt.found}", "dim"))
        screen.print(line, soft_wrap=True)


def _print(lines: list[tuple[str, str, str, str]]) -> None:
    from rich.text import Text

    screen = console()
    margin = max(len(name) for _, name, _, _ in lines)
    for state, name, finding, fix in lines:
        advice = f". {fix}" if fix else ""
        line = Text.assemble((f"{state:<5}", STYLES[state]), f"{name:<{margin}}  {finding}{advice}")
        screen.print(line, soft_wrap=True)
