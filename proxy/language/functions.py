"""Functions of the expressions that need a pack or the operator's settings: `secret` and `url`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..engine.errors import EvaluationError
from .cel import DYN, STRING, Function, map_of, secret_function
from .environment import Options
from .packs import Vocabulary


def rule_functions(vocabulary: Vocabulary, options: Options) -> tuple[Function, ...]:
    """Give the functions of a rule set."""

    def url(operation: str, params: Mapping[str, Any]) -> str:
        """Build the path of an operation, each parameter as one percent-encoded segment."""
        found = vocabulary.operations.get(operation)
        if found is None:
            raise EvaluationError("url() names no operation of a pack")
        rest = iter(found.path.names)
        segments = []
        for segment in found.path.segments:
            if segment is None:
                name = next(rest)
                value = params.get(name)
                if not isinstance(value, str) or not value:
                    raise EvaluationError(f"url() needs the parameter {name!r} as text")
                segments.append(quote(value, safe=""))
            else:
                segments.append(segment)
        return f"{options.public_origin or ''}/{'/'.join(segments)}"

    return (
        secret_function(options.secrets),
        Function(name="url", overloads=(((STRING, map_of(STRING, DYN)), STRING),), call=url),
    )
