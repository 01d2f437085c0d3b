"""The admin port of a run with two workers: who may use it, and what it says of all of them."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.running import PATIENCE, Answer, Proxy, run_command, running
from tests.serving import answering

RULES = """
version: 1
rules:
  - name: closed
    match: {path: /closed}
    before: [{deny: {status: 403, code: SHUT, reason: Closed.}}]
  - name: guess
    match: {path: /guess}
    before: [{limit: {key: one, failures: 5, per: 15m}}]
  - name: empty
    match: {path: /empty}
    before: [{respond: {status: 204}}]
  - name: broken
    match: {path: /broken}
    before: [{set: {x: "${request.headers['not-there']}"}}]
"""

pytestmark = pytest.mark.xdist_group("admin")


def ask(address: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def metrics(proxy: Proxy) -> dict[str, float]:
    text = ask(proxy.admin, "/metrics").body.decode()
    found = re.findall(r"^(vestibule_[^ ]+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def eventually(proxy: Proxy, name: str, value: float) -> dict[str, float]:
    """Scrape until a metric has a value: workers tell of themselves a few times a second."""
    for _ in range(2000):
        found = metrics(proxy)
        if found.get(name) == value:
            return found
    raise AssertionError(f"{name} is {found.get(name)}, not {value}")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    rules = tmp_path_factory.mktemp("rules") / "rules.yaml"
    rules.write_text(RULES)
    with (
        answering() as upstream,
        running("--upstream", upstream, "--rules", rules, "--workers", "2", "--admin", "127.0.0.1:0") as proxy,
    ):
        proxy.event("ready")
        eventually(proxy, "vestibule_ready", 1)
        yield proxy


def test_a_run_that_serves_is_alive_and_ready(proxy: Proxy) -> None:
    assert ask(proxy.admin, "/livez").json == {"live": True}
    answer = ask(proxy.admin, "/readyz")
    assert (answer.status, answer.json) == (200, {"ready": True, "reasons": []})
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Server" not in answer.headers


def test_the_metrics_are_those_of_all_workers(proxy: Proxy) -> None:
    before = metrics(proxy)
    for _ in range(20):
        assert proxy.call("GET", "/").status == 200
    assert proxy.call("GET", "/closed").status == 403
    assert proxy.call("GET", "/broken").status == 400
    assert proxy.call("GET", "/guess").status == 200
    forwarded = 'vestibule_requests_total{operation="",outcome="forwarded",status="200"}'
    found = eventually(proxy, forwarded, before.get(forwarded, 0) + 21)
    assert found['vestibule_denials_total{code="SHUT",rule="closed"}'] == 1
    assert found['vestibule_rule_outcomes_total{outcome="failed",rule="broken"}'] == 1
    assert found['vestibule_rule_outcomes_total{outcome="denied",rule="closed"}'] == 1
    assert found['vestibule_upstream_seconds_count{operation=""}'] >= 21
    assert found['vestibule_own_seconds_bucket{le="+Inf",operation=""}'] >= 23
    assert found['vestibule_service_up{service="store"}'] == 1
    assert found['vestibule_workers{state="ready"}'] == 2
    assert found["vestibule_ready"] == found["vestibule_upstream_up"] == 1
    assert found["vestibule_pool_open"] >= 1
    assert found["vestibule_rules"] == 4
    assert [value for name, value in found.items() if name.startswith("vestibule_rules_version")] == [2]
    assert found["vestibule_connections_most"] == 20_000
    assert found["vestibule_log_lines_dropped_total"] == 0


def test_nothing_that_a_client_sends_is_in_a_metric(proxy: Proxy) -> None:
    refused = metrics(proxy).get('vestibule_refused_total{status="400"}', 0)
    for n in range(20):
        proxy.call("GET", f"/CANARY-{n}", headers={"X-Canary": "CANARY", "Authorization": "Bearer CANARY"})
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: CANARY\x01\r\n\r\n")
        raw.recv(65_536)
    found = eventually(proxy, 'vestibule_refused_total{status="400"}', refused + 1)
    assert "CANARY" not in "".join(found)
    assert len(found) < 200


def test_no_admin_path_is_on_the_port_of_clients(proxy: Proxy) -> None:
    for path in ("/metrics", "/readyz", "/livez"):
        assert proxy.call("GET", path).body == b"ok", "it came from the upstream"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/nothing"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "shop.example"}, 421),
        ({"Host": "127.0.0.1.nip.io:9"}, 421),
        ({"Host": "localhost", "Origin": "http://shop.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
    ],
)
def test_a_page_in_the_browser_of_an_operator_gets_nothing(
    proxy: Proxy, path: str, headers: dict[str, str], status: int
) -> None:
    answer = ask(proxy.admin, path, headers)
    assert answer.status == status
    assert b"vestibule" not in answer.body
    assert answer.headers["Cache-Control"] == "no-store"


def test_what_the_admin_port_cannot_read_is_in_no_log_and_no_banner(proxy: Proxy) -> None:
    port = int(proxy.admin.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer CANARY\x01\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.")
    assert b" 400 " in answer.splitlines()[0]
    assert b"CANARY" not in answer
    assert b"aiohttp" not in answer


def test_the_admin_port_and_the_counts_outlive_a_worker_and_an_admin_process_that_were_killed(proxy: Proxy) -> None:
    name = 'vestibule_requests_total{operation="",outcome="answered",status="204"}'
    for _ in range(5):
        proxy.call("GET", "/empty")
    found = eventually(proxy, name, 5)
    deaths = found["vestibule_worker_deaths_total"]
    children = list(map(int, Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children").read_text().split()))
    os.kill(children[0], signal.SIGKILL)
    assert proxy.event("worker-died")["worker"] == children[0]
    found = eventually(proxy, "vestibule_worker_deaths_total", deaths + 1)
    assert found[name] == 5
    eventually(proxy, 'vestibule_workers{state="ready"}', 2)
    admin = max(children)
    os.kill(admin, signal.SIGKILL)
    assert proxy.event("admin-died")["admin"] == admin
    proxy.event("admin-ready")
    assert eventually(proxy, 'vestibule_workers{state="ready"}', 2)[name] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--admin", "0.0.0.0:0"], "admin.token: an admin port that others can reach needs one"),
        (["--admin", "0.0.0.0:0", "--admin-token", "gone"], "admin.token: there is no secret `gone`"),
    ],
)
def test_an_admin_port_that_others_can_reach_needs_a_token(words: list[str], said: str) -> None:
    code, _, err = run_command("run", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1", *words)
    assert code == 3
    assert said in err


def test_a_token_opens_the_metrics_and_probes_need_none() -> None:
    token = {"VESTIBULE_SECRET_ADMIN": "test-only-token"}
    words = ("--upstream", "http://127.0.0.1:1", "--admin", "0.0.0.0:0", "--admin-token", "admin")
    with running(*words, "--admin-ready", "workers", env=token) as proxy:
        address = proxy.admin.replace("0.0.0.0", "127.0.0.1")
        assert ask(address, "/readyz", {"Host": "10.0.0.7:80"}).status == 200
        for wrong in ({}, {"Authorization": "Bearer test-only-tokem"}, {"Authorization": "Basic test-only-token"}):
            answer = ask(address, "/metrics", wrong)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert b"vestibule" not in answer.body
        assert ask(address, "/metrics", {"Authorization": "Bearer test-only-token"}).status == 200
        assert ask(address, "/readyz/../metrics").status in (401, 404)
        assert proxy.stop() == 0
        assert "test-only" not in proxy.rest() + proxy.err.rest() + "".join(proxy.greeting)
