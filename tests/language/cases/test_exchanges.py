"""Cases of several exchanges: the clock, what is kept, tokens, and the words for what differs."""

from __future__ import annotations

import jwt
import pytest

from proxy.language.cases import Results, run_cases
from proxy.language.cases.model import GeneratedKey, Given, Token
from proxy.language.cases.tokens import public_jwk, secrets_of, sign
from proxy.language.document import Source
from proxy.services.rehearsal import rehearse

HEAD = """\
given:
  secrets: {hmac: test-only-test-only-test-only-00, key: {generate: ES256}}
  tokens: {jane: {secret: hmac, claims: {sub: jane}}, nobody: {secret: hmac}}
rules:
  - {name: who, match: {path: /who}, before: [{headers: {set: {x-sub: "${jwt(request.bearer).claims.sub}"}}}]}
  - {name: go, match: {path: /go}, after: [{redirect: {to: /mfa, query: {state: "s 1"}}}]}
  - {name: when, match: {path: /when}, before: [{headers: {set: {x-now: "${now}"}}}]}
  - {name: draw, match: {path: /draw}, before: [{headers: {set: {x-id: "${uuid()}"}}}]}
cases:
"""
ROOT, MADE = "request: {path: /}", "expect: {response: {status: 201}}"
GO = "request: {path: /go, headers: {sec-fetch-mode: navigate}}"


def run(cases: str) -> Results:
    return run_cases(Source("x.test.yaml", HEAD + cases), lambda _: None, lambda _: None, rehearse)


def findings(body: str) -> tuple[str, ...]:
    results = run(f"  - {{name: a, {body}}}\n")
    assert not list(results.problems), list(results.problems)
    (found,) = results.outcomes
    return found.findings


def test_a_token_is_signed_for_the_test() -> None:
    expect = "expect: {upstream: {headers: {x-sub: jane}}}"
    assert findings(f"request: {{path: /who, headers: {{authorization: 'Bearer ${{jane}}'}}}}, {expect}") == ()


def test_a_name_that_the_case_does_not_know_stays_as_it_is_written() -> None:
    texts = "headers: {x: '${jan}'}, json: {a: '${Jane}'}, query: {q: 'a${}b'}"
    expect = "headers: {x: '${jan}'}, json: {a: '${Jane}'}, query: {q: 'a${}b'}"
    assert findings(f"request: {{path: /, {texts}}}, expect: {{upstream: {{{expect}}}}}") == ()


def test_names_are_replaced_in_every_text_of_a_message() -> None:
    exchange = f"{GO}, keep: {{n: '7', s: location.query.state}}"
    sent = "path: '/a/${n}', headers: {x: 'v${n}'}, query: {q: '${s}'}, cookies: {c: '${n}'}"
    seen = "path: /a/7, headers: {x: v7}, query: {q: s 1}, cookies: {c: '7'}, json: {n: 7, t: 'n 7', l: [s 1]}"
    json = "json: {n: '${n}', t: 'n ${n}', l: ['${s}']}"
    answer = "upstream: {form: {f: '${n}'}}"
    second = f"request: {{{sent}, {json}}}, {answer}, expect: {{upstream: {{{seen}}}, response: {{form: {{f: '7'}}}}}}"
    assert findings(f"exchanges: [{{{exchange}}}, {{{second}}}]") == ()


def test_the_clock_goes_on_by_the_wait_before_each_exchange() -> None:
    at = "request: {path: /when}, expect: {upstream: {headers: {x-now: '%s'}}}"
    first, second = at % "2026-01-01T00:00:00Z", at % "2026-01-01T00:15:00Z"
    third = at % "2026-01-01T00:15:30Z"
    assert findings(f"exchanges: [{{{first}}}, {{wait: 15m, {second}}}, {{wait: 30s, together: [{{{third}}}]}}]") == ()
    repeated = findings(f"exchanges: [{{{first}, repeat: 2, wait: 1s}}]")
    assert [text.rpartition("got ")[2] for text in repeated] == ["['2026-01-01T00:00:01Z']", "['2026-01-01T00:00:02Z']"]


def test_the_exchanges_of_a_case_draw_different_random_values_that_are_the_same_in_each_run() -> None:
    draws = "exchanges: [{request: {path: /draw}, repeat: 2, expect: {upstream: {headers: {x-id: none}}}}]"
    first, second = findings(draws)
    assert first.removeprefix("exchange 1 of 2") != second.removeprefix("exchange 2 of 2")
    assert findings(draws) == (first, second)


