"""Functions of the expressions that need a pack or the operator's settings: `secret` and `url`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.errors import EvaluationError
from .cel import DYN, STRING, Function, map_of, secret_function
from .environment import Options
from .packs import Vocabulary
from .problems import nearest
from .template import whole_segment_text


def rule_functions(vocabulary: Vocabulary, options: Options) -> tuple[Function, ...]:
    """Give the functions of a rule set."""

    def check(operation: str) -> tuple[str, str, str | None] | None:
        if operation in vocabulary.operations:
            return None
        text = f"no pack of this rule set has an operation {operation!r}"
        return "unknown-operation", text, nearest(operation, vocabulary.operations)

    def url(operation: str, params: Mapping[str, Any]) -> str:
        """Build the address of an operation, each parameter as one percent-encoded segment."""
        found = vocabulary.operations.get(operation)
        if found is None:
            raise EvaluationError("url() names no operation of a pack")
        for name in params:
            if name not in found.path.names:
                raise EvaluationError(f"url(): the path of {operation} has no parameter {name!r}")
        path = ""
        rest = iter(found.path.names)
        for segment in found.path.segments:
            if segment is None:
                name = next(rest)
                if name not in params:
                    raise EvaluationError(f"url() needs the parameter {name!r}")
                segment = whole_segment_text(params[name])
            path += f"/{segment}"
        if found.path.slash or not path:
            path += "/"
        return f"{options.public_origin or ''}{path}"

    return (
        secret_function(options.secrets),
        Function(name="url", overloads=(((STRING, map_of(STRING, DYN)), STRING),), call=url, check=check),
    )
