"""Settings as they reach the running proxy: each one is felt by a client, not only read."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.running import PATIENCE, running

READS = """version: 1
rules:
  - name: reads
    match: {path: /read}
    before: [{set: {seen: "${request.body.a}"}}]
"""


def exchange(client: socket.socket, data: bytes) -> bytes:
    """Send bytes and read to the end of the connection."""
    with client:
        client.settimeout(PATIENCE)
        client.sendall(data)
        return b"".join(iter(lambda: client.recv(65_536), b""))


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def request(target: str, *headers: str, body: bytes = b"") -> bytes:
    lines = "".join(f"{line}\r\n" for line in ("Host: a", "Connection: close", *headers))
    return f"POST {target} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def write_json(*headers: str, body: bytes) -> bytes:
    return request("/read", "Content-Type: application/json", *headers, body=body)


def test_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    rules, settings = tmp_path / "rules.yaml", tmp_path / "vestibule.yaml"
    rules.write_text(READS)
    settings.write_text(
        f"upstream: sandbox:kibo\nrules: {rules}\n"
        "limits: {header_bytes: 2KiB, header_count: 8, target_bytes: 100, stream_bytes: 1kB, body_bytes: 200,"
        " decoded_bytes: 300, json_depth: 3, connections: 1}\n"
    )
    cases = [
        (request("/"), (404, 405)),
        (request("/", "X: " + "a" * 2_048), (431,)),
        (request("/", *(f"X-{n}: 1" for n in range(8))), (431,)),
        (request("/" + "a" * 100), (414,)),
        (request("/", body=b"x" * 1_001), (413,)),
        (write_json(body=b'{"a":"%b"}' % (b"x" * 200)), (413,)),
        (write_json("Content-Encoding: gzip", body=gzip.compress(b'{"a":"%b"}' % (b"x" * 300))), (413,)),
        (write_json(body=b'{"a":[[[[1]]]]}'), (413,)),
        (write_json(body=b'{"a":[1]}'), (404, 405)),
    ]
    with running("-c", settings) as proxy:
        for data, expected in cases:
            client = socket.create_connection(("127.0.0.1", proxy.port))
            assert status(exchange(client, data)) in expected, data
        first = socket.create_connection(("127.0.0.1", proxy.port))
        with first:
            second = socket.create_connection(("127.0.0.1", proxy.port))
            assert status(exchange(second, b"")) == 503


@pytest.mark.parametrize(
    ("setting", "data", "answer"),
    [
        ("limits.deadlines.header", b"GET / HT", b"408"),
        ("limits.deadlines.body", b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na", b"408"),
        ("limits.deadlines.stall", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na", b"408"),
        ("limits.deadlines.total", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"504"),
        ("upstream.timeouts.first_byte", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"504"),
        ("limits.deadlines.idle", b"GET /.vestibule HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", b"404"),
    ],
)
def test_deadlines_are_those_of_the_settings(setting: str, data: bytes, answer: bytes, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(READS)
    clients = ("header", "body", "stall", "total", "idle")
    long = {f"limits.deadlines.{name}": "1h" for name in clients} | {"upstream.timeouts.first_byte": "1h"}
    flags = [
        word
        for name, value in {**long, setting: "100ms"}.items()
        for word in ("--" + name.replace(".", "-").replace("_", "-"), value)
    ]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        upstream = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with running("--upstream", upstream, "--rules", rules, *flags) as proxy:
            client = socket.create_connection(("127.0.0.1", proxy.port))
            assert exchange(client, data).startswith(b"HTTP/1.1 " + answer)


@contextmanager
def secure_upstream(context: ssl.SSLContext, heads: list[bytes]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            server.settimeout(PATIENCE)
            plain, _ = server.accept()
            with context.wrap_socket(plain, server_side=True) as wire:
                heads.append(wire.recv(65_536))
                wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_tls_on_both_sides_and_the_upstreams_address_are_those_of_the_settings(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("proxy.example", "client@example"):
        certificate = authority.issue_cert(name)
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    mutual = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("auth.internal").configure_cert(mutual)
    authority.configure_trust(mutual)
    mutual.verify_mode = ssl.CERT_REQUIRED
    heads: list[bytes] = []
    with secure_upstream(mutual, heads) as port:
        settings = tmp_path / "vestibule.yaml"
        settings.write_text(
            json.dumps(
                {
                    "tls": {"cert": str(tmp_path / "proxy.example.pem"), "key": str(tmp_path / "proxy.example.key")},
                    "upstream": {
                        "url": f"https://127.0.0.1:{port}/base",
                        "host": "auth.example",
                        "tls": {
                            "ca": str(tmp_path / "ca.pem"),
                            "cert": str(tmp_path / "client@example.pem"),
                            "key": str(tmp_path / "client@example.key"),
                            "server_name": "auth.internal",
                        },
                    },
                    "trusted_proxies": ["127.0.0.0/8"],
                }
            )
        )
        with running("-c", settings) as proxy:
            assert proxy.address.startswith("https://")
            trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            authority.configure_trust(trusting)
            plain = socket.create_connection(("127.0.0.1", proxy.port))
            with trusting.wrap_socket(plain, server_hostname="proxy.example") as client:
                client.sendall(request("/x", "X-Forwarded-For: 203.0.113.9"))
                assert status(client.recv(65_536)) == 200
            assert proxy.event("exchange")["client"] == "203.0.113.9"
    assert heads[0].startswith(b"POST /base/x HTTP/1.1\r\nHost: auth.example\r\n")
    assert b"X-Forwarded-Proto: https\r\n" in heads[0]


def test_a_unix_socket_is_listened_on(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running("--listen", f"unix:{path}", "--upstream", "http://127.0.0.1:1") as proxy:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        assert status(exchange(client, request("/"))) == 502
        assert proxy.event("exchange")["client"] == "unknown"
        assert proxy.stop() == 0


def test_a_host_that_is_not_listed_is_sent_away() -> None:
    with running("--upstream", "http://127.0.0.1:1", "--hosts", "Shop.example,*.shop.example") as proxy:
        for host, status in (("shop.example", 502), ("www.shop.example:8443", 502), ("evil.example", 421)):
            assert proxy.call("GET", "/", headers={"Host": host}).status == status
