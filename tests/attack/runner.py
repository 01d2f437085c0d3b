"""Runs an attack and holds everything that it touched to seven oracles.

1 refused: not one byte to the upstream. 2 accepted: exactly the expected requests, each in its canonical form, and a
second reader (h11) sees the same. 3 the connection ends where it must, with nothing more answered. 4 another client is
served. 5 no secret in the log, the answer or the errors. 6 no 5xx, trace or banner that the case does not declare.
7 descriptors, tasks and connections are what they were.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h11

from proxy.observe.log import Log
from tests.figures import Figures
from tests.gateways import Proxied
from tests.wire import Message, Wire, eventually

from .cases import CANARY, Case, Outcome, Sent

_BANNERS = re.compile(rb"traceback|aiohttp|python/|uvloop|\nserver:|line \d+, in ", re.IGNORECASE)
_NAME = re.compile(rb"[!#$%&'*+.^`|~0-9A-Za-z-]+").fullmatch
_HOPS = ("connection", "keep-alive", "te", "trailer", "proxy-authorization", "proxy-connection", "proxy-authenticate")
_LONG = 5_000
_SLICED = 3


def deliveries(case: Case) -> Iterator[tuple[str, list[bytes]]]:
    """Cut a case: not at all, byte by byte (a long one in small pieces), and at the same places in every run."""
    data = case.data
    yield "whole", [data]
    step = 1 if len(data) <= _LONG else 97
    yield "bytewise", [data[at : at + step] for at in range(0, len(data), step)]
    for number in range(_SLICED):
        dice = random.Random(f"{case} {number}")
        cuts = sorted(dice.sample(range(1, len(data)), min(len(data) - 1, dice.randint(1, 12))))
        yield f"slices {cuts}", [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class _Lines:
    """Takes the lines of the log as they would be written."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def msg(self, line: bytes) -> None:
        self.lines.append(line)

    debug = info = warning = error = msg


@dataclass
class _State:
    descriptors: int
    tasks: int
    idle: int