def test_a_token_of_the_case_is_signed_once_and_one_of_an_exchange_each_time() -> None:
    send = "request: {path: /who, headers: {authorization: 'Bearer ${jane}'}}"
    later = f'wait: 1h, {send}, expect: {{holds: "jwt(upstream.bearer).claims.iat == %d"}}'
    assert findings(f"exchanges: [{{{send}}}, {{{later % 1767225600}}}]") == ()
    own = "tokens: {jane: {secret: hmac, claims: {sub: jane}}}"
    assert findings(f"exchanges: [{{{send}}}, {{{own}, {later % 1767229200}}}]") == ()


def test_what_an_exchange_kept_may_stand_in_the_claims_of_a_later_token() -> None:
    token = "tokens: {back: {secret: key, claims: {sub: jane, state: '${state}'}}}"
    send = "request: {path: /who, headers: {authorization: 'Bearer ${back}'}}"
    claims = (
        "expect: {holds: \"jwt(upstream.bearer).claims.state == 's 1' && jwt(upstream.bearer).header.kid == 'key'\"}"
    )
    assert (
        findings(f"exchanges: [{{{GO}, keep: {{state: location.query.state}}}}, {{{token}, {send}, {claims}}}]") == ()
    )


@pytest.mark.parametrize(
    ("body", "finding"),
    [
        (f"{GO}, expect: {{response: {{location: {{url: /mf}}}}}}", "response.location.url: expected /mf, got /mfa"),
        (
            f"{GO}, expect: {{response: {{location: {{query: {{state: s2, x: null}}}}}}}}",
            "response.location.query.state: expected 's2', got 's 1'",
        ),
        (
            "request: {path: /}, expect: {response: {location: {url: /}}}",
            "response.location: the answer has no Location (its status is 200)",
        ),
        (
            "request: {path: /}, expect: {holds: response.status == 201}",
            "holds: response.status == 201: expected true, got False",
        ),
        (
            "request: {path: /a//b}, expect: {holds: \"upstream.path == '/'\"}",
            "holds: upstream.path == '/': the request was not forwarded",
        ),
        (
            "request: {path: /}, expect: {lookups: [{url: 'https://a.example/'}]}",
            "lookups: expected 1, got none",
        ),
        (
            f"exchanges: [{{{ROOT}}}, {{{ROOT}, {MADE}}}]",
            "exchange 2 of 2: response.status: expected 201, got 200",
        ),
        (
            f"exchanges: [{{{ROOT}, repeat: 5}}, {{together: [{{{ROOT}, repeat: 2}}, {{{ROOT}, {MADE}}}]}}]",
            "exchange 8 of 8: response.status: expected 201, got 200",
        ),
        (
            f"exchanges: [{{{ROOT}}}, {{{ROOT}, {MADE}, repeat: 3}}]",
            "exchanges 2 to 4 of 4: response.status: expected 201, got 200",
        ),
        (
            "exchanges: [{request: {path: /}, keep: {state: location.query.state}}]",
            "keep.state: location.query.state: the answer has no Location (its status is 200)",
        ),
        (
            "exchanges: [{request: {path: '/${later}'}}, {request: {path: /}, keep: {later: response.status}}]",
            "exchange 1 of 2: ${later} is kept by an exchange that did not come to it before",
        ),
        (
            "exchanges: [{request: {path: /}, keep: {all: '[1]'}}, {request: {path: '/${all}'}}]",
            "exchange 2 of 2: ${all} is a list where text is wanted",
        ),
        (
            "exchanges: [{request: {path: /}, upstream: [{status: 401}], repeat: 2}]",
            "exchange 2 of 2: the auth service was called 2 times; `upstream` has 1",
        ),
        (
            "request: {path: '/${t}'}, tokens: {t: {secret: hmac, algorithm: ES256}}",
            "the token 't' cannot be signed: the secret 'hmac' is not a private key for this algorithm",
        ),
        (
            "request: {path: '/${t}'}, tokens: {t: {secret: hmac, claims: {t: '${t}'}}}",
            "the token 't' names itself",
        ),
    ],
)  # fmt: skip
def test_what_differs_or_cannot_be_played_is_told(body: str, finding: str) -> None:
    assert findings(body) == (finding,)


def test_the_auth_service_answers_each_call_as_the_list_says() -> None:
    expect = "expect: {holds: 'response.status in [401, 200]'}"
    both = f"exchanges: [{{request: {{path: /}}, repeat: 2, upstream: [{{status: 401}}, {{status: 200}}], {expect}}}]"
    assert findings(both) == ()


@pytest.mark.parametrize(("path", "status"), [("/.vestibule/x", 404), ("/.vestibule/continue", 401)])
def test_a_path_of_the_proxys_own_is_not_forwarded(path: str, status: int) -> None:
    expect = f"expect: {{upstream: not called, response: {{status: {status}}}, rules: {{ran: []}}}}"
    assert findings(f"request: {{path: {path}}}, {expect}") == ()


