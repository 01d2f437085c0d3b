"""Which bodies a rule needs whole: all others pass through without being held."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.engine.ruleset import Rule
from proxy.language.compile import Options, build
from proxy.language.document import Source

SECRET = "test-only-test-only-test-only-test-only"
LOGIN = {"redirect": {"to": "/mfa", "token": {"secret": "${secret:mfa}", "subject": "jane"}}}
PROOF = {"verify_redirect_token": {"secret": "${secret:mfa}", "into": "mfa"}}


def compiled(**rule: Any) -> Rule:
    text = msgspec.json.encode({"version": 1, "rules": [{"name": "r", **rule}]}).decode()
    built = build([Source("r.yaml", text)], Options(secrets=lambda _: SECRET, packs=lambda _: None))
    assert built.ruleset is not None, list(built.problems)
    return built.ruleset.rules[0]


@pytest.mark.parametrize(
    ("rule", "request_body", "response_body"),
    [
        ({"before": [{"headers": {"set": {"x": "1"}}}]}, False, False),
        ({"before": [{"when": "has(request.body)", "end": True}]}, True, False),
        ({"before": [{"body": {"remove": ["a"]}}]}, True, False),
        ({"before": [{"once": {"key": "k", "ttl": "5s"}}]}, True, False),
        ({"before": [{"limit": {"key": "k", "failures": 5, "per": "5m"}}]}, False, False),
        ({"before": [{"limit": {"key": "k", "failures": 5, "per": "5m", "failed": "response.body.ok"}}]}, False, True),
        ({"after": [{"when": "response.status == 200 && request.body.a == 1", "end": True}]}, True, False),
        ({"after": [LOGIN]}, False, False),
        ({"after": [LOGIN], "continue": [PROOF]}, False, True),
        # In `continue` the request is the return, which is always at hand.
        ({"after": [LOGIN], "continue": [PROOF, {"set": {"a": "${request.body.a}"}}]}, False, True),
    ],
)
def test_a_rule_needs_the_bodies_that_it_reads_and_no_other(
    rule: dict[str, Any], request_body: bool, response_body: bool
) -> None:
    found = compiled(**rule)
    assert (found.needs_request, found.needs_response) == (request_body, response_body)
