"""Which token brings a shopper back to a suspended exchange."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
import pytest

from proxy.engine import returns, run
from proxy.engine.effects import StoreGet, StoreIncrement, StoreSet, StoreTake
from proxy.engine.errors import Unreadable
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.engine.suspension import Suspended
from proxy.language.actions.verify_redirect_token import VerifyRedirectToken
from proxy.language.compile import Options, build
from proxy.language.document import Source, load
from proxy.language.environment import RuleScope, StepScope
from proxy.language.model import Match
from proxy.language.packs import Vocabulary
from proxy.language.problems import Problems

from .conftest import NOW, Stage

ORIGIN = "https://shop.example"
SECRET = "test-only-test-only-test-only-0000"
CLAIMS = {"iss": "shop.example", "sub": "u1", "exp": int(NOW) + 900, "state": "s1", "outcome": "passed"}


def suspended(**details: Any) -> Suspended:
    """Give what is known of the exchange that the shopper comes back to."""
    known = {"issuer": "shop.example", "subject": "u1", "issued": ["issued-here"], **details}
    original = Request("POST", "/login", None, Headers(), limits=Limits())
    return Suspended("s1", "test-only-correlation", NOW + 900, 900.0, "r", 0, "continue", (), original, known)


BACK = suspended()
Come = Callable[..., tuple[Any, Exchange]]


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
        back: Suspended | None = BACK,
        now: float = NOW,
        **settings: Any,
    ) -> tuple[Any, Exchange]:
        document = load(Source("rules.yaml", "{}"), problems := Problems())
        assert document is not None
        scope = RuleScope(
            name="r", document=document, loc=(), options=options, vocabulary=Vocabulary(), problems=problems,
            match=Match(), configuration={}, declared={}, functions=(),
        )  # fmt: skip
        action = VerifyRedirectToken.model_validate({"secret": "${secret:mfa_hmac}", "into": "mfa", **settings})
        step = action.compile(StepScope(scope, "continue", ()))
        assert not list(problems)
        # The body of a return is always collected; that of the request which was suspended need not be.
        assert not scope.needs_request
        ruleset = build([Source("rules.yaml", "version: 1")], options).ruleset
        assert ruleset is not None
        headers = Headers.of([("content-type", kind)] if content is not None else [])
        method = "GET" if content is None else "POST"
        request = Request(method, "/.vestibule/continue", query, headers, content, limits=Limits())
        x = Exchange(ruleset, request, clock=lambda: now, entropy=bytes)
        x.suspended = back
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


def test_the_redirect_without_a_token_has_nobody_to_come_back_for(come: Come) -> None:
    assert is_refused(come(query(token_of(iss="", sub="")), back=suspended(issuer=None, subject=None))[0])


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
    assert is_refused(come(query(token_of()), back=None)[0])


def test_with_optional_the_rule_learns_that_it_does_not_hold(come: Come) -> None:
    answer, x = come(query(token_of(sub="u2")), optional=True)
    assert answer is None
    assert x.variables["mfa"] == {"ok": False, "error": "claims"}


# The whole way, in rules

RULES = """
rules:
  - name: second-factor
    match: {path: /login}
    before:
      - verify_token: {keys: {secret: "${secret:clients}"}, algorithms: [HS256]}
    after:
      - redirect:
          to: https://shop.example/mfa
          mode: redirect
          bind: none
          token: {secret: "${secret:mfa_hmac}", subject: u1}
    continue:
      - verify_redirect_token: {secret: "${secret:mfa_hmac}", into: mfa}
      - {when: mfa.claims.outcome != 'passed', deny: {reason: The second factor failed.}}
      - headers: {set: {x-outcome: "${mfa.claims.outcome}", x-admin: "${context.isAdmin}"}}
