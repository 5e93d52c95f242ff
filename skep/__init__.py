"""The vocabulary of the swarm: what a run, a record and a piece of evidence are.

Everything here is pure (no clock, no randomness, no sockets, no files) and imports nothing of the
other packages; `node`, `gossip`, `trainer` and `strategies` all build on it.
"""

__version__ = "0.1.0"
