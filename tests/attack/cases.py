"""How an attack is written down: its exact bytes, and what must come of them.

The tables are `framing.py` (A), `request_lines.py` (B), `fields.py` (C) and `paths.py` (D), in the order and with the
numbers of the list of attacks; a number with several inputs has several lines. The secrets that no output may hold are
in the requests themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.edge.options import Trust
from proxy.engine.ruleset import Ruleset
from proxy.language.compile import Options, build
from proxy.language.document import Source

CANARY = b"test-only-canary"
CHUNKED = "Transfer-Encoding: chunked"
LAST = b"0\r\n\r\n"


@dataclass(frozen=True)
class Sent:
    """A request as the upstream must get it; `fields` are by name, with None for one that must not be there."""

    method: str = "GET"
    target: str = "/"
    body: bytes = b""
    fields: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What the client is answered, which requests arrive, and whether the connection ends with the last answer."""

    answers: tuple[int, ...]
    sent: tuple[Sent, ...] = ()
    ends: bool | None = None


@dataclass(frozen=True)
class Case:
    """One input. `note` says why an outcome differs from the list's and is as safe.

    `late`: what is wrong comes after a whole head. In one piece nothing of it may leave; in slices the part before may
    have begun to stream, and must never become a whole request. `slices` are other outcomes that slices may have.
    """

    id: str
    name: str
    data: bytes
    outcome: Outcome
    late: bool = False
    slices: tuple[Outcome, ...] = ()
    rules: str = ""
    trust: Trust | None = None
    note: str = ""

    def __str__(self) -> str:
        return f"{self.id} {self.name}"


def refused(status: int) -> Outcome:
    """Expect an answer and the end, with not one byte to the upstream."""
    return Outcome((status,), ends=True)


def denied(status: int = 403) -> Outcome:
    """Expect the answer of a rule, on a connection that goes on, with not one byte to the upstream."""
    return Outcome((status,), ends=False)


def forwarded(
    method: str = "GET",
    target: str = "/",
    body: bytes = b"",
    fields: Mapping[str, str | None] | None = None,
    *,
    ends: bool | None = None,
) -> Outcome:
    """Expect one request to arrive, and its answer."""
    return Outcome((200,), (Sent(method, target, body, fields or {}),), ends)


def request(method: str, *headers: str, body: bytes = b"", version: str = "1.1", target: str = "/") -> bytes:
    """Write a request with a Host; the secrets are a cookie and, unless it has its own, an Authorization."""
    secret = CANARY.decode()
    lines = ["Host: a", f"Cookie: sid={secret}-cookie", *headers]
    if not any(line.lower().startswith("authorization") for line in headers):
        lines.append(f"Authorization: Bearer {secret}-token")
    text = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {target} HTTP/{version}\r\n{text}\r\n".encode("latin-1") + body


def get(*headers: str, target: str = "/", version: str = "1.1", body: bytes = b"") -> bytes:
    return request("GET", *headers, target=target, version=version, body=body)


def post(*headers: str, target: str = "/", version: str = "1.1", body: bytes = b"") -> bytes:
    return request("POST", *headers, target=target, version=version, body=body)


def raw(*lines: str, body: bytes = b"") -> bytes:
    """Write a head line by line, and nothing that is not given."""
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1") + body


def compiled(rules: str) -> Ruleset:
    """Compile rules as an author writes them, without their head."""
    options = Options(secrets=lambda _: None, packs=lambda _: None)
    built = build([Source("rules.yaml", f"version: 1\nrules:\n{rules}")], options)
    assert built.ruleset is not None, [str(problem) for problem in built.problems]
    return built.ruleset
