"""The types of settings: text that keeps its spelling, durations, statuses, header names."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _text(value: Any) -> Any:
    """Take a scalar's own spelling: `010` stays 010 where text is wanted."""
    source = getattr(value, "source", None)
    if isinstance(source, str):
        return source
    if value is True:
        return "true"
    if value is False:
        return "false"
    return value


def parse_duration(value: Any) -> float:
    """Read `500ms`, `30s`, `15m`, `2h` or `7d` as seconds; raise ValueError for anything else."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a number and a unit, such as 500ms, 30s, 15m, 2h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def _duration(value: Any) -> Any:
    return parse_duration(value) if not isinstance(value, float) else value


def _header_name(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("not a header name (RFC 9110 section 5.1)")
    return value


def is_token(text: str) -> bool:
    """Say whether a text is a token of RFC 9110: a method, a header or cookie name."""
    return _TOKEN.fullmatch(text) is not None


def _status(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        raise ValueError("a status is a number from 200 to 599")
    return int(value)


Text = Annotated[str, BeforeValidator(_text)]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    Field(json_schema_extra={"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["15m"]}),
]
Status = Annotated[int, BeforeValidator(_status)]
HeaderName = Annotated[str, BeforeValidator(_text), BeforeValidator(_header_name)]
