"""What adapters have in common where they are served: their addresses, and how a worker starts them.

An address is bound by each worker for itself, so that every one serves every adapter. The supervisor takes it first and
does not listen: so it is known at the start whether it can be had, and which port a 0 became.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from ..edge.server import Served
from ..edge.sockets import ListenError, address_of, check_unix, reserve
from .processing import Worker

_ON_GRPC = frozenset({"ext_proc", "ext_authz"})


@dataclass(frozen=True, slots=True)
class Reserved:
    """The addresses of adapters by their names, and the sockets that keep them."""

    addresses: Mapping[str, str]
    sockets: tuple[socket.socket, ...]


def reserve_all(given: Mapping[str, str], *, workers: int, taken: bool) -> Reserved:
    """Take the addresses of adapters; raise ListenError. `taken` says that a run that is replaced may have them."""
    check_installed(given)
    addresses: dict[str, str] = {}
    sockets: list[socket.socket] = []
    for name, address in given.items():
        if not address.startswith("unix:"):
            sockets.append(reserve(address, taken=taken))
            addresses[name] = address_of(sockets[-1])
            continue
        if workers > 1:
            raise ListenError(f"cannot serve {name} on {address}: several workers cannot share a path; give host:port")
        check_unix(address)
        addresses[name] = address
    return Reserved(addresses, tuple(sockets))


def check_installed(names: Iterable[str]) -> None:
    """See that what adapters are written with is there, without importing it; raise ListenError."""
    for name in names:
        if name in _ON_GRPC and None in map(find_spec, ("grpc", "grpc_health", "envoy")):
            raise ListenError(
                f"cannot serve {name}: gRPC and Envoy's protocols are not installed: pip install '.[envoy]'"
            )


async def start_all(worker: Worker, addresses: Mapping[str, str], *, most: int) -> list[Served]:
    """Serve adapters in this process, each with at most so many connections."""
    return [
        await import_module(f".{name}", __package__).start(worker, address, most=most)
        for name, address in addresses.items()
    ]
