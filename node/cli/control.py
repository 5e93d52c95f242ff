"""`skep status`, `pause`, `resume` and `finish`: talking to the node that runs on this home.

trio is imported only when there is somebody to talk to.
"""

from typing import Any

from node.cli.output import SHORT_DIGITS, AsJson, duration, emit, facts, number, say, short, table
from node.cli.reading import NOTHING_YET, Reading, reading
from node.cli.running import asked, company_line, state_of
from node.config import home_folder
from node.export.documents import Document, task_document
from node.history import History


def status(*, json: AsJson = False) -> None:
    """What the node is doing, and what came out so far; works without a running node, too.

    Args:
        json: print a JSON object.
    """
    with reading() as home:
        running, reason = asked(home.home, "status")
        found = home.history(None)
        if json:
            emit(_document(home, found, running))
            return
        if running is None:
            say(reason)
        else:
            _show_node(running)
        if found is not None:
            _show_results(found)
        elif running is None:
            say(NOTHING_YET)


async def pause(*, json: AsJson = False) -> None:
    """Stop every process of every experiment at once; `skep resume` repeats them.

    Args:
        json: print the node's answer as a JSON object.
    """
    await _tell("pause", "paused; `skep resume` goes on", json)


async def resume(*, json: AsJson = False) -> None:
    """Go on after `skep pause`.

    Args:
        json: print the node's answer as a JSON object.
    """
    await _tell("resume", "resumed", json)


async def finish(*, json: AsJson = False) -> None:
    """Start no new experiments, and end the node when those in flight are done.

    Args:
        json: print the node's answer as a JSON object.
    """
    await _tell("finish", "finishing: the node ends when the experiments in flight are done", json)


async def _tell(verb: str, done: str, json: bool) -> None:
    from node.control import ask

    answer = await ask(home_folder(), verb)
    emit(answer) if json else say(done)


def _document(home: Reading, found: History | None, running: dict[str, Any] | None) -> Document:
    rows = found.experiments if found else ()
    lineage = found.lineage if found else ()
    node = running or {}
    counts = {name: node.get(name, 0) for name in ("runs", "judged", "kept")}
    return {
        "home": str(home.home.root),
        "running": running is not None,
        "pid": node.get("pid"),
        "up_s": node.get("up_s"),
        "paused": node.get("paused", False),
        "finishing": node.get("finishing", False),
        "this_start": counts,
        "last_verdict": node.get("last_verdict", ""),
        "slots": node.get("slots", []),
        "swarm": node.get("swarm"),
        "model": node.get("model"),
        "task": task_document(found.task) if found else None,
        "tier": found.tier if found else None,
        "sigma": found.research.noise.sigma if found else None,
        "experiments": max(len(rows) - 1, 0),
        "kept": max(len(lineage) - 1, 0),
        "runs": sum(len(row.runs) for row in rows),
        "champion": lineage[-1].program.hex() if lineage else None,
        "first": lineage[0].value if lineage else None,
        "best": lineage[-1].value if lineage else None,
    }


def _show_node(node: dict[str, Any]) -> None:
    say(f"{state_of(node)} for {duration(node['up_s'])} (pid {node['pid']})")
    if node.get("swarm"):
        say(company_line(node["swarm"]))
    if node["slots"]:
        _show_slots(node["slots"])
    if (model := node.get("model")) and model["name"]:
        say(f"model: {model['name']}, {model['waiting']} ideas ready; {model_line(model)}")
    if node["last_verdict"]:
        say(f"last: {node['last_verdict']}")
    say()


def model_line(model: dict[str, Any]) -> str:
    """What came of a model's ideas, and what each of the best kind that there is has cost."""
    tried = f"{model['runs']} tried, {model['kept']} kept, {model['confirmed']} confirmed"
    for kind in ("confirmed", "kept", "idea"):
        if (seconds := model[f"seconds_per_{kind}"]) is not None:
            each = "idea" if kind == "idea" else f"{kind} gain"
            tokens = model[f"tokens_per_{kind}"]
            return f"{tried}; {tokens:,.0f} tokens and {seconds:,.0f} s of thinking for each {each}"
    return tried


def _show_slots(slots: list[dict[str, Any]]) -> None:
    rows = []
    for index, slot in enumerate(slots):
        steps = f"{slot['step']}/{slot['steps']}" if slot["steps"] else "-"
        left = "-" if slot["left_s"] is None else duration(slot["left_s"])
        phase = slot["phase"] or "idle"
        what = slot["note"] or slot["purpose"]
        rows.append(
            (
                str(index),
                phase,
                steps,
                number(slot["loss"], ".3f"),
                left,
                slot["program"][:SHORT_DIGITS],
                what,
            )
        )
    table(
        ("slot", "phase", "step", "loss", "left", "program", "experiment"),
        rows,
        words=("phase", "program", "experiment"),
    )


def _show_results(found: History) -> None:
    rows, lineage = found.experiments, found.lineage
    waiting = sum(row.verdict == "pending" for row in rows)
    count = f"{len(rows) - 1}, {max(len(lineage) - 1, 0)} kept" if lineage else f"{len(rows)}"
    first, best = (lineage[0].value, lineage[-1].value) if lineage else (None, None)
    facts(
        [
            ("task", f"{found.task.name}, tier {found.tier}"),
            ("experiments", count + (f", {waiting} without a verdict yet" if waiting else "")),
            (found.task.metric, f"{number(first)} → {number(best)}, reproduced by me"),
            ("champion", short(lineage[-1].program) if lineage else ""),
            ("noise", f"σ = {found.research.noise.sigma:.4f} between seeds"),
        ]
    )
