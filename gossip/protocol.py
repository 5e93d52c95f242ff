"""The protocol of one node: events in, effects out. Sans-IO: no socket, no clock, no disk.

`handle(now, event)` is the whole of it; `wake_at` says when to call it without an event. It runs
under `gossip.driver` on a real transport and under `gossip.simulate` with a thousand of its kind,
unchanged. Feeds are `gossip.sync`'s, addresses `gossip.rendezvous`'s, who is there
`gossip.presence`'s; what is left for this file is whom to talk to, when, and about what.
"""

import random
from collections.abc import Iterable, Mapping

from gossip.addresses import Scope, may_be_told, scope_of_connection
from gossip.admission import FORGED, MALFORMED, SILENT, Admission, Standing
from gossip.answers import Archive, answer
from gossip.company import Peer
from gossip.effects import (
    Announce,
    Answered,
    Arrived,
    Ask,
    Asked,
    Dial,
    Dialled,
    Drop,
    Effect,
    Event,
    Found,
    Keep,
    Listening,
    Missing,
    Notice,
    Publish,
    Reply,
    Said,
    Unanswered,
)
from gossip.identity import peer_id
from gossip.messages import (
    ADDRESS_MAX,
    ADDRESSES_MAX,
    LASTS_MAX_S,
    Answer,
    Compare,
    Have,
    MessageError,
    Peers,
    Presence,
    Programs,
    Proof,
    Request,
    Same,
    Want,
    WantPeers,
    WantPrograms,
    pack,
    rows_of,
    unpack_answer,
    unpack_request,
)
from gossip.params import Params
from gossip.presence import Attendance
from gossip.rendezvous import Rendezvous
from gossip.replica import Replica
from gossip.sync import Sync
from gossip.texts import Shelf, Texts
from gossip.transport import Connected, Disconnected, Heard, Misbehaved, Service
from gossip.twin import Twin
from gossip.validate import RECORD, Validator
from skep.records import SignedRecord

LISTENS_MAX = 8
"""Addresses of one peer that are handed on."""

SERVICE: Mapping[type, Service] = {
    Compare: "/skep/sync/1",
    Want: "/skep/sync/1",
    Proof: "/skep/sync/1",
    Have: "/skep/sync/1",
    WantPrograms: "/skep/program/1",
    WantPeers: "/skep/peers/1",
}


