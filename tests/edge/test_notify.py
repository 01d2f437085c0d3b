"""What a service manager hears of a run, over the socket that systemd would give it."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.running import PATIENCE, Proxy, running
from tests.serving import answering

RULES = "version: 1\nrules: [{{name: tag, after: [{{headers: {{set: {{X-Tag: {}}}}}}}]}}]\n"
WORKERS = ("--workers", "2")


class Manager:
    """Hears what a run says: each message is its lines by name."""

    def __init__(self, address: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(address)
        self._sock.settimeout(PATIENCE)
        self.variables = {"NOTIFY_SOCKET": address.replace("\0", "@")}

    def hear(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._sock.recv(4096).decode().split("\n"))

    def hear_until(self, name: str) -> list[dict[str, str]]:
        """Give every message up to the one with this name."""
        found = [self.hear()]
        while name not in found[-1]:
            found.append(self.hear())
        return found

    def close(self) -> None:
        self._sock.close()


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"\0{tmp_path}/notify"


@contextmanager
def managed(address: str, *flags: str | Path, **variables: str) -> Iterator[tuple[Manager, Proxy]]:
    manager = Manager(address)
    try:
        with answering() as upstream, running(
            "--upstream", upstream, *flags, env={**manager.variables, **variables}
        ) as proxy:  # fmt: skip
            yield manager, proxy
    finally:
        manager.close()


def test_it_hears_that_the_run_serves_and_that_it_stops(address: str) -> None:
    with managed(address, *WORKERS) as (manager, proxy):
        assert manager.hear() == {"READY": "1", "STATUS": f"0 rules, revision {revision(proxy)}"}
        assert proxy.call("GET", "/").status == 200
        assert proxy.stop() == 0
        assert manager.hear() == {"STOPPING": "1"}


def revision(proxy: Proxy) -> str:
    """Give the revision of the rules that the first worker began with."""
    found = proxy.raw[-1].partition('"revision":"')[2]
    return found.partition('"')[0]


def test_a_reload_is_over_when_every_worker_has_the_new_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.format("one"))
    with managed(str(tmp_path / "notify"), "--rules", rules, *WORKERS) as (manager, proxy):
        assert "READY" in manager.hear()
        for tag in ("two", "three"):
            rules.write_text(RULES.format(tag))
            before = time.monotonic_ns() // 1000
            proxy.process.send_signal(signal.SIGHUP)
            told = manager.hear()
            assert told.keys() == {"RELOADING", "MONOTONIC_USEC"}
            assert before <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            assert manager.hear()["READY"] == "1"
            # On connections of their own, which both workers accept.
            assert {proxy.call("GET", "/").headers["X-Tag"] for _ in range(20)} == {tag}
        assert proxy.stop() == 0


def test_a_reload_of_rules_with_a_mistake_is_over_too_and_says_so(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.format("one"))
    with managed(str(tmp_path / "notify"), "--rules", rules) as (manager, proxy):
        manager.hear()
        rules.write_text("version: 1\nruels: []\n")
        proxy.process.send_signal(signal.SIGHUP)
        assert "RELOADING" in manager.hear()
        told = manager.hear()
        assert told["READY"] == "1"
        assert told["STATUS"].startswith("a change of the rules has mistakes, and is not served; 1 rule, revision ")
        assert proxy.call("GET", "/").headers["X-Tag"] == "one"
        assert proxy.stop() == 0


def test_a_reload_of_a_key_that_is_not_that_of_the_certificate_is_over_too_and_says_so(tmp_path: Path) -> None:
    authority = trustme.CA()
    pair, other = (authority.issue_cert("shop.example") for _ in range(2))
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    pair.cert_chain_pems[0].write_to_path(str(cert))
    pair.private_key_pem.write_to_path(str(key))
    with managed(str(tmp_path / "notify"), "--tls-cert", cert, "--tls-key", key) as (manager, proxy):
        manager.hear()
        other.private_key_pem.write_to_path(str(key))
        proxy.process.send_signal(signal.SIGHUP)
        assert "RELOADING" in manager.hear()
        told = manager.hear()
        assert told["READY"] == "1"
        assert told["STATUS"].startswith("a certificate, key or token cannot be used, and the one before is kept; 0 ")
        assert proxy.stop() == 0


def test_it_hears_again_and_again_that_the_supervisor_is_alive(tmp_path: Path) -> None:
    with managed(str(tmp_path / "notify"), WATCHDOG_USEC="20000") as (manager, proxy):
        heard = [message for _ in range(10) for message in manager.hear_until("WATCHDOG")]
        assert proxy.stop() == 0
        heard += manager.hear_until("STOPPING")
    assert sum("WATCHDOG" in message for message in heard) >= 10


def test_a_watchdog_of_another_process_is_not_fed(tmp_path: Path) -> None:
    with managed(str(tmp_path / "notify"), WATCHDOG_USEC="20000", WATCHDOG_PID="1") as (manager, proxy):
        assert set(manager.hear()) == {"READY", "STATUS"}
        for _ in range(20):
            assert proxy.call("GET", "/").status == 200
        assert proxy.stop() == 0
        assert [set(message) for message in manager.hear_until("STOPPING")] == [{"STOPPING"}]


@pytest.mark.parametrize("address", ["/nowhere/notify", "nowhere"])
def test_a_manager_that_is_not_there_changes_nothing(address: str) -> None:
    with answering() as upstream, running("--upstream", upstream, env={"NOTIFY_SOCKET": address}) as proxy:
        assert proxy.call("GET", "/").status == 200
        assert proxy.stop() == 0
