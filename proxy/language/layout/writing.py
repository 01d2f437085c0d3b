"""Values as YAML text: plain where that cannot be misread, in quotes otherwise."""

from __future__ import annotations

import json
import re
from typing import Any

from ..scalars import Float, Int, resolve

# Characters with which no plain text may begin, wherever it stands.
_INDICATORS = frozenset("-?:,[]{}#&*!|>'\"%@`=<~")
_BREAKS_PLAIN = re.compile(r": |:$| #|^\s|\s$|[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]|[\ud800-\udfff]")
_BREAKS_FLOW = re.compile(r"[,\[\]{}]")
_UNQUOTED = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
# Texts that readers of YAML 1.1 take for something else.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off"})
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")


def write_text(value: str, *, flow: bool) -> str:
    """Write a text on one line, in quotes where it needs them, and always where it has a template."""
    if _can_be_plain(value, flow=flow):
        return value
    if ('"' in value or "\\" in value) and not _UNQUOTED.search(value):
        return "'" + value.replace("'", "''") + "'"
    return _UNQUOTED.sub(_escape, json.dumps(value, ensure_ascii=False))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _can_be_plain(value: str, *, flow: bool) -> bool:
    if not value or "${" in value or value.lower() in _WORDS or _SEXAGESIMAL.fullmatch(value):
        return False
    if value[0] in _INDICATORS and not (value[0] == "-" and value[1:2].isalpha()):
        return False
    if _BREAKS_PLAIN.search(value) or (flow and _BREAKS_FLOW.search(value)) or value.startswith(("---", "...")):
        return False
    found, wrong = resolve(value)
    return wrong is None and isinstance(found, str)


def write_scalar(value: Any, *, flow: bool) -> str:
    """Write a scalar; a number that was read from a file keeps its spelling."""
    if isinstance(value, str):
        return write_text(value, flow=flow)
    if isinstance(value, Int | Float):
        return value.source
    return json.dumps(value)


def write_flow(value: Any) -> str:
    """Write data on one line."""
    if isinstance(value, dict):
        members = (f"{write_text(key, flow=True)}: {write_flow(item)}" for key, item in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(write_flow, value)) + "]"
    return write_scalar(value, flow=True)
