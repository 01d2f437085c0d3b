"""The signed token of a redirect, and what is written down of a refusal."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from proxy.engine.message import Response

from .conftest import NOW, Play, Stage

KEY = "test-only-test-only-test-only-0000"
RULES = """
rules:
  - name: r
    before:
      - redirect:
          to: /mfa?a=1#top
          mode: redirect
          token: {secret: "${secret:mfa_hmac}"%s}
"""


@pytest.fixture
def keyed(stage: Stage) -> Stage:
    stage.secrets["mfa_hmac"] = KEY
    return stage


def token_of(answer: Response, parameter: str = "session_token") -> str:
    location = (answer.headers.get(b"location") or b"").decode()
    [token] = parse_qs(urlsplit(location).query)[parameter]
    return token


def claims_of(answer: Response, parameter: str = "session_token") -> dict[str, object]:
    found: dict[str, object] = jwt.decode(
        token_of(answer, parameter), KEY, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False}
    )
    return found


def test_a_token_names_issuer_subject_and_times(keyed: Stage) -> None:
    keyed.public_origin = "https://shop.example"
    answer = keyed.play(RULES % ', subject: u1, claims: {outcome: "${request.method}", n: 7}').answer
    claims = claims_of(answer)
    jti = claims.pop("jti")
    assert isinstance(jti, str)
    assert len(jti) == 32
    assert claims == {
        "iss": "https://shop.example",
        "sub": "u1",
        "iat": int(NOW),
        "exp": int(NOW) + 900,
        "outcome": "GET",
        "n": 7,
    }
    assert jwt.get_unverified_header(token_of(answer)) == {"alg": "HS256", "typ": "JWT"}


def test_without_a_public_origin_the_issuer_is_the_requests_host(keyed: Stage) -> None:
    assert claims_of(keyed.play(RULES % "", host="login.example").answer)["iss"] == "login.example"


def test_a_subject_that_is_not_given_is_a_random_id(keyed: Stage) -> None:
    rules = RULES % ""
    one, two = (claims_of(keyed.play(rules).answer) for _ in range(2))
    assert one["sub"] != two["sub"]
    assert one["sub"] != one["jti"]
    assert one["jti"] != two["jti"]


def test_lifetime_and_parameter_may_be_given(keyed: Stage) -> None:
    claims = claims_of(keyed.play(RULES % ", expires_in: 3m, parameter: t").answer, "t")
    assert claims["exp"] == int(NOW) + 180


def test_the_token_stands_before_the_fragment_and_beside_the_query(keyed: Stage) -> None:
    location = (keyed.play(RULES % "").answer.headers.get(b"location") or b"").decode()
    assert location.startswith("/mfa?a=1&session_token=eyJ")
    assert location.endswith("#top")


def test_the_token_replaces_a_parameter_of_its_name(keyed: Stage) -> None:
    rules = RULES.replace("?a=1", "?session_token=old") % ""
    assert token_of(keyed.play(rules).answer).startswith("eyJ")


def test_a_token_is_never_a_state(keyed: Stage) -> None:
    assert "state" not in claims_of(keyed.play(RULES % "").answer)


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "state"])
def test_a_claim_of_the_proxys_own_is_a_load_error(keyed: Stage, name: str) -> None:
    [problem] = keyed.problems(RULES % f", claims: {{{name}: x}}")
    assert problem.code == "bad-setting"
    assert name in problem.text


def test_a_key_that_is_too_short_is_a_load_error(stage: Stage) -> None:
    stage.secrets["mfa_hmac"] = "test-only-short"
    [problem] = stage.problems(RULES % "")
    assert problem.code == "bad-setting"
    assert "shorter than the 32 bytes" in problem.text
    assert "test-only" not in problem.text


def test_an_empty_subject_is_an_error_of_the_rule(keyed: Stage) -> None:
    played = keyed.play(RULES % ", subject: \"${request.headers['x-user']}\"", headers=(("x-user", ""),))
    assert played.answer.status in (400, 500)
    assert b"location" not in played.answer.headers


def test_the_public_origin_and_the_settings_allow_list_hold(stage: Stage) -> None:
    stage.public_origin = "https://shop.example:8443"
    rules = """rules: [{name: r, before: [{redirect: {to: "${request.query.next}", mode: redirect}}]}]"""
    assert stage.play(rules, "/?next=https://shop.example:8443/x").answer.status == 302
    assert stage.play(rules, "/?next=https://shop.example/x").answer.status == 403


def test_a_refusal_says_why_without_repeating_the_address(play: Play) -> None:
    rules = """rules: [{name: r, before: [{redirect: {to: "${request.query.next}"}}]}]"""
    played = play(rules, "/?next=https://canary.example/CANARY")
    verdict = played.exchange.verdict
    assert (verdict.by, verdict.rule, verdict.action, verdict.code) == ("rule", "r", "redirect", "redirect_refused")
    assert verdict.cause == "the address leads to a host that is not allowed"
    assert b"anary" not in (played.answer.content or b"").lower()


def test_what_is_wrong_with_a_redirect_comes_out_in_one_run(stage: Stage) -> None:
    stage.secrets["mfa_hmac"] = KEY
    rules = """
rules:
  - name: r
    match: {method: POST}
    before:
      - redirect:
          to: "https://shop.example:70000/${request.path}"
          status: 308
          query: {"${request.path}": a}
          token: {secret: "${secret:mfa_hmac}", expires_in: 0s, parameter: "${request.path}", claims: {exp: 1}}
          allow: ["https://good.com"]
          bind: cookie
          keep_cookies: ["*"]
"""
    found = {(problem.line, problem.code) for problem in stage.problems(rules)}
    assert {line for line, _ in found} == {9, 10, 11, 12, 13, 14, 15}
    assert {code for _, code in found} == {"bad-setting", "bad-name"}


def test_a_bad_entry_of_the_settings_allow_list_is_a_problem(stage: Stage) -> None:
    stage.allow_redirects = ("https://good.com",)
    [problem] = stage.problems("rules: [{name: r, before: [{redirect: {to: /x}}]}]")
    assert "allow_redirects" in problem.text


def test_a_public_origin_that_cannot_be_read_is_a_problem(stage: Stage) -> None:
    stage.public_origin = "shop.example"
    [problem] = stage.problems("rules: [{name: r, before: [{redirect: {to: /x}}]}]")
    assert "public_origin" in problem.text


def test_a_template_that_cannot_be_read_is_reported_once(stage: Stage) -> None:
    for step in ('redirect: {to: "https://shop.example/${request.path"}', 'path: {to: "/x/${request.path"}'):
        [problem] = stage.problems(f"rules: [{{name: r, before: [{{{step}}}]}}]")
        assert problem.code == "bad-template"
