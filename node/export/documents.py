"""Experiments and runs as plain JSON values and as CSV: the keys that docs/cli.md promises.

Ids are full hexadecimal, times ISO 8601 in UTC, numbers in the unit that their key names.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from gossip.identity import friendly_name, peer_id
from gossip.jobs import job_of
from gossip.view import LedgerView
from node.experiment import value_of
from node.findings import Findings
from node.history import Experiment, History
from skep.ports import TaskFacts
from skep.records import MICRO, Environment, Run

Document = dict[str, Any]

COLUMNS = (
    "number",
    "program",
    "parent",
    "strategy",
    "description",
    "verdict",
    "reason",
    "value",
    "delta",
    "sigmas",
    "e",
    "runs",
    "time",
    "seconds",
    "memory_gib",
)


def task_document(task: TaskFacts) -> Document:
    """What a task is about."""
    return {
        "name": task.name,
        "id": task.id.hex(),
        "metric": task.metric,
        "direction": task.direction,
        "scored_by": task.scored_by,
        "budget_s": task.budget_ms / 1000,
        "sigma_prior": task.sigma,
    }


def experiment_document(row: Experiment, ledger: LedgerView) -> Document:
    """One row of the history; `time` is that of its first run."""
    return {
        "number": row.number,
        "program": row.program.hex(),
        "parent": row.parent.hex() if row.parent else None,
        "strategy": row.strategy,
        "description": row.description,
        "verdict": row.verdict,
        "reason": row.reason,
        "value": row.value,
        "delta": row.delta,
        "sigmas": row.sigmas,
        "e": row.e,
        "runs": [run.hex() for run in row.runs],
        "time": run_time(row.runs[0], ledger),
        "seconds": row.seconds,
        "memory_gib": row.memory_gib,
    }


def run_document(run_id: bytes, task: bytes, run: Run, ledger: LedgerView) -> Document:
    """One run with every number behind it."""
    return {
        "id": run_id.hex(),
        "author": _author(ledger.record(run_id).record.author),
        "claim": run.claim.hex() if run.claim else None,
        "job": job_of(task, run),
        "program": run.program.hex(),
        "parent": run.parent.hex() if run.parent else None,
        "strategy": run.strategy,
        "status": run.status,
        "note": run.note,
        "value": value_of(run),
        "scores": [
            {"draw": row.draw, "split": row.split, "value": row.micro / MICRO} for row in run.scores
        ],
        "seed": run.seed,
        "steps": run.steps,
        "tokens": run.tokens,
        "parameters": run.parameters,
        "budget_s": run.budget_ms / 1000,
        "spent_s": run.spent_ms / 1000,
        "train_s": run.train_ms / 1000,
        "total_s": run.total_ms / 1000,
        "memory_gib": run.peak_kib / 2**20,
        "weights": run.weights.hex() if run.weights else None,
        "scored_by": run.scored_by,
        "environment": _environment(run.environment),
        "time": run_time(run_id, ledger),
    }


def findings_document(found: Findings | None, me: bytes) -> Document | None:
    """Who found a program and who ran it; `me` is this node's public key."""
    if found is None:
        return None
    return {
        "by": _author(found.found_by) if found.found_by else None,
        "claim": found.claim.hex() if found.claim else None,
        "claimed": found.claimed,
        "runners": [
            {
                "author": _author(one.author),
                "me": one.author == me,
                "runs": one.runs,
                "standing": one.standing,
                "effect": one.effect,
                "sigmas": one.sigmas,
                "e": one.e,
            }
            for one in found.runners
        ],
    }


def archive_document(found: History, ledger: LedgerView) -> Document:
    """A whole history: task, verdicts, every run, and the text of every program."""
    runs = dict(ledger.runs(found.task.id))
    known = ledger.programs()
    programs = [row.program for row in found.experiments if row.program in known]
    return {
        "version": 1,
        "task": task_document(found.task),
        "tier": found.tier,
        "sigma": found.research.noise.sigma,
        "champion": found.research.champion.hex(),
        "experiments": [experiment_document(row, ledger) for row in found.experiments],
        "runs": [
            run_document(run_id, found.task.id, runs[run_id], ledger)
            for row in found.experiments
            for run_id in row.runs
        ],
        "programs": {program.hex(): known[program].source for program in programs},
    }


def experiments_csv(documents: Iterable[Mapping[str, Any]]) -> str:
    """Experiments as CSV (RFC 4180) under `COLUMNS`; `runs` is how many there are."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for document in documents:
        row = {**document, "runs": len(document["runs"])}
        writer.writerow("" if row[name] is None else row[name] for name in COLUMNS)
    return text.getvalue()


def json_text(document: object) -> str:
    """A document as indented JSON with a line end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def run_time(run_id: bytes, ledger: LedgerView) -> str:
    """When the author's clock said a run was recorded."""
    seconds = ledger.record(run_id).record.time // 1000
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _author(author: bytes) -> Document:
    return {"name": friendly_name(author), "peer_id": peer_id(author)}


def _environment(environment: Environment) -> Document:
    found: Document = msgspec.structs.asdict(environment)
    return found
