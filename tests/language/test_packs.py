"""Packs: the paths of their operations as rules and cases call them, and where their context values come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.language.cases import run_cases
from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.services.rehearsal import rehearse

PACK = """
name: shop
operations:
  slashed: {method: GET, path: "/users/{id}/"}
  plain: {method: GET, path: "/users/{id}"}
  root: {method: GET, path: /}
"""
CASES = """
packs: [shop]
rules:
  - name: calls
    match: {path: /call}
    before:
      - lookup: {operation: slashed, params: {id: u1}, into: slashed}
      - lookup: {operation: plain, params: {id: u1}, into: plain}
      - lookup: {operation: root, into: root}
  - name: names
    match: {path: /name}
    before: [{headers: {set: {x: "${url('slashed', {'id': 'u1'})} ${url('root', {})}"}}}]
  - {name: matches, match: {operation: slashed}, before: [{headers: {set: {x: "${operation.name}"}}}]}
given: {lookups: [{operation: slashed, text: a}, {operation: plain, text: b}, {operation: root, text: c}]}
cases:
  - name: a lookup
    request: {path: /call}
    expect: {lookups: [{url: /users/u1/}, {url: /users/u1}, {url: /}]}
  - {name: an address, request: {path: /name}, expect: {upstream: {headers: {x: /users/u1/ /}}}}
  - name: a request of a case
    request: {operation: slashed}
    expect: {upstream: {path: /users/x/, headers: {x: slashed}}}
  - {name: a match without it, request: {path: /users/x}, expect: {upstream: {path: /users/x, headers: {x: slashed}}}}
"""


def test_the_slash_at_the_end_of_a_path_is_written_wherever_the_operation_is_called() -> None:
    results = run_cases(
        Source("x.test.yaml", CASES),
        lambda _: None,
        lambda name: Source(str(Path(name) / "pack.yaml"), PACK),
        rehearse,
    )
    assert list(results.problems) == []
    assert [(outcome.name, outcome.findings) for outcome in results.outcomes if outcome.findings] == []
    assert len(results.outcomes) == 4


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{}", "a context value comes from one of"),
        ("{header: x-site, claim: site}", "a context value comes from one of"),
        ("{configuration: site, correlation: true}", "a context value comes from one of"),
        ("{configuration: site, type: int}", "what is sent as text has a `type`"),
        ("{correlation: true, type: int}", "what is sent as text has a `type`"),
    ],
)
def test_a_context_value_comes_from_one_place_that_says_its_type(value: str, words: str) -> None:
    pack = Source("shop/pack.yaml", f"name: shop\ncontext:\n  siteId: {value}\n")
    rules = Source("rules.yaml", "version: 1\npacks: [shop]\nrules: [{name: r, before: [{end: true}]}]\n")
    (problem,) = build([rules], Options(secrets=lambda _: None, packs=lambda _: pack)).problems
    assert words in problem.text
    assert (problem.source, problem.line) == ("shop/pack.yaml", 3)
