"""How problems are kept and shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import proxy
from proxy.language.problems import CODES, Mark, Problem, Problems, nearest, render


def problem(
    line: int = 1,
    column: int = 1,
    end: int = 2,
    *,
    text: str = "there is no key 'x'",
    source: str = "f.yaml",
    suggestion: str | None = None,
) -> Problem:
    return Problem(source, line, column, end, "error", "unknown-key", text, suggestion)


def test_a_problem_is_shown_as_compilers_do() -> None:
    shown = render(problem(2, 3, 9, suggestion="status"), "deny:\n  statsu: 403\n")
    assert shown.split("\n") == [
        "f.yaml:2:3: error[unknown-key]: there is no key 'x'",
        " 2 |   statsu: 403",
        "   |   ^^^^^^",
        "   help: did you mean 'status'?",
    ]


def test_a_warning_says_so_and_a_problem_without_a_text_has_no_line() -> None:
    warning = Problem("f.yaml", 7, 1, 2, "warning", "unguarded-response", "careful")
    assert render(warning, None) == "f.yaml:7:1: warning[unguarded-response]: careful"


@pytest.mark.parametrize(
    ("line", "column", "end", "under"),
    [
        ("\ta: xx", 5, 7, "\t   ^^"),
        ("名前: xx", 5, 7, "      ^^"),
        ("a: 名前", 4, 6, "   ^^^^"),
        ("e\u0301: xx", 5, 7, "   ^^"),
        ("a:", 3, 4, "  ^"),
        ("", 1, 2, "^"),
        ("a: 😀 xx", 6, 8, "      ^^"),
    ],
)
def test_the_caret_stands_under_its_place(line: str, column: int, end: int, under: str) -> None:
    shown = render(problem(1, column, end), f"{line}\nnext")
    assert shown.split("\n")[2] == f"   | {under}"


def test_lines_end_as_yaml_says_and_nowhere_else() -> None:
    text = "a: 1\r\nb: 2\rc: \u2028 3\x0b\nd: 4"
    assert render(problem(2), text).split("\n")[1] == " 2 | b: 2"
    assert render(problem(4), text).split("\n")[1] == " 4 | d: 4"


def test_a_line_that_is_not_there_is_left_out() -> None:
    assert "\n" not in render(problem(9), "a: 1")


def test_a_long_line_is_cut_around_the_place() -> None:
    shown = render(problem(1, 5001, 5006), "x" * 5000 + "wrong" + "y" * 5000).split("\n")
    assert len(shown[1]) < 200
    start = shown[2].index("^")
    assert shown[1][start : start + 5] == "wrong"
    assert shown[2].count("^") == 5


def test_a_place_longer_than_what_is_shown_is_cut_too() -> None:
    shown = render(problem(1, 1, 9000), "x" * 9000).split("\n")
    assert len(shown[2]) <= len(shown[1])


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    shown = render(problem(1, 1, 2, text="\x1b[2J", suggestion="\x1b[2J", source="a\x1b[2J"), "a: \x1b]0;x\x07\u202e")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", shown)


def test_colours_are_only_there_when_asked_for() -> None:
    assert "\x1b[" not in render(problem(), "a: 1")
    colored = render(problem(), "a: 1", color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render(problem(), "a: 1")


def test_problems_come_by_file_then_line_and_once() -> None:
    problems = Problems()
    problems.error("syntax", "second", "b.yaml", Mark(5, 1, 2))
    problems.warning("syntax", "first", "b.yaml", Mark(2, 7, 8))
    problems.error("syntax", "third", "a.yaml", Mark(1, 1, 2))
    problems.error("syntax", "third", "a.yaml", Mark(1, 1, 2))
    assert [one.text for one in problems] == ["first", "second", "third"]
    assert [one.text for one in problems.errors] == ["second", "third"]
    assert [one.text for one in problems.warnings] == ["first"]
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("statsu", "status"),
        ("wehn", "when"),
        ("onError", "on_error"),
        ("ON_ERROR", "on_error"),
        ("on-error", "on_error"),
        ("operations", "operation"),
        ("heders", "headers"),
        ("zebra", None),
        ("", None),
        ("status", None),
    ],
)
def test_only_a_word_that_is_close_is_suggested(word: str, meant: str | None) -> None:
    assert nearest(word, ["status", "when", "on_error", "operation", "headers"]) == meant


@given(st.text(max_size=12), st.lists(st.text(max_size=12), max_size=8))
def test_a_suggestion_is_another_one_of_the_candidates(word: str, candidates: list[str]) -> None:
    found = nearest(word, candidates)
    assert found is None or (found in candidates and found != word)


@given(st.text(max_size=80), st.integers(1, 4), st.integers(1, 90), st.integers(1, 90))
def test_any_place_in_any_text_can_be_shown(text: str, line: int, column: int, length: int) -> None:
    shown = render(problem(line, column, column + length), text).split("\n")
    assert len(shown) in (1, 3)
    assert shown[0].startswith(f"f.yaml:{line}:{column}: ")


def test_every_code_that_is_reported_is_explained() -> None:
    """The codes stand as literals where they are reported."""
    package = Path(proxy.__file__).parent
    names = "error|warning|problem|problem_within|_report|_wrong|_refuse|_error|CelProblem"
    pattern = re.compile(rf'(?:code=|(?:{names})\(\s*(?:\w+, )?)"([a-z]+(?:-[a-z]+)+)"')
    found = {
        code
        for folder in ("language", "services")
        for file in (package / folder).rglob("*.py")
        for code in pattern.findall(file.read_text(encoding="utf-8"))
    }
    assert {"unknown-key", "wrong-type", "duplicate-key"} <= found
    assert found <= CODES.keys()


def test_every_code_that_is_explained_is_reported_somewhere() -> None:
    package = Path(proxy.__file__).parent
    texts = "".join(file.read_text(encoding="utf-8") for file in package.rglob("*.py") if file.name != "problems.py")
    texts += (package / "language" / "cel" / "problems.py").read_text(encoding="utf-8")
    assert [code for code in CODES if f'"{code}"' not in texts] == []
