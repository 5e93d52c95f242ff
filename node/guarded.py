"""What of this machine a model's words must not carry: the names and paths that it has here.

Keys are not read for that: a model is never told any. The search itself is `skep.secrets`.
"""

import contextlib
import getpass
import socket
from pathlib import Path

from node.config import Settings
from skep.secrets import Scanner, Secret


def scanner_of(settings: Settings, *, public: str) -> Scanner:
    """Looks for this machine's names and paths.

    Args:
        settings: of the home.
        public: texts whose words are no secrets, e.g. the user's program.md.
    """
    found = [
        Secret("the path of the home", "path", str(settings.home)),
        Secret("the path of your home folder", "path", str(Path.home())),
        Secret("the name of this machine", "name", socket.gethostname()),
    ]
    # Containers may have a user without a name, which cannot be said either.
    with contextlib.suppress(KeyError, OSError):
        found.append(Secret("your user name", "name", getpass.getuser()))
    if settings.openai_key_file:
        path = str(settings.openai_key_file)
        found.append(Secret("the path of the key file", "path", path))
    return Scanner(found, public)
