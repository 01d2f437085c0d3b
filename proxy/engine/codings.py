"""Content codings: decoded under a limit, and encoded again after an edit.

gzip, x-gzip, deflate (with or without the zlib wrapper), br and zstd (RFC 9110 section 8.4.1, RFC 8878). Anything else,
and anything stacked, is refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Protocol

from .errors import Side, Unreadable

CODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd"})
_CHUNK = 1 << 16
# Members of gzip and frames of zstd that may follow one another in one body: real ones have one.
_MEMBERS = 256
# The largest window of zstd as a content coding: 8 MB (RFC 9659 section 3).
_WINDOW_LOG = 23


class _Unpacker(Protocol):
    """A decoder that gives up to `room` bytes for what it is fed, which may be nothing to ask for more."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def unpack(self, data: bytes, room: int) -> bytes: ...


def decode(data: bytes, coding: str, limit: int, side: Side) -> bytes:
    """Decode a body; what does not decode to exactly one whole text of at most `limit` bytes is Unreadable."""
    too_large = Unreadable(side, f"the decoded body is larger than {limit} bytes", 413)
    try:
        if coding in ("gzip", "x-gzip"):
            return _unpack(data, lambda: _Zlib(31), limit, too_large, _MEMBERS)
        if coding == "deflate":
            return _unpack(data, lambda: _Zlib(15 if _is_wrapped(data) else -15), limit, too_large, 1)
        if coding == "zstd":
            return _unpack(data, _make_zstd(), limit, too_large, _MEMBERS)
        return _unbrotli(data, limit, too_large)
    except (zlib.error, EOFError, ValueError, MemoryError):
        raise Unreadable(side, f"the body is not {coding}") from None


def encode(data: bytes, coding: str) -> bytes:
    """Encode a body in one of CODINGS."""
    if coding in ("gzip", "x-gzip", "deflate"):
        packer = zlib.compressobj(6, zlib.DEFLATED, 15 if coding == "deflate" else 31)
        return packer.compress(data) + packer.flush()
    if coding == "br":
        import brotli

        packed: bytes = brotli.compress(data, quality=5)
        return packed
    compressed: bytes = _zstd().compress(data)
    return compressed


def _zstd() -> Any:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        from backports import zstd
    return zstd


def _unpack(data: bytes, start: Callable[[], _Unpacker], limit: int, too_large: Unreadable, members: int) -> bytes:
    """Decode the members of a body, fed in chunks: what is left over after one is copied, and so has to be small."""
    parts: list[bytes] = []
    size = at = 0
    while members:
        members -= 1
        unpacker = start()
        while not unpacker.eof:
            chunk = data[at : at + _CHUNK]
            at += len(chunk)
            part = unpacker.unpack(chunk, limit - size + 1)
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large
            if not chunk and not part and not unpacker.eof:
                raise EOFError
        at -= len(unpacker.unused_data)
        if at == len(data):
            return b"".join(parts)
    raise ValueError


class _Zlib:
    """Decodes gzip (window bits 31), zlib (15) or a bare stream of deflate (-15)."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def unpack(self, data: bytes, room: int) -> bytes:
        return self._inner.decompress(data, room)


def _is_wrapped(data: bytes) -> bool:
    """Tell the zlib wrapper (RFC 1950 section 2.2) from a bare stream, which no encoder begins like this."""
    return len(data) > 1 and data[0] & 0x8F == 0x08 and (data[0] << 8 | data[1]) % 31 == 0


def _make_zstd() -> Callable[[], _Unpacker]:
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}

    class Zstd:
        def __init__(self) -> None:
            self._inner = zstd.ZstdDecompressor(options=options)

        @property
        def eof(self) -> bool:
            ended: bool = self._inner.eof
            return ended

        @property
        def unused_data(self) -> bytes:
            rest: bytes = self._inner.unused_data
            return rest

        def unpack(self, data: bytes, room: int) -> bytes:
            try:
                part: bytes = self._inner.decompress(data, max_length=room)
            except zstd.ZstdError:
                raise ValueError from None
            return part

    return Zstd


def _unbrotli(data: bytes, limit: int, too_large: Unreadable) -> bytes:
    import brotli

    unpacker = brotli.Decompressor()
    parts: list[bytes] = []
    size = 0
    try:
        part = unpacker.process(data, output_buffer_limit=_CHUNK)
        while True:
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large
            if unpacker.is_finished():
                return b"".join(parts)
            if not part and unpacker.can_accept_more_data():
                raise EOFError
            part = unpacker.process(b"", output_buffer_limit=_CHUNK)
    except brotli.error:
        raise ValueError from None
