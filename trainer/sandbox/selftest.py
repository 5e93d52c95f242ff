"""Try a backend: run the escape attempts of `escape.py` inside it and read what they say."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from skep.errors import SandboxError
from trainer.sandbox import Backend, Mount

ESCAPE = Path(__file__).with_name("escape.py")
TIMEOUT_S = 20


def attempt(backend: Backend) -> dict[str, bool]:
    """What the code inside was kept from, by the names of `Guarantees`.

    Raises:
        SandboxError: it does not start here.
    """
    with (
        tempfile.NamedTemporaryFile(prefix="skep-", suffix=".secret") as secret,
        tempfile.TemporaryDirectory(prefix="skep-") as scratch,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        secret.write(b"to be hidden")
        secret.flush()
        os.chmod(secret.name, 0o666)  # noqa: S103 - so that only the sandbox can hide it
        here = Mount(ESCAPE, "/skep/escape.py")
        target = [secret.name, str(server.getsockname()[1]), str(os.getpid())]
        argv = [sys.executable, "-I", "-S", "-B", backend.path(here), *target]
        command = backend.wrap(argv, {}, [here], slot=0, scratch=Path(scratch), devices=False)
        try:
            done = subprocess.run(  # noqa: S603
                command.argv,
                env=dict(command.env),
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=TIMEOUT_S,
                check=True,
            )
            return dict(json.loads(done.stdout))
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode(errors="replace").strip().splitlines()
            why = lines[-1] if lines else f"exit status {error.returncode}"
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            why = str(error)
    raise SandboxError(f"{backend.name} does not start here: {why}")
