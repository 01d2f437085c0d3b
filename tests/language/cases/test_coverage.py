"""Coverage: what a case reaches of a rule counts, and nothing else does."""

from __future__ import annotations

import pytest

from proxy.language.cases import Coverage, run_cases
from proxy.language.document import Source
from proxy.services.rehearsal import rehearse

RULES = """\
version: 1
rules:
  - name: narrow
    match: {path: /here, status: 200}
    after:
      - when: |-
          response.body.a == 1
          && (response.body.b == 2 || !(has(response.body.c) && response.body.c))
        deny: {reason: no}
      - headers: {set: {x-a: "1"}}
  - name: fails
    on_error: continue
    match: {method: PUT}
    before:
      - headers: {set: {x-a: "${string(1 / (now.getFullYear() - 2026))}"}}
"""


def missed(*cases: str) -> list[str]:
    """Give what cases do not reach, by rule."""
    coverage = Coverage()
    text = "rules: [r.yaml]\ncases:\n" + "".join(f"  - {{name: a, {case}}}\n" for case in cases)
    results = run_cases(
        Source("x.test.yaml", text), lambda _: Source("r.yaml", RULES), lambda _: None, rehearse, coverage
    )
    assert not list(results.problems)
    return [f"{branch.line}: {branch.text}" for branch, reached in coverage.reached.items() if not reached]


HERE = "request: {path: /here}, upstream: {json: {a: 1, b: 2}}"


def test_a_rule_that_is_chosen_is_run_by_one_case_and_left_out_by_another() -> None:
    assert "3: the rule never ran" in missed("request: {path: /elsewhere}")
    assert "4: its `match` turned no exchange down" in missed(HERE)
    both = missed(HERE, "request: {path: /elsewhere}")
    assert not any(line.startswith(("3:", "4:")) for line in both)


def test_an_answer_of_another_status_is_turned_down_too() -> None:
    both = missed(HERE, "request: {path: /here}, upstream: {status: 404}")
    assert "4: its `match` turned no exchange down" not in both


def test_each_term_counts_both_ways_and_only_when_it_was_asked() -> None:
    assert [line for line in missed(HERE) if line.startswith(("6", "7", "8", "10"))] == [
        "6: the `when` of after[0].deny was never false",
        "7: `response.body.a == 1` was never false",
        "8: `response.body.b == 2` was never false",
        "8: `has(response.body.c)` was never true",
        "8: `has(response.body.c)` was never false",
        "8: `response.body.c` was never true",
        "8: `response.body.c` was never false",
        "10: after[1].headers never ran",
    ]


def test_all_ways_through_a_condition_leave_nothing() -> None:
    bodies = ("a: 0", "a: 1, b: 2", "a: 1, b: 3", "a: 1, b: 3, c: true", "a: 1, b: 3, c: false")
    left = missed(*(f"request: {{path: /here}}, upstream: {{json: {{{body}}}}}" for body in bodies))
    assert [line for line in left if line.startswith(("6", "7", "8", "10"))] == []


def test_on_error_is_taken_where_the_rule_was_left_out_for_it() -> None:
    step = "12: `on_error` was never taken"
    assert step in missed("request: {method: GET, path: /x}")
    put = "request: {method: PUT, path: /x}"
    assert step not in missed(put)


@pytest.mark.parametrize("path", ["/x/..//here", "/here\\x"])
def test_a_request_that_is_refused_before_the_rules_reaches_nothing(path: str) -> None:
    refused = missed(f"request: {{path: {path!r}}}, expect: {{response: {{status: 400}}}}")
    assert "3: the rule never ran" in refused
    assert "4: its `match` turned no exchange down" in refused
