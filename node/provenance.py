"""Whose text a program is, and so in which class of code it runs. Pure.

Three classes (`trainer.policy` says where each may run). *Knob*: the seed program of a task that
ships with Skep, with numbers in its ranges; the node could have rendered it by itself. *Stranger*:
any text in its lineage came from another author. *Own*: the rest. The lineage is that of this
node's own runs: what a peer says of a program decides nothing here, or naming somebody's program
in a record would be enough to make it a stranger's.
"""

from collections.abc import Callable, Iterable

from skep.knobs import numbers_of
from skep.ports import FOREIGN, Code, TaskFacts
from skep.records import Run, program_id

Text = Callable[[bytes], str | None]
"""Text of a program by its content id; None where it is not known."""


class Provenance:
    """The programs that were taken on here, and which of them hold text of strangers.

    Args:
        task: facts of the task; its start program is the user's own.
        text: finds the texts of programs that were adopted.
        runs: own runs so far, in feed order, of whatever tier.
    """

    def __init__(self, task: TaskFacts, text: Text, runs: Iterable[Run] = ()) -> None:
        self._task = task
        self._text = text
        self._foreign = {program_id(task.seed_program): False}
        self._knobs: dict[bytes, bool] = {}
        for run in runs:
            self.learn(run.program, run.parent, run.strategy)

    def learn(self, program: bytes, parent: bytes | None, strategy: str) -> None:
        """Take note of the first run of a program, or of the job that will be it.

        What is said of it later changes nothing. A knob program holds no text of anybody's, so
        that what is made of it is nobody else's either.
        """
        if program not in self._foreign:
            foreign = self._is_foreign(parent, strategy)
            text = self._text(program) if foreign else None
            self._foreign[program] = foreign and not (text and self._is_knob(program, text))

    def code_of(self, source: str) -> Code:
        """The class of a program that was taken on here; one that was not is a stranger's."""
        return self._class(source, self._foreign.get(program_id(source), True))

    def code_of_new(self, source: str, parent: bytes | None, strategy: str) -> Code:
        """The class that a program would have if it were taken on now."""
        known = self._foreign.get(program_id(source))
        return self._class(source, self._is_foreign(parent, strategy) if known is None else known)

    def _is_foreign(self, parent: bytes | None, strategy: str) -> bool:
        """Whether a strategy's edit of a parent holds foreign text; of a parent nobody knows, too.

        A program without a parent is one that the user started from.
        """
        inherits = parent is not None and self._foreign.get(parent, True)
        return strategy in FOREIGN or inherits

    def _class(self, source: str, foreign: bool) -> Code:
        if self._is_knob(program_id(source), source):
            return "knob"
        return "stranger" if foreign else "own"

    def _is_knob(self, program: bytes, source: str) -> bool:
        """Whether the task's own program makes it; found out once, for that parses the latter."""
        if program not in self._knobs:
            task = self._task
            made = task.knob_program and numbers_of(task.knob_program, task.knobs, source)
            self._knobs[program] = isinstance(made, dict)
        return self._knobs[program]
