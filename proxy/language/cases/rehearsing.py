"""What a case needs so that the effects of its rules are performed, said from the side of the language.

Who performs them is handed in: the language knows what a test file gives, and no store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ...engine.effects import Answer, Effect, FetchKeys, Lookup
from ...engine.errors import EffectFailed


class NotGivenError(EffectFailed):
    """Something that a rule asked for and that the test file does not give; the words are for its author."""


class Waiting:
    """An effect that ends when another exchange has gone on: `over` says so, and then `take` gives its result."""

    __slots__ = ("_result", "over")

    def __init__(self) -> None:
        self.over = False
        self._result: Any = None

    def end(self, result: Any) -> None:
        """End it with a result, or with the EffectFailed that it is to raise."""
        self.over = True
        self._result = result

    def take(self) -> Any:
        """Give the result, or raise what it ended with."""
        if isinstance(self._result, EffectFailed):
            raise self._result
        return self._result


class Outside(Protocol):
    """The world of a case as its file gives it; what it does not give raises NotGivenError."""

    def call(self, lookup: Lookup) -> Answer:
        """Answer a call of another service."""

    def keys(self, fetch: FetchKeys) -> tuple[dict[str, Any], ...]:
        """Give the keys of a key set."""


class Performer(Protocol):
    """What performs the effects of one case."""

    def perform(self, effect: Effect) -> Any:
        """Perform an effect at once: its result, or a Waiting; raises EffectFailed."""


# Makes the performer of a case: its clock in seconds since the epoch, and what the file gives.
Rehearse = Callable[[Callable[[], float], Outside], Performer]
