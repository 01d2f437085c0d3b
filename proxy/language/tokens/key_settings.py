"""What the actions on tokens share: the keys that a rule names, and how a token that does not hold is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...engine import dialects
from ...engine.errors import EvaluationError, Unusable
from ...engine.exchange import Exchange
from ...engine.message import Response
from ..action import StepEnvironment, Value
from ..slots import constant
from .jws import BadToken
from .keys import BadKey, Key

# The dialects whose `error` or `code` names the trouble with a token as RFC 6750 does. The vendors' keep their own
# word for a 401: on one for tokens a storefront's client would log in anew and send the same request again.
_NAMED = ("problem", "oauth")


def refuse(x: Exchange, error: BadToken) -> Response:
    """Refuse a token that does not hold: one answer for every cause, which only the operator learns."""
    x.verdict.code, x.verdict.cause = "invalid_token", f"the token does not hold: {error.word}: {error.cause}"
    code = "invalid_token" if x.dialect in _NAMED else None
    answer = dialects.answer(x.dialect, 401, correlation=x.correlation, limits=x.request.limits, code=code)
    answer.headers.set(b"WWW-Authenticate", b'Bearer error="invalid_token"')
    return answer


class NamedKey:
    """A key that a rule names: read when it is first used, and again when the secret has changed."""

    __slots__ = ("_algorithms", "_data", "_key", "_parse", "_read")

    def __init__(
        self, read: Callable[[Exchange], bytes], parse: Callable[[bytes], Key], algorithms: Sequence[str]
    ) -> None:
        self._read = read
        self._parse = parse
        self._algorithms = algorithms
        self._data: bytes | None = None
        self._key: Key | None = None

    def key(self, x: Exchange) -> Key:
        """Give the key; one that is missing, or does not fit the algorithms, is Unusable."""
        try:
            data = self._read(x)
        except EvaluationError as error:
            raise Unusable(error.cause) from None
        if self._key is None or data != self._data:
            self._key, self._data = self._checked(data), data
        return self._key

    def _checked(self, data: bytes) -> Key:
        try:
            key = self._parse(data)
        except BadKey as error:
            raise Unusable(f"the key cannot be used: {error}") from None
        for algorithm in self._algorithms:
            wrong = key.misfit(algorithm)
            if wrong is not None:
                raise Unusable(f"the key cannot be used: {wrong}")
        return key


def named_key(
    env: StepEnvironment,
    value: Value[bytes],
    parse: Callable[[bytes], Key],
    algorithms: Sequence[str],
    *loc: str | int,
) -> NamedKey:
    """Compile a key; one that can be read now and does not fit the algorithms is a problem."""
    try:
        data = constant(value)
    except EvaluationError:
        # It is not there, which was reported.
        data = b""
    found = NamedKey(value.read, parse, algorithms)
    if data:
        try:
            found._checked(data)
        except Unusable as error:
            env.problem("bad-setting", error.cause, *loc)
    return found
