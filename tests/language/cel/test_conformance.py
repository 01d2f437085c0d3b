"""Every vector of the public CEL conformance suite, against our compiler.

What is out of scope stands in one table with its reason; a vector of it that passes fails the test, so that the table
stays true.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from proxy.engine.errors import EvaluationError
from proxy.language.cel import (
    CelProblems,
    Duration,
    Environment,
    Function,
    Timestamp,
    Type,
    UInt,
    Variable,
    compile,
)
from proxy.language.cel.types import DENOTED
from proxy.language.cel.values import make_map
from tests.corpora import FOLDER as CORPORA
from tests.corpora import load, needs_corpora

FOLDER = CORPORA / "cel-spec"

FILES = (
    "basic", "bindings_ext", "block_ext", "comparisons", "conversions", "encoders_ext", "fields", "fp_math",
    "integer_math", "lists", "logic", "macros", "macros2", "math_ext", "namespace", "network_ext", "optionals", "parse",
    "plumbing", "string", "string_ext", "timestamps", "type_deduction",
)  # fmt: skip

_CHECKED = "relies on running what the checker refuses; every expression is checked here"
_DAMAGED = "damaged: it expects the backslash of an escape that its source does not have"
_BLOCK = "cel.block is an optimizer's output, which no author writes"

# (file, section, name or * for all) -> why it is out of scope.
OUT_OF_SCOPE = {
    ("basic", "variables", "unbound_is_runtime_error"): _CHECKED,
    ("basic", "functions", "unbound_is_runtime_error"): _CHECKED,
    ("logic", "AND", "short_circuit_type_left"): _CHECKED,
    ("logic", "AND", "short_circuit_type_right"): _CHECKED,
    ("logic", "OR", "short_circuit_type_left"): _CHECKED,
    ("logic", "OR", "short_circuit_type_right"): _CHECKED,
    ("parse", "receiver_function_names", "*"): _CHECKED,
    ("parse", "bytes_literals", "triple_single_quoted_unescaped_punctuation"): _DAMAGED,
    ("parse", "bytes_literals", "triple_double_quoted_unescaped_punctuation"): _DAMAGED,
    ("block_ext", "basic", "*"): _BLOCK,
}
# How many vectors there are, and how many of them the table takes out: 713 others of the suite need protobuf messages
# or enums and are not in the corpus.
VECTORS = 1743
LEFT_OUT = 6 + 17 + 2 + 25


def _value(tagged: Mapping[str, Any]) -> Any:
    ((tag, data),) = tagged.items()
    match tag:
        case "uint":
            return UInt(data)
        case "double":
            return float(data)
        case "bytes":
            return base64.b64decode(data)
        case "list":
            return [_value(item) for item in data]
        case "map":
            return make_map([(_value(key), _value(item)) for key, item in data])
        case "timestamp":
            return Timestamp.parse(data)
        case "duration":
            return Duration.parse(data)
        case "type":
            return DENOTED[data]
    return data


def _same(one: Any, other: Any) -> bool:
    """Compare by type too: 1 is not 1u, and NaN is NaN."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return len(one) == len(other) and all(
            any(_same(key, each) and _same(one[key], other[each]) for each in other) for key in one
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


def _type(text: str) -> Type:
    name, paren, rest = text.strip().partition("(")
    if not paren:
        return Type(f"~{name}") if len(name) == 1 else Type(name)
    parts, depth, start = [], 0, 0
    inner = rest[:-1]
    for at, char in enumerate(inner):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(inner[start:at])
            start = at + 1
    return Type(name, tuple(map(_type, [*parts, inner[start:]])))


def _read(name: str) -> Callable[[Any], Any]:
    return lambda x: x[name]


def _environment(case: Mapping[str, Any]) -> Environment:
    variables = {name: Variable(read=_read(name)) for name in case["bindings"]}
    functions = []
    for declared in case.get("type_env", []):
        name = declared["name"]
        if declared["kind"] == "variable":
            variables[name] = Variable(type=_type(declared["type"]), read=_read(name))
        else:
            overloads = tuple(
                (tuple(map(_type, each["params"])), _type(each["result"])) for each in declared["overloads"]
            )
            functions.append(Function(name=name, overloads=overloads, call=lambda *_: None, pure=False))
    return Environment(variables=variables, functions=tuple(functions), container=case["container"])


def _run(case: Mapping[str, Any]) -> str | None:
    """Run a vector; return what is wrong, or None."""
    try:
        program = compile(case["expr"], _environment(case))
        if "deduced_type" in case and str(program.type) != case["deduced_type"]:
            return f"is a {program.type}, not a {case['deduced_type']}"
        if case["check_only"]:
            return None
        result = program.run({name: _value(bound) for name, bound in case["bindings"].items()})
    except (CelProblems, EvaluationError) as error:
        # A mistake that is found before it runs counts as the error that was to come.
        return None if "eval_error" in case else f"{type(error).__name__}: {error}"
    if "eval_error" in case:
        return f"gives {result!r} where an error was to come"
    return None if _same(result, _value(case["expected"])) else f"gives {result!r}, not {case['expected']!r}"


def _reason(file: str, case: Mapping[str, Any]) -> str | None:
    section = (file, case["section"])
    return OUT_OF_SCOPE.get((*section, case["name"])) or OUT_OF_SCOPE.get((*section, "*"))


def _cases(file: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = load(f"cel-spec/{file}.json")["cases"]
    return cases


@needs_corpora
@pytest.mark.parametrize("file", FILES)
def test_every_vector_in_scope_passes(file: str) -> None:
    wrong = []
    for case in _cases(file):
        if _reason(file, case) is None and (fault := _run(case)) is not None:
            wrong.append(f"{case['section']}/{case['name']}: {case['expr']} {fault}")
    assert wrong == []


@needs_corpora
@pytest.mark.parametrize("file", sorted({file for file, _, _ in OUT_OF_SCOPE}))
def test_no_vector_out_of_scope_passes(file: str) -> None:
    excused = [case for case in _cases(file) if _reason(file, case) is not None]
    passing = [f"{case['section']}/{case['name']}" for case in excused if _run(case) is None]
    assert excused != []
    assert passing == []


@needs_corpora
def test_the_vectors_are_counted() -> None:
    cases = [(file, case) for file in FILES for case in _cases(file)]
    assert len(cases) == VECTORS
    assert sum(_reason(*each) is not None for each in cases) == LEFT_OUT
    assert {path.stem for path in FOLDER.glob("*.json")} == set(FILES)
