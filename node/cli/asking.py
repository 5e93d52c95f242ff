"""Options about the language model that a node asks for ideas."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Asking:
    """Which language model to ask for ideas; without any, the node goes on without it.

    Attributes:
        model: its name; by default the largest that ollama has and that fits here.
        ollama_url: address of an ollama server, where it is not on this machine.
        openai_url: address of an OpenAI-compatible endpoint, such as http://HOST:8080/v1, in place
            of ollama.
        openai_key_file: file with the endpoint's key, for nobody else to read.
    """

    model: Annotated[str | None, Parameter(negative="")] = None
    ollama_url: Annotated[str | None, Parameter(negative="")] = None
    openai_url: Annotated[str | None, Parameter(negative="")] = None
    openai_key_file: Annotated[Path | None, Parameter(negative="")] = None

    def flags(self) -> dict[str, Any]:
        """As settings."""
        return asdict(self)
