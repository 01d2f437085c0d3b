"""One exchange on its way through: the client's request, the rules, the upstream's answer, and back.

Everything runs in the callback that delivered the bytes; only an effect of a rule starts a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from ..engine import returns, run
from ..engine.effects import Publish, Reserve, Settle, Share
from ..engine.errors import EffectFailed, Unreadable
from ..engine.exchange import Exchange
from ..engine.message import Headers, Request, Response
from ..engine.run import Pending
from ..observe.facts import Facts
from ..observe.trace import read
from .head import RequestHead, ResponseHead, write_request, write_response
from .refusal import Refusal
from .stream import LAST_CHUNK, Tunnel, chunk
from .upstream import UpstreamConnection

if TYPE_CHECKING:
    from ..observe.tape import Tape
    from .downstream import Connection

_HELD = 65_536
# A body up to this size is copied, to be written with its head at once; a larger one would be held twice.
_COPIED = 65_536
# Effects whose end must be known, whether the client is there or not.
_KEPT_UP = (Reserve, Settle, Share, Publish)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODYLESS = frozenset({204, 304})
_WITHOUT_LENGTH = frozenset({101, 204})
Then = Callable[["Passage", Response | None], None]


class Passage:
    """The state of one exchange between a client's connection and the upstream's."""

    __slots__ = (
        "_alone", "_answer", "_asking", "_bodies", "_chunked", "_collecting", "_connection", "_discarding",
        "_gateway", "_head", "_kept_up", "_most", "_out", "_parts", "_refused", "_replied", "_request", "_returns",
        "_size", "_sized", "_started", "_streams", "_tape", "_tarries", "_task", "_tunnel", "_up", "_up_ended",
        "_up_started", "_waits", "body_done", "exchange", "facts", "finished", "keep",
    )  # fmt: skip

    def __init__(self, connection: Connection, head: RequestHead) -> None:
        self._connection = connection
        gateway = self._gateway = connection.gateway
        self._head = head
        self._started = perf_counter()
        self._up: UpstreamConnection | None = None
        self._up_started = 0.0
        self._up_ended = False
        self._asking = False
        self._tarries = False  # the request waits for more of its body before it takes a connection
        self._task: asyncio.Task[None] | None = None
        self._tunnel: Tunnel | None = None
        # Bytes of a body that wait: the request's, to be read by rules or for a connection; later the answer's.
        self._parts: list[bytes] = []
        self._size = 0
        self._bodies = 0  # what is counted against the cap on memory, for as long as the exchange lasts
        self._collecting = False  # the body that arrives now is kept for the rules
        self._discarding = False  # what is still to come of the request's body is of no use
        self._waits = False  # a rule of `after` waits for an effect
        self._streams = False  # the upstream's body goes to the client as it comes
        self._chunked = False
        self._sized = 0
        self._refused = False  # the proxy answers, perhaps after rules that wait for an effect
        self._replied = False
        self._alone = False  # the client is gone, and what the exchange owes is met without it
        self._kept_up = False  # the effect that runs is one whose end must be known
        self._returns = returns.is_reserved(head.path)
        limit = gateway.limits.body
        self._most = min(limit, returns.LONGEST) if self._returns else limit
        self._answer: Response | None = None
        self._request = b""
        self._out: list[bytes] = []
        self.body_done = head.length == 0
        self.finished = False
        self.keep = not head.close
        origin = head.origin
        self.facts = Facts(origin.ip, head.method, head.path if head.query is None else f"{head.path}?{head.query}")
        if gateway.traces is not None:
            self.facts.trace = gateway.traces.begin(head.trace)
        elif head.trace is not None:
            self.facts.trace = read(head.trace)
        request = Request(
            head.method,
            head.path,
            head.query,
            Headers(head.lines),
            limits=gateway.limits,
            scheme=origin.scheme,
            host=origin.host,
            ip=origin.ip,
            ips=origin.ips,
            version=head.version,
        )
        self.exchange: Exchange = run.begin(gateway.ruleset, request, clock=gateway.clock, entropy=gateway.entropy)
        # What is kept to be recorded; None when it is not.
        recorder = gateway.recorder
        self._tape: Tape | None = recorder.begin(request, gateway.clock()) if recorder is not None else None

    # The request

    def start(self) -> None:
        """Choose the rules and go on as far as the bytes at hand allow."""
        head = self._head
        exchange = self.exchange
        if self._returns:
            if not self._collects(head):
                self._begin()
            return
        try:
            exchange.ruleset.choose(exchange)
        except Unreadable as unreadable:
            self.refuse(unreadable.status, unreadable.cause)
            return
        except Exception as error:
            self.refuse(500, f"the rules could not be chosen: {type(error).__name__}")
            return
        if not run.needs_request(exchange) or not self._collects(head):
            self._begin()

    def _begin(self) -> None:
        """Run the rules on the request, or take up the exchange that it comes back to."""
        if self._returns:
            self._settle(returns.resume(self.exchange), Passage._reply)
        else:
            self._settle(run.before(self.exchange), Passage._forward)

    def _collects(self, head: RequestHead) -> bool:
        """Collect the request's body, which is read before anything is done; False when there is none."""
        if not head.declared:
            return False
        if (head.length or 0) > self._most or self._size > self._most:
            self.refuse(413, "the body is over the limit")
            return True
        self._collecting = True
        if self.body_done:
            self._collected()
        else:
            self._connection.resume()
            self._connection.timer.set(self._gateway.deadlines.body)
            self._ask_for_body()
        return True

    def client_data(self, data: bytes) -> None:
        """Take bytes of the request's body."""
        size = len(data)
        self.facts.received += size
        if self._tape is not None:
            self._tape.received.take(data)
        if self._refused and not self._replied:
            self._connection.pause()
            return
        if self._discarding:
            self._size += size
            if self._size > self._gateway.bounds.discard:
                self.keep = False
                self._connection.end()
            return
        up = self._up
        if up is not None:
            up.send(chunk(data) if self._head.chunked else data, last=False)
            return
        self._size += size
        self._parts.append(data)
        if self._collecting and self._size > self._most:
            self.refuse(413, "the body is over the limit")
        elif self._takes(size):
            self.refuse(503, "the proxy is short of memory")
        elif self._size > _HELD and not self._collecting:
            self._connection.pause()
            if self._tarries:
                self._ask()

    def client_end(self) -> None:
        """Take the end of the request's body."""
        self.body_done = True
        if self._discarding:
            return
        up = self._up
        if up is not None:
            up.send(LAST_CHUNK if self._head.chunked else b"", last=True)
        elif self._tarries:
            self._ask()
        elif self._collecting and not self._replied:
            self._collected()

    def client_gone(self) -> None:
        """Give up: the client hung up. What the exchange owes to others is met all the same."""
        if self.finished:
            return
        self.facts.hung_up = True
        if self._tunnel is not None:
            return
        if (self._kept_up or self.exchange.obligations is not None) and not self._replied:
            self._alone = True
            self._gateway.alone.add(self)
            if not self.body_done and self.exchange.request.content is None:
                self.refuse(400, "the client hung up within its request")
            return
        self._drop_upstream()
        self._finish()

    def client_full(self) -> None:
        if self._up is not None and self._streams:
            self._up.pause()

    def client_drained(self) -> None:
        if self._up is not None and self._streams:
            self._up.resume()

    def stalled(self) -> None:
        """End an exchange whose client does not send its body in time."""
        if not self._replied:
            self.refuse(408, "the request's body did not arrive in time")
        else:
            self.cut("the request's body did not arrive in time")

    def expire(self) -> None:
        """End an exchange that took too long."""
        if self._replied:
            self.cut("the exchange took too long")
        elif self._refused:
            self._answer_without_rules(Refusal(504, "the exchange took too long"))
        else:
            self.refuse(408 if self._collecting and not self._up_started else 504, "the exchange took too long")

    def break_off(self, error: Exception) -> None:
        """Cut an exchange that met a fault of ours; the log gets the fault's type."""
        self.cut(f"a fault of the proxy: {type(error).__name__}")

    @property
    def upgrades(self) -> bool:
        return self._head.upgrade is not None

    @property
    def collects(self) -> bool:
        return self._collecting

    def _takes(self, size: int) -> bool:
        """Count bytes of a body that is kept; say whether memory is short."""
        self._bodies += size
        return self._gateway.memory.take(size)

    def _let_go(self) -> None:
        if self._bodies:
            self._gateway.memory.give(self._bodies)
            self._bodies = 0

    def _ask_for_body(self) -> None:
        if self._head.expects and not self._size:
            self._head.expects = False
            self._connection.write(_CONTINUE)

    def _collected(self) -> None:
        self._connection.timer.clear()
        self._collecting = False
        parts, self._parts = self._parts, []
        self._size = 0
        self.exchange.request.content = parts[0] if len(parts) == 1 else b"".join(parts)
        self._begin()

    def _forward(self, answer: Response | None) -> None:
        if answer is not None:
            self._reply(answer)
            return
        owed = self.exchange.obligations
        if self._alone and (owed is None or owed.lead is None):
            self.refuse(400, "the client hung up")
            return
        head = self._head
        content = self.exchange.request.content
        if content is not None:
            framing = b"Content-Length: %d" % len(content)
            self._discarding = not self.body_done
        elif head.chunked:
            framing = b"Transfer-Encoding: chunked"
        else:
            framing = b"Content-Length: %d" % head.length if head.declared and head.length is not None else b""
        if head.expects and content is None and not self._size:
            # The upstream says whether it wants the body, the client hears it from there.
            framing += b"\r\nExpect: 100-continue"
        gateway = self._gateway
        trace = self.facts.trace
        if trace is not None:
            trace.lay(self.exchange.request.headers)
        try:
            self._request = write_request(
                self.exchange.request,
                base=gateway.upstream.base,
                authority=gateway.authority,
                via=gateway.via,
                framing=framing,
                upgrade=head.upgrade,
            )
        except Refusal as refusal:
            self.refuse(refusal.status, refusal.cause)
            return
        if self._tape is not None:
            self._tape.forward(self._request, content)
        if content is None and not self.body_done and self._size <= _HELD and not head.expects and not self.upgrades:
            # A slow client must not hold a connection to the upstream with a body that could be kept until it is whole.
            self._tarries = True
            self._connection.read_on()
            return
        self._ask()

    def _ask(self) -> None:
        self._tarries = False
        self._asking = True
        self._up_started = perf_counter()
        self._gateway.pool.ask(self)

    # Effects

    def _settle(self, result: Response | Pending | None, then: Then) -> None:
        if type(result) is Pending:
            self._task = self._gateway.loop.create_task(self._perform(result, then))
        else:
            then(self, result)  # type: ignore[arg-type]

    async def _perform(self, pending: Pending, then: Then) -> None:
        while True:
            begun = perf_counter()
            failure: EffectFailed | None = None
            value = None
            self._kept_up = isinstance(pending.effect, _KEPT_UP)
            try:
                async with asyncio.timeout(pending.budget):
                    value = await self._gateway.perform(pending.effect, self.exchange)
            except TimeoutError:
                failure = EffectFailed("the service did not answer in time", late=True)
            except EffectFailed as failed:
                failure = failed
            except Exception as error:
                failure = EffectFailed(f"the service failed: {type(error).__name__}")
            spent = perf_counter() - begun
            if self._tape is not None:
                rule = self.exchange.rule
                self._tape.perform(rule.name if rule is not None else "", pending.effect, failure or value)
            result = pending.resume(value, spent) if failure is None else pending.fail(failure, spent)
            if type(result) is not Pending:
                break
            pending = result
        self._task = None
        self._kept_up = False
        if self.finished:
            return
        try:
            then(self, result)  # type: ignore[arg-type]
            self._flush()
        except Exception as error:
            self.break_off(error)

    # The upstream

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self._asking = False
        self._up = connection
        head = self._head
        request = self.exchange.request
        connection.begin(self, request.method, head.upgrade)
        data, self._request = self._request, b""
        content = request.content
        if content is not None:
            if len(content) <= _COPIED:
                connection.send(data + content, last=True)
            else:
                connection.send(data, last=False)
                connection.send(content, last=True)
            return
        parts, self._parts = self._parts, []
        self._size = 0
        self._let_go()
        last = self.body_done
        if parts:
            data += b"".join([chunk(part) for part in parts] if head.chunked else parts)
        if head.chunked and last:
            data += LAST_CHUNK
        connection.send(data, last=last)
        if not last and not connection.full:
            self._connection.read_on()

    def upstream_interim(self, head: ResponseHead) -> None:
        if head.status == 100 and self._head.expects and not self._replied:
            self._head.expects = False
            self._connection.write(_CONTINUE)

    def upstream_head(self, head: ResponseHead) -> None:
        self.facts.upstream = (perf_counter() - self._up_started) * 1000
        if self._tape is not None:
            self._tape.hear(head.status, head.reason, head.lines)
        status = head.status
        if self.facts.trace is not None:
            self.facts.heard = status
        exchange = self.exchange
        response = Response(
            status, Headers(head.lines, side="response"), limits=self._gateway.limits, reason=head.reason
        )
        if run.needs_response(exchange, status):
            if head.length == 0:
                if exchange.request.method != "HEAD" and status not in _BODYLESS:
                    response.content = b""
            else:
                if (head.length or 0) > self._gateway.limits.body:
                    self._fail(Refusal(502, "the answer's body is over the limit"))
                    return
                self._answer = response
                self._collecting = True
                return
        self._chunked = head.length is None
        self._sized = head.length or 0
        self._after(response)

    def _after(self, response: Response) -> None:
        self._waits = True
        self._settle(run.after(self.exchange, response), Passage._reply)
        if self._waits and self._up is not None:
            self._up.pause()

    def upstream_data(self, data: bytes) -> None:
        if self._tape is not None:
            self._tape.returned.take(data)
        if self._streams:
            self._pass(data)
            return
        self._parts.append(data)
        if self._collecting:
            self._size += len(data)
            if self._size > self._gateway.limits.body:
                self._fail(Refusal(502, "the answer's body is over the limit"))
            elif self._takes(len(data)):
                self._fail(Refusal(503, "the proxy is short of memory"))

    def _pass(self, data: bytes) -> None:
        self.facts.sent += len(data)
        self._out.append(chunk(data) if self._chunked else data)

    def upstream_end(self) -> None:
        self.facts.upstream = (perf_counter() - self._up_started) * 1000
        self._up_ended = True
        self._up = None
        if self._collecting:
            self._collecting = False
            response, self._answer = self._answer, None
            if response is not None:
                parts, self._parts = self._parts, []
                response.content = parts[0] if len(parts) == 1 else b"".join(parts)
                self._after(response)
        elif self._streams:
            self._end_stream()

    def upstream_flush(self) -> None:
        self._flush()

    def upstream_failed(self, refusal: Refusal) -> None:
        self._asking = False
        self._up = None
        self._fail(refusal)

    def upstream_full(self) -> None:
        if not self.body_done:
            self._connection.pause()

    def upstream_drained(self) -> None:
        if not self.body_done:
            self._connection.read_on()

    def _fail(self, refusal: Refusal) -> None:
        if self._replied:
            self.cut(refusal.cause)
        else:
            self.refuse(refusal.status, refusal.cause)

    def _drop_upstream(self) -> None:
        if self._asking:
            self._asking = False
            self._gateway.pool.forget(self)
        up, self._up = self._up, None
        if up is not None:
            up.abort()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    # The answer

    def refuse(self, status: int, cause: str) -> None:
        """Answer for the proxy itself; nothing more goes to the upstream, and the connection ends with the answer."""
        if self.finished:
            return
        if self._replied:
            self.cut(cause)
            return
        if self._refused:
            # Its rules wait for an effect, and run once.
            return
        self._refused = True
        self._drop_upstream()
        self._collecting = self._waits = self._tarries = False
        self._answer = None
        self._parts.clear()
        self._let_go()
        self._out.clear()
        self.facts.error = cause
        if status < 500:
            self.keep = False
        then = Passage._reply_unavailable if status == 503 else Passage._reply
        self._settle(run.refuse(self.exchange, status, cause), then)
        self._flush()

    def _reply_unavailable(self, response: Response | None) -> None:
        if response is not None and response.status == 503:
            response.headers.set(b"Retry-After", b"1")
        self._reply(response)

    def _reply(self, response: Response | None) -> None:
        """Write the answer: whole when there is nothing more to come, else its head."""
        self._waits = False
        if response is None or self.finished:
            return
        self._replied = True
        if self._alone:
            self._leave_upstream()
            self.facts.status = response.status
            self._finish()
            return
        upstreams = response.origin == "upstream" and response.content is None
        streams = upstreams and (self._up is not None or self._up_ended) and (self._chunked or self._sized > 0)
        if response.status == 101:
            self._switch(response)
            return
        if not streams and self._up is not None:
            self._leave_upstream()
        self._must_close()
        bodyless = self._head.method == "HEAD" or response.status in _BODYLESS
        content = b"" if bodyless or response.content is None else response.content
        if streams:
            framing = self._stream_framing()
        elif bodyless:
            framing = self._bodyless_framing(response)
        else:
            framing = b"Content-Length: %d" % len(content)
        try:
            data = write_response(response, framing=framing, connection=self._connection_line())
        except Refusal as refusal:
            self._answer_without_rules(refusal)
            return
        self.facts.status = response.status
        if self._tape is not None:
            self._tape.reply(data, None if streams else content)
        self._out.append(data)
        if streams:
            self._begin_stream()
        else:
            if content:
                self.facts.sent += len(content)
                self._out.append(content)
            self._complete()

    def _answer_without_rules(self, refusal: Refusal) -> None:
        """Answer in place of rules that made what cannot be sent, which is not to be trusted at all, or nothing."""
        self._drop_upstream()
        self._replied = True
        self.facts.error = refusal.cause
        response = run.fault(self.exchange, refusal.status, refusal.cause)
        self.facts.status = response.status
        self.keep = False
        content = response.content or b""
        framing = b"Content-Length: %d" % len(content)
        data = write_response(response, framing=framing, connection=b"Connection: close")
        if self._tape is not None:
            self._tape.reply(data, content)
        self._out = [data, content]
        self._complete()

    def _leave_upstream(self) -> None:
        up, self._up = self._up, None
        self._parts.clear()
        if up is not None:
            up.abandon()

    def _must_close(self) -> None:
        """Decide whether the client's connection outlives this answer."""
        connection = self._connection
        if (
            self._gateway.draining
            or self._gateway.memory.short
            or (connection.ended and not connection.more)
            or self._head.upgrade is not None
        ):
            self.keep = False
        if not self.body_done:
            rest = self._head.length
            if self._up is not None or self._head.expects or rest is None or rest > self._gateway.bounds.discard:
                self.keep = False
            else:
                self._discarding = True

    def _connection_line(self) -> bytes:
        if not self.keep:
            return b"Connection: close"
        return b"Connection: keep-alive" if self._head.version == (1, 0) else b""

    def _stream_framing(self) -> bytes:
        if not self._chunked:
            return b"Content-Length: %d" % self._sized
        if self._head.version == (1, 0):
            # The end of the connection is the end of the body.
            self._chunked = False
            self.keep = False
            return b""
        return b"Transfer-Encoding: chunked"

    def _bodyless_framing(self, response: Response) -> bytes:
        if response.status in _WITHOUT_LENGTH:
            return b""
        if response.content is not None and response.status != 304:
            return b"Content-Length: %d" % len(response.content)
        length = response.headers.get(b"content-length")
        # An edited answer to a GET would have another length than the one the upstream told.
        if length is None or not length.isdigit() or run.needs_response(self.exchange, self.exchange.status):
            return b""
        return b"Content-Length: " + length

    def _begin_stream(self) -> None:
        self._streams = True
        parts, self._parts = self._parts, []
        for part in parts:
            self._pass(part)
        if self._up_ended:
            self._end_stream()
        elif self._up is not None:
            self._up.resume()

    def _end_stream(self) -> None:
        if self._chunked:
            self._out.append(LAST_CHUNK)
        self._streams = False
        self._complete()

    def _flush(self) -> None:
        if self._out:
            out, self._out = self._out, []
            self._connection.write(out[0] if len(out) == 1 else b"".join(out))

    def _complete(self) -> None:
        """End the exchange: the answer is written as a whole."""
        self._flush()
        self._finish()
        self._connection.answered(self)

    def _finish(self) -> None:
        if self.finished:
            return
        self.finished = True
        self._gateway.alone.discard(self)
        self._let_go()
        self.facts.total = (perf_counter() - self._started) * 1000
        if self.facts.trace is not None and self._up_started:
            self.facts.asked = (self._up_started - self._started) * 1000
        self._gateway.record(self.exchange, self.facts)
        tape = self._tape
        if tape is not None:
            self._tape = None
            self._gateway.end_record(tape, self.exchange, self.facts)

    def cut(self, cause: str) -> None:
        """Cut the client off: an answer that began cannot be completed, and must not look complete."""
        self.facts.error = cause
        self._drop_upstream()
        self._finish()
        self._connection.abort()

    # A tunnel

    def _switch(self, response: Response) -> None:
        up = self._up
        protocol = self._head.upgrade
        if up is None or protocol is None or response.origin != "upstream":
            self._answer_without_rules(Refusal(502, "protocols cannot be switched"))
            return
        if self._connection.late:
            self._answer_without_rules(Refusal(400, "bytes follow a request for an upgrade"))
            return
        line = b"Connection: Upgrade\r\nUpgrade: " + protocol
        try:
            data = write_response(response, framing=b"", connection=line)
        except Refusal as refusal:
            self._answer_without_rules(refusal)
            return
        self.facts.status = 101
        if self._tape is not None:
            self._tape.reply(data, b"")
        self._up = None
        self._connection.write(data)
        gateway = self._gateway
        self._tunnel = tunnel = Tunnel(
            self._connection.transport,
            up.transport,
            wheel=gateway.wheel,
            seconds=gateway.deadlines.tunnel,
            over=self._tunnel_over,
        )
        self._connection.open_tunnel(tunnel)
        up.open_tunnel(tunnel)

    def _tunnel_over(self) -> None:
        tunnel = self._tunnel
        if tunnel is not None:
            self.facts.received += tunnel.received
            self.facts.sent += tunnel.sent
        self._finish()
