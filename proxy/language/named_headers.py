"""The headers that rules may change, by name: a proxy that asks for the rules copies only those that it was told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..engine.dialects import correlation_header
from .targets import Draft

# What answers of the proxy's own, refusals and redirects may have without a rule that names it.
_OWN = ("Content-Type", "Location", "Cache-Control", "WWW-Authenticate", "Retry-After", "Set-Cookie")
_NAMED = ("default", "set", "add")


def of_requests(drafts: Iterable[Draft], dialects: Iterable[str]) -> tuple[str, ...]:
    """Name the headers of a request that may arrive at the upstream otherwise than they were sent."""
    drafts = list(drafts)
    edited = (name for draft in drafts for name in _edited(draft, "before"))
    cookies = ("Cookie" for draft in drafts for step, action, _ in draft.steps if action == "cookies")
    return _once((*_correlation(dialects), *edited, *cookies))


def of_answers(drafts: Iterable[Draft], dialects: Iterable[str]) -> tuple[str, ...]:
    """Name the headers of an answer that is not the upstream's."""
    drafts = list(drafts)
    edited = (name for draft in drafts for name in (*_edited(draft, "after"), *_given(draft)))
    return _once((*_OWN, *_correlation(dialects), *edited))


def _correlation(dialects: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({correlation_header(dialect).decode() for dialect in dialects}))


def _edited(draft: Draft, phase: str) -> Iterator[str]:
    for step, action, data in draft.steps:
        settings = data[action]
        of_request = action == "headers" and step.phase == "before" and phase == "before"
        of_answer = (action == "headers" and step.phase != "before") or action == "response_headers"
        if (of_request or (of_answer and phase == "after")) and isinstance(settings, Mapping):
            for old, new in settings.get("rename", {}).items():
                yield from (old, new)
            removed = settings.get("remove", ())
            yield from [removed] if isinstance(removed, str) else removed
            for kind in _NAMED:
                yield from settings.get(kind, {})


def _given(draft: Draft) -> Iterator[str]:
    """Name the headers that final steps give."""
    for _, action, data in draft.steps:
        settings = data[action]
        if action in ("deny", "redirect", "respond") and isinstance(settings, Mapping):
            yield from settings.get("headers", {})


def _once(names: Iterable[str]) -> tuple[str, ...]:
    """Give each name once, whatever its case, in the spelling in which it is first met."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(str(name).lower(), str(name))
    return tuple(found.values())