"""
PACK = "{name: vendor, context: {isAdmin: {claim: admin, type: bool}}}"


class Shop:
    """A rule set with a store, and the page where the second factor is asked for."""

    def __init__(self) -> None:
        secrets = {"mfa_hmac": SECRET, "clients": SECRET}
        options = Options(secrets=secrets.get, packs=lambda _: Source("vendor.yaml", PACK), public_origin=ORIGIN)
        built = build([Source("rules.yaml", f"version: 1\npacks: [vendor]\n{RULES}")], options)
        assert built.ruleset is not None, list(built.problems)
        self.ruleset = built.ruleset
        self.store: dict[str, bytes] = {}
        self.count = 0

    def entropy(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")

    def drive(self, result: Response | run.Pending | None) -> Response | None:
        while isinstance(result, run.Pending):
            found: Any = None
            match result.effect:
                case StoreSet(key, value, _):
                    self.store[key] = value
                case StoreGet(key):
                    found = self.store.get(key)
                case StoreTake(key):
                    found = self.store.pop(key, None)
                case StoreIncrement():
                    found = 1
            result = result.resume(found, 0.0)
        return result

    def begin(self, path: str, query: str | None = None, token: str | None = None) -> Exchange:
        headers = Headers.of([("authorization", f"Bearer {token}")] if token else [])
        request = Request("GET", path, query, headers, limits=Limits(), host="shop.example")
        return run.begin(self.ruleset, request, clock=lambda: NOW, entropy=self.entropy)

    def log_in(self) -> dict[str, str]:
        """Log in, and give what the page is sent."""
        bearer = jwt.encode({"exp": int(NOW) + 9, "admin": True}, SECRET)
        x = self.begin("/login", token=bearer)
        self.ruleset.choose(x)
        assert self.drive(run.before(x)) is None
        ticket = Response(200, Headers(side="response"), b"TICKET", limits=Limits())
        answer = self.drive(run.after(x, ticket))
        assert answer is not None
        assert answer.status == 302
        assert b"TICKET" not in (answer.content or b"")
        return dict(parse_qsl(urlsplit((answer.headers.get(b"location") or b"").decode()).query))

    def come_back(self, state: str, token: str) -> Response:
        answer = self.drive(returns.resume(self.begin("/.vestibule/continue", query(token, state=state))))
        assert answer is not None
        return answer


def proof(sent: dict[str, str], **claims: Any) -> str:
    """Sign what the page says of the shopper whom it was sent."""
    asked = jwt.decode(sent["session_token"], SECRET, algorithms=["HS256"], options={"verify_exp": False})
    said = {name: asked[name] for name in ("iss", "sub")}
    return jwt.encode({**said, "exp": int(NOW) + 60, "state": sent["state"], "outcome": "passed", **claims}, SECRET)


def test_the_ticket_is_withheld_until_the_other_side_says_that_it_may_go() -> None:
    shop = Shop()
    sent = shop.log_in()
    answer = shop.come_back(sent["state"], proof(sent))
    assert (answer.status, answer.content) == (200, b"TICKET")
    assert answer.headers.get(b"x-outcome") == b"passed"
    # What a token said before the shopper was sent away is still known.
    assert answer.headers.get(b"x-admin") == b"true"
    again = shop.come_back(sent["state"], proof(sent))
    assert again.status == 401


def test_what_the_other_side_refuses_is_denied() -> None:
    shop = Shop()
    sent = shop.log_in()
    answer = shop.come_back(sent["state"], proof(sent, outcome="failed"))
    assert answer.status == 403
    assert b"TICKET" not in (answer.content or b"")


def test_every_token_that_does_not_hold_gets_the_answer_of_a_state_that_is_not_known() -> None:
    shop = Shop()
    sent = shop.log_in()
    unknown = shop.come_back("A" * 43, proof(sent))
    other = shop.log_in()
    for token in ("", "x", sent["session_token"], proof(sent, sub="u2"), proof(sent) + "=", proof(other)):
        answer = shop.come_back(sent["state"], token)
        assert _shown(answer) == _shown(unknown)
    # None of them has used up the state.
    assert shop.come_back(sent["state"], proof(sent)).content == b"TICKET"


def _shown(answer: Response) -> Any:
    """Give an answer without what names the exchange."""
    body = {name: value for name, value in json.loads(answer.content or b"").items() if name != "correlationId"}
    return answer.status, body, [line for line in answer.headers.lines if line[0] != b"x-correlation-id"]
