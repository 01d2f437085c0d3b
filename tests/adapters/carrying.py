"""Plays the cases of test files through a real proxy that asks an adapter, instead of by calling the engine.

A client of the test sends what a case sends, an upstream of the test answers what the case's `upstream` answers, and
what really arrived at both is compared with what the case expects. In between stand the proxy and the adapter, whose
worker has the rules, the clock, the store and the lookups of the case.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from proxy.edge.memory import Memory
from proxy.edge.options import Bounds, Deadlines, Trust
from proxy.engine import dialects, run
from proxy.engine.effects import Effect
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.engine.ruleset import Ruleset
from proxy.engine.target import canonical
from proxy.language.cases.content import GivenRequest, GivenUpstream
from proxy.language.cases.findings import Finding
from proxy.language.cases.messages import CaseError, make_response, write_request, write_target
from proxy.language.cases.model import Play
from proxy.language.cases.playing import Answers, Played, Playing, Stage
from proxy.language.cases.rehearsing import NotGivenError, Waiting
from proxy.observe.facts import Facts
from tests.adapters.asking import memory
from tests.wire import LOOPBACK, PATIENCE, Message, Wire

_BODYLESS = frozenset({204, 304})


class CasesWorker:
    """The worker of an adapter, with the rules, the clock and the services of whatever case is played."""

    def __init__(self) -> None:
        self.ruleset = Ruleset()
        self.limits = Limits()
        self.bounds = Bounds()
        self.deadlines = Deadlines()
        self.trust = Trust()
        self.traces = None
        self.recorder = None
        self.memory: Memory
        self.stage: Stage | None = None
        self.current: Carried | None = None
        self.owners: dict[int, tuple[Exchange, Carried]] = {}
        self.told: list[dict[str, Any]] = []

    def clock(self) -> float:
        return self.stage.now if self.stage is not None else 0.0

    def entropy(self, size: int) -> bytes:
        assert self.stage is not None
        return self.stage.entropy(size)

    async def perform(self, effect: Effect, exchange: Exchange) -> Any:
        return await self._owner(exchange).perform(effect)

    def record(self, exchange: Exchange | None, facts: Facts) -> None:
        if exchange is None:
            assert self.current is not None
            self.current.recorded(None, facts)
        else:
            self._owner(exchange).recorded(exchange, facts)

    def tell(self, level: str, event: str, **fields: Any) -> None:
        self.told.append({"level": level, "event": event, **fields})

    def refusal(self, status: int, correlation: str) -> Response:
        return dialects.answer(
            self.ruleset.dialect, status, correlation=correlation, limits=self.limits, origin="proxy"
        )

    def _owner(self, exchange: Exchange) -> Carried:
        """Give whose exchange it is: that which is moved when it is first heard of."""
        assert self.current is not None
        return self.owners.setdefault(id(exchange), (exchange, self.current))[1]


@dataclass
class _Call:
    """A call of the upstream that waits for its answer."""

    message: Message
    answered: asyncio.Future[GivenUpstream]


class Carried(Playing):
    """One exchange of a case on its way through the proxy."""

    def __init__(self, carrier: Carrier, stage: Stage, play: Play, answers: Answers) -> None:
        super().__init__(stage, play, answers)
        self.over = False
        self.rest: Waiting | None = None
        self._carrier = carrier
        self._moved = asyncio.Event()
        self._call: _Call | None = None
        self._forwarded: Request | None = None
        self._resumed: asyncio.Future[EffectFailed | None] | None = None
        self._record: asyncio.Future[tuple[Exchange | None, Facts]] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()

    async def go(self) -> None:
        """Move on to where it rests next: at the call of the auth service, at an effect, or at its end."""
        self._carrier.worker.current = self
        if self._task is None:
            self._task = asyncio.create_task(self._exchange())
        elif self._call is not None:
            call, self._call = self._call, None
            try:
                call.answered.set_result(self.answer())
            except CaseError as error:
                self.findings.append(Finding(str(error)))
                call.answered.set_result(GivenUpstream(fails="down"))
        else:
            self._resume(None)
        await self._rests()

    async def give_up(self) -> None:
        """End a wait that no other exchange will end."""
        self._carrier.worker.current = self
        self._resume(EffectFailed("the exchange that it waits for did not go on", late=True))
        await self._rests()

    async def _rests(self) -> None:
        assert self._task is not None
        waits = asyncio.create_task(self._moved.wait())
        done, _ = await asyncio.wait({waits, self._task}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        self._moved.clear()
        waits.cancel()
        if not done:
            self._task.cancel()
            raise TimeoutError(f"nothing came: {self.stage.case.name}; {self._carrier.worker.told}")
        if self._task in done:
            self.over = True
            self._task.result()

    def _resume(self, failed: EffectFailed | None) -> None:
        assert self._resumed is not None
        resumed, self._resumed, self.rest = self._resumed, None, None
        resumed.set_result(failed)

    # What is on the way

    async def perform(self, effect: Effect) -> Any:
        try:
            value = self.stage.perform(effect, self)
        except CaseError as error:
            self.findings.append(Finding(str(error)))
            raise EffectFailed("the case cannot answer") from None
        except NotGivenError as error:
            self.findings.append(Finding(error.cause))
            raise
        if not isinstance(value, Waiting):
            return value
        self.rest = value
        self._resumed = asyncio.get_running_loop().create_future()
        self._moved.set()
        failed = await self._resumed
        if failed is not None:
            raise failed
        return value.take()

    def recorded(self, exchange: Exchange | None, facts: Facts) -> None:
        if not self._record.done():
            self._record.set_result((exchange, facts))

    def called(self, message: Message) -> asyncio.Future[GivenUpstream]:
        """Take a call of the auth service; its answer comes when it is this exchange's turn."""
        answered: asyncio.Future[GivenUpstream] = asyncio.get_running_loop().create_future()
        self._call = _Call(message, answered)
        self._forwarded = self._carrier.read_request(message)
        self._arrived.set()
        self._moved.set()
        return answered

    async def _exchange(self) -> None:
        given, expect = self.begin()
        late = any(one.fails == "late" for one in self.answers.given)
        try:
            message = await self._carrier.send(given, self.stage.ruleset, late=late)
        except CaseError as error:
            self.findings.append(Finding(str(error)))
            return
        if late and message.status == 504:
            # It is the proxy's clock that ran out, perhaps before the call was seen here.
            await asyncio.wait_for(self._arrived.wait(), PATIENCE)
        exchange, facts = await asyncio.wait_for(self._record, PATIENCE)
        exchange = exchange or self._unread(facts)
        made = "proxy" if self._forwarded is None else "upstream"
        origin = exchange.response.origin if exchange.response is not None else made
        self.end(expect, exchange, self._forwarded, self._carrier.read_response(message, origin))

    def _unread(self, facts: Facts) -> Exchange:
        """Make the exchange of a request that was refused before there was one."""
        nothing = Request("GET", "/", None, Headers(), limits=self.stage.limits)
        exchange = Exchange(self.stage.ruleset, nothing, clock=self.stage.clock, entropy=bytes)
        exchange.correlation = facts.correlation or ""
        run.fault(exchange, facts.status, facts.error or "")
        return exchange


