"""YAML texts to data with places: what is read, what is refused, and how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.language import document as module
from proxy.language.document import ALIASED, DEPTH, NODES, SIZE, Document, Int, Source, load, plain
from proxy.language.problems import CODES, Mark, Problems

LOADERS = [pytest.param(yaml.SafeLoader, id="pure")]
if hasattr(yaml, "CSafeLoader"):
    LOADERS.append(pytest.param(yaml.CSafeLoader, id="c"))


@pytest.fixture(params=LOADERS, autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read every text with both loaders: the C one may be missing."""
    monkeypatch.setattr(module, "_LOADER", request.param)


def read(text: str) -> Document:
    problems = Problems()
    found = load(Source("rules.yaml", text), problems)
    assert list(problems) == []
    assert found is not None
    return found


def refused(text: str) -> list[tuple[str, int, int]]:
    """Give code, line and column of every problem; their codes must be known."""
    problems = Problems()
    load(Source("rules.yaml", text), problems)
    assert all(problem.code in CODES and problem.source == "rules.yaml" for problem in problems)
    return [(problem.code, problem.line, problem.column) for problem in problems]


@pytest.mark.parametrize(
    "written", ["on", "no", "yes", "off", "y", "1:30", "2026-01-01", "12:30:00", "1_000", "0b1", "=", "1.2.3", "0o8"]
)
def test_words_of_older_yaml_stay_text(written: str) -> None:
    assert read(f"a: {written}").data == {"a": written}


@pytest.mark.parametrize(
    ("written", "value"),
    [("010", 10), ("0o17", 15), ("0x1F", 31), ("-7", -7), ("+3", 3), ("1.10", 1.1), (".5", 0.5), ("1e3", 1000.0)],
)
def test_a_number_keeps_its_own_spelling(written: str, value: float) -> None:
    found = read(f"a: {written}").data["a"]
    assert found == value
    assert found.source == written


@pytest.mark.parametrize("written", ["null", "~", "Null", "NULL", ""])
def test_null_is_written_in_five_ways(written: str) -> None:
    assert read(f"a: {written}\nb: 1").data["a"] is None


@pytest.mark.parametrize("written", ["true", "True", "TRUE", "false", "False", "FALSE"])
def test_true_and_false_are_booleans(written: str) -> None:
    assert read(f"a: {written}").data["a"] is (written.lower() == "true")


@pytest.mark.parametrize("quoted", ["'1'", '"true"', "'null'", "''", "|-\n  1"])
def test_what_is_quoted_is_text(quoted: str) -> None:
    assert isinstance(read(f"a: {quoted}").data["a"], str)


def test_a_number_of_any_length_is_kept_whole() -> None:
    assert read("a: 123456789012345678901234567890").data["a"] == 123456789012345678901234567890


def test_plain_gives_ordinary_numbers() -> None:
    data = plain(read("a: [010, 1.5, true, x, {b: 0x10}]").data)
    assert data == {"a": [10, 1.5, True, "x", {"b": 16}]}
    assert [type(item) for item in data["a"][:2]] == [int, float]


def test_every_value_and_key_has_its_place() -> None:
    found = read("a: 1\nbc:\n  - x\n  - de: [f, 'g']\n")
    assert found.mark(("a",)) == Mark(1, 4, 5)
    assert found.mark(("bc",), key=True) == Mark(2, 1, 3)
    assert found.mark(("bc", 0)) == Mark(3, 5, 6)
    assert found.mark(("bc", 1, "de"), key=True) == Mark(4, 5, 7)
    assert found.mark(("bc", 1, "de", 1)) == Mark(4, 13, 16)


def test_a_place_that_is_not_there_is_its_nearest_parents() -> None:
    found = read("a: {b: 1}")
    assert found.mark(("a", "b", "c", 0)) == found.mark(("a", "b"))
    assert found.mark(("x",), key=True) == found.mark(())


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: x == wrong", 1, 9),
        ("a: 'x == wrong'", 1, 10),
        ('a: "x == wrong"', 1, 10),
        ('a: "x\\t== wrong"', 1, 11),
        ("a: 'it''s == wrong'", 1, 14),
        ("a: |\n  x == y &&\n  z == wrong\n", 3, 8),
        ("a: |2-\n    x\n  wrong\n", 3, 3),
        ("a: >-\n  x ==\n  wrong\n", 3, 3),
        ("a: x ==\n  wrong", 2, 3),
        ("a: é😀 == wrong", 1, 10),
        ("b: 1\r\na: x == wrong\r\n", 2, 9),
    ],
)
def test_a_place_inside_a_text_is_found_as_it_was_written(text: str, line: int, column: int) -> None:
    found = read(text)
    offset = found.data["a"].index("wrong")
    assert found.within(("a",), offset, 5) == Mark(line, column, column + 5)


