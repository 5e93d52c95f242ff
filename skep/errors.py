"""The exception tree. Every class says who raises it; every instance says what the reader can do.

    SkepError
    ├── ConfigError        a setting, flag or file of the user's makes no sense      (node)
    │   └── UnknownId      a shortened id names nothing, or more than one thing      (node)
    ├── HomeError          the home folder cannot be used                            (node, gossip)
    │   ├── HomeInUse      another node holds it
    │   ├── ArchiveFull    records of others fill their quota, and none may be pruned
    │   └── StoreCorrupt   the database or the feed does not read back
    ├── TaskError          a task pack is incomplete or contradicts itself           (trainer)
    ├── PatchError         an edit does not apply exactly, or breaks the byte rules  (skep.patch)
    ├── PromptError        what a model must be told is more than it can read        (strategies)
    ├── RecordError        bytes that are no valid record                            (gossip.wire)
    │   └── NewerRecord    a record of a version that this Skep does not know        (gossip.wire)
    ├── TransportError     a peer that cannot be reached or does not answer          (gossip)
    │   ├── Refused        it has answered that it will not, which is its right      (gossip)
    │   └── NoHandshake    who answers there does not understand this node           (gossip)
    ├── ModelError         a language model that does not answer as it should        (strategies)
    ├── SandboxError       no sandbox, or one that failed its self-test              (trainer)
    └── TrainerFault       our own child processes failed, not the candidate's code  (trainer)

What a *candidate* does wrong is never an exception: it is an `Outcome` with a status.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal


class SkepError(Exception):
    """Anything Skep can explain. The command line prints it as one line and exits with 1.

    Args:
        what: what went wrong and why, one clause, no full stop.
        advice: what the reader should do about it; may be empty where nothing can be done.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what, advice)
        self.what = what
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.what}. {self.advice}".strip() if self.advice else self.what


class ConfigError(SkepError):
    """A setting, flag or file of the user's makes no sense."""


class UnknownId(ConfigError):
    """A shortened id that names nothing here, or more than one thing."""


class HomeError(SkepError):
    """The home folder cannot be used: missing permissions, full disk, not a folder."""


class HomeInUse(HomeError):
    """Another node is running on this home."""


class ArchiveFull(HomeError):
    """What others said fills its quota, and none of it may be pruned. Research goes on."""


class StoreCorrupt(HomeError):
    """The database or the own feed does not read back as it was written."""


class TaskError(SkepError):
    """A task pack that is incomplete, or whose parts contradict one another."""


class PatchError(SkepError):
    """An edit that does not apply exactly, or a program that breaks the byte rules."""


class PromptError(SkepError):
    """What a model must be told, at the least, is more than it can be told."""


class RecordError(SkepError, ValueError):
    """Bytes that are not a valid record."""


class NewerRecord(RecordError):
    """A record of a later format version; nobody's fault, and nothing this Skep can read."""


class TransportError(SkepError):
    """A peer cannot be reached, refuses, or does not answer in time. Never a reason to stop."""


class Refused(TransportError):
    """A peer does not want to answer now. It may: it has quotas of its own."""


class NoHandshake(TransportError):
    """Somebody answers at an address and no handshake comes about: another key, another peer."""


ModelFault = Literal["absent", "missing", "memory", "slow", "cut", "refused", "broken", "rubbish"]
"""What is wrong with a language model.

absent: no server answers, or it went away. missing: the server has no such model. memory: it does
not fit. slow: nothing came in time, or others are served first. cut: the prompt does not fit, so
that the model did not see all of it. refused: a key, a quota or a request that the server does not
take. broken: the server failed. rubbish: what it answers makes no sense.
"""


class ModelError(SkepError):
    """A language model that cannot be asked, or did not answer. Never a reason to stop.

    Args:
        kind: what is wrong.
        what, advice: see `SkepError`.
    """

    def __init__(self, kind: ModelFault, what: str, advice: str = "") -> None:
        super().__init__(what, advice)
        self.kind = kind


class SandboxError(SkepError):
    """No sandbox backend can be used, or the chosen one failed its self-test."""


class TrainerFault(SkepError):
    """One of our own helper processes failed; the job is repeated, the candidate not blamed."""


@contextmanager
def lone_error() -> Iterator[None]:
    """Raise an error that comes out of this block as a group of one as itself.

    For nurseries in code that documents which exceptions it raises.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None
