"""What the mesh costs when nothing happens, and how long a message takes when something does.

    scripts/bench/mesh.py [--peers 20] [--seconds 60] [--processes 6]

Idle: one node in a process of its own, connected to `--peers` nodes of another process; its TCP
payload, processor time and memory. Latency: `--processes` nodes, each in a process of its own and
connected to two others, each publishing 2 KiB once a second; from `publish` in one process to the
event in each of the others, by the machine's clock. Wants an otherwise idle machine; says how busy
it was. All connections are on the loopback interface.
"""

import argparse
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import trio

from gossip.mesh import open_mesh
from gossip.transport import Handler, Heard, Service, Transport

TOPIC = "/skep/1/bench/mesh"
MESSAGE_BYTES = 2048
SETTLE_S = 5.0


async def nothing(peer: bytes, request: bytes) -> bytes:
    """Refuse: nobody asks."""
    return b""


HANDLERS: Mapping[Service, Handler] = {"/skep/sync/1": nothing}


def child(*arguments: str) -> "subprocess.Popen[str]":
    """A process of this script that talks in lines."""
    command = [sys.executable, __file__, *arguments]
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )


async def opened(stack: AsyncExitStack) -> Transport:
    """A node of this process."""
    return await stack.enter_async_context(
        open_mesh(
            seed=os.urandom(32),
            topic=TOPIC,
            handlers=HANDLERS,
            listen=["/ip4/127.0.0.1/tcp/0"],
        )
    )


def payload(node: Any) -> int:
    """Bytes that its connections have carried so far, both ways, as TCP counts them."""
    total = 0
    for conn in node._host.swarm.get_connections():
        sock = conn.muxed_conn.secured_conn.conn.read_writer.read_write_closer.stream.stream.socket
        report = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        total += sum(struct.unpack_from("QQ", report, 120))
    return total


async def be_measured(seconds: float) -> None:
    """Print what a node costs while its peers are connected and say nothing."""
    async with AsyncExitStack() as stack:
        node = await opened(stack)
        print(node.addresses[0], flush=True)
        peers = int(sys.stdin.readline())
        while len(node.peers) < peers:  # noqa: ASYNC110
            await trio.sleep(0.1)
        await trio.sleep(SETTLE_S)
        before, began = payload(node), time.process_time()
        await trio.sleep(seconds)
        spent = time.process_time() - began
        rate = (payload(node) - before) / seconds
        memory = psutil.Process().memory_info().rss / 2**20
        print(f"{rate:.0f} B/s, {100 * spent / seconds:.2f} % of a core, {memory:.0f} MiB")


async def be_peers(count: int) -> None:
    """Nodes that connect to an address and stay."""
    async with AsyncExitStack() as stack:
        address = sys.stdin.readline().strip()
        for _ in range(count):
            await (await opened(stack)).dial(address)
        print("connected", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)


async def speak(seconds: float) -> None:
    """Publish once a second, and print how old what comes from others is."""
    ages = []
    async with AsyncExitStack() as stack:
        node = await opened(stack)
        print(node.addresses[0], flush=True)
        for address in sys.stdin.readline().split():
            await node.dial(address)

        async def listen() -> None:
            async for event in node.events:
                if isinstance(event, Heard):
                    age = time.time() - struct.unpack_from("d", event.data)[0]
                    ages.append(age)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.sleep(SETTLE_S)
            for _ in range(int(seconds)):
                stamp = struct.pack("d", time.time())
                await node.publish(stamp + os.urandom(MESSAGE_BYTES - len(stamp)))
                await trio.sleep(1)
            await trio.sleep(SETTLE_S)
            nursery.cancel_scope.cancel()
    print(" ".join(f"{age:.6f}" for age in ages))


def tell(process: "subprocess.Popen[str]", text: str) -> None:
    """Send a line to a child."""
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def told(process: "subprocess.Popen[str]") -> str:
    """The next line of a child."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def idle(peers: int, seconds: float) -> None:
    """Measure a node at rest."""
    with child("measured", str(seconds)) as node, child("peers", str(peers)) as others:
        tell(others, told(node))
        tell(node, str(peers))
        print(f"idle with {peers} peers: {told(node)}")
        tell(others, "enough")


def latency(processes: int, seconds: float) -> None:
    """Measure messages between processes in a ring."""
    nodes = [child("speak", str(seconds)) for _ in range(processes)]
    addresses = [told(node) for node in nodes]
    for number, node in enumerate(nodes):
        tell(node, addresses[(number + 1) % processes])
    ages = sorted(float(age) for node in nodes for age in told(node).split())
    for node in nodes:
        node.wait()
    expected = processes * (processes - 1) * int(seconds)
    cuts = statistics.quantiles(ages, n=100)
    print(
        f"{processes} processes: {len(ages)} of {expected} deliveries, "
        f"p50 {1000 * cuts[49]:.1f} ms, p99 {1000 * cuts[98]:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=6)
    arguments = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}")
    idle(arguments.peers, arguments.seconds)
    latency(arguments.processes, arguments.seconds)
    print(f"load after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    role, *values = sys.argv[1:] or [""]
    if role == "measured":
        trio.run(be_measured, float(values[0]))
    elif role == "peers":
        trio.run(be_peers, int(values[0]))
    elif role == "speak":
        trio.run(speak, float(values[0]))
    else:
        main()
