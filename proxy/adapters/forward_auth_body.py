"""Forward-auth where the proxy sends the bodies of requests too: `forwardBody` of Traefik."""

from __future__ import annotations

from ..edge.server import Served
from . import forward_auth
from .processing import Worker


async def start(worker: Worker, address: str, *, most: int) -> Served:
    """Answer the questions at an address."""
    return await forward_auth.start(worker, address, most=most, bodies=True)
