"""A signed token has one spelling, and whatever is not exactly that is no token."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.errors import EvaluationError
from proxy.language.tokens import jws

BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def written(header: bytes, payload: bytes = b"{}", signature: bytes = b"s") -> str:
    return ".".join(map(encode, (header, payload, signature)))


@given(
    st.dictionaries(st.text("abc", max_size=4), st.integers(-5, 5) | st.text(max_size=5), max_size=4),
    st.binary(min_size=1, max_size=80),
)
def test_what_was_put_together_can_be_taken_apart(claims: dict[str, Any], signature: bytes) -> None:
    token = jws.take_apart(jws.put_together({"alg": "HS256"}, claims, lambda _: signature))
    assert (token.header, token.claims(), token.signature) == ({"alg": "HS256"}, claims, signature)
    assert token.text == token.signing_input.decode() + "." + encode(signature)


@given(st.text(BASE64URL + "+/=. \n", max_size=12), st.text(BASE64URL, max_size=9))
def test_every_part_that_is_taken_is_the_one_spelling_of_its_bytes(signature: str, payload: str) -> None:
    """Whatever is taken comes out the same when its bytes are written again: no second spelling exists."""
    text = f"e30.{payload}.{signature}"
    try:
        token = jws.take_apart(text)
    except jws.BadToken:
        return
    assert encode(token.signature) == signature
    assert encode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))) == payload


@given(st.binary(max_size=20))
def test_every_signature_of_any_length_is_taken(signature: bytes) -> None:
    assert jws.take_apart(f"e30.e30.{encode(signature)}").signature == signature


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "e30",
        "e30.e30",
        "e30.e30.e30.e30",
        "e30.e30.e30.e30.e30",
        "e30.e30.cw==",
        "e30.e30.cw=",
        "e30=.e30.cw",
        "e30.e30.cx",
        "e30.e30.c",
        "e30.e30.+/8A",
        "e30.e30.cw\n",
        "\ne30.e30.cw",
        " e30.e30.cw",
        "e30 .e30.cw",
        "e30.e30.cw ",
        "e30.e30.cw\x00",
        "é30.e30.cw",
        "e30.e30.c٣",
        "e30.e30.cw.",
        '{"payload": "e30", "signatures": [{"signature": "cw"}]}',
        "e30." + "A" * jws.LONGEST + ".cw",
        written(b"[]"),
        written(b'"x"'),
        written(b"1"),
        written(b"null"),
        written(b"{"),
        written(b"{} {}"),
        written(b"\xef\xbb\xbf{}"),
        written(b'{"alg": "HS256", "alg": "none"}'),
        written(b'{"alg": "HS256", "\\u0061lg": "none"}'),
        written(b'{"a": ' * 40 + b"1" + b"}" * 40),
        written(b"[" * 5000),
        written(b'{"a": "\xff"}'),
        written(b'{"a": NaN}'),
    ],
)
def test_what_is_not_exactly_a_token_is_refused(text: str) -> None:
    with pytest.raises(jws.BadToken) as caught:
        jws.take_apart(text)
    assert caught.value.word == "malformed"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"7",
        b'"text"',
        b"{",
        b'{"sub": "a", "sub": "b"}',
        b'{"deep": {"n": 1, "n": 2}}',
        b'{"exp": 1e400}',
        b'{"exp": Infinity}',
        b'{"n": ' + b"1" * 5000 + b"}",
        b"\xff\xfe",
        b'{"a": ' * 100 + b"1" + b"}" * 100,
    ],
)
def test_a_payload_that_is_no_object_with_every_key_once_is_refused(payload: bytes) -> None:
    token = jws.take_apart(written(b"{}", payload))
    with pytest.raises(jws.BadToken, match="malformed"):
        token.claims()


def test_a_token_that_is_shown_by_accident_shows_nothing() -> None:
    token = jws.take_apart(written(json.dumps({"kid": "CANARY"}).encode(), b'{"sub": "CANARY"}'))
    assert "Q0FOQVJZ" not in repr(token)
    assert "CANARY" not in repr(token)
    assert token.text not in repr(token)


def test_claims_that_json_cannot_hold_are_an_error_of_the_rule() -> None:
    with pytest.raises(EvaluationError):
        jws.put_together({}, {"n": float("nan")}, lambda _: b"s")
