"""The effects of one case of a test file, performed at once: a store of its own, no network, no event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from ..engine.effects import (
    Answer,
    Breaker,
    Effect,
    FetchKeys,
    Lead,
    Lookup,
    Publish,
    Share,
)
from ..engine.errors import EffectFailed
from ..language.cases.rehearsing import Outside, Performer, Waiting
from .answers import Answers, key_of
from .breaker import Circuit, has_failed
from .sharing import CALL_FAILED, LEASE
from .store import StoreError
from .store.effects import StoreEffect
from .store.effects import perform as perform_on
from .store.memory import MemoryStore

# Longer than any exchange of a case is under way.
_RESERVED = 86400.0


def rehearse(clock: Callable[[], float], outside: Outside) -> Performer:
    """Make the performer of one case."""
    return _Rehearsal(clock, outside)


class _Rehearsal:
    def __init__(self, clock: Callable[[], float], outside: Outside) -> None:
        self._outside = outside
        self._store = MemoryStore(clock)
        self._lookups = _Lookups(clock, outside)
        self._shares = _Shares(clock)

    def perform(self, effect: Effect) -> Any:
        match effect:
            case Lookup():
                return self._lookups.call(effect)
            case FetchKeys():
                return self._outside.keys(effect)
            case Share():
                return self._shares.ask(effect)
            case Publish():
                return self._shares.publish(effect)
            case _ if isinstance(effect, StoreEffect):
                return _at_once(perform_on(self._store, effect, lease=_RESERVED))
            case _:
                raise EffectFailed(f"a test cannot do this: {type(effect).__name__}")


def _at_once(ask: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits."""
    try:
        ask.send(None)
    except StopIteration as stop:
        return stop.value
    except StoreError as error:
        raise EffectFailed(f"the store failed: {error}") from None
    finally:
        ask.close()
    raise RuntimeError("an effect of a test waited")


class _Lookups:
    """Calls that the file answers, remembered and held back as the proxy does."""

    def __init__(self, clock: Callable[[], float], outside: Outside) -> None:
        self._clock = clock
        self._outside = outside
        self._answers = Answers()
        self._circuits: dict[tuple[str, str, Breaker], Circuit] = {}

    def call(self, effect: Lookup) -> Answer:
        known = self._answers.get(key_of(effect), self._clock()) if effect.cache > 0 else None
        if known is not None:
            return known
        answer = self._outside.call(effect) if effect.breaker is None else self._guarded(effect, effect.breaker)
        if effect.cache > 0:
            self._answers.put(key_of(effect), answer, self._clock(), effect.cache)
        return answer

    def _guarded(self, effect: Lookup, breaker: Breaker) -> Answer:
        parts = urlsplit(effect.url)
        name = f"{parts.scheme}://{parts.netloc}"
        circuit = self._circuits.setdefault((effect.method, name, breaker), Circuit(breaker))
        token = circuit.begin(self._clock())
        if token is None:
            raise EffectFailed(f"{parts.netloc} is not called for a while: too many of the last calls failed")
        try:
            answer = self._outside.call(effect)
        except EffectFailed as error:
            circuit.end(token, self._clock(), failed=has_failed(error))
            raise
        circuit.end(token, self._clock(), failed=has_failed(answer))
        return answer


@dataclass(slots=True)
class _Shared:
    """One key: led by a ticket, or published, until `end`; `waiting` are those who came while it was led."""

    ticket: str | None = None
    value: bytes = b""
    end: float = 0.0
    waiting: list[Waiting] = field(default_factory=list)


class _Shares:
    """The upstream calls that several exchanges share, as sharing.py does it through a store."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shared: dict[str, _Shared] = {}
        self._tickets = count(1)

    def ask(self, share: Share) -> Lead | bytes | Waiting:
        shared = self._shared.setdefault(share.key, _Shared())
        if self._clock() >= shared.end:
            shared.ticket, shared.end = str(next(self._tickets)), self._clock() + LEASE
            return Lead(shared.ticket)
        if shared.ticket is None:
            return shared.value
        shared.waiting.append(waiting := Waiting())
        return waiting

    def publish(self, end: Publish) -> None:
        shared = self._shared.setdefault(end.key, _Shared())
        if shared.ticket != end.ticket:
            return
        shared.ticket, shared.end = None, self._clock()
        if end.value is not None:
            shared.value, shared.end = end.value, self._clock() + end.ttl
        waiting, shared.waiting = shared.waiting, []
        for one in waiting:
            one.end(end.value if end.value is not None else EffectFailed(CALL_FAILED))
