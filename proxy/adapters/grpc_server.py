"""A gRPC server for the services by which Envoy asks: how many streams, how long a message, and how it stops.

Beside them it tells anybody by gRPC's own health check whether it is to be asked: no more, as soon as a stop begins.

This module alone imports grpc with everything that it starts, so it is imported by a worker and never before the fork.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2

from ..edge.sockets import ListenError
from .asking import may_ask
from .processing import Worker

# What a message holds beside a body: the head of the exchange and its attributes.
_BESIDE = 1 << 20
# How long a stop goes on while no call is answered, in seconds. What gRPC takes in the moment of a stop it may give to
# nobody, and would wait for until the end.
_UNANSWERED = 0.5


class Calls:
    """The calls that are answered, each within a `with`; `ending` is what is left to do for those that are gone."""

    def __init__(self) -> None:
        self.ending: set[asyncio.Task[None]] = set()
        self.none = asyncio.Event()
        self.none.set()
        self._count = 0

    def __enter__(self) -> None:
        self._count += 1
        self.none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self.none.set()


class GrpcServer:
    """A server that runs; `stop` ends it."""

    def __init__(self, server: aio.Server, checked: health.aio.HealthServicer, calls: Calls) -> None:
        self._server = server
        self._checked = checked
        self._calls = calls

    async def drain(self) -> None:
        """Tell who checks that another one is to be asked, and answer those who ask all the same."""
        await self._checked.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """Take no more at once, let what runs end for so many seconds, and cut the rest; so too when cancelled."""
        stopping = asyncio.ensure_future(self._server.stop(grace or None))
        try:
            while not stopping.done():
                await self._calls.none.wait()
                await asyncio.wait([stopping], timeout=_UNANSWERED)
                if self._calls.none.is_set():
                    break
            await self._server.stop(None)
        except asyncio.CancelledError:
            await self._server.stop(None)
            raise
        finally:
            await stopping
            if self._calls.ending:
                await asyncio.wait(self._calls.ending)


async def admit(worker: Worker, context: aio.ServicerContext[Any, Any]) -> None:
    """End the call of whoever may not ask: the same are heard as over HTTP."""
    peer = unquote(context.peer())
    kind, _, address = peer.partition(":")
    host = address.rpartition(":")[0].strip("[]")
    if kind == "unix" or (kind in ("ipv4", "ipv6") and may_ask((host,), worker.trust)):
        return
    worker.tell("error", "asker-refused", peer=host or kind, cause="it is not one of trusted_proxies")
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only a trusted proxy may ask")


async def commit(context: aio.ServicerContext[Any, Any]) -> None:
    """Tell Envoy that its call is being answered: from then on it asks no other instance instead."""
    await context.send_initial_metadata(())


async def start(
    address: str,
    service: str,
    methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]],
    *,
    most: int,
    longest: int,
    calls: Calls,
) -> GrpcServer:
    """Serve a service; a stream above `most`, or a message with a body above `longest`, is refused by a gRPC error."""
    size = longest + _BESIDE
    options: list[tuple[str, Any]] = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", size),
        # What a rule made of a body may be longer than what came.
        ("grpc.max_send_message_length", -1),
    ]
    server = aio.server(options=options, maximum_concurrent_rpcs=most)
    checked = health.aio.HealthServicer()
    # Not `Watch`: who watches would hold up a stop.
    check = grpc.unary_unary_rpc_method_handler(
        checked.Check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(service, dict(methods)),
            grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Check": check}),
        )
    )
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise ListenError(f"cannot listen on {address}")
    await server.start()
    return GrpcServer(server, checked, calls)
