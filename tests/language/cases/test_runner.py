"""The runner of test files: what it gives a case, what it compares, and where it puts problems.

Every case of tests/cases shows that right expectations pass; here it is that wrong ones fail.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from proxy.language.cases import Outcome, Results, run_cases
from proxy.language.document import Source
from proxy.services.rehearsal import rehearse

PACK = """\
name: shop
dialect: kibo
operations:
  login: {method: POST, path: /login}
  account: {method: GET, path: "/accounts/{id}"}
"""


def run(text: str, files: Mapping[str, str] | None = None) -> Results:
    given = files or {}

    def find(name: str) -> Source | None:
        return Source(name, given[name]) if name in given else None

    def find_pack(name: str) -> Source | None:
        return Source("pack", PACK) if name == "shop" else None

    return run_cases(Source("x.test.yaml", text), find, find_pack, rehearse)


def outcome(text: str) -> Outcome:
    results = run(text)
    assert not list(results.problems), list(results.problems)
    (found,) = results.outcomes
    return found


def case(rules: str, body: str) -> Outcome:
    """Run one case over inline rules, both in YAML's flow style."""
    return outcome(f"packs: [shop]\nrules: {rules}\ncases:\n  - {{name: a, {body}}}\n")


UPSTREAM = (
    "[{name: r, before: [{method: PUT}, {path: {to: /new}}, {query: {set: {a: '1'}}}, {cookies: {set: {c: v}}}, "
    "{headers: {set: {x-a: '1'}}}]}]"
)


@pytest.mark.parametrize(
    ("expected", "finding"),
    [
        ("method: POST", "upstream.method: expected POST, got PUT"),
        ("path: /old", "upstream.path: expected /old, got /new"),
        ("query: {a: '2'}", "upstream.query: expected {'a': ['2']}, got {'a': ['1']}"),
        ("query: {}", "upstream.query: expected {}, got {'a': ['1']}"),
        ("cookies: {c: w}", "upstream.cookies.c: expected 'w', got ['v']"),
        ("cookies: {c: null}", "upstream.cookies.c: expected None, got ['v']"),
        ("headers: {X-A: '2'}", "upstream.headers.X-A: expected ['2'], got ['1']"),
        ("headers: {x-a: null}", "upstream.headers.x-a: expected [], got ['1']"),
        ("text: other", "upstream.text: expected 'other', got 'hello'"),
        ("raw: hell", "upstream.raw: expected 'hell', got 'hello'"),
        ("json: {}", "upstream.json: the body is not JSON: 'hello'"),
        ("absent: [ell]", "upstream.absent: 'ell' stands in the message"),
        ("absent: [/new]", "upstream.absent: '/new' stands in the message"),
    ],
)
def test_a_request_that_differs_is_told(expected: str, finding: str) -> None:
    found = case(UPSTREAM, f"request: {{path: /old, text: hello}}, expect: {{upstream: {{{expected}}}}}")
    assert found.findings == (finding,)


def test_a_request_that_is_right_in_everything_has_no_finding() -> None:
    expected = "method: PUT, path: /new, query: {a: '1'}, cookies: {c: v}, headers: {x-A: '1'}, raw: hello"
    assert case(UPSTREAM, f"request: {{path: /old, text: hello}}, expect: {{upstream: {{{expected}}}}}").ok


RESPONSE = (
    "[{name: r, after: [{status: {code: 201, reason: Made}}, "
    "{cookies: {set: {s: {value: v, path: /x, max_age: 60s, http_only: true}}}}]}]"
)


