"""The log: JSON lines, one for each exchange, written by a thread so that no sink can hold up the loop.

structlog writes all but the line of an exchange, which comes too often for a chain of processors. What may be in a line
is decided in redact.py and by the rules; here it is only written down.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from . import redact
from .access import describe

if TYPE_CHECKING:
    from ..engine.exchange import Exchange
    from .facts import Facts

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "off": 100}
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Sink:
    """Takes lines and writes them in batches from a thread of its own; more than `most` waiting lines are dropped."""

    def __init__(self, descriptor: int, *, most: int = 20_000, interval: float = 0.05) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._most = most
        self._interval = interval
        self._wake = threading.Event()
        self._closing = False
        self.dropped = 0
        # All that were ever dropped, also those that a line told of.
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def msg(self, line: bytes) -> None:
        if len(self._lines) >= self._most:
            self.dropped += 1
            self.lost += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    debug = info = warning = error = msg

    def close(self, timeout: float = 2.0) -> None:
        """Write what is waiting, for at most `timeout` seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._drain()
            if self._closing:
                self._drain()
                return
            time.sleep(self._interval)

    def _drain(self) -> None:
        while self._lines:
            size = min(len(self._lines), 512)
            batch = b"".join(self._lines.popleft() for _ in range(size))
            if self.dropped:
                lost, self.dropped = self.dropped, 0
                batch += _encode({"event": "lines-dropped", "level": "error", "count": lost}) + b"\n"
            try:
                while batch:
                    batch = batch[os.write(self._descriptor, batch) :]
            except OSError:
                # The sink is gone or full: lines are lost, requests are not.
                self.dropped += size
                self.lost += size


class _Clock:
    """Writes the time of day; what changes once a second is kept."""

    __slots__ = ("_text", "_whole")

    def __init__(self) -> None:
        self._whole = -1
        self._text = ""

    def __call__(self) -> str:
        now = time.time()
        whole = int(now)
        if whole != self._whole:
            self._whole = whole
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        return f"{self._text}.{int((now - whole) * 1000):03d}Z"


_time = _Clock()


def _line(_: Any, level: str, event: MutableMapping[str, Any]) -> bytes:
    return _encode({"time": _time(), "level": level, "event": event.pop("event"), **event}) + b"\n"


class Log:
    """The log of one process."""

    def __init__(self, sink: Any, level: str = "info") -> None:
        self.sink = sink
        self._least = LEVELS[level]
        self._pid = os.getpid()
        bound: Any = structlog.make_filtering_bound_logger(min(self._least, 50))
        self._logger: Any = bound(sink, [_line], {"pid": self._pid})

    def event(self, level: str, name: str, **fields: Any) -> None:
        """Write one line that is about no exchange."""
        if LEVELS[level] >= self._least:
            getattr(self._logger, level)(name, **{key: _safe(value) for key, value in fields.items()})

    def exchange(self, exchange: Exchange | None, facts: Facts) -> None:
        """Write the line of an exchange, and one for each note that its rules left."""
        if exchange is None:
            if self._least <= LEVELS["warning"]:
                self._logger.warning(
                    "request-refused",
                    id=facts.correlation,
                    client=facts.client,
                    status=facts.status,
                    cause=facts.error,
                    ms=round(facts.total, 2),
                )
            return
        for note in exchange.notes:
            if LEVELS[note.level] >= self._least:
                getattr(self._logger, note.level)(
                    note.kind, id=exchange.correlation, rule=note.rule, message=redact.text(note.message),
                    **({"fields": _safe(note.fields)} if note.fields else {}),
                )  # fmt: skip
        verdict = exchange.verdict
        if verdict.by == "proxy":
            level = "error" if facts.status >= 500 else "warning"
        else:
            level = "info" if facts.error is None else "warning"
        if LEVELS[level] >= self._least:
            self.sink.msg(_encode(describe(exchange, facts, _time(), level, self._pid)) + b"\n")

    def close(self) -> None:
        self.sink.close()


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return redact.text(value)
    if isinstance(value, dict):
        return {str(key): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(item) for item in value]
    return value


def open_sink(to: str) -> Sink:
    """Open stdout, stderr or a file to write to; raise OSError."""
    if to in ("stdout", "stderr"):
        return Sink(1 if to == "stdout" else 2)
    return Sink(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640))
