"""The door of a lab while its node runs: whom it lets in, and what its owner is told about that.

Who belongs to a lab is a pure function of records (`skep.members`). This is what acts on it: the
gate of the mesh asks here, connections of whoever is off the list are cut here, and on the
founder's machine the list is said here whenever `lab.json` has changed. Files are `node.labs`'s.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import trio

from gossip.driver import Swarm
from gossip.identity import Identity, friendly_name, peer_id
from gossip.ledger import Ledger
from node.labs import Lab, read_lab
from skep.errors import SkepError
from skep.events import Event, Said
from skep.members import latest, listed, says_members
from skep.records import NO_TASK, Members, SignedRecord

LOOK_S = 1.0
WAITING_MAX = 64
"""Machines with the key that are told of, but not listed: whoever has it can make up any number."""

STRANGE_MAX = 3
"""Handshakes in a row that come to nothing before the key is thought to be the reason."""


class Door:
    """Who may meet this node in its lab, as long as `watch` runs.

    Args:
        home: the lab's home.
        lab: what `lab.json` says.
        identity: who this node is in the lab.
        ledger: open, of the lab's swarm.
        swarm: this node's part in it.
        emit: called with what the person watching should know.
    """

    def __init__(
        self,
        *,
        home: Path,
        lab: Lab,
        identity: Identity,
        ledger: Ledger,
        swarm: Swarm,
        emit: Callable[[Event], None],
    ) -> None:
        self._home = home
        self._lab = lab
        self._me = identity.public
        self._founds = self._me == lab.founder_key
        self._ledger = ledger
        self._swarm = swarm
        self._emit = emit
        self._lists: dict[bytes, SignedRecord] = {}
        self._latest: SignedRecord | None = None
        self._waiting: dict[bytes, None] = {}
        self._news = trio.Event()
        self._standing: bool | None = None
        self._told: set[str] = set()
        self.members: frozenset[bytes] = frozenset()
        """Public keys of those who may meet here."""
        self._take([*([lab.invited_list] if lab.invited_list else []), *self._stored()])

    def _stored(self) -> list[SignedRecord]:
        return self._ledger.said(NO_TASK, "members")

    # What the mesh asks and tells

    def admits(self, peer: bytes) -> bool:
        """The gate: whether a peer may be connected."""
        return peer in self.members

    def knocked(self, peer: bytes) -> None:
        """Somebody with the lab's key was turned away. Those who were members once are no news."""
        known = self._waiting.keys() | self._ever()
        if self._founds and peer not in known and len(self._waiting) < WAITING_MAX:
            self._waiting[peer] = None
            self._say(
                f"{peer_id(peer)} ({friendly_name(peer)}) has this lab's key and waits: "
                f"skep lab allow {self._lab.name} {peer_id(peer)}"
            )

    def heard(self, records: Iterable[SignedRecord]) -> None:
        """Records are in the ledger. The gate follows at once, and connections in a moment."""
        founder = self._lab.founder_key
        found = [one for one in records if one.record.author == founder]
        if found:
            self._take(found)

    def answer(self) -> dict[str, Any]:
        """The lab as plain JSON values."""
        return {
            "name": self._lab.name,
            "founder": self._lab.founder,
            "listed": self._me in self.members,
            "members": [peer_id(one) for one in sorted(self.members)],
            "waiting": [peer_id(one) for one in self._waiting],
        }

    # Living

    async def watch(self) -> None:
        """Follow the list, and on the founder's machine `lab.json`, for ever."""
        while True:
            self._news = trio.Event()
            if self._founds:
                self._follow_file()
            await self._part()
            if self._founds:
                await self._say_list()
            self._tell_standing()
            self._tell_strangeness()
            with trio.move_on_after(LOOK_S):
                await self._news.wait()

    def _take(self, records: Iterable[SignedRecord]) -> None:
        """Take in records of the founder, and find the list that counts."""
        founder, swarm = self._lab.founder_key, self._lab.swarm
        self._lists |= {one.id: one for one in records if says_members(one, founder, swarm)}
        forked = {
            chain.session: chain.fork.seq
            for chain in self._swarm.core.replica.chains
            if chain.author == founder and chain.fork is not None
        }
        self._latest = latest(founder, swarm, self._lists.values(), forked)
        # The founder's own wish counts here before it is said, and whatever was said before.
        self._admit(self._lab.wanted if self._founds else listed(founder, self._latest))

    def _admit(self, members: frozenset[bytes]) -> None:
        self.members = members
        for peer in members & self._waiting.keys():
            del self._waiting[peer]
        self._news.set()

    def _ever(self) -> set[bytes]:
        """Everybody who was ever listed."""
        founder = self._lab.founder_key
        return {peer for one in self._lists.values() for peer in listed(founder, one)}

    def _follow_file(self) -> None:
        """Take over what the owner has changed in `lab.json`."""
        try:
            lab = read_lab(self._home)
        except SkepError as error:
            self._say_once(f"the list of members stays as it is: {error}")
            return
        if lab is not None and lab != self._lab:
            self._lab = lab
            self._admit(lab.wanted)

    async def _part(self) -> None:
        """Cut every connection to somebody who is not, or no longer, a member."""
        transport = self._swarm.transport
        if transport is not None:
            for peer in transport.peers.keys() - self.members:
                self._say(f"{friendly_name(peer)} is no member any more: disconnected")
                await transport.drop(peer)

    async def _say_list(self) -> None:
        """Say the founder's list, if it is not what was said last."""
        if self._latest and listed(self._me, self._latest) == self.members:
            return
        after = self._latest.record.time + 1 if self._latest else 0
        try:
            signed = await self._ledger.publish(
                Members(tuple(sorted(self.members))), NO_TASK, not_before=after
            )
        except SkepError as error:
            self._say_once(f"the new list of members cannot be said: {error}")
            return
        self._take([signed])
        self._say(f"list of {self._count()} said to the lab")

    # Telling the owner

    def _tell_standing(self) -> None:
        """Say whether this machine is a member, when that is new."""
        before, self._standing = self._standing, self._me in self.members
        if self._standing == before:
            return
        if self._standing:
            what = "you are its founder" if self._founds else "this machine is one of them"
            self._say(f"{self._count()}; {what}")
            return
        mine = peer_id(self._me)
        self._say(
            "this machine was taken off the list; it goes on alone"
            if before
            else f"this machine is not listed yet; it goes on alone until it is. It is {mine}"
        )
        if not before:
            self._say(f"send the founder this line:  skep lab allow {self._lab.name} {mine}")

    def _tell_strangeness(self) -> None:
        """Say what is most likely wrong where nobody understands this node."""
        if not self._swarm.core.peers and self._swarm.no_handshakes >= STRANGE_MAX:
            self._say_once(
                "somebody answers at the lab's addresses and does not understand this machine: "
                "its key may be another one. Ask a member for the line of "
                f"`skep lab invite {self._lab.name}`"
            )

    def _count(self) -> str:
        count = len(self.members)
        return f"{count} member{'' if count == 1 else 's'}"

    def _say(self, text: str) -> None:
        self._emit(Said(f"lab      {self._lab.name}: {text}"))

    def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._say(text)
