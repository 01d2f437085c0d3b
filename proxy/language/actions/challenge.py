"""The action `challenge`: withhold the response until a second factor is proved."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from ...engine import factors, suspension
from ...engine.effects import Effect
from ...engine.errors import EvaluationError
from ...engine.exchange import Exchange
from ...engine.factors import Challenge as Waiting
from ...engine.factors import Factor
from ...engine.message import Headers, Response
from ...engine.ruleset import Run
from ...engine.suspension import Suspend
from ..action import Action, StepEnvironment
from ..answers import KeepCookies, Kept, lay
from ..cel import BOOL
from ..fields import Duration, Status, Text


def _error(value: Any) -> Any:
    if isinstance(value, int) and not 400 <= value <= 499:
        raise ValueError("a challenge has a status from 400 to 499")
    return value


class Challenge(Action):
    """Ask for a second factor. The response is withheld, encrypted, until it is proved; the client gets a challenge.

    It answers 401 with a `challenge_token` and the `factors` that may be proved. The client sends `{challenge_token,
    factor, code}` to `/.vestibule/challenge`; without `code` a code is sent, or an approval asked for. Proved, the
    exchange goes on with the next step. Factors that are not enrolled or were proved before are passed over.
    """

    phases: ClassVar[frozenset[str]] = frozenset({"after"})

    factor: Text | None = Field(None, description="The factor that is asked for, of those in `factors`.")
    any: list[Text] | None = Field(None, min_length=1, description="Factors of which the shopper chooses one.")
    additional: list[Text] = Field(
        default_factory=list, description="With `factor`: others that may be proved in its place."
    )
    subject: Text = Field(description="Who is challenged: wrong codes are counted for him over all challenges.")
    ttl: Annotated[Duration, Field(ge=1, le=86_400)] = Field(180.0, description="How long it waits, such as `3m`.")
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(3, description="How many codes may be tried.")
    digits: Annotated[int, Field(ge=4, le=10)] = Field(6, description="How many digits a code has.")
    status: Annotated[Status, BeforeValidator(_error)] = Field(
        401, description="The status of the challenge: 403 is what Auth0's clients know."
    )
    skip_when: str | None = Field(None, description="An expression: where it is true nothing is asked for.")
    on_no_factor: Annotated[str, Field(pattern="^deny$")] = Field(
        "deny",
        description="When none is left: a challenge that nothing can prove, so that nobody learns who has enrolled.",
    )
    keep_cookies: KeepCookies = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_kind(self) -> Challenge:
        if (self.factor is None) == (self.any is None):
            raise ValueError("give either `factor` or `any`")
        if self.additional and self.any is not None:
            raise ValueError("`additional` goes with `factor`; `any` lists them all")
        return self

    def compile(self, env: StepEnvironment) -> Run:
        asked = self._factors(env)
        subject = env.text(self.subject, "subject", place="text").read
        skips = env.expression(self.skip_when, "skip_when", type=BOOL).run if self.skip_when is not None else None
        keep = Kept(env, [], self.keep_cookies)
        env.collects("response")
        names = [factor.name for factor in asked]
        chooses = self.any is not None
        ttl, attempts, digits, status = self.ttl, self.attempts, self.digits, self.status

        def challenge(x: Exchange) -> Generator[Effect, Any, Suspend | None]:
            if skips is not None:
                skipped = skips(x)
                if skipped is True:
                    return None
                if skipped is not False:
                    raise EvaluationError("`skip_when` did not give a boolean")
            who = subject(x)
            if not who:
                raise EvaluationError("the subject of the challenge is empty")
            kept = keep.read(x)
            found = yield from factors.enrolled(x, asked)
            offered = [factor.name for factor, _ in found] or [name for name in names if name not in x.proved] or names
            first = None if chooses and len(offered) > 1 else offered[0]
            details: dict[str, Any] = {
                "kept": {factor.name: what for factor, what in found},
                "offered": offered,
                "digits": digits,
                "attempts": attempts,
                "subject": who,
                "status": status,
            }
            state = suspension.new_state(x)
            if not found:
                # Nobody can prove it, so there is nothing to keep.
                x.verdict.cause = "no factor is enrolled"
                x.response = Response(status, Headers(side="response"), b"", limits=x.request.limits)
            elif first is not None:
                factor, what = found[0]
                yield from factor.ask(x, Waiting(state, digits, ttl), what)
            answer = factors.tell(x, status=status, state=state, offered=offered, asked=first, seconds=ttl)
            answer.headers.set(b"Referrer-Policy", b"no-referrer")
            return Suspend(lay(answer, kept, ()), state, ttl, "challenge", details)

        return challenge

    def _factors(self, env: StepEnvironment) -> list[Factor]:
        wanted: list[tuple[tuple[str | int, ...], str]]
        wanted = [(("any", index), name) for index, name in enumerate(self.any or [])]
        if self.factor is not None:
            wanted = [(("factor",), self.factor)]
            wanted += [(("additional", index), name) for index, name in enumerate(self.additional)]
        found: dict[str, Factor] = {}
        for at, name in wanted:
            if name in found:
                env.problem("bad-setting", f"the factor {name!r} is named twice", *at)
                continue
            factor = env.factor(name, *at)
            if factor is not None:
                found[name] = factor
        return list(found.values())
