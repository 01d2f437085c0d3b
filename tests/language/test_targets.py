"""What cannot run where another proxy asks for the rules is told with its place and the reason."""

from __future__ import annotations

import pytest

from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.language.problems import Problem
from proxy.language.targets import TARGETS

LOGIN = """\
version: 1
rules:
  - name: login
    match: {path: /login}
    before:
      - when: request.body.user == 'x'
        deny: {reason: no}
      - body: {set: {site: a}}
      - path: {to: /v2/login}
      - limit: {key: a, failures: 3, per: 5m}
      - response_headers: {set: {x-a: b}}
    after:
      - status: {code: 201, reason: Made}
  - name: own-errors
    match: {origin: [rule, proxy]}
    after:
      - headers: {set: {x-own: a}}
"""


def problems(text: str, *targets: str) -> list[Problem]:
    built = build([Source("a.yaml", text)], Options(secrets=lambda _: None, packs=lambda _: None, targets=targets))
    assert (built.ruleset is None) == bool(built.problems.errors)
    return built.problems.errors


def test_the_proxy_itself_runs_every_rule() -> None:
    assert problems(LOGIN) == []


def test_only_a_reason_phrase_is_too_much_for_external_processing() -> None:
    (only,) = problems(LOGIN, "ext_proc")
    assert (only.code, only.line) == ("not-on-target", 13)
    assert only.text == "Envoy's external processing cannot run this: its answers have no reason phrase"


def test_external_authorization_neither_sees_the_answer_nor_edits_a_body() -> None:
    found = problems(LOGIN, "ext_authz")
    # The rule for answers that are made here stands.
    assert [problem.line for problem in found] == [8, 10, 11, 12, 13]
    assert all(problem.text.startswith("Envoy's external authorization cannot run this: ") for problem in found)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_said_of_a_target_holds_at_any_place_of_the_rules(target: str) -> None:
    twice = LOGIN + LOGIN.partition("rules:\n")[2].replace("name: login", "name: again").replace("own-", "other-")
    assert len(problems(twice, target)) == 2 * len(problems(LOGIN, target))
