"""What a rule needs from outside, as plain data.

A step that needs one is a generator: it yields the effect and is resumed with the result, or with EffectFailed. Who
performs an effect is the shell's business; `safe` ones only read, so a rule in shadow may ask for them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Effect:
    """The kind of all effects."""

    safe: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class StoreGet(Effect):
    """Read a stored value; the result is bytes or None."""

    safe: ClassVar[bool] = True
    key: str


@dataclass(frozen=True, slots=True)
class StoreSet(Effect):
    """Store a value for `ttl` seconds."""

    key: str
    value: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class Lookup(Effect):
    """Call another service; the result is `(status, headers, body)`."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
