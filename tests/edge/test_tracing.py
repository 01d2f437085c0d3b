"""Traces of a whole run: what the upstream is told, what is logged, and what an OTLP receiver gets."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.running import PATIENCE, Proxy, run_command, running

RULES = """
version: 1
rules:
  - name: closed
    match: {path: /closed}
    before: [{deny: {status: 403, code: SHUT, reason: Closed.}}]
  - name: marks
    match: {path: /login}
    after: [{headers: {set: {x-seen: "1"}}}]
  - name: broken
    match: {path: /broken}
    after: [{headers: {set: {x: "${1 / (size(rule.name) - 6)}"}}}]
"""
ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{ID}-{PARENT}-01"


@dataclass
class Site:
    """A server that keeps what it is sent; `status` is what it answers."""

    address: str
    status: int = 200
    heads: Queue[dict[str, str]] = field(default_factory=Queue)
    bodies: Queue[bytes] = field(default_factory=Queue)


@contextmanager
def site() -> Iterator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            found.heads.put({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
            found.bodies.put(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Site(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()


def attributes(holder: Mapping[str, Any]) -> dict[str, Any]:
    def value(one: Mapping[str, Any]) -> Any:
        [(kind, held)] = one.items()
        if kind == "arrayValue":
            return [value(item) for item in held["values"]]
        return int(held) if kind == "intValue" else held

    return {one["key"]: value(one["value"]) for one in holder.get("attributes", ())}


def plain(span: Mapping[str, Any]) -> dict[str, Any]:
    """Read a span as OTLP writes it in JSON."""
    return {
        "name": span["name"],
        "kind": span["kind"],
        "trace": span["traceId"],
        "id": span["spanId"],
        "parent": span.get("parentSpanId", ""),
        "error": span.get("status", {}).get("code") == 2,
        "times": (int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])),
        "attributes": attributes(span),
        "events": [(event["name"], attributes(event)) for event in span.get("events", ())],
    }


def spans(collector: Site, count: int) -> list[dict[str, Any]]:
    """Wait for so many spans."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        request = json.loads(collector.bodies.get(timeout=PATIENCE))
        for resource in request["resourceSpans"]:
            assert attributes(resource["resource"])["service.name"] == "shop"
            found += [plain(span) for scope in resource["scopeSpans"] for span in scope["spans"]]
    return found


def line(proxy: Proxy) -> dict[str, Any]:
    return proxy.event("exchange")


@contextmanager
def traced(folder: Path, *words: str) -> Iterator[tuple[Proxy, Site, Site]]:
    rules = folder / "rules.yaml"
    rules.write_text(RULES)
    with site() as upstream, site() as collector:
        given = ("--upstream", upstream.address, "--rules", rules, "--tracing", collector.address)
        with running(
            *given, "--tracing-service", "shop", "--tracing-token", "otlp", *words,
            env={"VESTIBULE_SECRET_OTLP": "test-only-token"},
        ) as proxy:  # fmt: skip
            yield proxy, upstream, collector


def test_an_exchange_is_a_span_of_the_server_and_one_of_the_client(tmp_path: Path) -> None:
    with traced(tmp_path) as (proxy, upstream, collector):
        secret = {"Authorization": "Bearer CANARY", "Cookie": "session=CANARY"}
        sent = {"traceparent": SENT, "tracestate": "vendor=1", **secret}
        assert proxy.call("GET", "/login?password=CANARY", headers=sent).status == 200
        served, asked = sorted(spans(collector, 2), key=lambda span: span["kind"])
        assert (served["kind"], served["name"], served["trace"], served["parent"]) == (2, "GET marks", ID, PARENT)
        assert (asked["kind"], asked["name"], asked["trace"], asked["parent"]) == (3, "GET", ID, served["id"])
        told = upstream.heads.get(timeout=PATIENCE)
        assert told["traceparent"] == f"00-{ID}-{asked['id']}-01"
        assert told["tracestate"] == "vendor=1"
        assert line(proxy)["trace_id"] == ID
        assert served["attributes"].items() >= {
            "http.request.method": "GET", "http.route": "marks", "http.response.status_code": 200, "url.path": "/login",
            "url.scheme": "http", "client.address": "127.0.0.1", "vestibule.rules": ["marks"],
        }.items()  # fmt: skip
        assert asked["attributes"].items() >= {
            "http.request.method": "GET", "http.response.status_code": 200, "server.address": "127.0.0.1",
        }.items()  # fmt: skip
        assert served["events"] == [("vestibule.verdict", {"vestibule.by": "upstream"})]
        assert served["times"][0] <= asked["times"][0] <= asked["times"][1] <= served["times"][1]
        assert not served["error"]
        assert not asked["error"]
        assert "CANARY" not in str((served, asked))
        head = collector.heads.get(timeout=PATIENCE)
        assert (head["path"], head["authorization"]) == ("/v1/traces", "Bearer test-only-token")


