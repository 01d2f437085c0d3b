"""What the edits of a login cost, beside decoding and encoding the whole body: `python tests/benchmarks/bench_body.py`.

It prints and judges nothing: times depend on the machine, and only the ratio says something.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import median
from time import perf_counter

from proxy.engine.body import open_body
from proxy.engine.json_body import JsonBody
from proxy.engine.json_nodes import encode
from proxy.engine.message import Headers, Limits
from proxy.language.edits import make_parents, remove
from proxy.language.paths import parse

ROUNDS, TIMES = 15, 2000
HEADERS = Headers.of([("Content-Type", "application/json; charset=utf-8")], side="response")
LIMITS = Limits()
TOKEN, REFRESH, NOTES = ("jwtAccessToken",), parse("refreshToken"), parse("customerAccount.notes")
TIER, SEEN = encode("gold"), encode(True)


def ticket(*, spaces: bool = False) -> bytes:
    """Make a ticket of about 3.9 KB, as a machine writes it or with white space."""
    account = {
        "id": 1001,
        "emailAddress": "jane@example.com",
        "notes": [{"id": number, "content": "n" * 60} for number in range(6)],
        "segments": [{"id": number, "code": f"SEGMENT-{number}", "name": "A segment"} for number in range(12)],
        "attributes": [{"fullyQualifiedName": f"tenant~a{number}", "values": ["x", 1.0]} for number in range(14)],
    }
    data = {
        "accessToken": "a" * 800,
        "accessTokenExpiration": "2026-01-01T00:00:00Z",
        "refreshToken": "r" * 120,
        "jwtAccessToken": "j" * 900,
        "userId": "u1001",
        "customerAccount": account,
    }
    return json.dumps(data, separators=(", ", ": ") if spaces else (",", ":")).encode()


def edit(content: bytes) -> bytes:
    """Read one text, remove two fields (one of them nested), set two, write."""
    body = open_body(HEADERS, content, LIMITS, "response")
    if not isinstance(body, JsonBody):
        raise TypeError("the ticket is JSON")
    body.get(TOKEN)
    remove(REFRESH, body)
    remove(NOTES, body)
    make_parents(body, ("tier",)).put("tier", TIER)
    make_parents(body, ("customerAccount", "seen")).put("seen", SEEN)
    return body.dump()


def round_trip(content: bytes) -> bytes:
    """Do the same to the whole body, decoded and encoded by the standard library."""
    data = json.loads(content)
    data["jwtAccessToken"]
    del data["refreshToken"]
    del data["customerAccount"]["notes"]
    data["tier"] = "gold"
    data["customerAccount"]["seen"] = True
    return json.dumps(data, separators=(",", ":")).encode()


def measure(work: Callable[[bytes], bytes], content: bytes) -> float:
    """Give the median of some rounds, in microseconds a call."""
    found = []
    for _ in range(ROUNDS):
        begun = perf_counter()
        for _ in range(TIMES):
            work(content)
        found.append((perf_counter() - begun) / TIMES * 1e6)
    return median(found)


def main() -> None:
    for name, content in (("as a machine writes it", ticket()), ("with white space", ticket(spaces=True))):
        if json.loads(edit(content)) != json.loads(round_trip(content)):
            raise RuntimeError("the two do not do the same")
        ours, theirs = measure(edit, content), measure(round_trip, content)
        print(f"{name}: {len(content)} bytes, {ours:.1f} µs, json.loads and dumps {theirs:.1f} µs, {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
