"""Peers while they run: started beside their upstream, waited for, ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .jobs import ORDERS, ask, credentials
from .load import HOST, WrongAnswer, fetch
from .peers import Peer, Place
from .peers.peer import ROOT
from .processes import Running, memory, on_cores

PATIENCE = 30.0
_GREETING = ask("POST", ORDERS, credentials("jane"))


class NotStarted(Exception):
    """A peer ended, or does not answer."""


@dataclass(slots=True)
class Engine:
    """A peer that runs: what it took to be ready, in seconds, and what it then held, in bytes."""

    peer: Peer
    port: int
    running: Running
    ready: float
    held: dict[str, int]

    @property
    def pid(self) -> int:
        return self.running.pid


@contextmanager
def serving_upstream(cores: AbstractSet[int]) -> Iterator[int]:
    """Start the upstream on some cores; gives its port."""
    with on_cores(cores):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.upstream"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(PATIENCE)
        process.stdout.close()


def free_port() -> int:
    """Give a port that nobody has at the moment."""
    with socket.create_server((HOST, 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def serving(peer: Peer, upstream: int, cores: AbstractSet[int], folder: Path) -> Iterator[Engine]:
    """Start a peer on some cores and wait until it answers."""
    place = Place(folder, free_port(), upstream)
    command = peer.command(place)
    begun = time.perf_counter()
    running = Running(command, folder, cores)
    try:
        _wait(running, peer, place.port)
        ready = time.perf_counter() - begun
        yield Engine(peer, place.port, running, ready, memory(running.pid))
    finally:
        running.end()


@contextmanager
def serving_all(
    peers: Sequence[Peer], upstream: int, cores: AbstractSet[int], failed: dict[str, str]
) -> Iterator[list[Engine]]:
    """Start peers on the same cores, each in a folder of its own; who does not start is put into `failed`."""
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        engines = []
        for peer in peers:
            folder = top / peer.name
            folder.mkdir()
            try:
                engines.append(stack.enter_context(serving(peer, upstream, cores, folder)))
            except NotStarted as error:
                failed[peer.name] = str(error)
        yield engines


def _wait(running: Running, peer: Peer, port: int) -> None:
    until = time.perf_counter() + PATIENCE
    while time.perf_counter() < until:
        if running.ended():
            break
        try:
            if fetch(port, _GREETING).status == 200:
                return
        except (OSError, WrongAnswer):
            pass
        time.sleep(0.005)
    raise NotStarted(f"{peer.name} does not serve: {running.output().strip()}")
