"""Servers of a test around the proxy: an auth service that is counted, a page elsewhere, a webhook."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.running import PATIENCE


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answers; `json` is its body."""

    status: int = 200
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


Answering = Callable[[Call], Reply]


class Service(ThreadingHTTPServer):
    """A server that answers as it is told; `calls` are all requests that reached it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answering: Answering, tls: ssl.SSLContext | None) -> None:
        self.answering = answering
        self.calls: list[Call] = []
        self.changed = Condition()
        super().__init__(("127.0.0.1", 0), _Answering)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.server_address[1]}"

    def called(self, count: int) -> None:
        """Wait until so many requests have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.calls) >= count, PATIENCE), f"{len(self.calls)} calls"


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes, and the second would wait for who reads the first.
    disable_nagle_algorithm = True
    server: Service

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = Call(self.command, parts.path, query, dict(self.headers.items()), body)
        with self.server.changed:
            self.server.calls.append(call)
            self.server.changed.notify_all()
        reply = self.server.answering(call)
        data = b"" if reply.json is None else json.dumps(reply.json).encode()
        try:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:
            # Who asked is gone.
            self.close_connection = True

    do_GET = do_POST = do_PUT = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def service(answering: Answering, tls: ssl.SSLContext | None = None) -> Iterator[Service]:
    """Run a server of a test's own."""
    server = Service(answering, tls)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
