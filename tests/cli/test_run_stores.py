"""What workers share through the store that an operator chose, and what the operator sees of it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.running import Proxy, run_command, running
from tests.services.store.valkey import serving

RULES = """
version: 1
rules:
  - name: lock-out
    match: {path: /login}
    before: [{limit: {key: "${request.headers['user']}", failures: 5, per: 15m}}]
"""
WORKERS = ("--workers", "2")


class Auth(ThreadingHTTPServer):
    """An auth service that knows nobody's password; `calls` are the paths that it was asked for."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.calls: list[str] = []
        super().__init__(("127.0.0.1", 0), Answering)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, Auth)
        self.server.calls.append(self.path)
        body = b"call %d" % len(self.server.calls)
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def auth() -> Iterator[Auth]:
    server = Auth()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@contextmanager
def storing(kind: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the flags for the store that several workers have by themselves, or for a server with a password."""
    if kind == "none given":
        yield WORKERS
    else:
        with serving(folder, "--requirepass", "test-only-password") as server:
            yield (*WORKERS, "--store", f"redis://:test-only-password@127.0.0.1:{server.port}")


def log_in(proxy: Proxy, user: str) -> int:
    return proxy.call("POST", "/login", headers={"User": user}).status


@pytest.mark.parametrize("kind", ["none given", "with a password"])
def test_five_wrong_passwords_lock_a_user_on_all_workers(kind: str, tmp_path: Path, auth: Auth, rules: Path) -> None:
    with storing(kind, tmp_path) as flags, running("--upstream", auth.url, "--rules", rules, *flags) as proxy:
        assert [log_in(proxy, "jane") for _ in range(5)] == [401] * 5
        for _ in range(10):
            answer = proxy.call("POST", "/login", headers={"User": "jane"})
            assert answer.status == 429
            assert 800 < int(answer.headers["Retry-After"]) <= 900
        assert log_in(proxy, "maria") == 401
        assert len(auth.calls) == 6
        assert proxy.stop() == 0
        assert "test-only" not in proxy.rest() + proxy.err.rest() + "".join(proxy.greeting)


def test_a_file_remembers_over_a_restart(tmp_path: Path, auth: Auth, rules: Path) -> None:
    flags = ("--upstream", auth.url, "--rules", rules, "--store", f"sqlite:{tmp_path}/store.db")
    secret = {"VESTIBULE_SECRET_STORE_KEY": "test-only-store-key"}
    with running(*flags, env=secret) as proxy:
        assert [log_in(proxy, "jane") for _ in range(6)] == [401] * 5 + [429]
        assert proxy.stop() == 0
    with running(*flags, env=secret) as proxy:
        assert log_in(proxy, "jane") == 429
        assert f"  store         sqlite:{tmp_path}/store.db" in proxy.greeting
        assert not any("note" in line for line in proxy.greeting)
    with running(*flags) as proxy:
        assert log_in(proxy, "jane") == 401
        assert any("no secret `store_key`" in line for line in proxy.greeting)


def test_a_store_of_one_run_goes_with_it(tmp_path: Path, auth: Auth, rules: Path) -> None:
    with running("--upstream", auth.url, "--rules", rules, *WORKERS, env={"TMPDIR": str(tmp_path)}) as proxy:
        assert log_in(proxy, "jane") == 401
        [folder] = [path for path in tmp_path.iterdir() if path.is_dir()]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
        assert any(re.match(r"  store         sqlite: a file that the workers share", line) for line in proxy.greeting)
        assert proxy.stop() == 0
        assert not folder.exists()


def test_a_store_that_is_down_is_a_503_and_nothing_is_forwarded(tmp_path: Path, auth: Auth, rules: Path) -> None:
    with serving(tmp_path) as server:
        port = server.port
    url = f"redis://user:test-only-password@127.0.0.1:{port}"
    with running("--upstream", auth.url, "--rules", rules, "--store", url) as proxy:
        answer = proxy.call("POST", "/login", headers={"User": "jane"})
        assert answer.status == 503
        assert auth.calls == []
        event = proxy.event("exchange")
        assert event["cause"].endswith(f"the store redis://user:***@127.0.0.1:{port} cannot be reached")
        assert proxy.stop() == 0
        assert "test-only" not in proxy.rest() + proxy.err.rest() + "".join(proxy.greeting)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--store", "memory", *WORKERS], "store: `memory` is of one worker"),
        (["--store", "sqlite:/no/such/folder/store.db"], "the store /no/such/folder/store.db cannot be used"),
        (["--store", "rediss://h?ca=/no/such/file"], "store: /no/such/file: No such file or directory"),
        (["--store", "redis://:test-only@h:x"], "--store: the store's host and port"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_in_words(flags: list[str], said: str) -> None:
    code, _, err = run_command("run", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1", *flags)
    assert code == 3
    assert said in err
    assert "test-only" not in err


def test_no_password_of_a_store_is_ever_printed(tmp_path: Path) -> None:
    file = tmp_path / "v.yaml"
    file.write_text("store: redis://user:test-only@host/1\n")
    for shape in ("text", "json"):
        code, out, err = run_command("config", "-c", file, "--format", shape)
        assert code == 0
        assert "redis://user:***@host:6379/1" in out
        assert "test-only" not in out + err
    for wrong in ("reddis://user:test-only@host", "redis://user:test-only/x@host", "redis://user:test-only@host/x"):
        file.write_text(f"store: {wrong}\n")
        code, out, err = run_command("config", "-c", file)
        assert code == 3
        assert f"{os.fspath(file)}:1:8: error" in err
        assert "test-only" not in out + err
