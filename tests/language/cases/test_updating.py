"""`--update`: what came is written where it is expected, and nothing else changes."""

from __future__ import annotations

import pytest

from proxy.language.cases import run_cases, update
from proxy.language.document import Source
from proxy.services.rehearsal import rehearse

HEAD = "rules: [{name: r, before: [{headers: {set: {x-a: '1'}}}]}]\ncases:\n"


def updated(case: str, head: str = HEAD) -> tuple[str, list[str]]:
    """Update a file with one case; give the case as it is then, and why something was not written."""
    source = Source("x.test.yaml", head + case)
    results = run_cases(source, lambda _: None, lambda _: None, rehearse)
    assert not list(results.problems), list(results.problems)
    found = update(source, [fix for outcome in results.outcomes for fix in outcome.fixes])
    assert found.text.startswith(head)
    return found.text[len(head) :], [change.why for change in found.changes if change.why is not None]


REQUEST = "  - name: a  # why\n    request: {path: /x, headers: {b: c}}\n    upstream: {json: {a: 1, b: [1, {c: x}]}}\n"


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("expect: {response: {status: 404 }}", "expect: {response: {status: 200 }}"),
        ("expect: {}", "expect: {response: {status: 200, json: {a: 1, b: [1, {c: x}]}}}"),
        ("expect:", "expect: {response: {status: 200, json: {a: 1, b: [1, {c: x}]}}}"),
        ("expect: {response: }  # all", "expect: {response: {status: 200, json: {a: 1, b: [1, {c: x}]}}}  # all"),
        ("expect: {response: {status: }}", "expect: {response: {status: 200}}"),
        ("expect: {response: {json: null}}", "expect: {response: {json: {a: 1, b: [1, {c: x}]}}}"),
        ("expect: {response: {json: {a: 0,  b: [1, {c: x}]}}}", "expect: {response: {json: {a: 1,  b: [1, {c: x}]}}}"),
        ("expect: {rules: {}}", "expect: {rules: {ran: [r], denied_by: null}}"),
        ("expect: {upstream: not called}", "expect: {upstream: not called}"),
        ("expect: {upstream: {}}", "expect: {upstream: {method: GET, path: /x}}"),
        ("expect: {upstream: {headers: {x-a: null, b: d}}}", 'expect: {upstream: {headers: {x-a: "1", b: c}}}'),
        ("expect: {upstream: {method: POST, path: '/y'}}", "expect: {upstream: {method: GET, path: /x}}"),
        (
            "expect:\n      response:\n        # body\n        json:\n          a: 2  # one\n          b: [1, {c: y}]",
            "expect:\n      response:\n        # body\n        json:\n          a: 1  # one\n          b: [1, {c: x}]",
        ),
        (
            "expect:\n      response:\n        json:\n          a: 1\n        absent: [q]",
            "expect:\n      response:\n        json:\n          {a: 1, b: [1, {c: x}]}\n        absent: [q]",
        ),
    ],
)  # fmt: skip
def test_what_came_is_written_where_something_is_expected(written: str, wanted: str) -> None:
    text, refused = updated(f"{REQUEST}    {written}\n")
    assert text == f"{REQUEST}    {wanted}\n"
    assert refused == []


def test_where_nothing_is_expected_nothing_is_written() -> None:
    assert updated(REQUEST) == (REQUEST, [])


def test_each_exchange_has_an_expectation_of_its_own() -> None:
    one = "{request: {path: /x}, upstream: {status: 201}, expect: {response: {status: 200}}}"
    other = "{request: {path: /y}, expect: {response: {status: 404}}}"
    text, refused = updated(f"  - {{name: a, exchanges: [{one}, {{together: [{other}]}}]}}\n")
    wanted = one.replace("{status: 200}", "{status: 201}"), other.replace("404", "200")
    assert text == f"  - {{name: a, exchanges: [{wanted[0]}, {{together: [{wanted[1]}]}}]}}\n"
    assert refused == []


def test_what_others_read_too_is_not_written() -> None:
    cases = (
        "  - {name: a, request: {path: /x}, expect: &e {response: {status: 404}}}\n"
        "  - {name: b, request: {path: /x}, upstream: {status: 404}, expect: *e}\n"
        "  - {name: c, request: {path: /x}, expect: {response: {status: &s 404}}}\n"
        "  - {name: d, request: {path: /x}, upstream: {status: *s}, expect: {response: {status: 404}}}\n"
        "  - {name: e, request: {path: /x}, upstream: {status: 201}, expect: *e}\n"
    )
    text, refused = updated(cases)
    assert text == cases
    assert len(refused) == 3


def test_an_answer_that_is_another_each_time_is_not_written() -> None:
    case = (
        "  - name: a\n    exchanges:\n      - request: {path: /x}\n        repeat: 2\n"
        "        upstream: [{status: 201}, {status: 202}]\n        expect: {response: {status: 200}}\n"
    )
    assert updated(case) == (case, ["it is another each time"])


def test_a_name_in_what_is_expected_is_left_to_its_author() -> None:
    head = HEAD.replace("cases:\n", "given: {secrets: {k: test-only}, tokens: {t: {secret: k}}}\ncases:\n")
    case = "  - {name: a, request: {path: /x}, upstream: {text: no}, expect: {response: {text: 'it is ${t}'}}}\n"
    text, refused = updated(case, head)
    assert text == case
    assert len(refused) == 1
