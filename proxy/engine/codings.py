"""Content codings: decoded under a limit, and encoded again after an edit.

gzip, x-gzip, deflate (with or without the zlib wrapper), br and zstd (RFC 9110 section 8.4.1, RFC 8878). Anything else,
and anything stacked, is refused.
"""

from __future__ import annotations

import zlib
from typing import Any

from .errors import Side, Unreadable

CODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd"})
_CHUNK = 1 << 16


def decode(data: bytes, coding: str, limit: int, side: Side) -> bytes:
    """Decode a body; what does not decode to exactly one whole text of at most `limit` bytes is Unreadable."""
    try:
        if coding in ("gzip", "x-gzip"):
            return _gunzip(data, limit, side)
        if coding == "deflate":
            return _inflate(data, limit, side)
        return _unbrotli(data, limit, side) if coding == "br" else _unzstd(data, limit, side)
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


def _too_large(side: Side, limit: int) -> Unreadable:
    return Unreadable(side, f"the decoded body is larger than {limit} bytes", 413)


def _gunzip(data: bytes, limit: int, side: Side) -> bytes:
    """Decode gzip, which may be several members in a row (RFC 1952 section 2.2)."""
    parts: list[bytes] = []
    size = 0
    while True:
        unpacker = zlib.decompressobj(31)
        part = unpacker.decompress(data, limit - size + 1)
        parts.append(part)
        size += len(part)
        if size > limit:
            raise _too_large(side, limit)
        if not unpacker.eof:
            raise ValueError
        data = unpacker.unused_data
        if not data:
            return b"".join(parts)
        if len(parts) > _CHUNK:
            raise ValueError


def _inflate(data: bytes, limit: int, side: Side) -> bytes:
    """Decode deflate: the zlib wrapper as RFC 9110 says, or the bare stream that some servers send."""
    for window in (15, -15):
        unpacker = zlib.decompressobj(window)
        try:
            decoded = unpacker.decompress(data, limit + 1)
        except zlib.error:
            if window == -15:
                raise
            continue
        if len(decoded) > limit:
            raise _too_large(side, limit)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError
        return decoded
    raise ValueError


def _unbrotli(data: bytes, limit: int, side: Side) -> bytes:
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
                raise _too_large(side, limit)
            if unpacker.is_finished():
                break
            if not part and unpacker.can_accept_more_data():
                raise ValueError
            part = unpacker.process(b"", output_buffer_limit=_CHUNK)
    except brotli.error:
        raise ValueError from None
    return b"".join(parts)


def _unzstd(data: bytes, limit: int, side: Side) -> bytes:
    zstd = _zstd()
    parts: list[bytes] = []
    size = 0
    try:
        while data:
            unpacker = zstd.ZstdDecompressor()
            while not unpacker.eof:
                part = unpacker.decompress(data, max_length=min(_CHUNK, limit - size + 1))
                data = b""
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise _too_large(side, limit)
                if not part and unpacker.needs_input:
                    raise ValueError
            data = unpacker.unused_data
    except zstd.ZstdError:
        raise ValueError from None
    return b"".join(parts)