def test_a_place_that_escapes_have_moved_is_the_whole_text() -> None:
    found = read(r'a: "\x78 \x78"')
    assert found.data == {"a": "x x"}
    assert found.within(("a",), 2, 1) == found.mark(("a",))


def test_a_place_inside_what_is_no_text_is_its_own() -> None:
    found = read("a: 12")
    assert found.within(("a",), 1, 1) == found.mark(("a",))
    assert found.within(("b",), 1, 1) == found.mark(())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ("empty", 1, 1)),
        ("# nothing\n", ("empty", 1, 1)),
        ("--- ~\n", ("empty", 1, 5)),
        ("a: !!str x", ("yaml-feature", 1, 4)),
        ("a: !x 1", ("yaml-feature", 1, 4)),
        ("a: !!python/object/apply:os.system [ls]", ("yaml-feature", 1, 4)),
        ("%YAML 1.1\n---\na: 1", ("yaml-feature", 1, 1)),
        ("%TAG ! tag:x,2026:\n---\na: 1", ("yaml-feature", 1, 1)),
        ("a: 1\n---\nb: 2", ("yaml-feature", 2, 1)),
        ("base: &b {deny: {}}\nrule:\n  <<: *b", ("yaml-feature", 3, 3)),
        ("a: 1\nb: 2\na: 3", ("duplicate-key", 3, 1)),
        ("a: 1\n'a': 3", ("duplicate-key", 2, 1)),
        ('a: 1\n"\\x61": 3', ("duplicate-key", 2, 1)),
        ("1: a", ("wrong-key", 1, 1)),
        ("true: a", ("wrong-key", 1, 1)),
        ("? [a]\n: b", ("wrong-key", 1, 3)),
        ('"a\\0": b', ("wrong-key", 1, 1)),
        ("a: *b", ("alias", 1, 4)),
        ("a: &b [1, *b]", ("alias", 1, 11)),
        ("&a b: {c: &a [*a]}", ("alias", 1, 15)),
        ("a: .inf", ("wrong-value", 1, 4)),
        ("a: .NaN", ("wrong-value", 1, 4)),
        ("a: 1e999", ("wrong-value", 1, 4)),
        ("a: " + "9" * 5000, ("wrong-value", 1, 4)),
        ("a:\n\t- b", ("syntax", 2, 1)),
        ("a: b: c", ("syntax", 1, 5)),
        ("a: 'b\nc: d", ("syntax", 1, 4)),
        ("a: @b", ("syntax", 1, 4)),
        ("a: `b", ("syntax", 1, 4)),
        ("a: \x07", ("syntax", 1, 4)),
        ("a: b\x85", ("syntax", 1, 5)),
        ("\ufeffa: b", ("syntax", 1, 1)),
        ("a: \ud800", ("syntax", 1, 4)),
        ("\x00", ("syntax", 1, 1)),
    ],
)
def test_what_rule_files_do_not_use_is_refused_where_it_stands(text: str, problem: tuple[str, int, int]) -> None:
    assert refused(text) == [problem]


def test_half_a_surrogate_pair_is_refused() -> None:
    assert [code for code, *_ in refused('a: "\\ud83d\\ude00"')] == ["syntax"]


def test_yaml_1_2_may_be_said() -> None:
    assert read("%YAML 1.2\n---\na: 1\n...\n").data == {"a": 1}


def test_reading_goes_on_after_what_can_be_passed_over() -> None:
    text = "a: 1\na: {x: 1, x: 2}\n1: {y: 1, y: 2}\n<<: {}\nb: !t 1\nc: .nan\nd: *e\nf: 5\n"
    assert refused(text) == [
        ("duplicate-key", 2, 1),
        ("duplicate-key", 2, 11),
        ("wrong-key", 3, 1),
        ("duplicate-key", 3, 11),
        ("yaml-feature", 4, 1),
        ("yaml-feature", 5, 4),
        ("wrong-value", 6, 4),
        ("alias", 7, 4),
    ]


