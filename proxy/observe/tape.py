"""What is kept of an exchange while it is under way, so that it can be recorded when it is over: bytes as they came and
as they went. It is bounded, never leaves the worker, and holds secrets.
"""

from __future__ import annotations

from typing import Any

from ..engine.effects import Effect
from ..engine.message import Line, Request, Response


class Caught:
    """The bytes of a body that goes by; of one that is longer than `most`, or that is `untold`, only the length."""

    __slots__ = ("_most", "_parts", "size", "untold")

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[bytes] = []
        self.size = 0
        self.untold = False

    def miss(self, size: int) -> None:
        """Note a body that another proxy keeps to itself; `size` is 0 where its length is not known."""
        self.size, self.untold = size, True

    def take(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= self._most:
            self._parts.append(data)
        else:
            self._parts.clear()

    @property
    def content(self) -> bytes | None:
        """The whole of it; None when it was too long, or untold."""
        return b"".join(self._parts) if self.size <= self._most and not self.untold else None


class Tape:
    """The four messages of an exchange, and what its rules got from outside.

    Heads that we wrote are the bytes that were written; what another proxy writes is the message that it was given. A
    content of ours that is None is the body of the other side, passed on as it came. `unheard` says that the request
    went on, and that nobody tells here what it was answered.
    """

    __slots__ = (
        "answer", "answer_content", "effects", "forwarded", "forwarded_content", "host", "http", "ips", "lines",
        "method", "reason", "received", "returned", "scheme", "status", "target", "time", "unheard", "upstream",
    )  # fmt: skip

    def __init__(self, request: Request, time: float, most: int) -> None:
        self.time = time
        self.method = request.method
        self.target = request.path, request.query
        self.scheme = request.scheme
        self.host = request.host
        self.ips = request.ips
        self.http = request.version
        self.lines: list[Line] = list(request.headers.lines)
        self.received = Caught(most)
        self.forwarded: bytes | Request | None = None
        self.forwarded_content: bytes | None = None
        self.status: int | None = None
        self.reason: str | None = None
        self.upstream: list[Line] = []
        self.returned = Caught(most)
        self.answer: bytes | Response | None = None
        self.answer_content: bytes | None = None
        self.effects: list[tuple[str, Effect, Any]] = []
        self.unheard = False

    def forward(self, head: bytes | Request, content: bytes | None) -> None:
        """Keep the request as it goes to the upstream."""
        self.forwarded, self.forwarded_content = head, content

    def hear(self, status: int, reason: str | None, lines: list[Line]) -> None:
        """Keep the head of the upstream's answer."""
        self.status, self.reason, self.upstream = status, reason, list(lines)

    def reply(self, head: bytes | Response, content: bytes | None) -> None:
        """Keep the answer as it goes to the client."""
        self.answer, self.answer_content = head, content

    def perform(self, rule: str, effect: Effect, result: Any) -> None:
        """Keep what a rule got from outside, or the EffectFailed that it got."""
        self.effects.append((rule, effect, result))