@pytest.mark.parametrize(
    ("expected", "finding"),
    [
        ("status: 200", "response.status: expected 200, got 201"),
        ("reason: OK", "response.reason: expected 'OK', got 'Made'"),
        ("cookies: {s: w}", "response.cookies.s: expected the value 'w', got 's=v; Max-Age=60; Path=/x; HttpOnly'"),
        ("cookies: {s: null}", "response.cookies.s: expected none, got 's=v; Max-Age=60; Path=/x; HttpOnly'"),
        ("cookies: {t: v}", "response.cookies.t: expected one, got 0"),
        (
            "cookies: {s: {path: /y}}",
            "response.cookies.s.path: expected '/y', got 's=v; Max-Age=60; Path=/x; HttpOnly'",
        ),
        (
            "cookies: {s: {secure: true}}",
            "response.cookies.s.secure: expected true, got 's=v; Max-Age=60; Path=/x; HttpOnly'",
        ),
        (
            "cookies: {s: {domain: null, max_age: 61}}",
            "response.cookies.s.max_age: expected 61, got 's=v; Max-Age=60; Path=/x; HttpOnly'",
        ),
        ("form: {a: '2'}", "response.form: expected {'a': '2'}, got {'a': '1'}"),
    ],
)
def test_an_answer_that_differs_is_told(expected: str, finding: str) -> None:
    found = case(
        RESPONSE, f"request: {{path: /}}, upstream: {{form: {{a: '1'}}}}, expect: {{response: {{{expected}}}}}"
    )
    assert found.findings == (finding,)


@pytest.mark.parametrize(
    "cookies",
    ["s: v", "s: {value: v, path: /x, max_age: 60, http_only: true, secure: false, domain: null}", "t: null"],
)
def test_a_cookie_that_is_right_has_no_finding(cookies: str) -> None:
    assert case(RESPONSE, f"request: {{path: /}}, expect: {{response: {{cookies: {{{cookies}}}}}}}").ok


@pytest.mark.parametrize(("got", "wanted"), [("1", "1.0"), ("1", "true"), ("[]", "{}"), ("[1, 2]", "[2, 1]")])
def test_json_is_compared_by_type_and_order(got: str, wanted: str) -> None:
    body = f"request: {{path: /}}, upstream: {{json: {{a: {got}}}}}, expect: {{response: {{json: {{a: {wanted}}}}}}}"
    assert not case("[]", body).ok


def test_json_is_compared_without_the_order_of_keys_or_the_coding() -> None:
    upstream = "{headers: {content-encoding: gzip}, json: {a: 1, b: 2}}"
    assert case("[]", f"request: {{path: /}}, upstream: {upstream}, expect: {{response: {{json: {{b: 2, a: 1}}}}}}").ok


def test_a_body_that_is_not_what_its_coding_says_is_compared_as_it_came() -> None:
    upstream = "{headers: {content-encoding: gzip}, body: plain}"
    assert case("[]", f"request: {{path: /}}, upstream: {upstream}, expect: {{response: {{raw: plain}}}}").ok


DENY = "[{name: no, before: [{deny: {reason: No., code: NO}}]}]"


@pytest.mark.parametrize(
    ("expect", "finding"),
    [
        ("upstream: {}", "upstream: the request was not forwarded (403: no: No.)"),
        ("response: {status: 200}", "response.status: expected 200, got 403 (no: No.)"),
        ("rules: {denied_by: other}", "rules.denied_by: expected other, got no"),
        ("rules: {denied_by: null}", "rules.denied_by: expected None, got no"),
        ("rules: {ran: []}", "rules.ran: expected [], got ['no']"),
    ],
)
def test_a_denial_that_was_not_expected_says_who_and_why(expect: str, finding: str) -> None:
    assert case(DENY, f"request: {{operation: login}}, expect: {{{expect}}}").findings == (finding,)


def test_the_correlation_id_of_the_proxys_own_answers_is_left_out() -> None:
    body = "{message: No., errorCode: NO, applicationName: Vestibule, additionalErrorData: [], items: []}"
    assert case(DENY, f"request: {{operation: login}}, expect: {{upstream: not called, response: {{json: {body}}}}}").ok


def test_a_forwarded_request_that_should_not_have_been_is_told() -> None:
    found = case("[]", "request: {path: /}, expect: {upstream: not called}")
    assert found.findings == ("upstream: the request was forwarded, and should not have been",)


