"""What this machine is: the device that experiments run on, as it goes into every record.

torch is asked in a phase of a worker, never here. What NVIDIA's driver says comes through NVML,
which can block and therefore runs in a thread.
"""

import ctypes
import os
import platform
import sys
from pathlib import Path

import psutil
import trio
from msgspec import Struct

from skep.errors import ConfigError, TrainerFault
from skep.records import Environment
from trainer.log import Log
from trainer.messages import Facts, Garbled, Report
from trainer.meter import Limits
from trainer.phases import WarmWorker
from trainer.task import Task

FACTS_LIMITS = Limits(cpu=120, wall=180)
"""A first use of a GPU loads its libraries, which takes tens of seconds from a cold disk."""


class Gpu(Struct, frozen=True):
    """An NVIDIA GPU as its driver describes it; memory in MiB, utilisation in percent."""

    name: str
    memory_mib: int
    used_mib: int
    busy: int
    driver: str


async def find_device(worker: WarmWorker, device: str) -> Facts:
    """Settle on a device, and what torch knows of it.

    Args:
        worker: is asked.
        device: `auto` (CUDA, else MPS, else CPU), or one by name.

    Raises:
        ConfigError: there is no such device here.
        TrainerFault: the worker cannot tell.
    """
    heard: list[Report | Garbled] = []
    log = Log()
    await worker.run(
        "facts",
        {"device": device},
        [],
        limits=FACTS_LIMITS,
        probe_s=0.0,
        handle=heard.append,
        log=log,
    )
    facts = next((report for report in heard if isinstance(report, Facts)), None)
    if facts is None:
        raise TrainerFault(f"cannot find out what this machine has: {log.tail}")
    if not facts.device:
        raise ConfigError(
            f"there is no device {device} here, as far as torch {facts.torch} can tell",
            "Use --device auto, or install a torch that was built for it.",
        )
    return facts


def environment_of(facts: Facts, sandbox: str) -> Environment:
    """The machine as it goes into every run.

    Args:
        facts: of the device that is used.
        sandbox: name of its backend.
    """
    kind = facts.device.partition(":")[0]
    is_rocm = kind == "cuda" and "hip" in facts.torch
    return Environment(
        backend="rocm" if is_rocm else kind,
        device=facts.name or _cpu_name(),
        dtype="bfloat16" if kind == "cuda" else "float32",
        memory_mib=(facts.memory or _host_memory()) >> 20,
        threads=1,
        torch=facts.torch,
        driver=facts.driver,
        isa=facts.isa,
        probe_ns=round(facts.probe * 1e9),
        sandbox=sandbox,
    )


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


async def nvidia_gpus() -> list[Gpu] | str:
    """The NVIDIA GPUs here, or one clause that says why there are none."""
    return await trio.to_thread.run_sync(_ask_nvml)


def _ask_nvml() -> list[Gpu] | str:
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return "no NVIDIA GPU"
    import pynvml  # so large that whoever has no driver is spared it: 0.1 s

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return "no NVIDIA GPU"
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [_describe(handle, driver) for handle in handles] or "no NVIDIA GPU"
    except pynvml.NVMLError as error:
        return f"the NVIDIA driver does not answer: {error}"
    finally:
        pynvml.nvmlShutdown()


def _describe(handle: object, driver: str) -> Gpu:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_mib=memory.total >> 20,
        used_mib=memory.used >> 20,
        busy=pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        driver=driver,
    )


async def default_slots(task: Task, device: str) -> int:
    """Experiments at once: one where a GPU or the program itself is what they share, else a core
    each, as far as memory goes.

    Args:
        task: states how much memory an experiment may use.
        device: as the user gave it; `auto` has a GPU where one is found.
    """
    if task.facts.scored_by == "program" or device not in ("auto", "cpu"):
        return 1
    if device == "auto" and await _has_gpu():
        return 1
    cores = len(psutil.Process().cpu_affinity()) if sys.platform == "linux" else os.cpu_count() or 1
    affordable = (
        _host_memory() // (task.limits.memory_mib << 20) if task.limits.memory_mib else cores
    )
    return max(1, min(cores, affordable))


async def _has_gpu() -> bool:
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return apple or isinstance(await nvidia_gpus(), list)
