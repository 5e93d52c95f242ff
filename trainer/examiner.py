"""The examiner: a limited child in which the text of strangers is patched and parsed, never run.

    python -I -B examiner.py          with a socket to the node as descriptor 3

Deep nesting can exhaust a parser, or crash it: then this process dies and not the node. Before it
reads anything it gives up memory, CPU time, new files, new descriptors and (unless the node runs as
root) new processes.

Says {"ready": true} when it starts; then {"parent", "edits", "program"} is answered by {"source",
"fingerprint"} or {"refused": why}. Ids and fingerprints are hexadecimal.
"""

import resource
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from skep.errors import PatchError
from skep.patch import apply, check_source, fingerprint
from skep.records import Edit, program_id
from trainer import frames

CONTROL = 3
MEMORY_BYTES = 512 << 20
"""Address space; the worst program of 64 KiB that was found takes 81 MB of it."""
CPU_S = 60
"""Over its whole life; a program takes some ten milliseconds, the worst found 0.5 s."""


def limit() -> None:
    """Limits for the rest of this process's life."""
    numbers = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: CPU_S,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: CONTROL + 1,
        resource.RLIMIT_NPROC: 0,
    }
    if sys.platform == "linux":  # macOS does not hold anybody to it
        numbers[resource.RLIMIT_AS] = MEMORY_BYTES
    for which, number in numbers.items():
        resource.setrlimit(which, (number, number))


def examine(request: frames.Message) -> frames.Message:
    """What the edits make of the parent, or why they are refused."""
    try:
        source = apply(request["parent"], msgspec.convert(request["edits"], list[Edit]))
        check_source(source)
        if program_id(source).hex() != request["program"]:
            raise PatchError("the edits do not make the program that was announced")
        return {"source": source, "fingerprint": fingerprint(source).hex()}
    except (PatchError, msgspec.ValidationError) as error:
        return {"refused": str(error)}
    except Exception as error:  # whatever else such text can make a parser raise
        return {"refused": f"the program cannot be read: {type(error).__name__}"}


def main() -> None:
    node = socket.socket(fileno=CONTROL)
    limit()
    frames.send(node, {"ready": True})
    while (request := frames.receive(node)) is not None:
        frames.send(node, examine(request[0]))


if __name__ == "__main__":
    main()
