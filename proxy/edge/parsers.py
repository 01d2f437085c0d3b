"""The library's C parsers, one for each message, strict in both directions.

The pure Python parsers have another history of smuggling, so the proxy refuses to start without the C ones. The
response parser is lenient unless its module's DEBUG is set while it is built; that is set once and proved.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .options import Bounds

_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def _no_authorities() -> Iterator[None]:
    """Let nothing find the system's authorities meanwhile.

    aiohttp reads them twice while it is imported, a tenth of the time to start, for TLS settings of its own. All calls
    of this package bring theirs; one that did not would now trust nobody.
    """
    kept = {name: os.environ.get(name) for name in _AUTHORITIES}
    os.environ.update(dict.fromkeys(_AUTHORITIES, os.devnull))
    try:
        yield
    finally:
        for name, value in kept.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


with _no_authorities():
    import aiohttp
    from aiohttp import http_exceptions
    from aiohttp import http_parser as _public

_parsers: Any
try:
    _parsers = importlib.import_module("aiohttp._http_parser")
except ImportError:
    _parsers = None

_BARE_LINE_FEED = b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"
_LIMIT = 1 << 20


class _Unpaused:
    """What a body reader calls to hold and release its connection; back-pressure is ours, so nothing happens."""

    __slots__ = ()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self, resume_parser: bool = True) -> None:
        pass


_unpaused = _Unpaused()


class UnsafeParser(RuntimeError):
    """The installed parsers are not the ones that this proxy was proved with."""


def prove(loop: asyncio.AbstractEventLoop) -> None:
    """Make the response parser strict and prove it; raise UnsafeParser when the proxy must not start."""
    if _parsers is None or _public.HttpRequestParser is not _parsers.HttpRequestParser:
        raise UnsafeParser(f"aiohttp {aiohttp.__version__} has no C parsers here (is AIOHTTP_NO_EXTENSIONS set?)")
    _parsers.DEBUG = True
    try:
        messages, _, _ = response_parser(loop, Bounds(), body=True).feed_data(_BARE_LINE_FEED)
    except http_exceptions.BadHttpMessage:
        return
    raise UnsafeParser(f"aiohttp {aiohttp.__version__} took an answer with bare line feeds ({len(messages)} messages)")


def request_parser(loop: asyncio.AbstractEventLoop, bounds: Bounds) -> Any:
    # The count of headers is checked on the parsed head, where it can be told from other faults.
    return _parsers.HttpRequestParser(
        _unpaused,
        loop,
        _LIMIT,
        max_line_size=bounds.target,
        max_field_size=bounds.head,
        max_headers=bounds.head,
        auto_decompress=False,
    )


def response_parser(loop: asyncio.AbstractEventLoop, bounds: Bounds, *, body: bool) -> Any:
    """Build the parser of one answer; `body` is False for the answer to a HEAD."""
    return _parsers.HttpResponseParser(
        _unpaused,
        loop,
        _LIMIT,
        max_line_size=bounds.head,
        max_field_size=bounds.head,
        max_headers=bounds.head,
        response_with_body=body,
        auto_decompress=False,
    )
