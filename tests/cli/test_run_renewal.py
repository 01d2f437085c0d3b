"""Certificates, keys and tokens that are replaced while a run serves."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from tests.cli.test_run_lifecycle import workers_of
from tests.running import PATIENCE, Proxy, running
from tests.serving import answering

WORKERS = 2
NAME = "shop.example"
BEARER = {"Authorization": "Bearer test-only-one"}


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


def connect(proxy: Proxy, authority: trustme.CA) -> ssl.SSLSocket:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)
    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)
    return trusting.wrap_socket(plain, server_hostname=NAME)


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
            for worker in workers_of(proxy):
                with only(proxy, worker):
                    assert served(proxy, authority) == new.serial
            # One that starts later has it too, even when the files are no longer what they were.
            (tmp_path / "tls.crt").unlink()
            worker, *_ = workers_of(proxy)
            os.kill(worker, signal.SIGKILL)
            proxy.event("worker-died")
            late = proxy.event("ready")["pid"]
            with only(proxy, late):
                assert served(proxy, authority) == new.serial