class Runner:
    """One gateway, its upstream, and the cases that it is given one after the other."""

    def __init__(self, proxied: Proxied, figures: Figures) -> None:
        self.proxied = proxied
        self.figures = figures
        self.runs = 0
        self.streams: list[tuple[bytes, list[Message]]] = []

    async def run(self, case: Case) -> None:
        """Deliver a case in every way."""
        await self._canary()
        await eventually(self._settled)
        # The first connection may open what stays open.
        await eventually(lambda: self.proxied.upstream.open == self.proxied.gateway.pool.idle)
        before = self._state()
        for way, parts in deliveries(case):
            self.runs += 1
            try:
                await self._deliver(case, parts, before, whole=way == "whole")
            except (AssertionError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.figures.add("desync", cases=1, found=1)
                raise AssertionError(f"{case}, {way}: {error!r}") from error
        self.figures.add("desync", cases=self.runs)

    async def _deliver(self, case: Case, parts: Sequence[bytes], before: _State, *, whole: bool) -> None:
        proxied = self.proxied
        upstream = proxied.upstream
        marks = {id(wire): len(wire.seen) for wire in upstream.wires}
        first, recorded = len(upstream.messages), len(proxied.records)
        wire = await proxied.client()
        await _send(wire, parts)
        allowed = (case.outcome,) if whole else (case.outcome, *case.slices)
        fit, answers = await self._answers(case, wire, allowed)
        await self._end(fit[0], wire, answers)
        received = wire.received
        await wire.close()
        canary = await self._canary()
        await eventually(self._settled)

        # What arrived: requests that are whole, and every byte.
        messages = [m for m in upstream.messages[first:] if m.target not in (b"/canary", b"/after")]
        streams = [bytes(w.seen[marks.get(id(w), 0) :]) for w in upstream.wires]
        ours = b"".join(data.replace(canary.head, b"") for data in streams)
        outcome = next((one for one in fit if len(one.sent) == len(messages)), fit[0])
        if not outcome.sent:
            assert not messages, "a refused request arrived"
            if whole or not (case.late or case.slices):
                self.figures.add("refused-bytes", cases=1, found=len(ours.partition(b"GET /after")[0]))
                assert not ours.partition(b"GET /after")[0], "bytes of a refused request left"
        assert len(messages) == len(outcome.sent), [m.head for m in messages]
        for message, sent in zip(messages, outcome.sent, strict=True):
            _check_request(message, sent)
        expected = upstream.messages[first:]
        again = [one for data in streams for one in read_with_h11(data)]
        assert sorted(again) == sorted(_told(m) for m in expected), "h11 reads other requests"
        self.streams += [(data, [m for m in expected if m.head in data]) for data in streams if data]

        # What was said.
        assert not _BANNERS.search(received), received
        records = proxied.records[recorded:]
        log = _Lines()
        for exchange, facts in records:
            Log(log, "debug").exchange(exchange, facts)
        said = b"".join(log.lines) + received + repr([facts for _, facts in records]).encode()
        found = said.count(CANARY)
        self.figures.add("canaries", cases=1, found=found)
        assert not found, said
        assert all(status < 500 or status in outcome.answers for status in [m.status for m in answers])

        # What is left.
        await eventually(lambda: self._same(before))

    async def _answers(self, case: Case, wire: Wire, allowed: Sequence[Outcome]) -> tuple[list[Outcome], list[Message]]:
        """Read the answers; gives the outcomes that they fit."""
        answers = [await wire.message(bodyless=case.data.startswith(b"HEAD "))]
        fit = [outcome for outcome in allowed if outcome.answers[0] == answers[0].status]
        assert fit, answers[0].head
        answers += [await wire.message() for _ in fit[0].answers[1:]]
        assert [m.status for m in answers] == list(fit[0].answers)
        assert not any(m.interim for m in answers), "an interim answer came first"
        return fit, answers

    async def _end(self, outcome: Outcome, wire: Wire, answers: list[Message]) -> None:
        """Prove where the last message ended: by the end of the connection, or by another request on it."""
        ends = answers[-1].get("connection") == b"close"
        assert outcome.ends is None or ends == outcome.ends, answers[-1].head
        if ends:
            assert await wire.rest() == b"", "something was answered after the end"
            return
        await wire.send(b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await wire.message()).status == 200
        assert self.proxied.upstream.messages[-1].target == b"/after"

    async def _canary(self) -> Message:
        wire = await self.proxied.client()
        await wire.send(b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await wire.message()
        assert (answer.status, answer.body) == (200, b"ok"), "another client was not served"
        await wire.close()
        return next(m for m in reversed(self.proxied.upstream.messages) if m.target == b"/canary")

    def _settled(self) -> bool:
        gateway = self.proxied.gateway
        pool = gateway.pool
        return not gateway.connections and not gateway.busy and not pool.waiting and pool.open == pool.idle

    def _state(self) -> _State:
        return _State(len(os.listdir("/dev/fd")), len(asyncio.all_tasks()), self.proxied.gateway.pool.idle)

    def _same(self, before: _State) -> bool:
        # An idle connection is two descriptors and one task of the upstream, as both ends are in this process.
        now = self._state()
        more = now.idle - before.idle
        return (
            self._settled()
            and now.descriptors == before.descriptors + 2 * more
            and now.tasks == before.tasks + more
        )  # fmt: skip


async def _send(wire: Wire, parts: Sequence[bytes]) -> None:
    # What is over a limit is refused before all of it was sent; the rest may meet a closed connection.
    try:
        for part in parts:
            if wire.writer.is_closing():
                return
            await wire.send(part)
            await asyncio.sleep(0)
    except ConnectionError:
        pass


def _check_request(message: Message, sent: Sent) -> None:
    """Hold a request to its one canonical form."""
    assert message.line == f"{sent.method} {sent.target} HTTP/1.1".encode("latin-1"), message.line
    assert message.body == sent.body
    assert len(message.all("host")) == 1
    assert len(message.all("content-length")) + len(message.all("transfer-encoding")) <= 1
    assert all(_NAME(name) for name, _ in message.headers), message.head
    assert not any(message.all(name) for name in _HOPS if not message.get("upgrade")), message.head
    assert message.all("via") == [b"1.1 vestibule"]
    for name, value in sent.fields.items():
        expected = [] if value is None else [value.encode("latin-1")]
        assert message.all(name) == expected, (name, message.all(name))


def _told(message: Message) -> tuple[bytes, bytes, bytes | None, bytes]:
    return message.method, message.target, message.get("host"), message.body


def read_with_h11(data: bytes) -> list[tuple[bytes, bytes, bytes | None, bytes]]:
    """Read requests as h11 does: method, target, host, body; one that is cut off is none."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 17)
    reader.receive_data(data)
    found: list[tuple[bytes, bytes, bytes | None, bytes]] = []
    request: Any = None
    body = b""
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            found.append((request.method, request.target, dict(request.headers).get(b"host"), body))
            reader.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            reader.send(h11.EndOfMessage())
            if reader.our_state is h11.MUST_CLOSE:
                return found
            reader.start_next_cycle()
        else:
            return found