class Core:
    """What a node knows of its swarm and does about it.

    Args:
        me: own public key (32 bytes).
        swarm: id of the swarm (32 bytes).
        replica: index of the records that are here.
        archive: the records behind it.
        shelf: texts of programs.
        known: bytes stored of each author.
        params: how often, how many, how much.
        instance: 8 random bytes of this start.
        now: seconds of this node's time.
        wall_ms: milliseconds since the epoch at that moment.
        seed: of all random choices.
        closed_s: no records of others are taken for so long.
        validator: checks messages; shared with the transport, so that each is checked once.
    """

    def __init__(
        self,
        *,
        me: bytes,
        swarm: bytes,
        replica: Replica,
        archive: Archive,
        shelf: Shelf,
        known: dict[bytes, int],
        params: Params,
        instance: bytes,
        now: float,
        wall_ms: int,
        seed: int,
        validator: Validator | None = None,
        closed_s: float = 0.0,
    ) -> None:
        self.me = me
        self.replica = replica
        self.instance = instance
        self.peers: dict[bytes, Peer] = {}
        self.attendance = Attendance()
        self.wall_offset_ms = wall_ms - round(now * 1000)
        self._archive = archive
        self._swarm = swarm
        self._params = params
        self._rng = random.Random(seed)  # noqa: S311 - choices, not secrets
        self.rendezvous = Rendezvous(me, params, self._rng)
        self.validator = validator or Validator(swarm)
        self.standing = Standing()
        self._now = now
        self._effects: list[Effect] = []
        self._pending: dict[int, tuple[bytes, Request]] = {}
        # Answers to another core, before this one was built anew, are none to this one.
        self._number = seed << 32
        sessions = {c.session for c in replica.chains if c.author == me}
        self._twin = Twin(instance, sessions, wall_ms)
        self._texts = Texts(swarm, shelf, self._rng)
        self._compare_at = now
        self._announce_at = now
        self._dial_at = now
        self._addresses: tuple[str, ...] = ()
        self.sync = Sync(
            swarm=swarm,
            params=params,
            replica=replica,
            validator=self.validator,
            admission=Admission(params, {me: 0, **known}, now, closed_s),
            blame=self._blame,
        )

    @property
    def wake_at(self) -> float:
        """When `handle` wants to be called next, if nothing happens before."""
        return min(self._compare_at, self._announce_at, self._dial_at, self.sync.resume_at)

    def present(self, now: float) -> Mapping[bytes, Presence]:
        """Who has announced itself lately, by author."""
        return self.attendance.present(now)

    def handle(self, now: float, event: Event) -> list[Effect]:
        """Take in an event; what is to be done about it, in order."""
        self._now = max(now, self._now)
        self._dispatch(event)
        freed = isinstance(event, Answered | Unanswered | Disconnected)
        if freed or self._now >= self.sync.resume_at:
            for waiting in self.sync.resume(self._now):
                self._ask(*waiting)
        self._keep_time()
        if self.sync.taken:
            self._take_in()
        effects, self._effects = self._effects, []
        return effects

    def _dispatch(self, event: Event) -> None:
        match event:
            case Heard():
                self._heard(event)
            case Asked():
                self._effects.append(self._reply(event))
            case Answered():
                self._answered(event)
            case Unanswered():
                self._unanswered(event)
            case Said():
                self._said(event.signed)
            case Connected():
                self._connected(event)
            case Disconnected():
                self.peers.pop(event.peer, None)
                self.sync.forget(event.peer)
                self._dial_at = min(self._dial_at, self._now + 1.0)
            case Misbehaved():
                self._blame(event.peer, MALFORMED, event.what)
            case Dialled():
                ended = self.rendezvous.reached if event.reached else self.rendezvous.failed
                ended(self._now, event.address)
                self._dial_at = self._now
            case Found():
                self.rendezvous.add(event.addresses, "found", Scope.network)
                self._dial_at = self._now
            case Listening():
                self._addresses = _tellable(event.addresses)[:ADDRESSES_MAX]
            case Missing():
                self._texts.missing = event.programs
                self._ask_for_programs()
            case _:
                pass

    # Time

    def _keep_time(self) -> None:
        if self._now >= self._compare_at:
            asked = self._rng.sample(
                sorted(self.peers), min(self._params.compare_peers, len(self.peers))
            )
            for peer in asked:
                self._ask(peer, self.sync.compare(peer))
            mean = self._params.behind_s if self.sync.behind else self._params.compare_s
            self._compare_at = self._now + mean * self._rng.uniform(0.5, 1.5)
            held_back = self.sync.deferred_until()
            if held_back is not None:
                soonest = max(held_back, self._now + self._params.behind_s)
                self._compare_at = min(self._compare_at, soonest)
            self._ask_for_programs()
        if self._now >= self._announce_at:
            self._announce()
        if self._now >= self._dial_at:
            self._look_for_peers()

    def _look_for_peers(self) -> None:
        for address in self.rendezvous.due(self._now, self.peers.keys()):
            self._effects.append(Dial(address))
        self._dial_at = float("inf")
        if len(self.peers) < self._params.degree:
            due = self.rendezvous.next_due()
            if due is not None:
                self._dial_at = max(self._now + self._params.dial_s / 4, due)

    def _announce(self) -> None:
        crowd = len(self.attendance.present(self._now))
        pause = max(self._params.presence_s, self._params.presence_per_peer_s * crowd)
        pause = min(pause, LASTS_MAX_S / 3)
        self._announce_at = self._now + pause * self._rng.uniform(0.8, 1.2)
        if self.peers:
            self._effects.append(Announce(min(round(pause * 2.5), LASTS_MAX_S)))

    # Peers come, go and misbehave

    def _connected(self, event: Connected) -> None:
        if event.peer in self.peers:
            return
        if len(self.peers) >= self._params.connections_max and not self._makes_room():
            self._effects.append(Drop(event.peer, self._params.rotate_s, "no room"))
            return
        alone = not self.peers
        self.peers[event.peer] = Peer(self._now, event.address, inbound=event.inbound)
        self._ask(event.peer, self.sync.compare(event.peer))
        self._ask(event.peer, WantPeers(self._swarm, self._addresses))
        if alone:
            self._announce_at = min(self._announce_at, self._now + 1.0)

    def _makes_room(self) -> bool:
        """Part with somebody who came by himself and has had time to find others.

        A full meeting place stays open to newcomers this way, while connections that this node
        chose itself are never given up to whoever knocks. For a rush there is some room beyond.
        """
        settled = [
            peer
            for peer, known in self.peers.items()
            if known.inbound and self._now - known.since >= self._params.rotate_s
        ]
        if settled:
            leaving = self._rng.choice(settled)
            self._effects.append(Drop(leaving, self._params.rotate_s, "room for others"))
            return True
        return len(self.peers) < 2 * self._params.connections_max

    def _blame(self, peer: bytes, points: float, why: str) -> None:
        refuse_s = self.standing.blame(self._now, peer, points)
        if refuse_s:
            self.peers.pop(peer, None)
            self.sync.forget(peer)
            self._effects.append(Drop(peer, refuse_s, why))

    # Requests

    def _ask(self, peer: bytes, request: Request | None) -> None:
        if request is None or peer not in self.peers:
            return
        self._number += 1
        self._pending[self._number] = (peer, request)
        service = SERVICE[type(request)]
        self._effects.append(Ask(peer, service, pack(request), self._number))

    def _unanswered(self, event: Unanswered) -> None:
        peer, request = self._pending.pop(event.number, (b"", None))
        if isinstance(request, Compare | Want | Proof):
            self.sync.forget(peer, request)
        elif isinstance(request, WantPrograms):
            self._texts.unanswered()
        known = self.peers.get(peer)
        if known is not None and not event.refused and known.is_silent(self._now):
            self._blame(peer, SILENT, "it does not answer")

    def _answered(self, event: Answered) -> None:
        peer, request = self._pending.pop(event.number, (b"", None))
        if request is None or peer not in self.peers:
            self._texts.unanswered()
            return
        try:
            answer = unpack_answer(event.data)
        except MessageError as error:
            self.sync.forget(peer)
            self._texts.unanswered()
            self._blame(peer, MALFORMED, str(error))
            return
        self.peers[peer].answered = self._now
        if isinstance(request, Compare | Want | Proof):
            for following in self.sync.answered(self._now, peer, request, answer):
                self._ask(peer, following)
        elif isinstance(request, WantPeers) and isinstance(answer, Peers):
            self.rendezvous.add(answer.addresses, "found", self.peers[peer].scope)
            self._look_for_peers()
        elif isinstance(request, WantPrograms) and isinstance(answer, Programs):
            self._got_programs(peer, request, answer)
        elif not isinstance(answer, Same):
            self._blame(peer, MALFORMED, "an answer to another question")

    def _reply(self, event: Asked) -> Reply:
        """The answer to a request, and how long it is to be held back; empty bytes refuse it."""
        refusal = Reply(event.number, b"")
        peer = self.peers.get(event.peer)
        if peer is None:
            return refusal
        wait = peer.wait(self._now)
        if wait is None:
            return refusal
        try:
            request = unpack_request(event.data)
        except MessageError as error:
            self._blame(event.peer, MALFORMED, str(error))
            return refusal
        if request.swarm != self._swarm or SERVICE[type(request)] != event.service:
            self._blame(event.peer, MALFORMED, "a request for another swarm or service")
            return refusal
        answer = pack(self._answer(event.peer, request))
        peer.serve(len(answer))
        return Reply(event.number, answer, wait)

    def _answer(self, peer: bytes, request: Request) -> Answer:
        match request:
            case Compare() | Want() | Proof():
                return answer(request, self.replica, self._archive)
            case Have():
                self._ask(peer, self.sync.fetch(self._now, peer, rows_of(request.rows)))
                return Same()
            case WantPrograms():
                return self._texts.answer(request)
            case WantPeers():
                return self._exchange(peer, request)

    def _exchange(self, peer: bytes, request: WantPeers) -> Peers:
        """Note where a peer can be reached, and tell it of others: those that answered this node,
        and those that have said so themselves and are here."""
        asking = self.peers[peer]
        suffix = "/p2p/" + peer_id(peer)
        scope = asking.scope
        asking.listens = tuple(
            one for one in request.addresses if one.endswith(suffix) and may_be_told(one, scope)
        )[:LISTENS_MAX]
        self.rendezvous.add(asking.listens, "found", scope)
        others = [one for key, known in self.peers.items() if key != peer for one in known.listens]
        found = list(dict.fromkeys([*_tellable(self.rendezvous.good()), *others]))
        found = [one for one in found if scope_of_connection(one) >= scope]
        return Peers(tuple(self._rng.sample(found, min(ADDRESSES_MAX, len(found)))))

    # Records

    def _heard(self, event: Heard) -> None:
        checked = self.validator.message(event.data)
        if checked.answer == "reject":
            self._blame(event.peer, FORGED if checked.forged else MALFORMED, checked.why)
        elif isinstance(checked.content, SignedRecord):
            row = self.sync.heard(self._now, checked.content)
            if row is not None and event.peer in self.peers:
                self._ask(event.peer, self.sync.fetch(self._now, event.peer, [row]))
        elif isinstance(checked.content, Presence):
            self._attend(checked.content)

    def _attend(self, presence: Presence) -> None:
        if presence.author == self.me:
            self._tell(self._twin.announced(presence.instance, presence.time))
        else:
            self.attendance.hear(self._now, self._wall_ms, presence)

    def _said(self, signed: SignedRecord) -> None:
        self._twin.own(signed.record.session)
        self.sync.own(signed)
        self._effects.append(Publish(RECORD + signed.signature + signed.body))

    def _tell(self, text: str) -> None:
        if text:
            self._effects.append(Notice(text))

    @property
    def _wall_ms(self) -> int:
        return round(self._now * 1000) + self.wall_offset_ms

    def _take_in(self) -> None:
        taken, self.sync.taken = self.sync.taken, []
        self._effects.append(Keep(tuple(taken)))
        for signed in taken:
            if signed.record.author == self.me:
                self._tell(self._twin.came_back(signed, self._wall_ms))

    # Programs

    def _ask_for_programs(self) -> None:
        asking = self._texts.request(self.peers.keys())
        if asking is not None:
            self._ask(*asking)

    def _got_programs(self, peer: bytes, request: WantPrograms, answer: Programs) -> None:
        found = self._texts.answered(request, answer)
        if found is None:
            self._blame(peer, FORGED, "a program that is not what was asked for")
        elif found:
            self._effects.append(Arrived(found))
            self._ask_for_programs()


def _tellable(addresses: Iterable[str]) -> tuple[str, ...]:
    """Those that fit a message; a long name with a peer id may not."""
    return tuple(one for one in addresses if len(one) <= ADDRESS_MAX)
