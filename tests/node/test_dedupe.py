"""What others run or have run is not proposed here again; what they found may be adopted."""

from pathlib import Path

from node.deciding import Decider
from node.notebook import Notebook
from skep.patch import make
from skep.ports import Proposal, Strategy, View
from skep.records import program_id
from strategies.tune import Tune
from tests.node.recorded import SEED_PROGRAM
from tests.node.strangers import BOB, Stranger, deliver
from tests.node.test_adoption import notebook, run_of, text
from tests.node.test_notebook import START, baseline, ledger_with


class Insists:
    """Proposes one rate after the other, the same ones whenever it is asked."""

    name = "tune"

    def __init__(self, *rates: float) -> None:
        self._rates = list(rates)

    def ready(self, view: View) -> bool:
        return True

    async def propose(self, view: View) -> Proposal | None:
        rate = self._rates.pop(0)
        return Proposal(
            source=text(rate),
            parent=START,
            edits=make(SEED_PROGRAM, text(rate)),
            strategy=self.name,
            note="",
        )


async def keep(source: str, fingerprint: bytes) -> None:
    """Nothing is stored here."""


def decider(book: Notebook, programs: object, *rates: float) -> Decider:
    return decider_with(book, programs, Insists(*rates))


def decider_with(book: Notebook, programs: object, strategy: Strategy) -> Decider:
    return Decider(
        book,
        [strategy],
        records=programs,  # type: ignore[arg-type]
        keep=keep,
        refusal=lambda code: None,
    )


async def test_what_a_peer_has_run_is_not_run_again_for_an_idea_of_ones_own(
    tmp_path: Path,
) -> None:
    runs = [baseline(seed) for seed in range(3)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM,)) as ledger:
        await deliver(ledger, Stranger(BOB).says(run_of(0.01, 2.5)))
        book = notebook(ledger, tmp_path)
        view = book.view([], 0)
        chosen = await decider(book, ledger, 0.01, 0.02)._propose([], (), ())
        assert chosen is not None
        assert program_id(chosen.source) == program_id(text(0.02))
        assert view.champion == START


async def test_nor_is_what_a_peer_says_it_is_running(tmp_path: Path) -> None:
    runs = [baseline(seed) for seed in range(3)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM,)) as ledger:
        book = notebook(ledger, tmp_path)
        asked = decider(book, ledger, 0.01, 0.02)
        asked.announced = lambda: {program_id(text(0.01))}
        chosen = await asked._propose([], (), ())
        assert chosen is not None
        assert program_id(chosen.source) == program_id(text(0.02))


async def test_a_search_whose_first_move_runs_elsewhere_goes_on_with_another(
    tmp_path: Path,
) -> None:
    runs = [baseline(seed) for seed in range(3)]
    async with ledger_with(tmp_path, *runs, programs=(SEED_PROGRAM,)) as ledger:
        book = notebook(ledger, tmp_path)
        first = await Tune().propose(book.view([], 0))
        again = await Tune().propose(book.view([], 1))
        assert first is not None
        assert again is not None
        assert first.source == again.source, "the opening leaves nothing to chance"
        asked = decider_with(book, ledger, Tune())
        asked.announced = lambda: {program_id(first.source)}
        chosen = await asked._propose([], (), ())
        assert chosen is not None
        assert chosen.source != first.source
