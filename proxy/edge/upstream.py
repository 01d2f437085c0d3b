"""Connections to the auth service: each serves one exchange at a time, and only a clean one serves another.

A connection on which anything was left over (surplus or late bytes, an unread body, any error) is closed. A request is
never sent twice: once a byte of it may have left, whatever goes wrong is a 502 or 504.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections import deque
from typing import Any, Protocol, cast

from .deadlines import TICK, Deadline, Wheel
from .framing import Chunks, HeadEnd
from .head import ResponseHead, read_response
from .options import Bounds, Upstream
from .parsers import response_parser
from .refusal import Refusal
from .sockets import prepare
from .stream import Tunnel

_UNBOUNDED = 1 << 63
_DRAINED = 65_536
_LATE = 65_536
# Connections that are begun in one turn of the loop.
_BATCH = 16


class Caller(Protocol):
    """Who sends a request: called back in this order, and never again after `upstream_end` or `upstream_failed`."""

    def upstream_ready(self, connection: UpstreamConnection) -> None: ...
    def upstream_interim(self, head: ResponseHead) -> None: ...
    def upstream_head(self, head: ResponseHead) -> None: ...
    def upstream_data(self, data: bytes) -> None: ...
    def upstream_end(self) -> None: ...
    def upstream_flush(self) -> None: ...
    def upstream_failed(self, refusal: Refusal) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...


class _Nobody:
    """The caller of an answer that nobody reads any more, so that its connection can be kept."""

    __slots__ = ()

    def upstream_ready(self, connection: UpstreamConnection) -> None: ...
    def upstream_interim(self, head: ResponseHead) -> None: ...
    def upstream_head(self, head: ResponseHead) -> None: ...
    def upstream_data(self, data: bytes) -> None: ...
    def upstream_end(self) -> None: ...
    def upstream_flush(self) -> None: ...
    def upstream_failed(self, refusal: Refusal) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...


_nobody = _Nobody()


class UpstreamConnection(asyncio.Protocol):
    """One connection. `begin` and `send` write a request, the caller is told of the answer."""

    __slots__ = (
        "_bounds", "_caller", "_chunks", "_early", "_end", "_head", "_heard", "_interim", "_late", "_left", "_method",
        "_options", "_parser", "_paused", "_payload", "_poll", "_pool", "_sent", "_timer", "_upgrade", "closed", "full",
        "transport", "tunnel",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._options = pool.options
        self._bounds = pool.bounds
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.tunnel: Tunnel | None = None
        self.closed = False
        self._caller: Caller | None = None
        self._timer = Deadline(pool.wheel, self._expire)
        self._poll: Any = None
        self._parser: Any = None
        self._head: ResponseHead | None = None
        self._paused = False
        self._late = b""  # what came when the turn of the loop was over
        self.full = False  # it takes no more for now

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        prepare(sock)
        if sock is not None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late:
            self._catch_up()
        self.closed = True
        self._timer.close()
        if self.tunnel is not None:
            self.tunnel.close()
        caller, self._caller = self._caller, None
        self._pool.gone(self)
        if caller is not None:
            caller.upstream_failed(Refusal(502, self._cut()))

    def eof_received(self) -> bool:
        if self._late:
            self._catch_up()
        if self.tunnel is not None:
            return self.tunnel.ended(self.transport)
        caller = self._caller
        if caller is not None:
            self._caller = None
            if self._ends_with_connection():
                caller.upstream_end()
                caller.upstream_flush()
            else:
                caller.upstream_failed(Refusal(502, self._cut()))
        return False

    def pause_writing(self) -> None:
        self.full = True
        if self.tunnel is not None:
            self.tunnel.full(self.transport)
        elif self._caller is not None:
            if not self._sent:
                self._timer.set(self._options.stall)
            self._caller.upstream_full()

    def resume_writing(self) -> None:
        self.full = False
        if self.tunnel is not None:
            self.tunnel.drained(self.transport)
        elif self._caller is not None:
            if not self._sent and self._head is None:
                self._timer.clear()
            self._caller.upstream_drained()

    def data_received(self, data: bytes) -> None:
        # What nobody asked for is told at once: nothing may be waiting on a connection that is taken as clean.
        if self._late or (self._caller is not None and self._pool.turn.over() and self._can_wait(data)):
            self._put_off(data)
        else:
            self._receive(data)

    def _can_wait(self, data: bytes) -> bool:
        """Say whether bytes may be put off: not many at once, nor the middle of a body, which costs little now."""
        return len(data) <= _LATE and (self._head is None or self._chunks is not None or len(data) >= self._left)

    def _put_off(self, data: bytes) -> None:
        """Leave bytes for another turn of the loop."""
        if not self._late:
            self._pool.turn.put_off(self._catch_up)
        self._late += data
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _catch_up(self) -> None:
        late, self._late = self._late, b""
        if self.closed or not late:
            return
        if not self._paused and not self.transport.is_closing():
            self.transport.resume_reading()
        self._receive(late)

    def _receive(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.forward(self.transport, data)
            return
        caller = self._caller
        if caller is None:
            # Nobody asked: an answer too many, or garbage.
            self.abort()
            return
        self._heard = True
        try:
            self._read(data)
        except Refusal as refusal:
            self._fail(refusal)
            return
        except Exception as error:
            # A fault of ours ends this exchange, not the worker; what it says may hold bytes of a message.
            if self._caller is None or self._caller is caller:
                self.abort()
            caller.upstream_failed(Refusal(500, f"a fault of the proxy: {type(error).__name__}"))
            return
        if self._caller is caller and self._head is not None and not self._paused:
            self._timer.set(self._options.stall)
        caller.upstream_flush()

    # A request

    def clean(self) -> bool:
        """Say whether the connection may be used again: open, and nothing to read on it, not even its end."""
        return not self.closed and not self.transport.is_closing() and not (self._poll and self._poll.poll(0))

    def rest(self) -> None:
        """Wait for a request, used before or not; an upstream does not keep a connection for ever."""
        self._timer.set(self._options.idle)

    def begin(self, caller: Caller, method: str, upgrade: bytes | None) -> None:
        self._caller = caller
        self._method = method
        self._upgrade = upgrade
        self._head = None
        self._chunks: Chunks | None = None
        self._payload: Any = None
        self._left = 0
        self._interim = 0
        self._heard = self._sent = self._paused = False
        self._end = HeadEnd()
        self._early = b""
        self._parser = response_parser(self._pool.loop, self._bounds, body=method != "HEAD")

    def send(self, data: bytes, *, last: bool) -> None:
        """Write bytes of the request; after the `last` ones the upstream's time for an answer runs."""
        if data and not self.transport.is_closing():
            self.transport.write(data)
        if last:
            self._sent = True
            if self._head is None:
                self._timer.set(self._options.first_byte)
        elif self._head is None and not self.full:
            # Until the next bytes it is the client who is waited for, and the client's deadline that counts.
            self._timer.clear()

    def pause(self) -> None:
        """Stop reading: the client does not keep up, or the rules are not done with the head."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self._timer.clear()
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self._timer.set(self._options.stall)
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Let go of an answer that will not be read: swallow a short rest, otherwise close."""
        if self._caller is None:
            return
        head = self._head
        known = head is not None and head.status != 101 and not head.close and not head.chunked
        if known and self._sent and self._left <= _DRAINED:
            self._caller = _nobody
            self.resume()
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once; the caller hears nothing more."""
        self._caller = None
        self._timer.clear()
        self._pool.gone(self)
        if not self.closed:
            self.closed = True
            self.transport.abort()

    def open_tunnel(self, tunnel: Tunnel) -> None:
        """Hand the connection over to a tunnel, for good."""
        self._caller = None
        self._timer.clear()
        self.tunnel = tunnel
        if self._early:
            tunnel.forward(self.transport, self._early)
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    # An answer

    def _read(self, data: bytes) -> None:
        while data:
            if self._caller is None:
                # The answer is complete, and more came with it.
                if self.tunnel is not None:
                    self.tunnel.forward(self.transport, data)
                elif not self.closed:
                    self.abort()
                return
            if self._head is None:
                data = self._read_head(data)
            elif self._head.status == 101:
                self._early += data
                return
            elif self._chunks is not None:
                data = self._read_chunks(data, self._chunks)
            else:
                taken = data if len(data) <= self._left else data[: self._left]
                data = data[len(taken) :]
                self._left -= len(taken)
                self._caller.upstream_data(taken)
                if self._left == 0:
                    self._complete(surplus=bool(data))

    def _read_head(self, data: bytes) -> bytes:
        end = self._end.find(data)
        if self._end.size > self._bounds.head:
            raise Refusal(502, "the answer's head is too large")
        part = data if end < 0 else data[:end]
        try:
            messages, _, _ = self._parser.feed_data(part)
        except Exception:
            raise Refusal(502, "the answer is malformed") from None
        if end < 0:
            if messages:
                raise Refusal(502, "the answer is malformed")
            return b""
        if len(messages) != 1:
            raise Refusal(502, "the answer is malformed")
        message, payload = messages[0]
        head = read_response(message, self._method, self._bounds)
        rest = data[end:]
        if head.status < 200:
            self._begin_again(head)
            if head.status != 101:
                return rest
        self._head = head
        caller = cast("Caller", self._caller)
        if head.status == 101:
            caller.upstream_head(head)
            return rest
        if head.length == 0:
            caller.upstream_head(head)
            if self._caller is not None:
                self._complete(surplus=bool(rest))
            return rest
        if head.chunked:
            self._chunks = Chunks(_UNBOUNDED)
            self._payload = payload
        elif head.length is None:
            head.close = True
            self._left = _UNBOUNDED
        else:
            self._left = head.length
        caller.upstream_head(head)
        return rest

    def _begin_again(self, head: ResponseHead) -> None:
        """Go on to the next head after an interim answer (RFC 9110 section 15.2)."""
        self._interim += 1
        if self._interim > self._bounds.interim:
            raise Refusal(502, "the upstream sends interim answers without end")
        if head.status == 101:
            if self._upgrade is None or head.upgrade != self._upgrade:
                raise Refusal(502, "the upstream switches protocols without being asked")
            return
        self._end = HeadEnd()
        self._parser = response_parser(self._pool.loop, self._bounds, body=self._method != "HEAD")
        cast("Caller", self._caller).upstream_interim(head)

    def _read_chunks(self, data: bytes, chunks: Chunks) -> bytes:
        try:
            end = chunks.take(data)
        except Refusal as refusal:
            raise Refusal(502, "the answer's chunks are malformed") from refusal
        try:
            self._parser.feed_data(data if end == len(data) else data[:end])
        except Exception:
            raise Refusal(502, "the answer's chunks are malformed") from None
        content = self._payload.read_nowait()
        if self._payload.is_eof() is not chunks.done:
            raise Refusal(502, "the answer's chunks are malformed")
        rest = data[end:]
        if content:
            cast("Caller", self._caller).upstream_data(content)
        if chunks.done and self._caller is not None:
            self._complete(surplus=bool(rest))
        return rest

    def _complete(self, *, surplus: bool) -> None:
        caller = cast("Caller", self._caller)
        self._caller = None
        head = cast("ResponseHead", self._head)
        self._timer.clear()
        if self._sent and not surplus and not head.close and not self.transport.is_closing():
            if self._paused:
                self._paused = False
                self.transport.resume_reading()
            self._pool.release(self)
        else:
            self.abort()
        caller.upstream_end()

    def _ends_with_connection(self) -> bool:
        head = self._head
        return head is not None and head.length is None and not head.chunked

    def _cut(self) -> str:
        if self._head is not None:
            return "the upstream ended the connection within its answer"
        if self._heard:
            return "the upstream ended the connection within the head of its answer"
        return "the upstream ended the connection without an answer"

    def _expire(self) -> None:
        if self._late:
            # What is waited for may be here.
            self._timer.set(TICK)
        elif self._caller is None:
            self.abort()
        elif self._head is None and self._sent:
            self._fail(Refusal(504, "the upstream did not answer in time"))
        else:
            self._fail(Refusal(504, "the upstream stopped sending or taking bytes"))

    def _fail(self, refusal: Refusal) -> None:
        caller = self._caller
        self.abort()
        if caller is not None:
            caller.upstream_failed(refusal)


class Pool:
    """The connections of one worker to the upstream."""

    def __init__(
        self, options: Upstream, *, loop: asyncio.AbstractEventLoop, wheel: Wheel, bounds: Bounds | None = None
    ) -> None:
        self.options = options
        self.loop = loop
        self.wheel = wheel
        self.turn = wheel.turn
        self.bounds = bounds or Bounds()
        self._idle: deque[UpstreamConnection] = deque()
        self._open: set[UpstreamConnection] = set()
        self._connecting = 0
        self._planned = False  # more connections are begun in the next turn of the loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._lookup: asyncio.Task[list[Any]] | None = None
        # In order of arrival; a caller that gave up is taken out.
        self._waiting: deque[Caller] = deque()
        self.closed = False
        # When a connection could not be made last; how many were made and how many could not be.
        self.unreached = 0.0
        self.made = self.failed = 0

    @property
    def open(self) -> int:
        return len(self._open) + self._connecting

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def ask(self, caller: Caller) -> None:
        """Give the caller a connection, now or later, through `upstream_ready`."""
        idle = self._idle
        while idle:
            # The one that rested longest: what an upstream sends too late is found before the connection is used again.
            connection = idle.popleft()
            if connection.clean():
                caller.upstream_ready(connection)
                return
            connection.abort()
        if self.closed or len(self._waiting) >= self.options.pending:
            caller.upstream_failed(Refusal(503, "too many requests wait for the upstream"))
            return
        self._waiting.append(caller)
        self._connect_for_waiting()

    def forget(self, caller: Caller) -> None:
        """Take a caller that waits out of the queue."""
        if caller in self._waiting:
            self._waiting.remove(caller)

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection that served a whole exchange and is clean."""
        if self.closed:
            connection.abort()
        elif not self._waiting:
            connection.rest()
            self._idle.append(connection)
        elif connection.clean():
            self._waiting.popleft().upstream_ready(connection)
        else:
            connection.abort()

    def gone(self, connection: UpstreamConnection) -> None:
        """Forget a connection that is closed."""
        if connection in self._open:
            self._open.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._connect_for_waiting()

    def close(self) -> None:
        """Close what is idle now and what is busy when it has served its exchange."""
        self.closed = True
        for connection in list(self._idle):
            connection.abort()

    def abort(self) -> None:
        """Close everything at once."""
        self.closed = True
        for task in list(self._tasks):
            task.cancel()
        if self._lookup is not None:
            self._lookup.cancel()
        for connection in list(self._open):
            connection.abort()

    def _connect_for_waiting(self) -> None:
        most = max(self.options.connections, 1)
        begun = 0
        while not self._planned and not self.closed and len(self._waiting) > self._connecting and self.open < most:
            if begun == _BATCH:
                self._planned = True
                self.loop.call_soon(self._connect_more)
                return
            begun += 1
            self._connecting += 1
            task = self.loop.create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _connect_more(self) -> None:
        self._planned = False
        self._connect_for_waiting()

    async def _connect(self) -> None:
        connection: UpstreamConnection | None = None
        refusal = Refusal(502, "the upstream cannot be reached")
        try:
            async with asyncio.timeout(self.options.connect):
                connection = await self._dial()
        except TimeoutError:
            refusal = Refusal(504, "the upstream did not accept the connection in time")
        except OSError:
            pass
        finally:
            self._connecting -= 1
        if connection is None:
            self.unreached = self.loop.time()
            self.failed += 1
            # One failed attempt answers one request; those behind it get their own attempts.
            if self._waiting:
                self._waiting.popleft().upstream_failed(refusal)
            self._connect_for_waiting()
            return
        self.made += 1
        self._open.add(connection)
        if connection.closed:
            self.gone(connection)
        else:
            self.release(connection)

    async def _addresses(self) -> list[Any]:
        """Resolve the upstream's name, once for all who ask meanwhile: a dead resolver keeps one thread and no more."""
        lookup = self._lookup
        if lookup is None:
            options = self.options
            lookup = self._lookup = self.loop.create_task(
                self.loop.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
            )
            lookup.add_done_callback(self._looked_up)
        return await asyncio.shield(lookup)

    def _looked_up(self, lookup: asyncio.Task[list[Any]]) -> None:
        self._lookup = None
        if not lookup.cancelled():
            # Whoever asked may have given up.
            lookup.exception()

    async def _dial(self) -> UpstreamConnection:
        """Connect to the first address that answers, giving each its share of the time."""
        options = self.options
        loop = self.loop
        found = await self._addresses()
        deadline = loop.time() + options.connect
        failure: OSError = OSError("no address")
        for index, (family, _, _, _, address) in enumerate(found):
            share = max((deadline - loop.time()) / (len(found) - index), 0.001)
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                async with asyncio.timeout(share):
                    await loop.sock_connect(sock, address)
                    _, connection = await loop.create_connection(
                        lambda: UpstreamConnection(self),
                        sock=sock,
                        ssl=options.tls,
                        server_hostname=(options.server_name or options.host) if options.tls is not None else None,
                    )
                return connection
            except TimeoutError:
                sock.close()
                failure = TimeoutError("the address did not answer")
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError):
                    raise
                failure = error
        raise failure
