"""The configurations in deploy/ of proxies that ask: each is what is printed, and lets through what the rules do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import cli
from proxy.edge.sockets import address_of, reserve
from tests.adapters import fronts
from tests.adapters.fronts import FRONTS
from tests.running import running
from tests.wire import LOOPBACK, Message, Wire

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "nginx": ("deploy/nginx/auth.conf", "rules/recipes/client-network.yaml"),
    "caddy": ("deploy/caddy/Caddyfile", "rules/recipes/client-network.yaml"),
    "traefik": ("deploy/traefik/dynamic.yaml", "rules/recipes/mail-domain.yaml"),
}
_Asked = tuple[str, str, bytes]
# A request that goes on, and one that does not with the status of its answer.
REQUESTS: dict[str, tuple[_Asked, _Asked, int]] = {
    "rules/recipes/client-network.yaml": (
        ("192.0.2.7", "GET /staff", b""),
        ("203.0.113.9", "GET /staff", b""),
        404,
    ),
    "rules/recipes/mail-domain.yaml": (
        ("192.0.2.7", "POST /register", b'{"email": "jane@example.com"}'),
        ("192.0.2.7", "POST /register", b'{"email": "jane@mailinator.com"}'),
        403,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_stands_in_deploy_is_what_is_printed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    file, rules = FILES[name]
    done = CliRunner().invoke(cli, ["export", name, rules])
    assert done.exit_code == 0, done.stderr
    assert (ROOT / file).read_text("utf-8") == done.stdout


@pytest.mark.parametrize("name", [name for name in FRONTS if name != "envoy"])
def test_rules_that_cannot_run_there_are_not_printed(name: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules: [{name: a, before: [{headers: {remove: [x-*]}}, {respond: {text: hello}}]}]\n")
    done = CliRunner().invoke(cli, ["export", name, str(rules)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "forward-auth cannot run this: its headers are dropped by their whole names" in done.stderr
    assert "forward-auth cannot run this: its answer has a status of 2xx, by which the request goes on" in done.stderr
    assert "2 errors in the rules: nothing was exported" in done.stderr


@pytest.mark.parametrize("name", FILES)
def test_what_is_printed_names_the_headers_of_the_rules_and_the_run_that_they_need(name: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("""\
version: 1
rules:
  - name: session
    before:
      - lookup: {url: /session, into: session}
      - headers: {rename: {x-old: X-New}, remove: [x-debug], default: {x-site: a}}
      - cookies: {remove: [debug]}
      - deny: {status: 403, headers: {x-why: closed}}
  - name: own
    match: {origin: [rule, proxy]}
    after:
      - headers: {remove: [x-internal-*], set: {x-own: a}}
""")
    done = CliRunner().invoke(cli, ["export", name, str(rules)])
    assert done.exit_code == 0, done.stderr
    named = {"x-correlation-id", "x-old", "X-New", "x-debug", "x-site", "Cookie", "x-real-ip"}
    assert {one for one in named if one in done.stdout} == named
    assert "x-internal" not in done.stdout
    assert (name == "nginx") == ("add_header x-own " in done.stdout and "add_header x-why " in done.stdout)
    serve = f"--serve {FRONTS[name].adapter}=127.0.0.1:9001 --upstream http://127.0.0.1:8081 --listen 127.0.0.1:8082"
    assert f"vestibule run {serve} --rules {rules}\n" in done.stdout


@pytest.mark.parametrize("name", FILES)
def test_what_stands_in_deploy_asks_a_run(name: str, tmp_path: Path) -> None:
    front = FRONTS[name]
    if front.binary() is None:
        pytest.skip(front.missing)
    file, rules = FILES[name]
    with running("--serve", f"{front.adapter}={LOOPBACK}:0", "--rules", ROOT / rules, listens=False) as proxy:
        text = (ROOT / file).read_text("utf-8")
        asyncio.run(_ask(name, text, tmp_path, proxy.greeted(front.adapter), REQUESTS[rules]))
        assert proxy.stop() == 0


@pytest.mark.parametrize(("name", "status"), [("nginx", 500), ("caddy", 502), ("traefik", 500)])
async def test_nothing_goes_on_where_nobody_can_be_asked(name: str, status: int, tmp_path: Path) -> None:
    front = FRONTS[name]
    if front.binary() is None:
        pytest.skip(front.missing)
    with reserve(f"{LOOPBACK}:0") as nobody:
        write = _readdressed((ROOT / FILES[name][0]).read_text("utf-8"))
        async with (
            await asyncio.start_server(_never, LOOPBACK, 0) as server,
            fronts.running(
                front, tmp_path, write, vestibule=address_of(nobody), upstream=server.sockets[0].getsockname()[1]
            ) as port,
        ):
            assert (await _call(port, "192.0.2.7", "GET /staff", b"")).status == status


async def _never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await Wire(reader, writer).send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _readdressed(text: str) -> Callable[..., str]:
    def write(*, listen: str, upstream: str, vestibule: str) -> str:
        port = listen.rpartition(":")[2]
        given = {"127.0.0.1:9001": vestibule, "http://127.0.0.1:8081": upstream, ":8080": f":{port}"}
        return reduce(lambda found, one: found.replace(*one), given.items(), text)

    return write


async def _ask(name: str, text: str, folder: Path, vestibule: str, requests: tuple[_Asked, _Asked, int]) -> None:
    called: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        called.append((await wire.message()).body)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
        writer.close()

    goes_on, refused, status = requests
    async with await asyncio.start_server(serve, LOOPBACK, 0) as server:
        upstream = server.sockets[0].getsockname()[1]
        write = _readdressed(text)
        async with fronts.running(FRONTS[name], folder, write, vestibule=vestibule, upstream=upstream) as port:
            answer = await _call(port, *goes_on)
            assert (answer.status, answer.body, called) == (200, b"done", [goes_on[2]])
            answer = await _call(port, *refused)
            assert (answer.status, answer.get("content-type")) == (status, b"application/problem+json")
            assert called == [goes_on[2]]


async def _call(port: int, address: str, line: str, body: bytes) -> Message:
    """Send a request as from an address."""
    wire = await Wire.open(port)
    head = f"PROXY TCP4 {address} {LOOPBACK} 1024 80\r\n{line} HTTP/1.1\r\nHost: shop.example\r\n"
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    try:
        await wire.send(f"{head}{kind}X-Forwarded-Proto: https\r\n\r\n".encode(), body)
        return await wire.message()
    finally:
        wire.writer.close()
