"""Forward-auth and Envoy's authorization over HTTP, question by question: what is not told is not taken for granted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from ipaddress import ip_network

import pytest
import pytest_asyncio

from proxy.adapters import ext_authz_http, forward_auth, forward_auth_body
from proxy.adapters.asking import may_ask
from proxy.edge.options import Trust
from proxy.edge.sockets import address_of, reserve
from proxy.engine.message import Limits
from tests.adapters.asking import PlainWorker, rules
from tests.wire import Message, Wire

pytestmark = pytest.mark.asyncio(loop_scope="session")

RULES = rules("""[
  {name: login, match: {path: /login},
   before: [{when: "has(request.body) && request.body.user == 'x'", deny: {reason: Not you.}}]},
  {name: edits, match: {path: /edits},
   before: [{headers: {set: {x-a: "1"}, add: {x-many: b}, remove: [x-gone]}}, {cookies: {set: {seen: "1"}}}]},
  {name: own, match: {path: /own}, before: [{respond: {status: 200, text: hello}}]},
  {name: away, match: {path: /away}, before: [{redirect: {to: /login, mode: redirect}}]},
  {name: closed, match: {path: /closed},
   before: [{deny: {status: 429, reason: It is closed., headers: {x-why: late}}}]},
  {name: known, match: {path: /known, client: [203.0.113.0/24]}, before: [{deny: {}}]},
]""")
TOLD = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Uri": "/",
    "X-Forwarded-Host": "shop.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.9",
}
Ask = Callable[..., Awaitable[Message]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def worker() -> PlainWorker:
    return PlainWorker(RULES, limits=Limits(body=100))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ports(worker: PlainWorker) -> AsyncIterator[dict[str, int]]:
    async with contextlib.AsyncExitStack() as stack:
        found = {}
        for name, adapter in (("plain", forward_auth), ("bodies", forward_auth_body), ("envoy", ext_authz_http)):
            with reserve("0.0.0.0:0") as held:
                served = await adapter.start(worker, address_of(held), most=100)
                found[name] = held.getsockname()[1]
            stack.push_async_callback(served.stop, 0)
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ask(ports: dict[str, int]) -> Ask:
    async def ask(
        path: str = "/",
        *lines: tuple[str, str],
        of: str = "plain",
        at: str = "/",
        verb: str = "GET",
        body: bytes = b"",
        without: str = "",
    ) -> Message:
        """Ask about a request as Traefik would, or as nginx `at` its place."""
        told = {**TOLD, "X-Forwarded-Method": verb, "X-Forwarded-Uri": path}
        told.pop(without, None)
        return await question(ports[of], (*told.items(), *lines), target=at, body=body)

    return ask


async def question(
    port: int, lines: Iterable[tuple[str, str]], *, target: str, method: str = "GET", body: bytes = b""
) -> Message:
    """Send a question with these lines."""
    wire = await Wire.open(port)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    try:
        await wire.send(f"{method} {target} HTTP/1.1\r\n{head}{length}Host: asked\r\n\r\n".encode(), body)
        return await wire.message()
    finally:
        wire.writer.close()


async def test_a_request_goes_on_with_its_headers_as_the_rules_leave_them(ask: Ask) -> None:
    lines = (("x-gone", "1"), ("x-many", "a"), ("cookie", "a=b"), ("x-kept", "c, d"), ("te", "trailers"))
    answer = await ask("/edits", *lines)
    assert answer.status == 200
    named = {name: answer.all(name) for name in ("x-a", "x-gone", "x-many", "cookie", "x-kept", "te", "host")}
    assert named == {
        "x-a": [b"1"], "x-gone": [], "x-many": [b"a, b"], "cookie": [b"a=b; seen=1"], "x-kept": [b"c, d"], "te": [],
        "host": [],
    }  # fmt: skip
    assert answer.body == b""


async def test_a_refusal_is_the_clients_answer(ask: Ask) -> None:
    answer = await ask("/closed")
    assert (answer.status, answer.get("x-why"), answer.get("content-type")) == (
        429,
        b"late",
        b"application/problem+json",
    )
    assert b"It is closed." in answer.body


@pytest.mark.parametrize(
    ("path", "status", "told", "place"),
    [("/closed", 403, b"429", None), ("/away", 403, b"302", b"/login")],
)
async def test_nginx_is_told_in_headers_what_the_client_is_to_get(
    ask: Ask, path: str, status: int, told: bytes, place: bytes | None
) -> None:
    answer = await ask(path, at="/nginx")
    assert (answer.status, answer.get("vestibule-status"), answer.get("location")) == (status, told, place)
    assert answer.get("vestibule-body") == (answer.body or None)


@pytest.mark.parametrize("name", TOLD)
async def test_a_question_that_says_a_thing_twice_or_not_at_all_is_refused(
    ask: Ask, worker: PlainWorker, name: str
) -> None:
    count = len(worker.records)
    answers = [await ask(without=name), await ask("/", (name, "secret"), ("x", "y")), await ask("/", (name, ""))]
    # Addresses are a list, on one line or on several.
    wanted = [400, 200 if name == "X-Forwarded-For" else 400, 400]
    assert [answer.status for answer in answers] == wanted
    assert "secret" not in str(await worker.recorded(count + 3))


async def test_who_asks_says_whose_request_it_is_and_not_the_client(ask: Ask) -> None:
    assert (await ask("/known")).status == 403
    assert (await ask("/known", ("X-Forwarded-For", "192.0.2.1"))).status == 200
    assert (await ask("/known", ("Forwarded", "for=192.0.2.1"), ("X-Real-Ip", "192.0.2.1"))).status == 403
    assert (await ask("/", ("X-Real-Ip", "192.0.2.1"))).get("x-real-ip") is None
    assert (await ask("/", ("x_real_ip", "192.0.2.1"))).status == 400


async def test_a_rule_that_reads_a_body_is_not_run_without_it(ask: Ask, worker: PlainWorker) -> None:
    login = b'{"user": "x"}'
    kind = ("Content-Type", "application/json")
    assert (await ask("/login", kind, verb="POST")).status == 500
    assert (await ask("/login", kind, of="bodies", verb="POST", body=login)).status == 403
    assert (await ask("/login", kind, of="bodies", verb="POST", body=b'{"user": "y"}')).status == 200
    # None came, and there may have been one.
    assert (await ask("/login", of="bodies", verb="POST")).status == 500
    assert (await ask("/login", kind, of="bodies")).status == 500
    assert (await ask("/login", of="bodies")).status == 200
    assert (await ask("/login", kind, of="bodies", verb="POST", body=b" " * 101)).status == 413
    assert (await ask("/else", kind, of="bodies", verb="POST", body=b" " * 101)).status == 200


async def test_no_answer_of_a_rule_lets_the_request_go_on(ask: Ask) -> None:
    assert (await ask("/own")).status == 500


async def test_envoy_is_told_which_headers_change_and_which_do_not_go_on(ports: dict[str, int]) -> None:
    told = (("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https"))
    more = (("x-gone", "1"), ("x-kept", "1"), ("x-forwarded-user", "admin"))
    answer = await question(ports["envoy"], (*told, *more), target="/edits")
    assert (answer.status, answer.get("x-a"), answer.get("x-kept")) == (200, b"1", None)
    assert answer.get(ext_authz_http.REMOVE) == b"x-gone,x-forwarded-user"
    assert (await question(ports["envoy"], told[1:], target="/edits")).status == 400
    assert (await question(ports["envoy"], told, target="/closed")).status == 429
    assert (await question(ports["envoy"], told, target="/login", method="POST", body=b'{"user": "x"}')).status == 415


async def test_nobody_but_this_machine_and_the_trusted_proxies_may_ask() -> None:
    trust = Trust(proxies=(ip_network("198.51.100.0/24"),))
    asking = {"127.0.0.1", "::1", "::ffff:127.0.0.1", "198.51.100.7", "::ffff:198.51.100.7"}
    others = {"203.0.113.9", "2001:db8::1", "::ffff:203.0.113.9"}
    assert {one for one in asking | others if may_ask((one, 1), trust)} == asking
    assert may_ask("", trust)


async def test_who_may_not_ask_hears_so(ports: dict[str, int], worker: PlainWorker) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: it is only seen by which address this machine would.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its own")
        address = probe.getsockname()[0]
    reader, writer = await asyncio.open_connection(address, ports["plain"], local_addr=(address, 0))
    wire = Wire(reader, writer)
    head = "".join(f"{name}: {value}\r\n" for name, value in TOLD.items())
    await wire.send(f"GET / HTTP/1.1\r\n{head}Host: asked\r\n\r\n".encode())
    assert (await wire.message()).status == 403
    assert worker.told[-1][1] == "asker-refused"
    writer.close()
