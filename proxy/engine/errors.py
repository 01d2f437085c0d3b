"""What can go wrong inside a rule, as few types as the answers to it.

A cause names paths and types, never values: causes are logged.
"""

from __future__ import annotations

from typing import Literal

Side = Literal["request", "response"]


class EvaluationError(Exception):
    """An expression, a path or an edit that has no value: a missing key, a wrong type, an overflow.

    `side` is the message at fault where that is known; `None` leaves it to what the step reads.
    """

    def __init__(self, cause: str, side: Side | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.side = side


class Unreadable(Exception):
    """A message that cannot be read: malformed, over a limit, of an unknown type or coding.

    `status` is the answer when the request is at fault (400, 413, 415); an upstream's answer is always a 502.
    """

    def __init__(self, side: Side, cause: str, status: int = 400) -> None:
        super().__init__(cause)
        self.side: Side = side
        self.cause = cause
        self.status = status if side == "request" else 502


class EffectFailed(Exception):
    """A store, key service or lookup that failed (503) or was late (504)."""

    def __init__(self, cause: str, *, late: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.status = 504 if late else 503


class Unusable(Exception):
    """Something of the operator's that a rule needs and cannot use, such as a key: always a 500, no message's fault."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class CostExceeded(Exception):
    """An expression that did more work than the limit allows."""


# What `&&`, `||` and their like may absorb, as CEL wants. A closed list: a fault of the machine, the cost limit and an
# unreadable message are never absorbed.
ABSORBED = (EvaluationError, KeyError, TypeError, IndexError, ValueError, ArithmeticError)
