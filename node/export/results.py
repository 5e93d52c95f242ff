"""results.tsv as karpathy/autoresearch writes it, so that its notebook and scripts read ours.

Five columns under upstream's names: `val_bpb` holds the task's metric whatever it is called. The
first row is the baseline; experiments without a verdict are left out until they have one.
"""

from collections.abc import Iterable

from gossip.view import LedgerView
from node.history import Experiment, history
from node.home import Home, write_atomic
from skep.ports import TaskFacts

HEADER = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
COMMIT_DIGITS = 7
STATUS = {"baseline": "keep", "keep": "keep", "discard": "discard", "crash": "crash"}


def write_results(home: Home, ledger: LedgerView, task: TaskFacts) -> None:
    """Bring the home's results.tsv up to date; readers never see half of it.

    Raises:
        HomeError: it cannot be written.
    """
    found = history(ledger.runs(task.id), task, ledger.program)
    write_atomic(home.results, results_tsv(found.experiments))


def results_tsv(experiments: Iterable[Experiment]) -> str:
    """The whole file."""
    return HEADER + "".join(_line(row) for row in experiments if row.verdict in STATUS)


def _line(row: Experiment) -> str:
    crashed = row.verdict == "crash" or row.value is None
    columns = (
        row.program.hex()[:COMMIT_DIGITS],
        f"{0.0 if crashed else row.value:.6f}",
        f"{row.memory_gib:.1f}",
        STATUS[row.verdict],
        " ".join(row.description.split()),
    )
    return "\t".join(columns) + "\n"
