"""Tokens of key sets, keys that change, and what is written down of a token that does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.engine import run
from proxy.engine.effects import FetchKeys
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request, Response

from .conftest import NOW, Stage

SECRET = "test-only-test-only-test-only-0000"
CLAIMS = {"sub": "u1", "exp": int(NOW) + 900}
KEYS = {kid: ec.generate_private_key(ec.SECP256R1()) for kid in ("k1", "k2")}
JWKS = tuple(
    {**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in KEYS.items()
)
KEY_SET = """
rules:
  - name: r
    before:
      - verify_token: {keys: {jwks: "https://id.example/jwks"}, algorithms: [ES256], into: token%s}
      - headers: {set: {x-sub: "${token.claims.sub}"}}
"""
SHARED = """
rules:
  - name: r
    before: [{verify_token: {keys: {secret: "${secret:shared}"}, algorithms: [HS256]}}]
"""


def signed(kid: str | None = "k1", signer: str = "k1", **claims: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode({**CLAIMS, **claims}, KEYS[signer], algorithm="ES256", headers=headers)


class Service:
    """A key service: what it is asked for, and what it says."""

    def __init__(self, jwks: Sequence[Any] | None = JWKS) -> None:
        self.jwks = jwks
        self.asked: list[FetchKeys] = []

    def settle(self, result: Response | run.Pending | None) -> Response | None:
        while isinstance(result, run.Pending):
            assert isinstance(result.effect, FetchKeys)
            self.asked.append(result.effect)
            if self.jwks is None:
                result = result.fail(EffectFailed("the key service is down"), 0.1)
            else:
                result = result.resume(tuple(self.jwks), 0.1)
        return result


class Gate:
    """A rule set, loaded once, that exchanges pass."""

    def __init__(self, stage: Stage, rules: str, service: Service | None = None) -> None:
        built = stage._build(rules)
        assert built.ruleset is not None, list(built.problems)
        self.ruleset = built.ruleset
        self.service = service or Service()

    def send(self, token: str | None, now: float = NOW) -> tuple[Response | None, Exchange]:
        headers = Headers.of([("authorization", f"Bearer {token}")] if token is not None else [])
        request = Request("GET", "/", None, headers, limits=Limits(), host="shop.example")
        x = run.begin(self.ruleset, request, clock=lambda: now, entropy=bytes)
        self.ruleset.choose(x)
        return self.service.settle(run.before(x)), x


@pytest.fixture
def shared(stage: Stage) -> Stage:
    stage.secrets["shared"] = SECRET
    return stage


def test_a_token_of_a_key_set_holds(stage: Stage) -> None:
    gate = Gate(stage, KEY_SET % "")
    answer, x = gate.send(signed("k2", "k2"))
    assert answer is None
    assert x.request.headers.get(b"x-sub") == b"u1"
    assert gate.service.asked == [FetchKeys("https://id.example/jwks", "k2")]


def test_without_a_name_all_keys_of_the_set_are_tried(stage: Stage) -> None:
    gate = Gate(stage, KEY_SET % "")
    assert gate.send(signed(None, "k2"))[0] is None
    assert gate.service.asked == [FetchKeys("https://id.example/jwks", None)]


@pytest.mark.parametrize(
    "token",
    [signed("k1", "k2"), signed("k9"), signed(exp=int(NOW)), "x", "", None],
    ids=["another key's", "of no key", "over", "no token", "empty", "none"],
)
def test_a_token_that_does_not_hold_is_refused_in_one_way(stage: Stage, token: str | None) -> None:
    answer, x = Gate(stage, KEY_SET % "").send(token)
    assert answer is not None
    one, _ = Gate(stage, KEY_SET % "").send("a.b.c")
    assert one is not None
    assert (answer.status, answer.content) == (401, one.content)
    assert answer.headers.lines == one.headers.lines
    assert answer.headers.values(b"www-authenticate") == [b'Bearer error="invalid_token"']
    verdict = x.verdict
    assert (verdict.by, verdict.rule, verdict.action, verdict.code) == ("rule", "r", "verify_token", "invalid_token")
    assert verdict.cause is not None
    assert not token or len(token) < 3 or token not in verdict.cause
    assert not [part for part in (token or "").split(".") if len(part) > 5 and part in verdict.cause]


@pytest.mark.parametrize("token", ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", jwt.encode(CLAIMS, SECRET)])
def test_no_keys_are_asked_for_a_token_that_cannot_hold(stage: Stage, token: str) -> None:
    gate = Gate(stage, KEY_SET % "")
    answer, _ = gate.send(token)
    assert answer is not None
    assert answer.status == 401
    assert gate.service.asked == []


@pytest.mark.parametrize("more", ["", ", optional: true"])
def test_a_key_service_that_is_down_is_a_503_even_where_the_token_is_optional(stage: Stage, more: str) -> None:
    answer, x = Gate(stage, KEY_SET % more, Service(None)).send(signed())
    assert answer is not None
    assert answer.status == 503
    assert x.verdict.cause == "the key service is down"


def test_a_key_that_the_set_no_longer_has_verifies_nothing_that_it_verified_before(stage: Stage) -> None:
    gate = Gate(stage, KEY_SET % "")
    token = signed()
    assert gate.send(token)[0] is None
    gate.service.jwks = JWKS[1:]
    answer, _ = gate.send(token)
    assert answer is not None
    assert answer.status == 401


def test_a_token_that_was_verified_does_not_outlive_its_time(stage: Stage) -> None:
    gate = Gate(stage, KEY_SET % "")
    token = signed(nbf=int(NOW))
    assert gate.send(token)[0] is None
    assert gate.send(token, NOW + 899)[0] is None
    for now in (NOW - 1, NOW + 900):
        answer, _ = gate.send(token, now)
        assert answer is not None
        assert answer.status == 401


@pytest.mark.parametrize("ending", ["=", "==", " x", "\n", "."])
def test_another_spelling_of_a_token_that_was_verified_is_refused(shared: Stage, ending: str) -> None:
    gate = Gate(shared, SHARED)
    token = jwt.encode(CLAIMS, SECRET)
    assert gate.send(token)[0] is None
    answer, _ = gate.send(token + ending)
    assert answer is not None
    assert answer.status == 401


def test_a_secret_that_changes_is_read_anew(shared: Stage) -> None:
    gate = Gate(shared, SHARED)
    old, new = jwt.encode(CLAIMS, SECRET), jwt.encode(CLAIMS, SECRET + "new")
    assert gate.send(old)[0] is None
    shared.secrets["shared"] = SECRET + "new"
    assert gate.send(new)[0] is None
    answer, _ = gate.send(old)
    assert answer is not None
    assert answer.status == 401


@pytest.mark.parametrize("secret", [None, "test-only-short", "", "-----BEGIN PUBLIC KEY-----\ntest-only"])
def test_a_key_that_cannot_be_used_any_more_is_the_rules_error(shared: Stage, secret: str | None) -> None:
    gate = Gate(shared, SHARED)
    if secret is None:
        del shared.secrets["shared"]
    else:
        shared.secrets["shared"] = secret
    answer, x = gate.send(jwt.encode(CLAIMS, SECRET))
    assert answer is not None
    assert answer.status == 500
    assert x.verdict.cause is not None
    assert "test-only" not in x.verdict.cause + (answer.content or b"").decode()


def test_a_rule_in_shadow_may_ask_for_keys_and_refuses_nobody(stage: Stage) -> None:
    gate = Gate(stage, KEY_SET.replace("name: r", "name: r\n    mode: shadow") % "")
    answer, x = gate.send(signed("k9"))
    assert answer is None
    assert [note.message for note in x.notes] == ["would have answered 401 (verify_token)"]
    assert len(gate.service.asked) == 1