def test_a_line_that_no_rule_logged_is_told() -> None:
    rules = "[{name: r, before: [{log: {message: one}}]}]"
    assert case(rules, "request: {path: /}, expect: {log: one}").ok
    assert not case(rules, "request: {path: /}, expect: {log: [one, two]}").ok


def test_a_path_that_no_request_can_have_is_answered_as_the_proxy_does() -> None:
    assert case("[]", "request: {path: /a//b}, expect: {upstream: not called, response: {status: 400}}").ok


@pytest.mark.parametrize(
    ("request_", "finding"),
    [
        ("operation: logn", "no pack of the rules has an operation 'logn'"),
        ("method: GET", "a request needs an `operation` or a `path`"),
    ],
)
def test_a_request_that_cannot_be_made_is_told(request_: str, finding: str) -> None:
    assert case("[]", f"request: {{{request_}}}").findings == (finding,)


def test_a_case_needs_a_request_or_an_error() -> None:
    assert case("[]", "expect: {}").findings == ("a case needs a `request`, `exchanges` or an `error`",)


def test_an_operation_gives_method_and_path() -> None:
    assert case("[]", "request: {operation: account}, expect: {upstream: {method: GET, path: /accounts/x}}").ok


@pytest.mark.parametrize("now", ["2026-05-04T12:00:00Z", "2026-05-04T14:00:00+02:00", "2026-05-04T12:00:00"])
def test_the_clock_stands_where_the_file_puts_it(now: str) -> None:
    text = (
        f"given: {{now: {now}}}\nrules: [{{name: r, before: [{{headers: {{set: {{x-now: '${{now}}'}}}}}}]}}]\n"
        "cases: [{name: a, request: {path: /}, expect: {upstream: {headers: {x-now: '2026-05-04T12:00:00Z'}}}}]\n"
    )
    assert outcome(text).findings == ()


def test_two_runs_of_a_case_draw_the_same_random_values() -> None:
    text = (
        "rules: [{name: r, before: [{headers: {set: {x-id: '${uuid()}'}}}]}]\n"
        "cases: [{name: a, request: {path: /}, expect: {upstream: {headers: {x-id: none}}}}]\n"
    )
    assert outcome(text).findings == outcome(text).findings != ()


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ("cases: [{name: a, expect: {response: {stauts: 200}}}]", (1, 39), "unknown-key"),
        ("given: {now: noon}\ncases: [{name: a}]", (1, 14), "wrong-value"),
        ("cases: [{name: a, request: {json: {}, text: b}}]", (1, 28), None),
        ("cases: [{name: a, request: {base64: '!'}}]", (1, 37), "wrong-value"),
        ("cases: [{name: a, request: {headers: {'a b': c}}}]", (1, 39), None),
        ("cases: [{name: a, upstream: {status: 99}}]", (1, 38), None),
        ("cases: [{name: a, request: {path: here}}]", (1, 35), None),
        ("rules: []\npacks: [shop, shoe]\ncases: [{name: a, request: {path: /}}]", (2, 15), "unknown-pack"),
        ("cases:\n- {name: a, rules: [{name: r}],\n   packs: [shoe], request: {path: /}}", (3, 12), "unknown-pack"),
        ("rules: [none.yaml]\ncases: [{name: a, request: {path: /}}]", (1, 9), "unreadable-file"),
        ("cases:\n- name: a\n  rules: [none.yaml]\n  request: {path: /}", (3, 11), "unreadable-file"),
    ],
)
def test_what_is_wrong_with_a_test_file_has_its_place(text: str, place: tuple[int, int], code: str | None) -> None:
    (problem,) = run(text).problems
    assert (problem.source, problem.line, problem.column) == ("x.test.yaml", *place)
    assert code in (None, problem.code)


INLINE = """\
configuration: {limit: 3}
rules:
  - name: r
    before:
      - when: "request.path == 'a\\tb' && reqest.ip == ''"
        deny: {reason: 'No "${request.metod}" here'}
      - haeders: {set: {a: b}}
      - headers:
          set: {x: "${configuration.limit}"}
          sett: 1
cases:
  - {name: a, request: {path: /}}
"""


