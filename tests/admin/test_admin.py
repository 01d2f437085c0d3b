"""The admin port of a run with two workers: who may use it, and what it says of all of them."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import jwt
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from proxy.admin.exposition import FAMILIES
from proxy.observe.metrics import BOUNDS
from tests.running import PATIENCE, Answer, Proxy, run_command, running
from tests.serving import answering

RULES = """
version: 1
rules:
  - name: closed
    match: {path: /closed}
    before: [{deny: {status: 403, code: SHUT, reason: Closed.}}]
  - name: worded
    match: {path: /worded}
    before: [{deny: {status: 403, code: "${request.headers['x-code']}"}}]
  - name: limited
    match: {path: /limited}
    before: [{limit: {key: one, requests: 1, per: 15m, code: SLOW}}]
  - name: skipped
    match: {path: /skipped}
    on_error: continue
    after: [{headers: {set: {x-n: "${1 / (size(rule.name) - 7)}"}}}]
  - name: paused
    match: {path: /paused}
    after: [{redirect: {to: /elsewhere, mode: json, token: {secret: "${secret:factor}", subject: jane}}}]
    continue: [{verify_redirect_token: {secret: "${secret:factor}"}}]
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

SHOP = "https://shop.example"
SECRET = "test-only-" * 4


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
        running(
            "--upstream",
            upstream,
            "--rules",
            rules,
            "--workers",
            "2",
            "--admin",
            "127.0.0.1:0",
            "--public-origin",
            SHOP,
            env={"VESTIBULE_SECRET_FACTOR": SECRET},
        ) as proxy,
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
    eventually(proxy, forwarded, before.get(forwarded, 0) + 21)
    eventually(proxy, 'vestibule_denials_total{action="deny",code="SHUT",rule="closed"}', 1)
    eventually(proxy, 'vestibule_rule_outcomes_total{outcome="failed",rule="broken"}', 1)
    found = eventually(proxy, 'vestibule_rule_outcomes_total{outcome="denied",rule="closed"}', 1)
    assert found['vestibule_upstream_seconds_count{operation=""}'] >= 21
    assert found['vestibule_own_seconds_bucket{le="+Inf",operation=""}'] >= 23
    assert found['vestibule_service_up{service="store"}'] == 1
    assert found['vestibule_workers{state="ready"}'] == 2
    assert found["vestibule_ready"] == found["vestibule_upstream_up"] == 1
    assert found["vestibule_pool_open"] >= 1
    assert found["vestibule_rules"] == 8
    assert [value for name, value in found.items() if name.startswith("vestibule_rules_version")] == [2]
    assert found["vestibule_connections_most"] == 20_000
    assert found["vestibule_log_lines_dropped_total"] == 0


def test_what_rules_did_is_counted_by_their_names_and_by_codes_that_they_write_out(proxy: Proxy) -> None:
    before = metrics(proxy)
    for n in range(5):
        assert proxy.call("GET", "/worded", headers={"X-Code": f"CANARY-{n}"}).status == 403
    limited = {proxy.call("GET", "/limited").status for _ in range(3)}
    assert limited == {200, 429}
    assert proxy.call("GET", "/skipped").status == 200
    sent = proxy.call("GET", "/paused")
    assert sent.status == 403
    state = re.search(r"state=([^&\"]+)", sent.json["redirectUrl"])
    assert state is not None
    cookie = sent.headers["Set-Cookie"].partition(";")[0]
    now = int(time.time())
    proof = jwt.encode({"iss": SHOP, "sub": "jane", "state": state[1], "iat": now, "exp": now + 60}, SECRET)
    back = proxy.call("GET", f"/.vestibule/continue?state={state[1]}&session_token={proof}", headers={"Cookie": cookie})
    assert (back.status, back.body) == (200, b"ok")
    found: dict[str, float] = {}
    for name, count in {
        'denials_total{action="limit",code="SLOW",rule="limited"}': 2,
        'denials_total{action="deny",code="other",rule="worded"}': 5,
        'rule_outcomes_total{outcome="skipped",rule="skipped"}': 1,
        'rule_outcomes_total{outcome="suspended",rule="paused"}': 1,
        'returns_total{outcome="forwarded"}': 1,
    }.items():
        # Each worker tells of itself in its own time.
        found = eventually(proxy, f"vestibule_{name}", count)
    assert found['vestibule_effect_seconds_count{service="store"}'] >= 4
    assert found["vestibule_cpu_seconds_total"] > before["vestibule_cpu_seconds_total"]
    assert found["vestibule_connections_taken_total"] > before["vestibule_connections_taken_total"]
    assert found["vestibule_upstream_connections_made_total"] >= 1
    assert found["vestibule_memory_resident_bytes"] > 20 << 20
    assert found["vestibule_rules_taken_time_seconds"] >= found["vestibule_start_time_seconds"] - 1
    assert "CANARY" not in "".join(found)


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain;version=0.0.4", "text/plain"),
        ("text/plain;q=0.9,application/openmetrics-text;q=0.5", "text/plain"),
        ("application/openmetrics-text;q=0,*/*;q=0", "text/plain"),
        ("application/openmetrics-text;q=nonsense", "text/plain"),
        ("application/openmetrics-text", "application/openmetrics-text"),
        (PROMETHEUS, "application/openmetrics-text"),
    ],
)
def test_a_scraper_gets_the_format_that_it_prefers_and_all_of_it_can_be_read(
    proxy: Proxy, accept: str, kind: str
) -> None:
    answer = ask(proxy.admin, "/metrics", {"Accept": accept})
    assert answer.headers["Content-Type"].partition(";")[0] == kind
    assert answer.headers["Vary"] == "Accept"
    read = read_openmetrics if kind == "application/openmetrics-text" else read_text
    families = {family.name: family for family in read(answer.body.decode())}
    assert {f"vestibule_{name}" for name, family in FAMILIES.items() if family.kind != "info"} <= families.keys()
    assert all(family.documentation for family in families.values())


def test_names_are_in_base_units_and_labels_are_few() -> None:
    for name, family in FAMILIES.items():
        assert not re.search(r"_(ms|millis|kb|mb|minutes|hours|total|count|sum|bucket)(_|$)", name), name
        assert len(family.labels) <= 3
        assert family.kind != "histogram" or name.endswith("_seconds")
    assert BOUNDS[0] == 0.0005


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
