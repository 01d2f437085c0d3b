"""What takes the place of a secret: that it is none, and what of it is still told."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.ruleset import Redaction
from proxy.language.secret_names import Names
from proxy.observe.hiding import Cover

KEY = b"test-only-key-of-a-recording"
SECRET = "test-only-Geheim/7+x"


def cover(known: tuple[str, ...] = (), **more: frozenset[str]) -> Cover:
    return Cover(KEY, Names(Redaction(**more)), known)


def hidden(data: Any, *, asked: bool = True) -> Any:
    return json.loads(cover().json(json.dumps(data), asked=asked))


def test_a_secret_is_replaced_however_deep_it_lies() -> None:
    told = hidden({"username": "jane@example.com", "a": [{"b": {"password": SECRET}}], "accessToken": {"v": [SECRET]}})
    assert SECRET not in json.dumps(told)
    assert told["username"] == "jane@example.com"
    assert told["a"][0]["b"]["password"] == told["accessToken"]["v"][0]


def test_the_same_secret_is_the_same_again_and_another_is_another() -> None:
    told = hidden({"password": SECRET, "newPassword": SECRET, "oldPassword": SECRET + "x"})
    assert told["password"] == told["newPassword"] != told["oldPassword"]


def test_it_is_another_in_another_recording() -> None:
    other = Cover(b"test-only-another-key", Names(Redaction()))
    assert cover().hide(SECRET) != other.hide(SECRET)


def test_a_secret_keeps_its_type() -> None:
    told = hidden({"otpCode": 123456, "password": "x", "token": None, "secret": True, "pin": "1234"})
    assert isinstance(told["otpCode"], int)
    assert told["otpCode"] != 123456
    assert told["pin"].isdigit()
    assert told["pin"] != "1234"
    assert told["token"] is None
    assert told["secret"] is True


def test_what_is_told_about_a_secret_stays() -> None:
    data = {"tokenType": "Bearer", "accessTokenExpiration": "2026-01-01T00:00:00Z", "authTicketTtlMinutes": 60}
    assert hidden(data) == data


def test_a_name_that_is_escaped_is_read() -> None:
    told = cover().json('{"pass\\u0077ord": "' + SECRET + '"}', asked=True)
    assert SECRET not in told


def test_the_word_for_what_went_wrong_stays_in_an_answer_and_a_code_does_not() -> None:
    assert hidden({"code": "DISPOSABLE_ADDRESS"}, asked=False) == {"code": "DISPOSABLE_ADDRESS"}
    assert hidden({"code": "SplxlOBeZQQYbYS6WxSbIA"}, asked=False) != {"code": "SplxlOBeZQQYbYS6WxSbIA"}
    assert hidden({"code": "abcdef"}, asked=True) != {"code": "abcdef"}


def test_what_a_pack_calls_secret_is_secret() -> None:
    one = cover(fields=frozenset({"favouriteColour"}), headers=frozenset({"x-colour"}), query=frozenset({"colour"}))
    assert "mauve" not in one.json('{"favouriteColour": "mauve"}', asked=False)
    assert one.header("x-colour", "mauve") == one.hide("mauve")
    assert one.target("/x", "colour=mauve&a=b") == f"/x?colour={one.hide('mauve')}&a=b"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("authorization", f"Bearer {SECRET}"),
        ("authorization", SECRET),
        ("authorization", f'Digest username="jane", response="{SECRET}"'),
        ("cookie", f"theme=dark; session={SECRET}"),
        ("set-cookie", f"session={SECRET}; Path=/; HttpOnly"),
        ("x-api-key", SECRET),
        ("x-session-token", SECRET),
        ("location", f"/mfa?user=u1&session_token={SECRET}#x"),
    ],
)
def test_no_header_tells_a_secret(key: str, value: str) -> None:
    told = cover().header(key, value)
    assert SECRET not in told
    assert told.count("redacted-") == value.count(SECRET) + value.count("theme=dark")


def test_the_scheme_the_user_and_the_attributes_stay() -> None:
    one = cover()
    basic = one.header("authorization", "Basic " + base64.b64encode(f"jane@example.com:{SECRET}".encode()).decode())
    assert base64.b64decode(basic.removeprefix("Basic ")).decode() == f"jane@example.com:{one.hide(SECRET)}"
    assert one.header("authorization", f"Bearer {SECRET}") == f"Bearer {one.hide(SECRET)}"
    assert one.header("set-cookie", f"a={SECRET}; Path=/; HttpOnly") == f"a={one.hide(SECRET)}; Path=/; HttpOnly"


def test_of_a_signed_token_the_claims_stay_and_the_signature_goes() -> None:
    claims = {"sub": "u1", "scope": "login", "access_token": SECRET}
    token = jwt.encode(claims, "test-only-key-for-a-token-of-32-b", headers={"kid": "k"})
    told = cover().header("authorization", f"Bearer {token}").removeprefix("Bearer ")
    read = jwt.decode(told, options={"verify_signature": False})
    assert (read["sub"], read["scope"]) == ("u1", "login")
    assert SECRET not in json.dumps(read)
    assert token.rpartition(".")[2] not in told
    assert jwt.get_unverified_header(told)["kid"] == "k"


def test_a_token_that_is_worth_something_without_a_signature_goes_whole() -> None:
    token = jwt.encode({"sub": "u1"}, "", algorithm="none")
    told = cover().header("authorization", f"Bearer {token}")
    assert told.startswith("Bearer redacted-")
    assert "eyJ" not in cover().free(f"a {token}x b")


def test_a_token_is_the_same_in_a_header_and_in_a_body() -> None:
    token = jwt.encode({"sub": "u1"}, "test-only-key-for-a-token-of-32-b")
    one = cover()
    told = one.header("authorization", f"Bearer {token}").removeprefix("Bearer ")
    assert json.loads(one.json(json.dumps({"accessToken": token, "seen": token}), asked=False)) == {
        "accessToken": told,
        "seen": told,
    }


def test_a_secret_that_looks_replaced_is_replaced() -> None:
    assert "hunter2" not in cover().free("password=redacted-hunter2")
    assert "hunter2" not in cover().json('{"password": "redacted-hunter2"}', asked=True)


def test_a_query_and_a_form_keep_the_bytes_of_what_is_no_secret() -> None:
    one = cover()
    assert one.query("a=%7e+b&password=x&&c") == f"a=%7e+b&password={one.hide('x')}&&c"
    assert one.query("passw%6Frd=a+b", form=True) == f"passw%6Frd={one.hide('a b')}"


def test_a_plain_text_tells_no_password() -> None:
    one = cover()
    for text in (f"password: {SECRET}", f"the token={SECRET}.", f'<input name="x" data-password="{SECRET}">'):
        assert SECRET not in one.prose(text)


@pytest.mark.parametrize(
    "text",
    [
        f"you sent {SECRET}",
        json.dumps({"echo": SECRET}),
        json.dumps({"echo": SECRET}).replace("/", "\\/"),
        "/a/test-only-Geheim%2F7%2Bx",
        *(base64.b64encode(b"x" * before + SECRET.encode() + b"yz").decode() for before in range(3)),
    ],
)
def test_a_secret_is_found_wherever_else_it_stands(text: str) -> None:
    one = cover(known=(SECRET,))
    found = one.found_in([text])
    for secret, told in found:
        text = text.replace(secret, told)
    assert found
    assert one.found_in([text]) == []


def text_of(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="=")),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b", "c d", 'e"']), inner),
    max_leaves=12,
)


@given(_plain)
def test_a_body_without_secrets_keeps_every_byte(data: Any) -> None:
    text = json.dumps(data, indent=1)
    assert cover().json(text, asked=True) == text


@given(st.dictionaries(st.sampled_from(["password", "user", "token", "n"]), _plain, min_size=1))
def test_what_is_hidden_is_json_of_the_same_shape(data: Any) -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        return [shape(item) for item in value] if isinstance(value, list) else type(value)

    assert shape(msgspec.json.decode(cover().json(text_of(data), asked=True))) == shape(data)
