"""Settings as they are kept for the run: what is constant is computed at load, the rest is how to read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..engine.errors import EvaluationError
from ..engine.exchange import Exchange
from .action import Value

T = TypeVar("T")

# What most servers take; a longer header value would cost the whole message.
LONGEST_HEADER = 8192

Slot = bytes | Callable[[Exchange], str]

_NO_EXCHANGE: Any = None


def constant(value: Value[T]) -> T:
    """Read a constant setting, which asks nothing of an exchange."""
    return value.read(_NO_EXCHANGE)


def header_slot(value: Value[str]) -> Slot:
    """Keep a header's value: its bytes, where they are known at load."""
    return constant(value).encode() if value.constant else value.read


def fill(slot: Slot, x: Exchange) -> bytes:
    """Give the bytes of a header's value; one that is too long is an EvaluationError."""
    if isinstance(slot, bytes):
        return slot
    value = slot(x).encode()
    if len(value) > LONGEST_HEADER:
        raise EvaluationError(f"a header value is longer than {LONGEST_HEADER} bytes")
    return value
