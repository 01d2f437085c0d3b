"""The jobs that every peer is given: what is asked, what the upstream says, and what a right answer is.

The data are kind to every JSON library (no empty array, no number that a double cannot hold), so that what is measured
is the cost of the job and not who does it wrong.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TICKETS = "/api/commerce/customer/authtickets"  # the rules' path: login and deny
ORDERS = "/api/commerce/orders"  # no rule's path
CATALOG = "/api/commerce/catalog"  # one rule, on an answer of 1 MB
FILES = "/api/content/files"  # no rule's path; takes anything, and tells how much it was

SIZED = "/api/commerce/sized/"  # one rule, on an answer of about so many bytes as the rest of the path says

_TIGHT = (",", ":")  # as services write JSON; white space between members takes the slower way through an edit


def tight(data: Any) -> bytes:
    """Encode as services do, without white space."""
    return json.dumps(data, separators=_TIGHT).encode()


TICKET: dict[str, Any] = {
    "accessToken": "a" * 600,
    "accessTokenExpiration": "2026-01-01T00:00:00.000Z",
    "jwtAccessToken": "test-only." + "j" * 900,
    "refreshToken": "r" * 400,
    "userId": "8f7d2c",
    "customerAccount": {
        "id": 1_021,
        "emailAddress": "jane@example.com",
        "isAnonymous": True,
        "notes": [{"id": n, "content": "n" * 40} for n in range(10)],
        "segments": [{"id": n, "code": f"segment-{n}"} for n in range(12)],
        "attributes": [{"fullyQualifiedName": f"tenant~a{n}", "values": [n, n + 0.5]} for n in range(8)],
    },
}
EDITED = {
    **{name: value for name, value in TICKET.items() if name != "refreshToken"},
    "tier": "gold",
    "customerAccount": {
        **{name: value for name, value in TICKET["customerAccount"].items() if name != "notes"},
        "isAnonymous": False,
    },
}


def _catalog(count: int) -> dict[str, Any]:
    """Make a list of products, of about 555 bytes each, and a field that must not leave the house."""
    items = [
        {
            "productCode": f"P-{n:06}",
            "content": {"productName": f"Product number {n}", "productShortDescription": "d" * 300},
            "price": {"price": n + 0.25, "salePrice": n + 0.125},
            "categories": [{"categoryId": n % 40, "isDisplayed": True}, {"categoryId": n % 7, "isDisplayed": False}],
            "isTaxable": n % 2 == 0,
        }
        for n in range(count)
    ]
    return {"pageSize": count, "internal": "never to leave the house", "items": items}


def sized(size: int) -> dict[str, Any]:
    """Make a body of about so many bytes."""
    return _catalog(max(size // 555, 1))


BIG = _catalog(2_000)
UPLOADED = 100 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was received, its header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Check = Callable[[Answer], str | None]


@dataclass(frozen=True, slots=True)
class Job:
    """One job: `check` says what is wrong with an answer, or None."""

    name: str
    text: str
    request: bytes
    status: int
    check: Check
    connections: int = 32
    # What is sent after the request's head, so many times; for bodies that no one holds in memory.
    repeated: bytes = b""
    times: int = 0
    # A second request that is checked and not timed: it has the upstream say more about what it received.
    proof: bytes = b""
    # Whether latency at a fixed load says something.
    paced: bool = True


def ask(method: str, path: str, body: bytes = b"", length: int | None = None) -> bytes:
    """Make a request as a shop's front end sends it; `length` is that of a body which is sent after it."""
    size = len(body) if length is None else length
    return (
        f"{method} {path} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nx-vol-tenant: 1\r\nContent-Length: {size}\r\n\r\n"
    ).encode() + body


def credentials(name: str) -> bytes:
    return tight({"username": f"{name}@example.com", "password": "test-only-password"})


def _json(answer: Answer, status: int) -> Any:
    if answer.status != status:
        raise ValueError(f"status {answer.status} instead of {status}")
    return json.loads(answer.body)


def _told(check: Callable[[Answer], None]) -> Check:
    """Turn a check that raises into one that says why."""

    def say(answer: Answer) -> str | None:
        try:
            check(answer)
        except ValueError as error:
            return str(error)
        return None

    return say


def _differs(what: str) -> ValueError:
    return ValueError(f"{what} is not what it has to be")


@_told
def _passed(answer: Answer) -> None:
    _json(answer, 200)
    if answer.body != tight(TICKET):
        raise _differs("the body, which no rule names,")
    if answer.headers.get("etag") != '"ticket"':
        raise _differs("the ETag")


@_told
def _logged_in(answer: Answer) -> None:
    if _json(answer, 200) != EDITED:
        raise _differs("the body")
    if answer.headers.get("authorization") != f"Bearer {TICKET['jwtAccessToken']}":
        raise _differs("Authorization")
    if "etag" in answer.headers:
        raise ValueError("the ETag of the body before it was edited is still there")


@_told
def _denied(answer: Answer) -> None:
    _json(answer, 403)
    if b"This account cannot sign in." not in answer.body:
        raise _differs("the reason")


def trimmed(data: dict[str, Any]) -> Check:
    """Make the check of an answer out of which one field has to be."""
    expected = {name: value for name, value in data.items() if name != "internal"}

    @_told
    def check(answer: Answer) -> None:
        if _json(answer, 200) != expected:
            raise _differs("the body")

    return check


_BLOCK = bytes(range(256)) * 4096  # 1 MiB


def _checksum() -> int:
    value = 0
    for _ in range(UPLOADED // len(_BLOCK)):
        value = zlib.crc32(_BLOCK, value)
    return value


@_told
def _received(answer: Answer) -> None:
    told = _json(answer, 200)
    if told["received"] != UPLOADED or ("crc" in told and told["crc"] != _checksum()):
        raise ValueError(f"the upstream received {answer.body[:60]!r}")


JOBS = {
    job.name: job
    for job in (
        Job("pass", "no rule: a login of 3.9 KB untouched", ask("POST", ORDERS, credentials("jane")), 200, _passed),
        Job("login", "six rules, four conditions, four edits of 3.9 KB, two headers",
            ask("POST", TICKETS, credentials("jane")), 200, _logged_in),
        Job("deny", "refused by a field of the request's body",
            ask("POST", TICKETS, credentials("blocked")), 403, _denied),
        Job("big", "one field removed from 1 MB", ask("GET", CATALOG), 200, trimmed(BIG), connections=4, paced=False),
        Job("upload", "100 MB through, no rule", ask("PUT", FILES, length=UPLOADED), 200, _received,
            connections=1, repeated=_BLOCK, times=UPLOADED // len(_BLOCK),
            proof=ask("PUT", f"{FILES}?crc", length=UPLOADED), paced=False),
    )
}  # fmt: skip
