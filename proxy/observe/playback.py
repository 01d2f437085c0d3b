"""Plays recorded exchanges through a rule set, offline: by the engine that serves, at the time of the record, with what
the upstream and other services answered then. The store is one in memory, which goes on from one record to the next.

What a recording does not tell is Unknown, never guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engine import codings, returns, run
from ..engine.effects import Answer, Effect, FetchKeys, Lookup, StoreGet
from ..engine.errors import EffectFailed, Unreadable
from ..engine.exchange import Exchange, Note, Verdict
from ..engine.message import Headers, Limits, Request, Response
from ..engine.ruleset import Ruleset
from ..language.cases.rehearsing import Rehearse, Waiting
from ..language.cases.watching import Call, Watch, plainly
from .record import Body, EffectRecord, Lines, Record


class Unknown(Exception):
    """An exchange whose outcome the recording does not tell; the words say what is missing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a record. `forwarded` is None when the upstream was not called, `answer` when its answer is unknown.

    Bodies are decoded; None is a body that no rule read, so that it is the recorded one.
    """

    verdict: Verdict
    ran: tuple[str, ...]
    notes: tuple[Note, ...]
    forwarded: Request | None
    answer: Response | None

    @property
    def status(self) -> int | None:
        return self.answer.status if self.answer is not None else None

    @property
    def told(self) -> str:
        """Say who answered, in words."""
        verdict = self.verdict
        if self.answer is None:
            return "forwarded, the answer is not recorded"
        if verdict.by == "upstream":
            return "upstream"
        if verdict.rule is None:
            return f"proxy ({verdict.cause})" if verdict.cause else "proxy"
        if verdict.by == "proxy":
            return f"failed in {verdict.rule}: {verdict.cause}"
        return f"{'denied' if verdict.denies else 'answered'} by {verdict.rule} ({verdict.action})"


class Playback:
    """Plays records in the order of their time through one rule set; `watch` sees each call of the engine."""

    def __init__(
        self, ruleset: Ruleset, rehearse: Rehearse, limits: Limits | None = None, *, watch: Watch | None = None
    ) -> None:
        self._ruleset = ruleset
        self._watch = watch or Watch()
        self._call: Call = plainly
        self._limits = limits or Limits()
        self._now = 0.0
        self._world = _World()
        self._performer = rehearse(self._clock, self._world)

    def _clock(self) -> float:
        return self._now

    def play(self, record: Record) -> Outcome:
        """Play one; raise Unknown."""
        self._now = record.time
        self._world.begin(record.effects)
        exchange, forwarded, answer = self._play(record)
        if self._world.missing:
            raise Unknown(self._world.missing[0])
        return Outcome(exchange.verdict, tuple(exchange.ran), tuple(exchange.notes), forwarded, answer)

    def _play(self, record: Record) -> tuple[Exchange, Request | None, Response | None]:
        request = self._request(record)
        call = self._call = self._watch.exchange()
        exchange = call(run.begin, self._ruleset, request, clock=self._clock, entropy=_entropy(record.id))
        exchange.correlation = record.id
        if returns.is_reserved(request.path):
            raise Unknown("it comes back to an exchange that was suspended, which is not recorded")
        try:
            call(self._ruleset.choose, exchange)
            if run.needs_request(exchange):
                request.content = _content(record.request.body, request.headers, "the request's body")
            answer = self._settle(exchange, call(run.before, exchange))
        except Unreadable as error:
            return exchange, None, self._settle(exchange, call(run.refuse, exchange, error.status, error.cause))
        if answer is not None:
            return exchange, None, answer
        forwarded = exchange.request.copy()
        upstream = record.upstream
        if upstream is None:
            failed = record.verdict.by == "proxy" and record.verdict.rule is None and record.forwarded is not None
            if failed and record.status is not None:
                refused = call(run.refuse, exchange, record.status, record.error or "the upstream did not answer")
                return exchange, forwarded, self._settle(exchange, refused)
            return exchange, forwarded, None
        headers = _headers(upstream.headers, "response")
        response = Response(upstream.status, headers, limits=self._limits, reason=upstream.reason)
        if run.needs_response(exchange, upstream.status) and exchange.request.method != "HEAD":
            response.content = _content(upstream.body, headers, "the body of the upstream's answer") or b""
        return exchange, forwarded, self._settle(exchange, call(run.after, exchange, response))

    def _request(self, record: Record) -> Request:
        path, mark, query = record.request.target.partition("?")
        return Request(
            record.request.method,
            path,
            query if mark else None,
            _headers(record.request.headers, "request"),
            limits=self._limits,
            scheme=record.scheme,
            host=record.host,
            ip=record.client,
            ips=tuple(record.ips) or (record.client,),
            version=(1, 0) if record.http == "1.0" else (1, 1),
        )

    def _settle(self, exchange: Exchange, result: Response | run.Pending | None) -> Response | None:
        while isinstance(result, run.Pending):
            try:
                value = self._perform(result.effect, exchange)
            except EffectFailed as error:
                result = self._call(result.fail, error, 0.0)
            else:
                result = self._call(result.resume, value, 0.0)
        return result

    def _perform(self, effect: Effect, exchange: Exchange) -> Any:
        rule = exchange.rule.name if exchange.rule is not None else ""
        self._world.rule = rule
        value = self._performer.perform(effect)
        if isinstance(value, Waiting):
            raise EffectFailed("the exchange that it waits for did not go on", late=True)
        if value is None and isinstance(effect, StoreGet) and self._world.knew(rule):
            self._world.missing.append(f"rule {rule} read a stored value, which is not recorded")
        return value


class _World:
    """What other services answered when the exchange was recorded."""

    def __init__(self) -> None:
        self.rule = ""
        self.missing: list[str] = []
        self._left: list[EffectRecord] = []

    def begin(self, effects: list[EffectRecord]) -> None:
        self._left = list(effects)
        self.missing = []

    def _take(self, holds: Callable[[EffectRecord], bool]) -> EffectRecord | None:
        """Take the first that holds, of this rule if there is one: a rule may have another name now."""
        found = [one for one in self._left if holds(one)]
        best = next((one for one in found if one.rule == self.rule), found[0] if found else None)
        if best is not None and len(found) > 1:
            self._left.remove(best)
        return best

    def call(self, lookup: Lookup) -> Answer:
        found = self._take(
            lambda one: one.kind == "lookup" and one.method == lookup.method and _is_like(one.url or "", lookup.url)
        )
        if found is None or (found.failed is None and found.status is None):
            return self._miss(f"rule {self.rule} calls {lookup.method} {lookup.url.partition('?')[0]}")
        if found.status is None:
            raise EffectFailed(found.failed or "", late=found.late)
        if found.failed is not None:
            return self._miss(f"rule {self.rule} reads an answer of {lookup.url.partition('?')[0]}: {found.failed}")
        return Answer(found.status, tuple(found.headers), (found.body or "").encode())

    def _miss(self, what: str) -> Answer:
        self.missing.append(f"{what}, which is not recorded")
        raise EffectFailed("it is not recorded")

    def keys(self, fetch: FetchKeys) -> tuple[dict[str, Any], ...]:
        found = self._take(lambda one: one.kind == "keys" and one.url == fetch.url)
        if found is None:
            self._miss(f"rule {self.rule} asks for the keys of {fetch.url}")
        elif found.keys is None:
            raise EffectFailed(found.failed or "", late=found.late)
        return tuple(found.keys or ()) if found is not None else ()

    def knew(self, rule: str) -> bool:
        found = self._take(lambda one: one.kind == "stored" and one.rule == rule)
        return found is not None and found.found is True


def _is_like(recorded: str, asked: str) -> bool:
    """Compare addresses; where one was redacted, what it is asked with cannot be known."""
    if recorded == asked:
        return True
    return "redacted-" in recorded and recorded.partition("?")[0] == asked.partition("?")[0]


def _headers(lines: Lines, side: Any) -> Headers:
    return Headers.of(lines, side=side)


def _content(body: Body | None, headers: Headers, what: str) -> bytes | None:
    """Give a body as it was sent; raise Unknown when its text is not recorded."""
    if body is None or not (body.size or body.why):
        return None
    if body.text is None:
        raise Unknown(f"{what} is not recorded: {body.why or 'it has no text'}")
    data = body.text.encode()
    return codings.encode(data, body.coding) if body.coding is not None and b"content-encoding" in headers else data


def _entropy(seed: str) -> Callable[[int], bytes]:
    """Give bytes that are the same whenever a record is played."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed}\0{count}".encode()).digest(size)

    return entropy