def test_a_denial_is_told_by_an_event_and_an_error_by_its_type(tmp_path: Path) -> None:
    with traced(tmp_path) as (proxy, upstream, collector):
        assert proxy.call("GET", "/closed").status == 403
        (denied,) = spans(collector, 1)
        ((name, told),) = denied["events"]
        assert name == "vestibule.verdict"
        assert told.items() >= {
            "vestibule.by": "rule", "vestibule.rule": "closed", "vestibule.action": "deny", "vestibule.code": "SHUT",
        }.items()  # fmt: skip
        assert denied["parent"] == ""
        assert not denied["error"]
        assert proxy.call("GET", "/broken").status == 500
        upstream.status = 503
        assert proxy.call("GET", "/login").status == 503
        # The upstream's answer was fine where a rule failed on it.
        found = spans(collector, 4)
        by_kind = {(span["kind"], span["attributes"].get("error.type")) for span in found}
        assert by_kind == {(2, "500"), (3, None), (2, "503"), (3, "503")}
        broken = next(span for span in found if span["attributes"].get("error.type") == "500")
        assert broken["events"][0][1]["vestibule.rule"] == "broken"
        assert broken["error"]


@pytest.mark.parametrize("sent", [None, "00-nonsense", SENT.replace(ID, "0" * 32)])
def test_a_trace_begins_where_there_is_no_valid_one(tmp_path: Path, sent: str | None) -> None:
    with traced(tmp_path) as (proxy, upstream, collector):
        headers = {"traceparent": sent, "tracestate": "vendor=1"} if sent is not None else {}
        assert proxy.call("GET", "/login", headers=headers).status == 200
        served, asked = sorted(spans(collector, 2), key=lambda span: span["kind"])
        told = upstream.heads.get(timeout=PATIENCE)
        assert told["traceparent"].split("-")[1:3] == [served["trace"], asked["id"]]
        assert "tracestate" not in told
        assert served["parent"] == ""
        assert line(proxy)["trace_id"] == served["trace"]


def test_what_is_not_sampled_is_traced_and_not_sent(tmp_path: Path) -> None:
    with traced(tmp_path, "--tracing-ratio", "0") as (proxy, upstream, collector):
        assert proxy.call("GET", "/login").status == 200
        told = upstream.heads.get(timeout=PATIENCE)["traceparent"]
        assert told.endswith(("-00", "-02"))
        assert told.split("-")[1] == line(proxy)["trace_id"]
        assert proxy.call("GET", "/login", headers={"traceparent": SENT}).status == 200
        assert {span["trace"] for span in spans(collector, 2)} == {ID}
        assert proxy.stop() == 0
        assert collector.bodies.empty()


def test_a_collector_that_fails_costs_no_request_and_is_told_once(tmp_path: Path) -> None:
    with traced(tmp_path) as (proxy, _, collector):
        collector.status = 400
        for _ in range(20):
            assert proxy.call("GET", "/login").status == 200
        assert proxy.event("tracing-failed")["level"] == "error"
        collector.status = 200
        assert proxy.call("GET", "/login").status == 200
        assert proxy.event("tracing-works")["level"] == "info"
        assert proxy.stop() == 0


@pytest.mark.parametrize("sent", [SENT, "00-nonsense", None])
def test_without_tracing_the_context_goes_on_as_it_came(tmp_path: Path, sent: str | None) -> None:
    with site() as upstream, running("--upstream", upstream.address) as proxy:
        headers = {"traceparent": sent, "tracestate": "Not=Valid,,"} if sent is not None else {}
        assert proxy.call("GET", "/", headers=headers).status == 200
        told = upstream.heads.get(timeout=PATIENCE)
        assert (told.get("traceparent"), told.get("tracestate")) == (sent, headers.get("tracestate"))
        assert line(proxy).get("trace_id") == (ID if sent == SENT else None)


def test_a_token_of_the_collector_that_is_no_secret_keeps_a_run_from_starting() -> None:
    words = ("--upstream", "http://127.0.0.1:1", "--tracing", "http://127.0.0.1:4318", "--tracing-token", "gone")
    code, _, err = run_command("run", "--listen", "127.0.0.1:0", *words)
    assert code == 3
    assert "tracing.token: there is no secret `gone`" in err
