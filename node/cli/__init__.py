"""The command line: one App whose commands are loaded only when they are called.

`skep --help` has to answer before anything heavy is imported; so the commands stand here by name,
and each module of this package is imported by the one command that needs it. Whatever a user can
cause ends in one line on stderr: exit 1, or 2 for a command line that makes no sense.
"""

import contextlib
import errno
import itertools
import os
import sys
from collections.abc import Iterator, Sequence

from cyclopts import App, CycloptsError, Group, Parameter

from skep import __version__
from skep.errors import SkepError

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141

RESEARCH = Group("Research", sort_key=1)
RESULTS = Group("Results", sort_key=2)
SETUP = Group("Setup", sort_key=3)

LAB_COMMANDS = {
    "create": "Found a private lab.",
    "invite": "Print the invite of a lab again.",
    "members": "Who belongs to a lab.",
    "allow": "Put a machine on a lab's list.",
    "revoke": "Take a machine off a lab's list.",
    "list": "The labs that this machine belongs to.",
    "leave": "Leave a lab.",
}

LIBRARY_COMMANDS = {
    "add": "Add papers, notes and exports of abstracts.",
    "remove": "Remove documents.",
    "list": "Every document that is kept.",
    "search": "The passages that fit some words.",
}


def make_app() -> App:
    """The App with all commands, none of them imported yet."""
    app = App(
        name="skep",
        help=(
            "Autonomous machine-learning research on your own machine.\n\n"
            "Ids can be shortened to 4 or more digits. Everything durable lies in SKEP_HOME; "
            "`skep config paths` says where. `skep --lab NAME COMMAND` is the same command in the "
            "home of a lab."
        ),
        help_format="plaintext",
        version=f"skep {__version__}",
        group_commands=SETUP,
        default_parameter=Parameter(show_default=False),
        backend="trio",
    )

    order = itertools.count()

    def add(name: str, where: str, group: Group, text: str) -> None:
        path = f"node.cli.{where}"
        app.command(path, name=name, group=group, help=text, sort_key=next(order))

    add("join", "join:join", RESEARCH, "Start researching.")
    add("bootstrap", "relay:bootstrap", RESEARCH, "A light node for others to meet at.")
    add("status", "control:status", RESEARCH, "What the node is doing.")
    add("peers", "peers:peers", RESEARCH, "Who this node is connected to.")
    add("swarm", "swarm:swarm", RESEARCH, "The swarm as this node sees it.")
    add("top", "top:top", RESEARCH, "Node and swarm, live.")
    add("pause", "control:pause", RESEARCH, "Stop all experiments until `skep resume`.")
    add("resume", "control:resume", RESEARCH, "Go on after `skep pause`.")
    add("finish", "control:finish", RESEARCH, "End the node when the experiments in flight end.")
    add("prompt", "prompt:prompt", RESEARCH, "What the language model is told.")
    add("simulate", "simulate:simulate", RESEARCH, "What a swarm would come to.")
    add("runs", "results:runs", RESULTS, "Every experiment, one line each.")
    add("best", "results:best", RESULTS, "The champion: the best program that was reproduced.")
    add("lineage", "results:lineage", RESULTS, "The kept edits that lead to the champion.")
    add("graph", "graph:graph", RESULTS, "What the champion is made of, and what each edit gains.")
    add("show", "show:show", RESULTS, "One experiment or run with every number behind it.")
    add("knowledge", "knowledge:knowledge", RESULTS, "What all runs say of each kind of edit.")
    add("why", "why:why", RESULTS, "Why a claim is confirmed, refuted or still open.")
    add("diff", "show:diff", RESULTS, "A program against its parent, or against another.")
    add("plot", "results:plot", RESULTS, "Draw the search on the terminal or as an SVG file.")
    add("export", "results:export", RESULTS, "Write results.tsv, CSV, JSON or an archive.")
    add("import", "archive:import_", RESULTS, "Take in an archive of another home.")
    add("reproduce", "reproduce:reproduce", RESULTS, "Train a run again and compare bit by bit.")
    add("doctor", "doctor:doctor", SETUP, "Check this machine and the home.")
    add("models", "models:models", SETUP, "Language models to ask for ideas.")

    _add_groups(app, order)
    return app


