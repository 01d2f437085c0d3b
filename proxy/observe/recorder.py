"""Recording: what an exchange was, with what is secret replaced, handed to whoever keeps it.

Replacing is done here, in the worker, before a writer sees anything. A recorder never holds up an exchange: what goes
wrong with a record is counted, and the record is lost.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from ..engine import codings
from ..engine.body import media_type
from ..engine.effects import Answer, Effect, FetchKeys, Lookup, StoreGet
from ..engine.errors import EffectFailed, Side, Unreadable
from ..engine.exchange import Exchange
from ..engine.message import Headers, Line, Request, Response
from ..engine.ruleset import Redaction
from ..language.secret_names import Names
from . import redact
from .facts import Facts
from .hiding import Cover
from .record import (
    Body,
    EffectRecord,
    Lines,
    NoteRecord,
    Record,
    RequestRecord,
    ResponseRecord,
    VerdictRecord,
    encode,
)
from .tape import Caught, Tape

# A body that was coded may be so much longer.
_UNPACKED = 4
_TEXTS = frozenset({"text/plain", "text/html"})
_FORM = "application/x-www-form-urlencoded"
# Of a key in a set, what everybody may know (RFC 7517, RFC 7518).
_PUBLIC = ("kty", "use", "key_ops", "alg", "kid", "x5t", "x5t#S256", "n", "e", "crv", "x", "y")


class Writer(Protocol):
    """Keeps records. `write` returns at once, whatever became of the record; `lost` counts those that are not kept."""

    lost: int

    def write(self, line: bytes) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which exchanges are recorded, and how much of their bodies: bytes as they went over the wire."""

    fraction: float = 1.0
    operations: frozenset[str] = frozenset()
    body: int = 64 << 10


class Key:
    """The key of a recording: what is replaced is equal where it was equal under one key. It is kept in memory only."""

    def __init__(self) -> None:
        self.secret = os.urandom(32)
        self.name = os.urandom(4).hex()

    def __repr__(self) -> str:
        return f"Key({self.name})"


