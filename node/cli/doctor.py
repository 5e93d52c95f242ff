"""`skep doctor`: the checks of `node.doctor`, one line each."""

from msgspec import structs

from node.cli.output import AsJson, console, emit
from node.config import home_folder
from node.doctor import examine

EXIT_BAD = 1
STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def doctor(*, json: AsJson = False) -> int:
    """Check what this machine offers and whether the home is in order; exits with 1 if not.

    Args:
        json: print a JSON array.
    """
    checks = examine(home_folder())
    if json:
        emit([structs.asdict(check) for check in checks])
    else:
        _print([(check.state, check.name, check.finding, check.fix) for check in checks])
    return EXIT_BAD if any(check.state == "bad" for check in checks) else 0


def _print(lines: list[tuple[str, str, str, str]]) -> None:
    from rich.text import Text

    screen = console()
    margin = max(len(name) for _, name, _, _ in lines)
    for state, name, finding, fix in lines:
        advice = f". {fix}" if fix else ""
        line = Text.assemble((f"{state:<5}", STYLES[state]), f"{name:<{margin}}  {finding}{advice}")
        screen.print(line, soft_wrap=True)