def _add_groups(app: App, order: Iterator[int]) -> None:
    """The commands of two words."""
    lab = App(name="lab", help="Private labs: swarms closed to all but members.", group=SETUP)
    for name, text in LAB_COMMANDS.items():
        where = {"list": "list_labs"}.get(name, name)
        lab.command(f"node.cli.lab:{where}", name=name, help=text, sort_key=next(order))
    app.command(lab)
    library = App(name="library", help="Papers and notes to search.", group=RESULTS)
    for name, text in LIBRARY_COMMANDS.items():
        where = {"list": "list_documents"}.get(name, name)
        library.command(f"node.cli.library:{where}", name=name, help=text, sort_key=next(order))
    app.command(library)
    program = App(name="program", help="What the researcher is told.", group=RESEARCH)
    program.command(
        "node.cli.program:propose",
        name="propose",
        help="Let a model suggest a change of program.md.",
    )
    app.command(program)
    task = App(name="task", help="The tasks that can be researched.", group=SETUP)
    task.command("node.cli.task:list_tasks", name="list", help="Tasks that come with Skep.")
    task.command("node.cli.task:show", name="show", help="What a task is about.")
    task.command("node.cli.task:check", name="check", help="Whether a task of your own is right.")
    config = App(name="config", help="Settings and where things are.", group=SETUP)
    config.command("node.cli.config:show", name="show", help="Every setting as it counts now.")
    config.command("node.cli.config:paths", name="paths", help="Where everything lies.")
    app.command(task)
    app.command(config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a sigma gets a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    lab, words = split_lab(sys.argv[1:] if arguments is None else arguments)
    if lab == "":
        return _complain("--lab takes the name of a lab", "See `skep --help`", EXIT_USAGE)
    try:
        with _inside(lab):
            code = make_app()(
                words,
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
        sys.stdout.flush()
    except BaseExceptionGroup as group:
        # trio wraps what was raised beside other tasks; a mistake of ours among it is not hidden.
        expected, unexpected = group.split((SkepError, KeyboardInterrupt, BrokenPipeError))
        if expected is None or unexpected is not None:
            raise
        return _explained(_first(expected))
    except (CycloptsError, SkepError, KeyboardInterrupt, OSError) as error:
        return _explained(error)
    return code if isinstance(code, int) else 0


def split_lab(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The lab that is named before the command, and the rest of the line.

    None where there is none; empty where its name is missing.
    """
    words = list(arguments)
    if words[:1] == ["--lab"]:
        return "".join(words[1:2]), words[2:]
    if words and words[0].startswith("--lab="):
        return words[0].removeprefix("--lab="), words[1:]
    return None, words


@contextlib.contextmanager
def _inside(lab: str | None) -> Iterator[None]:
    """Within the block the home is that of a lab, if one is named."""
    if lab is None:
        yield
        return
    from node.config import entered, home_folder
    from node.labs import find_lab

    with entered(find_lab(home_folder(), lab)):
        yield


def _first(error: BaseException) -> BaseException:
    """The first single error of a group, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _explained(error: BaseException) -> int:
    """Say in one line what went wrong and return the exit code; raises what no user can cause."""
    match error:
        case CycloptsError():
            what, _, _ = str(error).partition(" Available commands:")
            return _complain(what.rstrip("."), "See `skep --help`", EXIT_USAGE)
        case SkepError():
            return _complain(error.what, error.advice, EXIT_ERROR)
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED
        case BrokenPipeError():
            _drop_output()
            return EXIT_PIPE_CLOSED
        case OSError(errno=errno.ENOSPC | errno.EIO):
            _drop_output()
            return _complain(f"cannot write the output ({error.strerror})", "", EXIT_ERROR)
    raise error


def _complain(what: str, advice: str, code: int) -> int:
    lines = f"{what}. {advice}".strip().rstrip(".") + "."
    print("skep:", " ".join(lines.split()), file=sys.stderr)
    return code


def _drop_output() -> None:
    """Nobody reads any more; without this the interpreter would complain once more when it ends.

    See "Note on SIGPIPE" in the documentation of Python's `signal`.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
