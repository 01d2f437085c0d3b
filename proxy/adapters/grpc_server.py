"""A gRPC server for the services by which Envoy asks: how many streams, how long a message, and how it stops.

This module alone imports grpc with everything that it starts, so it is imported by a worker and never before the fork.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote

import grpc
from grpc import aio

from ..edge.sockets import ListenError
from .asking import may_ask
from .processing import Worker

# What a message holds beside a body: the head of the exchange and its attributes.
_BESIDE = 1 << 20


class GrpcServer:
    """A server that runs; `stop` ends it."""

    def __init__(self, server: aio.Server, ending: Collection[asyncio.Task[None]]) -> None:
        self._server = server
        self._ending = ending

    async def stop(self, grace: float) -> None:
        """Take no more at once, let what runs end for so many seconds, and cut the rest; so too when cancelled."""
        try:
            await self._server.stop(grace or None)
        except asyncio.CancelledError:
            await self._server.stop(None)
            raise
        finally:
            if self._ending:
                await asyncio.wait(self._ending)


async def admit(worker: Worker, context: aio.ServicerContext[Any, Any]) -> None:
    """End the call of whoever may not ask: the same are heard as over HTTP."""
    peer = unquote(context.peer())
    kind, _, address = peer.partition(":")
    host = address.rpartition(":")[0].strip("[]")
    if kind == "unix" or (kind in ("ipv4", "ipv6") and may_ask((host,), worker.trust)):
        return
    worker.tell("error", "asker-refused", peer=host or kind, cause="it is not one of trusted_proxies")
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only a trusted proxy may ask")


async def start(
    address: str,
    service: str,
    methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]],
    *,
    most: int,
    longest: int,
    ending: Collection[asyncio.Task[None]] = (),
) -> GrpcServer:
    """Serve a service; a stream above `most`, or a message with a body above `longest`, is refused by a gRPC error.

    `ending` are tasks that a stop waits for: what is left to do for streams that are gone.
    """
    size = longest + _BESIDE
    options: list[tuple[str, Any]] = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", size),
        # What a rule made of a body may be longer than what came.
        ("grpc.max_send_message_length", -1),
    ]
    server = aio.server(options=options, maximum_concurrent_rpcs=most)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(methods)),))
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise ListenError(f"cannot listen on {address}")
    await server.start()
    return GrpcServer(server, ending)
