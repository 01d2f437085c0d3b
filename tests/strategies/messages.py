"""Heads and chunked bodies: mostly what HTTP allows, with what it forbids here and there."""

from __future__ import annotations

from hypothesis import strategies as st

# Words as often as bytes of any kind, so that much gets past the parser and into the checks behind it.
_NAMES = (
    b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"Via", b"Forwarded",
    b"Cookie",
    b"X-Forwarded-For", b"X-Forwarded-Host", b"Authorization", b"Content-Type", b"Set-Cookie", b"Location",
    b"Trailer", b"TE",
    b"Keep-Alive", b"Proxy-Connection", b"X_Under", b"X", b"content-LENGTH", b"A B", b"", b"A\x00", b"\xc3\xa4",
    b"HTTP2-Settings",
)  # fmt: skip
_VALUES = (
    b"a", b"", b"0", b"1", b"5", b"+5", b"010", b"5, 5", b"18446744073709551616", b"chunked", b"Chunked",
    b"gzip, chunked",
    b"identity", b",chunked", b"close", b"keep-alive", b"close, X", b"Upgrade", b"websocket", b"h2c", b"100-continue",
    b"a.example:8080", b"[::1]", b"a b", b"a, b", b"good@evil", b"for=1.2.3.4;host=b", b"1.1 vestibule", b"text/html",
    b"\xff",
    b"\x01", b"\x7f", b"a\tb", b"a=1; b=2", b"/x",
)  # fmt: skip
_TARGETS = (
    b"/",
    b"/a/b?c=d",
    b"/%61/../b",
    b"//a",
    b"/a;b",
    b"*",
    b"http://a/",
    b"a:443",
    b"/\xc3\xa9",
    b"/a#b",
    b"/%00",
    b"/a b",
)
_METHODS = (b"GET", b"POST", b"HEAD", b"OPTIONS", b"get", b"CONNECT", b"TRACE", b"PRI", b"M-SEARCH", b"", b"G\x00T")
_VERSIONS = (
    b"HTTP/1.1",
    b"HTTP/1.1",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"http/1.1",
    b"HTTP/1.10",
    b"",
)
_ENDS = st.sampled_from((b"\r\n",) * 12 + (b"\n", b"\r", b"\r\n "))

_names = st.sampled_from(_NAMES) | st.binary(max_size=4)
_values = st.sampled_from(_VALUES) | st.binary(max_size=8)
_colons = st.sampled_from((b": ",) * 8 + (b":", b" : ", b":\t", b""))


def _line(name: bytes, colon: bytes, value: bytes, end: bytes) -> bytes:
    return name + colon + value + end


_fields = st.lists(st.builds(_line, _names, _colons, _values, _ENDS), max_size=6).map(b"".join)


def _request(method: bytes, target: bytes, version: bytes, end: bytes, host: bytes, fields: bytes) -> bytes:
    return method + b" " + target + b" " + version + end + host + fields + b"\r\n"


request_heads = st.builds(
    _request,
    st.sampled_from(_METHODS),
    st.sampled_from(_TARGETS) | st.binary(max_size=8),
    st.sampled_from(_VERSIONS),
    _ENDS,
    st.sampled_from((b"Host: a\r\n",) * 3 + (b"",)),
    _fields,
)


def _response(version: bytes, status: bytes, reason: bytes, end: bytes, fields: bytes) -> bytes:
    return version + b" " + status + reason + end + fields + b"\r\n"


response_heads = st.builds(
    _response,
    st.sampled_from(_VERSIONS),
    st.sampled_from((b"200", b"200", b"204", b"304", b"401", b"100", b"101", b"103", b"999", b"20", b"2000", b"+20")),
    st.sampled_from((b" OK", b" OK", b" ", b"", b" \xff", b" a\tb", b"  ")),
    _ENDS,
    _fields,
)

_sizes = st.sampled_from(
    (b"0", b"1", b"5", b"a", b"A", b"0005", b"+1", b"0x1", b"1 ", b" 1", b"", b"fffffffffffffffff", b"-1")
)
_extensions = st.sampled_from((b"",) * 6 + (b";a=b", b" ;a", b';a="\r\n"', b";\n", b";" + b"x" * 300))
_data = st.sampled_from((b"a", b"hello", b"0123456789", b"", b"0\r\n\r\n", b"\r\n"))


def _chunk(size: bytes, extension: bytes, end: bytes, data: bytes, after: bytes) -> bytes:
    return size + extension + end + data + after


def _fitting(data: bytes, extension: bytes) -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


_chunks = st.builds(_fitting, _data.filter(len), st.sampled_from((b"", b"", b";a=b")))
_odd = st.builds(_chunk, _sizes, _extensions, _ENDS, _data, _ENDS)
_last = st.sampled_from(
    (b"0\r\n\r\n",) * 4 + (b"0\r\nX: 1\r\n\r\n", b"0\r\n\r", b"00;a\r\n\r\n", b"0\n\n", b"0\r\n X\r\n\r\n")
)


def _body(parts: list[bytes], last: bytes, rest: bytes) -> bytes:
    return b"".join(parts) + last + rest


chunked_bodies = st.builds(
    _body,
    st.lists(_chunks | _chunks | _odd, max_size=5),
    _last,
    st.sampled_from((b"", b"GET / HTTP/1.1\r\n")) | st.binary(max_size=4),
)

_segments = st.sampled_from(
    (
        "a",
        "B",
        "",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%61",
        "%2f",
        "%5c",
        "%00",
        "%",
        "%zz",
        "%c3%a9",
        "%c0%af",
        "%ff",
        ";",
        "a;b",
        "\\",
        "~",
        "é",
    )
)
targets = st.builds(
    lambda start, segments, query: (start + "/".join(segments) + query).encode(),
    st.sampled_from(("/", "/", "/", "", "//", "http://a/")),
    st.lists(_segments | st.text(max_size=2), max_size=6),
    st.sampled_from(("", "?", "?a=b", "?/../", "?#", "#x", "?\u00e9")),
)
