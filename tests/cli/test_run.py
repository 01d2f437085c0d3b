"""`vestibule run` as an operator meets it: starting, stopping, reloading, and what the log says."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.running import PATIENCE, ROOT, Proxy, is_gone, run_command, running

LOGIN = "/api/commerce/customer/authtickets"
JANE = {"username": "jane@example.com", "password": "correct-horse-1"}
KIBO = ROOT / "rules" / "kibo"
SITE = {"x-vol-tenant": "1", "x-vol-site": "2"}


def write(path: Path, value: str) -> Path:
    path.write_text(f"version: 1\nrules: [{{name: tag, after: [{{headers: {{set: {{X-Tag: {value}}}}}}}]}}]\n")
    return path


def tag(proxy: Proxy) -> str | None:
    return proxy.call("GET", "/").headers.get("X-Tag")


def test_a_login_through_the_example_rules() -> None:
    with running("--upstream", "sandbox:kibo", "--rules", KIBO) as proxy:
        answer = proxy.call("POST", LOGIN, JANE, SITE)
        assert answer.status == 200
        assert answer.headers["Authorization"] == f"Bearer {answer.json['jwtAccessToken']}"
        assert "refreshToken" not in answer.json
        assert answer.json["customerAccount"]["notes"] == []
        assert "vestibule_refresh=" in answer.headers["Set-Cookie"]
        assert proxy.event("exchange")["id"] == answer.headers["x-vol-correlation"]
        assert proxy.stop() == 0


def test_the_greeting_shows_a_login_to_paste() -> None:
    with running("--upstream", "sandbox:kibo", "--rules", KIBO) as proxy:
        proxy.stop()
        shown = proxy.err.rest()
        assert f"curl -si --compressed {proxy.address}{LOGIN}" in shown
        assert "correct-horse-1" in shown


def test_a_stop_ends_an_idle_proxy_and_its_sandbox() -> None:
    with running("--upstream", "sandbox:kibo") as proxy:
        sandbox = children(proxy.process.pid)
        assert sandbox
        assert proxy.stop() == 0
        assert all(is_gone(pid) for pid in sandbox)


def test_a_stop_waits_for_the_exchanges_that_run_and_takes_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(PATIENCE)
        with running("--upstream", f"http://127.0.0.1:{upstream.getsockname()[1]}") as proxy:
            client = begin(proxy)
            behind, _ = upstream.accept()
            with client, behind:
                behind.recv(65_536)
                proxy.process.send_signal(signal.SIGTERM)
                assert proxy.event("draining")["exchanges"] == 1
                proxy.event("closed")
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", proxy.port))
                behind.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
                assert read_all(client).endswith(b"\r\nConnection: close\r\n\r\ndone")
            assert proxy.event("stopped")["cut"] == 0
            assert proxy.process.wait(PATIENCE) == 0


@pytest.mark.parametrize(("drain", "twice"), [("100ms", False), ("1h", True)], ids=["too late", "a second signal"])
def test_an_exchange_that_outlasts_a_stop_is_cut_and_the_log_says_so(drain: str, twice: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(PATIENCE)
        with running("--upstream", f"http://127.0.0.1:{upstream.getsockname()[1]}", "--drain", drain) as proxy:
            client = begin(proxy)
            behind, _ = upstream.accept()
            with client, behind:
                proxy.process.send_signal(signal.SIGTERM)
                proxy.event("draining")
                if twice:
                    proxy.process.send_signal(signal.SIGTERM)
                line = proxy.event("exchange")
                assert (line["status"], line["by"]) == (None, None)
                assert line["cause"] == "the proxy stopped before the exchange was over"
                with pytest.raises(ConnectionResetError):
                    client.recv(65_536)
            assert proxy.process.wait(PATIENCE) == 0


def begin(proxy: Proxy) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65_536), b""))


def test_a_sandbox_ends_with_a_proxy_that_was_killed() -> None:
    with running("--upstream", "sandbox:kibo") as proxy:
        sandbox = children(proxy.process.pid)
        proxy.stop(signal.SIGKILL)
        assert all(is_gone(pid) for pid in sandbox)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_broken_rules_are_shown_with_their_places_and_nothing_starts(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        """version: 1
