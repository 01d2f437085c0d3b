"""JSON Patch and JSON Merge Patch, by the public vectors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.engine.errors import EvaluationError
from proxy.engine.json_body import JsonBody
from proxy.language.patch import Operation, apply_merge, apply_patch, same
from proxy.language.paths import PathError, parse_pointer
from tests.corpora import load, needs_corpora

PATCHES = [
    case
    for name in ("tests.json", "spec_tests.json")
    for case in load(f"json-patch-tests/{name}")
    if not case.get("disabled")
]
MERGES = load("merge-patch-and-pointer/rfc7396.json")


def body(value: Any) -> JsonBody:
    return JsonBody(json.dumps(value).encode(), "request", 64)


def patched(document: Any, patch: list[dict[str, Any]]) -> Any:
    target = body(document)
    ready = []
    for data in patch:
        operation = Operation.model_validate(data)
        source = parse_pointer(operation.from_ or "")
        ready.append((operation.op, parse_pointer(operation.path), source, operation.value))
    try:
        apply_patch(target, ready)
    except EvaluationError:
        assert json.loads(target.dump()) == document
        raise
    return json.loads(target.dump())


@needs_corpora
@pytest.mark.parametrize("case", PATCHES, ids=lambda case: case.get("comment") or json.dumps(case["patch"])[:60])
def test_a_patch_does_what_the_vectors_say(case: dict[str, Any]) -> None:
    document = case["doc"]
    if "error" in case:
        with pytest.raises((EvaluationError, PathError, ValueError)):
            patched(document, case["patch"])
    elif not isinstance(document, dict | list) and case["patch"] and case["patch"][0]["path"]:
        with pytest.raises(EvaluationError):
            patched(document, case["patch"])
    else:
        assert same(
            patched(document, case["patch"]), case.get("expected", document if not case["patch"] else None)
        ) or ("expected" not in case)


@needs_corpora
@pytest.mark.parametrize("case", MERGES, ids=lambda case: json.dumps(case["patch"]))
def test_a_merge_does_what_rfc_7396_says(case: dict[str, Any]) -> None:
    target = body(case["document"])
    apply_merge(target, case["patch"])
    assert same(json.loads(target.dump()), case["result"])


def test_a_patch_that_fails_half_way_leaves_the_body_as_it_was() -> None:
    text = b'{"a": 1.0,  "b":[ 1 ]}'
    target = JsonBody(text, "request", 64)
    with pytest.raises(EvaluationError):
        apply_patch(target, [("remove", ("a",), (), None), ("remove", ("c",), (), None)])
    assert target.dump() == text
    assert not target.edited


def test_a_moved_value_keeps_its_bytes() -> None:
    target = JsonBody(b'{"a":{ "n" : 1.0 },"b":[]}', "request", 64)
    apply_patch(target, [("move", ("b", "-"), ("a",), None)])
    assert target.dump() == b'{"b":[{ "n" : 1.0 }]}'


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), ([1], [True]), ({"a": 0}, {"a": False}), ("1", 1)])
def test_values_of_different_kinds_are_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other)


def test_numbers_are_the_same_by_value() -> None:
    assert same({"a": [1, 1e2]}, {"a": [1.0, 100]})
