"""Peers while they run: started beside their upstream, waited for, ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .jobs import ORDERS, ask, credentials
from .load import HOST, WrongAnswer, fetch
from .peers import Peer, Place
from .peers.peer import ROOT
from .processes import Running, memory, on_core

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
def serving_upstream(core: int) -> Iterator[int]:
    """Start the upstream on a core; gives its port."""
    with on_core(core):
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
def serving(peer: Peer, upstream: int, core: int, folder: Path, words: Sequence[str] | None = None) -> Iterator[Engine]:
    """Start a peer on a core and wait until it answers; `words` are given where its usual command does not do."""
    place = Place(folder, free_port(), upstream)
    command = peer.command(place) if words is None else [word.replace("@PORT@", str(place.port)) for word in words]
    begun = time.perf_counter()
    running = Running(command, folder, core, peer.environ)
    try:
        _wait(running, peer, place.port)
        ready = time.perf_counter() - begun
        yield Engine(peer, place.port, running, ready, memory(running.pid))
    finally:
        running.end()


@contextmanager
def serving_all(peers: Sequence[Peer], upstream: int, core: int) -> Iterator[list[Engine]]:
    """Start peers, each in a folder of its own."""
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        engines = []
        for peer in peers:
            folder = top / peer.name
            folder.mkdir()
            engines.append(stack.enter_context(serving(peer, upstream, core, folder)))
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
    raise NotStarted(f"{peer.name} does not serve: {running.output()}")
