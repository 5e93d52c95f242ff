"""The language model that a node asks: from its settings and what this machine has.

The only place of the node that makes one. It is asked for again whenever the last one was absent;
nothing here keeps anything between two calls.
"""

import os
import platform
import sys
from collections.abc import Mapping

import psutil

from node.config import Settings
from node.recommended import Room
from skep.errors import ModelError
from skep.model import Model
from strategies import endpoint, ollama
from strategies.servers import server_url, stands_here
from trainer.hardware import nvidia_gpus

OF_GPU, OF_APPLE, OF_HOST = 0.92, 0.67, 0.5
"""Shares of a memory that a model may take: drivers, macOS and running experiments have theirs."""


async def model_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Model | None:
    """The model that the settings ask for, or the best that this machine offers by itself.

    None where the user named neither model nor server, and there is none: the node goes on without.

    Raises:
        ConfigError: the address or the key file make no sense.
        ModelError: what the user named is not there, or a server misbehaves.
    """
    if settings.openai_url:
        file = settings.openai_key_file
        key = endpoint.read_key(file) if file else None
        return await endpoint.find_endpoint(settings.openai_url, settings.model, key)
    url = server_url(settings.ollama_url, environ)
    try:
        return await ollama.find_model(url, settings.model, await room_at(url))
    except ModelError as error:
        if settings.model or settings.ollama_url or error.kind not in ("absent", "missing"):
            raise
        return None


def may_embed(settings: Settings) -> bool:
    """Whether all texts of a library may be read by who makes vectors: no service elsewhere may."""
    return not settings.openai_url or stands_here(settings.openai_url)


async def room_at(url: str) -> int | None:
    """Bytes that a model of a server may take; None if it is on another machine."""
    return (await room()).memory if stands_here(url) else None


async def room() -> Room:
    """What a model may take on this machine: of its GPUs, or of its memory."""
    host = psutil.virtual_memory().total
    gpus = await nvidia_gpus()
    if not isinstance(gpus, str):
        total = sum(gpu.memory_mib for gpu in gpus) << 20
        names = f"{len(gpus)} × {gpus[0].name}" if len(gpus) > 1 else gpus[0].name
        return Room(round(OF_GPU * total), f"of the {total / 2**30:.0f} GiB of {names}", True)
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Room(
            round(OF_APPLE * host), f"of {host / 2**30:.0f} GiB that CPU and GPU share", True
        )
    return Room(round(OF_HOST * host), f"of {host / 2**30:.1f} GiB; {gpus}", False)
