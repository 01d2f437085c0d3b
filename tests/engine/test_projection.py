"""Which fields of an answer are wanted, and taking out what only the proxy asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.json_body import JsonBody
from proxy.engine.json_nodes import ArrayNode, ObjectNode, encode
from proxy.engine.projection import ProjectionError, apply, includes, parse, trim, widen, write


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


def test_what_a_client_asked_for_in_part_and_is_no_object_stays() -> None:
    asked = parse("account(id),list(id)")
    target = body({"account": None, "list": [], "token": "t"})
    trim(target, asked, widen(asked, [("account", "tier"), ("list", "tier"), ("token",)]))
    assert json.loads(target.dump()) == {"account": None, "list": []}


def test_what_came_with_a_field_that_only_the_proxy_asked_for_goes_with_it() -> None:
    asked = parse("id")
    target = body({"id": 1, "account": {"tier": "gold", "id": 7}, "always": 1})
    trim(target, asked, widen(asked, [("account", "tier")]))
    assert json.loads(target.dump()) == {"id": 1, "always": 1}


def test_where_the_proxy_asked_for_everything_only_what_was_asked_for_or_set_is_left() -> None:
    target = body({"id": 1, "account": {"id": 2, "name": "x"}, "extra": {"x": 1, "y": [{"z": 1}]}})
    extra = target.root.open("extra")
    assert isinstance(extra, ObjectNode)
    extra.put("flag", encode(True))
    trim(target, parse("id,account(id)"), None)
    assert json.loads(target.dump()) == {"id": 1, "account": {"id": 2}, "extra": {"flag": True}}


def test_an_element_that_a_rule_added_stays_whole_also_in_a_copy() -> None:
    asked = parse("list(id)")
    target = body({"list": [{"id": 1, "tier": "a"}, {"id": 2, "tier": "b"}]})
    items = target.root.open("list")
    assert isinstance(items, ArrayNode)
    items.insert(0, encode({"id": 0, "tier": "ours"}))
    assert target.get(("list", 0, "tier")) == "ours"
    target = target.copy()
    trim(target, asked, widen(asked, [("list", "tier")]))
    assert json.loads(target.dump()) == {"list": [{"id": 0, "tier": "ours"}, {"id": 1}, {"id": 2}]}


def test_elements_that_a_rule_added_to_what_nobody_asked_for_stay_alone() -> None:
    target = body({"id": 1, "list": [{"id": 1}, 2, [3]]})
    items = target.root.open("list")
    assert isinstance(items, ArrayNode)
    items.insert(1, encode("ours"))
    trim(target, parse("id"), parse("id,list"))
    assert json.loads(target.dump()) == {"id": 1, "list": ["ours"]}


def test_a_body_that_a_rule_replaced_stays() -> None:
    target = body({"id": 1})
    target.replace(encode({"token": "ours"}))
    trim(target, parse("id"), None)
    assert target.dump() == b'{"token":"ours"}'


NAMES = st.sampled_from("abc")
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none(), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=6
)
BODIES = st.recursive(
    st.integers(0, 9) | st.none(),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=12,
)
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=3).map(tuple), max_size=3)


def selected(value: Any, wanted: Any) -> Any:
    """What a server gives for a projection: the oracle."""
    if wanted is None:
        return value
    if isinstance(value, list):
        return [selected(item, wanted) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: selected(item, wanted[name]) for name, item in value.items() if name in wanted}


@given(st.dictionaries(NAMES, BODIES), TREES.filter(bool), PATHS)
def test_trimming_what_was_widened_gives_what_was_asked_for(
    document: dict[str, Any], asked: Any, paths: list[tuple[str, ...]]
) -> None:
    widened = widen(asked, paths)
    assert all(includes(widened, path) for path in paths)
    wide = body(selected(document, widened))
    trim(wide, asked, widened)
    everything = body(document)
    trim(everything, asked, None)
    applied = body(document)
    apply(asked, applied)
    expected = selected(document, asked)
    assert [json.loads(found.dump()) for found in (wide, everything, applied)] == [expected] * 3


@given(TREES.filter(bool))
def test_writing_and_parsing_are_inverse(projection: Any) -> None:
    assert parse(write(projection)) == projection
