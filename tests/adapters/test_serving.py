"""`vestibule run --serve`: adapters beside the proxy or alone, as an operator meets them."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import urllib.request
from contextlib import closing
from http.client import HTTPMessage
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from proxy.adapters import serving
from proxy.edge.sockets import ListenError
from tests.running import PATIENCE, run_command, running

ASKED = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Host": "shop.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Uri": "/",
}


def ask(address: str) -> HTTPMessage:
    """Ask on a connection of its own; gives the headers of a 200."""
    with closing(http.client.HTTPConnection(address, timeout=PATIENCE)) as connection:
        connection.request("GET", "/", headers=ASKED)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        return answer.headers


def write(path: Path, steps: str) -> Path:
    path.write_text(f"version: 1\nrules: [{{name: tag, before: [{steps}]}}]\n")
    return path


def test_adapters_are_served_without_an_upstream_by_every_worker(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", "{headers: {set: {X-Tag: one}}}")
    words = ("--serve", "forward_auth=127.0.0.1:0", "--rules", rules, "--admin", "127.0.0.1:0", "--workers", "2")
    with running(*words, listens=False) as proxy:
        proxy.event("ready")
        address = proxy.greeted("forward_auth")
        assert ask(address)["X-Tag"] == "one"
        with urllib.request.urlopen(f"{proxy.admin}/readyz", timeout=PATIENCE) as answer:
            assert json.load(answer) == {"ready": True, "reasons": []}
        asked = set()
        for _ in range(60):
            ask(address)
            asked.add(proxy.event("exchange")["pid"])
        assert len(asked) == 2
        # Rules that do not hold, or cannot be run for who asks, change nothing; others hold from the next question on.
        for wrong, code in (("{headers: {sett: {X-Tag: two}}}", "unknown-key"), ("{method: PUT}", "not-on-target")):
            write(rules, wrong)
            proxy.process.send_signal(signal.SIGHUP)
            proxy.event("rule-problem", code=code)
            proxy.event("reload-failed")
        assert ask(address)["X-Tag"] == "one"
        write(rules, "{headers: {set: {X-Tag: two}}}")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reloaded")
        proxy.event("reloaded")
        assert ask(address)["X-Tag"] == "two"
        assert proxy.stop() == 0


@pytest.mark.parametrize(("drain", "status"), [("1h", 200), ("0s", None)])
def test_a_stop_waits_for_questions_that_are_being_answered(tmp_path: Path, drain: str, status: int | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        service.settimeout(PATIENCE)
        url = f"http://127.0.0.1:{service.getsockname()[1]}/"
        rules = write(tmp_path / "rules.yaml", f"{{lookup: {{url: '{url}', into: found}}}}")
        words = ("--serve", "forward_auth=127.0.0.1:0", "--rules", rules, "--drain", drain)
        with running(*words, "--upstream", "http://127.0.0.1:9") as proxy:
            with closing(http.client.HTTPConnection(proxy.greeted("forward_auth"), timeout=PATIENCE)) as asker:
                asker.request("GET", "/", headers=ASKED)
                called, _ = service.accept()
                with called:
                    called.recv(65_536)
                    proxy.process.send_signal(signal.SIGTERM)
                    proxy.event("closed")
                    if status is not None:
                        called.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                        assert asker.getresponse().status == status
                    else:
                        with pytest.raises(http.client.RemoteDisconnected):
                            asker.getresponse()
            assert proxy.process.wait(PATIENCE) == 0


def check(address: str) -> int:
    """Ask by gRPC's health check whether an adapter is to be asked."""
    with grpc.insecure_channel(address) as channel:
        method = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        return int(method(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status)


def test_a_stop_says_that_others_are_to_be_asked_and_answers_until_they_are(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", "{headers: {set: {X-Tag: one}}}")
    words = ("--serve", "ext_proc=127.0.0.1:0,forward_auth=127.0.0.1:0", "--rules", rules, "--drain-delay", "1h")
    with running(*words, listens=False) as proxy:
        checked, asked = proxy.greeted("ext_proc"), proxy.greeted("forward_auth")
        assert check(checked) == health_pb2.HealthCheckResponse.SERVING
        assert "Connection" not in ask(asked)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.event("draining")
        assert check(checked) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert ask(asked)["Connection"] == "close"
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ["ext_proc", "ext_authz"])
def test_what_is_not_installed_is_said_with_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "find_spec", {"envoy": object()}.get)
    with pytest.raises(ListenError, match=rf"cannot serve {name}: .* pip install '\.\[envoy\]'"):
        serving.reserve_all({name: "127.0.0.1:0"}, workers=1, taken=False)
    serving.check_installed(["forward_auth"])


def test_what_cannot_be_served_is_said_at_the_start(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", "{lookup: {url: /me, into: me}}")
    anywhere = "forward_auth=127.0.0.1:0"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for words, said in (
            ((f"forward_auth={address}",), f"cannot listen on {address}: Address already in use"),
            (("forward_aut=127.0.0.1:0",), "there is no adapter forward_aut; did you mean forward_auth?"),
            ((f"{anywhere},{anywhere}",), "each adapter has one address"),
            ((anywhere, "--listen", "127.0.0.1:0"), "no upstream"),
            ((anywhere, "--rules", str(rules)), "no upstream is given here"),
            ((f"forward_auth=unix:{tmp_path}/asked", "--workers", "2"), "several workers cannot share a path"),
        ):
            code, _, err = run_command("run", "--serve", *words)
            assert code == 3
            assert said in err
