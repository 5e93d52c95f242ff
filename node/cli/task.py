"""`skep task`: the packs that come with Skep, and whether one of the user's own is right."""

from node.cli.output import AsJson, emit, facts, say, table
from node.config import home_folder
from node.export.documents import Document, task_document
from skep.ports import BETTER, TaskFacts
from trainer.task import load, pack_names


def list_tasks(*, json: AsJson = False) -> None:
    """The tasks that come with Skep; `skep join --task PATH` takes any folder with one.

    Args:
        json: print a JSON array.
    """
    tasks = [_facts(name) for name in pack_names()]
    if json:
        emit([task_document(task) for task in tasks])
        return
    table(
        ("task", "metric", "budget", "scored by", "id"),
        [
            (task.name, task.metric, _budget(task), f"the {task.scored_by}", task.id.hex()[:10])
            for task in tasks
        ],
        words=("task", "metric", "budget", "scored by", "id"),
    )


def show(task: str, /, *, json: AsJson = False) -> None:
    """What a task is about.

    Args:
        task: name of a task, or path of a folder with one.
        json: print a JSON object.
    """
    found = _facts(task)
    if json:
        emit(_with_constants(found))
    else:
        _print(found)


def check(path: str, /, *, json: AsJson = False) -> None:
    """Whether a task of your own is complete and consistent. Runs none of its code.

    Args:
        path: folder with the task.
        json: print a JSON object.
    """
    found = _facts(path)
    if json:
        emit(_with_constants(found))
        return
    say(f"{path} is a complete task")
    _print(found)


def _facts(name: str) -> TaskFacts:
    return load(name, home=home_folder()).facts


def _with_constants(task: TaskFacts) -> Document:
    knobs = {
        name: {"type": knob.type, "low": knob.low, "high": knob.high}
        for name, knob in task.knobs.items()
    }
    return {**task_document(task), "knobs": knobs, "deny": list(task.deny)}


def _print(task: TaskFacts) -> None:
    facts(
        [
            ("task", task.name),
            ("id", task.id.hex()),
            ("metric", f"{task.metric}, {BETTER[task.direction]}"),
            ("scored by", f"the {task.scored_by}"),
            ("budget", _budget(task)),
            ("noise", f"{100 * task.sigma:g} % of the metric, until it is measured"),
            ("never set", ", ".join(task.deny)),
        ]
    )
    if task.knobs:
        say("\nsafe constants")
        rows = [(name, f"{knob.low:g}", f"{knob.high:g}") for name, knob in task.knobs.items()]
        table(("name", "from", "to"), rows, words=("name",))


def _budget(task: TaskFacts) -> str:
    return f"{task.budget_ms / 1000:g} s" if task.budget_ms else "its own"
