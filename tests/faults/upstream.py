"""What an upstream can do wrong, as data, and one that does it (group L of the attacks).

A fault is what the upstream does once it has the request, step by step, and what its caller must get. The request is
never sent again, and the next caller gets the next answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

from tests.wire import Answering, RecordingUpstream, Wire, ok

HEAD = b"HTTP/1.1 200 OK\r\n"
NEXT = b"next"
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"


class Do(Enum):
    """A step that is not bytes."""

    RESET = "cut the connection"
    END = "send nothing more"
    HANG = "do nothing until the other side gives up"
    SERVE = "go on as an upstream should"
    RELAYED = "wait until the client has something of the answer"
    FOREVER = "say the step before again and again"
    DRIP = "say a byte of a body now and then"


@dataclass(frozen=True, slots=True)
class Fault:
    """`status` is what the caller gets, `cut` that its answer breaks off visibly, `body` what may be in it at all."""

    case: str
    what: str
    steps: tuple[bytes | Do, ...]
    status: int
    cut: bool = False
    body: bytes | None = None
    method: str | None = None  # the one method that it is about

    def __str__(self) -> str:
        return f"{self.case} {self.what}"


def _bad(case: str, what: str, data: bytes) -> Fault:
    return Fault(case, what, (data, Do.HANG), 502)


def _length(head: bytes, first: bytes = HEAD) -> bytes:
    return first + head + b"Content-Length: 1\r\n\r\nX"


_OPEN = HEAD + b"Content-Length: 100\r\n\r\nabc"
_CHUNK = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_LATE = Do.RELAYED

FAULTS = (
    Fault("L3", "accepts and is silent", (Do.HANG,), 504),
    Fault("L4", "resets before its answer", (Do.RESET,), 502),
    Fault("L4", "ends before its answer", (Do.END,), 502),
    Fault("L5", "resets within the head", (HEAD + b"A: b", Do.RESET), 502),
    Fault("L5", "ends within the head", (HEAD + b"A: b", Do.END), 502),
    Fault("L5", "stops within the head", (HEAD + b"A: b", Do.HANG), 504),
    *(
        Fault(case, f"{do.name.lower()} {where}", (data, _LATE, do), 200, cut=True, body=b"abc")
        for do in (Do.RESET, Do.END, Do.HANG)
        for case, where, data in (
            ("L6", "within Content-Length", _OPEN),
            ("L7", "within a chunk", _CHUNK + b"64\r\nabc"),
            ("L8", "before the last chunk", _CHUNK + b"3\r\nabc\r\n"),
        )
    ),
    Fault("L7", "a bad second chunk", (_CHUNK + b"3\r\nabc\r\n", _LATE, b"zz\r\n"), 200, cut=True, body=b"abc"),
    Fault("L8", "resets a body that ends with it", (HEAD + b"\r\nabc", _LATE, Do.RESET), 200, cut=True, body=b"abc"),
    _bad("L9", "CL and TE", HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nX\r\n0\r\n\r\n"),
    _bad("L10", "CL twice", _length(b"Content-Length: 1\r\n")),
    _bad("L10", "CL twice and different", _length(b"Content-Length: 2\r\n")),
    _bad("L10", "CL list", HEAD + b"Content-Length: 1, 1\r\n\r\nX"),
    _bad("L11", "CL -1", HEAD + b"Content-Length: -1\r\n\r\nX"),
    _bad("L11", "CL +1", HEAD + b"Content-Length: +1\r\n\r\nX"),
    _bad("L12", "bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 1\n\nX"),
    _bad("L13", "folded line", _length(b"A: b\r\n c\r\n")),
    _bad("L14", "space before the colon", HEAD + b"Content-Length : 1\r\n\r\nX"),
    _bad("L15", "control in a value", _length(b"A: \x01\r\n")),
    _bad("L15", "delete in a value", _length(b"A: \x7f\r\n")),
    _bad("L16", "reason that is not ASCII", _length(b"", b"HTTP/1.1 200 \xe9\r\n")),
    _bad("L17", "status 999", _length(b"", b"HTTP/1.1 999 X\r\n")),
    _bad("L17", "status 099", _length(b"", b"HTTP/1.1 099 X\r\n")),
    _bad("L17", "status 20", _length(b"", b"HTTP/1.1 20 X\r\n")),
    _bad("L18", "TE gzip", HEAD + b"Transfer-Encoding: gzip\r\n\r\nX"),
    _bad("L18", "TE xchunked", HEAD + b"Transfer-Encoding: xchunked\r\n\r\nX"),
    _bad("L18", "TE in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nX\r\n0\r\n\r\n"),
    _bad("L19", "HTTP/2.0", _length(b"", b"HTTP/2.0 200 OK\r\n")),
    _bad("L19", "no HTTP at all", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    Fault("L20", "204 with a body", (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello",), 204, body=b""),
    Fault("L20", "304 with a body", (b"HTTP/1.1 304 No\r\n\r\nhello",), 304, body=b""),
    Fault("L20", "HEAD with a body", (ok(b"hello"),), 200, body=b"", method="HEAD"),
    _bad("L21", "two Locations", b"HTTP/1.1 302 F\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"),
    _bad("L21", "two Content-Types", _length(b"Content-Type: a/b\r\nContent-Type: c/d\r\n")),
    _bad("L22", "129 headers", _length(b"A: b\r\n" * 129)),
    _bad("L23", "a header of a megabyte", _length(b"A: " + b"b" * (1 << 20) + b"\r\n")),
    _bad("L23", "a head of a megabyte", _length((b"A: " + b"b" * 8_000 + b"\r\n") * 128)),
    Fault("L24", "100, 102, 103 and an answer",
          (b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nA: b\r\n\r\n" + ok(b"final"), Do.SERVE),
          200, body=b"final"),
    _bad("L25", "101 that nobody asked for", b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    Fault("L26", "interim answers without end", (b"HTTP/1.1 103 E\r\n\r\n", Do.FOREVER), 502),
    Fault("L27", "an answer too many in the same read", (ok(b"first") + POISON, Do.HANG), 200, body=b"first"),
    Fault("L27", "garbage after the answer", (ok(b"first") + b"garbage", Do.HANG), 200, body=b"first"),
    Fault("L27", "an answer too many after the last chunk",
          (_CHUNK + b"5\r\nfirst\r\n0\r\n\r\n" + POISON, Do.HANG), 200, body=b"first"),
    Fault("L28", "an answer too many, later", (ok(b"first"), _LATE, POISON, Do.HANG), 200, body=b"first"),
    Fault("L28", "a byte too many, later", (ok(b"first"), _LATE, b"\n", Do.HANG), 200, body=b"first"),
    Fault("L28", "its end, later", (ok(b"first"), _LATE, Do.END), 200, body=b"first"),
    Fault("L31", "a byte now and then", (HEAD + b"Content-Length: 1000\r\n\r\nx", Do.DRIP), 200, cut=True),
)  # fmt: skip


def _steps(fault: Fault, drip: bool) -> list[bytes | Do]:
    return [*fault.steps, *(() if isinstance(fault.steps[-1], Do) else (Do.HANG,))]


def play(upstream: RecordingUpstream, fault: Fault, *, relayed: asyncio.Event, drip: bool = False) -> Answering:
    """Build what an upstream does: the fault on its first connection, `NEXT` on all others.

    `relayed` is set by the test when the client has something; with `drip` short steps are said byte by byte.
    """

    async def answering(wire: Wire, number: int) -> None:
        if number:
            upstream.answer = ok(NEXT)
            await upstream.serve(wire)
        await upstream.take(wire)
        last = b""
        for step in _steps(fault, drip):
            match step:
                case bytes():
                    last = step
                    await (wire.drip(step) if drip and len(step) < 5_000 else wire.send(step))
                case Do.RESET:
                    wire.reset()
                    return
                case Do.END:
                    return
                case Do.HANG:
                    await wire.rest()
                case Do.SERVE:
                    upstream.answer = ok(NEXT)
                    await upstream.serve(wire)
                case Do.RELAYED:
                    await asyncio.wait_for(relayed.wait(), 5)
                case Do.FOREVER:
                    while not wire.writer.is_closing():
                        await wire.send(last)
                        await asyncio.sleep(0)
                case Do.DRIP:
                    while not wire.writer.is_closing():
                        await asyncio.sleep(0.02)
                        await wire.send(b"x")

    return answering
