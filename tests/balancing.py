"""HAProxy before runs of the proxy: it asks each whether it is ready, and sends requests only to those that are."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.running import PATIENCE

_CONFIGURATION = """
global
    stats socket {folder}/stats mode 600 level operator
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout check 1s
    http-reuse safe
frontend shop
    bind fd@{descriptor}
    default_backend runs
backend runs
    balance roundrobin
    option redispatch
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
    default-server check inter 100ms fall 1 rise 1
"""


class Balancer:
    """A running HAProxy that listens on `port`."""

    def __init__(self, port: int, stats: Path) -> None:
        self.port = port
        self._stats = stats

    def serving(self) -> set[str]:
        """Give the runs that get requests now."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self._stats))
            sock.sendall(b"show stat\n")
            text = b"".join(iter(lambda: sock.recv(65_536), b"")).decode()
        names, *rows = (line.split(",") for line in text.removeprefix("# ").splitlines() if line)
        name, status = names.index("svname"), names.index("status")
        return {row[name] for row in rows if row[0] == "runs" and row[name] != "BACKEND" and row[status] == "UP"}

    def until(self, *names: str) -> None:
        """Wait until these runs get requests, and no others."""
        end = time.monotonic() + PATIENCE
        while (found := self.serving()) != set(names):
            assert time.monotonic() < end, f"{found or 'none'} get requests, not {set(names)}"


@contextmanager
def balancing(folder: Path, runs: Sequence[tuple[str, int, int]]) -> Iterator[Balancer]:
    """Start HAProxy before runs, each with its name, its port and its admin port."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("HAProxy is not installed (apt-get install haproxy), so none can stand before the proxy")
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        configuration = folder / "haproxy.cfg"
        lines = [f"    server {name} 127.0.0.1:{port} port {admin}\n" for name, port, admin in runs]
        configuration.write_text(
            _CONFIGURATION.format(folder=folder, descriptor=listening.fileno()) + "".join(lines), "utf-8"
        )
        with subprocess.Popen(
            [program, "-db", "-q", "-f", str(configuration)],
            pass_fds=[listening.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                balancer = Balancer(listening.getsockname()[1], folder / "stats")
                end = time.monotonic() + PATIENCE
                while not balancer._stats.exists():
                    assert process.poll() is None, "HAProxy ended at once"
                    assert time.monotonic() < end, "HAProxy does not start"
                yield balancer
            finally:
                process.kill()
