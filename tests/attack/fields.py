"""C: what header fields may say, and what becomes of them."""

from __future__ import annotations

from ipaddress import ip_network

from proxy.edge.options import Trust

from .cases import CANARY, Case, Outcome, denied, forwarded, get, post, raw, refused

_TOKEN = f"Bearer {CANARY.decode()}-token"
_TRUSTED = Trust(proxies=(ip_network("127.0.0.0/8"),))
_SEEN = """
- name: seen
  match: {path: /}
  before:
    - headers: {set: {X-Seen: "${request.ip} ${request.href}"}}
"""
_IDENTITY = "- {name: identity, before: [{headers: {set: {X-Auth-User: shopper-1}}}]}"
_COOKIE = '- {name: cookie, match: {path: /}, before: [{headers: {set: {X-Seen: "${request.cookies.sid}"}}}]}'
_NAMED = '- {name: named, match: {path: /}, before: [{headers: {set: {X-Name: "${request.query.name}"}}}]}'
_TENFOLD = (
    '- {name: tenfold, match: {path: /}, before: [{headers: {set: {X-Name: "' + "${request.query.name}" * 10 + '"}}}]}'
)
_ANSWERED = '- {name: named, match: {path: /}, after: [{headers: {set: {X-Name: "${request.query.name}"}}}]}'
_HERE = "127.0.0.1 http://a/"


def _claims(number: str, lines: tuple[str, ...], dropped: dict[str, str | None], believed: dict[str, str | None],
            seen: str = _HERE) -> tuple[Case, Case]:  # fmt: skip
    """A claim about the client: nobody's word from a stranger, a trusted proxy's word from one."""
    name = lines[0].partition(":")[0]
    return (
        Case(number, f"{name} of a stranger", get(*lines), forwarded(fields={"X-Seen": _HERE, **dropped}), rules=_SEEN),
        Case(number, f"{name} of a trusted proxy", get(*lines), forwarded(fields={"X-Seen": seen, **believed}),
             rules=_SEEN, trust=_TRUSTED),
    )  # fmt: skip


