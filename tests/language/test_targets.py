"""What cannot run where another proxy asks for the rules is told with its place and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.language.problems import Problem
from proxy.language.targets import TARGETS, Target

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


def _can(target: Target, row: str) -> bool:
    rows = {
        "read a request's head": True,
        "read its body": target.bodies,
        "edit its path": {"path", "query", "method"} <= target.edits,
        "edit its body": "body" in target.edits,
        "see the answer": target.answers,
        "read or write a reason": target.reasons,
        "answer with a status": not target.passes,
        "drop headers by a pattern": not target.named,
    }
    return next(can for begin, can in rows.items() if row.startswith(begin))


def test_the_page_says_of_every_target_what_rules_can_do_there() -> None:
    page = Path(__file__).resolve().parents[2].joinpath("deploy", "README.md").read_text("utf-8")
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.partition("\n## Where rules run\n")[2].partition("\n##")[0].splitlines()
        if line.startswith("|")
    ]
    names = [name.strip("`") for name in head[2:]]
    assert sorted(names) == sorted(TARGETS)
    said = {(row[0], name): cell == "yes" for row in rows for name, cell in zip(names, row[2:], strict=True)}
    assert said == {(row, name): _can(TARGETS[name], row) for row, name in said}
    assert len(rows) == 8
