"""What the final steps share: the headers of an answer, and what it takes over from the answer that it replaces.

An answer starts empty (LANGUAGE semantic 11); only what is named here comes along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from ..engine import cookies
from ..engine.exchange import Exchange
from ..engine.message import Headers, Line, Response
from .action import StepEnvironment
from .fields import HeaderName, Text
from .names import OF_A_BODY, OWN, compile_byte_globs, refuse, refuse_twins
from .slots import Slot, fill, header_slot


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("the name is empty")
    return value


AnswerHeaders = Annotated[
    dict[HeaderName, Text | list[Text]],
    Field(description="`{name: value}`: headers of the answer; a list of values is one line each."),
]
KeepHeaders = Annotated[
    list[HeaderName],
    Field(description="Names of headers that are taken over from the answer that this one replaces."),
]
KeepCookies = Annotated[
    list[Annotated[Text, AfterValidator(_not_empty)]],
    Field(description="Names or globs of cookies that are taken over from the answer that this one replaces."),
]


class AnswerLines:
    """Header lines that a rule gives to an answer."""

    __slots__ = ("_lines",)

    def __init__(
        self, env: StepEnvironment, headers: Mapping[str, str | list[str]], *, also: Mapping[str, str] = OWN
    ) -> None:
        refuse_twins(env, headers, "headers")
        lines: list[tuple[bytes, bytes, tuple[Slot, ...]]] = []
        for name, setting in headers.items():
            if refuse(env, name, "headers", name, key=True, also=also):
                continue
            if isinstance(setting, str):
                values = [env.text(setting, "headers", name, place="header")]
            else:
                values = [env.text(text, "headers", name, index, place="header") for index, text in enumerate(setting)]
            lines.append((name.lower().encode(), name.encode(), tuple(header_slot(value) for value in values)))
        self._lines = tuple(lines)

    def read(self, x: Exchange) -> list[Line]:
        return [(key, name, fill(slot, x)) for key, name, slots in self._lines for slot in slots]


class Kept:
    """What an answer takes over from the one that it replaces."""

    __slots__ = ("_cookies", "_headers")

    def __init__(self, env: StepEnvironment, headers: Sequence[str], cookie_globs: Sequence[str]) -> None:
        also = {**OWN, **OF_A_BODY, "set-cookie": "use `keep_cookies`"}
        for index, name in enumerate(headers):
            refuse(env, name, "keep_headers", index, key=False, also=also)
        if env.phase == "before":
            for key in ("keep_headers", "keep_cookies"):
                if headers if key == "keep_headers" else cookie_globs:
                    text = f"`{key}` means nothing in `before`: there is no answer yet to keep something of"
                    env.problem("bad-setting", text, key, key=True)
        self._headers = frozenset(name.lower().encode() for name in headers)
        self._cookies = compile_byte_globs(cookie_globs) if cookie_globs else None

    def read(self, x: Exchange) -> list[Line]:
        if x.response is None or not (self._headers or self._cookies):
            return []
        headers = x.response.headers
        lines = [line for line in headers.lines if line[0] in self._headers] if self._headers else []
        return [*lines, *cookies.kept(headers, self._cookies)] if self._cookies is not None else lines


def lay(answer: Response, kept: Sequence[Line], given: Sequence[Line]) -> Response:
    """Lay header lines on an answer; those that the rule gives replace all others of their name."""
    headers: Headers = answer.headers
    headers.lines.extend(kept)
    for key in {line[0] for line in given}:
        headers.remove(key)
    headers.lines.extend(given)
    return answer
