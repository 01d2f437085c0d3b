"""The names of a case: `${name}` in its texts stands for a token of the test or for what an exchange kept.

Only names that the case knows are replaced. Anything else stays as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from ...engine.errors import EvaluationError
from ..document import plain
from ..model import Model
from ..template import plain_text
from .messages import CaseError
from .model import Case, Given, OneByOne, Play, Token
from .tokens import UnsignableError, sign

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Where a text that is one `${name}` keeps the type of its value.
_TYPED = ("json_", "claims")

T = TypeVar("T")


def plays(case: Case) -> Iterator[Play]:
    """Give all exchanges of a case, as they are written."""
    for exchange in case.exchanges or ():
        yield from [exchange] if isinstance(exchange, OneByOne) else exchange.together


class Names:
    """What the names of one case stand for. A token of the file or the case is signed once, when it is first named."""

    def __init__(self, given: Given, case: Case, clock: Callable[[], float]) -> None:
        self._secrets = given.secrets
        self._clock = clock
        self._tokens: dict[str, Token] = {**given.tokens, **case.tokens}
        self._signed: dict[str, str] = {}
        self._to_keep = {name for play in plays(case) for name in play.keep}
        self._kept: dict[str, Any] = {}

    def keep(self, name: str, value: Any) -> None:
        self._kept[name] = value

    def fill(self, part: T, tokens: Mapping[str, Token]) -> T:
        """Replace the names in a part of a case; `tokens` are those of its exchange. Raises CaseError."""
        if not (self._tokens or self._to_keep or tokens):
            return part
        filled: T = _Filling(self, tokens).fill(part)
        return filled

    def signed(self) -> Mapping[str, str]:
        """Give the tokens that were signed, by name."""
        return self._signed

    def known(self, tokens: Mapping[str, Token]) -> Iterable[str]:
        return {*self._tokens, *self._to_keep, *tokens}


class _Filling:
    """One filling of a part of a case: the tokens of its exchange are signed once for it."""

    def __init__(self, names: Names, tokens: Mapping[str, Token]) -> None:
        self.names = names
        self.tokens = tokens
        self.known = names.known(tokens)
        self.signed: dict[str, str] = {}
        self.open: list[str] = []

    def fill(self, part: Any, *, typed: bool = False) -> Any:
        if isinstance(part, str):
            return self._text(part, typed=typed)
        if isinstance(part, Model):
            changed = {
                name: self.fill(getattr(part, name), typed=typed or name in _TYPED) for name in part.model_fields_set
            }
            return part.model_copy(update=changed)
        if isinstance(part, dict):
            return {key: self.fill(value, typed=typed) for key, value in part.items()}
        if isinstance(part, list):
            return [self.fill(item, typed=typed) for item in part]
        return part

    def _text(self, text: str, *, typed: bool) -> Any:
        whole = _NAME.fullmatch(text)
        if typed and whole is not None and whole[1] in self.known:
            return self._value(whole[1])
        return _NAME.sub(lambda found: self._written(found[1]) if found[1] in self.known else found[0], text)

    def _written(self, name: str) -> str:
        try:
            return plain_text(self._value(name))
        except EvaluationError as error:
            raise CaseError(f"${{{name}}} is {error.cause}") from None

    def _value(self, name: str) -> Any:
        if name in self.tokens:
            return self._token(name, self.tokens[name], self.signed)
        names = self.names
        if name in names._kept:
            return names._kept[name]
        if name in names._tokens:
            return self._token(name, names._tokens[name], names._signed)
        raise CaseError(f"${{{name}}} is kept by an exchange that did not come to it before")

    def _token(self, name: str, token: Token, signed: dict[str, str]) -> str:
        if name not in signed:
            if name in self.open:
                raise CaseError(f"the token {name!r} names itself")
            self.open.append(name)
            claims = plain(self.fill(token.claims, typed=True))
            try:
                signed[name] = sign(token, self.names._secrets, claims, self.names._clock())
            except UnsignableError as error:
                raise CaseError(f"the token {name!r} cannot be signed: {error}") from None
            self.open.pop()
        return signed[name]