C = (
    Case(
        "C1", "Connection names Authorization", get("Connection: close, Authorization"),
        forwarded(fields={"Authorization": _TOKEN, "Connection": None}, ends=True),
    ),
    Case(
        "C2", "Connection names X-Forwarded-For", get("Connection: X-Forwarded-For"),
        forwarded(fields={"X-Forwarded-For": "127.0.0.1", "Connection": None}),
    ),
    Case(
        "C3", "Connection names X-Auth-User", get("Connection: X-Auth-User"),
        forwarded(fields={"X-Auth-User": "shopper-1", "Connection": None}), rules=_IDENTITY,
    ),
    Case(
        "C4", "Connection names Content-Length", post("Connection: Content-Length", "Content-Length: 3", body=b"abc"),
        forwarded("POST", body=b"abc", fields={"Content-Length": "3", "Connection": None}),
    ),
    Case(
        "C5", "Connection names Host", get("Connection: Host, Via, Cookie"),
        forwarded(fields={"Host": "auth.internal:8443", "Cookie": f"sid={CANARY.decode()}-cookie", "Connection": None}),
    ),
    *(
        Case("C5", f"{name} ends here", get(f"{name}: x"), forwarded(fields={name: None}))
        for name in ("Keep-Alive", "TE", "Trailer", "Proxy-Authorization", "Proxy-Authenticate", "Proxy-Connection")
    ),
    *_claims("C6", ("X-Forwarded-For: 6.6.6.6",), {"X-Forwarded-For": "127.0.0.1"},
             {"X-Forwarded-For": "6.6.6.6, 127.0.0.1"}, "6.6.6.6 http://a/"),
    *_claims("C7", ("X-Forwarded-Host: evil",), {"X-Forwarded-Host": "a"}, {"X-Forwarded-Host": "evil"},
             "127.0.0.1 http://evil/"),
    *_claims("C8", ("X-Forwarded-Proto: https",), {"X-Forwarded-Proto": "http"}, {"X-Forwarded-Proto": "https"},
             "127.0.0.1 https://a/"),
    *_claims("C9", ("X-Forwarded-Uri: /admin",), {"X-Forwarded-Uri": None}, {"X-Forwarded-Uri": "/admin"}),
    *_claims("C10", ("X-Forwarded-Port: 443",), {}, {"X-Forwarded-Port": "443"}),
    *_claims("C11", ("Forwarded: for=6.6.6.6;proto=https;host=evil",),
             {"Forwarded": 'for=127.0.0.1;host="a";proto=http'},
             {"Forwarded": 'for=6.6.6.6;host="evil";proto=https, for=127.0.0.1'}, "6.6.6.6 https://evil/"),
    *_claims("C12", ("X-Real-IP: 6.6.6.6",), {"X-Real-IP": None}, {"X-Real-IP": "6.6.6.6"}),
    *_claims("C13", ("X-Original-URL: /admin", "X-Rewrite-URL: /admin"),
             {"X-Original-URL": None, "X-Rewrite-URL": None}, {"X-Original-URL": "/admin", "X-Rewrite-URL": "/admin"}),
    Case(
        "C7", "two X-Forwarded-Host of a trusted proxy", get("X-Forwarded-Host: a", "X-Forwarded-Host: evil"),
        refused(400), trust=_TRUSTED,
    ),
    Case("C14", "X_Auth_User", get("X_Auth_User: root"), refused(400), rules=_IDENTITY),
    Case("C15", "X-Auth_User", get("X-Auth_User: root"), refused(400), rules=_IDENTITY),
    Case(
        "C16", "X-Auth-User three times", get("X-Auth-User: root", "x-auth-user: root", "X-AUTH-USER: root"),
        forwarded(fields={"X-Auth-User": "shopper-1"}), rules=_IDENTITY,
    ),
    Case("C17", "space after X-Auth-User", get("x-auth-user : root"), refused(400), rules=_IDENTITY),
    Case("C18", "two Authorizations", get("Authorization: Bearer a", "authorization: Bearer b"), refused(400)),
    Case("C18", "two Content-Types", post("Content-Type: a/b", "content-type: a/b"), refused(400)),
    Case("C19", "two session cookies", get("Cookie: sid=evil"), denied(400), rules=_COOKIE),
    Case("C20", "one cookie twice", raw("GET / HTTP/1.1", "Host: a", "Cookie: sid=1; sid=2"), denied(400),
         rules=_COOKIE),
    Case("C20", "one cookie twice, which no rule reads", raw("GET / HTTP/1.1", "Host: a", "Cookie: sid=1; sid=2"),
         forwarded(fields={"Cookie": "sid=1; sid=2"}),
         note="no rule decides by it, so nobody can be misled: the upstream gets the line as it is"),
    *(
        Case(number, f"{what} from a query into a header", get(target=f"/?name={value}"), denied(400), rules=_NAMED,
             note="400 instead of 500: the fault is the request's, and is told as such")
        for number, what, value in (
            ("C21", "CR LF", "a%0D%0ASet-Cookie:%20x=1"), ("C22", "cr lf", "a%0d%0aSet-Cookie:%20x=1"),
            ("C22", "LF", "a%0aX:1"), ("C22", "CR", "a%0dX:1"), ("C24", "NUL", "a%00b"),
        )
    ),
    Case("C21", "CR LF from a query into a header of the answer", get(target="/?name=a%0D%0ASet-Cookie:%20x=1"),
         Outcome((400,), forwarded(target="/?name=a%0D%0ASet-Cookie:%20x=1").sent), rules=_ANSWERED,
         note="the upstream was asked already; the client gets an error without the header"),
    Case("C23", "low-byte CR LF from a query into a header", get(target="/?name=a%C4%8D%C4%8AX:1"),
         forwarded(target="/?name=a%C4%8D%C4%8AX:1", fields={"X-Name": b"a\xc4\x8d\xc4\x8aX:1".decode("latin-1")}),
         rules=_NAMED, note="UTF-8 keeps both bytes of each letter, and none of them is CR or LF"),
    Case("C25", "expansion to 8 kB", get(target="/?name=" + "a" * 800),
         forwarded(target="/?name=" + "a" * 800, fields={"X-Name": "a" * 8_000}), rules=_TENFOLD,
         note="a value of 8 kB is one that clients may send too"),
    Case("C25", "expansion to 9 kB", get(target="/?name=" + "a" * 900), denied(400), rules=_TENFOLD),
    Case("C27", "101 headers", get(*(f"X-{n}: 1" for n in range(98))), refused(431)),
    Case("C27", "100 headers", get(*(f"X-{n}: 1" for n in range(97))), forwarded(fields={"X-96": "1"})),
    Case("C28", "value of 8,200 bytes", get("X: " + "a" * 8_200), forwarded(fields={"X": "a" * 8_200}),
         note="one long value is no worse than many short ones: what is bounded is the head"),
    Case("C28", "value of 32,800 bytes", get("X: " + "a" * 32_800), refused(431)),
    Case("C28", "name of 32,800 bytes", get("X" * 32_800 + ": a"), refused(431)),
    Case("C29", "target of 8,200 bytes", get(target="/" + "a" * 8_200), refused(414)),
    Case("C30", "head over 32 KiB", get(*(f"X-{n}: {'a' * 8_000}" for n in range(5))), refused(431)),
)  # fmt: skip