rules:
  - name: first
    match: {path: /a//b}
    timeout: 5 seconds
    before:
      - headers: {sett: {x: y}}
      - when: reqest.method == 'GET'
        end: true
      - body: {remove: ["a[?@.b]"]}
"""
    )
    code, out, err = run_command("run", "--upstream", "http://127.0.0.1:1", "--rules", rules)
    assert (code, out) == (3, "")
    assert re.findall(r"rules\.yaml:(\d+):(\d+): error\[([a-z-]+)\]", err) == [
        ("4", "19", "bad-path"),
        ("5", "14", "wrong-value"),
        ("7", "19", "unknown-key"),
        ("8", "15", "unknown-name"),
        ("10", "28", "bad-path"),
    ]
    assert "not started" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no upstream"),
        (["--upstream", "ftp://x"], "--upstream: the upstream is http://"),
        (["--upstream", "sandbox:nothing"], "there is no such sandbox"),
        (["--upstream", "http://127.0.0.1:1", "--listen", "nowhere"], "--listen: an address is host:port"),
        (["--upstream", "http://127.0.0.1:1", "--store", "reddis://x"], "--store: the store is `memory`"),
        (["--upstream", "http://127.0.0.1:1", "--rules", "no-such-folder"], "error[unreadable-file]"),
    ],
)
def test_what_cannot_be_used_is_said_in_words(words: list[str], said: str) -> None:
    code, _, err = run_command("run", "--listen", "127.0.0.1:0", *words)
    assert code == 3
    assert said in err


def test_a_port_that_is_taken_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run_command("run", "--listen", f"127.0.0.1:{port}", "--upstream", "http://127.0.0.1:1")
    assert code == 3
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in err


def test_an_upstream_that_is_down_is_a_502_in_the_dialect() -> None:
    with running("--upstream", "http://127.0.0.1:1", "--rules", KIBO) as proxy:
        answer = proxy.call("POST", LOGIN, JANE, SITE)
        assert (answer.status, answer.json["errorCode"]) == (502, "BAD_GATEWAY")
        assert proxy.event("exchange")["by"] == "proxy"


# Reload


def test_sighup_swaps_the_rules_and_a_broken_file_keeps_the_old(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", "one")
    with running("--upstream", "sandbox:kibo", "--rules", rules) as proxy:
        assert tag(proxy) == "one"
        write(rules, "two")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reloaded")
        assert tag(proxy) == "two"
        for broken in ("version: 1\nrules: [{nam: x}]\n", "[" * 100_000, "version: 1\nru", ""):
            rules.write_text(broken)
            proxy.process.send_signal(signal.SIGHUP)
            proxy.event("reload-failed")
            assert tag(proxy) == "two"
        rules.unlink()
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reload-failed")
        assert tag(proxy) == "two"
        write(rules, "three")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reloaded")
        assert tag(proxy) == "three"


def test_a_broken_file_is_logged_with_the_place_of_each_problem(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", "one")
    with running("--upstream", "sandbox:kibo", "--rules", rules) as proxy:
        rules.write_text("version: 1\nrules: [{name: a, befor: []}]\n")
        proxy.process.send_signal(signal.SIGHUP)
        problem = proxy.event("rule-problem")
        assert (problem["place"], problem["code"]) == (f"{rules}:2:19", "unknown-key")
        assert proxy.event("reload-failed")["problems"] == 1


def test_watching_reloads_by_itself_also_when_a_link_is_swapped(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "rules.yaml", name)
    folder = tmp_path / "map"
    folder.mkdir()
    (folder / "..data").symlink_to(tmp_path / "one")
    (folder / "rules.yaml").symlink_to("..data/rules.yaml")
    with running("--upstream", "sandbox:kibo", "--rules", folder / "rules.yaml", "--watch") as proxy:
        assert tag(proxy) == "one"
        (folder / "..new").symlink_to(tmp_path / "two")
        (folder / "..new").rename(folder / "..data")
        proxy.event("reloaded")
        assert tag(proxy) == "two"


def test_no_request_fails_while_rules_are_reloaded(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", "one")
    done = threading.Event()
    seen: set[str | None] = set()
    failed: list[int] = []
    with running("--upstream", "sandbox:kibo", "--rules", rules) as proxy:

        def load() -> None:
            while not done.is_set():
                answer = proxy.call("GET", "/")
                seen.add(answer.headers.get("X-Tag"))
                if answer.status != 200:
                    failed.append(answer.status)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for number in range(4):
                write(rules, f"value{number}")
                proxy.process.send_signal(signal.SIGHUP)
                proxy.event("reloaded")
        finally:
            done.set()
            thread.join()
    assert failed == []
    assert seen <= {"one", "value0", "value1", "value2", "value3"}
    assert len(seen) > 1


# Workers


def test_a_worker_that_dies_is_replaced_and_all_end_with_a_stop() -> None:
    with running("--upstream", "http://127.0.0.1:1", "--workers", "2") as proxy:
        proxy.event("ready")
        workers = children(proxy.process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        assert proxy.event("worker-died")["worker"] == workers[0]
        proxy.event("ready")
        assert proxy.call("GET", "/").status == 502
        now = children(proxy.process.pid)
        assert len(now) == 2
        assert workers[1] in now
        assert proxy.stop() == 0
        assert all(is_gone(pid) for pid in now)


def test_workers_end_with_a_supervisor_that_was_killed() -> None:
    with running("--upstream", "http://127.0.0.1:1", "--workers", "2") as proxy:
        proxy.event("ready")
        workers = children(proxy.process.pid)
        proxy.stop(signal.SIGKILL)
        assert all(is_gone(pid) for pid in workers)


# The log


def test_an_exchange_is_one_line_and_nothing_secret_is_in_it() -> None:
    canaries = {
        "authorization": "Bearer CANARY-bearer",
        "cookie": "session=CANARY-cookie",
        "x-vol-user-claims": "CANARY-claims",
    }
    with running("--upstream", "sandbox:kibo", "--rules", KIBO) as proxy:
        headers = {**SITE, **canaries}
        answer = proxy.call("POST", LOGIN, {"username": "jane@example.com", "password": "CANARY-password"}, headers)
        assert answer.status == 401
        line = proxy.event("exchange")
        assert (line["operation"], line["status"], line["by"]) == ("createUserAuthTicket", 401, "upstream")
        proxy.call("PUT", f"{LOGIN}/refresh?refreshToken=CANARY-refresh&x=1", headers=headers)
        assert proxy.event("exchange")["query"] == "refreshToken=***&x=1"
        proxy.call("POST", LOGIN, {"username": "CANARY@mailinator.com", "password": "CANARY-password"}, headers)
        line = proxy.event("exchange")
        assert (line["denied_by"], line["reason"]) == ("refuse-disposable-mail", "Disposable addresses cannot sign in.")
        proxy.call("POST", LOGIN, ["CANARY-body"], headers)
        line = proxy.event("exchange", by="proxy")
        assert (line["status"], line["failed_rule"]) == (400, "refuse-disposable-mail")
        with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer CANARY-raw\x01\r\n\r\n")
            refused = raw.recv(65_536)
            assert b"CANARY" not in refused
        assert proxy.event("request-refused", status=400)["id"].encode() in refused
        assert proxy.stop() == 0
        log = proxy.rest()
        assert "CANARY" not in log
        assert "CANARY" not in proxy.err.rest()
        assert all(json.loads(line) for line in log.splitlines())