@pytest.mark.parametrize(("fails", "status"), [("down", 502), ("late", 504)])
def test_an_auth_service_that_fails_is_answered_as_the_proxy_does(fails: str, status: int) -> None:
    expect = f"expect: {{upstream: {{path: /}}, response: {{status: {status}}}}}"
    assert findings(f"request: {{path: /}}, upstream: {{fails: {fails}}}, {expect}") == ()


@pytest.mark.parametrize(
    ("body", "shown", "code", "hint"),
    [
        ("tokens: {t: {secret: hmca}}, request: {path: /}", "hmca", "missing-secret", "hmac"),
        ("tokens: {t: {secret: hmac, algorithm: none}}, request: {path: /}", "{", "wrong-value", None),
        ("tokens: {a-b: {secret: hmac}}, request: {path: /}", "a-b", "wrong-value", None),
        ("key_sets: {https://a.example: [kye]}, request: {path: /}", "kye", "missing-secret", "key"),
        ("key_sets: {https://a.example: [hmac]}, request: {path: /}", "hmac", "wrong-value", None),
        ("key_sets: {https://a.example: dwon}, request: {path: /}", "dwon", "wrong-value", "down"),
        ("lookups: [{method: GET}], request: {path: /}", "{", "wrong-value", None),
        ("request: {path: /}, exchanges: [{request: {path: /}}]", "{", "wrong-value", None),
        ("exchanges: []", "[", "wrong-value", None),
        ("exchanges: [{together: [{request: {path: /}, wait: 1s}]}]", "wait", "unknown-key", None),
        ("exchanges: [{request: {path: /}, keep: {jane: '1'}}]", "jane", "bad-name", None),
        ("exchanges: [{request: {path: /}, keep: {s: locaton.url}}]", "locaton", "unknown-name", "location"),
        ("request: {path: /}, expect: {holds: response.stauts == 1}", "stauts", "unknown-member", "status"),
        ("request: {path: /}, expect: {holds: [upstream.path]}", "upstream.path", "wrong-type", None),
    ],
)
def test_what_is_wrong_with_a_case_has_its_place(body: str, shown: str, code: str, hint: str | None) -> None:
    line = f"  - {{name: a, {body}}}"
    results = run(f"{line}\n")
    (problem,) = results.problems
    assert (problem.line, problem.code, problem.suggestion) == (HEAD.count("\n") + 1, code, hint)
    assert line[problem.column - 1 : problem.end - 1] == shown
    assert results.outcomes == []


GIVEN = Given.model_validate({"secrets": {n: {"generate": n} for n in ("ES256", "ES384", "EdDSA", "RS256")}})


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256"])
def test_a_token_holds_with_the_public_key_of_its_generated_key(algorithm: str) -> None:
    secret = GIVEN.secrets[algorithm]
    assert isinstance(secret, GeneratedKey)
    members = public_jwk(algorithm, secret)
    assert not members.keys() & {"d", "p", "q", "dp", "dq", "qi"}
    assert (members["kid"], members["alg"], members["use"]) == (algorithm, algorithm, "sig")
    token = sign(Token(secret=algorithm), GIVEN.secrets, {"sub": "jane"}, 1_000.0)
    key = jwt.PyJWK(members)
    assert jwt.decode(token, key, [algorithm], options={"verify_exp": False}) == {
        "sub": "jane",
        "iat": 1000,
        "exp": 1900,
    }


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256"])
def test_a_generated_key_is_the_same_all_through_a_run_and_another_by_another_name(algorithm: str) -> None:
    given = Given.model_validate({"secrets": {n: {"generate": algorithm} for n in ("a", "b")}})
    secrets = secrets_of(given)
    assert secrets == secrets_of(given)
    assert secrets["a"].startswith("-----BEGIN PRIVATE KEY-----")
    assert secrets["a"] != secrets["b"]


def test_a_token_can_be_what_no_library_would_sign() -> None:
    secrets: dict[str, str | GeneratedKey] = {"key": GeneratedKey(generate="ES256"), "short": "a"}
    unsigned = sign(Token(algorithm="none", typ=None, issued_at=None, expires_in=None), secrets, {}, 0.0)
    assert unsigned == "eyJhbGciOiJub25lIn0.e30."
    confused = sign(Token(secret="key", algorithm="HS256", kid=None), secrets, {"exp": "soon"}, 0.0)
    assert jwt.get_unverified_header(confused) == {"alg": "HS256", "typ": "JWT"}
    claims = jwt.decode(confused, options={"verify_signature": False, "verify_exp": False, "verify_iat": False})
    assert claims == {"iat": 0, "exp": "soon"}
