"""A form body (application/x-www-form-urlencoded): names and texts, each one's spelling kept until it is edited."""

from __future__ import annotations

from typing import Any

from .errors import EvaluationError, Side
from .pairs import Pairs


class FormBody:
    """A form body. A path is one name; a name that stands twice is Unreadable when it is read or edited."""

    __slots__ = ("pairs", "side")

    def __init__(self, text: str, side: Side) -> None:
        self.pairs = Pairs(text, kind="form", side=side)
        self.side: Side = side

    @property
    def edited(self) -> bool:
        return self.pairs.edited

    def name(self, path: tuple[str | int, ...]) -> str:
        """Return the one name of a path."""
        if len(path) != 1 or not isinstance(path[0], str):
            raise EvaluationError("a field of a form has no members", self.side)
        return path[0]

    def get(self, path: tuple[str | int, ...]) -> Any:
        return self.pairs.get(self.name(path))

    def has(self, path: tuple[str | int, ...]) -> bool:
        return self.pairs.has(self.name(path))

    def value(self) -> dict[str, str]:
        return self.pairs.values()

    def set(self, name: str, value: Any) -> None:
        if not isinstance(value, str):
            raise EvaluationError(f"the field {name!r} of a form must be text", self.side)
        self.pairs.set(name, value)

    def keep(self, names: frozenset[str]) -> None:
        """Remove every other name, however often it stands there; one that is kept stands once."""
        for name in names:
            self.pairs.find(name)
        kept = [part for part in self.pairs.parts if part[1] in names]
        if len(kept) < len(self.pairs.parts):
            self.pairs.parts = kept
            self.pairs.edited = True

    def copy(self) -> FormBody:
        twin = object.__new__(FormBody)
        twin.pairs, twin.side = self.pairs.copy(), self.side
        return twin

    def dump(self) -> bytes:
        return self.pairs.dump().encode()
