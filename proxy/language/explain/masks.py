"""What an explanation may not show: by the names that packs and rules call secret, and by the values found there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...engine.message import Headers
from ...engine.ruleset import Redaction
from ..secrecy import MASK, mask
from ..secret_names import Names

# A text that is shorter stands in too many others to be hidden wherever it stands.
_SHORTEST = 6
_LONGEST = 4096
_COOKIES = ("cookie", "set-cookie")
_SCHEMES = ("basic", "bearer", "digest", "dpop")
# What moves a terminal somewhere, or turns the order of what is read.
_ODDITIES = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
# A parameter of an address, wherever one stands in a text.
_PARAMETER = re.compile(r"""([?&#][^\s=&?#"']+)=[^\s&#"']*""")


class Masks:
    """Writes values as texts without what is secret. What stood at a secret place is hidden elsewhere too."""

    def __init__(self, redact: Redaction, secrets: Iterable[str] = (), *, show: bool = False) -> None:
        self._redact = redact
        self._names = Names(redact)
        self._show = show
        self._secrets = secrets
        self._learned: set[str] = set()

    def hides(self, name: str, *, asked: bool = False) -> bool:
        """Say whether what bears this name is secret; a spelling that hides a name makes it one. `asked`: a request."""
        known = self._names.field(name)
        return not self._show and ("%" in name or known is True or (asked and known is None))

    def _hides_header(self, key: str) -> bool:
        return not self._show and (key in _COOKIES or self._names.header(key))

    def learn(self, value: Any) -> None:
        """Hide the texts of a value wherever they stand."""
        if isinstance(value, str):
            if len(value) >= _SHORTEST:
                self._learned.add(value)
        elif isinstance(value, Mapping):
            for item in value.values():
                self.learn(item)
        elif isinstance(value, list | tuple):
            for item in value:
                self.learn(item)

    def study(self, value: Any, *, asked: bool = False) -> None:
        """Learn what stands at the secret places of a body, a query or cookies."""
        if isinstance(value, Mapping):
            for name, item in value.items():
                if self.hides(str(name), asked=asked):
                    self.learn(item)
                else:
                    self.study(item, asked=asked)
        elif isinstance(value, list | tuple):
            for item in value:
                self.study(item, asked=asked)

    def study_headers(self, headers: Headers) -> None:
        for key, _, value in headers.lines:
            if key in (b"cookie", b"set-cookie"):
                for part in value.split(b";") if key == b"cookie" else value.split(b";")[:1]:
                    self.learn(_text(part.partition(b"=")[2].strip()))
            elif self._hides_header(_text(key)):
                # Of credentials the scheme is none.
                self.learn(_text(value).rpartition(" ")[2])

    def text(self, text: str) -> str:
        """Write a text."""
        if not self._show:
            for secret in sorted((*self._learned, *self._secrets), key=len, reverse=True):
                if len(secret) >= _SHORTEST:
                    text = text.replace(secret, MASK)
            text = _PARAMETER.sub(self._parameter, str(mask(text, self._redact)))
        text = _ODDITIES.sub("\ufffd", text)
        return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"

    def _parameter(self, found: re.Match[str]) -> str:
        name = found[1][1:]
        return f"{found[1]}={MASK}" if not self._show and ("%" in name or self._names.parameter(name)) else found[0]

    def json(self, value: Any, *, name: str = "", asked: bool = False) -> str:
        """Write a value as JSON; `name` is that of its place, `asked` says that it is of a request."""
        hidden = self._covered(value) if self.hides(name, asked=asked) else self._masked(value, asked)
        return self.text(json.dumps(hidden, ensure_ascii=False, default=lambda other: type(other).__name__))

    def _masked(self, value: Any, asked: bool) -> Any:
        if isinstance(value, Mapping):
            return {
                str(name): self._covered(item) if self.hides(str(name), asked=asked) else self._masked(item, asked)
                for name, item in value.items()
            }
        return [self._masked(item, asked) for item in value] if isinstance(value, list | tuple) else value

    @staticmethod
    def _covered(value: Any) -> Any:
        """Give what stands in the place of a secret value; that it is null, true or false keeps no secret."""
        return value if value is None or isinstance(value, bool) else MASK

    def secret(self, value: Any) -> str:
        """Write a value that is known to be secret."""
        return MASK if not self._show and self._covered(value) is MASK else self.json(value)

    def header(self, key: str, value: str) -> str:
        """Write the value of a header: of cookies the names are shown, and of credentials their scheme."""
        if not self._hides_header(key):
            return self.text(value)
        if key == "cookie":
            return "; ".join(f"{part.partition('=')[0].strip()}={MASK}" for part in value.split(";"))
        if key == "set-cookie":
            pair, semicolon, attributes = value.partition(";")
            return f"{pair.partition('=')[0]}={MASK}{semicolon}{attributes}"
        scheme, space, _ = value.partition(" ")
        return f"{scheme} {MASK}" if space and scheme.lower() in _SCHEMES else MASK

    def query(self, query: str) -> str:
        """Write a query, the values of secret parameters masked."""
        return self.text(f"?{query}")[1:]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
