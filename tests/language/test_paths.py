"""Field paths and JSON Pointers, by the public vectors and by tables of our own."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from proxy.engine.errors import EvaluationError
from proxy.engine.json_body import JsonBody
from proxy.language.paths import PathError, parse, parse_pointer, resolve
from tests.corpora import load, needs_corpora


def body(value: Any) -> JsonBody:
    return JsonBody(json.dumps(value).encode(), "request", 64)


CASES = load("jsonpath-cts/cts.json")
CASES = CASES["tests"] if CASES else []
# What the language leaves out on purpose: filters, slices, functions, several selectors, and the path `$` alone.
OUT_OF_SCOPE = re.compile(r"[?,:]|^\$$")


def ours(selector: str) -> str:
    """Write a JSONPath as a field path: without `$` and the single dot after it."""
    rest = selector[1:].lstrip(" \t\n\r")
    return rest[1:] if rest.startswith(".") and not rest.startswith("..") else rest


def in_scope(case: dict[str, Any]) -> bool:
    selector = case["selector"]
    quoted = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "", selector)
    return selector.startswith("$") and not OUT_OF_SCOPE.search(quoted)


VALID = [case for case in CASES if in_scope(case) and not case.get("invalid_selector")]
INVALID = [case for case in CASES if in_scope(case) and case.get("invalid_selector")]


@needs_corpora
def test_the_vectors_in_scope_are_as_many_as_we_think() -> None:
    assert (len(VALID), len(INVALID)) == (90, 119)


@needs_corpora
@pytest.mark.parametrize("case", VALID, ids=lambda case: case["name"])
def test_a_path_finds_what_the_jsonpath_vectors_say(case: dict[str, Any]) -> None:
    document = case["document"]
    if not isinstance(document, dict | list):
        with pytest.raises(EvaluationError):
            parse(ours(case["selector"])).locate(body(document))
        return
    target = body(document)
    found = [target.plain(target.locate(place)) for place in parse(ours(case["selector"])).locate(target)]
    assert found in case.get("results", [case.get("result")])


@needs_corpora
@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["name"])
def test_a_path_that_the_jsonpath_vectors_refuse_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(PathError):
        parse(ours(case["selector"]))


POINTERS = load("merge-patch-and-pointer/rfc6901.json") or {"pointers": [], "rules": [], "document": None}


@needs_corpora
@pytest.mark.parametrize("case", POINTERS["pointers"], ids=lambda case: repr(case["pointer"]))
def test_a_pointer_finds_what_rfc_6901_says(case: dict[str, Any]) -> None:
    target = body(POINTERS["document"])
    assert target.get(resolve(target, parse_pointer(case["pointer"]))) == case["value"]


@needs_corpora
@pytest.mark.parametrize("case", POINTERS["rules"], ids=lambda case: repr(case["pointer"]))
def test_a_pointer_keeps_to_the_rules_of_rfc_6901(case: dict[str, Any]) -> None:
    target = body(POINTERS["rules_document"])
    if "error" in case:
        with pytest.raises((PathError, EvaluationError)):
            resolve(target, parse_pointer(case["pointer"]))
    else:
        assert target.get(resolve(target, parse_pointer(case["pointer"]))) == case["value"]


DOCUMENT = {"a": {"b": [{"c": 1}, {"c": 2}, {}]}, "odd.name": {"c": 3}, "x": None, "": 4}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.b[0].c", [1]),
        ("a.b[*].c", [1, 2]),
        ("a.b[-1]", [{}]),
        ("a.b[9]", []),
        ("['odd.name'].c", [3]),
        ('["odd.name"]["c"]', [3]),
        ("..c", [3, 1, 2]),
        ("a..c", [1, 2]),
        ("x", [None]),
        ("x.y", []),
        ("['']", [4]),
        ("a.*", [[{"c": 1}, {"c": 2}, {}]]),
        ("a.b.c", []),
    ],
)
def test_a_path_finds_what_it_names(text: str, found: list[Any]) -> None:
    target = body(DOCUMENT)
    values = [target.get(place) for place in parse(text).locate(target)]
    assert sorted(values, key=repr) == sorted(found, key=repr)


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("", 0, "empty"),
        ("$.a", 0, "leave out"),
        ("a[?@.b]", 2, "filters"),
        ("a[0:2]", 3, "slices"),
        ("a[:2]", 2, "slices"),
        ("a['b','c']", 5, "one selector"),
        ("a.", 1, "a name was expected"),
        ("a b", 1, "a dot or a bracket"),
        ("a[01]", 3, "closing bracket"),
        ("a['b]", 4, "closing quote"),
        ("1a", 0, "a name was expected"),
    ],
)
def test_a_path_that_cannot_be_read_says_where_and_why(text: str, offset: int, words: str) -> None:
    with pytest.raises(PathError) as refused:
        parse(text)
    assert (refused.value.offset, words in refused.value.text) == (offset, True)
