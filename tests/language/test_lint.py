"""Warnings that must not be there: a case of a test file can only expect one that is."""

from __future__ import annotations

import pytest

from proxy.language.compile import Options, build
from proxy.language.document import Source


def warnings_of(rules: str) -> list[str]:
    built = build(
        [Source("rules.yaml", f"version: 1\nrules:\n{rules}")],
        Options(secrets=lambda _: None, packs=lambda _: None),
    )
    assert not built.problems.errors
    return [problem.code for problem in built.problems]


@pytest.mark.parametrize("pattern", ["^a$", "^a$|^b$", "^(a|b)$", "^[|]$", r"^\|$", r"\Aa\z", "(?i)^a$", "^$", r"^\\$"])
def test_an_anchored_pattern_has_no_warning(pattern: str) -> None:
    assert (
        warnings_of(f"- {{name: r, before: [{{when: \"request.path.matches(r'{_quoted(pattern)}')\", end: true}}]}}\n")
        == []
    )


@pytest.mark.parametrize("pattern", ["a", "^a", "a$", "^a|b$", "^a$|b", r"^a\$", r"^a|\|b$", "(^a$)|b"])
def test_a_pattern_that_lets_a_longer_text_through_has_one(pattern: str) -> None:
    assert "unanchored-pattern" in warnings_of(
        f"- {{name: r, before: [{{when: \"request.path.matches(r'{_quoted(pattern)}')\", end: true}}]}}\n"
    )


def _quoted(pattern: str) -> str:
    return pattern.replace("\\", "\\\\")


@pytest.mark.parametrize(
    "rules",
    [
        "- {name: r, after: [{respond: {}}]}\n- {name: s, match: {origin: rule}, after: [{headers: {remove: [x]}}]}\n",
        "- {name: r, match: {status: 401}, after: [{deny: {}}]}\n- {name: s, after: [{headers: {remove: [x]}}]}\n",
        "- {name: r, mode: shadow, before: [{deny: {}}]}\n- {name: s, before: [{headers: {remove: [x]}}]}\n",
        "- {name: r, before: [{when: request.secure, deny: {}}]}\n- {name: s, before: [{headers: {remove: [x]}}]}\n",
    ],
)
def test_a_rule_that_can_be_reached_has_no_warning(rules: str) -> None:
    assert warnings_of(rules) == []


def test_a_denial_for_another_reason_than_a_claim_has_no_warning() -> None:
    steps = "{when: request.secure, deny: {reason: '${jwt(request.query.t).claims.sub}'}}"
    assert warnings_of(f"- {{name: r, before: [{steps}]}}\n") == []
