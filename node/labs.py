"""Labs on this machine: their homes, what `lab.json` says, and how they come and go.

Every lab is a home of its own inside the home, with a key pair of its own, so that nothing of it
can be taken for, or linked to, what this machine does elsewhere. A home with a `lab.json` takes
part in that lab and in nothing else. What a running node does about the list of members is
`node.door`'s.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gossip.disk import home_error, make_folder, sync_folder
from gossip.identity import Identity, friendly_name, parse_peer_id, peer_id
from gossip.invite import KEY_BYTES, Invite, decode_invite, is_lab_name, looks_like_invite
from gossip.wire import ID_BYTES, decode
from node.config import CONFIG_NAME
from node.home import hold, replacing
from skep.errors import ConfigError, HomeError, RecordError
from skep.records import MEMBERS_MAX, SignedRecord

LABS_FOLDER = "labs"
LAB_FILE = "lab.json"
LAB_MAX_BYTES = 1 << 20
PORTS = range(20_000, 32_000)
"""Where a lab's port is looked for: below those that systems give to outgoing connections."""

CONFIG = """\
# Settings of this lab's home; see `skep config show`. A fixed port keeps invites good.
listen = ["/ip4/0.0.0.0/tcp/{port}"]
"""


class Lab(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `lab.json` says. It holds the key: nobody but its owner may read it.

    Attributes:
        version: of the format.
        name: what people here call it; the name of its folder.
        swarm: id of its swarm (32 bytes).
        key: pre-shared key (32 bytes).
        founder: peer id of whose list counts.
        addresses: where members could be reached when the invite was made.
        members: peer ids that the founder wants to meet here; on the founder's machine only. The
            founder is one without being named.
        invited: the list of members that came with the invite, `signature + body`.
    """

    version: int = 1
    name: str
    swarm: bytes
    key: bytes
    founder: str
    addresses: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    invited: bytes = b""

    @property
    def founder_key(self) -> bytes:
        """Public key of the founder."""
        return parse_peer_id(self.founder)

    @property
    def wanted(self) -> frozenset[bytes]:
        """Public keys that the founder's list shall have."""
        return frozenset({self.founder_key, *map(parse_peer_id, self.members)})

    @property
    def invited_list(self) -> SignedRecord | None:
        """The founder's list that came with the invite."""
        return decode(self.invited) if self.invited else None


def known_labs(home: Path) -> list[str]:
    """Names of the labs of a home."""
    return sorted(path.parent.name for path in _labs(home).glob(f"[!.]*/{LAB_FILE}"))


def find_lab(home: Path, name: str) -> Path:
    """The home of a lab.

    Raises:
        ConfigError: there is no such lab here.
    """
    if is_lab_name(name) and (_labs(home) / name / LAB_FILE).exists():
        return _labs(home) / name
    known = ", ".join(known_labs(home))
    raise ConfigError(
        f"there is no lab {name[:40]!r} here",
        f"Labs here: {known}." if known else "Join one with `skep join --lab INVITE`.",
    )


def read_lab(root: Path) -> Lab | None:
    """The lab that a home belongs to; None for a home of no lab.

    Raises:
        HomeError: `lab.json` does not read back, or others can read it.
    """
    path = root / LAB_FILE
    advice = "Restore it from a backup, or leave the lab and join it again by an invite"
    try:
        content = _read_private(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise home_error(path, error) from error
    try:
        lab = msgspec.json.decode(content, type=Lab)
        sizes = (len(lab.swarm), len(lab.key), lab.version, is_lab_name(lab.name))
        if sizes != (ID_BYTES, KEY_BYTES, 1, True) or len(lab.wanted) > MEMBERS_MAX:
            raise ValueError("a field is out of its range")
        _ = lab.invited_list
    except (ValueError, ConfigError, RecordError) as error:
        raise HomeError(f"{path} does not read back ({error})", advice) from error
    return lab


def write_lab(root: Path, lab: Lab) -> None:
    """Replace `lab.json`.

    Raises:
        HomeError: it cannot be written.
    """
    with replacing(root / LAB_FILE, mode=0o600) as file:
        file.write(msgspec.json.format(msgspec.json.encode(lab), indent=1) + b"\n")


def create_lab(home: Path, name: str) -> Path:
    """Found a lab, with this machine as its only member so far; its home.

    Raises:
        ConfigError: it is no name, or there is such a lab.
        HomeError: the home cannot be written.
    """
    if not is_lab_name(name):
        raise ConfigError(
            f"{name[:40]!r} is no name for a lab",
            "A name has 1 to 32 small letters, digits, - and _, and begins with a letter or digit",
        )
    _refuse_existing(home, name)
    with _new_home(home, name) as root:
        lab = Lab(
            name=name,
            swarm=secrets.token_bytes(ID_BYTES),
            key=secrets.token_bytes(KEY_BYTES),
            founder=Identity.load(root).peer_id,
        )
        write_lab(root, lab)
    return _labs(home) / name


def enter_lab(home: Path, text: str) -> Path:
    """The home of a lab by its name, or by an invite: made, if it is the first time.

    Raises:
        ConfigError: the invite is broken, there is no such lab, or another one of that name.
        HomeError: the home cannot be written.
    """
    if not looks_like_invite(text):
        return find_lab(home, text)
    invite = decode_invite(text)
    root = _labs(home) / invite.name
    known = read_lab(root)
    if known is None:
        _refuse_existing(home, invite.name)
        with _new_home(home, invite.name) as fresh:
            write_lab(fresh, _invited(invite))
    elif (known.swarm, known.key, known.founder_key) != (invite.swarm, invite.key, invite.founder):
        raise ConfigError(
            f"another lab with the name {invite.name} is here already",
            f"`skep lab leave {invite.name}` first, or set SKEP_HOME to another folder",
        )
    else:
        new = _invited(invite)
        known_list, new_list = known.invited_list, new.invited_list
        if new_list and (known_list is None or new_list.record.time > known_list.record.time):
            change_lab(root, lambda lab: replace(lab, invited=new.invited))
        change_lab(root, lambda lab: replace(lab, addresses=new.addresses))
    return root


def leave_lab(home: Path, name: str) -> Path:
    """Put the home of a lab aside, out of sight of everything; where it is now.

    Raises:
        ConfigError: there is no such lab here.
        HomeInUse: a node runs on it.
        HomeError: the home cannot be written.
    """
    root = find_lab(home, name)
    with hold(root):
        number = 1
        while (aside := root.with_name(f".left-{name}-{number}")).exists():
            number += 1
        try:
            root.rename(aside)
            sync_folder(aside.parent)
        except OSError as error:
            raise home_error(root, error) from error
    return aside


def allow(lab: Lab, me: bytes, text: str) -> Lab:
    """The lab with one more on the founder's list.

    Args:
        lab: as it is.
        me: public key of this machine in the lab.
        text: peer id of the newcomer.

    Raises:
        ConfigError: it is no peer id, or the founder's, or this machine is not the founder's.
    """
    peer = parse_peer_id(text)
    _founder_only(lab, me, f"skep lab allow {lab.name} {text}")
    if peer == me:
        raise ConfigError(
            f"{text} is this machine, the founder of {lab.name}", "It is listed always"
        )
    if len(lab.wanted | {peer}) > MEMBERS_MAX:
        raise ConfigError(f"{lab.name} has {MEMBERS_MAX} members, and no lab can have more")
    return lab if peer in lab.wanted else replace(lab, members=(*lab.members, text))


def revoke(lab: Lab, me: bytes, text: str) -> Lab:
    """The lab with one less on the founder's list; as for `allow`.

    Raises:
        ConfigError: also where the peer is not listed.
    """
    peer = parse_peer_id(text)
    _founder_only(lab, me, f"skep lab revoke {lab.name} {text}")
    if peer == me:
        raise ConfigError(
            f"{text} is the founder of {lab.name}", "The founder cannot be taken off the list"
        )
    if peer not in lab.wanted:
        raise ConfigError(
            f"{text} ({friendly_name(peer)}) is not listed in {lab.name}",
            f"See `skep lab members {lab.name}`",
        )
    return replace(lab, members=tuple(one for one in lab.members if one != text))


def change_lab(root: Path, change: Callable[[Lab], Lab]) -> Lab:
    """Change what `lab.json` says, one change after the other; what it says now.

    Raises:
        HomeError: it cannot be read or written; it is as it was.
        SkepError: whatever `change` raises; it is as it was.
    """
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise home_error(root, error) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = read_lab(root)
        if before is None:
            raise HomeError(f"{root / LAB_FILE} is gone", "Restore it from a backup")
        after = change(before)
        if after != before:
            write_lab(root, after)
        return after
    finally:
        os.close(folder)


def _labs(home: Path) -> Path:
    """The folder of labs.

    Raises:
        ConfigError: this home is itself one of a lab.
    """
    if (home / LAB_FILE).exists():
        raise ConfigError(
            f"{home} is the home of a lab itself", "Name the lab once, or set SKEP_HOME elsewhere"
        )
    return home / LABS_FOLDER


def _refuse_existing(home: Path, name: str) -> None:
    if os.path.lexists(_labs(home) / name):
        raise ConfigError(
            f"there is a lab {name} already", f"`skep lab invite {name}` prints its invite"
        )


@contextlib.contextmanager
def _new_home(home: Path, name: str) -> Iterator[Path]:
    """The home of a new lab, with a key pair and a port; it is there whole, or not at all."""
    labs = _labs(home)
    make_folder(labs)
    fresh = labs / f".new-{name}-{secrets.token_hex(4)}"
    make_folder(fresh)
    try:
        Identity.load(fresh)
        with replacing(fresh / CONFIG_NAME) as file:
            file.write(CONFIG.format(port=_free_port()).encode())
        yield fresh
        try:
            fresh.rename(labs / name)
            sync_folder(labs)
        except OSError as error:
            raise home_error(labs / name, error) from error
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _invited(invite: Invite) -> Lab:
    return Lab(
        name=invite.name,
        swarm=invite.swarm,
        key=invite.key,
        founder=peer_id(invite.founder),
        addresses=invite.addresses,
        invited=invite.members,
    )


def _founder_only(lab: Lab, me: bytes, command: str) -> None:
    if me != lab.founder_key:
        raise ConfigError(
            f"only the founder of {lab.name} can change who belongs to it:"
            f" {friendly_name(lab.founder_key)} ({lab.founder})",
            f"There: {command}",
        )


def _free_port() -> int:
    """A port on which nobody listens now; 0, which is any, where none is found."""
    for _ in range(100):
        port = secrets.choice(PORTS)
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("", port))
            return port
    return 0


def _read_private(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise HomeError(
                f"{path} holds a key and is open to other users (mode {stat.S_IMODE(mode):04o})",
                f"If nobody has copied it: chmod 600 {path}",
            )
        return file.read(LAB_MAX_BYTES)