def test_the_first_of_two_keys_is_kept() -> None:
    found = load(Source("rules.yaml", "a: 1\na: {b: 2}\nc: 3\nc:\nd: {e: 1}\nd: {e: 2}"), Problems())
    assert found is not None
    assert found.data == {"a": 1, "c": 3, "d": {"e": 1}}
    assert found.mark(("d", "e")) == Mark(5, 8, 9)
    assert found.mark(("d", "e"), key=True) == Mark(5, 5, 6)


def test_an_alias_stands_for_what_it_names() -> None:
    found = read("a: &one [1, {b: 2}]\nc: *one\n")
    assert found.data == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}
    assert found.mark(("c", 1, "b")) == found.mark(("c",)) == Mark(2, 4, 8)


def test_aliases_cannot_multiply_a_file() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert refused("\n".join(rows)) == [("alias", 4, 45)]


def test_as_many_aliased_values_as_the_limit_are_taken() -> None:
    enough = ", ".join(["*x"] * ALIASED)
    assert len(read(f"a: &x 1\nb: [{enough}]").data["b"]) == ALIASED
    assert [code for code, *_ in refused(f"a: &x 1\nb: [{enough}, *x]")] == ["alias"]


def test_aliases_cannot_deepen_a_file() -> None:
    deep = "[" * (DEPTH - 2)
    text = f"a: &a {deep}{deep.replace('[', ']')}\nb: [[*a]]"
    assert [code for code, *_ in refused(text)] == ["too-deep"]


def test_a_file_is_nested_no_deeper_than_the_limit() -> None:
    read("[" * DEPTH + "]" * DEPTH)
    assert refused("[" * (DEPTH + 1) + "]" * (DEPTH + 1)) == [("too-deep", 1, DEPTH + 1)]


def test_a_file_is_no_larger_than_the_limit() -> None:
    assert refused("#" * (SIZE + 1)) == [("too-large", 1, 1)]
    assert refused("a: 1\n".ljust(SIZE, "#")[:SIZE].replace("\n##", "\n #", 1)) == []


def test_a_file_has_no_more_values_than_the_limit() -> None:
    assert [code for code, *_ in refused("[" + "a," * NODES + "]")] == ["too-large"]


@pytest.mark.parametrize("bomb", ["[", "{", "- ", "{a: ", "[[],", "? "])
def test_a_bomb_of_nesting_is_refused_at_once_and_does_not_crash(bomb: str) -> None:
    """In a process of its own: a parser that recurses would take the tests with it."""
    code = (
        "import sys, yaml\n"
        "from proxy.language import document\n"
        "from proxy.language.problems import Problems\n"
        f"document._LOADER = yaml.{module._LOADER.__name__}\n"
        "problems = Problems()\n"
        f"assert document.load(document.Source('x', {bomb!r} * 200_000), problems) is None\n"
        "print([problem.code for problem in problems])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("['too-deep']", "['syntax']", "['wrong-key', 'too-deep']")


# What neither needs an escape: JSON leaves some characters bare that YAML does not.
CHARACTERS = st.characters(
    codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"], exclude_characters="\ufeff\ufffe\uffff"
)
SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARACTERS, max_size=8)
)
KEYS = st.text(CHARACTERS, max_size=8)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(TREES.filter(lambda tree: tree is not None))
def test_json_is_read_as_json_reads_it(tree: Any) -> None:
    text = json.dumps(tree, ensure_ascii=False)
    assert plain(read(text).data) == json.loads(text)


@given(st.text(st.sampled_from("a:-[]{}&*!|>'\"%@#,?<\n\t 01~\\"), max_size=40))
def test_any_text_is_read_or_refused_with_a_place_in_it(text: str) -> None:
    problems = Problems()
    found = load(Source("rules.yaml", text), problems)
    lines = text.split("\n")
    assert found is not None or problems.errors
    for problem in problems:
        assert 1 <= problem.line <= len(lines) + 1
        assert 1 <= problem.column < problem.end


def test_a_literal_that_python_takes_for_a_number_is_text() -> None:
    assert read("a: ١٢").data == {"a": "١٢"}
    assert not isinstance(read("a: 1_0").data["a"], Int)
