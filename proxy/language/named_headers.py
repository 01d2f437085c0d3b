"""The headers that rules may change, by name: a proxy that asks for the rules copies only those that it was told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..engine.dialects import correlation_header
from .targets import Draft

# What answers of the proxy's own, refusals and redirects may have without a rule that names it.
_OWN = ("Content-Type", "Location", "Cache-Control", "WWW-Authenticate", "Retry-After", "Set-Cookie")


def of_requests(drafts: Iterable[Draft], dialects: Iterable[str]) -> tuple[str, ...]:
    """Name the headers of a request that may arrive at the upstream otherwise than they were sent."""
    found: list[str] = []
    for draft in drafts:
        for step, action, data in draft.steps:
            if action == "headers" and step.phase == "before":
                found += [*_dropped(data[action]), *_written(data[action])]
            elif action == "cookies":
                found.append("Cookie")
    return _once((*_correlation(dialects), *found))


def of_answers(drafts: Iterable[Draft], dialects: Iterable[str]) -> tuple[str, ...]:
    """Name the headers that an answer may have which is not the upstream's."""
    found: list[str] = []
    for draft in drafts:
        for step, action, data in draft.steps:
            if action in ("deny", "redirect", "respond") and isinstance(data[action], Mapping):
                found += data[action].get("headers", {})
            elif action == "response_headers" or (action == "headers" and step.phase != "before"):
                found += _written(data[action])
    return _once((*_OWN, *_correlation(dialects), *found))


def _correlation(dialects: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({correlation_header(dialect).decode() for dialect in dialects}))


def _dropped(edits: Any) -> Iterator[str]:
    yield from edits.get("remove", ())
    yield from edits.get("rename", {})


def _written(edits: Any) -> Iterator[str]:
    yield from edits.get("rename", {}).values()
    for kind in ("default", "set", "add"):
        yield from edits.get(kind, {})


def _once(names: Iterable[str]) -> tuple[str, ...]:
    """Give each name once, whatever its case, in the spelling in which it is first met."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(str(name).lower(), str(name))
    return tuple(found.values())
