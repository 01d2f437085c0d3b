"""The canonical path: one spelling for matching and forwarding, or none."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.errors import Unreadable
from proxy.engine.target import canonical


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", None),
        ("/?", "/", ""),
        ("/a/b", "/a/b", None),
        ("/a/b/", "/a/b/", None),
        ("/./admin", "/admin", None),
        ("/x/../admin", "/admin", None),
        ("/x/%2e%2E/admin", "/admin", None),
        ("/%61dmin", "/admin", None),
        ("/ADMIN", "/ADMIN", None),
        ("/a/..", "/", None),
        ("/a/.", "/a/", None),
        ("/../../x", "/x", None),
        ("/admin.", "/admin.", None),
        ("/...", "/...", None),
        ("/.well-known/jwks.json", "/.well-known/jwks.json", None),
        ("/admin%20", "/admin%20", None),
        ("/%c3%a9", "/%C3%A9", None),
        ("/%ef%bc%8f", "/%EF%BC%8F", None),
        ("/a%2b%2Cb", "/a%2B%2Cb", None),
        ("/a?b=%2f//..;\\&%zz=%00", "/a", "b=%2f//..;\\&%zz=%00"),
        ("/a?b?c", "/a", "b?c"),
        (b"/a?b", "/a", "b"),
    ],
)
def test_a_path_has_one_spelling_and_the_query_stays(target: str | bytes, path: str, query: str | None) -> None:
    assert canonical(target) == (path, query)


@pytest.mark.parametrize(
    "target",
    [
        "", "*", "a", "?a", "http://a/b", "ftp://a/b", "a:443", "//admin", "/a//b", "/a//", "/\\admin", "/%5cadmin",
        "/%2fadmin",
        "/admin%2f", "/x/..%2fadmin", "/x/..;/admin", "/admin;x=1", "/admin%3bx", "/admin%00", "/admin%0a", "/admin%7f",
        "/%2561dmin", "/admin%3f", "/admin%23", "/admin#x", "/public#/../admin", "/a?b#c", "/a b", "/a?b c", "/\x01",
        "/a?\x7f", "/é", "/a?é", "/%", "/%4", "/%zz", "/%c0%af", "/%e9", "/a\udcc3", b"/\xc3\xa9", "/%+1", "/% 1",
    ],
)  # fmt: skip
def test_an_ambiguous_or_foreign_target_is_refused(target: str | bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        canonical(target)
    assert (caught.value.side, caught.value.status) == ("request", 400)


pieces = st.lists(
    st.sampled_from(
        ["/", ".", "..", "a", "B", "%2e", "%2E", "%61", "%c3%a9", "~", "-", "%20", "%2f", ";", "%", "+", "%25"]
    )
)


@given(pieces.map(lambda parts: "/" + "".join(parts)))
def test_what_is_canonical_stays_so_and_has_nothing_left_to_resolve(target: str) -> None:
    try:
        path, _ = canonical(target)
    except Unreadable:
        return
    assert canonical(path) == (path, None)
    decoded = unquote_to_bytes(path)
    segments = decoded.split(b"/")
    assert b"." not in segments
    assert b".." not in segments
    assert b"//" not in decoded
    assert decoded.count(b"/") == path.count("/")


@given(st.text(max_size=40))
def test_any_text_gives_a_path_or_a_refusal(text: str) -> None:
    try:
        path, _ = canonical("/" + text)
    except Unreadable:
        return
    assert path.startswith("/")
    assert path.isascii()
    assert path.isprintable()
