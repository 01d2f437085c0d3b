"""The SFCC sandbox on a real socket: what it serves is what rules are tried against."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from tests.sandbox.serving import Sandbox, basic, serving

SHOP = "/s/RefArch/dw/shop/v23_2"
AUTH = f"{SHOP}/customers/auth"
CLIENT = {"x-dw-client-id": "test-only-client"}
JANE = ("jane@example.com", "correct-horse-1")
MARIA = ("maria@example.com", "correct-horse-2")
LOCKED = ("locked@example.com", "correct-horse-3")
VIP = ("vip@example.com", "correct-horse-4")
PACK = yaml.safe_load((Path(__file__).resolve().parents[2] / "rules" / "sfcc" / "pack.yaml").read_text("utf-8"))


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with serving("sfcc") as running:
        yield await running.start()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": token}


async def authenticate(sandbox: Sandbox, kind: str, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
    body = {"type": kind, **more}
    return await sandbox.call("POST", AUTH, body, headers={**CLIENT, **(headers or {})})


async def log_in(sandbox: Sandbox, who: tuple[str, str], **more: Any) -> Any:
    return await authenticate(sandbox, "credentials", basic(*who), **more)


async def token_of(sandbox: Sandbox, who: tuple[str, str] | None = None) -> tuple[str, Any]:
    """Give an Authorization header, as it came, and the customer of it."""
    status, customer, headers = await (log_in(sandbox, who) if who else authenticate(sandbox, "guest"))
    assert status == 200
    assert headers["Authorization"].startswith("Bearer ")
    return headers["Authorization"], customer


async def session_of(sandbox: Sandbox, token: str) -> dict[str, str]:
    """Open a session; gives its cookies as a Cookie header."""
    status, body, headers = await sandbox.call("POST", f"{SHOP}/sessions", headers=bearer(token))
    assert (status, body) == (204, None)
    jar: SimpleCookie = SimpleCookie()
    for line in headers.getall("Set-Cookie"):  # type: ignore[attr-defined]
        jar.load(line)
    return {name: morsel.value for name, morsel in jar.items()}


def cookie(pairs: Mapping[str, str]) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in pairs.items())}


def claims_of(authorization: str) -> tuple[dict[str, Any], dict[str, Any]]:
    claims = jwt.decode(authorization.removeprefix("Bearer "), options={"verify_signature": False})
    return claims, json.loads(claims["sub"])["customer_info"]


def fault_of(answer: tuple[int, Any, Any]) -> tuple[int, str]:
    status, body, _ = answer
    assert set(body) == {"_v", "fault"}
    assert set(body["fault"]) == {"type", "message", "arguments"}
    return status, body["fault"]["type"]


# The four types


async def test_a_guest_gets_a_token_and_is_somebody_else_each_time(sandbox: Sandbox) -> None:
    first, customer = await token_of(sandbox)
    second, other = await token_of(sandbox)
    assert customer["auth_type"] == "guest"
    assert customer["customer_id"] != other["customer_id"]
    claims, info = claims_of(first)
    assert (claims["iss"], info["customer_id"], info["guest"]) == (
        "test-only-client",
        customer["customer_id"],
        True,
    )
    assert first != second


@pytest.mark.parametrize("who", [JANE, VIP], ids=["jane", "vip"])
async def test_a_login_gives_the_customer_and_the_token(sandbox: Sandbox, who: tuple[str, str]) -> None:
    token, customer = await token_of(sandbox, who)
    schema = {**PACK["schemas"]["Customer"], "additionalProperties": False}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(customer)
    assert (customer["auth_type"], customer["login"]) == ("registered", who[0])
    claims, info = claims_of(token)
    assert (info["customer_id"], info["guest"]) == (customer["customer_id"], False)
    assert claims["exp"] - claims["iat"] == 30 * 60


async def test_the_vip_has_a_note_segments_and_an_address(sandbox: Sandbox) -> None:
    _, customer = await token_of(sandbox, VIP)
    assert customer["note"].startswith("Calls often.")
    assert customer["c_segments"] == ["VIP", "EARLY"]
    assert customer["addresses"][0]["city"] == "Springfield"


async def test_the_token_holds_against_the_published_keys(sandbox: Sandbox) -> None:
    token, _ = await token_of(sandbox, JANE)
    _, keys, _ = await sandbox.call("GET", "/.well-known/jwks.json")
    raw = token.removeprefix("Bearer ")
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(raw)["kid"]]
    assert jwt.decode(raw, key.key, algorithms=["RS256"], issuer="test-only-client")["_v"] == "1"
    assert "d" not in keys["keys"][0]


async def test_a_session_gives_another_token_at_each_call_for_the_same_customer(sandbox: Sandbox) -> None:
    token, customer = await token_of(sandbox, JANE)
    cookies = await session_of(sandbox, token)
    assert [name.partition("_")[0] for name in cookies] == ["dwsid", "dwanonymous", "dwsecuretoken"]
    tokens = set()
    for _ in range(2):
        status, body, headers = await authenticate(sandbox, "session", cookie(cookies))
        assert (status, body["customer_id"]) == (200, customer["customer_id"])
        tokens.add(headers["Authorization"])
    assert len(tokens) == 2


async def test_a_session_needs_both_of_its_cookies(sandbox: Sandbox) -> None:
    cookies = await session_of(sandbox, (await token_of(sandbox))[0])
    other = await session_of(sandbox, (await token_of(sandbox))[0])
    secure = next(name for name in cookies if name.startswith("dwsecuretoken_"))
    for pairs in ({}, {"dwsid": cookies["dwsid"]}, {secure: cookies[secure]}, {**cookies, secure: other[secure]}):
        refused = fault_of(await authenticate(sandbox, "session", cookie(pairs) if pairs else {}))
        assert refused == (401, "AuthenticationFailedException")


async def test_a_session_does_not_count_as_a_visit_and_a_login_does(sandbox: Sandbox) -> None:
    status, customer, _ = await sandbox.call("POST", AUTH, {"type": "guest"}, headers=CLIENT)
    assert (status, "last_login_time" in customer) == (200, False)
    token, customer = await token_of(sandbox, JANE)
    _, by_session, _ = await authenticate(sandbox, "session", cookie(await session_of(sandbox, token)))
    assert by_session["last_login_time"] == customer["last_login_time"]


async def test_a_refresh_keeps_the_customer_and_gives_a_new_token(sandbox: Sandbox) -> None:
    for who in (None, JANE):
        token, customer = await token_of(sandbox, who)
        status, again, headers = await authenticate(sandbox, "refresh", bearer(token))
        assert (status, again["customer_id"], again["auth_type"]) == (
            200,
            customer["customer_id"],
            customer["auth_type"],
        )
        assert headers["Authorization"] != token


# Refusals


@pytest.mark.parametrize(
    "who",
    [("jane@example.com", "test-only-wrong"), ("nobody@example.com", "test-only"), LOCKED],
    ids=["a wrong password", "nobody", "locked"],
)
async def test_a_login_that_fails_is_a_401(sandbox: Sandbox, who: tuple[str, str]) -> None:
    assert fault_of(await log_in(sandbox, who)) == (401, "AuthenticationFailedException")


async def test_five_wrong_passwords_lock_an_account(sandbox: Sandbox) -> None:
    for _ in range(5):
        await log_in(sandbox, (JANE[0], "test-only-wrong"))
    status, body, _ = await log_in(sandbox, JANE)
    assert status == 401
    assert "locked" in body["fault"]["message"]


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Digest x"],
    ids=["none", "no value", "no base64", "no colon", "another scheme"],
)
async def test_a_login_without_credentials_is_a_401(sandbox: Sandbox, authorization: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    refused = fault_of(await authenticate(sandbox, "credentials", headers))
    assert refused == (401, "AuthenticationFailedException")


async def test_a_second_factor_is_a_hook_that_wants_the_code(sandbox: Sandbox) -> None:
    answer = await log_in(sandbox, MARIA)
    assert fault_of(answer) == (400, "HookStatusException")
    assert answer[1]["fault"]["arguments"]["statusCode"] == "SECOND_FACTOR_REQUIRED"
    code = await sandbox.code("maria@example.com")
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    assert fault_of(await log_in(sandbox, MARIA, c_otp_code=wrong)) == (400, "HookStatusException")
    assert (await log_in(sandbox, MARIA, c_otp_code=code))[0] == 200
    assert fault_of(await log_in(sandbox, MARIA, c_otp_code=code)) == (400, "HookStatusException")


async def test_the_codes_are_not_told_through_a_proxy(sandbox: Sandbox) -> None:
    status, _, _ = await sandbox.call("GET", "/sandbox/codes", headers={"Via": "1.1 vestibule"})
    assert status == 404


async def test_a_client_names_itself_by_token_query_or_header_in_this_order(sandbox: Sandbox) -> None:
    async def issuer(path: str, headers: Mapping[str, str]) -> Any:
        _, _, answer = await sandbox.call("POST", path, {"type": "guest"}, headers=headers)
        return claims_of(answer["Authorization"])[0]["iss"]

    token, _ = await token_of(sandbox)
    query = f"{AUTH}?client_id=by-query"
    header = {"x-dw-client-id": "by-header"}
    assert await issuer(AUTH, header) == "by-header"
    assert await issuer(query, header) == "by-query"
    assert await issuer(query, {**header, **bearer(token)}) == "test-only-client"
    refused = fault_of(await sandbox.call("POST", AUTH, {"type": "guest"}))
    assert refused == (400, "MissingClientIdException")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "BodyDecodingException"),
        (b"[]", "BodyDecodingException"),
        (b"{", "BodyDecodingException"),
        (b"[" * 100_000, "BodyDecodingException"),
        (b"{}", "PropertyConstraintViolationException"),
        (b'{"type":null}', "PropertyConstraintViolationException"),
        (b'{"type":"\\ud800"}', "PropertyConstraintViolationException"),
        (b'{"type":"password"}', "EnumConstraintViolationException"),
    ],
    ids=["nothing", "a list", "cut off", "deep", "empty", "null", "half a surrogate pair", "another type"],
)
async def test_a_malformed_request_is_a_400(sandbox: Sandbox, body: bytes, fault: str) -> None:
    headers = {**CLIENT, "Content-Type": "application/json"}
    async with sandbox.session.post(sandbox.address + AUTH, data=body, headers=headers) as answer:
        assert fault_of((answer.status, await answer.json(), None)) == (400, fault)


async def test_xml_is_not_read(sandbox: Sandbox) -> None:
    headers = {**CLIENT, "Content-Type": "text/xml"}
    async with sandbox.session.post(sandbox.address + AUTH, data=b"<a/>", headers=headers) as answer:
        assert fault_of((answer.status, await answer.json(), None)) == (415, "UnsupportedMediaTypeException")


# Follow-ups


async def test_a_follow_up_without_a_token_or_with_a_wrong_one_is_declined(sandbox: Sandbox) -> None:
    token, customer = await token_of(sandbox, JANE)
    path = f"{SHOP}/customers/{customer['customer_id']}"
    head, payload, signature = token.removeprefix("Bearer ").split(".")
    foreign = jwt.encode({**claims_of(token)[0]}, "test-only-" * 4, algorithm="HS256")
    for authorization, fault in [
        ({}, "InvalidAuthorizationHeaderException"),
        (basic(*JANE), "InvalidAuthorizationHeaderException"),
        (bearer(f"Bearer {head}.{payload[:-2]}AA.{signature}"), "InvalidAccessTokenException"),
        (bearer(f"Bearer {foreign}"), "InvalidAccessTokenException"),
        (bearer("Bearer x"), "InvalidAccessTokenException"),
    ]:
        assert fault_of(await sandbox.call("GET", path, headers=authorization)) == (401, fault)
    status, body, headers = await sandbox.call("GET", path, headers=bearer(token))
    assert (status, body["login"]) == (200, "jane@example.com")
    assert headers["ETag"].startswith('"')


async def test_a_token_is_for_its_own_customer_alone(sandbox: Sandbox) -> None:
    _, jane = await token_of(sandbox, JANE)
    other, _ = await token_of(sandbox)
    refused = await sandbox.call("GET", f"{SHOP}/customers/{jane['customer_id']}", headers=bearer(other))
    assert fault_of(refused) == (404, "CustomerNotFoundException")


async def test_an_invalidated_token_is_declined_everywhere_and_others_are_not(sandbox: Sandbox) -> None:
    token, customer = await token_of(sandbox, JANE)
    other, _ = await token_of(sandbox, JANE)
    assert (await sandbox.call("DELETE", AUTH, headers=bearer(token)))[:2] == (204, None)
    path = f"{SHOP}/customers/{customer['customer_id']}"
    assert fault_of(await sandbox.call("GET", path, headers=bearer(token))) == (401, "InvalidAccessTokenException")
    assert fault_of(await authenticate(sandbox, "refresh", bearer(token))) == (401, "InvalidAccessTokenException")
    assert (await sandbox.call("GET", path, headers=bearer(other)))[0] == 200


async def test_a_basket_is_changed_with_the_method_that_is_meant(sandbox: Sandbox) -> None:
    token, _ = await token_of(sandbox)
    _, basket, headers = await sandbox.call("POST", f"{SHOP}/baskets", headers=bearer(token))
    path = f"{SHOP}/baskets/{basket['basket_id']}"
    email = {"email": "guest@example.com"}
    meant = {**bearer(token), "x-dw-http-method-override": "PUT", "If-Match": headers["ETag"]}
    status, changed, new = await sandbox.call("POST", f"{path}/customer", email, headers=meant)
    assert (status, changed["customer_info"]["email"]) == (200, "guest@example.com")
    assert new["ETag"] != headers["ETag"]
    stale = await sandbox.call("PUT", f"{path}/customer", email, headers={**bearer(token), "If-Match": headers["ETag"]})
    assert fault_of(stale) == (412, "InvalidIfMatchException")
    no_such = await sandbox.call("POST", path, headers={**bearer(token), "x-dw-http-method-override": "TRACE"})
    assert fault_of(no_such) == (400, "IllegalHttpMethodOverrideException")
    assert (await sandbox.call("POST", f"{path}?method=DELETE", headers=bearer(token)))[0] == 204
    gone = await sandbox.call("GET", path, headers=bearer(token))
    assert fault_of(gone) == (404, "BasketNotFoundException")


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("GET", "/s/Other/dw/shop/v23_2/customers/auth", (404, "SiteNotFoundException")),
        ("GET", "/s/RefArch/dw/shop/23.2/customers/auth", (400, "InvalidVersionException")),
        ("GET", AUTH, (405, "MethodNotAllowedException")),
        ("GET", f"{SHOP}/nothing", (404, "NotFoundException")),
    ],
)
async def test_what_is_not_there_is_a_fault(sandbox: Sandbox, method: str, path: str, fault: object) -> None:
    assert fault_of(await sandbox.call(method, path)) == fault


async def test_bodies_have_the_version_of_the_address(sandbox: Sandbox) -> None:
    status, customer, _ = await sandbox.call(
        "POST", "/s/RefArch/dw/shop/v20_4/customers/auth", {"type": "guest"}, headers=CLIENT
    )
    assert (status, customer["_v"]) == (200, "20.4")


# Systems


async def system(sandbox: Sandbox, password: str = "sandbox") -> Any:
    form = {"grant_type": "client_credentials"}
    headers = basic("test-only-client", password)
    return await sandbox.call("POST", "/dw/oauth2/access_token", data=form, headers=headers)


async def test_a_trusted_system_gets_the_token_of_a_customer(sandbox: Sandbox) -> None:
    _, issued, _ = await system(sandbox)
    path, headers = f"{AUTH}/trustedsystem", bearer(f"Bearer {issued['access_token']}")
    asked = {"login": "jane@example.com", "client_id": "test-only-client"}
    status, customer, answer = await sandbox.call("POST", path, asked, headers=headers)
    assert (status, customer["login"]) == (200, "jane@example.com")
    assert claims_of(answer["Authorization"])[0]["iss"] == "test-only-client"
    foreign = await sandbox.call("POST", path, {**asked, "client_id": "another"}, headers=headers)
    assert fault_of(foreign) == (400, "InvalidClientIdException")
    nobody = await sandbox.call("POST", path, {**asked, "login": "nobody@example.com"}, headers=headers)
    assert fault_of(nobody) == (401, "AuthenticationFailedException")


async def test_a_shopper_is_no_trusted_system_and_a_system_no_shopper(sandbox: Sandbox) -> None:
    token, customer = await token_of(sandbox, JANE)
    asked = {"login": "vip@example.com", "client_id": "test-only-client"}
    refused = await sandbox.call("POST", f"{AUTH}/trustedsystem", asked, headers=bearer(token))
    assert fault_of(refused) == (401, "InvalidAccessTokenException")
    _, issued, _ = await system(sandbox)
    path = f"{SHOP}/customers/{customer['customer_id']}"
    refused = await sandbox.call("GET", path, headers=bearer(f"Bearer {issued['access_token']}"))
    assert fault_of(refused) == (401, "InvalidAccessTokenException")
    assert (await system(sandbox, "test-only-wrong"))[0] == 401


# The sandbox itself


async def test_it_says_plainly_that_it_is_a_sandbox(sandbox: Sandbox) -> None:
    status, page, headers = await sandbox.call("GET", "/")
    assert (status, headers["x-sandbox"]) == (200, "sfcc")
    assert "not for production" in page["what"]
    assert f"POST {AUTH.replace('RefArch', '{site}').replace('v23_2', '{version}')}" in page["operations"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_answers_are_compressed_when_that_is_asked_for(sandbox: Sandbox, coding: str) -> None:
    headers = {**CLIENT, "Accept-Encoding": coding}
    async with sandbox.session.post(sandbox.address + AUTH, json={"type": "guest"}, headers=headers) as answer:
        assert answer.headers["Content-Encoding"] == coding
        assert (await answer.json())["auth_type"] == "guest"
