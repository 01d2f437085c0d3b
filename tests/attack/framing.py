"""A: where a request ends. A44, the same verdict however the bytes are cut, is how every case is delivered."""

from __future__ import annotations

from .cases import CANARY, CHUNKED, LAST, Case, forwarded, get, post, raw, refused


def _chunk(line: bytes) -> bytes:
    return post(CHUNKED, body=line + b"a\r\n" + LAST)


A = (
    Case("A1", "CL, then TE", post("Content-Length: 6", CHUNKED, body=b"0\r\n\r\nX"), refused(400)),
    Case("A1", "TE, then CL", post(CHUNKED, "Content-Length: 6", body=b"0\r\n\r\nX"), refused(400)),
    Case("A2", "TE xchunked", post("Transfer-Encoding: xchunked", body=LAST), refused(400)),
    Case("A3", "TE identity", post("Transfer-Encoding: identity"), refused(400)),
    Case("A4", "TE chunked, identity", post("Transfer-Encoding: chunked, identity", body=LAST), refused(400)),
    Case("A5", "TE chunked;q=1", post("Transfer-Encoding: chunked;q=1", body=LAST), refused(400)),
    Case("A6", "TE in quotes", post('Transfer-Encoding: "chunked"', body=LAST), refused(400)),
    Case("A7", "TE after a vertical tab", post("Transfer-Encoding: \x0bchunked", body=LAST), refused(400)),
    Case("A7", "TE before a vertical tab", post("Transfer-Encoding: chunked\x0b", body=LAST), refused(400)),
    Case("A7", "TE before a tab", post("Transfer-Encoding: chunked\t", body=LAST), refused(400)),
    Case("A8", "two TE", post(CHUNKED, CHUNKED, body=LAST), refused(400)),
    Case("A8", "two TE, one of them identity", post(CHUNKED, "Transfer-Encoding: identity", body=LAST), refused(400)),
    Case("A9", "TE gzip, chunked", post("Transfer-Encoding: gzip, chunked", body=LAST), refused(501)),
    Case("A10", "TE with an empty coding", post("Transfer-Encoding: ,chunked", body=LAST), refused(400)),
    Case("A11", "TE with an underscore", post("Transfer_Encoding: chunked", body=LAST), refused(400)),
    Case(
        "A11", "TE with an underscore and CL", post("Transfer_Encoding: chunked", "Content-Length: 1", body=b"X"),
        refused(400),
    ),
    Case("A12", "TE in HTTP/1.0", post(CHUNKED, version="1.0", body=LAST), refused(400)),
    *(
        Case(number, f"CL {value!r}", post(f"Content-Length: {value}", body=b"aaaaa"), refused(400))
        for number, value in (
            ("A13", "+5"), ("A14", "1_0"), ("A15", "0x5"), ("A16", "-1"), ("A17", ""), ("A18", "5, 5"), ("A21", "5 6"),
            ("A22", str(2**64)),
        )
    ),
    Case("A19", "the same CL twice", post("Content-Length: 5", "Content-Length: 5", body=b"aaaaa"), refused(400)),
    Case("A20", "two CL", post("Content-Length: 5", "Content-Length: 6", body=b"aaaaa"), refused(400)),
    Case("A23", "CL 2^63", post(f"Content-Length: {2**63}"), refused(413)),
    Case("A24", "CL 2^64-1", post(f"Content-Length: {2**64 - 1}"), refused(413)),
    Case(
        "A25", "CL 010", post("Content-Length: 010", body=b"0123456789"),
        forwarded("POST", body=b"0123456789", fields={"Content-Length": "10"}),
    ),
    Case(
        "A26", "CL with a space after it", post("Content-Length: 5 ", body=b"abcde"),
        forwarded("POST", body=b"abcde", fields={"Content-Length": "5"}),
    ),
    Case("A27", "bare LF lines", b"GET / HTTP/1.1\nHost: a\nCookie: sid=" + CANARY + b"\n\n", refused(400)),
    Case("A28", "bare LF within a header", raw("GET / HTTP/1.1", "Host: a\nX: b"), refused(400)),
    Case("A29", "bare CR", raw("GET / HTTP/1.1", "Host: a\rX: b"), refused(400)),
    Case("A29", "bare CR within a value", get("X: a\rb"), refused(400)),
    Case("A30", "folded line", raw("GET / HTTP/1.1", "Host: a", "X: b", " c"), refused(400)),
    Case("A30", "folded TE", post("Transfer-Encoding:", " chunked", body=LAST), refused(400)),
    Case("A31", "space before the colon", get("X : v"), refused(400)),
    Case("A31", "space before the colon of TE", post("Transfer-Encoding : chunked", body=LAST), refused(400)),
    *(
        Case(number, f"{byte!r} in a secret value", get(f"Authorization: Bearer {CANARY.decode()}{byte}"), refused(400))
        for number, byte in (("A32", "\x00"), ("A33", "\x01"), ("A34", "\x7f"))
    ),
    Case("A32", "NUL in a name", get("X\x00: v"), refused(400)),
    Case("A35", "empty name", get(": b"), refused(400)),
    Case("A36", "indented first header", raw("POST / HTTP/1.1", "\tContent-Length: 1", "Host: a"), refused(400)),
    *(
        Case("A37", f"chunk size {line!r}", _chunk(line), refused(400), late=True)
        for line in (
            b"0x1\r\n", b"+1\r\n", b"-1\r\n", b"1 \r\n", b" 1\r\n", b"00000000000000001\r\n", b"1\n", b"1;a\rb\r\n",
            b"1;a\nb\r\n", b"\r\n", b"g\r\n", b"1_0\r\n", b"1;a\x00\r\n",
        )
    ),
    Case("A37", "no line end after a chunk", post(CHUNKED, body=b"1\r\naX0\r\n\r\n"), refused(400), late=True),
    Case("A37", "LF alone after a chunk", post(CHUNKED, body=b"1\r\na\n0\r\n\r\n"), refused(400), late=True),
    Case("A38", "chunk of 16 EiB", post(CHUNKED, body=b"ffffffffffffffff\r\nX"), refused(413), late=True),
    Case(
        "A39", "chunk extension of 100 kB", post(CHUNKED, body=b"1;" + b"e" * 100_000 + b"\r\nX\r\n" + LAST),
        refused(400), late=True,
    ),
    Case(
        "A39", "chunk extension of 200 bytes", post(CHUNKED, body=b"1;" + b"e" * 200 + b"\r\nX\r\n" + LAST),
        forwarded("POST", body=b"X"),
    ),
    Case(
        "A40", "chunk size with 15 zeros", post(CHUNKED, body=b"0000000000000003\r\nabc\r\n" + LAST),
        forwarded("POST", body=b"abc"),
    ),
    Case(
        "A40", "chunk size with 40 zeros", post(CHUNKED, body=b"0" * 40 + b"3\r\nabc\r\n" + LAST), refused(400),
        late=True,
    ),
    Case(
        "A41", "trailer Content-Length", post(CHUNKED, body=b"0\r\nContent-Length: 1\r\n\r\n"), refused(400), late=True
    ),
    Case(
        "A41", "trailer Transfer-Encoding", post(CHUNKED, body=b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        refused(400), late=True,
    ),
    Case(
        "A42", "trailers Host and Authorization",
        post(CHUNKED, body=b"1\r\nX\r\n0\r\nAuthorization: Bearer evil\r\nHost: evil\r\n\r\n"),
        forwarded("POST", body=b"X", fields={"Authorization": f"Bearer {CANARY.decode()}-token", "Trailer": None}),
    ),
    Case("A43", "200 trailers", post(CHUNKED, body=b"0\r\n" + b"A: b\r\n" * 200 + b"\r\n"), refused(400), late=True),
    Case(
        "A", "chunks with extensions", post(CHUNKED, body=b"3;a=b\r\nabc\r\n2\r\nde\r\n" + LAST),
        forwarded("POST", body=b"abcde"),
    ),
    Case("A", "obs-text in a value", get("X: \xe9"), forwarded(fields={"X": "\xe9"})),
)  # fmt: skip
