"""Form bodies: one value a name, and every other pair as it was spelled."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.body import open_body
from proxy.engine.errors import EvaluationError, Unreadable
from proxy.engine.form_body import FormBody
from proxy.engine.message import Headers, Limits


def form(content: bytes, kind: str = "application/x-www-form-urlencoded") -> FormBody:
    body = open_body(Headers.of([("Content-Type", kind)]), content, Limits(), "request")
    assert isinstance(body, FormBody)
    return body


def test_a_form_is_text_by_name() -> None:
    body = form(b"user=jane+doe&mail=a%40b.example&empty=&bare")
    assert body.get(("user",)) == "jane doe"
    assert body.value() == {"user": "jane doe", "mail": "a@b.example", "empty": "", "bare": ""}
    assert body.has(("bare",))
    assert not body.has(("other",))


def test_what_is_only_read_stays_as_it_is() -> None:
    content = b"a=%c3%a9&b=x+y&&c&d=%7E"
    body = form(content)
    body.value()
    assert (body.dump(), body.edited) == (content, False)


def test_an_edit_keeps_how_the_others_are_spelled() -> None:
    body = form(b"a=%c3%a9&user=x&b=x+y%20z&c=~")
    body.set("user", "x y&z=é")
    body.set("new", "")
    assert body.dump() == b"a=%c3%a9&user=x+y%26z%3D%C3%A9&b=x+y%20z&c=~&new="
    assert body.edited


@pytest.mark.parametrize("content", [b"a=1&a=2", b"a=1&%61=2", b"a=1&b=2&a"])
def test_a_name_that_stands_twice_is_neither_read_nor_edited(content: bytes) -> None:
    tries: list[Any] = [
        lambda body: body.get(("a",)),
        lambda body: body.value(),
        lambda body: body.set("a", "x"),
        lambda body: body.keep(frozenset({"a"})),
    ]
    for act in tries:
        with pytest.raises(Unreadable) as refused:
            act(form(content))
        assert refused.value.status == 400
    assert form(content).dump() == content


@pytest.mark.parametrize("path", [("a", "b"), (0,), (), ("missing",)])
def test_a_path_that_is_not_one_name_has_no_value(path: tuple[str | int, ...]) -> None:
    with pytest.raises(EvaluationError) as missing:
        form(b"a=1").get(path)
    assert missing.value.side == "request"


@pytest.mark.parametrize("value", [1, True, None, ["x"], b"x"])
def test_only_text_can_be_set(value: object) -> None:
    with pytest.raises(EvaluationError):
        form(b"a=1").set("a", value)


def test_what_is_not_kept_goes_however_often_it_stands_there() -> None:
    body = form(b"x=1&a=%31&x=2&b=2")
    body.keep(frozenset({"a", "b", "c"}))
    assert (body.dump(), body.edited) == (b"a=%31&b=2", True)
    whole = form(b"a=1&b=2")
    whole.keep(frozenset({"a", "b"}))
    assert not whole.edited


def test_a_copy_lives_on_its_own() -> None:
    body = form(b"a=1")
    twin = body.copy()
    twin.set("a", "2")
    assert (body.dump(), twin.dump()) == (b"a=1", b"a=2")


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        (b"a=\xff", "application/x-www-form-urlencoded", 400),
        (b"\xef\xbb\xbfa=1", "application/x-www-form-urlencoded", 400),
        (b"a=1", "application/x-www-form-urlencoded; charset=iso-8859-1", 415),
        (b"a=1", "application/x-www-form-urlencoded-not", 415),
    ],
)
def test_a_form_that_is_not_utf_8_is_refused(content: bytes, kind: str, status: int) -> None:
    with pytest.raises(Unreadable) as refused:
        form(content, kind)
    assert refused.value.status == status


texts = st.text(max_size=8)


@given(st.dictionaries(texts.filter(bool), texts, max_size=5), texts.filter(bool), texts)
def test_what_is_set_is_what_the_standard_library_reads(fields: dict[str, str], name: str, value: str) -> None:
    body = form(b"first=1")
    for known, text in fields.items():
        body.set(known, text)
    body.set(name, value)
    expected = {"first": "1", **fields, name: value}
    assert dict(parse_qsl(body.dump().decode(), keep_blank_values=True)) == expected
    assert body.value() == expected
