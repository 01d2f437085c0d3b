"""Clients of a proxy with several workers: each connection is to the worker that the test names."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from tests.running import PATIENCE, Answer, Proxy, is_gone

NAVIGATING = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
_CORRELATION = ("x-vol-correlation", "x-correlation-id")


def workers(proxy: Proxy, kind: str) -> list[int]:
    """Give the processes that serve, once all of them do; with the store `memory` it is one."""
    count = 1 if kind == "memory" else 2
    while len(found := [event["pid"] for event in logged(proxy, "ready")]) < count:
        proxy.event("ready")
    return found


def logged(proxy: Proxy, name: str) -> list[dict[str, Any]]:
    """Give the lines of the log that were read so far, those included that were waited for."""
    return [event for event in map(json.loads, proxy.raw) if event["event"] == name]


@contextmanager
def connected(proxy: Proxy, worker: int, count: int = 1) -> Iterator[list[http.client.HTTPConnection]]:
    """Open connections to one worker: while they are accepted, the others stand still."""
    others = [pid for pid in _serving(proxy) if pid != worker]
    with ExitStack() as stack:
        found = []
        try:
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            for _ in range(count):
                connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE)
                found.append(stack.enter_context(closing(connection)))
                # What is answered was accepted; no rule sees this path, and no store is asked.
                assert ask(connection, "GET", "/.vestibule/").status == 404
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)
        yield found


def _serving(proxy: Proxy) -> list[int]:
    parent = proxy.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [event["pid"] for event in logged(proxy, "ready") if str(event["pid"]) in children]


def send(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Send a request and leave its answer for later."""
    data = None if body is None else json.dumps(body).encode()
    connection.request(
        method, target, data, {**({"Content-Type": "application/json"} if data else {}), **(headers or {})}
    )


def receive(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    cookies = response.headers.get_all("Set-Cookie") or []
    return Answer(response.status, dict(response.getheaders()), response.read(), cookies)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    send(connection, method, target, body, headers)
    return receive(connection)


def hang_up(connection: http.client.HTTPConnection) -> None:
    """Reset a connection; an ordinary close would only say that nothing more is sent."""
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def at_once(
    connections: Sequence[http.client.HTTPConnection],
    method: str,
    target: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> list[Answer]:
    """Send the same request on many connections before any answer is read."""
    for connection in connections:
        send(connection, method, target, body, headers)
    return [receive(connection) for connection in connections]


class Browser:
    """Keeps the cookies of the one shop that it knows."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def headers(self, *, navigates: bool = True) -> dict[str, str]:
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        return {**sent, **(NAVIGATING if navigates else {"Sec-Fetch-Mode": "cors", "Accept": "*/*"})}

    def ask(
        self, proxy: Proxy, worker: int, method: str, target: str, body: Any = None, *, navigates: bool = True
    ) -> Answer:
        """Ask a worker, and keep the cookies of its answer."""
        with connected(proxy, worker) as (connection,):
            answer = ask(connection, method, target, body, self.headers(navigates=navigates))
        for line in answer.cookies:
            self.cookies.update({name: morsel.value for name, morsel in SimpleCookie(line).items()})
        return answer


def without_id(answer: Answer) -> tuple[int, dict[str, str], str]:
    """Give an answer without what tells one exchange from another."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    ids = [headers.pop(name) for name in _CORRELATION if name in headers]
    headers.pop("date", None)
    text = answer.body.decode()
    for found in ids:
        text = text.replace(found, "ID")
    return answer.status, headers, text


def stop(proxy: Proxy) -> str:
    """Stop a proxy, which must end well; gives all that it ever wrote, whose log `logged` reads from then on."""
    assert proxy.stop() == 0
    assert all(is_gone(event["pid"]) for event in logged(proxy, "ready"))
    proxy.raw += proxy.out.rest().splitlines(keepends=True)
    said = "".join(proxy.raw) + "\n".join(proxy.greeting) + proxy.err.rest()
    assert "Traceback" not in said
    assert '"level":"error"' not in said
    return said
