"""The peers, in the order of the table. To add one: a module with a `Peer`, a line here."""

from __future__ import annotations

from . import envoy, middleware, mitmproxy, nginx, obvious, vestibule
from .peer import Peer, Place

__all__ = ["PEERS", "Peer", "Place"]
PEERS = {
    peer.name: peer
    for peer in (
        vestibule.PEER,
        vestibule.COMPILED,
        nginx.PLAIN,
        nginx.LUA,
        nginx.NJS,
        envoy.PLAIN,
        envoy.LUA,
        obvious.PEER,
        obvious.ON_UVLOOP,
        middleware.PEER,
        mitmproxy.PEER,
    )
}
