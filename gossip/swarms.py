"""Ids of the swarms that have a fixed one. Pure values; who meets whom is decided elsewhere.

Every record carries the 32-byte id of the swarm it was said in, and is signed with it. The records
of one session all carry the same: a chain is passed on as a whole or not at all.
"""

SOLO_SWARM = b"solo".ljust(32, b"\0")
"""Research without peers. Nothing of it is ever sent to anybody."""

PUBLIC_SWARM = b"public".ljust(32, b"\0")
"""The swarm that anybody may join."""
