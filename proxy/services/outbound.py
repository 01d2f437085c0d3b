"""Calls to other services, for lookups and key sets: one client that does only what it was asked.

It follows no redirect, keeps no cookie, tries nothing twice, takes no proxy from the environment and no more of an
answer than it was told. What goes wrong is an EffectFailed in words of ours: the service's host, never a path, a query,
a header or a byte of a body. Caches and rules are not its business.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from ..engine import codings
from ..engine.addresses import AddressError, is_loopback, read
from ..engine.effects import Answer
from ..engine.errors import EffectFailed, Unreadable

T = TypeVar("T")

CONNECT = 2.0
LONGEST_BODY = 1 << 20
_CONNECTIONS = 256
_PER_HOST = 64
# Shorter than the keep-alive of common servers, so that a call seldom meets a connection that was just closed.
_IDLE = 4.0
_ENDING = "the proxy is ending, and calls no one any more"
# They describe the answer as it was on the wire.
_WIRE = frozenset({"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Own:
    """The upstream itself, for addresses that begin with `/`: its URL, its TLS settings, the Host that it wants."""

    base: str
    authority: str
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes. `name` is its host and port, the one part of its address that may be told.

    `own` is set where it is the upstream itself.
    """

    url: URL
    name: str
    scheme: str
    own: Own | None = None


def make_context() -> ssl.SSLContext:
    """Make the TLS settings for services that have none of their own: the system's authorities, TLS 1.2 or later."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Connector(aiohttp.TCPConnector):
    """A pool that gives no connection twice on which something came unasked: it would be the next caller's answer."""

    async def _get(self, key: Any, traces: Any) -> Any:
        pooled = self._conns.get(key, ())
        for entry in [entry for entry in pooled if entry[0].should_close]:
            self._conns[key].remove(entry)
            entry[0].close()
        return await super()._get(key, traces)


class Outbound:
    """A client for calls to other services; it opens nothing before its first call.

    `trusts` are TLS settings for all services but the upstream itself, instead of the system's.
    """

    def __init__(self, own: Own | None = None, trusts: ssl.SSLContext | None = None) -> None:
        self._own = own
        self._trusts = trusts
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def renew(self, tls: ssl.SSLContext | None) -> None:
        """Take this for connections to the upstream that are made from now on."""
        if self._own is not None:
            self._own = replace(self._own, tls=tls)

    def target(self, address: str) -> Target:
        """Read an address; EffectFailed for one that is neither https nor loopback nor a path of the upstream."""
        own = self._own if address.startswith("/") else None
        try:
            origin, text = read(own.base.rstrip("/") + address if own is not None else address)
        except AddressError as error:
            raise EffectFailed(f"the service's address cannot be used: {error.cause}") from None
        if origin is None or "#" in text:
            raise EffectFailed("the service's address is not an absolute one without a fragment")
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        name = f"{host}:{origin.port}"
        if own is None and origin.scheme != "https" and not is_loopback(origin):
            raise EffectFailed(f"{name} is not called: its address is neither https nor loopback")
        return Target(URL(text, encoded=True), name, origin.scheme, own)

    async def send(
        self,
        method: str,
        target: Target,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
        within: float,
        limit: int,
    ) -> Answer:
        """Make a call; every failure is EffectFailed.

        `within` is the seconds for all of it, `limit` the size of the answer's body, as it is sent and decoded.
        """
        name = target.name
        if body is not None and len(body) > LONGEST_BODY:
            raise EffectFailed(f"{name} is not called: the body for it is larger than {LONGEST_BODY} bytes")
        session = self._open()
        own = target.own
        tls = own.tls if own is not None else None
        if target.scheme == "https" and tls is None:
            if self._trusts is None:
                # Reading the system's authorities takes long enough to hold up the loop.
                self._trusts = await asyncio.to_thread(make_context)
            tls = self._trusts
        try:
            async with session.request(
                method,
                target.url,
                headers=(*headers, ("Host", own.authority)) if own is not None else headers,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=within, connect=min(CONNECT, within)),
                ssl=tls or True,
                server_hostname=own.server_name if own is not None else None,
            ) as response:
                raw = await _read(response, name, limit)
                given = _headers(response, name)
                return Answer(response.status, given, _decode(raw, response, name, limit))
        except TimeoutError:
            raise EffectFailed(f"{name} did not answer in time", late=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise EffectFailed(_cause(error, name)) from None

    async def close(self) -> None:
        """Close all connections; there are no further calls."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise EffectFailed(_ENDING)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=_CONNECTIONS, limit_per_host=_PER_HOST, keepalive_timeout=_IDLE),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                headers={"User-Agent": "vestibule"},
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
            )
            # aiohttp repeats what it takes for idempotent on a dropped connection, and has no public switch for it.
            self._session._retry_connection = False
        return self._session


async def _read(response: aiohttp.ClientResponse, name: str, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            response.close()
            raise EffectFailed(f"the answer of {name} is larger than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


def _headers(response: aiohttp.ClientResponse, name: str) -> tuple[tuple[str, str], ...]:
    try:
        lines = [(key.decode("ascii").lower(), value.decode("utf-8")) for key, value in response.raw_headers]
    except UnicodeDecodeError:
        raise EffectFailed(f"the answer of {name} has a header that is not UTF-8") from None
    return tuple(line for line in lines if line[0] not in _WIRE)


def _decode(raw: bytes, response: aiohttp.ClientResponse, name: str, limit: int) -> bytes:
    coding = ", ".join(response.headers.getall("Content-Encoding", ())).strip().lower()
    if not raw or coding in ("", "identity"):
        return raw
    if coding not in codings.CODINGS:
        raise EffectFailed(f"the answer of {name} has a coding that the proxy does not know")
    try:
        return codings.decode(raw, coding, limit, "response")
    except Unreadable as error:
        raise EffectFailed(f"the answer of {name} cannot be decoded: {error.cause}") from None


def _cause(error: Exception, name: str) -> str:
    """Say what failed. An exception's own text is never used: it may hold the address or a line of the answer."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the host of {name} cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate of {name} does not hold"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return f"no TLS connection to {name} came about"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {name} came about"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the answer of {name} is not HTTP"
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | OSError):
        return f"{name} broke off before its answer was complete"
    return f"the call of {name} failed: {type(error).__name__}"


async def share(task: asyncio.Task[T | EffectFailed]) -> T:
    """Wait for a call that others may wait for too; it goes on when the one who waits is cancelled."""
    try:
        outcome = await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise EffectFailed(_ENDING) from None
        raise
    if isinstance(outcome, EffectFailed):
        # Each raises its own: an exception that is raised twice grows.
        raise EffectFailed(outcome.cause, late=outcome.status == 504)
    return outcome


async def finish(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel calls and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
