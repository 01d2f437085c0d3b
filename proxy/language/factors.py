"""The `factors` of a rule file or a pack, compiled for a step that challenges.

A factor's settings read what the step reads; beside that, in the calls, `code` and `to`, and in what is told of an
answer, `answer`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..engine import factors as engine
from ..engine.effects import Effect
from ..engine.exchange import Exchange
from ..engine.factors import Call as Run
from ..engine.factors import Factor
from .action import StepEnvironment
from .calls import Call
from .cel import BOOL, DYN, STRING, Variable, map_of
from .document import Document
from .fields import Text
from .problems import Problems, nearest
from .validation import explain_validation

_SUCCESS = "answer.status >= 200 && answer.status < 300"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)


class SecretCall(_Settings):
    """A secret that another service knows."""

    lookup: Call = Field(description="The call that gives it.")
    value: Text = Field(description="An expression over `answer` that is the secret; empty or null: not enrolled.")


class Otp(_Settings):
    """An authenticator app: a time-based code (RFC 6238)."""

    secret: Text | SecretCall = Field(
        description="The shopper's secret in base32, or `{lookup, value}`; empty or null: not enrolled."
    )


class Sent(_Settings):
    """A code that a service of yours sends."""

    to: Text = Field(description="Where it is sent to; empty or null: not enrolled.")
    send: Call = Field(description="The call that sends it; `code` and `to` are readable in it.")


class Push(_Settings):
    """An approval on a device, which services of yours ask for and hear of; `code` names the approval in both."""

    to: Text | None = Field(None, description="Who is asked; empty or null: not enrolled.")
    send: Call = Field(description="The call that asks for it.")
    poll: Call = Field(description="The call that hears of it.")
    approved: Text = Field("answer.status == 200 && answer.body.approved == true", description="When it was given.")
    denied: Text = Field("answer.status == 403", description="When it was refused: the challenge ends.")


class RecoveryCode(_Settings):
    """A code that a service of yours knows; it must take each code once."""

    to: Text | None = Field(None, description="Whose codes; empty or null: not enrolled.")
    verify: Call = Field(description="The call that tries `code`.")
    proved: Text = Field(_SUCCESS, description="When it was right.")


MODELS: Mapping[str, type[_Settings]] = {
    "otp": Otp,
    "email": Sent,
    "phone": Sent,
    "push": Push,
    "recovery-code": RecoveryCode,
}
NOT_SUPPORTED = ("webauthn", "webauthn-platform", "webauthn-roaming")


@dataclass(frozen=True, slots=True)
class Written:
    """A factor as it stands in a file."""

    document: Document
    loc: tuple[str | int, ...]


def readable() -> dict[str, Variable]:
    """Give the names that only the settings of a factor may read."""

    def value(name: str, type_: Any) -> Variable:
        return Variable(type=type_, read=lambda x: x.state[engine.STATE][name])

    return {"code": value("code", STRING), "to": value("to", DYN), "answer": value("answer", map_of(STRING, DYN))}


Scope = Callable[..., StepEnvironment]


def check(document: Document, problems: Problems) -> dict[str, Written]:
    """Give the factors of a file, whose shape is checked whether a rule asks for them or not."""
    found: dict[str, Written] = {}
    factors = document.at(("factors",))
    for name in factors if isinstance(factors, dict) else ():
        loc = ("factors", name)
        model = MODELS.get(name)
        if model is None:
            later = name in NOT_SUPPORTED
            text = f"the factor {name!r} is not supported yet" if later else f"there is no kind of factor {name!r}"
            suggestion = None if later else nearest(name, MODELS)
            problems.error("unknown-factor", text, document.source.name, document.mark(loc, key=True), suggestion)
            continue
        try:
            model.model_validate(document.at(loc))
        except ValidationError as error:
            explain_validation(error, model, document, loc, problems)
            continue
        found[name] = Written(document, loc)
    return found


def compile_factor(name: str, written: Written, scope: Scope) -> Factor:
    """Compile a factor that `check` found right; `scope` makes an environment for settings below it."""
    settings = MODELS[name].model_validate(written.document.at(written.loc))
    if isinstance(settings, Otp):
        return engine.Totp(name, _secret(settings, scope))
    if isinstance(settings, Sent):
        return engine.Sent(name, _value(settings.to, scope, "to"), _call(settings.send, scope, "send"))
    if isinstance(settings, Push):
        return engine.Push(
            name,
            _value(settings.to, scope, "to"),
            _call(settings.send, scope, "send"),
            _call(settings.poll, scope, "poll"),
            scope().expression(settings.approved, "approved", type=BOOL).run,
            scope().expression(settings.denied, "denied", type=BOOL).run,
        )
    if isinstance(settings, RecoveryCode):
        proved = scope().expression(settings.proved, "proved", type=BOOL).run
        return engine.Recovery(name, _value(settings.to, scope, "to"), _call(settings.verify, scope, "verify"), proved)
    raise TypeError(f"nothing compiles the factor {name}")


def _secret(settings: Otp, scope: Scope) -> Run:
    if isinstance(settings.secret, str):
        return _value(settings.secret, scope, "secret")
    call = _call(settings.secret.lookup, scope, "secret", "lookup")
    value = scope().expression(settings.secret.value, "secret", "value").run

    def read(x: Exchange) -> Generator[Effect, Any, Any]:
        answer = yield from call(x)
        with engine.reading(x, answer=answer):
            return value(x)

    return read


def _value(text: str | None, scope: Scope, *loc: str | int) -> Run:
    read = scope().value(text, *loc, secrets=True).read if text is not None else lambda _: True

    def give(x: Exchange) -> Generator[Effect, Any, Any]:
        yield from ()
        return read(x)

    return give


def _call(settings: Call, scope: Scope, *loc: str | int) -> Run:
    return settings.compile_call(scope(*loc))
