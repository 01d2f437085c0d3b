"""What the YAML parser finds wrong with a text, in an author's words and with its place."""

from __future__ import annotations

import re

import yaml

from .problems import Mark

DEPTH = 64
TOO_DEEP = f"a file is nested at most {DEPTH} levels deep"
HALF_A_PAIR = "half a surrogate pair is no character: write it as `\\U` and eight digits"

LINES = re.compile("\\r\\n|\\r|\\n")

# What the scanner and the parser say, in an author's words.
_WORDING = (
    ("mapping values are not allowed", "a `:` cannot stand here: check the indentation, or write the text in quotes"),
    ("found unexpected end of stream", "this is not closed before the end of the file"),
    ("found unexpected document indicator", "this is not closed before the end of the document"),
    ("could not find expected ':'", "a `key: value` is wanted here, and the `:` is missing"),
    ("did not find expected key", "a `key: value` is wanted here: check the indentation and the quotes"),
    ("did not find expected '-' indicator", "a list item `- …` is wanted here: check the indentation"),
    ("block sequence entries are not allowed", "a list item cannot stand here: begin it on a line of its own"),
    (
        "found unknown escape character",
        "there is no such escape in double quotes; single quotes keep a `\\` as it is",
    ),
    ("found invalid Unicode character escape code", HALF_A_PAIR),
    ("found incompatible YAML document", "rule files are YAML 1.2"),
    ("found undefined tag handle", "rule files have no tags"),
)


def mark_at(text: str, position: int, length: int = 1) -> Mark:
    """Give the place of a position in a text."""
    line, start = 1, 0
    for found in LINES.finditer(text, 0, position):
        line, start = line + 1, found.end()
    after = LINES.search(text, position)
    stop = after.start() if after is not None else len(text)
    column = position - start + 1
    return Mark(line, column, max(min(column + length, stop - start + 1), column + 1))


def explain_syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[str, str, Mark]:
    """Give code, words and place of what the parser found."""
    place, words = error.problem_mark or error.context_mark, error.problem or "not YAML"
    mark = Mark(1, 1, 2) if place is None else Mark(place.line + 1, place.column + 1, place.column + 2)
    if words.startswith("exceeded maximum nesting depth"):
        return "too-deep", TOO_DEEP, mark
    if place is not None and words.startswith("found character that cannot start any token"):
        char = text[place.index : place.index + 1]
        words = f"a text that begins with `{char}` is written in quotes"
        if char == "\t":
            words = "a tab cannot stand here: indent with spaces"
    else:
        begin = error.context_mark
        if words.startswith("found unexpected end of stream") and begin is not None:
            mark = Mark(begin.line + 1, begin.column + 1, begin.column + 2)
        if words.startswith("did not find expected ',' or") and begin is not None:
            words = f"a `,` or the bracket that closes the one at line {begin.line + 1} is missing"
        words = next((said for known, said in _WORDING if words.startswith(known)), f"this is not YAML: {words}")
    return "syntax", words, mark
