"""What values are equal, what a condition absorbs, what is an error and never a value, and how values are written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.errors import CostExceeded, EvaluationError, Unreadable
from proxy.language.cel import (
    DYN,
    Duration,
    Environment,
    Function,
    Maybe,
    Timestamp,
    UInt,
    Variable,
    compile,
    to_json,
    to_text,
)


def _fail(kind: str) -> Any:
    errors: dict[str, BaseException] = {
        "evaluation": EvaluationError("no value"),
        "key": KeyError("a"),
        "type": TypeError("a"),
        "index": IndexError("a"),
        "value": ValueError("a"),
        "arithmetic": ArithmeticError("a"),
        "recursion": RecursionError("a"),
        "memory": MemoryError("a"),
        "cost": CostExceeded("a"),
        "unreadable": Unreadable("request", "a"),
    }
    raise errors[kind]


ENVIRONMENT = Environment(
    variables={name: Variable(read=lambda x, name=name: x[name]) for name in ("a", "b", "c")},  # type: ignore[misc]
    functions=(Function(name="fail", overloads=(((DYN,), DYN),), call=_fail, pure=False),),
)


def run(source: str, **bindings: object) -> object:
    return compile(source, ENVIRONMENT).run(bindings)


def fails(source: str, **bindings: object) -> str:
    with pytest.raises(EvaluationError) as raised:
        run(source, **bindings)
    return raised.value.cause


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, UInt(1), True),
        (UInt(1), 1.0, True),
        (True, 1, False),
        (False, 0, False),
        (True, 1.0, False),
        (1, "1", False),
        (None, False, False),
        (None, None, True),
        ([1, 2.0], [1.0, 2], True),
        ([1], [True], False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({1: "a"}, {1.0: "a"}, True),
        ([{"a": [0]}], [{"a": [False]}], False),
        (float("nan"), float("nan"), False),
        (b"a", "a", False),
        (2**53 + 1, float(2**53), True),
        (2**53 + 1, 2**53, False),
        (Timestamp(0), Duration(0), False),
        (Maybe(1), Maybe(1.0), True),
    ],
)
def test_equality_crosses_numbers_but_never_takes_true_for_one(one: object, other: object, same: bool) -> None:
    assert run("a == b", a=one, b=other) is same
    assert run("b == a", a=one, b=other) is same
    assert run("a != b", a=one, b=other) is not same
    assert run("a in [b]", a=one, b=other) is same
    assert run("[b].exists(e, e == a)", a=one, b=other) is same


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("1.0 in {1: 'a'}", True),
        ("true in {1: 'a', 'b': 2}", False),
        ("1 in {true: 'a', 'b': 2}", False),
        ("{true: 'a', 1: 'b'}[true]", "a"),
        ("{true: 'a', 1: 'b'}[1]", "b"),
        ("size({true: 'a', 1: 'b'})", 2),
        ("{1u: 'a'}[1]", "a"),
        ("a[1]", "x"),
        ("a == {1u: 'x', 2u: 'y'}", True),
    ],
)
def test_keys_of_maps_are_equal_as_values_are(source: str, result: object) -> None:
    environment = Environment(variables={"a": Variable(read=lambda _: {1: "x", 2: "y"})})
    assert compile(source, environment).run(None) == result


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a.missing", "no such key: 'missing'"),
        ("a['missing']", "no such key"),
        ("has(a.missing.x)", "no such key: 'missing'"),
        ("b[-1]", "outside the list"),
        ("b[2]", "outside the list"),
        ("b['first']", "index is an int"),
        ("b[a.half]", "whole number"),
        ("b.name", "a list has no member"),
        ("a.text.name", "a string has no member"),
        ("a.text + 1", "no such overload: +(string, int)"),
        ("a.text < 1", "no such overload: <(string, int)"),
        ("a.text && true", "a condition is a string"),
        ("a.text ? 1 : 2", "a condition is a string"),
        ("!a.text", "no such overload: !(string)"),
        ("a.text.exists(e, true)", "a macro walks a list or a map"),
        ("a.one.startsWith('a')", "no such overload: startsWith(int)"),
        ("{a.half: 1}", "a map's key is a string"),
        ("{a.text: 1, 'text': 2}", "repeats a key"),
        ("a.one / 0", "division by zero"),
        ("a.one % 0", "modulus by zero"),
        ("9223372036854775807 + a.one", "64 bits"),
        ("0u - uint(a.one)", "64 bits"),
        ("a.great + 0", "64 bits"),
        ("a.great > 0", "64 bits"),
        ("a.greats.all(g, g > 0)", "64 bits"),
        ("string(a.none)", "no such overload: string(null_type)"),
        ("string(b)", "no such overload: string"),
        ("int('1_000')", "no integer"),
        ("double(' 1')", "no number"),
        ("a.?missing.value()", "none"),
    ],
)
def test_what_has_no_value_is_an_error(source: str, words: str) -> None:
    document = {"text": "text", "one": 1, "half": 0.5, "great": 2**63, "greats": [1, 2**64], "none": None}
    assert words in fails(source, a=document, b=[1, 2])


def test_a_cause_never_holds_a_value() -> None:
    for source in ("a.x + 1", "b[a.x]", "int(a.x)", "a[a.x]", "a.x.y", "cidr(a.x)", "timestamp(a.x)", "jwt(a.x)"):
        assert "password" not in fails(source, a={"x": "test-only-password"}, b=[1])


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("false && fail('evaluation')", False),
        ("fail('evaluation') && false", False),
        ("true || fail('evaluation')", True),
        ("fail('evaluation') || true", True),
        ("fail('key') || fail('type') || fail('index') || a == 1", True),
        ("fail('value') && fail('arithmetic') && a == 2", False),
        ("a == 'x' || fail('evaluation') || a == 1", True),
        ("a && a == 2", False),
        ("[1, 2].exists(e, fail('key') || e == 2)", True),
        ("[1, 2].all(e, e / (e - 1) == 1 && e == 3)", False),
        ("!(fail('type') && a == 2)", True),
        ("(fail('type') || a == 1) ? 'yes' : 'no'", "yes"),
        ("(fail('type') || a == 1) && (fail('key') || a == 1)", True),
    ],
)
def test_a_condition_absorbs_errors_that_do_not_matter(source: str, result: object) -> None:
    assert run(source, a=1) == result


@pytest.mark.parametrize(
    "source",
    [
        "fail('evaluation') || a == 2",
        "a == 1 && fail('key')",
        "fail('type') && a == 1 && fail('key')",
        "[1, 2].exists(e, fail('key'))",
        "[1, 2].exists_one(e, e == 1 || fail('key'))",
        "[1, 2].filter(e, fail('key'))",
        "fail('key') ? 1 : 2",
    ],
)
def test_an_error_that_matters_comes_out_as_the_expressions(source: str) -> None:
    assert fails(source, a=1)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("recursion", RecursionError),
        ("memory", MemoryError),
        ("cost", CostExceeded),
        ("unreadable", Unreadable),
    ],
)
@pytest.mark.parametrize("source", ["{} || a == 1 || a == 2", "a == 2 || {} || a == 1", "[1].exists(e, {} || a == e)"])
def test_nothing_else_is_ever_absorbed(source: str, kind: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        run(source.format(f"fail('{kind}')"), a=1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("é", "é"),
        (True, "true"),
        (-5, "-5"),
        (UInt(7), "7"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e100, "1e+100"),
        (1.5e-7, "1.5e-07"),
        (b"abc", "abc"),
        (Timestamp(1), "1970-01-01T00:00:00.000000001Z"),
        (Timestamp(-62_135_596_800_000_000_000), "0001-01-01T00:00:00Z"),
        (Duration(1_500_000_000), "1.5s"),
        (Duration(-1), "-0.000000001s"),
    ],
)
def test_text_is_what_string_gives(value: object, text: str) -> None:
    assert to_text(value) == text
    assert run("string(a)", a=value) == text


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, b"\xff", Maybe(1), 2**63])
def test_what_has_no_text_is_an_error(value: object) -> None:
    with pytest.raises(EvaluationError):
        to_text(value)


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("timestamp('2026-01-31T13:00:00.5+01:00')", "2026-01-31T12:00:00.5Z"),
        ("duration('1500ms')", "1.5s"),
        ("[1u, 2.5, null, true]", [1, 2.5, None, True]),
        ("{'a': {1: 'b', true: duration('1h')}}", {"a": {"1": "b", "true": "3600s"}}),
        ("optional.of([ip('10.0.0.1')])", ["10.0.0.1"]),
    ],
)
def test_json_is_plain_data(source: str, result: object) -> None:
    found = to_json(run(source))
    assert found == result
    assert not isinstance(found, UInt)


@pytest.mark.parametrize("source", ["b'a'", "optional.none()", "0.0 / 0.0", "1.0 / 0.0", "type(1)", "[b'a']"])
def test_what_json_cannot_hold_is_an_error(source: str) -> None:
    with pytest.raises(EvaluationError):
        to_json(run(source))


@given(st.integers(-62_135_596_800_000_000_000, 253_402_300_799_999_999_999))
def test_a_timestamp_reads_back_as_it_was_written(nanos: int) -> None:
    assert Timestamp.parse(str(Timestamp(nanos))).nanos == nanos


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_duration_reads_back_as_it_was_written(nanos: int) -> None:
    assert Duration.parse(str(Duration(nanos))).nanos == nanos


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_reads_back_as_it_was_written(value: float) -> None:
    assert run("double(string(a))", a=value) == value
