"""TLS on both sides, with and without the proxy's own certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from proxy.engine.ruleset import Rule, Step
from tests.gateways import Start
from tests.wire import LOOPBACK, Wire, ok

BOTH_LOOPS = True


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("auth.internal").configure_cert(context)
    if mutual:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(authority: trustme.CA, *, own: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    if own:
        authority.issue_cert("proxy@internal").configure_cert(context)
    return context


class Secure:
    """An upstream that speaks TLS."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(ok(b"x" * 300_000))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.close()


@pytest.fixture(params=[False, True], ids=["one-sided", "mutual"])
async def secure(authority: trustme.CA, request: pytest.FixtureRequest) -> AsyncIterator[Secure]:
    upstream = Secure()
    context = server_context(authority, mutual=request.param)
    server = await asyncio.start_server(upstream.serve, LOOPBACK, 0, ssl=context)
    upstream.port = server.sockets[0].getsockname()[1]
    yield upstream
    server.close()


async def test_an_upstream_behind_tls_is_verified_and_its_connection_kept(
    secure: Secure, authority: trustme.CA, start: Start
) -> None:
    proxied = await start(port=secure.port, tls=client_context(authority, own=True), server_name="auth.internal")
    for _ in range(2):
        answer = await proxied.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (answer.status, len(answer.body)) == (200, 300_000)
    assert proxied.gateway.pool.open == 1


@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_an_upstream_that_is_not_who_it_should_be_gets_nothing(
    wrong: str, secure: Secure, authority: trustme.CA, start: Start
) -> None:
    trusted = client_context(trustme.CA() if wrong == "authority" else authority, own=True)
    name = "other.internal" if wrong == "name" else "auth.internal"
    proxied = await start(port=secure.port, tls=trusted, server_name=name)
    assert (await proxied.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 502
    assert secure.heads == []


async def test_a_client_behind_tls_is_served_and_known_to_be(authority: trustme.CA, start: Start) -> None:
    schemes: list[str] = []
    proxied = await start(Rule("look", 0, before=(Step(lambda x: schemes.append(x.request.scheme), "test", "look"),)))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(proxied.gateway.connect, LOOPBACK, 0, ssl=server_context(authority))
    port = server.sockets[0].getsockname()[1]
    wire = await Wire.open(port, ssl=client_context(authority), server_hostname="auth.internal")
    for ending in (b"", b"Connection: close\r\n"):
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + ending + b"\r\n")
        assert (await wire.message()).status == 200
    assert await wire.rest() == b""
    assert schemes == ["https", "https"]
    assert proxied.upstream.messages[0].get("x-forwarded-proto") == b"https"
    await wire.close()
    server.close()
