"""What an operator may set about the data plane, as plain data; whoever reads the settings fills it in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a peer may send. Sizes in bytes.

    `stream` bounds a body that passes through; bodies that rules read are bounded by the engine's Limits. `discard` is
    how much of an unread request body is swallowed to keep a connection, instead of closing it. `memory` is what the
    worker may have resident, 0 for whatever there is.
    """

    head: int = 32_768
    headers: int = 100
    target: int = 8_190
    stream: int = 16 << 30
    discard: int = 65_536
    pipelined: int = 65_536
    interim: int = 8
    connections: int = 10_000
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a client may take, in seconds.

    `header` and `body` (of a body that is collected) are for the whole; `stall` is for a peer that sends nothing
    while a body passes through, or takes hardly anything; `total` is for the exchange; `tunnel` for a tunnel without
    traffic.
    """

    header: float = 15.0
    body: float = 30.0
    idle: float = 75.0
    stall: float = 60.0
    total: float = 600.0
    tunnel: float = 3600.0
    linger: float = 2.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """The auth service: where it is, how it is spoken to, how long it may take.

    `idle` must be shorter than the upstream's own keep-alive, or requests die on connections that it just closed.
    `base` is a path that is put before every path, without a slash at its end. `authority` is the Host that is sent.
    """

    host: str
    port: int
    authority: str
    base: str = ""
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    connections: int = 256
    pending: int = 1024
    connect: float = 5.0
    first_byte: float = 60.0
    stall: float = 60.0
    idle: float = 4.0


# The upstream of a run that has none: where another proxy carries the messages, nothing is ever asked of it.
NOWHERE = Upstream(host="", port=0, authority="")


@dataclass(frozen=True, slots=True)
class Trust:
    """Which peers may speak for their clients, and the name by which we sign Via.

    `hosts` are the hosts that are served, in lower case, `*.example.com` for all below it; all where it is empty.
    """

    proxies: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    pseudonym: str = "vestibule"
    upgrades: frozenset[bytes] = field(default_factory=lambda: frozenset({b"websocket"}))
