"""A lab as its home knows it, read beside a running node or without one: its list, its invite.

Nothing here changes anything. The same fold as in a running node finds the list that counts.
"""

import contextlib
from pathlib import Path

from gossip.addresses import listenable, multiaddr, parse_address
from gossip.identity import Identity, peer_id
from gossip.invite import ADDRESSES_MAX, VERSION, Invite
from gossip.mesh.addresses import reachable
from gossip.remembered import remembered_peers
from gossip.store import Reader
from gossip.view import LedgerView
from node.config import load
from node.home import Home
from node.labs import Lab, read_lab
from skep.errors import ConfigError
from skep.members import forks, latest
from skep.records import NO_TASK, SignedRecord


def lab_of(root: Path) -> Lab:
    """What `lab.json` of a lab's home says.

    Raises:
        ConfigError: it is no lab's home.
        HomeError: it does not read back.
    """
    lab = read_lab(root)
    if lab is None:
        raise ConfigError(f"{root} is not the home of a lab", "See `skep lab list`")
    return lab


def latest_list(root: Path, lab: Lab) -> SignedRecord | None:
    """The list of members that counts, as far as this home knows.

    Raises:
        HomeError: the ledger does not read back.
    """
    with contextlib.closing(Reader.open(Home(root).database)) as reader:
        view = LedgerView(reader)
        founder = lab.founder_key
        places = (
            (one.session, one.seq, one.id)
            for one in view.positions(lab.swarm)
            if one.author == founder
        )
        known = view.said(NO_TASK, "members")
        if lab.invited_list:
            known.append(lab.invited_list)
        return latest(founder, lab.swarm, known, forks(places))


def invite_of(root: Path) -> Invite:
    """What a newcomer needs, as this home knows it now.

    Raises:
        ConfigError: it is no lab's home, or its settings make no sense.
        HomeError: it does not read back.
    """
    lab = lab_of(root)
    found = latest_list(root, lab)
    ways = [*own_addresses(root), *lab.addresses, *remembered_peers(root)]
    return Invite(
        version=VERSION,
        name=lab.name,
        swarm=lab.swarm,
        key=lab.key,
        founder=lab.founder_key,
        addresses=tuple(dict.fromkeys(ways))[:ADDRESSES_MAX],
        members=found.signature + found.body if found else b"",
    )


def own_addresses(root: Path) -> list[str]:
    """Where the node of a home can be reached, by its settings: what is announced, else what it
    listens on. A port that is drawn anew at each start cannot be told.

    Raises:
        ConfigError: the settings make no sense.
        HomeError: the key does not read back.
    """
    settings = load(root)
    me = Identity.load(root).public
    if settings.announce:
        bare = (address.partition("/p2p/")[0] for address in settings.announce)
        named = [f"{address}/p2p/{peer_id(me)}" for address in bare]
        for address in named:
            parse_address(address)
        return named
    bound = [listenable(address) for address in settings.listen]
    return [multiaddr(place, me) for place in reachable([one for one in bound if one.port])]
