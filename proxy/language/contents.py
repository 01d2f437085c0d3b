"""Bodies that a rule writes: JSON, a form or text, as bytes for an exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..engine.exchange import Exchange
from ..engine.pairs import encode_form
from .action import StepEnvironment
from .slots import constant

Write = Callable[[Exchange], bytes]

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
TEXT_TYPE = "text/plain; charset=utf-8"


def nothing(_: Exchange) -> bytes:
    """Write no body."""
    return b""


def compile_json(env: StepEnvironment, data: Any, *loc: str | int, secrets: bool = False) -> Write:
    value = env.value(data, *loc, secrets=secrets)
    if value.constant:
        return _always(msgspec.json.encode(constant(value)))
    return lambda x: msgspec.json.encode(value.read(x))


def compile_text(env: StepEnvironment, source: str, *loc: str | int, secrets: bool = False) -> Write:
    text = env.text(source, *loc, place="text", secrets=secrets)
    return _always(constant(text).encode()) if text.constant else lambda x: text.read(x).encode()


def compile_form(
    env: StepEnvironment, form: Mapping[str, str | list[str]], *loc: str | int, secrets: bool = False
) -> Write:
    for name in form:
        if "${" in name:
            env.problem("bad-name", "a name is literal text; names are never templates", *loc, name, key=True)
    pairs = [
        (encode_form(name), env.text(text, *loc, name, *where, place="form", secrets=secrets))
        for name, setting in form.items()
        for where, text in (
            [((), setting)] if isinstance(setting, str) else [((i,), one) for i, one in enumerate(setting)]
        )
    ]
    return lambda x: "&".join([f"{name}={encode_form(value.read(x))}" for name, value in pairs]).encode()


def _always(content: bytes) -> Write:
    return lambda _: content
