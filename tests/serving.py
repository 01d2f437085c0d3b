"""An upstream and clients for tests of a whole run: as many as the test needs, and each failure in words."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Self

from tests.running import PATIENCE

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def answering(port: int = 0) -> Iterator[str]:
    """Run an upstream that answers every request without a body; gives its address."""
    with socket.create_server(("127.0.0.1", port), backlog=256) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(client,), daemon=True).start()


def _answer(client: socket.socket) -> None:
    with client:
        data = b""
        try:
            while part := client.recv(65_536):
                data += part
                while b"\r\n\r\n" in data:
                    data = data.partition(b"\r\n\r\n")[2]
                    client.sendall(_ANSWER)
        except OSError:
            return


@dataclass
class Tally:
    """What clients got; `failures` says what went wrong, one line each."""

    answers: int = 0
    # How long each answer took, in seconds.
    took: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


Judge = Callable[[int, Message], str | None]
Send = Callable[[http.client.HTTPConnection], None]


def _is_ok(status: int, _: Message) -> str | None:
    return None if status == 200 else f"the answer was {status}"


def _ask_for_the_root(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/")


class Load:
    """Clients that ask one request after the other, and never again on a connection that was told to close.

    `send` writes a request, the judge says what is wrong with its answer. With `until_refused` each ends when it can
    make no connection: that is how a stop looks from outside.
    """

    def __init__(
        self,
        port: int,
        *,
        clients: int = 4,
        send: Send = _ask_for_the_root,
        judge: Judge = _is_ok,
        until_refused: bool = False,
    ) -> None:
        self.tally = Tally()
        self._port = port
        self._send = send
        self._judge = judge
        self._pause = 0.01
        self._until_refused = until_refused
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the clients, each after its request."""
        self._over.set()
        self.join()

    def join(self) -> None:
        """Wait until the clients have ended."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a client does not end"

    def more(self, count: int) -> None:
        """Wait until so many more requests came to an end, well or not."""
        with self._changed:
            end = self._ended + count
            assert self._changed.wait_for(lambda: self._ended >= end, PATIENCE), "the clients do not get on"

    @property
    def _ended(self) -> int:
        return self.tally.answers + len(self.tally.failures)

    def _ask(self) -> None:
        # It makes a new connection by itself when an answer closed the one before.
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        while not self._over.is_set():
            begun = time.perf_counter()
            try:
                self._send(connection)
                response = connection.getresponse()
                response.read()
                wrong = self._judge(response.status, response.headers)
            except (OSError, http.client.HTTPException) as error:
                if self._until_refused and isinstance(error, ConnectionRefusedError):
                    break
                wrong = f"{type(error).__name__}: {error}"
                connection.close()
            with self._changed:
                if wrong is None:
                    self.tally.answers += 1
                    self.tally.took.append(time.perf_counter() - begun)
                else:
                    self.tally.failures.append(wrong)
                self._changed.notify_all()
            # What is under test needs the processor too.
            self._over.wait(self._pause)
        connection.close()
