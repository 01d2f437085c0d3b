"""Set-Cookie lines: what is not named keeps its bytes, and what a browser would refuse is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.cookies import ATTRIBUTES, SetCookie, fitting, kept, name_of, prefix_of
from proxy.engine.message import Headers


@pytest.mark.parametrize(
    "line",
    [
        b"a=b",
        b"a=b; Path=/; Secure",
        b"a=b;path = / ;SECURE;;x-unknown=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT",
        b"a=b=c==; Path=/",
        b'a="b c"; Path=/',
        b"a=\xff\xfe",
        b"a=",
    ],
)
def test_a_line_that_is_not_edited_keeps_its_bytes(line: bytes) -> None:
    assert SetCookie.parse(line).dump() == line


@given(st.binary(max_size=60))
def test_reading_a_line_never_fails_and_loses_no_attribute(line: bytes) -> None:
    cookie = SetCookie.parse(line)
    assert cookie.dump().count(b";") == line.count(b";")
    assert SetCookie.parse(cookie.dump()).dump() == cookie.dump()


@given(st.sampled_from(ATTRIBUTES), st.binary(max_size=40).filter(lambda text: b";" not in text))
def test_an_edit_changes_one_attribute(attribute: str, other: bytes) -> None:
    cookie = SetCookie.parse(b"a=b; x-other=" + other + b"; " + attribute.upper().encode() + b"=old; X-Last")
    cookie.put(attribute, "new")
    assert cookie.dump() == b"a=b; x-other=" + other + b"; " + attribute.encode() + b"=new; X-Last"
    cookie.put(attribute, None)
    assert cookie.dump() == b"a=b; x-other=" + other + b"; X-Last"


def test_an_attribute_that_stands_twice_is_read_as_a_browser_reads_it_and_written_once() -> None:
    cookie = SetCookie.parse(b"a=b; Path=/x; Secure; path=/y")
    assert cookie.get("Path") == b"/y"
    cookie.put("Path", "/z")
    assert cookie.dump() == b"a=b; Path=/z; Secure"


def test_a_flag_has_no_value() -> None:
    cookie = SetCookie.parse(b"a=b")
    cookie.put("Secure", True)
    assert cookie.dump() == b"a=b; Secure"
    assert cookie.get("Secure") == b""
    cookie.put("Secure", False)
    assert cookie.dump() == b"a=b"
    assert cookie.get("Secure") is None


def test_a_line_without_an_equals_sign_is_a_cookie_without_a_name() -> None:
    cookie = SetCookie.parse(b"a; Path=/")
    assert (cookie.name, cookie.value) == (b"", b"a")
    assert cookie.dump() == b"a; Path=/"
    assert name_of(b"a; b=c") == b""


@pytest.mark.parametrize(
    ("line", "fine"),
    [
        (b"__Host-a=1; Secure; Path=/", True),
        (b"__host-a=1; Secure; Path=/", True),
        (b"__Host-a=1; Path=/", False),
        (b"__Host-a=1; Secure; Path=/x", False),
        (b"__Host-a=1; Secure", False),
        (b"__Host-a=1; Secure; Path=/; Domain=a.example", False),
        (b"__Secure-a=1; Secure", True),
        (b"__Secure-a=1", False),
        (b"a=1", True),
    ],
)
def test_a_prefix_binds_the_attributes(line: bytes, fine: bool) -> None:
    assert (SetCookie.parse(line).fault() is None) is fine


def test_attributes_that_a_prefix_does_not_allow_are_left_out() -> None:
    wanted: dict[str, str | bool | None] = {"Domain": "a.example", "Path": "/x", "Secure": False, "SameSite": "Lax"}
    assert fitting("a", wanted) == wanted
    assert fitting("__Secure-a", wanted) == {"Domain": "a.example", "Path": "/x", "SameSite": "Lax"}
    assert fitting("__HOST-a", wanted) == {"SameSite": "Lax"}
    assert fitting("__Host-a", {"Domain": None, "Path": "/", "Secure": True}) == {
        "Domain": None,
        "Path": "/",
        "Secure": True,
    }
    assert prefix_of("__hosta") is None


def test_cookies_are_kept_by_name_and_nothing_else() -> None:
    headers = Headers.of(
        [("X-A", "1"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2; Path=/"), ("Set-Cookie", "a=3")], side="response"
    )
    assert [line[2] for line in kept(headers, lambda name: name == b"a")] == [b"a=1", b"a=3"]
