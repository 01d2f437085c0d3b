"""One layout for every file: the same whoever wrote it, and never another meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.language.cases.content import Expectation
from proxy.language.cases.model import Case, CaseFile, OneByOne, Together
from proxy.language.document import Source, load
from proxy.language.layout import canonical, comments_of, write_flow
from proxy.language.layout.canon import CASE, EXPECT, FILE, PLAY, RULE, TEST_FILE
from proxy.language.model import Model, Rule, RuleFile
from proxy.language.problems import Problems

PROJECT = Path(__file__).parents[3]
FILES = sorted([*(PROJECT / "rules").rglob("*.yaml"), *(PROJECT / "tests" / "cases").glob("*.yaml")])


def data(text: str) -> Any:
    problems = Problems()
    document = load(Source("x", text), problems)
    assert document is not None, (text, list(problems))
    assert not problems.errors, (text, list(problems))
    return document.data


def spelled(value: Any) -> Any:
    """Tell numbers apart by their type and their spelling."""
    if isinstance(value, dict):
        return {key: spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spelled(item) for item in value]
    return type(value), getattr(value, "source", value)


def laid_out(text: str) -> str:
    """Lay out a text, and hold it to the laws."""
    found = canonical(text)
    assert spelled(data(found)) == spelled(data(text))
    assert canonical(found) == found
    assert sorted(comments_of(found)) == sorted(comments_of(text))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT)))
def test_what_is_written_here_keeps_its_meaning(file: Path) -> None:
    laid_out(file.read_text("utf-8"))


# Files in which a line is a line: none holds a text of several.
PLAIN = [text for text in (file.read_text("utf-8") for file in FILES) if "|" not in text and ">" not in text]


@given(st.data())
def test_comments_may_stand_anywhere(drawn: st.DataObject) -> None:
    lines = drawn.draw(st.sampled_from(PLAIN)).splitlines()[:60]
    for number in range(drawn.draw(st.integers(1, 4))):
        at = drawn.draw(st.integers(0, len(lines) - 1))
        if drawn.draw(st.booleans()):
            lines.insert(at, " " * drawn.draw(st.integers(0, 10)) + f"# comment {number}")
        elif "#" not in lines[at]:
            lines[at] += f" # comment {number}"
        if drawn.draw(st.booleans()):
            lines.insert(at, "")
    text = "\n".join(lines) + "\n"
    problems = Problems()
    if load(Source("x", text), problems) is not None and not problems.errors:
        laid_out(text)


texts = st.text(max_size=12) | st.sampled_from(
    ["no", "1:30", "010", "~", "a: b", "a #b", "- a", "${a}", 'say "x"', "C:\\x", "a\nb\n", " a", "a ", "{a}", "a, b",
     "a:", "*a", "&a", "=", "<<", "---", "true", "1e5", "\x85", "\u2028", "\U0001f600", "", "'", '"', "?", "%a", "-a"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts.filter(str.isprintable), inner, max_size=4),
    max_leaves=12,
)


@given(values, st.booleans(), st.integers(20, 200))
def test_any_data_keeps_its_meaning(value: Any, flow: bool, width: int) -> None:
    wrapped = {"configuration": value, "rules": [{"name": "r", "before": [{"set": {"x": value}, "when": "true"}]}]}
    text = yaml.safe_dump(wrapped, default_flow_style=flow, width=width, allow_unicode=True, sort_keys=False)
    problems = Problems()
    document = load(Source("x", text), problems)
    if document is None or problems.errors:
        # What a file cannot hold is refused before anything is laid out.
        return
    laid_out(text)


@given(values)
def test_data_written_on_one_line_are_read_again(value: Any) -> None:
    text = f"x: {write_flow(value)}\n"
    assert "\n" not in text[:-1]
    assert data(text) == {"x": value}


@pytest.mark.parametrize(
    ("model", "order", "more"),
    [
        (RuleFile, FILE, ()),
        (Rule, RULE, ()),
        (CaseFile, TEST_FILE, ()),
        (Case, CASE, ()),
        (OneByOne, PLAY, ("together",)),
        (Together, ("wait", "together"), ()),
        (Expectation, EXPECT, ()),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_every_key_has_its_place(model: type[Model], order: tuple[str, ...], more: tuple[str, ...]) -> None:
    keys = {field.alias or name for name, field in model.model_fields.items()}
    assert {*keys, *more} == set(order)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("rules: []\nversion:   1\n", "version: 1\nrules: []\n"),
        (
            "rules:\n- before: [{end: true, when: 'false'}]\n  name: 'a'\n",
            'rules:\n  - name: a\n    before: [{when: "false", end: true}]\n',
        ),
        ("rules:\n-   # one\n  name: a # two\n", "rules:\n  # one\n  - name: a  # two\n"),
        ("# all\n\n\n\nrules: []\nversion: 1\n", "# all\n\nversion: 1\nrules: []\n"),
        ("configuration:\n    a: 1\n\n\n    # b\n    b: {c : 1,d: [2 , 3]}\n# end\n",
         "configuration:\n  a: 1\n\n  # b\n  b: {c: 1, d: [2, 3]}\n# end\n"),
        ("configuration: {a: 1, # one\n  b: 2}\n", "configuration:\n  a: 1  # one\n  b: 2\n"),
        ("configuration:\n  a:\n    - 1\n    # - 2\n  b: no\n",
         'configuration:\n  a:\n    - 1\n    # - 2\n  b: "no"\n'),
        ("configuration:\n  a: |  # text\n      x\n        y\n\n  b: >-\n    p\n    q\n",
         "configuration:\n  a: |  # text\n    x\n      y\n\n  b: >-\n    p\n    q\n"),
        ("configuration:\n  a: 'one\n      two'\n", "configuration:\n  a: 'one\n    two'\n"),
        ("configuration: &c\n    a: &d {x: 1}\n    b: *d\n", "configuration: &c\n  a: &d {x: 1}\n  b: *d\n"),
        ("configuration:\n- - 1\n  - 2\n- &a\n  b: 1\n", "configuration:\n  - - 1\n    - 2\n  - &a\n    b: 1\n"),
        ("configuration: {a: }\n", "configuration: {a: null}\n"),
        ("configuration:\n  a:   # nothing\n  b: ~\n", "configuration:\n  a:  # nothing\n  b: null\n"),
        ("%YAML 1.2\n---\nversion: 1\r\n", "version: 1\n"),
        ("configuration:\r\n  a: 'x: y'\r\n", 'configuration:\n  a: "x: y"\n'),
    ],
)  # fmt: skip
def test_there_is_one_way_to_write_it(written: str, wanted: str) -> None:
    assert laid_out(written) == wanted


def test_what_does_not_fit_a_line_is_written_out() -> None:
    members = ", ".join(f"a-long-key-{number}: {'v' * 20}" for number in range(4))
    found = laid_out(f"configuration: {{{members}}}\n")
    assert found.splitlines()[0] == "configuration:"
    assert len(found.splitlines()) == 5
