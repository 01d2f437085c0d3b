"""Addresses that an attacker would have a browser sent to: known tricks in many spellings, and pieces put together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from urllib.parse import quote

from hypothesis import strategies as st

# What each leads to where a check is naive: group E of the threat list, and what is known of other proxies.
KNOWN = (
    "//evil.com", "///evil.com", "////evil.com", "/\\evil.com", "\\\\evil.com", "\\/evil.com", "/%09/evil.com",
    "/\t/evil.com", "/\n/evil.com", "/\r/evil.com", "\t//evil.com", "\x00//evil.com", "\x01//evil.com", " //evil.com",
    "https:evil.com", "https:/evil.com", "https:///evil.com", "https:\\evil.com", "https:\\\\evil.com",
    "https:/\\evil.com",
    "\\/\\/evil.com", "/\\/evil.com", "//evil.com/..;/good.com", "https://good.com@evil.com",
    "https://good.com:443@evil.com", "https://good.com%40evil.com", "https://good.com\\@evil.com",
    "https://evil.com\\@good.com", "https://evil.com\\.good.com", "https://good.com.evil.com",
    "https://evil.com#good.com",
    "https://evil.com?good.com", "https://evil.com/good.com", "https://evil.com;good.com", "https://evil.com&good.com",
    "https://evil.com\tgood.com", "https://evil.com\x00good.com", "https://evil.com%00.good.com",
    "https://evil.com%2f.good.com", "https://evil.com%5c.good.com", "https://evil.com%23.good.com",
    "https://evil.com%3f@good.com", "javascript:alert(1)", "java\nscript:alert(1)", "java\tscript:alert(1)",
    "\x01javascript:alert(1)", "javascript://good.com/%0aalert(1)", "data:text/html,x", "vbscript:x",
    "blob:https://good.com/x",
    "file:///etc/passwd", "view-source:https://good.com", "about:blank", "intent://good.com#Intent;end",
    "%0d%0aLocation: https://evil.com", "/x\r\nLocation: https://evil.com", "/x%0d%0aLocation: https://evil.com",
    "/x\u560d\u560aLocation: https://evil.com", "ht\ttps://evil.com", "https\x00://evil.com", "https://evil。com",
    "https://good.com。evil.com", "https://good．com．evil．com", "https://ｅｖｉｌ.com", "https://evil.com／good.com",
    "https://good.com＠evil.com", "https://good.com：443@evil.com", "https://good。com", "https://gооd.com",
    "https://ⅽom", "https://evil.com%E3%80%82good.com", "https://evilgood.com", "https://evilpartner.example",
    "https://partner.example.evil.com", "https://.partner.example", "https://a..partner.example",
    "https://partner.example",
    "https://good.com:444", "https://good.com:0443", "https://good.com:00443/", "https://good.com:65536",
    "https://good.com:",
    "https://good.com:@evil.com", "https://good.com:8443:443", "https://pay.example", "https://pay.example:443",
    "https://user@good.com", "https://user:pass@good.com", "https://:@good.com", "https://@good.com",
    "https://@evil.com",
    "/a/../../..//evil.com", "/..//evil.com", "/.//evil.com", "/./\\evil.com", "/a/%2e%2e//evil.com", "..//evil.com",
    ".//evil.com",
    "/;//evil.com", "/?//evil.com", "/#//evil.com", "/@evil.com", "/:@evil.com", "@evil.com", ".evil.com", ":evil.com",
    ":443@evil.com", ":8443", "evil.com", "?//evil.com", "#//evil.com", "https://[::1]", "https://[::ffff:127.0.0.1]",
    "https://127.1", "https://0x7f000001", "https://2130706433", "https://0177.0.0.1", "https://127.0.0.1.",
    "https://[good.com]", "https://good.com]", "https://[good.com", "https://%5b::1%5d", "https://localhost",
    "http://good.com", "HTTPS://EVIL.COM", "hTtPs://GoOd.CoM.EvIl.CoM", "wss://good.com", "ftp://good.com", "https://",
    "https://?", "https://#", "https:// good.com", "https://good.com evil.com", "https://good.com\u00a0",
    "https://good\u00ad.com",
    "https://good\u200b.com", "https://good.com\u2028evil.com", "https://xn--good-.com", "https://xn--",
    "https://good_com",
    "https://good.com\u0338", "https://ﬁ.com", "https://good.com/\u202emoc.live", "https://-good.com",
    "https://good-.com",
    "//good.com", "///good.com/", "https://good.com.", "https://good.com..", "/\u2215evil.com", "/\uff0fevil.com",
)  # fmt: skip

_STARTS = (
    "",
    "https://",
    "https:",
    "//",
    "/",
    "/\\",
    "\\",
    "https://good.com",
    "https://shop.example",
    "https://evil.com@",
    "HTTPS:/",
)
_HOSTS = (
    "evil.com",
    "good.com",
    "shop.example",
    "a.partner.example",
    "evil.com:443",
    "good.com:8443",
    "[::1]",
    "g%6fod.com",
)
_JOINTS = (
    "",
    "@",
    "\\@",
    "#@",
    "?@",
    "/@",
    ":@",
    ".",
    "%2e",
    "。",
    "/",
    "\\",
    "%2f",
    "%5c",
    "#",
    "?",
    ";",
    "\t",
    "%09",
    ":443@",
    "%40",
)
_ENDS = ("", "/", "?x=1", "#good.com", "/..", ":443", "\\", "%00")


def spellings(text: str) -> Iterator[str]:
    """Give a text as it is, escaped once more and twice, in capitals, with a tab or line break in its joints."""
    yield text
    yield quote(text, safe="")
    yield quote(quote(text, safe=""), safe="")
    yield quote(text, safe=":/")
    yield text.upper()
    for white in "\t\n\r":
        for at in range(0, min(len(text), 12), 2):
            yield text[:at] + white + text[at:]
    yield " " + text
    yield text + " "
    yield text.replace("/", "\\")
    yield text.replace("//", "/\\")
    yield text.replace(".", "。")
    yield text.replace("/", "\uff0f")
    yield text + "/" + "x" * 10_000


def tricks() -> list[str]:
    """List what is tried on every address: each once, always the same."""
    known = [spelling for text in KNOWN for spelling in spellings(text)]
    made = [start + one + joint + other + end
            for start, one, joint, other, end in product(_STARTS, _HOSTS[:4], _JOINTS, _HOSTS, ("",))]  # fmt: skip
    ended = [start + host + end for start, host, end in product(_STARTS, _HOSTS, _ENDS)]
    return list(dict.fromkeys([*known, *ended, *made]))


PIECES = (
    *_STARTS, *_HOSTS, *_JOINTS, *_ENDS,
    "\x00", "\n", "\r", " ", "\u3002", "\uff0e", "\u2024", "ß", "ς", "\u200d", "xn--",
    "%", "%u002f", "[", "]", "|", "^", "<", "*", "..", "0x7f", "1", "é", "\U0001f600",
)  # fmt: skip

addresses = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=9).map("".join)
