"""What is never logged: secret parameters, what looks like a token, control characters, and text without end."""

from __future__ import annotations

import re

from ..language.secret_names import ALWAYS

MASK = "***"
LONGEST = 4096

_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")
# What ends a line or moves a terminal somewhere, escaped by no JSON encoder.
_BREAKS = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def text(value: str) -> str:
    """Make a text fit for a log line: no token, no odd control, no more than LONGEST characters."""
    if len(value) > LONGEST:
        value = value[:LONGEST] + "…"
    if "eyJ" in value:
        value = _TOKEN.sub(MASK, value)
    return value if value.isascii() and "\x7f" not in value else _BREAKS.sub("\ufffd", value)


def query(value: str, secret: frozenset[str]) -> str:
    """Mask the values of secret parameters; `secret` are names in lower case."""
    parts = []
    for part in value.split("&"):
        name, equals, _ = part.partition("=")
        hidden = equals and (name.lower() in ALWAYS or name.lower() in secret or "%" in name)
        parts.append(f"{name}={MASK}" if hidden else part)
    return text("&".join(parts))
