"""What cannot be read: the one place where it stops making sense, in clear words, and the limits."""

from __future__ import annotations

import pytest

from proxy.language.cel import CelProblem, CelProblems, Environment, UInt, Variable, compile

EMPTY = Environment()


def problem(source: str) -> CelProblem:
    with pytest.raises(CelProblems) as raised:
        compile(source, EMPTY)
    (found,) = raised.value.problems
    return found


def value(source: str) -> object:
    return compile(source, EMPTY).run(None)


@pytest.mark.parametrize(
    ("source", "start", "end", "words"),
    [
        ("", 0, 1, "not complete"),
        ("1 +", 2, 3, "not complete"),
        ("1 + * 2", 4, 5, "a value is missing before `*`"),
        ("1 2", 2, 3, "ends before `2`"),
        ("(1 + 2", 0, 1, "`(` is not closed"),
        ("[1, 2", 0, 1, "`[` is not closed"),
        ("{'a': 1", 0, 1, "`{` is not closed"),
        ("{'a' 1}", 5, 6, "`:` is missing before `1`"),
        ("true ? 1", 8, 9, "`:` is missing before the end"),
        ("'abc", 0, 4, "no end"),
        ("'a\nb'", 0, 2, "no end"),
        (r"'a\qb'", 2, 4, "no such escape"),
        (r"'\ud800'", 1, 7, "no Unicode character"),
        (r"b'\u0041'", 2, 8, "bytes have no"),
        ("1 = 1", 2, 3, "no operator"),
        ("true & false", 5, 6, "no operator"),
        ("true and false", 5, 8, "no operator"),
        ("a.", 2, 3, "a name is missing"),
        ("9223372036854775808", 0, 19, "64 bits"),
        ("18446744073709551616u", 0, 21, "64 bits"),
        ("12abc", 0, 3, "run into a name"),
        ("#", 0, 1, "no meaning"),
        ("for", 0, 3, "reserved word"),
        ("1 + while", 4, 9, "reserved word"),
        ("Point{x: 1}", 0, 5, "no message types"),
        ("has(1)", 0, 6, "takes one member"),
        ("has(a.b, a.c)", 0, 13, "takes one member"),
        ("[1].all(a.b, true)", 8, 11, "plain name"),
        ("cel.bind(a, 1)", 4, 8, "a name, a value and an expression"),
    ],
)
def test_a_syntax_error_names_its_place(source: str, start: int, end: int, words: str) -> None:
    found = problem(source)
    code = "reserved-word" if "reserved" in words else "syntax"
    assert (found.code, found.start, found.end) == (code, start, end), found.text
    assert words in found.text


@pytest.mark.parametrize(("source", "meant"), [("1 = 1", "=="), ("true & true", "&&"), ("true or true", "||")])
def test_a_foreign_operator_gets_the_right_one(source: str, meant: str) -> None:
    assert problem(source).suggestion == meant


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("-9223372036854775808", -(2**63)),
        ("--1", 1),
        ("0x10 + 1", 17),
        ("18446744073709551615u", UInt(2**64 - 1)),
        (".5 + 1e3", 1000.5),
        ("1 + 2 * 3 - 4 / 2", 5),
        ("(1 + 2) * 3", 9),
        ("10 - 3 - 2", 5),
        ("!true || true && false", False),
        ("true ? 1 : false ? 2 : 3", 1),
        ("1 < 2 == true", True),
        (r"'\x41\101\u00e9\U0001f431\n'", "AAé🐱\n"),
        (r"r'a\n'", r"a\n"),
        (r"b'\xff\303A'", b"\xff\xc3A"),
        ("b'é'", "é".encode()),
        ("'''it's \"here\"'''", 'it\'s "here"'),
        ("[1, 2,]", [1, 2]),
        ("{'a': 1, 'b': [true, null],}", {"a": 1, "b": [True, None]}),
        ("{'for': 1}.for", 1),
        ("{'odd name': 1}.`odd name`", 1),
        ("1 // the rest is a comment", 1),
    ],
)
def test_literals_and_precedence_are_cels(source: str, result: object) -> None:
    found = value(source)
    assert (type(found), found) == (type(result), result)


def test_forty_levels_pass_and_one_more_does_not() -> None:
    assert value("(" * 39 + "1" + ")" * 39) == 1
    found = problem("(" * 40 + "1" + ")" * 40)
    assert "40 levels" in found.text
    assert (found.code, found.start) == ("too-deep", 40)


def test_128_terms_pass_and_one_more_does_not() -> None:
    assert value(" || ".join(["false"] * 127 + ["true"])) is True
    assert value(" + ".join(["1"] * 128)) == 128
    assert "128 terms" in problem(" || ".join(["true"] * 129)).text
    assert "128 terms" in problem(" + ".join(["1"] * 129)).text


def test_4096_characters_pass_and_one_more_does_not() -> None:
    assert value("'" + "a" * 4094 + "'") == "a" * 4094
    assert "4096 characters" in problem("'" + "a" * 4095 + "'").text


def test_a_long_chain_of_members_is_refused_before_it_exhausts_the_checker() -> None:
    assert "deeply nested" in problem("a" + ".b" * 1000).text


@pytest.mark.parametrize("sign", ["||", "&&"])
def test_conditions_nested_to_the_limit_run(sign: str) -> None:
    other = {"||": "&&", "&&": "||"}[sign]
    decided = {"||": "true", "&&": "false"}
    environment = Environment(variables={"a": Variable(read=lambda x: x)})
    source = "a.b == 1"
    for level in range(36):
        outer = sign if level % 2 else other
        source = f"(a.c == 2 {outer} {source} {outer} a.d == 3)"
    run = compile(f"{source} {sign} {decided[sign]}", environment).run
    assert run({"b": 1}) is (sign == "||")


def test_macros_nested_to_the_limit_run() -> None:
    source = "[v].all(w, w == v)"
    for _ in range(12):
        source = f"[1].exists(v, v > 0 && [1].all(v, {source}))"
    assert value(source) is True
