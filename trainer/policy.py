"""Which code may run in which sandbox. Pure.

Programs come in three classes. *Knob*: the seed program of a task that ships with Skep, with other
numbers within the ranges that the task gives. *Own*: edits made here, by the user or by strategies
of this node. *Stranger*: everything else. The answer is the executor's to enforce; what class a
program has is found out by `node.provenance`.
"""

from msgspec import Struct

from skep.errors import SandboxError
from skep.ports import Code
from skep.records import program_id
from trainer.sandbox import Strength

INSTALL = "On Linux install bubblewrap (apt install bubblewrap); see `skep doctor`"
OWN_FLAG = "--unsandboxed-own-code"
STRANGERS_FLAG = "--run-strangers-code-without-a-sandbox"
ACCEPTED = "I-ACCEPT"


class Consent(Struct, frozen=True, kw_only=True):
    """What the user answers for, on the command line of this very start and nowhere else.

    Attributes:
        own: own code may run without a sandbox.
        strangers: code of strangers may, too.
    """

    own: bool = False
    strangers: bool = False


def domain(code: Code, source: str) -> bytes:
    """Programs of different trust domains never share a process: all own ones are one domain."""
    return program_id(source) if code == "stranger" else b""


class Policy(Struct, frozen=True):
    """What may run here."""

    strength: Strength
    consent: Consent = Consent()

    def refusal(self, code: Code) -> SandboxError | None:
        """Why code of a class may not run here; None where it may."""
        if self.strength != "none" or code == "knob":
            return None
        if code == "own" and not self.consent.own:
            return SandboxError(
                "this machine has no sandbox, and the program is more than numbers set in a task"
                " that ships with Skep",
                f"{INSTALL}. If you answer for the program yourself: {OWN_FLAG}.",
            )
        if code == "stranger" and not self.consent.strangers:
            return SandboxError(
                "this machine has no sandbox, and the program is a stranger's", f"{INSTALL}."
            )
        return None

    @property
    def warning(self) -> str:
        """What to tell the user at every start, loudly; empty where all is well."""
        if self.strength != "none":
            return ""
        if self.consent.strangers:
            return "NO SANDBOX: programs of strangers run in your name and can do what you can"
        if self.consent.own:
            return "no sandbox: your own programs run in your name"
        return ""
