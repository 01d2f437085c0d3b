"""Circuit breakers: after too many failed calls, refuse further ones for a while, then let a few decide.

Nothing here makes a call; whoever does asks first and tells how it ended.
"""

from __future__ import annotations

from collections import deque

from ..engine.effects import Answer, Breaker
from ..engine.errors import EffectFailed


def has_failed(outcome: Answer | EffectFailed) -> bool:
    """Say whether a call counts as failed: no answer, or one of 500 and above."""
    return isinstance(outcome, EffectFailed) or outcome.status >= 500


class Circuit:
    """One breaker at work. Closed it lets all calls through, open none, half-open as many as decide.

    A call that begins gets a token, which its end is told with: how a call of an earlier state ends decides nothing.
    """

    __slots__ = ("_admitted", "_era", "_failed", "_good", "_opened", "_recent", "_settings", "_state")

    def __init__(self, settings: Breaker) -> None:
        self._settings = settings
        self._state = "closed"
        self._era = 0
        # Whether each of the last calls failed.
        self._recent: deque[bool] = deque(maxlen=settings.window)
        self._opened = 0.0
        self._admitted = self._good = self._failed = 0

    def begin(self, now: float) -> int | None:
        """Ask for a call: gives its token, or None when it is refused."""
        if self._state == "open" and now >= self._opened + self._settings.open:
            self._enter("half-open")
            self._admitted = self._good = self._failed = 0
        if self._state == "open":
            return None
        if self._state == "half-open":
            if self._admitted >= self._settings.probes:
                return None
            self._admitted += 1
        return self._era

    def end(self, token: int, now: float, *, failed: bool) -> None:
        """Tell how a call ended."""
        if token != self._era:
            return
        if self._state == "closed":
            self._recent.append(failed)
            if sum(self._recent) > self._settings.failures:
                self._open(now)
            return
        self._failed += failed
        self._good += not failed
        if self._failed > self._settings.probe_failures:
            self._open(now)
        elif self._good >= self._settings.probes - self._settings.probe_failures:
            self._enter("closed")
            self._recent.clear()

    def forget(self, token: int) -> None:
        """Take back a call that never came to an end, so that another one may decide in its place."""
        if token == self._era and self._state == "half-open":
            self._admitted -= 1

    def _open(self, now: float) -> None:
        self._enter("open")
        self._opened = now

    def _enter(self, state: str) -> None:
        self._state = state
        self._era += 1
