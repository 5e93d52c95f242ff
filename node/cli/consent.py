"""The two flags by which a user answers for code without a sandbox, for one start of the node.

They are taken from the command line alone: never from the configuration, the environment, the
network or a model.
"""

from typing import Annotated, Literal

from cyclopts import Parameter

from trainer.policy import OWN_FLAG, STRANGERS_FLAG, Consent

OwnFlag = Annotated[bool, Parameter(name=OWN_FLAG, negative="")]
StrangersFlag = Annotated[Literal["I-ACCEPT"] | None, Parameter(name=STRANGERS_FLAG, negative="")]


def consent(own: bool, strangers: str | None) -> Consent:
    """What the flags say; who answers for strangers' code answers for their own, too."""
    return Consent(own=own or strangers is not None, strangers=strangers is not None)
