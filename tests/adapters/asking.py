"""An Envoy of the test's own, which says on a stream what Envoy would say, or what it never should."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as messages
from google.protobuf.struct_pb2 import Struct
from grpc import aio

from proxy.adapters import ext_proc
from proxy.edge.deadlines import Wheel
from proxy.edge.gateway import Record, Tell
from proxy.edge.memory import Memory
from proxy.edge.options import Bounds, Deadlines, Trust
from proxy.edge.sockets import address_of, reserve
from proxy.edge.turn import Turn
from proxy.engine import dialects
from proxy.engine.effects import Effect
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.engine.message import Limits, Response
from proxy.engine.ruleset import Ruleset
from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.observe.facts import Facts
from proxy.observe.recorder import Recorder
from proxy.observe.trace import Traces
from tests.wire import LOOPBACK, PATIENCE

SOURCE = {"source.address": "203.0.113.9:4711"}
UPSTREAM = {"response.code_details": "via_upstream"}


def rules(text: str) -> Ruleset:
    """Compile rules, given as the list that stands in a file."""
    source = Source("rules.yaml", f"version: 1\nrules: {text}\n")
    built = build([source], Options(secrets=lambda _: None, packs=lambda _: None, targets=("ext_proc",)))
    assert built.ruleset is not None, list(built.problems)
    return built.ruleset


async def nothing_works(effect: Effect, _: Exchange) -> Any:
    raise EffectFailed(f"nothing performs {type(effect).__name__}")


def memory(cap: int = 0) -> Memory:
    """Count what is held, against a cap if there is one."""
    wheel = Wheel(Turn(asyncio.get_running_loop()))
    return Memory(wheel, cap, tell=lambda: None, relieve=lambda: None)


class PlainWorker:
    """A worker of an adapter, which keeps what is recorded and told."""

    def __init__(self, ruleset: Ruleset, *, limits: Limits | None = None) -> None:
        self.ruleset = ruleset
        self.limits = limits or Limits()
        self.bounds = Bounds()
        self.deadlines = Deadlines()
        self.trust = Trust()
        self.clock: Callable[[], float] = lambda: 1_767_225_600.0
        self.entropy = os.urandom
        self.traces: Traces | None = None
        self.recorder: Recorder | None = None
        self.memory = memory()
        self.record: Record = self._record
        self.tell: Tell = self._tell
        self.perform: Callable[[Effect, Exchange], Awaitable[Any]] = nothing_works
        self.records: list[tuple[Exchange | None, Facts]] = []
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self._recorded = asyncio.Condition()
        self._waking: set[asyncio.Task[None]] = set()

    def _record(self, exchange: Exchange | None, facts: Facts) -> None:
        self.records.append((exchange, facts))
        task = asyncio.get_running_loop().create_task(self._wake())
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    def _tell(self, level: str, event: str, **fields: Any) -> None:
        self.told.append((level, event, fields))

    def refusal(self, status: int, correlation: str) -> Response:
        return dialects.answer(
            self.ruleset.dialect, status, correlation=correlation, limits=self.limits, origin="proxy"
        )

    async def recorded(self, count: int = 1) -> Facts:
        """Wait until so many exchanges were recorded; gives the last one's facts."""
        async with self._recorded:
            await asyncio.wait_for(self._recorded.wait_for(lambda: len(self.records) >= count), PATIENCE)
        return self.records[count - 1][1]

    async def _wake(self) -> None:
        async with self._recorded:
            self._recorded.notify_all()


class Stream:
    """The stream of one exchange."""

    def __init__(self, call: aio.StreamStreamCall[Any, Any]) -> None:
        self._call = call

    async def say(self, **message: Any) -> None:
        await self._call.write(messages.ProcessingRequest(**message))

    async def head(
        self, path: str, *, method: str = "GET", ends: bool = True, holds_answers: bool = True, content_type: str = "",
        content_length: str = "", more: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Tell the head of a request."""
        told = {":method": method, ":path": path, ":authority": "shop.example", ":scheme": "https"}
        told |= {"content-type": content_type} if content_type else {}
        told |= {"content-length": content_length} if content_length else {}
        told |= more or {}
        await self.say(
            request_headers=_headers(told, ends=ends),
            attributes=attributes(SOURCE),
            protocol_config=messages.ProtocolConfiguration(response_body_mode=2 if holds_answers else 0),
        )

    async def answer(
        self, status: int = 200, *, ends: bool = True, details: str = "via_upstream", content_type: str = "",
        more: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Tell the head of an answer."""
        told = {":status": str(status)} | ({"content-type": content_type} if content_type else {})
        told |= more or {}
        why = attributes({"response.code_details": details})
        await self.say(response_headers=_headers(told, ends=ends), attributes=why)

    async def body(self, content: bytes, *, of: str = "request", ends: bool = True) -> None:
        await self.say(**{f"{of}_body": messages.HttpBody(body=content, end_of_stream=ends)})

    async def hear(self) -> Any:
        """Read the next message; None where the stream ended well."""
        message = await asyncio.wait_for(self._call.read(), PATIENCE)
        return None if message is aio.EOF else message

    async def code(self) -> grpc.StatusCode:
        """Wait for the end of the stream."""
        return await asyncio.wait_for(self._call.code(), PATIENCE)

    async def end(self) -> None:
        await self._call.done_writing()

    def cut(self) -> None:
        self._call.cancel()


def attributes(told: dict[str, str]) -> dict[str, Struct]:
    struct = Struct()
    struct.update(told)
    return {"envoy.filters.http.ext_proc": struct}


def _headers(told: dict[str, str], *, ends: bool) -> messages.HttpHeaders:
    found = messages.HttpHeaders(end_of_stream=ends)
    for name, value in told.items():
        found.headers.headers.add(key=name, raw_value=value.encode())
    return found


@asynccontextmanager
async def processing(
    worker: PlainWorker, *, most: int = 1000, host: str = LOOPBACK
) -> AsyncIterator[tuple[Callable[[], Stream], Callable[[float], Awaitable[None]]]]:
    """Serve external processing; gives what opens a stream, and what stops the server."""
    with reserve(f"{host}:0") as held:
        address = address_of(held)
        served = await ext_proc.start(worker, address, most=most)
    try:
        async with streams(address) as open_stream:
            yield open_stream, served.stop
    finally:
        await served.stop(0)


@asynccontextmanager
async def streams(address: str) -> AsyncIterator[Callable[[], Stream]]:
    """Connect to who serves external processing; gives what opens a stream."""
    async with aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        method = channel.stream_stream(
            f"/{ext_proc.SERVICE}/Process",
            request_serializer=messages.ProcessingRequest.SerializeToString,
            response_deserializer=messages.ProcessingResponse.FromString,
        )
        yield lambda: Stream(method())


def headers_of(mutation: Any) -> dict[str, list[str]]:
    """Give the headers that a mutation sets, by name."""
    found: dict[str, list[str]] = {}
    for one in mutation.set_headers:
        found.setdefault(one.header.key, []).append(one.header.raw_value.decode())
    return found
