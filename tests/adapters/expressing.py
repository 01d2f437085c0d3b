"""Which cases cannot go through a proxy that asks, and why: this one function says so for all of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from proxy.language.cases.content import ExpectedRequest, GivenUpstream, Lines, listed
from proxy.language.cases.model import Case, OneByOne, Play, Together
from proxy.language.cases.runner import Prepared
from proxy.language.targets import TARGETS, limits_of

# Names whose lines Envoy joins before anyone sees them.
_CORRELATION = {"x-correlation-id", "x-vol-correlation"}
_JOINED = frozenset({"authorization", "content-type", "vary"})

JOINED = "Envoy makes one line of several lines of Authorization, Content-Type or Vary"
UNREADABLE = "a client has an address"
LATE = "an answer is late by Envoy's own clock, and those who wait for it cannot be held back so long"
CORRELATION = "the answer of the upstream gets no correlation id"
SERVER_ERROR = "Envoy gives an answer of its own for one of 500 and above"
CLEANED = "Traefik resolves the path before it asks"
FAILED = "an upstream that fails is told by the other proxy alone"


def why_not(one: Prepared, target: str, front: str = "envoy") -> str | None:
    """Say why a case cannot go through a target, asked by some proxy, or None for one that can."""
    for draft in one.drafts:
        if draft.model.mode != "off":
            for _, reason in limits_of(draft, TARGETS[target]):
                return reason
    found = _why_not(one.case, answers=TARGETS[target].answers)
    for play, _ in _plays(one.case):
        found = found or _over_http(play, target, front)
    return found


def _over_http(play: Play, target: str, front: str) -> str | None:
    """Say why an exchange cannot go through a proxy that asks over HTTP."""
    response = play.expect.response if play.expect is not None else None
    if front == "traefik" and "..//" in (play.request.path or ""):
        return CLEANED
    if TARGETS[target].named and response is not None and _CORRELATION & {name.lower() for name in response.headers}:
        return CORRELATION if play.expect is not None and play.expect.upstream != "not called" else None
    if target == "ext_authz_http" and response is not None and (response.status or 0) >= 500:
        return SERVER_ERROR
    return None


def _why_not(case: Case, *, answers: bool) -> str | None:
    for play, together in _plays(case):
        upstreams: list[GivenUpstream] = listed(play.upstream) if play.upstream is not None else []
        if any(_is_joined(content.headers) for content in (play.request, *upstreams)) or _expects_joined(play):
            return JOINED
        try:
            ipaddress.ip_address(play.request.ip)
        except ValueError:
            return UNREADABLE
        if any(one.fails == "late" for one in upstreams) and together:
            return LATE
        if any(one.fails for one in upstreams) and not answers:
            return FAILED
    return None


def _is_joined(headers: Lines) -> bool:
    return any(name.lower() in _JOINED and len(listed(values)) > 1 for name, values in headers.items())


def _expects_joined(play: Play) -> bool:
    expect = play.expect
    if expect is None:
        return False
    upstream = expect.upstream if isinstance(expect.upstream, ExpectedRequest) else None
    return any(one is not None and _is_joined(one.headers) for one in (upstream, expect.response))


def _plays(case: Case) -> Iterator[tuple[Play, bool]]:
    """Give the exchanges of a case, and whether each is under way with others."""
    if case.request is not None:
        yield Play(request=case.request, upstream=case.upstream, expect=case.expect), False
    for exchange in case.exchanges or ():
        if isinstance(exchange, OneByOne):
            yield exchange, False
        elif isinstance(exchange, Together):
            yield from ((play, True) for play in exchange.together)
