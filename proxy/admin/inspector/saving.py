"""A case that was played, as a test file: what came of it is what it expects from now on.

What differs from run to run is left out of the expectation, and so is what nobody decided.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ...language.explain.trace import MessageTrace, Trace
from ...language.layout import canonical, write_flow, write_text
from ...observe.record import Record
from .casting import Cast

# Said of every body anew.
_ABOUT = frozenset({"content-length", "date", "etag", "transfer-encoding", "connection", "server"})


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a case; `tokens` are the texts of those that the test signed, by name."""

    trace: Trace
    findings: tuple[str, ...]
    ran: tuple[str, ...]
    correlation: str
    tokens: Mapping[str, str]


def expectation(played: Played, again: Played) -> dict[str, Any]:
    """Say what came of a case, as far as it is the same when it is played `again`."""
    found: dict[str, Any] = _same(_expected(played), _expected(again))
    return found


def _expected(played: Played) -> dict[str, Any]:
    trace = played.trace
    decision = trace.decision
    forwarded, delivered = trace.forwarded, trace.delivered
    found: dict[str, Any] = {}
    if forwarded is None:
        found["upstream"] = "not called"
    else:
        method, _, target = forwarded.start.partition(" ")
        found["upstream"] = {
            "method": method, "path": target.partition("?")[0], **_changes(played, trace.received, forwarded),
        }  # fmt: skip
    if delivered is not None:
        status = decision.status or 0
        found["response"] = {"status": status, **_changes(played, trace.arrived, delivered, whole=True)}
    found["rules"] = {"ran": list(played.ran), "denied_by": decision.rule if decision.denied else None}
    return found


def _changes(
    played: Played, before: MessageTrace | None, after: MessageTrace, *, whole: bool = False
) -> dict[str, Any]:
    """Give the header lines that are not as before, and the body: where it is not as before, or `whole`."""
    found: dict[str, Any] = {}
    tokens = played.tokens
    old, new = (_lines(before) if before is not None else {}), _lines(after)
    headers: dict[str, Any] = {
        name: [_named(value, tokens) for value in values] if len(values) > 1 else _named(values[0], tokens)
        for name, values in new.items()
        if values != old.get(name) and name not in _ABOUT and values != [played.correlation]
    }
    headers |= {name: None for name in old if name not in new and name not in _ABOUT}
    if headers:
        found["headers"] = headers
    if after.body is not None and (whole or before is None or after.body != before.body):
        try:
            body = msgspec.json.decode(after.body)
            own = played.trace.decision.by != "upstream"
            found["json"] = _named(_without(body, played.correlation) if own else body, tokens)
        except msgspec.DecodeError:
            # In words: it is no JSON.
            return found
    return found


def _without(body: Any, correlation: str) -> Any:
    """Leave the correlation id out of an answer of ours, as the comparison does."""
    if not isinstance(body, dict):
        return body
    return {name: _without(value, correlation) for name, value in body.items() if value != correlation}


def _lines(message: MessageTrace) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in message.headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def _named(value: Any, tokens: Mapping[str, str]) -> Any:
    """Write `${name}` for the tokens of the test, whose signatures may be others in each run."""
    if isinstance(value, str):
        for name, text in tokens.items():
            value = value.replace(text, f"${{{name}}}")
        return value
    if isinstance(value, dict):
        return {name: _named(item, tokens) for name, item in value.items()}
    return [_named(item, tokens) for item in value] if isinstance(value, list) else value


def _same(one: Any, other: Any) -> Any:
    """Keep what two runs have in common; a body is compared whole, so one that differs goes."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one
    return {
        name: value if name == "json" else _same(value, other[name])
        for name, value in one.items()
        if name in other and (value == other[name] or (isinstance(value, dict) and name != "json"))
    }


def write_file(rules_at: list[str], made: Cast, notes: list[str], record: Record) -> str:
    """Write a test file of one case."""
    lines = [f"# An exchange of {made.given['now']}, recorded as {_comment(record.id)}; what was secret is of a test."]
    lines += [f"# Note: {_comment(note)}." for note in notes]
    document = {"rules": rules_at, "given": made.given, "cases": [made.case]}
    lines += [f"{write_text(key, flow=False)}: {write_flow(value)}" for key, value in document.items()]
    return canonical("\n".join(lines) + "\n")


def _comment(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)
