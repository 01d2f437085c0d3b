"""secret(): the operator's secrets by name. The environment gives it, since only it knows where they are."""

from __future__ import annotations

from collections.abc import Callable

from ....engine.errors import EvaluationError
from ..environment import Function
from ..types import STRING


def secret_function(read: Callable[[str], str | None]) -> Function:
    """Make `secret('NAME')` of a reader of secrets by name; a secret that is not there is an EvaluationError."""

    def secret(name: str) -> str:
        text = read(name)
        if text is None:
            raise EvaluationError(f"there is no secret {name!r}")
        return text

    # Never evaluated at load: a secret may change while the rules stay.
    return Function(name="secret", overloads=(((STRING,), STRING),), call=secret, literal=(0,), pure=False)
