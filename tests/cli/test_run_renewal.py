"""Certificates, keys and tokens that are replaced while a run serves."""

from __future__ import annotations

import contextlib
import functools
import http.client
import http.server
import os
import shutil
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.admin.test_admin import ask, eventually
from tests.cli.test_run_lifecycle import workers_of
from tests.edge.test_tracing import site
from tests.running import PATIENCE, Proxy, run_command, running
from tests.serving import answering

WORKERS = 2
NAME = "shop.example"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with answering() as address:
        yield address


class Pair:
    """A certificate and its key."""

    def __init__(self, authority: trustme.CA, *, until: datetime | None = None, name: str = NAME) -> None:
        made = authority.issue_cert(name, not_after=until)
        self.cert, self.key = made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()
        self.serial = x509.load_pem_x509_certificate(self.cert).serial_number

    def put(self, folder: Path) -> Pair:
        """Put them where a run has them, each whole and at once."""
        for name, content in (("tls.crt", self.cert), ("tls.key", self.key)):
            put(folder / name, content)
        return self


def put(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.aside")
    aside.write_bytes(content)
    aside.rename(path)


def flags(folder: Path, upstream: str, *more: str | Path) -> tuple[str | Path, ...]:
    files = ("--tls-cert", folder / "tls.crt", "--tls-key", folder / "tls.key")
    return ("--upstream", upstream, *files, *more)


@functools.cache
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def connect(proxy: Proxy, authority: trustme.CA, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)
    return trusting(authority).wrap_socket(plain, server_hostname=NAME, session=session)


def serial(client: ssl.SSLSocket) -> int:
    return x509.load_der_x509_certificate(client.getpeercert(binary_form=True) or b"").serial_number


def served(proxy: Proxy, authority: trustme.CA) -> int:
    """Give the serial number of the certificate that a new connection gets."""
    with connect(proxy, authority) as client:
        return serial(client)


def ask_on(client: ssl.SSLSocket) -> bytes:
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    found = b""
    while not found.endswith(b"ok"):
        got = client.recv(65_536)
        assert got, "the connection was closed"
        found += got
    return found


@contextlib.contextmanager
def only(proxy: Proxy, worker: int) -> Iterator[None]:
    """Let one worker alone take connections."""
    others = [pid for pid in workers_of(proxy) if pid != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def reload(proxy: Proxy, *, workers: int = WORKERS) -> list[str]:
    proxy.process.send_signal(signal.SIGHUP)
    return [proxy.event("reloaded", setting="tls", keep=True)["expires"] for _ in range(workers)]


def test_a_renewed_certificate_is_served_by_every_worker_and_open_connections_go_on(
    authority: trustme.CA, upstream: str, tmp_path: Path
) -> None:
    old = Pair(authority).put(tmp_path)
    with running(*flags(tmp_path, upstream, "--workers", str(WORKERS))) as proxy:
        proxy.event("ready", keep=True)
        with connect(proxy, authority) as client:
            assert serial(client) == old.serial
            ask_on(client)
            new = Pair(authority, until=datetime(2101, 2, 3, 4, 5, 6, tzinfo=UTC)).put(tmp_path)
            assert reload(proxy) == ["2101-02-03T04:05:06Z"] * WORKERS
            assert b" 200 " in ask_on(client)
            session = None
            for worker in workers_of(proxy):
                with only(proxy, worker), connect(proxy, authority, session) as another:
                    assert serial(another) == new.serial
                    # Who was at one worker need not shake hands anew at another.
                    assert another.session_reused is (session is not None)
                    ask_on(another)
                    session = another.session
            # One that starts later has it too, even when the files are no longer what they were.
            (tmp_path / "tls.crt").unlink()
            worker, *_ = workers_of(proxy)
            os.kill(worker, signal.SIGKILL)
            proxy.event("worker-died")
            late = proxy.event("ready")["pid"]
            with only(proxy, late):
                assert served(proxy, authority) == new.serial


def test_a_pair_that_cannot_be_used_is_refused_whole_and_the_one_before_it_is_served_on(
    authority: trustme.CA, upstream: str, tmp_path: Path
) -> None:
    old, other = Pair(authority).put(tmp_path), Pair(authority)
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules: []\n")

    broken: tuple[tuple[Callable[[], None], str], ...] = (
        (lambda: put(cert, other.cert), "the key is not that of the certificate"),
        (lambda: put(cert, other.cert[:200]), "there is no whole certificate in PEM form"),
        (lambda: put(key, other.key[:100]), "there is no whole"),
        (lambda: put(key, b""), "there is no whole"),
        (key.unlink, "No such file or directory"),
        (lambda: os.mkfifo(key), "is not a file"),
    )
    with running(*flags(tmp_path, upstream, "--admin", "127.0.0.1:0", "--rules", rules)) as proxy:
        for break_it, cause in broken:
            break_it()
            proxy.process.send_signal(signal.SIGHUP)
            told = proxy.event("reload-failed", setting="tls")
            assert cause in told["cause"]
            assert str(tmp_path) in told["cause"]
            # Rules have nothing to do with it.
            proxy.event("reloaded", rules=0)
            assert served(proxy, authority) == old.serial
        found = eventually(proxy, 'vestibule_reloads_total{result="refused"}', len(broken))
        assert (found["vestibule_credentials_reload_ok"], found["vestibule_rules_reload_ok"]) == (0, 1)
        new = Pair(authority, until=datetime(2101, 2, 3, tzinfo=UTC)).put(tmp_path)
        rules.write_text("version: 1\nrules: [{nam: x}]\n")
        # Nor has it anything to do with rules.
        assert reload(proxy, workers=1) == ["2101-02-03T00:00:00Z"]
        assert served(proxy, authority) == new.serial
        found = eventually(proxy, "vestibule_rules_reload_ok", 0)
        assert found["vestibule_credentials_reload_ok"] == 1
        ends = datetime(2101, 2, 3, tzinfo=UTC).timestamp()
        eventually(proxy, 'vestibule_certificate_expiry_time_seconds{setting="tls"}', ends)


def test_a_certificate_that_has_ended_is_served_with_a_warning(
    authority: trustme.CA, upstream: str, tmp_path: Path
) -> None:
    ended = datetime(2021, 2, 3, tzinfo=UTC)
    Pair(authority, until=ended).put(tmp_path)
    with running(*flags(tmp_path, upstream)) as proxy:
        assert proxy.event("certificate-expired", keep=True)["expired"] == "2021-02-03T00:00:00Z"
        Pair(authority, until=ended.replace(year=2022)).put(tmp_path)
        proxy.process.send_signal(signal.SIGHUP)
        assert proxy.event("certificate-expired", keep=True, setting="tls")["expired"] == "2022-02-03T00:00:00Z"


def mount(folder: Path, version: str, pair: Pair, *, first: bool = False) -> None:
    """Put a pair where Kubernetes mounts a Secret: in a folder of its version, to which one link leads."""
    made = folder / f"..{version}"
    made.mkdir()
    (made / "tls.crt").write_bytes(pair.cert)
    (made / "tls.key").write_bytes(pair.key)
    (folder / "..data_tmp").symlink_to(made.name)
    before = folder / os.readlink(folder / "..data") if not first else None
    (folder / "..data_tmp").rename(folder / "..data")
    if first:
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(f"..data/{name}")
    if before is not None:
        shutil.rmtree(before)


def test_watching_takes_a_secret_that_kubernetes_swapped_and_tries_again_after_a_broken_one(
    authority: trustme.CA, upstream: str, tmp_path: Path
) -> None:
    old, new = Pair(authority), Pair(authority)
    mount(tmp_path, "1", old, first=True)
    broken = Pair(authority)
    broken.key = old.key
    with running(*flags(tmp_path, upstream, "--watch")) as proxy:
        proxy.event("watching")
        mount(tmp_path, "2", broken)
        assert "the key is not that of the certificate" in proxy.event("reload-failed", setting="tls")["cause"]
        assert served(proxy, authority) == old.serial
        mount(tmp_path, "3", new)
        proxy.event("reloaded", setting="tls")
        assert served(proxy, authority) == new.serial
        third = Pair(authority)
        mount(tmp_path, "4", third)
        proxy.event("reloaded", setting="tls")
        assert served(proxy, authority) == third.serial


def test_a_run_that_takes_over_serves_the_certificate_that_is_there_then_and_takes_later_ones(
    authority: trustme.CA, upstream: str, tmp_path: Path
) -> None:
    Pair(authority).put(tmp_path)
    words = flags(tmp_path, upstream, "--handover", tmp_path / "handover")
    with running(*words) as before, connect(before, authority) as client:
        while not (tmp_path / "handover").exists():
            ask_on(client)
        second = Pair(authority).put(tmp_path)
        with running(*words) as after:
            assert before.process.wait(PATIENCE) == 0
            assert after.address == before.address
            assert served(after, authority) == second.serial
            third = Pair(authority).put(tmp_path)
            reload(after, workers=1)
            assert served(after, authority) == third.serial


def test_a_replaced_admin_token_is_asked_for_and_the_old_one_lets_nobody_stay(upstream: str, tmp_path: Path) -> None:
    def bearer(token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    put(tmp_path / "admin", b"test-only-one\n")
    words = ("--admin", "127.0.0.1:0", "--admin-token", "admin", "--inspect", "5", "--secrets", tmp_path, "--watch")
    with running("--upstream", upstream, *words) as proxy:
        proxy.event("watching", keep=True)
        listening = http.client.HTTPConnection(proxy.admin.removeprefix("http://"), timeout=PATIENCE)
        listening.request("GET", "/inspect/api/stream", headers=bearer("test-only-one"))
        stream = listening.getresponse()
        assert stream.status == 200
        put(tmp_path / "admin", b"test-only-two\n")
        proxy.event("reloaded", setting="admin.token")
        assert ask(proxy.admin, "/metrics", bearer("test-only-one")).status == 401
        assert ask(proxy.admin, "/metrics", bearer("test-only-two")).status == 200
        # No record holds it either, wherever it stands.
        proxy.call("GET", "/", headers={"X-Odd": "it is test-only-two"})
        while (record := ask(proxy.admin, "/inspect/api/exchanges/1", bearer("test-only-two"))).status == 404:
            pass
        assert b"it is " in record.body
        assert b"test-only" not in record.body
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            stream.read()
        listening.close()
        (tmp_path / "admin").unlink()
        assert proxy.event("reload-failed", setting="admin.token")["cause"] == "there is no secret `admin`"
        assert ask(proxy.admin, "/metrics", bearer("test-only-two")).status == 200
        assert ask(proxy.admin, "/metrics").status == 401
        assert proxy.stop() == 0
        assert "test-only" not in proxy.rest()


def test_a_renewed_token_of_the_collector_is_sent_with_the_next_spans(upstream: str, tmp_path: Path) -> None:
    put(tmp_path / "otlp", b"test-only-one")
    with site() as collector:
        words = ("--tracing", collector.address, "--tracing-token", "otlp", "--secrets", tmp_path)
        with running("--upstream", upstream, *words) as proxy:
            proxy.call("GET", "/")
            assert collector.heads.get(timeout=PATIENCE)["authorization"] == "Bearer test-only-one"
            put(tmp_path / "otlp", b"test-only-two")
            proxy.process.send_signal(signal.SIGHUP)
            proxy.event("reloaded", setting="tracing.token")
            proxy.call("GET", "/")
            assert collector.heads.get(timeout=PATIENCE)["authorization"] == "Bearer test-only-two"


@contextlib.contextmanager
def mutual(authority: trustme.CA) -> Iterator[tuple[str, Queue[int]]]:
    """Run an upstream that asks for a certificate; gives its address, and the serial number of each that it saw."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    seen: Queue[int] = Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert isinstance(self.connection, ssl.SSLSocket)
            seen.put(serial(self.connection))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # who only looks whether it is there says nothing

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()


def test_the_upstream_sees_our_renewed_certificate_in_requests_and_in_the_calls_of_rules(
    authority: trustme.CA, tmp_path: Path
) -> None:
    put(tmp_path / "ca.pem", authority.cert_pem.bytes())
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules: [{name: ask, before: [{lookup: {url: /look, into: found}}]}]\n")
    old = Pair(authority, name="proxy@internal").put(tmp_path)
    files = ("--upstream-tls-cert", tmp_path / "tls.crt", "--upstream-tls-key", tmp_path / "tls.key")
    store = f"rediss://127.0.0.1:1?cert={tmp_path}/tls.crt&key={tmp_path}/tls.key"
    with mutual(authority) as (address, seen):
        ca = ("--upstream-tls-ca", tmp_path / "ca.pem")
        words = ("--upstream", address, *files, *ca, "--rules", rules, "--store", store)
        with running(*words) as proxy:
            assert proxy.call("GET", "/").status == 200
            assert [seen.get(timeout=PATIENCE) for _ in range(2)] == [old.serial] * 2
            new = Pair(authority, name="proxy@internal").put(tmp_path)
            put(tmp_path / "ca.pem", b"no certificate")
            proxy.process.send_signal(signal.SIGHUP)
            proxy.event("reloaded", setting="store", keep=True)
            assert "of an authority" in proxy.event("reload-failed", setting="upstream.tls")["cause"]
            assert proxy.call("GET", "/").status == 200
            assert [seen.get(timeout=PATIENCE) for _ in range(2)] == [old.serial] * 2
            put(tmp_path / "ca.pem", authority.cert_pem.bytes())
            proxy.process.send_signal(signal.SIGHUP)
            proxy.event("reloaded", setting="upstream.tls")
            assert proxy.call("GET", "/").status == 200
            assert [seen.get(timeout=PATIENCE) for _ in range(2)] == [new.serial] * 2


def test_a_key_with_a_passphrase_keeps_a_run_from_starting_instead_of_asking(
    authority: trustme.CA, tmp_path: Path
) -> None:
    pair = Pair(authority)
    locked = BestAvailableEncryption(b"test-only-passphrase")
    pair.key = load_pem_private_key(pair.key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
    pair.put(tmp_path)
    code, _, err = run_command("run", *flags(tmp_path, "http://127.0.0.1:1"))
    assert code == 3
    assert "tls: the key is encrypted, and nobody is there to ask for its passphrase" in err
    assert str(tmp_path / "tls.key") in err