class Carrier:
    """The two ends of a proxy under test: the client before it, the upstream behind it."""

    def __init__(self, worker: CasesWorker) -> None:
        self.worker = worker
        self.port = 0  # of the upstream
        self.front = 0  # of the proxy
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self.worker.memory = memory()
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def play(self, stage: Stage) -> Played:
        """Play a whole case."""
        self.worker.stage, self.worker.ruleset = stage, stage.ruleset
        self.worker.owners.clear()
        played: list[Carried] = []
        for wait, group in stage.groups():
            stage.now += wait
            carried = [Carried(self, stage, play, answers) for play, answers in group]
            await _drive(carried)
            played += carried
        return stage.played(played)

    # The client's end

    async def send(self, given: GivenRequest, ruleset: Ruleset, *, late: bool) -> Message:
        """Send a request and read its answer."""
        self.worker.trust = Trust(proxies=tuple(ip_network(address) for address in given.through))
        method, target = write_target(given, ruleset)
        headers, content = write_request(given)
        lines = [(name, value) for _, name, value in headers.lines]
        if b"host" not in headers:
            lines.insert(0, (b"Host", b"localhost"))
        lines.append((b"X-Forwarded-For", ", ".join((given.ip, *given.through)).encode()))
        lines.append((b"X-Forwarded-Proto", given.scheme.encode()))
        if late:
            lines.append((b"X-Envoy-Upstream-Rq-Timeout-Ms", b"100"))
        if content is not None and b"content-length" not in headers:
            lines.append((b"Content-Length", b"%d" % len(content)))
        head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
        data = f"{method} {target} HTTP/1.1\r\n".encode() + head + b"\r\n" + (content or b"")
        wire = await Wire.open(self.front)
        try:
            await wire.send(_introduce((given.ip, *given.through)[-1]), data)
            return await wire.message(bodyless=method == "HEAD")
        finally:
            wire.writer.close()

    def read_response(self, message: Message, origin: str) -> Response:
        """Read an answer as it came to the client."""
        reason = message.line.split(b" ", 2)[2].decode("latin-1")
        headers = Headers(((n.lower(), n, v) for n, v in message.headers), side="response")
        return Response(message.status, headers, message.body, limits=self.worker.limits, reason=reason, origin=origin)

    # The upstream's end

    def read_request(self, message: Message) -> Request:
        """Read a request as it came to the upstream."""
        path, query = canonical(message.target)
        headers = Headers((n.lower(), n, v) for n, v in message.headers)
        return Request(
            message.method.decode(), path, query, headers, message.body, limits=self.worker.limits,
            host=(message.get("host") or b"").decode(),
        )  # fmt: skip

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            while True:
                message = await wire.message()
                carried = self.worker.current
                assert carried is not None
                given = await carried.called(message)
                if given.fails == "down":
                    break
                if given.fails is None:
                    await wire.send(_write(make_response(given, self.worker.limits), message.method))
        writer.close()


def _introduce(address: str) -> bytes:
    """Say whose connection it is, by the PROXY protocol."""
    family, ours = ("TCP6", "::1") if ":" in address else ("TCP4", LOOPBACK)
    return f"PROXY {family} {address} {ours} 1024 80\r\n".encode()


def _write(response: Response, method: bytes) -> bytes:
    """Write an answer of the auth service."""
    lines = [(name, value) for _, name, value in response.headers.lines]
    content = b"" if method == b"HEAD" or response.status in _BODYLESS else response.content or b""
    if b"content-length" not in response.headers and response.status not in _BODYLESS:
        lines.append((b"Content-Length", b"%d" % len(response.content or b"")))
    head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
    return f"HTTP/1.1 {response.status} {response.reason or 'Answer'}\r\n".encode() + head + b"\r\n" + content


async def _drive(carried: Sequence[Carried]) -> None:
    """Bring all to where they rest, then answer one after the other, as those that wait can go on."""
    for one in carried:
        await one.go()
    while resting := [one for one in carried if not one.over]:
        free = [one for one in resting if one.rest is not None and one.rest.over]
        called = [one for one in resting if one.rest is None]
        if free or called:
            await (free or called)[0].go()
        else:
            await resting[0].give_up()
