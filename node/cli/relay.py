"""`skep bootstrap` and `skep join --no-train`: nodes that keep and pass on."""

from msgspec.structs import replace

from node.cli.meeting import Meeting
from node.config import Settings, load
from node.labs import read_lab

MEETING_PORT = "/ip4/0.0.0.0/tcp/4601"


async def bootstrap(meeting: Meeting | None = None, *, minutes: float | None = None) -> int:
    """Run a light node for others to meet at: no training, many connections, all records.

    It listens on port 4601 unless told otherwise, in a lab on the port of the lab's home, and
    prints the lines to give to others.

    Args:
        minutes: stop after this many minutes.
    """
    given = meeting or Meeting()
    settings = load(given.home(), {**given.flags(), "minutes": minutes, "train": False})
    if given.listen is None and read_lab(settings.home) is None:
        settings = replace(settings, listen=(MEETING_PORT,))
    return await relay_until_told(settings, wide=True)


async def relay_until_told(settings: Settings, *, wide: bool) -> int:
    """Keep and pass on until told to stop."""
    from node.cli.live import view
    from node.relay import relay

    with view() as watching:
        await relay(settings, watching.show, wide=wide)
    return 0
