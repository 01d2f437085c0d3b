"""Which fields of an answer are wanted, and taking out what only the proxy asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.engine.json_body import JsonBody, ObjectNode, encode
from proxy.engine.projection import ProjectionError, apply, includes, parse, shape, trim, widen, write


def body(value: Any) -> JsonBody:
    return JsonBody(json.dumps(value).encode(), "response", 64)


@pytest.mark.parametrize("text", ["a", "a,b", "a(b)", "a(b,c(d)),e"])
def test_a_projection_is_written_as_it_was_read(text: str) -> None:
    assert write(parse(text)) == text


def test_white_space_and_repetition_are_understood() -> None:
    assert write(parse(" a ( b ) , c , a(d)")) == "a(b,d),c"
    assert write(parse("a(b),a")) == "a"


@pytest.mark.parametrize(
    ("text", "offset"), [("", 0), ("a,", 1), ("a(b", 2), ("a)", 1), ("a(b))", 4), ("a b", 2), ("(", 0)]
)
def test_a_projection_that_cannot_be_read_says_where(text: str, offset: int) -> None:
    with pytest.raises(ProjectionError) as refused:
        parse(text)
    assert refused.value.offset == offset


def test_nesting_has_an_end() -> None:
    with pytest.raises(ProjectionError):
        parse("a(" * 40 + "b" + ")" * 40)


@pytest.mark.parametrize(
    ("path", "given"), [(("a",), False), (("a", "b"), True), (("a", "b", "x"), True), (("c",), True), (("d",), False)]
)
def test_includes_wants_the_whole_value(path: tuple[str, ...], given: bool) -> None:
    assert includes(parse("a(b),c"), path) is given


def test_widening_adds_and_never_takes_away() -> None:
    assert write(widen(parse("a(b),c"), [("a", "x"), ("d", "e"), ("c", "y")])) == "a(b,x),c,d(e)"


def test_a_projection_keeps_what_it_names_through_arrays() -> None:
    target = body({"a": [{"b": 1, "c": 2}, 3, {"c": 4}], "d": 5, "e": None})
    apply(parse("a(b),e"), target)
    assert json.loads(target.dump()) == {"a": [{"b": 1}, 3, {}], "e": None}


def test_trimming_takes_out_what_only_the_proxy_asked_for() -> None:
    asked = parse("id,account(id)")
    widened = widen(asked, [("token",), ("account", "tier"), ("extra", "x")])
    target = body({"id": 1, "token": "t", "account": {"id": 2, "tier": "gold"}, "extra": {"x": 1}, "unasked": 3})
    trim(target, asked, widened)
    assert json.loads(target.dump()) == {"id": 1, "account": {"id": 2}, "unasked": 3}


def test_what_rules_set_stays() -> None:
    asked = parse("id")
    widened = widen(asked, [("token",), ("account", "tier")])
    target = body({"id": 1, "token": "t", "account": {"tier": "gold"}})
    root = target.root
    assert isinstance(root, ObjectNode)
    root.put("token", encode("changed"))
    account = root.open("account")
    assert isinstance(account, ObjectNode)
    account.put("added", encode(True))
    trim(target, asked, widened)
    assert json.loads(target.dump()) == {"id": 1, "token": "changed", "account": {"added": True}}


def test_the_shape_of_a_body_names_every_field() -> None:
    assert write(shape(body({"a": {"b": 1}, "c": [{"d": 1}, {"e": 2}], "f": [1]}))) == "a(b),c(d,e),f"
