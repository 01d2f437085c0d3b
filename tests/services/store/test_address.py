"""Where the store is: what can be written, what is refused, and that no password is ever shown."""

from __future__ import annotations

import pytest

from proxy.services.store.address import StoreAddress, hide_password, parse_store


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("memory", StoreAddress("memory"), "memory"),
        ("sqlite", StoreAddress("sqlite"), "sqlite"),
        ("sqlite:a/b.db", StoreAddress("sqlite", "a/b.db"), "sqlite:a/b.db"),
        ("sqlite:/a.db", StoreAddress("sqlite", "/a.db"), "sqlite:/a.db"),
        ("redis://h", StoreAddress("redis", nodes=(("h", 6379),)), "redis://h:6379"),
        ("redis://[::1]:7/3", StoreAddress("redis", nodes=(("::1", 7),), database=3), "redis://[::1]:7/3"),
        (
            "rediss://u:test-only-%40p@h:1?ca=/ca.pem&cert=c&key=k",
            StoreAddress(
                "redis",
                nodes=(("h", 1),),
                tls=True,
                username="u",
                password="test-only-@p",
                ca="/ca.pem",
                cert="c",
                key="k",
            ),
            "rediss://u:***@h:1?ca=/ca.pem&cert=c&key=k",
        ),
        (
            "redis+cluster://:test-only@a:1,b:2,[::1]",
            StoreAddress(
                "redis", nodes=(("a", 1), ("b", 2), ("::1", 6379)), cluster=True, username=None, password="test-only"
            ),
            "redis+cluster://:***@a:1,b:2,[::1]:6379",
        ),
        ("rediss+cluster://h", StoreAddress("redis", nodes=(("h", 6379),), cluster=True, tls=True), "rediss+cluster://h:6379"),
    ],
)  # fmt: skip
def test_an_address_is_read_and_shown_without_its_password(text: str, address: StoreAddress, shown: str) -> None:
    found = parse_store(text)
    assert found == address
    assert str(found) == shown
    assert "test-only" not in repr(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the store is"),
        ("Memory", "the store is"),
        ("memcached://h", "the store is"),
        ("redis:h", "the store is"),
        ("redis+x://h", "the store is"),
        ("sqlite:", "path of a file"),
        ("sqlite://x.db", "path of a file"),
        ("redis://", "needs a host"),
        ("redis://:test-only@:1", "needs a host"),
        ("redis://h:0", "needs a host"),
        ("redis://h:test-only", "host and port"),
        ("redis://h:99999", "host and port"),
        ("redis://[::1", "the store is"),
        ("redis://a,b", "cluster"),
        ("redis://h/x", "database"),
        ("redis+cluster://h/1", "only one"),
        ("redis://h?ca=x", "rediss"),
        ("rediss://h?password=test-only", "rediss"),
        ("rediss://h?cert=x", "go together"),
        ("redis://u:test-only#x@h", "%23"),
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        parse_store(text)
    assert "test-only" not in str(refused.value)


def test_a_password_in_a_line_is_hidden_with_its_length() -> None:
    line = "store: redis://user:test-only-p:w@h:1/x"
    assert hide_password(line) == "store: redis://user:*************@h:1/x"
    assert hide_password("store: rediss+cluster://:test-only@h") == "store: rediss+cluster://:*********@h"
    assert hide_password("store: reddis://u:test/only?@a@h") == "store: reddis://u:************@h"
    assert hide_password("upstream: http://user@h:1/x") == "upstream: http://user@h:1/x"
