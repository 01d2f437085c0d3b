"""Calls to other services: what is sent, what is taken, and every way in which they fail."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator

import pytest
import trustme
from aiohttp import web

from proxy.engine.errors import EffectFailed
from proxy.services.outbound import LONGEST_BODY, Outbound, Own, make_context

from .conftest import LOOPBACK, PATIENCE, Serve, Service

SECRET = "test-only-secret"
LIMIT = 1 << 16


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    made = Outbound()
    yield made
    await made.close()


async def failure(outbound: Outbound, url: str, *, within: float = PATIENCE, limit: int = LIMIT) -> EffectFailed:
    with pytest.raises(EffectFailed) as caught:
        await outbound.send(
            "GET", outbound.target(url), headers=(("X-Key", SECRET),), within=within, limit=limit
        )  # fmt: skip
    assert SECRET not in caught.value.cause
    return caught.value


async def test_only_what_was_asked_is_sent(outbound: Outbound, service: Service) -> None:
    service.says(200, b"fine", Set_Cookie="a=b; Path=/", X_Answer="yes")
    for _ in range(2):
        answer = await outbound.send(
            "POST", outbound.target(f"{service.url}/a%20b?c=%2F"), headers=(("X-Key", "k"),), body=b"{}",
            within=PATIENCE, limit=LIMIT,
        )  # fmt: skip
        assert (answer.status, answer.body) == (200, b"fine")
        assert ("x-answer", "yes") in answer.headers
    for asked in service.asked:
        assert (asked.method, asked.target, asked.body) == ("POST", "/a%20b?c=%2F", b"{}")
        assert sorted(name for name, _ in asked.headers) == ["Content-Length", "Host", "User-Agent", "X-Key"]
        assert asked.get("User-Agent") == "vestibule"


async def test_a_connection_is_used_again(outbound: Outbound, service: Service) -> None:
    for _ in range(2):
        await outbound.send("GET", outbound.target(service.url), within=PATIENCE, limit=LIMIT)
    assert service.asked[0].port == service.asked[1].port


async def test_a_redirect_is_an_answer_and_not_followed(outbound: Outbound, service: Service, serve: Serve) -> None:
    other = await serve()
    service.says(302, Location=f"{other.url}/keys")
    answer = await outbound.send("GET", outbound.target(service.url), within=PATIENCE, limit=LIMIT)
    assert answer.status == 302
    assert ("location", f"{other.url}/keys") in answer.headers
    assert other.asked == []


async def test_the_upstream_itself_gets_its_own_host_and_base_path(service: Service) -> None:
    outbound = Outbound(Own(f"{service.url}/base/", "auth.internal"))
    await outbound.send("GET", outbound.target("/users/1?x=y"), within=PATIENCE, limit=LIMIT)
    await outbound.close()
    assert service.asked[0].target == "/base/users/1?x=y"
    assert [value for name, value in service.asked[0].headers if name == "Host"] == ["auth.internal"]


@pytest.mark.parametrize(
    "url",
    [
        "http://keys.example/jwks",
        "http://169.254.169.254/latest",
        "http://[2001:db8::1]/",
        "http://127.1/",
        "http://0x7f000001/",
        "https://user:pass@keys.example/",
        "https://keys.example/#part",
        "ftp://keys.example/",
        "https:keys.example",
        "keys.example",
        "/path/of/an/upstream/that/is/not/known",
        "",
    ],
)
def test_an_address_that_is_neither_https_nor_loopback_is_not_called(url: str) -> None:
    with pytest.raises(EffectFailed):
        Outbound().target(url)


@pytest.mark.parametrize(
    "url", ["https://keys.example/jwks", "http://localhost:1/", "http://127.0.0.9/", "http://[::1]:1"]
)
def test_https_and_loopback_are_called(url: str) -> None:
    assert Outbound().target(url).name


async def test_a_gzipped_answer_is_decoded(outbound: Outbound, service: Service) -> None:
    service.says(200, gzip.compress(b"x" * 1000), Content_Encoding="gzip")
    answer = await outbound.send("GET", outbound.target(service.url), within=PATIENCE, limit=LIMIT)
    assert answer.body == b"x" * 1000
    assert not {"content-encoding", "content-length"} & {name for name, _ in answer.headers}


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(outbound: Outbound, service: Service) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    service.answer = endless
    error = await failure(outbound, service.url)
    assert error.cause == f"the answer of {service.name} is larger than {LIMIT} bytes"
    assert error.status == 503


async def test_a_bomb_is_decoded_no_further_than_the_limit(outbound: Outbound, service: Service) -> None:
    service.says(200, gzip.compress(bytes(50 << 20)), Content_Encoding="gzip")
    error = await failure(outbound, service.url)
    assert "cannot be decoded" in error.cause


@pytest.mark.parametrize(
    ("coding", "told"), [("gzip", "cannot be decoded"), ("snappy", "does not know"), ("gzip, gzip", "does not know")]
)
async def test_an_answer_in_a_coding_that_does_not_hold_fails(
    outbound: Outbound, service: Service, coding: str, told: str
) -> None:
    service.says(200, b"not gzip", Content_Encoding=coding)
    assert told in (await failure(outbound, service.url)).cause


async def test_a_service_that_is_not_there_fails(outbound: Outbound) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        error = await failure(outbound, f"http://{LOOPBACK}:{port}/{SECRET}?q={SECRET}")
    assert error.cause == f"no connection to {LOOPBACK}:{port} came about"


async def test_a_service_that_says_nothing_is_late(outbound: Outbound, service: Service) -> None:
    service.waits()
    error = await failure(outbound, f"{service.url}/?q={SECRET}", within=0.05)
    assert (error.cause, error.status) == (f"{service.name} did not answer in time", 504)


async def test_a_service_that_stops_in_the_middle_of_its_answer_is_late(outbound: Outbound, service: Service) -> None:
    async def drip(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"x")
        await service.open.wait()
        return response

    service.answer = drip
    assert (await failure(outbound, service.url, within=0.2)).status == 504


async def test_a_reset_fails_and_is_not_tried_again(outbound: Outbound, service: Service) -> None:
    """The library repeats a GET on a connection that was used before; both the first and a later call are cut."""

    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        request.transport.abort()
        return web.Response()

    service.answer = cut
    error = await failure(outbound, service.url)
    assert error.cause == f"{service.name} broke off before its answer was complete"
    assert len(service.asked) == 1
    service.says(200)
    await outbound.send("GET", outbound.target(service.url), within=PATIENCE, limit=LIMIT)
    service.answer = cut
    await failure(outbound, service.url)
    assert len(service.asked) == 3


async def raw_service(*answers: bytes) -> tuple[asyncio.Server, int, list[int]]:
    """Serve one connection after another with bytes as they are; each read gets the next answer."""
    calls: list[int] = []
    ports: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports.append(writer.get_extra_info("peername")[1])
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                calls.append(1)
                writer.write(answers[min(len(calls), len(answers)) - 1])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, LOOPBACK, 0)
    return server, server.sockets[0].getsockname()[1], ports


async def test_an_answer_that_nobody_asked_for_is_given_to_nobody(outbound: Outbound) -> None:
    surplus = asyncio.Event()
    ports: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports.append(writer.get_extra_info("peername")[1])
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nu%d" % len(ports))
                await writer.drain()
                await surplus.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, LOOPBACK, 0)
    target = outbound.target(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/")
    first = await outbound.send("GET", target, within=PATIENCE, limit=LIMIT)
    surplus.set()
    assert outbound._session is not None
    assert outbound._session.connector is not None
    pools = outbound._session.connector._conns.values()
    async with asyncio.timeout(PATIENCE):
        while not all(entry[0].should_close for pool in pools for entry in pool):
            await asyncio.sleep(0)
    second = await outbound.send("GET", target, within=PATIENCE, limit=LIMIT)
    assert (first.body, second.body) == (b"u1", b"u2")
    assert len(ports) == 2
    server.close()


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-test-only-secret\r\n\r\n", b"HTTP/1.1 200 OK\r\ntest-only-secret\r\n\r\n", b"\x00" * 64]
)
async def test_what_is_not_http_fails_without_being_told(outbound: Outbound, answer: bytes) -> None:
    server, port, _ = await raw_service(answer)
    error = await failure(outbound, f"http://{LOOPBACK}:{port}/")
    assert error.cause == f"the answer of {LOOPBACK}:{port} is not HTTP"
    server.close()


async def test_an_answer_that_ends_too_early_fails(outbound: Outbound, service: Service) -> None:
    async def short(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        request.transport.close()
        return response

    service.answer = short
    assert "broke off" in (await failure(outbound, service.url)).cause


async def test_a_body_that_is_too_large_is_not_sent(outbound: Outbound, service: Service) -> None:
    with pytest.raises(EffectFailed, match="larger than"):
        await outbound.send(
            "POST", outbound.target(service.url), body=bytes(LONGEST_BODY + 1), within=PATIENCE, limit=LIMIT
        )
    assert service.asked == []


async def test_a_certificate_that_does_not_hold_fails_and_one_that_is_trusted_does(serve: Serve) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    service = await serve(tls=context)
    url = f"https://localhost:{service.port}/"
    strangers = Outbound()
    error = await failure(strangers, url)
    assert error.cause == f"the certificate of localhost:{service.port} does not hold"
    await strangers.close()
    trusts = make_context()
    authority.configure_trust(trusts)
    friends = Outbound(trusts=trusts)
    assert (await friends.send("GET", friends.target(url), within=PATIENCE, limit=LIMIT)).status == 200
    await friends.close()


def test_tls_is_1_2_or_later() -> None:
    context = make_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_a_cancelled_call_leaves_no_connection_behind(outbound: Outbound, service: Service) -> None:
    service.waits()
    task = asyncio.create_task(
        outbound.send("GET", outbound.target(service.url), within=PATIENCE, limit=LIMIT)
    )  # fmt: skip
    await service.arrive(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(service.gone.wait(), PATIENCE)
    service.says(200, b"the next one")
    assert (
        await outbound.send("GET", outbound.target(service.url), within=PATIENCE, limit=LIMIT)
    ).body == b"the next one"
    assert service.asked[0].port != service.asked[1].port


async def test_nothing_is_called_after_the_end(outbound: Outbound, service: Service) -> None:
    await outbound.close()
    assert "ending" in (await failure(outbound, service.url)).cause
    assert service.asked == []
