"""The public vectors of llhttp: what it refuses we refuse, and of what it takes we forward the same requests or none.

llhttp is the parser below us: it is our checks around it, and the boundaries that we find ourselves, that are tried.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from proxy.engine.errors import Unreadable
from proxy.engine.target import canonical
from tests.corpora import load, needs_corpora
from tests.figures import Figures
from tests.gateways import Start
from tests.wire import eventually

pytestmark = needs_corpora

VECTORS = [case for case in load("llhttp/cases.json") if case["type"] == "request"]
_SPAN = re.compile(r"off=(\d+) len=(\d+) span\[(\w+)\]=").match
_MARK = re.compile(r"off=(\d+) (.*)").match


def _label(case: dict[str, Any]) -> str:
    return f"{case['file']}:{case['line']} {case['mode']}"


class _Read:
    """What llhttp's log says of one request."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.method = self.url = self.body = b""
        self.lined = False
        self.done = False

    def told(self) -> tuple[bytes, bytes, bytes] | None:
        """Give the request as the upstream should get it, None where its path has no canonical form."""
        try:
            path, query = canonical(self.url)
        except Unreadable:
            return None
        return self.method, (path if query is None else f"{path}?{query}").encode(), self.body


def input_of(case: dict[str, Any]) -> bytes:
    """Give the bytes; where the log goes on after them it is the last line end that was lost on the way to here."""
    data = base64.b64decode(case["input"])
    last = max((int(mark[1]) for line in case["log"] if (mark := _MARK(line))), default=0)
    return data + b"\r\n"[-(last - len(data)) :] if last > len(data) else data


def read_log(case: dict[str, Any], data: bytes) -> list[_Read]:
    """Read the requests that llhttp saw, from its log."""
    found: list[_Read] = []
    for line in case["log"]:
        span = _SPAN(line)
        if span is not None:
            part = data[int(span[1]) : int(span[1]) + int(span[2])]
            if span[3] in ("method", "url", "body"):
                setattr(found[-1], span[3], getattr(found[-1], span[3]) + part)
            continue
        mark = _MARK(line)
        if mark is None:
            continue
        if mark[2] == "message begin":
            found.append(_Read(int(mark[1])))
        elif mark[2].startswith("version complete"):
            found[-1].lined = True
        elif mark[2] == "message complete":
            found[-1].done = True
    return found


def with_hosts(data: bytes, requests: list[_Read]) -> bytes:
    """Give every request a Host, without which we would refuse most vectors for that alone."""
    out = data
    after = len(data)
    for one in reversed(requests):
        end = data.find(b"\r\n", one.begin)
        if one.lined and end >= 0 and not re.search(rb"(?im)^host[ \t]*:", data[one.begin : after]):
            out = out[: end + 2] + b"Host: a\r\n" + out[end + 2 :]
        after = one.begin
    return out


async def test_some_vectors_are_taken_as_llhttp_takes_them(start: Start) -> None:
    # What is refused is never wrong; so that not everything is.
    taken = [case for case in VECTORS if case["mode"] == "strict" and case["expected"] == "ok"]
    proxied = await start()
    for case in taken:
        wire = await proxied.client()
        data = input_of(case)
        await wire.send(with_hosts(data, read_log(case, data)))
        wire.end()
        await wire.rest()
        await wire.close()
    assert len(proxied.upstream.messages) >= len(taken) / 2


def test_all_vectors_of_requests_are_there() -> None:
    assert len(VECTORS) == 166


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", VECTORS, ids=_label)
async def test_a_vector_gives_the_requests_that_llhttp_saw_or_fewer(
    case: dict[str, Any], bytewise: bool, start: Start, figures: Figures
) -> None:
    proxied = await start()
    data = input_of(case)
    requests = read_log(case, data)
    wire = await proxied.client()
    try:
        sent = with_hosts(data, requests)
        await (wire.drip(sent) if bytewise else wire.send(sent))
        wire.end()
    except ConnectionError:
        pass
    answered = await wire.rest()
    await wire.close()
    gateway = proxied.gateway
    await eventually(lambda: not gateway.connections and gateway.pool.open == gateway.pool.idle)
    arrived = [(m.method, m.target, m.body) for m in proxied.upstream.messages]
    meant = [one.told() for one in requests if one.done]
    wrong = arrived != meant[: len(arrived)]
    figures.add("desync", cases=1, found=wrong)
    assert not wrong, (arrived, meant)
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answered)]
    assert all(status < 500 or status in (501, 505) for status in statuses)
