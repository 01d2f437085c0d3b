"""What changes for recorded exchanges from one rule set to another: field by field, grouped, with no secret shown."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ..engine.errors import EvaluationError, Unreadable
from ..engine.message import Message
from ..engine.ruleset import Redaction, Ruleset
from ..language.cases.rehearsing import Rehearse
from ..language.secret_names import Names
from . import redact
from .hiding import Cover
from .playback import Outcome, Playback, Unknown
from .record import Body, Record

RAN = "rules that ran"
# Fields that only say how long a body is, or say it anew for every body.
_ABOUT = frozenset({"content-length", "date", "etag"})
_LONGEST = 120


class Change(msgspec.Struct, frozen=True):
    """One field that differs; None is a field that is not there."""

    field: str
    old: str | None
    new: str | None


class Changed(msgspec.Struct, frozen=True):
    """An exchange whose outcome differs."""

    id: str
    time: float
    operation: str | None
    method: str
    target: str
    changes: tuple[Change, ...]
    # The old rules do not do what was recorded: other rules were, or what was redacted decides.
    doubt: str | None = None


class Unsure(msgspec.Struct, frozen=True):
    """An exchange of which nobody can say whether its outcome differs."""

    id: str
    time: float
    method: str
    target: str
    why: str


class Comparison(msgspec.Struct):
    """What came of all records."""

    total: int = 0
    changed: list[Changed] = msgspec.field(default_factory=list)
    unknown: list[Unsure] = msgspec.field(default_factory=list)
    # Exchanges that end as they did, though other rules ran: nobody outside sees a difference.
    other_rules: list[str] = msgspec.field(default_factory=list)

    def groups(self) -> list[list[Changed]]:
        """Give what changed in the same way together, the most frequent first."""
        found: dict[tuple[Any, ...], list[Changed]] = {}
        for one in self.changed:
            ways = tuple((change.field, *_way(change)) for change in one.changes)
            found.setdefault((one.operation or one.method, ways), []).append(one)
        return sorted(found.values(), key=len, reverse=True)


def _way(change: Change) -> tuple[str | bool | None, ...]:
    if change.field == RAN:
        return rules_gone_and_come(change)
    if change.field in ("status", "answered by", "request"):
        return change.old, change.new
    return change.old is None, change.new is None


def rules_gone_and_come(change: Change) -> tuple[str, str]:
    """Give the names of the rules that ran before alone, and of those that run now alone, each as a list in words."""
    old, new = ((names or "").split(", ") for names in (change.old, change.new))
    gone, come = ([name for name in one if name not in other] for one, other in ((old, new), (new, old)))
    return ", ".join(gone), ", ".join(come)


def compare(
    records: Iterable[Record], old: Ruleset, new: Ruleset, rehearse: Rehearse, secrets: Iterable[str] = ()
) -> Comparison:
    """Play records, which are in the order of their time, through two rule sets."""
    comparison = Comparison()
    one, other = Playback(old, rehearse), Playback(new, rehearse)
    differ = _Differ(old.redact, new.redact, tuple(secrets))
    for record in records:
        comparison.total += 1
        before, after = _play(one, record), _play(other, record)
        told = (record.id, record.time)
        asked = (record.request.method, record.request.target)
        if isinstance(before, Unknown) or isinstance(after, Unknown):
            why = before if isinstance(before, Unknown) else after
            comparison.unknown.append(Unsure(*told, *asked, str(why)))
            continue
        changes = tuple(differ.changes(record, before, after))
        doubt = _doubt(record, before, old)
        if any(change.field != RAN for change in changes):
            comparison.changed.append(Changed(*told, record.operation, *asked, changes, doubt))
        elif before.answer is None:
            comparison.unknown.append(Unsure(*told, *asked, "the upstream's answer is not recorded"))
        elif doubt is not None:
            comparison.unknown.append(Unsure(*told, *asked, doubt))
        elif changes:
            comparison.other_rules.append(record.id)
    return comparison


def _play(playback: Playback, record: Record) -> Outcome | Unknown:
    try:
        return playback.play(record)
    except Unknown as unknown:
        return unknown


def _doubt(record: Record, played: Outcome, ruleset: Ruleset) -> str | None:
    """Say in what the old rules do not do what was recorded."""
    if played.answer is None and record.forwarded is not None and record.status is None and not record.hung_up:
        # The request went on, and nobody told what it was answered.
        return None
    if record.recording == "har" or (played.status, played.verdict.by) == (record.status, record.verdict.by):
        return None
    recorded = f"{record.status or 'no answer'} ({record.verdict.rule or record.verdict.by or 'nobody'})"
    now = f"{played.status or 'no answer'} ({played.verdict.rule or played.verdict.by})"
    if record.hung_up and record.status is None:
        return "the client hung up before there was an answer"
    why = "a value that is redacted decides" if record.rules == ruleset.revision else "it was recorded with other rules"
    return f"OLD gives {now} where {recorded} was recorded: {why}, or one that is kept nowhere"


class _Differ:
    def __init__(self, old: Redaction, new: Redaction, secrets: tuple[str, ...]) -> None:
        both = Redaction(old.headers | new.headers, old.query | new.query, old.fields | new.fields)
        self._names = Names(both)
        self._key = os.urandom(32)
        self._secrets = secrets

    def changes(self, record: Record, old: Outcome, new: Outcome) -> Iterator[Change]:
        """Give what differs, as it may be shown."""
        cover = Cover(self._key, self._names, self._secrets)
        for change in self._raw(record, old, new):
            yield Change(change.field, self._shown(cover, change, change.old), self._shown(cover, change, change.new))

    def _shown(self, cover: Cover, change: Change, value: str | None) -> str | None:
        if value is None or change.field == RAN:
            return value
        _, _, header = change.field.partition(" header ")
        _, _, parameter = change.field.partition(" query ")
        _, _, path = change.field.partition(" body ")
        if header:
            value = cover.header(header, value)
        elif self._names.field(path.rpartition(".")[2].partition("[")[0]) or (
            parameter and self._names.parameter(parameter)
        ):
            value = cover.hide(value)
        elif path and value[:1] in ("{", "["):
            value = cover.json(value, asked=False)
        value = cover.free(redact.text(value))
        for secret, told in cover.found_in([value]):
            value = value.replace(secret, told)
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"

    def _raw(self, record: Record, old: Outcome, new: Outcome) -> Iterator[Change]:
        if old.told != new.told:
            yield Change("answered by", old.told, new.told)
        if old.status != new.status:
            yield Change("status", _text(old.status), _text(new.status))
        if old.ran != new.ran:
            yield Change(RAN, ", ".join(old.ran), ", ".join(new.ran))
        yield from self._requests(record, old, new)
        one, other = old.answer, new.answer
        if one is None or other is None:
            return
        if (one.reason or "") != (other.reason or "") and one.status == other.status:
            yield Change("reason phrase", one.reason, other.reason)
        upstream = record.upstream.body if record.upstream is not None else None
        yield from _lines("answer", one, other)
        yield from _bodies("answer", _body(one, upstream), _body(other, upstream))

    def _requests(self, record: Record, old: Outcome, new: Outcome) -> Iterator[Change]:
        one, other = old.forwarded, new.forwarded
        if one is None or other is None:
            if (one is None) != (other is None):
                told = [("not forwarded" if request is None else "forwarded") for request in (one, other)]
                yield Change("request", *told)
            return
        for name in ("method", "path"):
            if getattr(one, name) != getattr(other, name):
                yield Change(f"request {name}", getattr(one, name), getattr(other, name))
        if one.query != other.query:
            yield from _queries(one.query, other.query)
        yield from _lines("request", one, other)
        yield from _bodies("request", _body(one, record.request.body), _body(other, record.request.body))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _queries(old: str | None, new: str | None) -> Iterator[Change]:
    one, other = (dict(part.partition("=")[::2] for part in (query or "").split("&") if part) for query in (old, new))
    changes = [Change(f"request query {name}", one.get(name), other.get(name)) for name in {**one, **other}]
    found = [change for change in changes if change.old != change.new]
    yield from found or [Change("request query", old, new)]


def _lines(what: str, old: Message, new: Message) -> Iterator[Change]:
    one, other = _by_name(old), _by_name(new)
    for name in {**one, **other}:
        if one.get(name) != other.get(name) and name not in _ABOUT:
            yield Change(f"{what} header {name}", one.get(name), other.get(name))


def _by_name(message: Message) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for key, _, value in message.headers.lines:
        found.setdefault(key.decode("latin-1"), []).append(value.decode("utf-8", "backslashreplace"))
    # A Set-Cookie is a line of its own.
    return {name: ("\n" if name == "set-cookie" else ", ").join(values) for name, values in found.items()}


class _Passed:
    """A body that no rule read and of which there is no text: the same wherever it is passed on."""

    def __init__(self, body: Body | None) -> None:
        self.told = "none" if body is None else f"{body.size} bytes, as they came"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Passed) and other.told == self.told

    __hash__ = None  # type: ignore[assignment]


def _body(message: Message, recorded: Body | None) -> Any:
    """Give a body as data, a form as its text, and what is neither as text or as it came."""
    text: str | None
    if message.content is None:
        if recorded is None or recorded.text is None:
            return _Passed(recorded)
        text = recorded.text
    elif not message.content:
        return None
    else:
        try:
            text = bytes(message.document.dump()).decode("utf-8")
        except (EvaluationError, Unreadable):
            text = message.content.decode("utf-8", "backslashreplace")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _bodies(what: str, old: Any, new: Any) -> Iterator[Change]:
    for path, one, other in _differences(old, new, ""):
        yield Change(f"{what} body {path}".rstrip(), one, other)


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, str | None, str | None]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            inner = f"{path}.{name}" if path else name
            if name not in old:
                yield inner, None, _json(new[name])
            elif name not in new:
                yield inner, _json(old[name]), None
            else:
                yield from _differences(old[name], new[name], inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif old != new or type(old) is not type(new):
        yield path, _json(old), _json(new)


def _json(value: Any) -> str:
    if isinstance(value, _Passed):
        return value.told
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
