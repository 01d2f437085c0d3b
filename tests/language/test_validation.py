"""What pydantic finds, in an author's words and where it stands."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from proxy.language.actions import ACTIONS
from proxy.language.document import Source, load
from proxy.language.model import Pack, Rule, RuleFile
from proxy.language.problems import CODES, Problem, Problems
from proxy.language.validation import explain_validation, salvage


def explained(model: type[BaseModel], text: str, base: tuple[str | int, ...] = ()) -> list[Problem]:
    problems = Problems()
    document = load(Source("f.yaml", text), problems)
    assert document is not None
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document.at(base))
    explain_validation(caught.value, model, document, base, problems)
    return list(problems)


def told(model: type[BaseModel], text: str) -> list[tuple[int, int, str, str]]:
    return [(one.line, one.column, one.code, one.text) for one in explained(model, text)]


@pytest.mark.parametrize(
    ("model", "text", "line", "column", "code", "words"),
    [
        (RuleFile, "version: 2", 1, 10, "wrong-value", "this must be 1"),
        (RuleFile, "version: 1\npacks: kibo", 2, 8, "wrong-type", "this must be a list"),
        (RuleFile, "version: 1\nrules: [5]", 2, 9, "wrong-type", "this must be a map"),
        (RuleFile, "version: 1\nrules:\n", 2, 7, "wrong-type", "this must be a list, and is empty"),
        (RuleFile, "text", 1, 1, "wrong-type", "this must be a map"),
        (RuleFile, "packs: []", 1, 1, "missing-key", "the key 'version' is missing"),
        (Rule, "name: x\nmatch: {client: 10.0.0.0/99}", 2, 17, "wrong-value", "not a network in CIDR form"),
        (Rule, "name: x\nmatch: {headers: {'a b': x}}", 2, 19, "wrong-value", "not a header name"),
        (Rule, "name: x\nmatch: {headers: {a: {present: maybe}}}", 2, 32, "wrong-type", "this must be true or false"),
        (Rule, "name: x\nmatch: {headers: {a: [b, {}]}}", 2, 26, "wrong-type", "this must be text"),
        (Rule, "name: x\nmatch: {path: [5]}", 2, 16, "wrong-type", "this must be text or a map"),
        (Rule, "name: x\nmatch: {path: 5}", 2, 15, "wrong-type", "this must be text or a map"),
        (Rule, "name: x\nmatch: {path: [a, {regex: 5}]}", 2, 27, "wrong-type", "this must be text"),
        (Rule, "name: x\nmatch: {status: [{}]}", 2, 18, "wrong-type", "this must be a whole number or text"),
        (Rule, "name: x\nfraction: 2", 2, 11, "wrong-value", "this must be at most 1"),
        (Rule, "name: x\nfraction: -1", 2, 11, "wrong-value", "this must be at least 0"),
        (Rule, "name: x\ntimeout: 5", 2, 10, "wrong-value", "a duration is a number and a unit"),
        (Rule, "name:", 1, 6, "wrong-type", "this must be text, and is empty"),
        (Pack, "name: k\noperations: {a: {method: GET}}", 2, 17, "missing-key", "the key 'path' is missing"),
    ],
)
def test_each_mistake_is_told_where_it_stands(
    model: type[BaseModel], text: str, line: int, column: int, code: str, words: str
) -> None:
    (problem,) = told(model, text)
    assert problem[:3] == (line, column, code)
    assert problem[3].startswith(words)


@pytest.mark.parametrize(
    ("model", "text", "line", "column", "suggestion"),
    [
        (Rule, "nmae: x", 1, 1, "name"),
        (Rule, "name: x\nmatch: {pth: /}", 2, 9, "path"),
        (Rule, "name: x\nmode: shadwo", 2, 7, "shadow"),
        (Rule, "name: x\nmatch: {origin: upstrem}", 2, 17, "upstream"),
        (Rule, "name: x\nmatch: {path: {regx: a}}", 2, 16, "regex"),
        (Rule, "name: x\nmatch: {path: [{regx: a}]}", 2, 17, "regex"),
        (Rule, "name: x\nmatch: {headers: {a: {presnt: true}}}", 2, 23, "present"),
        (Rule, "name: x\nbefroe: []", 2, 1, "before"),
        (Rule, "name: x\ncontinu: []", 2, 1, "continue"),
    ],
)
def test_a_misspelt_word_is_told_once_with_the_one_that_was_meant(
    model: type[BaseModel], text: str, line: int, column: int, suggestion: str
) -> None:
    (problem,) = explained(model, text)
    assert (problem.line, problem.column, problem.suggestion) == (line, column, suggestion)


def test_an_unknown_key_that_is_close_to_none_is_told_with_those_there_are() -> None:
    (problem,) = explained(Rule, "name: x\nmatch: {path: {regex: a, zzz: 1}}")
    assert problem.code == "unknown-key"
    assert problem.text == "there is no key 'zzz' here; there is regex"
    assert problem.suggestion is None


def test_all_mistakes_are_told_at_once() -> None:
    text = "nme: x\nmode: shdow\nfraction: 5\nmatch: {methd: GET, host: 'a:80'}\nafter: {}\n"
    assert [(line, code) for line, _, code, _ in told(Rule, text)] == [
        (1, "unknown-key"),
        (2, "wrong-value"),
        (3, "wrong-value"),
        (4, "unknown-key"),
        (4, "wrong-value"),
        (5, "wrong-type"),
    ]


def test_places_are_those_of_the_file_when_a_part_is_validated() -> None:
    (problem,) = explained(Rule, "version: 1\nrules:\n  - name: x\n    mode: of\n", ("rules", 0))
    assert (problem.line, problem.column, problem.suggestion) == (4, 11, "off")


WRONG: dict[str, Any] = {
    "a map": {"zzz": {"zzz": 1}},
    "a list": [[["x"]]],
    "a number": 5,
    "nothing": None,
    "a text": "",
}


@pytest.mark.parametrize("action", list(ACTIONS))
@pytest.mark.parametrize("given", list(WRONG))
def test_no_action_speaks_in_the_words_of_its_parser(action: str, given: str) -> None:
    model, value = ACTIONS[action], WRONG[given]
    problems = Problems()
    document = load(Source("f.yaml", f"act: {json.dumps(value)}"), problems)
    assert document is not None
    try:
        model.model_validate(document.at(("act",)))
    except ValidationError as error:
        explain_validation(error, model, document, ("act",), problems)
        assert len(problems) > 0
    for problem in problems:
        assert problem.code in CODES
        assert not re.search(r"[Ii]nput|validation|dict|pydantic|_type|parsing|instance", problem.text), problem.text
        assert (problem.line, problem.column) >= (1, 1)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("name: x\nmode: shdow\nfraction: 0.5", {"name": "x", "fraction": 0.5}),
        ("nme: x\nbefore: [{end: true}]", {"name": "stand-in", "before": [{"end": True}]}),
        ("name: x\nmatch: {pth: /, method: GET}", {"name": "x", "match": {"method": ["GET"]}}),
        ("name: x\nmatch: 5\nbefore: [5, {}]", {"name": "x"}),
        ("name: x\nmatch: {headers: {a: {regx: b}, c: d}}", {"name": "x", "match": {"headers": {"c": "d"}}}),
    ],
)
def test_what_is_right_in_a_rule_is_kept(text: str, kept: dict[str, Any]) -> None:
    document = load(Source("f.yaml", text), Problems())
    assert document is not None
    with pytest.raises(ValidationError) as caught:
        Rule.model_validate(document.data)
    found = salvage(caught.value, Rule, document.data, {"name": "stand-in"})
    assert found is not None
    assert found.model_dump(exclude_defaults=True) == kept


def test_of_what_is_no_map_nothing_is_kept() -> None:
    with pytest.raises(ValidationError) as caught:
        Rule.model_validate([])
    assert salvage(caught.value, Rule, [], {"name": "stand-in"}) is None
