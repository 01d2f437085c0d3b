"""A `vestibule run` of its own process for a test: started, waited for by its own words, ended with the test."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from tests import nursery

ROOT = Path(__file__).resolve().parents[1]
# Only a test that fails waits so long: a start takes a second of the processor, and many on a machine that is busy.
PATIENCE = 60.0
PROGRAM = (sys.executable, "-m", "proxy")


class Process(Protocol):
    """A command that runs, however it was started: what `subprocess.Popen` has."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    @property
    def stdout(self) -> IO[str] | None: ...
    @property
    def stderr(self) -> IO[str] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[str, str]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None, /
    ) -> None: ...


class Lines:
    """The lines of a stream, read by a thread of its own as they come."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream is not None
        self._stream = stream
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self._queue.put(line)
        self._queue.put("")

    def next(self, what: str) -> str:
        """Give the next line, or fail after a while."""
        try:
            line = self._queue.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"waited in vain for {what}") from None
        assert line, f"the process ended while the test waited for {what}"
        return line

    def rest(self) -> str:
        """Give what is left, after the end of the process."""
        self._thread.join(PATIENCE)
        found = []
        while not self._queue.empty():
            found.append(self._queue.get())
        return "".join(found)


@dataclass(slots=True)
class Answer:
    """An answer as it came; `cookies` are its Set-Cookie lines, which `headers` has the last of."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Proxy:
    """A running proxy; `raw` are the lines of its log, `pending` those that may still be waited for."""

    process: Process
    out: Lines
    err: Lines
    address: str = ""
    upstream: str = ""
    greeting: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def admin(self) -> str:
        """Give the address of the admin port."""
        return self.greeted("admin")

    def greeted(self, what: str) -> str:
        """Give the address that the greeting tells of something."""
        [line] = [line for line in self.greeting if line.startswith(f"  {what} ")]
        return line.split()[-1]

    def event(self, name: str, *, keep: bool = False, **fields: Any) -> dict[str, Any]:
        """Wait for a line of the log, from the first one that was not waited for.

        The lines before it are waited for no more, unless `keep`: what several processes say of their starts has no
        order.
        """
        end, seen = time.monotonic() + PATIENCE, 0
        # Under load there are many lines, and few that are waited for.
        mark = f'"event":"{name}"'
        while True:
            for index, line in enumerate(self.pending[seen:], seen):
                if mark in line:
                    event: dict[str, Any] = json.loads(line)
                    if event["event"] == name and all(event.get(key) == value for key, value in fields.items()):
                        del self.pending[index if keep else 0 : index + 1]
                        return event
            seen = len(self.pending)
            wanted = f"{name} {fields or ''}".rstrip()
            assert time.monotonic() < end, (
                f"waited in vain for {wanted} among other lines; the last are {self.raw[-5:]}"
            )
            self._read(wanted)

    def _read(self, wanted: str) -> None:
        line = self.out.next(f"{wanted} in the log; the last lines are {self.raw[-5:]}")
        self.raw.append(line)
        self.pending.append(line)

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Make a call on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            data = None if body is None else json.dumps(body).encode()
            given = {**({"Content-Type": "application/json"} if data else {}), **(headers or {})}
            connection.request(method, path, data, given)
            response = connection.getresponse()
            cookies = response.headers.get_all("Set-Cookie") or []
            return Answer(response.status, dict(response.getheaders()), response.read(), cookies)
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def rest(self) -> str:
        """Give the whole log, after the end."""
        return "".join(self.raw) + self.out.rest()


def command(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    under: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
) -> Process:
    """Start the command line, or the command `under` which it is to run; `program` is another installation of it."""
    given = [str(word) for word in words]
    whole = {**os.environ, "NO_COLOR": "1", **(env or {})}
    if not under and program is PROGRAM and "LD_PRELOAD" not in whole:
        return nursery.start(given, cwd, whole)
    return subprocess.Popen(
        [*under, *program, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=cwd,
        env=whole,
    )


def run_command(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    program: Sequence[str] = PROGRAM,
) -> tuple[int, str, str]:
    """Run the command line to its end; gives the exit code and what it wrote."""
    with command(*words, env=env, cwd=cwd, program=program) as process:
        out, err = process.communicate(timeout=60)
        return process.wait(), out, err


@contextmanager
def running(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    under: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
    command_name: str = "run",
    listens: bool = True,
) -> Iterator[Proxy]:
    """Start a proxy on a free port and wait until it is ready; without `listens` it serves adapters alone."""
    flags = (command_name, *(("--listen", "127.0.0.1:0") if listens else ()), *words)
    with command(*flags, env=env, cwd=cwd, under=under, program=program) as process:
        try:
            proxy = Proxy(process, Lines(process.stdout), Lines(process.stderr))
            while (listens and not proxy.address) or not proxy.greeting or not proxy.greeting[-1].startswith("  rules"):
                line = proxy.err.next("the greeting")
                proxy.greeting.append(line.rstrip())
                if found := re.match(r"  listening on  (\S+)", line):
                    proxy.address = found[1]
                if found := re.match(r"  upstream      (\S+)", line):
                    proxy.upstream = found[1]
            proxy.event("ready", keep=True)
            yield proxy
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; wait a while for it."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], PATIENCE)[0])
    finally:
        os.close(process)
