"""Which token brings a shopper back to a suspended exchange."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from proxy.engine.errors import Unreadable
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.language.actions.verify_redirect_token import VerifyRedirectToken
from proxy.language.compile import Options, build
from proxy.language.document import Source, load
from proxy.language.environment import RuleScope, StepScope
from proxy.language.model import Match
from proxy.language.packs import Vocabulary
from proxy.language.problems import Problems

from .conftest import NOW, Stage

SECRET = "test-only-test-only-test-only-0000"
CLAIMS = {"iss": "shop.example", "sub": "u1", "exp": int(NOW) + 900, "state": "s1", "outcome": "passed"}


@dataclass(frozen=True)
class Suspended:
    """What is known of the exchange that the shopper comes back to."""

    state: str = "s1"
    issuer: str = "shop.example"
    subject: str = "u1"
    issued: frozenset[str] = frozenset({"issued-here"})


class Return(Exchange):
    """An exchange that somebody came back to."""

    __slots__ = ("suspended",)
    suspended: Any


Come = Callable[..., tuple[Any, Return]]


@pytest.fixture
def come(stage: Stage) -> Come:
    """Come back with a request, and give the answer and the exchange."""
    stage.secrets["mfa_hmac"] = SECRET
    options = Options(secrets=stage.secrets.get, packs=lambda _: None)

    def come(
        query: str | None = None,
        content: bytes | None = None,
        *,
        kind: str = "application/x-www-form-urlencoded",
        suspended: Any = Suspended(),
        now: float = NOW,
        **settings: Any,
    ) -> tuple[Any, Return]:
        document = load(Source("rules.yaml", "{}"), problems := Problems())
        assert document is not None
        scope = RuleScope(
            name="r", document=document, loc=(), options=options, vocabulary=Vocabulary(), problems=problems,
            match=Match(), configuration={}, declared={}, functions=(),
        )  # fmt: skip
        action = VerifyRedirectToken.model_validate({"secret": "${secret:mfa_hmac}", "into": "mfa", **settings})
        step = action.compile(StepScope(scope, "continue", ()))
        assert not list(problems)
        assert scope.needs_request
        ruleset = build([Source("rules.yaml", "version: 1")], options).ruleset
        assert ruleset is not None
        headers = Headers.of([("content-type", kind)] if content is not None else [])
        method = "GET" if content is None else "POST"
        request = Request(method, "/.vestibule/continue", query, headers, content, limits=Limits())
        x = Return(ruleset, request, clock=lambda: now, entropy=bytes)
        x.suspended = suspended
        return step(x), x

    return come


def token_of(*, secret: str = SECRET, header: Any = None, without: str | None = None, **claims: Any) -> str:
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if name != without}
    return jwt.encode(said, secret, algorithm="HS256", headers=header)


def is_refused(answer: Any) -> bool:
    return isinstance(answer, Response) and answer.status == 401


def query(token: str, **more: str) -> str:
    return urlencode({"state": "s1", "session_token": token, **more})


def test_a_token_of_the_other_side_holds(come: Come) -> None:
    answer, x = come(query(token_of()))
    assert answer is None
    assert x.variables["mfa"] == {"ok": True, "claims": CLAIMS, "header": {"alg": "HS256", "typ": "JWT"}}


def test_it_may_come_in_a_form_or_in_json(come: Come) -> None:
    assert come(None, query(token_of()).encode())[0] is None
    content = json.dumps({"state": "s1", "session_token": token_of()}).encode()
    assert come(None, content, kind="application/json")[0] is None


def test_the_body_comes_before_the_query(come: Come) -> None:
    good, bad = query(token_of()), query(token_of(sub="u2"))
    assert come(bad, good.encode())[0] is None
    assert is_refused(come(good, bad.encode())[0])
    assert come(good, b"state=s1")[0] is None


def test_the_parameter_may_have_another_name(come: Come) -> None:
    assert come(urlencode({"t": token_of()}), parameter="t")[0] is None
    assert is_refused(come(query(token_of()), parameter="t")[0])


@pytest.mark.parametrize(
    "token",
    [
        token_of(secret="test-only-another-test-only-another-00"),
        token_of(iss="evil.example"),
        token_of(iss="shop.example/"),
        token_of(sub="u2"),
        token_of(state="s2"),
        token_of(state=""),
        token_of(state=7),
        token_of(exp=int(NOW)),
        token_of(nbf=int(NOW) + 1),
        token_of(iat=int(NOW) + 1),
        token_of(jti="issued-here"),
        *(token_of(without=name) for name in ("iss", "sub", "exp", "state")),
        token_of(header={"crit": ["x"], "x": 1}),
        jwt.encode(CLAIMS, SECRET * 2, algorithm="HS512"),
        token_of() + "=",
        token_of() + "\n",
        "eyJhbGciOiJub25lIn0.e30.",
        "x",
        "",
    ],
)
def test_any_other_token_is_refused_in_one_way(come: Come, token: str) -> None:
    answer, x = come(query(token))
    none, _ = come("state=s1")
    assert is_refused(answer)
    assert (answer.content, answer.headers.lines) == (none.content, none.headers.lines)
    assert "mfa" not in x.variables
    assert x.verdict.cause is not None
    assert not token or len(token) < 3 or token not in x.verdict.cause


def test_a_token_with_an_id_of_the_other_sides_own_holds(come: Come) -> None:
    assert come(query(token_of(jti="issued-there")))[0] is None


@pytest.mark.parametrize("value", [{"a": 1}, ["x"], 7, None, True])
def test_a_token_that_is_no_text_is_refused(come: Come, value: Any) -> None:
    content = json.dumps({"session_token": value}).encode()
    assert is_refused(come(None, content, kind="application/json")[0])


def test_a_token_that_is_sent_twice_cannot_be_read(come: Come) -> None:
    with pytest.raises(Unreadable):
        come(f"{query(token_of())}&session_token=x")


def test_without_a_suspended_exchange_nothing_holds(come: Come) -> None:
    assert is_refused(come(query(token_of()), suspended=None)[0])


def test_with_optional_the_rule_learns_that_it_does_not_hold(come: Come) -> None:
    answer, x = come(query(token_of(sub="u2")), optional=True)
    assert answer is None
    assert x.variables["mfa"] == {"ok": False, "error": "claims"}
