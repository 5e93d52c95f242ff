"""What runs in a forked child of the worker: one phase with a candidate's code.

Nothing here is trusted by anybody: the candidate shares this process and can change all of it.
What it reports goes through a pipe as length-prefixed JSON (`trainer.messages` says which, and
checks), its weights leave as a safetensors file through a descriptor that the node opened, and
what it prints goes to the log pipe. It always ends with `os._exit`: what a program registers for
its exit, and half a second of torch's, is not waited for.
"""

import contextlib
import json
import linecache
import mmap
import os
import random
import shutil
import socket
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, BinaryIO, NoReturn

REPORT_S = 0.25
WARM_STEPS, TIMED_STEPS, FEWEST_STEPS = 2, 14, 3
REASON_CHARACTERS = 300
THREAD_NOISE = 0.1

Work = dict[str, Any]


class Messages:
    """The pipe by which a phase reports."""

    def __init__(self, descriptor: int) -> None:
        self._pipe: BinaryIO = os.fdopen(descriptor, "wb", buffering=0)

    def send(self, kind: str, /, **fields: Any) -> None:
        body = json.dumps({"type": kind, **fields}).encode()
        self._pipe.write(len(body).to_bytes(4, "big") + body)


def perform(phase: str, work: Work, descriptors: list[int]) -> NoReturn:
    """Run a phase and end the process; descriptors are [messages, log, the phase's own ...]."""
    messages = Messages(descriptors[0])
    os.dup2(descriptors[1], 1)
    os.dup2(descriptors[1], 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False, errors="replace")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="replace")  # noqa: SIM115
    code = 1
    try:
        PHASES[phase](work, descriptors[2:], messages)
        code = 0
    except BaseException as error:
        traceback.print_exc()
        line = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        with contextlib.suppress(BaseException):
            messages.send("failed", kind=_kind(error), reason=line[:REASON_CHARACTERS])
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(code)


def _kind(error: BaseException) -> str:
    """Which status an exception means."""
    import torch

    if isinstance(error, FloatingPointError):
        return "nan"
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "oom"
    allocation = any(words in text for words in ("can't allocate memory", "out of memory"))
    return "oom" if allocation and isinstance(error, RuntimeError) else "crash"


def load(source: str) -> ModuleType:
    """The candidate's program as the module `train`, its lines known to tracebacks."""
    module = ModuleType("train")
    module.__file__ = "train.py"
    sys.modules["train"] = module
    linecache.cache["train.py"] = (len(source), None, source.splitlines(keepends=True), "train.py")
    exec(compile(source, "train.py", "exec"), module.__dict__)  # noqa: S102 - in the sandbox
    return module


