"""Client connections: requests in, one after the other, answers out in the same order.

What is not a request that HTTP allows is answered here, with nothing of it in the answer or the log, and the connection
ends with that answer.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from ..engine.errors import Unreadable
from ..observe.facts import Facts
from .deadlines import TICK, Deadline
from .framing import Chunks, HeadEnd
from .gateway import Gateway
from .head import RequestHead, read_request, refusal_of, write_response
from .origin import Peer
from .parsers import request_parser
from .passage import Passage
from .refusal import Refusal
from .sockets import prepare, reset, unread, untaken
from .stream import Tunnel

_CHUNK = 32
# What a client must take of an answer in each `stall`; by crumbs it could hold the upstream's connection very long.
_TAKEN = 16_384
# How long, in a stop, a connection without a request is waited for, in seconds.
FRESH = 1.0


class Connection(asyncio.Protocol):
    """One client's connection. `idle` while no request is under way."""

    __slots__ = (
        "_born", "_chunks", "_end", "_feeding", "_full", "_held", "_late", "_left", "_line", "_line_done",
        "_linger", "_parser", "_passage", "_paused", "_payload", "_peer", "_rest", "_total", "_untaken", "closed",
        "ended", "gateway", "more", "timer", "transport", "tunnel",
    )  # fmt: skip

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.tunnel: Tunnel | None = None
        self.closed = False
        self.ended = False  # the client has sent its last byte
        # When it was made; None from its first request on.
        self._born: float | None = gateway.loop.time()
        self._passage: Passage | None = None
        self._chunks: Chunks | None = None
        self._left = 0
        self._payload: Any = None
        self._parser: Any = None
        self._rest = b""  # what came after the request that is under way
        self._late = b""  # what came when the turn of the loop was over
        self.more = False  # further requests came with the one that is under way
        # How much of an answer waited for the client when it was last looked at.
        self._untaken: int | None = None
        self._feeding = False
        self._paused = False
        self._held = False  # the rest is long enough
        self._full = False
        self._linger = False
        self._line = 0
        self._line_done = False
        self.timer = Deadline(gateway.wheel, self._expire)
        self._total = Deadline(gateway.wheel, self._expire_total)

    @property
    def late(self) -> bool:
        """Say whether bytes were put off."""
        return bool(self._late)

    @property
    def idle(self) -> bool:
        return self._passage is None and self._parser is None and not (self._rest or self._late)

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        gateway = self.gateway
        prepare(transport.get_extra_info("socket"))
        peer = transport.get_extra_info("peername") or ("",)
        local = transport.get_extra_info("sockname") or ("", 0)
        scheme = "https" if transport.get_extra_info("sslcontext") is not None else "http"
        port = local[1] if isinstance(local, tuple) else 0
        self._peer = Peer(peer[0] if isinstance(peer, tuple) else "", scheme, port, gateway.trust)
        gateway.opening.discard(self)
        gateway.connections.add(self)
        many = len(gateway.connections) + len(gateway.opening) > gateway.bounds.connections
        if many and not gateway.make_room():
            self._refuse(Refusal(503, "there are too many connections"))
            return
        gateway.resting[self] = None
        self.timer.set(gateway.deadlines.header)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._late:
            self._take_late()
        self.gateway.connections.discard(self)
        self.gateway.resting.pop(self, None)
        self.timer.close()
        self._total.close()
        if self.tunnel is not None:
            self.tunnel.close()
        passage, self._passage = self._passage, None
        if passage is None:
            return
        if self.gateway.turn.over():
            self.gateway.turn.put_off(passage.client_gone)
        else:
            passage.client_gone()

    def eof_received(self) -> bool:
        self.ended = True
        if self.tunnel is not None:
            return self.tunnel.ended(self.transport)
        if self._late:
            self._catch_up()
        # TLS cannot be half closed here.
        if self._linger or not self.transport.can_write_eof():
            return False
        # Thousands may leave at once, and to close a connection costs much more than to hear of its end.
        self.gateway.turn.put_off(self._end_after_last)
        return True

    def _ends_within(self) -> bool:
        """Refuse a request of which the client, who has ended, can send no more; say whether there was one."""
        passage = self._passage
        if passage is not None:
            if passage.body_done or passage.finished:
                return False
            passage.refuse(400, "the client ended the connection within its request")
            return True
        if self._parser is None:
            return False
        self._refuse(Refusal(400, "the client ended the connection within its request"))
        return True

    def pause_writing(self) -> None:
        self._full = True
        if self.tunnel is not None:
            self.tunnel.full(self.transport)
            return
        self._untaken = self._waiting()
        self.timer.set(self.gateway.deadlines.stall)
        if self._passage is not None:
            self._passage.client_full()

    def resume_writing(self) -> None:
        self._full = False
        if self.tunnel is not None:
            self.tunnel.drained(self.transport)
            return
        if self._passage is not None:
            self.timer.clear()
            self._passage.client_drained()
        elif not self._linger:
            self._total.clear()
            self._wait()
            self._proceed()

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.forward(self.transport, data)
        elif not self._linger:
            if self._late or (self.gateway.turn.over() and self._can_wait(data)):
                self._put_off(data)
            else:
                self._feed(data)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def pause(self) -> None:
        """Stop reading from the client."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.timer.clear()
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self._held and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def read_on(self) -> None:
        """Take more of a body that passes through; from now on the client is waited for."""
        self.resume()
        if not (self._paused or self._full or self._linger):
            self.timer.set(self.gateway.deadlines.stall)

    # Requests

    def _can_wait(self, data: bytes) -> bool:
        """Say whether bytes may be put off: not the middle of a body, which costs little now."""
        passage = self._passage
        return passage is None or passage.body_done or self._chunks is not None or len(data) >= self._left

    def _put_off(self, data: bytes) -> None:
        """Leave bytes for another turn of the loop."""
        if not self._late:
            self.gateway.turn.put_off(self._catch_up)
        self._late += data
        self.more = True
        if not self.transport.is_closing():
            self.transport.pause_reading()
        if self.gateway.memory.take(len(data)) and not self._feeding:
            # Nothing can be kept for later: what begins an exchange is refused now.
            self._catch_up()

    def _take_late(self) -> bytes:
        late, self._late = self._late, b""
        self.gateway.memory.give(len(late))
        return late

    def _catch_up(self) -> None:
        late = self._take_late()
        if self.closed:
            return
        if not self._paused and not self.transport.is_closing():
            self.transport.resume_reading()
        if late and not self._linger:
            self._feed(late)
            self._end_after_last()

    def _feed(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        first = True
        self._feeding = True
        try:
            while data and not self._linger and not self.closed:
                passage = self._passage
                if passage is None:
                    if self._full:
                        break
                    if not first and self.gateway.turn.over():
                        self._put_off(data)
                        return
                    first = False
                    data = self._feed_head(data)
                elif not passage.body_done:
                    data = self._feed_body(data, passage)
                else:
                    break
        except Refusal as refusal:
            self._refuse(refusal)
            data = b""
        except Exception as error:
            data = b""
            self._break_off(error)
        finally:
            self._feeding = False
        if data and not self._linger and not self.closed:
            self._hold(data)

    def _hold(self, data: bytes) -> None:
        """Keep what came too soon; a pipeline that is long enough is not read on."""
        self._rest = data
        self.more = True
        passage = self._passage
        if passage is not None and passage.upgrades:
            # Nothing may follow before the switch: it would be read as the new protocol or be lost.
            self._rest = b""
            passage.refuse(400, "bytes follow a request for an upgrade")
        elif len(data) > self.gateway.bounds.pipelined:
            self._held = True
            self.pause()

    def _proceed(self) -> None:
        """Go on with what is at hand, unless that is what is being done."""
        if self._feeding or self.closed or self._linger or self._passage is not None:
            return
        if self._held:
            self._held = False
            self.resume()
        rest, self._rest = self._rest, b""
        if rest:
            self._feed(rest)
        self._end_after_last()

    def _end_after_last(self) -> None:
        """Close when the client, who has ended, has all its answers."""
        done = self.ended and not (self._linger or self._late or self.closed)
        if done and not self._ends_within() and self.idle:
            self.transport.close()

    def _feed_head(self, data: bytes) -> bytes:
        gateway = self.gateway
        parser = self._parser
        if parser is None:
            # Empty lines before a request are allowed (RFC 9112 section 2.2).
            data = data.lstrip(b"\r\n")
            if not data:
                return b""
            gateway.resting.pop(self, None)
            parser = self._parser = request_parser(gateway.loop, gateway.bounds)
            self._end = HeadEnd()
            self._line = 0
            self._line_done = False
            first = True
        else:
            first = False
        end = self._end.find(data)
        part = data if end < 0 else data[:end]
        try:
            messages, _, _ = parser.feed_data(part)
        except Exception as error:
            self._count_line(part)
            raise refusal_of(error, self._line, gateway.bounds) from None
        if self._end.size > gateway.bounds.head:
            raise Refusal(431, "the head is too large")
        if end < 0:
            if messages:
                raise Refusal(400, "the request is malformed")
            self._count_line(part)
            if first:
                self.timer.set(gateway.deadlines.header)
            return b""
        if len(messages) != 1:
            raise Refusal(400, "the request is malformed")
        message, payload = messages[0]
        try:
            head = read_request(message, self._peer, gateway.bounds, gateway.trust)
        except Unreadable as unreadable:
            raise Refusal(unreadable.status, unreadable.cause) from None
        if gateway.memory.short:
            raise Refusal(503, "the proxy is short of memory")
        return self._begin(head, payload, data[end:])

    def _count_line(self, part: bytes) -> None:
        """Count the request line, to tell a long target from a long header."""
        if not self._line_done:
            at = part.find(b"\n")
            self._line += len(part) if at < 0 else at
            self._line_done = at >= 0

    def _begin(self, head: RequestHead, payload: Any, rest: bytes) -> bytes:
        """Begin an exchange; what is at hand of its body comes first, so that a broken one is refused unsent."""
        self._born = None
        self.timer.clear()
        self._total.set(self.gateway.deadlines.total)
        self._chunks = None
        self._left = 0
        if head.chunked:
            self._chunks = Chunks(self.gateway.bounds.stream, least=_CHUNK)
            self._payload = payload
        elif head.length:
            self._left = head.length
        passage = self._passage = Passage(self, head)
        if passage.body_done:
            self._parser = None
        elif rest:
            rest = self._feed_body(rest, passage)
            if passage.finished:
                return rest
        self.more = bool(rest)
        if head.upgrade is not None and rest:
            passage.refuse(400, "bytes follow a request for an upgrade")
            return b""
        passage.start()
        return rest

    def _feed_body(self, data: bytes, passage: Passage) -> bytes:
        chunks = self._chunks
        if chunks is None:
            left = self._left
            content = data if len(data) <= left else data[:left]
            rest = data[len(content) :]
            self._left = left - len(content)
            done = self._left == 0
        else:
            try:
                content, rest = self._read_chunks(data, chunks)
            except Refusal as refusal:
                passage.refuse(refusal.status, refusal.cause)
                return b""
            done = chunks.done
        if content:
            passage.client_data(content)
        if done:
            self._parser = None
            self.more = bool(rest)
            if not self._full:
                self.timer.clear()
            passage.client_end()
            if passage.finished:
                self._next(passage)
        elif not (self._paused or self._full or self._linger or passage.collects or passage.finished):
            self.timer.set(self.gateway.deadlines.stall)
        return rest

    def _read_chunks(self, data: bytes, chunks: Chunks) -> tuple[bytes, bytes]:
        end = chunks.take(data)
        try:
            self._parser.feed_data(data if end == len(data) else data[:end])
        except Exception:
            raise Refusal(400, "the request's chunks are malformed") from None
        content: bytes = self._payload.read_nowait()
        if self._payload.is_eof() is not chunks.done:
            raise Refusal(400, "the request's chunks are malformed")
        return content, data[end:]

    # Answers

    def answered(self, passage: Passage) -> None:
        """Go on after an exchange whose answer is written."""
        if self.closed or passage is not self._passage:
            return
        if not passage.keep:
            self.end()
        elif passage.body_done:
            self._next(passage)
        else:
            self.timer.set(self.gateway.deadlines.linger)
            self.resume()

    def _next(self, passage: Passage) -> None:
        if passage is not self._passage or not passage.keep:
            return
        self._passage = None
        self._parser = None
        if not self._full:
            self._total.clear()
            self._wait()
        if self._paused and not self._held:
            self.resume()
        if self.gateway.closing:
            self.end()
        elif self._rest or self.ended:
            self._proceed()

    def _wait(self) -> None:
        """Wait for the next request."""
        self.gateway.resting[self] = None
        self.timer.set(self.gateway.deadlines.idle)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is no request, and end the connection."""
        if self.closed or self._linger:
            return
        correlation = self.gateway.entropy(16).hex()
        facts = Facts(self._peer.ip, status=refusal.status, error=refusal.cause, correlation=correlation)
        response = self.gateway.refusal(refusal.status, correlation)
        content = response.content or b""
        framing = b"Content-Length: %d" % len(content)
        self.write(write_response(response, framing=framing, connection=b"Connection: close") + content)
        facts.sent = len(content)
        self.gateway.record(None, facts)
        self.end()

    def end(self) -> None:
        """End the connection after what is written; what still comes in is thrown away, so that the answer arrives."""
        if self._linger or self.closed:
            return
        self._linger = True
        self._passage = None
        self._parser = None
        self._rest = b""
        self._untaken = None
        self.gateway.resting.pop(self, None)
        self.timer.set(self.gateway.deadlines.linger)
        if self._total.due is None:
            self._total.set(self.gateway.deadlines.total)
        if self.ended or self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    def _break_off(self, error: Exception) -> None:
        """Cut the connection after a fault of ours, which must not take the worker along."""
        passage = self._passage
        if passage is not None and not passage.finished:
            passage.break_off(error)
        else:
            self.gateway.record(None, Facts(self._peer.ip, error=f"a fault of the proxy: {type(error).__name__}"))
            self.abort()

    def close_if_idle(self) -> None:
        """Close a connection on which nothing is under way; one that is new may still bring what it was made for."""
        if (
            self.idle
            and not self.fresh
            and not self._linger
            and not self.closed
            and not unread(self.transport.get_extra_info("socket"))
        ):
            self.end()

    def make_room(self) -> bool:
        """Close a connection that waits for a request, in favour of another; say whether it did."""
        if (
            not self.idle
            or self.fresh
            or self.writing
            or self._linger
            or self.closed
            or unread(self.transport.get_extra_info("socket"))
        ):
            return False
        # Nothing is on its way in either direction, so that for the client it is a clean end.
        self.transport.abort()
        return True

    @property
    def writing(self) -> bool:
        """Say whether a part of an answer still waits for the client to take it."""
        return not self.closed and self.transport.get_write_buffer_size() > 0

    def _waiting(self) -> int:
        """Count the bytes that wait for the client, here and in the socket: it tells the loop of progress late."""
        return self.transport.get_write_buffer_size() + untaken(self.transport.get_extra_info("socket"))

    @property
    def fresh(self) -> bool:
        """Say whether the connection was made a moment ago and has had no request yet."""
        return (
            self.idle and not self._linger and self._born is not None and self.gateway.loop.time() - self._born < FRESH
        )

    def cut(self, cause: str) -> None:
        """Cut the connection and what is under way on it."""
        passage = self._passage
        if self._linger and not self.writing:
            # The answer is on its way; a reset could overtake it.
            self.transport.close()
        elif passage is None or passage.finished or self.tunnel is not None:
            self.abort()
        else:
            passage.cut(cause)

    def abort(self) -> None:
        """Cut the connection so that nobody can take it for a clean end."""
        if self.closed:
            return
        self.timer.close()
        reset(self.transport.get_extra_info("socket"))
        self.transport.abort()

    def open_tunnel(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        self.timer.clear()
        self._total.clear()

    def _expire(self) -> None:
        passage = self._passage
        if self._late and not (self._linger or self._full):
            # What is waited for may be here.
            self.timer.set(TICK)
        elif self._linger or self._full:
            # A client that still takes what was written is slow, not gone.
            before, left = self._untaken, self._waiting()
            if self.writing and (before is None or before - left >= _TAKEN):
                self._untaken = left
                self.timer.set(self.gateway.deadlines.stall)
            else:
                self.cut("the client did not take its answer in time")
        elif passage is not None:
            if passage.finished:
                self.abort()
            elif not passage.body_done:
                passage.stalled()
        elif self._parser is not None:
            self._refuse(Refusal(408, "the request's head did not arrive in time"))
        else:
            self.end()

    def _expire_total(self) -> None:
        if self._passage is not None:
            self._passage.expire()
        elif self._linger or self._full:
            self.cut("the client did not take its answer in time")