def test_problems_of_inline_rules_stand_where_the_author_wrote_them() -> None:
    found = [(problem.source, problem.line, problem.column, problem.code) for problem in run(INLINE).problems]
    assert found == [
        ("x.test.yaml", 5, 42, "unknown-name"),
        ("x.test.yaml", 6, 39, "unknown-member"),
        ("x.test.yaml", 7, 9, "unknown-action"),
        ("x.test.yaml", 10, 11, "unknown-key"),
    ]


def test_problems_of_the_rules_of_one_case_stand_there_too() -> None:
    rules = "[{name: r, before: [{nothing: 1}]}]"
    text = f"cases:\n  - name: a\n    rules: {rules}\n    error: {{code: unknown-action, line: 3}}\n"
    assert outcome(text).ok
    assert (
        outcome(text.replace("line: 3", "line: 4"))
        .findings[0]
        .startswith("expected the error unknown-action  in line 4, found 3: unknown-action")
    )


@pytest.mark.parametrize("text", ["010", "1.0", "1e5", "0x1F"])
def test_a_number_of_an_inline_rule_keeps_its_spelling_where_text_is_wanted(text: str) -> None:
    rules = f"[{{name: r, before: [{{headers: {{set: {{x: {text}}}}}}}]}}]"
    assert case(rules, f"request: {{path: /}}, expect: {{upstream: {{headers: {{x: '{text}'}}}}}}").ok


@pytest.mark.parametrize("text", ["a\u2028b", "\U0001f600", "\ufeff", 'quo"te', "back\\slash", "\u00a0"])
def test_a_text_of_an_inline_rule_arrives_as_it_was_written(text: str) -> None:
    written = "".join(f"\\U{ord(char):08x}" for char in text)
    rules = f'[{{name: r, before: [{{body: {{set: {{a: "{written}"}}}}}}]}}]'
    expected = f'request: {{path: /, json: {{}}}}, expect: {{upstream: {{json: {{a: "{written}"}}}}}}'
    assert case(rules, expected).findings == ()


def test_rule_files_run_in_the_order_in_which_they_are_served_whatever_the_list() -> None:
    files = {
        name: f"version: 1\nrules: [{{name: {name[0]}, before: [{{set: {{v{name[0]}: 1}}}}]}}]\n"
        for name in ("b.yaml", "a.yaml")
    }
    text = "rules: [b.yaml, a.yaml]\ncases: [{name: a, request: {path: /}, expect: {rules: {ran: [a, b]}}}]\n"
    results = run(text, files)
    assert [found.findings for found in results.outcomes] == [()]
    assert results.rules == ["a", "b"]


def test_errors_that_no_case_expects_are_problems_of_the_run() -> None:
    files = {"a.yaml": "version: 1\nrules: [{name: a, before: [{nothing: 1}]}]\n"}
    results = run("rules: [a.yaml]\ncases: [{name: a, request: {path: /}}, {name: b, error: unknown-action}]\n", files)
    assert [found.ok for found in results.outcomes] == [False, True]
    assert [(problem.source, problem.code) for problem in results.problems] == [("a.yaml", "unknown-action")]
    assert results.texts["a.yaml"] == files["a.yaml"]


def test_a_warning_may_be_expected_beside_a_request() -> None:
    rules = "[{name: r, after: [{when: response.body.a == 1, end: true}]}]"
    body = "request: {path: /}, upstream: {json: {a: 1}}, expect: {response: {status: 200}}"
    assert case(rules, f"{body}, warning: unguarded-response").ok
    assert not case(rules, f"{body}, warning: unknown-field").ok


def test_secrets_come_from_the_file_and_a_missing_one_is_an_error() -> None:
    rules = "rules: [{name: r, before: [{headers: {set: {x: '${secret:key}'}}}]}]\n"
    good = "given: {secrets: {key: test-only}}\n" + rules
    assert outcome(good + "cases: [{name: a, request: {path: /}, expect: {upstream: {headers: {x: test-only}}}}]\n").ok
    assert outcome(rules + "cases: [{name: a, error: missing-secret}]\n").ok
