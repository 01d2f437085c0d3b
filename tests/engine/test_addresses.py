"""Addresses of redirects: what holds, what is refused, and that both are what a browser would make of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from proxy.engine.addresses import AddressError, Destinations, fixed, is_written_out, parse_pattern, with_query

ALLOW = Destinations(
    "https://shop.example",
    [parse_pattern(text) for text in ("good.com", "pay.example:8443", "*.partner.example", "bücher.example")],
)


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("/", "/"),
        ("/mfa?user=1#top", "/mfa?user=1#top"),
        ("/a/../b", "/a/../b"),
        ("/%09/evil.com", "/%09/evil.com"),
        ("/grüße", "/gr%C3%BC%C3%9Fe"),
        ("/a b", "/a%20b"),
        ("https://shop.example", "https://shop.example"),
        ("https://shop.example/x", "https://shop.example/x"),
        ("HTTPS://SHOP.example:443/x", "https://shop.example/x"),
        ("https://good.com?next=//evil.com", "https://good.com?next=//evil.com"),
        ("https://good.com#@evil.com", "https://good.com#@evil.com"),
        ("https://g%6Fod.com/", "https://good.com/"),
        ("https://pay.example:8443/", "https://pay.example:8443/"),
        ("https://eu.partner.example/", "https://eu.partner.example/"),
        ("https://a.b.partner.example/", "https://a.b.partner.example/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://BÜCHER。example/", "https://xn--bcher-kva.example/"),
    ],
)
def test_what_is_allowed_is_sent_as_a_browser_reads_it(address: str, sent: str) -> None:
    assert ALLOW.check(address) == sent


@pytest.mark.parametrize(
    "address",
    [
        "",
        "//evil.com",
        "//good.com",
        "///evil.com",
        "/\\evil.com",
        "\\/\\/evil.com",
        "/\t/evil.com",
        "\t//evil.com",
        " //evil.com",
        "/x ",
        "/x\u00a0",
        "https:evil.com",
        "https:/evil.com",
        "https:///evil.com",
        "https:\\\\evil.com",
        "https://evil.com",
        "https://evil.com\\@good.com",
        "https://good.com\\.evil.com",
        "https://good.com@evil.com",
        "https://user@good.com/",
        "https://user:password@good.com/",
        "https://good.com.evil.com/",
        "https://evil.com#good.com",
        "https://evil.com?good.com",
        "https://evilgood.com/",
        "https://good.com./",
        "https://good.com:444/",
        "https://good.com:443x/",
        "https://good.com:99999/",
        "https://good.com。evil.com/",
        "https://good.com%2eevil.com/",
        "https://good.com%00.evil.com/",
        "https://good.com%2fevil.com/",
        "https://pay.example/",
        "https://partner.example/",
        "https://evilpartner.example/",
        "https://xn--eu.partner.example/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[good.com]/",
        "https://[::1%25eth0]/",
        "https://[::1]good.com/",
        "http://shop.example/",
        "http://good.com/",
        "ht\ttps://good.com/",
        "https\n://good.com/",
        "java\nscript:alert(1)",
        "javascript:alert(1)",
        "data:text/html,x",
        "mailto:a@good.com",
        "ftp://good.com/",
        "mfa",
        "./mfa",
        "?x=1",
        "#x",
        "good.com/",
        "/x\r\nSet-Cookie: a=1",
        "/x\x00",
        "/x\x7f",
        "/x\x85",
        "/x\ud800",
        "/" + "x" * 10_000,
    ],
)
def test_what_leads_elsewhere_or_could_be_read_in_two_ways_is_refused(address: str) -> None:
    with pytest.raises(AddressError):
        ALLOW.check(address)


def test_the_cause_of_a_refusal_does_not_repeat_the_address() -> None:
    with pytest.raises(AddressError) as refused:
        ALLOW.check("https://canary-host.example/canary")
    assert "canary" not in refused.value.cause


PIECES = (
    "https:", "http:", "//", "/", "\\", "@", ":", "?", "#", "%", "%2f", "%40", ".", "*", "[", "]", " ", "\t", "\n",
    "。", "é", "good.com", "evil.com", "shop.example", "eu.partner.example", "pay.example:8443", "443", "x",
)  # fmt: skip


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.sampled_from(["", "https://", "https://good.com", "/"]),
)
def test_no_address_leads_to_a_place_that_is_not_allowed(text: str, start: str) -> None:
    """Whatever is let through, an independent reader finds one of the allowed hosts in it, or none."""
    try:
        sent = ALLOW.check(start + text)
    except AddressError:
        return
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent
    if sent.startswith("/"):
        assert not sent.startswith(("//", "/\\"))
        return
    url = URL(sent, encoded=True)
    host = url.raw_host or ""
    assert url.scheme == "https"
    assert url.user is None
    assert url.explicit_port in (None, 8443)
    assert host in ("shop.example", "good.com", "pay.example", "xn--bcher-kva.example") or host.endswith(
        ".partner.example"
    )


def test_an_origin_over_http_is_allowed_only_where_it_is_the_public_one() -> None:
    local = Destinations("http://127.0.0.1:8080", [parse_pattern("good.com")])
    assert local.check("http://127.0.0.1:8080/x") == "http://127.0.0.1:8080/x"
    for address in ("http://127.0.0.1/x", "https://127.0.0.1:8080/x", "http://good.com/"):
        with pytest.raises(AddressError):
            local.check(address)


def test_without_a_public_origin_and_a_list_only_paths_are_left() -> None:
    nowhere = Destinations(None, [])
    assert nowhere.check("/x") == "/x"
    with pytest.raises(AddressError):
        nowhere.check("https://shop.example/")


@pytest.mark.parametrize(
    "text", ["", "*", "*.", "https://good.com", "good.com/x", "a b", "good.com:x", "a@b", "*.*.com", "good.com:70000"]
)
def test_an_entry_of_an_allow_list_is_a_host_with_or_without_port(text: str) -> None:
    with pytest.raises(AddressError):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("literal", "whole", "holds"),
    [
        ("https://shop.example/mfa?user=", False, True),
        ("https://shop.example/", False, True),
        ("https://shop.example?", False, True),
        ("https://shop.example#", False, True),
        ("https://shop.example:8443/", False, True),
        ("https://[::1]/", False, True),
        ("HTTPS://shop.example/", False, True),
        ("https://shop.example", True, True),
        ("https://shop.example", False, False),
        ("https://shop.example.", False, False),
        ("https://shop.example:", False, False),
        ("https://shop.example:84", False, False),
        ("https://shop.example\\", False, False),
        ("https://user@shop.example/", False, False),
        ("https://user:1@shop.example/", False, False),
        ("http://shop.example/", True, False),
        ("https:/shop.example/", True, False),
        (" https://shop.example/", True, False),
        ("https://", False, False),
        ("", False, False),
    ],
)
def test_a_host_is_written_out_when_no_expression_can_change_it(literal: str, whole: bool, holds: bool) -> None:
    assert is_written_out(literal, whole=whole) is holds


@given(st.text(max_size=30))
def test_what_follows_a_written_out_host_never_changes_it(text: str) -> None:
    start = "https://shop.example/"
    assert is_written_out(start, whole=False)
    try:
        sent = fixed(start + text)
    except AddressError:
        return
    assert URL(sent, encoded=True).raw_host == "shop.example"
    assert sent.isascii()
    assert sent.isprintable()


@pytest.mark.parametrize(
    ("address", "items", "result"),
    [
        ("/x", [("a", "1")], "/x?a=1"),
        ("/x#top", [("a", "1")], "/x?a=1#top"),
        ("/x?b=2#top", [("a", "1")], "/x?b=2&a=1#top"),
        ("/x?a=0&b=2&a=3", [("a", "1")], "/x?a=1&b=2"),
        ("/x?%61=0", [("a", "1")], "/x?a=1"),
        ("/x?b=%7E&c", [("a", "ä&=#?/ +")], "/x?b=%7E&c&a=%C3%A4%26%3D%23%3F%2F+%2B"),
        ("https://shop.example", [("a", "1")], "https://shop.example?a=1"),
        ("/x?a=1", [], "/x?a=1"),
        ("/x", [("a", "1"), ("b", "2")], "/x?a=1&b=2"),
    ],
)
def test_a_parameter_replaces_those_of_its_name_and_leaves_the_rest(
    address: str, items: list[tuple[str, str]], result: str
) -> None:
    assert with_query(address, items) == result
