"""The language model's part of a node, put together: queue, asker, briefing, speaker, thinking.

A node always has it; without a model the queue stays empty and every minute somebody looks whether
there is one by now.
"""

import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from gossip.ledger import Ledger
from node.asking import Asker, Find
from node.briefing import Briefing
from node.config import Settings
from node.experiment import Bench
from node.gate import Gate
from node.home import Home
from node.literature.reader import Reader
from node.loop import Researcher
from node.models import may_embed, model_of
from node.speaking import Speaker
from node.spending import Account, cost_of, read_account, write_account, written_by_models
from node.thinking import Thinking
from node.verdicts import roots_of
from skep.events import Event
from skep.secrets import Scanner
from strategies.llm import LLM, Ideas
from strategies.prompt import Role
from strategies.servers import server_url, stands_here

TAG_BYTES = 8


class Arm:
    """Thinking, and what can be asked about it.

    Args:
        settings: name the model, if the user did.
        home: of the node.
        author: 32-byte public key of the node.
        ledger: where notes go.
        bench: task, and folder of runs.
        researcher: whose slots are to have ideas.
        ideas: the queue.
        gate: where model and experiments share a GPU.
        scanner: knows what must not leave.
        clock: milliseconds since the epoch.
        emit: called with every event.
        find: finds the model; by default as the settings say.

    Raises:
        HomeError: what the model has cost so far does not read back.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        home: Home,
        author: bytes,
        ledger: Ledger,
        bench: Bench,
        researcher: Researcher,
        ideas: Ideas,
        gate: Gate | None,
        scanner: Scanner,
        clock: Callable[[], int],
        emit: Callable[[Event], None],
        find: Find | None = None,
    ) -> None:
        task, notebook = bench.task, researcher.notebook
        account = read_account(home.root)
        researcher.charge(LLM, account.whole.seconds)
        self._ledger = ledger
        self._task = task.id
        self._roots = partial(roots_of, home.root, author)
        self._speaker = Speaker(ledger, task.id, scanner, clock, emit)
        self._briefing = Briefing(notebook, ledger, bench, researcher.thoughts, home, self._roots)
        self._asker = Asker(
            find or partial(model_of, settings),
            account,
            partial(self._keep, home.root, researcher),
            gate,
            emit,
        )
        self.thinking = Thinking(
            ideas=ideas,
            asker=self._asker,
            briefing=self._briefing,
            reader=Reader(home.library, emit, embeds=may_embed(settings)),
            notebook=notebook,
            thoughts=researcher.thoughts,
            speaker=self._speaker,
            slots=bench.executor.slots,
            tag=partial(secrets.token_hex, TAG_BYTES),
            wake=researcher.consider,
            is_idle=lambda: researcher.is_idle,
        )
        self._notebook = notebook
        researcher.hopes.append(lambda: "ideas of the model" if self._asker.hopeful else "")

    async def run(self) -> None:
        """Think, and read, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.thinking.run)
            nursery.start_soon(self.thinking.read)

    def _keep(self, root: Path, researcher: Researcher, account: Account) -> None:
        """What thinking has cost is kept, and charged to who thinks."""
        write_account(root, account)
        researcher.charge(LLM, account.whole.seconds)

    def answer(self) -> dict[str, Any]:
        """Who thinks, what waits, and what it has cost; plain JSON values."""
        programs = written_by_models(self._ledger.runs(self._task))
        kept = {one.program for one in self._notebook.research.kept} & programs
        cost = cost_of(
            self._asker.account,
            runs=len(programs),
            kept=len(kept),
            confirmed=self._briefing.confirmed_of(programs),
        )
        return {
            "name": self._asker.name or None,
            "waiting": self.thinking.waiting,
            "held_back": self._speaker.blocked,
            **msgspec.to_builtins(cost),
        }

    async def prompt(self, role: Role) -> dict[str, Any]:
        """What the model would be sent now; errors as of `Thinking.prompt`."""
        found = await self.thinking.prompt(role)
        return {
            "model": self._asker.name or None,
            "role": role,
            "system": found.system,
            "user": found.user,
        }


def gate_of(settings: Settings, backend: str) -> Gate | None:
    """A gate where a model of this machine and experiments would share a GPU.

    Raises:
        ConfigError: the address of a server makes no sense.
    """
    url = settings.openai_url or server_url(settings.ollama_url)
    return Gate() if backend != "cpu" and stands_here(url) else None


def lasting_memory(settings: Settings, backend: str) -> str | None:
    """What to tell a user whose endpoint keeps memory of the GPU that trains; None where none does.

    An OpenAI-compatible server has no request that unloads a model, as ollama has.
    """
    url = settings.openai_url
    if backend == "cpu" or not url or not stands_here(url):
        return None
    return (
        f"{url} is on this machine, whose GPU trains: its model cannot be told to leave the GPU's"
        " memory, which changes what runs can use and how fast they are. Let it use another GPU,"
        " or the CPU, or ask ollama, which unloads between experiments"
    )
