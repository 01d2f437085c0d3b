"""The request that a question is about, as the proxy that asks tells of it, checked as the edge checks its own.

The asking proxy stands where the edge's socket would: what it says of the connection (who, by which scheme, to which
host) is the connection, and what the client wrote about itself is believed or not by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ..edge.head import read_request
from ..edge.origin import Peer
from ..edge.refusal import Refusal
from ..engine.message import Headers, Request
from .processing import Worker

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Original:
    """A request as it is told: its head as the client sent it, and the connection that it came by.

    `hops` are the addresses that led to the proxy, the last of them its own peer.
    """

    method: str
    path: str
    host: bytes
    scheme: str
    hops: tuple[str, ...]
    lines: Iterable[tuple[bytes, bytes]]
    version: ClassVar[tuple[int, int]] = (1, 1)
    should_close: ClassVar[bool] = False

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The header lines as the edge would have met them."""
        said = [(b"X-Forwarded-For", ", ".join(self.hops[:-1]).encode())] if len(self.hops) > 1 else []
        return [(b"Host", self.host), *said, *self.lines]

    def read(self, worker: Worker, *, upgrades: bool = False) -> Request:
        """Check it; raise Refusal or Unreadable for what must not go on. `upgrades` lets protocols be switched."""
        if self.scheme not in _PORTS:
            raise Refusal(400, "the scheme of the request is neither http nor https")
        peer = Peer(self.hops[-1], self.scheme, _PORTS[self.scheme], worker.trust)
        head = read_request(self, peer, worker.bounds, worker.trust)
        if worker.memory.short:
            raise Refusal(503, "the proxy is short of memory")
        if head.upgrade is not None and not upgrades:
            raise Refusal(400, "the upgrade is not supported")
        origin = head.origin
        return Request(
            head.method, head.path, head.query, Headers(head.lines), limits=worker.limits, scheme=origin.scheme,
            host=origin.host, ip=origin.ip, ips=origin.ips, version=head.version,
        )  # fmt: skip
