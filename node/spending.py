"""What a language model has cost a home, and how well its edits applied; kept between starts.

What came of it is not here: that is read off the runs.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct, field

from node.home import write_atomic
from skep.errors import HomeError
from skep.model import Reply
from skep.records import Run
from strategies.llm import LLM
from strategies.reply import Format

FILE = "models.json"


class Tally(Struct, forbid_unknown_fields=False):
    """One model's account.

    Attributes:
        seconds: that it took to answer.
        prompt_tokens, reply_tokens: that it read and wrote.
        answers, failures: questions with an answer, and without one.
        ideas: edits that were queued.
        applied, tried: how many of its edits applied, by format, and how many it wrote.
    """

    seconds: float = 0.0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    answers: int = 0
    failures: int = 0
    ideas: int = 0
    applied: dict[Format, int] = field(default_factory=dict)
    tried: dict[Format, int] = field(default_factory=dict)

    def charge(self, reply: Reply) -> None:
        """Count an answer."""
        self.seconds += reply.seconds
        self.prompt_tokens += reply.prompt_tokens
        self.reply_tokens += reply.reply_tokens
        self.answers += 1

    def judge(self, form: Format, applied: int, tried: int) -> None:
        """Count edits of one answer."""
        self.applied[form] = self.applied.get(form, 0) + applied
        self.tried[form] = self.tried.get(form, 0) + tried


class Account(Struct):
    """What all models have cost, by name.

    Attributes:
        models: account of each.
    """

    models: dict[str, Tally] = field(default_factory=dict)

    def of(self, model: str) -> Tally:
        """The account of one."""
        return self.models.setdefault(model, Tally())

    @property
    def whole(self) -> Tally:
        """All of them together, formats left out."""
        rows = self.models.values()
        return Tally(
            seconds=sum(row.seconds for row in rows),
            prompt_tokens=sum(row.prompt_tokens for row in rows),
            reply_tokens=sum(row.reply_tokens for row in rows),
            answers=sum(row.answers for row in rows),
            failures=sum(row.failures for row in rows),
            ideas=sum(row.ideas for row in rows),
        )


class Cost(Struct, frozen=True, kw_only=True):
    """What the ideas of models have cost, for people.

    Attributes:
        seconds, tokens: of all answers.
        answers: how many.
        ideas: how many were queued.
        runs: how many were tried here.
        kept: how many of them this machine kept.
        confirmed: how many the swarm confirmed.
        seconds_per_idea, tokens_per_idea: None without any; the same for the others.
    """

    seconds: float
    tokens: int
    answers: int
    ideas: int
    runs: int
    kept: int
    confirmed: int
    seconds_per_idea: float | None
    tokens_per_idea: float | None
    seconds_per_kept: float | None
    tokens_per_kept: float | None
    seconds_per_confirmed: float | None
    tokens_per_confirmed: float | None


def cost_of(account: Account, *, runs: int, kept: int, confirmed: int) -> Cost:
    """What an account comes to for what came of it."""
    whole = account.whole
    seconds, tokens = whole.seconds, whole.prompt_tokens + whole.reply_tokens

    def each(amount: float, count: int) -> float | None:
        return round(amount / count, 1) if count else None

    return Cost(
        seconds=round(seconds, 1),
        tokens=tokens,
        answers=whole.answers,
        ideas=whole.ideas,
        runs=runs,
        kept=kept,
        confirmed=confirmed,
        seconds_per_idea=each(seconds, whole.ideas),
        tokens_per_idea=each(tokens, whole.ideas),
        seconds_per_kept=each(seconds, kept),
        tokens_per_kept=each(tokens, kept),
        seconds_per_confirmed=each(seconds, confirmed),
        tokens_per_confirmed=each(tokens, confirmed),
    )


def written_by_models(runs: Iterable[tuple[bytes, Run]]) -> set[bytes]:
    """Programs that a model has written, of own runs."""
    return {run.program for _, run in runs if run.strategy == LLM}


def read_account(home: Path) -> Account:
    """The account of a home; a new one where there is none.

    Raises:
        HomeError: it does not read back.
    """
    path = home / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Account)
    except FileNotFoundError:
        return Account()
    except (OSError, msgspec.MsgspecError) as error:
        raise HomeError(f"{path} does not read back ({error})", "Delete it.") from error


def write_account(home: Path, account: Account) -> None:
    """Keep an account.

    Raises:
        HomeError: it cannot be written.
    """
    write_atomic(home / FILE, msgspec.json.encode(account).decode())
