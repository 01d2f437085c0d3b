"""B: request lines, targets, Host and Upgrade."""

from __future__ import annotations

from proxy.edge.options import Trust

from .cases import CANARY, Case, Outcome, Sent, forwarded, get, post, raw, refused, request

_SECOND = get(target="/second")
_DENY_UPLOADS = "- {name: deny-uploads, match: {path: /upload}, before: [{deny: {}}]}"
_LISTED = Trust(hosts=frozenset({"a", "shop.example", "*.shop.example"}))


def _host(value: str) -> bytes:
    return raw("GET / HTTP/1.1", f"Host: {value}", f"Cookie: sid={CANARY.decode()}")


B = (
    Case("B1", "no Host", raw("GET / HTTP/1.1", f"Cookie: sid={CANARY.decode()}"), refused(400)),
    Case("B2", "two Hosts", get("Host: b"), refused(400)),
    Case("B2", "the same Host twice", get("host: a"), refused(400)),
    Case("B3", "HTTP/1.2", get(version="1.2"), refused(400)),
    Case("B4", "http/1.1", raw("GET / http/1.1", "Host: a"), refused(400)),
    Case("B5", "path without a slash", get(target="a"), refused(400)),
    Case("B6", "GET *", get(target="*"), refused(400)),
    *(
        Case("B7", f"{byte!r} in the path", get(target=f"/{byte}x"), refused(400))
        for byte in ("\xc3\xa9", "\x01", "\t", "\x7f", "\x00")
    ),
    Case("B8", "lower-case method", request("get"), refused(400)),
    Case("B8", "unknown method", request("BREW"), refused(400)),
    Case("B9", "preface of HTTP/2", raw("PRI * HTTP/2.0", body=b"SM\r\n\r\n"), refused(400)),
    Case("B10", "request line without a version", raw("GET /"), refused(505)),
    Case("B11", "HTTP/0.9", get(version="0.9"), refused(505)),
    Case("B12", "HTTP/2.0", get(version="2.0"), refused(505)),
    *(
        Case(number, f"Host {value!r}", _host(value), refused(400))
        for number, value in (
            ("B13", ""), ("B14", "a, b"), ("B15", "good@evil"), ("B16", "a/b?c#d"), ("B16", "a b"), ("B17", "a:x"),
            ("B17", "a:99999"), ("B17", "a:80:80"), ("B17", "[::1"), ("B17", "[zz::1]"),
        )
    ),
    Case("B18", "Host that is not served", _host("evil.example"), refused(421), trust=_LISTED),
    Case("B18", "Host that ends like one that is served", _host("evilshop.example"), refused(421), trust=_LISTED),
    Case("B18", "no Host where Hosts are listed", raw("GET / HTTP/1.0"), refused(421), trust=_LISTED),
    Case(
        "B18", "Host that is served", _host("WWW.shop.example:8443"),
        forwarded(fields={"X-Forwarded-Host": "WWW.shop.example:8443"}), trust=_LISTED,
    ),
    Case(
        "B18", "any Host where none is listed", _host("evil.example"), forwarded(fields={"Host": "auth.internal:8443"}),
        note="who lists no hosts serves all; the upstream's Host is the one that the operator wrote",
    ),
    Case("B19", "absolute form of another host", get(target="http://evil/x"), refused(400)),
    Case("B19", "absolute form of the same host", get(target="http://a/x"), refused(400)),
    Case("B20", "ftp", get(target="ftp://evil/x"), refused(400)),
    Case("B21", "CONNECT", raw("CONNECT evil:443 HTTP/1.1", "Host: evil:443", body=_SECOND), refused(405)),
    Case("B22", "TRACE", request("TRACE"), refused(405)),
    Case("B22", "TRACK", request("TRACK"), refused(400), note="unknown to the parser"),
    Case("B23", "OPTIONS *", request("OPTIONS", target="*"), refused(400)),
    *(
        Case(number, f"upgrade to {name}, and a second request",
             get("Connection: Upgrade", f"Upgrade: {name}", body=_SECOND), refused(400))
        for number, name in (("B24", "h2c"), ("B25", "foo"), ("B25", "websocket, foo"))
    ),
    Case(
        "B26", "upgrade to websocket, and a second request",
        get("Connection: Upgrade", "Upgrade: websocket", body=_SECOND), refused(400),
        # The upstream may have been asked, and may even have declined, before the second request came.
        slices=tuple(Outcome((status,), (Sent(fields={"Upgrade": "websocket"}),), ends=True) for status in (200, 400)),
    ),
    Case("B26", "upgrade that Connection does not name", get("Upgrade: websocket"), refused(400)),
    Case("B26", "upgrade of a POST", post("Connection: Upgrade", "Upgrade: websocket"), refused(400)),
    Case(
        "B26", "upgrade with a body", get("Connection: Upgrade", "Upgrade: websocket", "Content-Length: 1", body=b"x"),
        refused(400),
    ),
    Case("B26", "WebSocket of the first draft", get("Sec-WebSocket-Key1: x"), refused(400)),
    Case(
        "B27", "64 requests and garbage", b"".join(get(target=f"/{n}") for n in range(64)) + b"\x00garbage\r\n\r\n",
        Outcome((*[200] * 64, 400), tuple(Sent(target=f"/{n}") for n in range(64)), ends=True),
    ),
    Case(
        "B28", "Expect on a route that is denied", post("Expect: 100-continue", "Content-Length: 5", target="/upload"),
        Outcome((403,), ends=True), rules=_DENY_UPLOADS,
    ),
    Case("B28", "Expect foo", post("Expect: foo", "Content-Length: 1", body=b"x"), refused(417)),
    Case("B", "empty lines before a request", b"\r\n\r\n" + get(), forwarded()),
    Case("B", "HTTP/1.0 without Host", raw("GET / HTTP/1.0"), forwarded(ends=True)),
    Case("B", "IPv6 Host", _host("[::1]:80"), forwarded(fields={"X-Forwarded-Host": "[::1]:80"})),
    Case("B", "a denied request, and one that is not", post(target="/upload") + _SECOND,
         Outcome((403, 200), (Sent(target="/second"),)), rules=_DENY_UPLOADS),
    Case("B", "TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", refused(400)),
    Case("B", "a secret that is no request", CANARY + b"\r\n\r\n", refused(400)),
)  # fmt: skip
