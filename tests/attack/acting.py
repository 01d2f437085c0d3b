"""Rules built once and played many times on requests, down to the bytes that the edge would write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from proxy.edge.head import write_request, write_response
from proxy.engine import returns, run
from proxy.engine.effects import Effect
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.engine.ruleset import Ruleset
from proxy.language.compile import Options, build
from proxy.language.document import Source

LIMITS = Limits()
NOW = 1_767_225_600.0


def respond(status: int = 200, *pairs: tuple[str, str], content: bytes | None = None) -> Response:
    """Make an answer of the auth service."""
    return Response(status, Headers.of(pairs, side="response"), content, limits=LIMITS)


@dataclass
class Outcome:
    """What came of an exchange. `forwarded` and `answered` are heads as bytes, `asked` what a rule asked of outside."""

    exchange: Exchange
    forwarded: bytes | None
    answered: bytes | None
    answer: Response | None
    asked: list[Effect]


def heads(*written: bytes | None) -> Iterator[list[bytes]]:
    """Give the lines of heads."""
    for head in written:
        if head is not None:
            yield head.removesuffix(b"\r\n\r\n").split(b"\r\n")


class Acting:
    """One set of rules. `perform` answers what rules ask of outside; without it such an exchange rests there."""

    def __init__(
        self,
        rules: str,
        *,
        perform: Callable[[Effect], Any] | None = None,
        secrets: Callable[[str], str | None] = lambda _: None,
        packs: Callable[[str], Source | None] = lambda _: None,
        **options: Any,
    ) -> None:
        set_up = Options(secrets=secrets, packs=packs, need_secrets=True, **options)
        built = build([Source("rules.yaml", f"version: 1\n{rules}")], set_up)
        assert built.ruleset is not None, [problem.text for problem in built.problems]
        self._ruleset = built.ruleset
        self._perform = perform
        self._drawn = 0
        self._now = NOW

    @classmethod
    def of(cls, ruleset: Ruleset) -> Acting:
        """Take rules that no file has."""
        acting = object.__new__(cls)
        acting._ruleset, acting._perform, acting._drawn, acting._now = ruleset, None, 0, NOW
        return acting

    def _entropy(self, size: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(size, "big")

    def begin(
        self,
        path: str,
        query: str | None = None,
        *,
        method: str = "GET",
        headers: tuple[tuple[str, str], ...] = (),
        content: bytes | None = None,
    ) -> Exchange:
        request = Request(
            method, path, query, Headers.of(headers), content, limits=LIMITS, scheme="https", host="shop.example"
        )
        return run.begin(self._ruleset, request, clock=lambda: self._now, entropy=self._entropy)

    def play_at(
        self, path: str, upstream: Callable[[], Response] = respond, *, now: float = NOW, **given: Any
    ) -> Outcome:
        """Begin an exchange at a time, and play it."""
        self._now = now
        return self.play(self.begin(path, **given), upstream)

    def play(self, exchange: Exchange, upstream: Callable[[], Response] = respond) -> Outcome:
        """Bring an exchange to its end, or to the first effect that nobody performs."""
        asked: list[Effect] = []
        forwarded = answered = None
        if returns.is_reserved(exchange.request.path):
            begun = returns.resume(exchange)
        else:
            self._ruleset.choose(exchange)
            begun = run.before(exchange)
        result = self._settle(begun, asked)
        if result is None and not (asked and self._perform is None):
            request = exchange.request
            forwarded = write_request(request, base="", authority=b"auth.example", via=b"1.1 edge", framing=b"")
            result = self._settle(run.after(exchange, upstream()), asked)
        if isinstance(result, Response):
            answered = write_response(result, framing=b"", connection=b"")
            return Outcome(exchange, forwarded, answered, result, asked)
        return Outcome(exchange, forwarded, None, None, asked)

    def _settle(self, result: Any, asked: list[Effect]) -> Response | None:
        while isinstance(result, run.Pending):
            asked.append(result.effect)
            if self._perform is None:
                return None
            try:
                value = self._perform(result.effect)
            except EffectFailed as error:
                result = result.fail(error, 0.0)
            else:
                result = result.resume(value, 0.0)
        return result  # type: ignore[no-any-return]