class Run:
    """What a program's `train` is given.

    Attributes:
        meta: vocabulary and context, for `build_model`.
        tokens: the training text, uint16 [n], memory-mapped.
        device: where to train.
        seed: of initialisation and data order.
    """

    def __init__(self, work: Work, data: int, messages: Messages) -> None:
        import numpy as np

        self.meta: dict[str, int] = work["meta"]
        self.device: str = work["device"]
        self.seed: int = work["seed"]
        self.tokens = np.memmap(os.fdopen(data, "rb"), dtype="<u2", mode="r")
        self.done = 0
        self.seen = 0
        self._budget: int = work["steps"]
        self._messages = messages
        self._next_report = 0.0
        self._loss: Any = None

    def steps(self) -> Iterator[float]:
        """Progress in [0, 1), once for every step that the budget pays for."""
        if not self.done:
            self._messages.send("begun")
        while self.done < self._budget:
            yield self.done / self._budget
            self.done += 1

    def log(self, loss: Any, tokens: int) -> None:
        """Note a step's training loss and how many tokens it consumed. Cheap: it samples."""
        self._loss = loss
        self.seen += tokens
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_S
            self.report()

    def report(self) -> None:
        """Send a sign of life.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if self._loss is None:
            return
        loss = float(getattr(self._loss, "detach", lambda: self._loss)())
        if not loss - loss == 0:
            raise FloatingPointError(f"the training loss is {loss} at step {self.done}")
        self._messages.send("step", step=self.done, tokens=self.seen, loss=loss)


class Calibration(Run):
    """A run that only finds out what a step costs, and ends the process when it knows.

    Costs are in CPU seconds; on a GPU, where the budget is wall-clock, in those. The timed steps
    are spread over the whole progress, since a program may make its steps dearer as it goes on.
    What happens before the first step, and what the first steps cost beyond the others, is
    reported apart.
    """

    def __init__(self, work: Work, data: int, messages: Messages) -> None:
        super().__init__(work, data, messages)
        self._patience: float = work["patience"]
        self._on_cpu = self.device == "cpu"
        self._start = self._clock()

    def steps(self) -> Iterator[float]:
        """A few steps, timed."""
        setup = self._clock() - self._start
        times: list[float] = []
        while len(times) < WARM_STEPS + TIMED_STEPS:
            start = self._clock()
            yield max(0.5, len(times) - WARM_STEPS + 0.5) / TIMED_STEPS
            times.append(self._clock() - start)
            if len(times) >= FEWEST_STEPS and sum(times) > self._patience:
                break
        threads = self._threads()
        warm = min(WARM_STEPS, len(times) - 1)
        step = statistics.mean(times[warm:])
        beyond = max(0.0, sum(times[:warm]) - warm * step)
        self._messages.send("calibrated", step=threads * step, setup=threads * (setup + beyond))
        os._exit(0)

    def _threads(self) -> float:
        """CPU time of the whole process in that of this thread; 1 but for programs with several."""
        ratio = time.process_time() / time.thread_time()
        return ratio if self._on_cpu and ratio > 1 + THREAD_NOISE else 1.0

    def _clock(self) -> float:
        if self._on_cpu:
            return time.thread_time()  # the process's clock is up to a tick behind
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        elif self.device == "mps":
            torch.mps.synchronize()
        return time.perf_counter()


def train(work: Work, descriptors: list[int], messages: Messages) -> None:
    """Train and leave a checkpoint; descriptors: [training data, checkpoint]."""
    import torch

    data, checkpoint = descriptors
    run = Run(work, data, messages)
    model = _trained(work, run)
    run.report()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with os.fdopen(checkpoint, "wb") as file:
        file.write(_weights(model))
    memory = torch.cuda.max_memory_reserved() if run.device.startswith("cuda") else 0
    messages.send("finished", step=run.done, tokens=run.seen, parameters=parameters, memory=memory)


def calibrate(work: Work, descriptors: list[int], messages: Messages) -> None:
    """Time a few steps; descriptors: [training data]."""
    _trained(work, Calibration(work, descriptors[0], messages))
    raise RuntimeError("train() returned without asking run.steps() for a step")


def _trained(work: Work, run: Run) -> Any:
    import numpy as np
    import torch

    random.seed(run.seed)
    np.random.seed(run.seed % 2**32)
    torch.manual_seed(run.seed)
    model = load(work["source"]).train(run)
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"train() returned {type(model).__name__}, not a module")
    return model


def _weights(model: Any) -> bytes:
    """A model's state as the bytes of a safetensors file: equal weights, equal bytes.

    Every tensor is copied, so that tied and overlapping ones are stored once for each name.
    """
    from safetensors.torch import save

    state = model.state_dict()
    return save(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    )


def serve(work: Work, descriptors: list[int], messages: Messages) -> None:
    """Answer inputs with logits until the scorer hangs up.

    Descriptors: [checkpoint, inputs, logits, scorer]. Inputs are int64 [windows, context] and
    logits float32 [windows, context, vocab], both in memory shared with the scorer, which sends
    the number of windows that count (4 bytes, big-endian) and gets one byte back.
    """
    import numpy as np
    import torch
    from safetensors.torch import load as load_weights

    checkpoint, inputs, logits, peer = descriptors
    with os.fdopen(checkpoint, "rb") as file:
        state = load_weights(file.read())
    meta, device, windows = work["meta"], work["device"], work["windows"]
    model = load(work["source"]).build_model(meta)
    model.load_state_dict(state)
    model = model.to(device).eval()
    shape = (windows, meta["context"])
    x = torch.from_numpy(np.frombuffer(mmap.mmap(inputs, 0), np.int64).reshape(shape))
    y = torch.from_numpy(np.frombuffer(mmap.mmap(logits, 0), np.float32).reshape(*shape, -1))
    with socket.socket(fileno=peer) as scorer, torch.inference_mode():
        while len(request := scorer.recv(4, socket.MSG_WAITALL)) == 4:
            count = int.from_bytes(request, "big")
            answer = model(x[:count].to(device))
            if answer.shape != y[:count].shape:
                raise ValueError(f"logits of shape {tuple(answer.shape)}")
            y[:count].copy_(answer)
            scorer.sendall(b"k")


def facts(work: Work, descriptors: list[int], messages: Messages) -> None:
    """Say what torch finds here; no candidate is involved."""
    import torch

    from trainer.probe import Probe

    device: str = work["device"]
    found = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        device = next(name for name in found if found[name])
    if not found.get(device.partition(":")[0]):
        messages.send("facts", device="", name="", memory=0, driver="", isa="", torch="", probe=0.0)
        return
    name, memory, driver = "", 0, ""
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
        driver = str(torch.version.hip or torch.version.cuda)
    messages.send(
        "facts",
        device=device,
        name=name,
        memory=memory,
        driver=driver,
        isa=torch.backends.cpu.get_cpu_capability(),
        torch=torch.__version__,
        probe=Probe(device).measure(),
    )


def command(work: Work, descriptors: list[int], messages: Messages) -> None:
    """Become a program that trains and scores itself, in a copy of its checkout.

    What it reads at fixed places below its home is linked there.
    """
    home = os.environ["HOME"]
    folder = os.path.join(home, "checkout")
    os.mkdir(folder)
    for entry in work["entries"]:
        target = os.path.join(folder, os.path.basename(entry))
        if os.path.isdir(entry):
            shutil.copytree(entry, target, symlinks=True)
        else:
            shutil.copyfile(entry, target)
    for name, source in work["program"].items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as file:
            file.write(source)
    for place, target in work["home"].items():
        if place:
            link = os.path.join(home, place)
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(target, link)
    os.chdir(folder)
    env = {**work["env"], "HOME": home, "TMPDIR": home}
    os.execve(work["argv"][0], work["argv"], env)  # noqa: S606


def rehearse() -> None:
    """In the worker: use once what every program uses, so that no child has to load it."""
    import safetensors.torch
    import torch

    layer = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(layer.parameters())
    loss = torch.nn.functional.cross_entropy(layer(torch.ones(2, 8)), torch.zeros(2).long())
    torch.autograd.backward(loss)
    optimizer.step()
    safetensors.torch.load(safetensors.torch.save(dict(layer.state_dict())))


PHASES: dict[str, Callable[[Work, list[int], Messages], None]] = {
    "calibrate": calibrate,
    "train": train,
    "serve": serve,
    "facts": facts,
    "command": command,
}
