"""What work costs in units, where it depends on data: a unit is about one small operation."""

from __future__ import annotations

from typing import Any

from ....engine.errors import CostExceeded

LIMIT = 1_000_000


def of_texts(*args: Any) -> int:
    """Count texts that are walked through once."""
    return 1 + sum(len(arg) for arg in args if type(arg) in (str, bytes)) // 256


class Budget:
    """The units that are left to one run of an expression."""

    __slots__ = ("left",)

    def __init__(self, left: int = LIMIT) -> None:
        self.left = left

    def take(self, units: int) -> None:
        """Charge for work before it is done; raise CostExceeded."""
        self.left -= units
        if self.left < 0:
            raise CostExceeded("the expression takes more work than the limit allows")