class Recorder:
    """The recorder of one worker. `secrets` gives the operator's secrets that rules use, which no record may hold."""

    def __init__(
        self,
        key: Key,
        selection: Selection,
        writers: Sequence[Writer],
        *,
        secrets: Callable[[], Collection[str]] = tuple,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._key = key
        self._selection = selection
        self._writers = tuple(writers)
        self._secrets = secrets
        self._draw = draw
        self._names = Names(Redaction())
        self._redact: Redaction | None = None
        self._pid = os.getpid()
        # Records that could not be made, for a fault of ours.
        self.failed = 0

    @property
    def lost(self) -> int:
        """Count the records that were asked for and are kept nowhere."""
        return self.failed + sum(writer.lost for writer in self._writers)

    def begin(self, request: Request, time: float) -> Tape | None:
        """Give what the exchange of a request is kept on; None when it is not among those that are recorded."""
        selection = self._selection
        if selection.fraction < 1 and self._draw() >= selection.fraction:
            return None
        return Tape(request, time, selection.body)

    def end(self, tape: Tape, exchange: Exchange, facts: Facts) -> None:
        """Record an exchange that is over."""
        wanted = self._selection.operations
        if wanted and (exchange.operation is None or exchange.operation.name not in wanted):
            return
        try:
            line = encode(self._record(tape, exchange, facts))
        except Exception:
            # An exchange is not to suffer from what is only told of it.
            self.failed += 1
            return
        for writer in self._writers:
            writer.write(line)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def _record(self, tape: Tape, exchange: Exchange, facts: Facts) -> Record:
        known = exchange.ruleset.redact
        if known is not self._redact:
            self._redact, self._names = known, Names(known)
        cover = Cover(self._key.secret, self._names, self._secrets())
        maker = _Maker(cover, self._selection.body)
        received = tape.received
        request = maker.request(tape.method, tape.target, tape.lines, maker.caught(tape.lines, received, "request"))
        forwarded = upstream = answer = None
        if tape.forwarded is not None:
            method, target, lines = _read_request(tape.forwarded)
            body = maker.passed(lines, tape.forwarded_content, received, request.body, "request")
            forwarded = maker.request(method, target, lines, body)
        if tape.status is not None:
            body = maker.caught(tape.upstream, tape.returned, "response")
            upstream = ResponseRecord(tape.status, maker.lines(tape.upstream), tape.reason, body)
        if tape.answer is not None:
            status, reason, lines = _read_response(tape.answer)
            body = maker.passed(
                lines, tape.answer_content, tape.returned, upstream.body if upstream else None, "response"
            )
            answer = ResponseRecord(status, maker.lines(lines), reason, body)
        verdict = exchange.verdict
        answered = None if tape.unheard else facts.status or None
        record = Record(
            id=redact.text(exchange.correlation),
            recording=self._key.name,
            time=round(tape.time, 3),
            client=tape.ips[0] if tape.ips else facts.client,
            ips=list(tape.ips),
            scheme=tape.scheme,
            host=tape.host,
            http=f"{tape.http[0]}.{tape.http[1]}",
            rules=exchange.ruleset.revision,
            ran=list(exchange.ran),
            verdict=VerdictRecord(
                verdict.by if answered else None, verdict.rule, verdict.step, verdict.action, verdict.denies,
                *(text and maker.told(text) for text in (verdict.code, verdict.reason, verdict.detail, verdict.cause)),
            ),
            own_ms=round(facts.total - (facts.upstream or 0.0), 3),
            upstream_ms=None if facts.upstream is None else round(facts.upstream, 3),
            request=request,
            forwarded=forwarded,
            upstream=upstream,
            answer=answer,
            pid=self._pid,
            operation=exchange.operation.name if exchange.operation is not None else None,
            status=answered,
            effects=[found for one in tape.effects if (found := maker.effect(*one)) is not None],
            notes=[NoteRecord(one.kind, one.rule, one.level, maker.told(one.message)) for one in exchange.notes],
            returned=redact.text(exchange.continues) if exchange.continues is not None else None,
            hung_up=facts.hung_up,
            error=facts.error,
        )  # fmt: skip
        _sweep(record, cover)
        return record


class _Maker:
    """Makes the messages of one record."""

    def __init__(self, cover: Cover, most: int) -> None:
        self._cover = cover
        self._most = most

    def told(self, text: str) -> str:
        return self._cover.free(redact.text(text))

    def lines(self, lines: Iterable[Line]) -> Lines:
        return [(_text(name), self._cover.header(key.decode("latin-1"), _text(value))) for key, name, value in lines]

    def request(
        self, method: str, target: tuple[str, str | None], lines: Iterable[Line], body: Body | None
    ) -> RequestRecord:
        return RequestRecord(method, self._cover.target(*target), self.lines(lines), body)

    def caught(self, lines: list[Line], caught: Caught, side: Side) -> Body | None:
        if caught.untold:
            return Body(caught.size, why="not told by the proxy that asks")
        if not caught.size:
            return None
        content = caught.content
        if content is None:
            return Body(caught.size, why="longer than what is recorded")
        return self._body(lines, content, side)

    def passed(
        self, lines: list[Line], content: bytes | None, caught: Caught, before: Body | None, side: Side
    ) -> Body | None:
        """Tell of a body of ours: None is the one of the other side, passed on."""
        if content is None or (content and content == caught.content):
            return Body(before.size, same=True) if before is not None else None
        if not content:
            return None
        if len(content) > self._most:
            return Body(len(content), why="longer than what is recorded")
        return self._body(lines, content, side)

    def _body(self, lines: list[Line], content: bytes, side: Side) -> Body:
        body = Body(len(content))
        headers = Headers(lines, side=side)
        coding = (headers.get(b"content-encoding") or b"").strip().lower().decode("latin-1")
        try:
            media = media_type(headers, side)
            if coding and coding != "identity":
                if coding not in codings.CODINGS:
                    body.why = "its coding is unknown"
                    return body
                body.coding = coding
                content = codings.decode(content, coding, _UNPACKED * self._most, side)
            if not (media.is_json or media.kind == _FORM or media.kind in _TEXTS):
                body.digest = self._cover.digest(content, 16).hex()
                body.why = "of a kind that is not recorded"
                return body
            text = content.decode("utf-8")
            if media.is_json:
                msgspec.json.decode(content)
                body.text = self._cover.json(text, asked=side == "request")
            elif media.kind == _FORM:
                body.text = self._cover.query(text, form=True)
            else:
                body.text = self._cover.prose(text)
        except (Unreadable, UnicodeDecodeError, msgspec.DecodeError, RecursionError):
            body.why = "it cannot be read"
        return body

    def effect(self, rule: str, effect: Effect, result: Any) -> EffectRecord | None:
        """Tell what a rule got from outside; None for what a replay makes itself, such as a count."""
        failed = result.cause if isinstance(result, EffectFailed) else None
        late = isinstance(result, EffectFailed) and result.status == 504
        cover = self._cover
        match effect:
            case Lookup():
                path, mark, query = effect.url.partition("?")
                url = cover.target(path, query if mark else None)
                record = EffectRecord("lookup", rule, effect.method, url, failed=failed, late=late)
                if isinstance(result, Answer):
                    record.status = result.status
                    record.headers = [(name, cover.header(name, value)) for name, value in result.headers]
                    lines = [(name.encode(), name.encode(), value.encode()) for name, value in result.headers]
                    # Its coding is undone already.
                    lines = [line for line in lines if line[0] != b"content-encoding"]
                    short = len(result.body) <= self._most
                    record.body = self._body(lines, result.body, "response").text if short and result.body else None
                    if result.body and record.body is None:
                        record.failed = "its body is not recorded"
                return record
            case FetchKeys():
                keys = None
                if failed is None:
                    keys = [{name: key[name] for name in _PUBLIC if name in key} for key in result]
                return EffectRecord("keys", rule, url=effect.url, keys=keys, failed=failed, late=late)
            case StoreGet():
                return EffectRecord(
                    "stored", rule, found=result is not None and failed is None, failed=failed, late=late
                )
            case _:
                return None


def _sweep(record: Record, cover: Cover) -> None:
    """Replace what was found secret under its name wherever else it stands."""
    texts: list[str] = []

    def note(text: str) -> str:
        texts.append(text)
        return text

    _rewrite(record, note)
    found = cover.found_in(texts)
    if not found:
        return

    def clean(text: str) -> str:
        for secret, told in found:
            text = text.replace(secret, told)
        return text

    _rewrite(record, clean)


def _rewrite(record: Record, change: Callable[[str], str]) -> None:
    """Put another text in the place of each that comes from outside."""
    for request in (record.request, record.forwarded):
        if request is not None:
            request.target = change(request.target)
    for message in (record.request, record.forwarded, record.upstream, record.answer):
        if message is not None:
            message.headers = [(name, change(value)) for name, value in message.headers]
            if message.body is not None and message.body.text is not None:
                message.body.text = change(message.body.text)
    for response in (record.upstream, record.answer):
        if response is not None and response.reason:
            response.reason = change(response.reason)
    for effect in record.effects:
        effect.headers = [(name, change(value)) for name, value in effect.headers]
        for name in ("url", "body", "failed"):
            if (text := getattr(effect, name)) is not None:
                setattr(effect, name, change(text))
    for note in record.notes:
        note.message = change(note.message)
    for name in ("code", "reason", "detail", "cause"):
        if (text := getattr(record.verdict, name)) is not None:
            setattr(record.verdict, name, change(text))
    record.id = change(record.id)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _read_lines(lines: list[bytes]) -> list[Line]:
    found = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            found.append((name.lower(), name, value.strip(b" ")))
    return found


def _read_request(head: bytes | Request) -> tuple[str, tuple[str, str | None], list[Line]]:
    """Read a head that we wrote, or that was given to another proxy."""
    if isinstance(head, Request):
        return head.method, (head.path, head.query), list(head.headers.lines)
    first, *lines = head.split(b"\r\n")
    method, target, _ = first.decode("latin-1").split(" ", 2)
    path, mark, query = target.partition("?")
    return method, (path, query if mark else None), _read_lines(lines)


def _read_response(head: bytes | Response) -> tuple[int, str | None, list[Line]]:
    if isinstance(head, Response):
        return head.status, head.reason, list(head.headers.lines)
    first, *lines = head.split(b"\r\n")
    _, status, reason = first.decode("latin-1").split(" ", 2)
    return int(status), reason, _read_lines(lines)
