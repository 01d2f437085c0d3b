"""A run that is inspected, for tests: a shop of the sandbox behind two workers, and what its admin port says."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.running import PATIENCE, ROOT, Answer, Proxy, running

LOGIN = "/api/commerce/customer/authtickets"
SITE = {"x-vol-tenant": "1", "x-vol-site": "2"}
PASSWORD = "correct-horse-1"


@dataclass
class Inspected:
    """A run and its admin port."""

    proxy: Proxy
    # The process that serves the admin port.
    admin: int = 0

    def ask(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(self.proxy.admin.removeprefix("http://"), timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        answer = self.ask(f"/inspect/api/{path}")
        assert answer.status == 200, answer.body
        return answer.json

    def post(self, path: str, data: Any, headers: Mapping[str, str] | None = None) -> Answer:
        given = {"Content-Type": "application/json", "Origin": self.proxy.admin, **(headers or {})}
        return self.ask(f"/inspect/api/{path}", given, method="POST", body=json.dumps(data).encode())

    def login(self, name: str = "jane@example.com", password: str = PASSWORD, site: str = "2") -> Answer:
        headers = {**SITE, "x-vol-site": site}
        return self.proxy.call("POST", LOGIN, {"username": name, "password": password}, headers)

    def event(self, after: int) -> dict[str, Any]:
        """Wait for the next rows that come after a number, as a page hears of them."""
        connection = http.client.HTTPConnection(self.proxy.admin.removeprefix("http://"), timeout=PATIENCE)
        try:
            connection.request("GET", f"/inspect/api/stream?after={after}")
            response = connection.getresponse()
            assert (response.status, response.getheader("Content-Type")) == (200, "text/event-stream; charset=utf-8")
            while True:
                line = response.readline()
                assert line, "the stream ended"
                if line.startswith(b"data: ") and (data := json.loads(line[6:])).get("rows"):
                    found: dict[str, Any] = data
                    return found
        finally:
            connection.close()

    def last(self) -> int:
        return int(self.get("exchanges")["last"])

    def seen(self, after: int) -> dict[str, Any]:
        """Wait for the first exchange after a number; gives its row."""
        row: dict[str, Any] = self.event(after)["rows"][0]
        return row


@contextmanager
def inspected(*words: str) -> Iterator[Inspected]:
    """Run the shop of the sandbox with the example rules, and the inspector."""
    given = ("--upstream", "sandbox:kibo", "--rules", "rules/kibo", "--workers", "2")
    with running(*given, "--admin", "127.0.0.1:0", "--inspect", "50", *words, cwd=ROOT) as proxy:
        proxy.event("ready", keep=True)
        yield Inspected(proxy, proxy.event("admin-ready")["pid"])


@contextmanager
def inspected_alone(rules: str, env: Mapping[str, str], *more: str) -> Iterator[Inspected]:
    """Run these rules with the inspector, and no auth service."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rules.yaml"
        file.write_text(rules)
        words = ("--upstream", "http://127.0.0.1:1", "--rules", file, "--admin", "127.0.0.1:0", "--inspect", "50")
        with running(*words, *more, "--admin-ready", "workers", env=env) as proxy:
            yield Inspected(proxy, proxy.event("admin-ready")["pid"])
