"""Content codings: what is decoded under which limit, and what is refused."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.body import encode_content, open_body
from proxy.engine.codings import CODINGS, decode, encode
from proxy.engine.errors import Unreadable
from proxy.engine.message import Headers, Limits

LIMIT = 100_000
TEXT = b'{"user":"jane","n":[1,2,3]}'
RAW_DEFLATE = zlib.compressobj(6, zlib.DEFLATED, -15)
RAW = RAW_DEFLATE.compress(TEXT) + RAW_DEFLATE.flush()
EMPTY_FRAME = b"\x50\x2a\x4d\x18\x00\x00\x00\x00"
every_coding = pytest.mark.parametrize("coding", sorted(CODINGS))


def refused(data: bytes, coding: str, limit: int = LIMIT) -> Unreadable:
    with pytest.raises(Unreadable) as error:
        decode(data, coding, limit, "request")
    return error.value


@every_coding
@given(st.binary(max_size=300))
def test_decoding_undoes_encoding(coding: str, data: bytes) -> None:
    assert decode(encode(data, coding), coding, LIMIT, "request") == data


@every_coding
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(coding: str) -> None:
    assert decode(encode(b"x" * LIMIT, coding), coding, LIMIT, "request") == b"x" * LIMIT
    assert refused(encode(b"x" * (LIMIT + 1), coding), coding).status == 413


@every_coding
def test_a_bomb_is_refused_before_it_is_unpacked(coding: str) -> None:
    bomb = encode(b"\0" * 40_000_000, coding)
    tracemalloc.start()
    try:
        assert refused(bomb, coding).status == 413
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@every_coding
def test_a_truncated_body_is_refused_wherever_it_ends(coding: str) -> None:
    whole = encode(TEXT, coding)
    assert [refused(whole[:end], coding).status for end in range(len(whole))] == [400] * len(whole)


@every_coding
def test_what_follows_a_body_is_refused(coding: str) -> None:
    assert refused(encode(TEXT, coding) + b"garbage", coding).status == 400
    assert refused(encode(TEXT, coding) + b"\0", coding).status == 400


@every_coding
def test_a_body_that_is_not_coded_is_refused(coding: str) -> None:
    assert refused(TEXT, coding).status == 400


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_in_a_row_are_one_text(coding: str) -> None:
    assert decode(encode(TEXT[:9], coding) + encode(TEXT[9:], coding), coding, LIMIT, "request") == TEXT
    parts = encode(b"x" * 60_000, coding) * 2
    assert refused(parts, coding).status == 413


@pytest.mark.parametrize(
    ("coding", "data"),
    [("gzip", gzip.compress(b"") * 10_000), ("zstd", EMPTY_FRAME * 10_000 + encode(TEXT, "zstd"))],
    ids=["gzip", "zstd"],
)
def test_thousands_of_members_are_refused(coding: str, data: bytes) -> None:
    assert refused(data, coding).status == 400


def test_a_member_may_end_anywhere_in_a_chunk() -> None:
    stored = gzip.compress(bytes(range(256)) * 300, compresslevel=0)
    assert len(stored) > 1 << 16
    assert decode(stored * 3, "gzip", 1 << 20, "request") == bytes(range(256)) * 900


def test_deflate_is_read_with_its_wrapper_and_without() -> None:
    assert decode(RAW, "deflate", LIMIT, "request") == TEXT
    assert decode(zlib.compress(TEXT), "deflate", LIMIT, "request") == TEXT


def test_a_wrapper_with_a_wrong_checksum_is_not_taken_for_a_bare_stream() -> None:
    wrong = bytearray(zlib.compress(TEXT))
    wrong[-1] ^= 1
    assert refused(bytes(wrong), "deflate").status == 400


def test_a_window_that_zstd_may_not_have_as_a_content_coding_is_refused() -> None:
    # A frame header that declares a window of 128 MB, for five bytes.
    frame = b"\x28\xb5\x2f\xfd\x00\x88\x29\x00\x00aaaaa"
    assert refused(frame, "zstd").status == 400
    frame = b"\x28\xb5\x2f\xfd\x00\x58\x29\x00\x00aaaaa"
    assert decode(frame, "zstd", LIMIT, "request") == b"aaaaa"


def message(*codings: str, **types: str) -> Headers:
    lines = [("Content-Type", types.get("kind", "application/json")), *(("Content-Encoding", c) for c in codings)]
    return Headers.of(lines)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "X-Gzip", " br ", "Deflate", "zstd"])
def test_a_coding_is_named_in_any_case(coding: str) -> None:
    content = encode(TEXT, coding.strip().lower())
    assert open_body(message(coding), content, Limits(), "request").get(("user",)) == "jane"


@pytest.mark.parametrize(
    "codings",
    [("gzip, gzip",), ("gzip", "gzip"), ("gzip, identity",), ("compress",), ("aes128gcm",), ("gzip\xa0",), ("*",)],
)
def test_an_unknown_or_stacked_coding_is_refused(codings: tuple[str, ...]) -> None:
    content = encode(encode(TEXT, "gzip"), "gzip")
    with pytest.raises(Unreadable) as error:
        open_body(message(*codings), content, Limits(), "request")
    assert error.value.status == 415


@pytest.mark.parametrize("codings", [(), ("identity",), ("Identity",), ("",)])
def test_no_coding_is_no_coding(codings: tuple[str, ...]) -> None:
    assert open_body(message(*codings), TEXT, Limits(), "request").dump() == TEXT
    assert encode_content(TEXT, message(*codings)) == TEXT


@every_coding
def test_an_edited_body_is_encoded_again_in_its_coding(coding: str) -> None:
    headers = message(coding)
    body: Any = open_body(headers, encode(TEXT, coding), Limits(), "request")
    body.root.delete("user")
    assert decode(encode_content(body.dump(), headers), coding, LIMIT, "request") == b'{"n":[1,2,3]}'


def test_the_limits_are_those_of_the_coded_and_of_the_decoded_body() -> None:
    content = encode(b'"' + b"x" * 5000 + b'"', "gzip")
    open_body(message("gzip"), content, Limits(body=200, decoded=6000), "request")
    for limits in (Limits(body=20, decoded=6000), Limits(body=200, decoded=4000)):
        with pytest.raises(Unreadable) as error:
            open_body(message("gzip"), content, limits, "request")
        assert error.value.status == 413


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_the_upstream_is_to_blame_for_what_it_sends(coding: str) -> None:
    with pytest.raises(Unreadable) as error:
        decode(TEXT, coding, LIMIT, "response")
    assert (error.value.side, error.value.status) == ("response", 502)
