"""No text from outside ends a line of a head, in whichever slot of whichever action a rule writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

from proxy.edge.refusal import Refusal
from proxy.engine.effects import Answer, Effect, Lookup
from proxy.engine.message import Response
from tests.figures import Figures
from tests.strategies.nasty import nasty, texts

from .acting import Acting, Outcome, heads, respond

V = "${request.body.v}"

# Edits of one exchange: each in a rule that is left out when its value cannot be written.
EDITS = (
    f"headers: {{set: {{x-set: '{V}'}}}}",
    f"headers: {{set: {{x-inner: 'a {V} b'}}}}",
    f"headers: {{set: {{x-list: ['{V}', 'b{V}']}}}}",
    f"headers: {{add: {{x-set: '{V}'}}}}",
    f"headers: {{default: {{x-default: '{V}'}}}}",
    "headers: {rename: {x-sent: x-renamed}}",
    "headers: {set: {x-read: '${request.headers[\"x-renamed\"]}'}}",
    f"cookies: {{set: {{a: '{V}'}}}}",
    f"cookies: {{default: {{b: '{V}'}}}}",
    "cookies: {rename: {c: d}}",
    f"query: {{set: {{a: '{V}'}}}}",
    f"query: {{add: {{c: '{V}'}}}}",
    f"query: {{default: {{b: '{V}'}}}}",
    f"path: {{to: '/v2/{V}'}}",
    f"path: {{to: '/v2/a{V}b/c'}}",
    f"set: {{kept: '{V}'}}",
    "headers: {set: {x-kept: '${kept}'}}",
    "headers: {set: {x-url: '${request.url}'}}",
    f"mint_token: {{key: '${{secret:key}}', algorithm: HS256, claims: {{v: '{V}'}}, expires_in: 60s, into: token}}",
    "headers: {set: {x-token: '${token}'}}",
    f"lookup: {{url: 'https://service.example/{V}', query: {{v: '{V}'}}, into: one}}",
    f"lookup: {{url: 'https://service.example/', headers: {{x-asked: '{V}'}}, form: {{v: '{V}'}}, into: two}}",
    "headers: {set: {x-found: '${two.headers[\"x-given\"]}'}}",
    f"response_headers: {{set: {{x-later: '{V}'}}, add: {{x-later: '{V}'}}, default: {{x-more: '{V}'}}}}",
)
LATER = (
    f"headers: {{set: {{x-set: '{V}'}}, add: {{x-set: ['{V}']}}, default: {{x-default: '{V}'}}}}",
    f"status: {{code: 201, reason: '{V}'}}",
    f"cookies: {{set: {{a: '{V}'}}}}",
    f"cookies: {{set: {{b: {{value: x, domain: '{V}'}}}}}}",
    f"cookies: {{set: {{c: {{value: x, path: '{V}'}}}}}}",
    f"cookies: {{default: {{d: {{value: '{V}', path: '/{V}'}}}}}}",
    f"cookies: {{rewrite: {{sent: {{domain: '{V}', path: '/{V}'}}}}}}",
    "headers: {set: {x-got: '${response.headers[\"x-got\"]}'}}",
    f"result_url: {{url: 'https://good.com/{V}', query: {{v: '{V}'}}}}",
)
# Each ends an exchange.
FINAL = (
    f"redirect: {{to: '{V}', mode: redirect, allow: [good.com]}}",
    f"redirect: {{to: 'https://good.com/{V}', mode: redirect, query: {{v: '{V}'}}}}",
    f"redirect: {{to: 'https://good.com/', mode: redirect, token: {{secret: '${{secret:key}}', subject: '{V}'}}}}",
    f"respond: {{status: 200, headers: {{x-set: '{V}', x-list: ['{V}']}}, text: '{V}'}}",
    f"respond: {{status: 200, headers: {{location: '{V}', content-type: '{V}', etag: '{V}'}}, form: {{v: '{V}'}}}}",
    f"deny: {{status: 401, reason: '{V}', headers: {{www-authenticate: '{V}', x-set: '{V}'}}}}",
    f"deny: {{reason: '{V}', code: '{V}', detail: '{V}', dialect: oauth, status: 401}}",
    f"deny: {{reason: '{V}', headers: {{x-list: ['{V}', '{V}']}}, dialect: kibo}}",
)
SLOTS = "\n".join((*EDITS, *LATER, *FINAL)).count(V) + 7
RULES = (
    "rules:\n"
    + "".join(
        f"  - {{name: e{index}, match: {{path: /edits}}, on_error: continue, before: [{{{step}}}]}}\n"
        for index, step in enumerate(EDITS)
    )
    + "".join(
        f"  - {{name: l{index}, match: {{path: /edits, status: 200}}, on_error: continue, after: [{{{step}}}]}}\n"
        for index, step in enumerate(LATER)
    )
    + "".join(
        f"  - {{name: f{index}, match: {{path: /f{index}}}, before: [{{{step}}}]}}\n"
        for index, step in enumerate(FINAL)
    )
)
WAYS = ["/edits", *(f"/f{index}" for index in range(len(FINAL)))]

OURS = {
    "cache-control", "content-type", "cookie", "etag", "host", "location", "sec-fetch-mode", "set-cookie",
    "vestibule-result-url", "via", "www-authenticate", "x-correlation-id", "x-default", "x-found", "x-got", "x-inner",
    "x-kept", "x-later", "x-list", "x-more", "x-read", "x-renamed", "x-set", "x-token", "x-url", "x-vol-correlation",
}  # fmt: skip
_breaks = re.compile(rb"[\r\n\0]").search
_start = re.compile(rb"(?:[A-Z]+ /[!-~]* HTTP/1\.1|HTTP/1\.1 [2-5][0-9][0-9] [\t -~]*)").fullmatch


def upstream() -> Response:
    pairs = ("Set-Cookie", "sent=1; Path=/"), ("X-Got", "x"), ("Content-Type", "text/plain")
    return respond(200, *pairs)


@pytest.fixture(scope="module")
def acting() -> Acting:
    found = Answer(200, (("x-given", "x"),), b"")

    def perform(effect: Effect) -> Any:
        assert isinstance(effect, Lookup)
        return found

    return Acting(RULES, perform=perform, secrets=lambda _: "test-only-" * 4)


def play(acting: Acting, way: str, text: str, *, navigates: bool = False) -> Outcome | None:
    """Play one text on one way; None when it cannot even stand in a body."""
    headers = [("Content-Type", "application/json"), ("Cookie", "c=1"), ("X-Sent", "x")]
    if navigates:
        headers.append(("Sec-Fetch-Mode", "navigate"))
    content = json.dumps({"v": text}).encode()
    return acting.play(acting.begin(way, method="POST", headers=tuple(headers), content=content), upstream)


def broken(outcome: Outcome) -> bytes | None:
    """Give a line that is not one of ours."""
    for start, *lines in heads(outcome.forwarded, outcome.answered):
        if not _start(start):
            return start
        for line in lines:
            name = line.partition(b": ")[0].decode("latin-1").lower()
            if _breaks(line) or name not in OURS:
                return line
    for effect in outcome.asked:
        assert isinstance(effect, Lookup)
        told = (effect.method, effect.url, *(part for pair in effect.headers for part in pair))
        for one in told:
            if _breaks(one.encode()):
                return one.encode()
    return None


def attack(acting: Acting, text: str) -> list[tuple[str, str, bytes]]:
    """Try a text in every slot; gives the lines that are not ours."""
    found: list[tuple[str, str, bytes]] = []
    for way in WAYS:
        for navigates in (False, True) if way == "/edits" else (True,):
            try:
                outcome = play(acting, way, text, navigates=navigates)
            except Refusal as error:
                # The last guard held, but a text must not come that far.
                found.append((way, text, error.cause.encode()))
                continue
            if outcome is not None and (line := broken(outcome)) is not None:
                found.append((way, text, line))
    return found


def test_no_text_breaks_a_line_in_any_slot(acting: Acting, figures: Figures) -> None:
    count = 1500
    found = [one for text in texts(count, seed=1) for one in attack(acting, text)]
    figures.add("line-breaks", cases=count * SLOTS, found=len(found))
    assert not found


@pytest.mark.soak
@pytest.mark.parametrize("part", range(2))
def test_no_text_of_a_million_breaks_a_line_in_any_slot(
    part: int, soaking: Callable[[], bool], acting: Acting, figures: Figures
) -> None:
    for seed in range(part, 1_000, 2):
        found = [one for text in texts(1_000, seed=100 + seed) for one in attack(acting, text)]
        figures.add("line-breaks", cases=1_000 * SLOTS, found=len(found))
        assert not found
        if not soaking():
            break


@settings(max_examples=150)
@given(text=nasty)
def test_nor_one_that_somebody_else_makes_up(acting: Acting, text: str) -> None:
    assert attack(acting, text) == []


def test_every_slot_writes_what_it_can(acting: Acting) -> None:
    outcome = play(acting, "/edits", "good")
    assert outcome is not None
    assert {note.rule for note in outcome.exchange.notes if note.kind == "skipped"} <= {"l8"}
    assert outcome.forwarded is not None
    assert outcome.answered is not None
    for line in (b"x-inner: a good b", b"x-kept: good", b"x-found: x", b"x-read: x", b"?", b" /v2/agoodb/c?"):
        assert line in outcome.forwarded, line
    for line in (b"x-later: good", b"Domain=good", b"Path=/good", b"HTTP/1.1 201 good", b"Vestibule-Result-Url: "):
        assert line in outcome.answered, line
    for way in WAYS[1:]:
        assert (one := play(acting, way, "good")) is not None
        assert one.answer is not None
        assert one.answer.status != 500, way


def test_the_judge_sees_a_line_that_is_not_ours(acting: Acting) -> None:
    outcome = play(acting, "/edits", "good")
    assert outcome is not None
    outcome.answered = b"HTTP/1.1 200 OK\r\nx-set: a\r\nInjected: 1\r\n\r\n"
    assert broken(outcome) == b"Injected: 1"
    outcome.answered = b"HTTP/1.1 200 OK\r\nx-set: a\nb\r\n\r\n"
    assert broken(outcome) == b"x-set: a\nb"
