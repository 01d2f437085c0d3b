"""The OAuth sandbox on a real socket: what it serves is what rules are tried against."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from yarl import URL

from proxy.sandbox import serve

CLIENT = {"client_id": "shop", "client_secret": "sandbox"}
JANE = {"username": "jane@example.com", "password": "correct-horse-1"}
MARIA = {"username": "maria@example.com", "password": "correct-horse-2"}
LOCKED = {"username": "locked@example.com", "password": "correct-horse-3"}
LASTING = {"scope": "openid profile email offline_access"}
OTP = "http://auth0.com/oauth/grant-type/mfa-otp"
OOB = "http://auth0.com/oauth/grant-type/mfa-oob"
VERIFIER = "test-only-" * 5
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BACK = "https://shop.example/callback"


class Sandbox:
    """A running sandbox, and how to call it."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self.session = session
        self.address = address

    async def call(self, method: str, path: str, **more: Any) -> tuple[int, Any, Mapping[str, str]]:
        async with self.session.request(method, self.address + path, allow_redirects=False, **more) as answer:
            body = await answer.read()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(body) if is_json else body.decode(), answer.headers

    async def token(self, grant: str, **form: str) -> tuple[int, Any]:
        status, body, _ = await self.call("POST", "/oauth/token", data={"grant_type": grant, **CLIENT, **form})
        return status, body

    async def code(self, email: str) -> str:
        _, codes, _ = await self.call("GET", "/sandbox/codes")
        return str(codes[email])

    async def ticket(self, email: str) -> str:
        """Ask for a new password, and give the ticket of the e-mail's link."""
        asked = {"client_id": "shop", "connection": "customers", "email": email}
        await self.call("POST", "/dbconnections/change_password", json=asked)
        _, links, _ = await self.call("GET", "/sandbox/tickets")
        return URL(links[email]).query["ticket"]

    async def claims(self, token: str, **options: Any) -> dict[str, Any]:
        """Check a token against the published keys."""
        _, keys, _ = await self.call("GET", "/.well-known/jwks.json")
        key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
        claims: dict[str, Any] = jwt.decode(token, key.key, algorithms=["RS256"], issuer=self.address, **options)
        return claims


class Running:
    """Starts sandboxes, and stops them all at the end."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, data: str | None = None) -> Sandbox:
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve("oauth", host="127.0.0.1", port=0, data=data, ready=address.set_result))
        self.tasks.append(task)
        waiting: set[asyncio.Future[Any]] = {task, address}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return Sandbox(self.session, await address)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with aiohttp.ClientSession() as session:
        found = Running(session)
        yield found
        await found.stop()


@pytest.fixture
async def sandbox(running: Running) -> Sandbox:
    return await running.start()


# The token endpoint


async def test_a_password_becomes_tokens_that_hold_against_the_published_keys(sandbox: Sandbox) -> None:
    status, tokens = await sandbox.token("password", **JANE, audience="https://api.example")
    assert status == 200
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 3600, "openid profile email")
    assert "refresh_token" not in tokens
    access = await sandbox.claims(tokens["access_token"], audience="https://api.example")
    assert (access["client_id"], access["exp"] - access["iat"]) == ("shop", 3600)
    assert jwt.get_unverified_header(tokens["access_token"])["typ"] == "at+jwt"
    known = await sandbox.claims(tokens["id_token"], audience="shop")
    assert (known["sub"], known["email"], known["name"]) == (access["sub"], "jane@example.com", "Jane Doe")


async def test_an_answer_with_tokens_is_kept_by_no_cache(sandbox: Sandbox) -> None:
    _, _, headers = await sandbox.call("POST", "/oauth/token", data={"grant_type": "password", **CLIENT, **JANE})
    assert (headers["Cache-Control"], headers["Pragma"]) == ("no-store", "no-cache")


async def test_parameters_may_be_json_as_auth0s_clients_send_them(sandbox: Sandbox) -> None:
    realm = {"grant_type": "http://auth0.com/oauth/grant-type/password-realm", "realm": "customers"}
    status, _, _ = await sandbox.call("POST", "/oauth/token", json={**realm, **CLIENT, **JANE})
    assert status == 200


async def test_a_client_may_show_its_secret_in_a_header(sandbox: Sandbox) -> None:
    form = {"grant_type": "client_credentials", "scope": "read:orders"}
    basic = {"Authorization": aiohttp.encode_basic_auth("a%3Ashop", "sandbox")}
    status, tokens, _ = await sandbox.call("POST", "/oauth/token", data=form, headers=basic)
    assert status == 200
    claims = await sandbox.claims(tokens["access_token"], options={"verify_aud": False})
    assert (claims["sub"], claims["client_id"], claims["scope"]) == ("a:shop@clients", "a:shop", "read:orders")
    assert {"refresh_token", "id_token"}.isdisjoint(tokens)


@pytest.mark.parametrize(
    ("form", "header", "expected"),
    [
        ({**CLIENT, "client_secret": "test-only-wrong"}, None, (401, "invalid_client")),
        ({"client_id": "shop"}, None, (401, "invalid_client")),
        ({}, None, (401, "invalid_client")),
        ({}, "Basic c2hvcDp4", (401, "invalid_client")),
        ({}, "Basic !", (401, "invalid_client")),
        ({}, "Bearer c2hvcDpzYW5kYm94", (401, "invalid_client")),
        (CLIENT, "Basic c2hvcDpzYW5kYm94", (400, "invalid_request")),
        ({"client_id": "other"}, "Basic c2hvcDpzYW5kYm94", (400, "invalid_request")),
    ],
    ids=["wrong secret", "no secret", "no client", "wrong header", "garbled", "other scheme", "two ways", "two names"],
)
async def test_a_client_that_does_not_prove_itself_is_refused(
    sandbox: Sandbox, form: dict[str, str], header: str | None, expected: tuple[int, str]
) -> None:
    status, error, headers = await sandbox.call(
        "POST",
        "/oauth/token",
        data={"grant_type": "password", **JANE, **form},
        headers={"Authorization": header} if header else {},
    )
    assert (status, error["error"]) == expected
    assert (headers.get("WWW-Authenticate") == 'Basic realm="sandbox"') is (status == 401)
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "magic"}, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "jane@example.com"}, "invalid_request"),
        ({"grant_type": "password", **JANE, "scope": 'a"b'}, "invalid_scope"),
        ({"grant_type": "password", **JANE, "password": "test-only-wrong"}, "invalid_grant"),
        ({"grant_type": "password", **JANE, "username": "nobody@example.com"}, "invalid_grant"),
        ({"grant_type": "password", **LOCKED}, "invalid_grant"),
        ({"grant_type": "client_credentials", "scope": "openid"}, "invalid_scope"),
        ({"grant_type": "refresh_token", "refresh_token": "test-only-unknown"}, "invalid_grant"),
        ({"grant_type": "authorization_code", "code": "test-only", "redirect_uri": BACK}, "invalid_grant"),
    ],
)
async def test_errors_are_those_of_rfc_6749(sandbox: Sandbox, form: dict[str, str], error: str) -> None:
    status, body, _ = await sandbox.call("POST", "/oauth/token", data={**CLIENT, **form})
    assert (status, body["error"]) == (400, error)
    assert set(body) == {"error", "error_description"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"grant_type=password&grant_type=password", "application/x-www-form-urlencoded"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded"),
        (b'{"grant_type":"password","grant_type":"password"}', "application/json"),
        (b'{"grant_type":["password"]}', "application/json"),
        (b'{"grant_type":"\\ud800"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"[]", "application/json"),
        (b"{", "application/json"),
        (b"grant_type=password", "text/plain"),
        (b"grant_type=" + b"a" * 5000, "application/x-www-form-urlencoded"),
    ],
    ids=["twice", "no UTF-8", "twice in JSON", "list", "half a pair", "deep", "array", "cut off", "text", "long"],
)
async def test_a_malformed_request_is_a_400(sandbox: Sandbox, body: bytes, kind: str) -> None:
    status, error, _ = await sandbox.call("POST", "/oauth/token", data=body, headers={"Content-Type": kind})
    assert (status, error["error"]) == (400, "invalid_request")


async def test_five_wrong_passwords_lock_an_account(sandbox: Sandbox) -> None:
    for _ in range(5):
        assert (await sandbox.token("password", **{**JANE, "password": "test-only-wrong"}))[0] == 400
    status, error = await sandbox.token("password", **JANE)
    assert (status, error["error"]) == (400, "invalid_grant")
    assert "locked" in error["error_description"]


# Refresh tokens


async def test_a_refresh_token_works_once_and_one_used_again_ends_its_family(sandbox: Sandbox) -> None:
    _, first = await sandbox.token("password", **JANE, **LASTING)
    status, second = await sandbox.token("refresh_token", refresh_token=first["refresh_token"])
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert (await sandbox.token("refresh_token", refresh_token=first["refresh_token"]))[1]["error"] == "invalid_grant"
    assert (await sandbox.token("refresh_token", refresh_token=second["refresh_token"]))[1]["error"] == "invalid_grant"


async def test_a_refresh_may_ask_for_less_and_loses_nothing_by_it(sandbox: Sandbox) -> None:
    _, first = await sandbox.token("password", **JANE, **LASTING)
    status, second = await sandbox.token("refresh_token", refresh_token=first["refresh_token"], scope="email")
    assert (status, second["scope"]) == (200, "email")
    assert "id_token" not in second
    status, third = await sandbox.token("refresh_token", refresh_token=second["refresh_token"])
    assert (status, third["scope"]) == (200, LASTING["scope"])
    status, error = await sandbox.token("refresh_token", refresh_token=third["refresh_token"], scope="admin")
    assert (status, error["error"]) == (400, "invalid_scope")
    assert (await sandbox.token("refresh_token", refresh_token=third["refresh_token"]))[0] == 200


async def test_a_refresh_token_is_its_clients_own(sandbox: Sandbox) -> None:
    _, tokens = await sandbox.token("password", **JANE, **LASTING)
    form = {"refresh_token": tokens["refresh_token"]}
    assert (await sandbox.token("refresh_token", **form, client_id="other"))[1]["error"] == "invalid_grant"
    no_secret = {"grant_type": "refresh_token", "client_id": "shop", **form}
    assert (await sandbox.call("POST", "/oauth/token", data=no_secret))[0] == 401
    assert (await sandbox.token("refresh_token", **form))[0] == 200


# The code in the browser


async def authorize(sandbox: Sandbox, **more: str) -> tuple[int, Any, Mapping[str, str]]:
    query = {"response_type": "code", "client_id": "spa", "redirect_uri": BACK, "state": "s&1", **more}
    return await sandbox.call("GET", "/authorize", params=query)


def fields(page: str) -> dict[str, str]:
    """Give the hidden fields of a page."""
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"&]*)"', page.replace("&amp;", "%26")))


async def submit(sandbox: Sandbox, page: str, **typed: str) -> tuple[int, Any, Mapping[str, str]]:
    return await sandbox.call("POST", "/authorize", data={**fields(page), **typed})


async def test_a_browser_logs_in_and_the_client_redeems_the_code_without_a_secret(sandbox: Sandbox) -> None:
    status, page, headers = await authorize(
        sandbox, code_challenge=CHALLENGE, code_challenge_method="S256", nonce="n1", **LASTING
    )
    assert (status, "Sandbox" in page) == (200, True)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, _, headers = await submit(sandbox, page, **JANE)
    assert status == 303
    back = URL(headers["Location"])
    assert (str(back.with_query(None)), back.query["state"]) == (BACK, "s%261")
    form = {"grant_type": "authorization_code", "client_id": "spa", "redirect_uri": BACK, "code": back.query["code"]}
    status, tokens, _ = await sandbox.call("POST", "/oauth/token", data={**form, "code_verifier": VERIFIER})
    assert status == 200
    assert (await sandbox.claims(tokens["id_token"], audience="spa"))["nonce"] == "n1"
    again, _, _ = await sandbox.call("POST", "/oauth/token", data={**form, "code_verifier": VERIFIER})
    assert again == 400
    refresh = {"grant_type": "refresh_token", "client_id": "spa", "refresh_token": tokens["refresh_token"]}
    assert (await sandbox.call("POST", "/oauth/token", data=refresh))[0] == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "x" * 50},
        {"code_verifier": ""},
        {"redirect_uri": "https://shop.example/other"},
        {"client_id": "b"},
    ],
    ids=["verifier", "no verifier", "address", "client"],
)
async def test_a_code_is_only_for_who_asked_for_it(sandbox: Sandbox, changed: dict[str, str]) -> None:
    _, page, _ = await authorize(sandbox, code_challenge=CHALLENGE, code_challenge_method="S256")
    _, _, headers = await submit(sandbox, page, **JANE)
    form = {"client_id": "spa", "redirect_uri": BACK, "code_verifier": VERIFIER, **changed}
    form["code"] = URL(headers["Location"]).query["code"]
    status, error = await sandbox.token("authorization_code", **form)
    assert (status, error["error"]) == (400, "invalid_grant")


async def test_without_a_challenge_a_code_needs_the_clients_secret(sandbox: Sandbox) -> None:
    async def redeem(**secret: str) -> int:
        _, page, _ = await authorize(sandbox)
        _, _, headers = await submit(sandbox, page, **JANE)
        form = {"client_id": "spa", "redirect_uri": BACK, "code": URL(headers["Location"]).query["code"], **secret}
        grant = {"grant_type": "authorization_code"}
        return (await sandbox.call("POST", "/oauth/token", data={**grant, **form}))[0]

    assert await redeem() == 400
    assert await redeem(client_secret="sandbox") == 200


async def test_a_second_factor_is_asked_for_in_the_browser_too(sandbox: Sandbox) -> None:
    _, page, _ = await authorize(sandbox)
    status, page, _ = await submit(sandbox, page, **MARIA)
    assert (status, "otp" in page, "mfa_token" in fields(page)) == (200, True, True)
    status, page, _ = await submit(sandbox, page, otp="test-only")
    assert (status, "wrong" in page) == (400, True)
    status, _, headers = await submit(sandbox, page, otp=await sandbox.code("maria@example.com"))
    assert (status, "code" in URL(headers["Location"]).query) == (303, True)


async def test_a_wrong_password_in_the_browser_shows_the_page_again(sandbox: Sandbox) -> None:
    _, page, _ = await authorize(sandbox, state='"><script>')
    assert "<script>" not in page
    status, page, _ = await submit(sandbox, page, username="jane@example.com", password="test-only-wrong")
    assert (status, "wrong" in page, "test-only" in page) == (400, True, False)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"prompt": "none"}, "login_required"),
        ({"code_challenge": CHALLENGE}, "invalid_request"),
        ({"code_challenge": "short", "code_challenge_method": "S256"}, "invalid_request"),
        ({"scope": 'a"b'}, "invalid_scope"),
    ],
)
async def test_the_client_is_told_what_is_wrong_with_its_request(
    sandbox: Sandbox, asked: dict[str, str], error: str
) -> None:
    status, _, headers = await authorize(sandbox, **asked)
    assert (status, URL(headers["Location"]).query["error"]) == (303, error)
    assert URL(headers["Location"]).query["state"] == "s&1"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/x",
        "http://shop.example/",
        "javascript:alert(1)",
        "https://a/#b",
        "https://a@b/",
        "https://[",
        "https:///x",
    ],
)
async def test_nobody_is_sent_to_a_strange_address(sandbox: Sandbox, address: str) -> None:
    status, error, headers = await authorize(sandbox, redirect_uri=address)
    assert (status, error["error"], "Location" in headers) == (400, "invalid_request", False)


# The second factor


async def test_a_second_factor_gives_no_token_before_the_code_of_the_app(sandbox: Sandbox) -> None:
    status, told = await sandbox.token("password", **MARIA, **LASTING)
    assert (status, set(told)) == (403, {"error", "error_description", "mfa_token"})
    assert told["error"] == "mfa_required"
    proof = {"mfa_token": told["mfa_token"], "otp": await sandbox.code("maria@example.com")}
    status, error = await sandbox.token(OTP, **proof, client_id="other")
    assert (status, error["error"]) == (401, "invalid_token")
    status, tokens = await sandbox.token(OTP, **proof)
    assert (status, tokens["scope"], "refresh_token" in tokens) == (200, LASTING["scope"], True)
    assert (await sandbox.token(OTP, **proof))[0] == 401


async def test_a_code_may_be_sent_by_mail(sandbox: Sandbox) -> None:
    _, told = await sandbox.token("password", **MARIA)
    bearer = {"Authorization": f"Bearer {told['mfa_token']}"}
    status, found, _ = await sandbox.call("GET", "/mfa/authenticators", headers=bearer)
    assert (status, [one["authenticator_type"] for one in found]) == (200, ["otp", "oob"])
    assert (found[1]["oob_channel"], found[1]["name"]) == ("email", "m***@example.com")
    asked = {**CLIENT, "mfa_token": told["mfa_token"], "authenticator_id": found[1]["id"], "challenge_type": "oob"}
    status, sent, _ = await sandbox.call("POST", "/mfa/challenge", json=asked)
    assert (status, sent["challenge_type"], sent["binding_method"]) == (200, "oob", "prompt")
    code = await sandbox.code("maria@example.com")
    form = {"mfa_token": told["mfa_token"], "oob_code": sent["oob_code"], "binding_code": code}
    assert (await sandbox.token(OOB, **{**form, "oob_code": "test-only"}))[1]["error"] == "invalid_grant"
    assert (await sandbox.token(OOB, **form))[0] == 200


async def test_a_challenge_of_the_app_only_says_so(sandbox: Sandbox) -> None:
    _, told = await sandbox.token("password", **MARIA)
    asked = {**CLIENT, "mfa_token": told["mfa_token"]}
    assert (await sandbox.call("POST", "/mfa/challenge", json=asked))[1] == {"challenge_type": "otp"}
    status, error, _ = await sandbox.call("POST", "/mfa/challenge", json={**asked, "challenge_type": "oob"})
    assert (status, error["error"]) == (400, "unsupported_challenge_type")
    status, error, _ = await sandbox.call("POST", "/mfa/challenge", json={**asked, "authenticator_id": "sms"})
    assert (status, error["error"]) == (400, "invalid_request")


async def test_three_wrong_codes_burn_it(sandbox: Sandbox) -> None:
    _, told = await sandbox.token("password", **MARIA)
    code = await sandbox.code("maria@example.com")
    for _ in range(3):
        wrong = f"{(int(code) + 1) % 1_000_000:06d}"
        assert (await sandbox.token(OTP, mfa_token=told["mfa_token"], otp=wrong))[1]["error"] == "invalid_grant"
    assert (await sandbox.token(OTP, mfa_token=told["mfa_token"], otp=code))[1]["error"] == "invalid_grant"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer test-only", "Basic dGVzdA=="])
async def test_authenticators_are_told_only_between_the_factors(sandbox: Sandbox, header: str) -> None:
    status, error, headers = await sandbox.call("GET", "/mfa/authenticators", headers={"Authorization": header})
    assert (status, error["error"]) == (401, "invalid_token")
    assert headers["WWW-Authenticate"].startswith("Bearer ")


# What is asked about tokens


async def test_an_access_token_opens_the_users_profile_until_it_is_revoked(sandbox: Sandbox) -> None:
    _, tokens = await sandbox.token("password", **JANE)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    status, profile, _ = await sandbox.call("GET", "/userinfo", headers=bearer)
    assert (status, profile["email"], profile["given_name"]) == (200, "jane@example.com", "Jane")
    form = {**CLIENT, "token": tokens["access_token"]}
    assert (await sandbox.call("POST", "/introspect", data=form))[1]["active"] is True
    assert (await sandbox.call("POST", "/oauth/revoke", data=form))[0] == 200
    status, error, headers = await sandbox.call("GET", "/userinfo", headers=bearer)
    assert (status, error["error"]) == (401, "invalid_token")
    assert headers["WWW-Authenticate"] == 'Bearer realm="sandbox", error="invalid_token"'
    assert (await sandbox.call("POST", "/introspect", data=form))[1] == {"active": False}


async def test_a_profile_shows_what_the_scope_allows(sandbox: Sandbox) -> None:
    async def profile(scope: str) -> tuple[int, Any]:
        _, tokens = await sandbox.token("password", **JANE, scope=scope)
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        return (await sandbox.call("POST", "/userinfo", headers=bearer))[:2]

    status, claims = await profile("openid email")
    assert (status, set(claims)) == (200, {"sub", "email", "email_verified"})
    status, error = await profile("email")
    assert (status, error["error"]) == (403, "insufficient_scope")


async def test_an_id_token_is_no_access_token(sandbox: Sandbox) -> None:
    _, tokens = await sandbox.token("password", **JANE)
    bearer = {"Authorization": f"Bearer {tokens['id_token']}"}
    assert (await sandbox.call("GET", "/userinfo", headers=bearer))[0] == 401


async def test_a_refresh_token_is_told_about_and_revoked_with_its_family(sandbox: Sandbox) -> None:
    _, first = await sandbox.token("password", **JANE, **LASTING)
    _, second = await sandbox.token("refresh_token", refresh_token=first["refresh_token"])
    form = {**CLIENT, "token": second["refresh_token"]}
    _, told, _ = await sandbox.call("POST", "/introspect", data=form)
    assert (told["active"], told["client_id"], told["scope"]) == (True, "shop", LASTING["scope"])
    status, error, _ = await sandbox.call("POST", "/oauth/revoke", data={**form, "client_id": "other"})
    assert (status, error["error"]) == (400, "unauthorized_client")
    assert (await sandbox.call("POST", "/oauth/revoke", data=form))[0] == 200
    assert (await sandbox.token("refresh_token", refresh_token=second["refresh_token"]))[0] == 400
    assert (await sandbox.call("POST", "/oauth/revoke", data={**CLIENT, "token": "test-only-unknown"}))[0] == 200


async def test_what_tokens_are_is_told_to_clients_with_a_secret_alone(sandbox: Sandbox) -> None:
    status, error, _ = await sandbox.call("POST", "/introspect", data={"client_id": "shop", "token": "test-only"})
    assert (status, error["error"]) == (401, "invalid_client")


async def test_discovery_names_addresses_that_are_there(sandbox: Sandbox) -> None:
    _, found, _ = await sandbox.call("GET", "/.well-known/openid-configuration")
    assert found["issuer"] == sandbox.address
    for name in ("authorization", "token", "userinfo", "revocation", "introspection"):
        path = found[f"{name}_endpoint"].removeprefix(sandbox.address)
        assert (await sandbox.call("OPTIONS", path))[0] == 405
    assert (await sandbox.call("GET", found["jwks_uri"].removeprefix(sandbox.address)))[1]["keys"][0].keys() == {
        "kty", "n", "e", "kid", "use", "alg", "key_ops",
    }  # fmt: skip


async def test_behind_a_proxy_the_issuer_is_the_proxy(sandbox: Sandbox) -> None:
    headers = {"X-Forwarded-Host": "login.example", "X-Forwarded-Proto": "https"}
    _, found, _ = await sandbox.call("GET", "/.well-known/openid-configuration", headers=headers)
    assert (found["issuer"], found["token_endpoint"]) == ("https://login.example", "https://login.example/oauth/token")


# Resetting a password


async def test_a_password_is_reset_by_the_link_of_the_mail(sandbox: Sandbox) -> None:
    _, tokens = await sandbox.token("password", **JANE, **LASTING)
    ticket = await sandbox.ticket("jane@example.com")
    status, found, _ = await sandbox.call("GET", "/u/reset-verify", params={"ticket": ticket})
    assert (status, found["email"], found["factors"]) == (200, "jane@example.com", [])
    form = {"reset_token": found["reset_token"], "new_password": "test-only-new"}
    status, done, _ = await sandbox.call("POST", "/u/reset-password", data=form)
    assert (status, done["result"], done["user_id"]) == (200, "password_changed", found["user_id"])
    assert (await sandbox.token("password", **JANE))[0] == 400
    assert (await sandbox.token("password", **{**JANE, "password": "test-only-new"}))[0] == 200
    assert (await sandbox.token("refresh_token", refresh_token=tokens["refresh_token"]))[0] == 400


async def test_a_link_and_what_it_gives_work_until_the_password_is_set(sandbox: Sandbox) -> None:
    ticket = await sandbox.ticket("maria@example.com")
    _, first, _ = await sandbox.call("GET", "/u/reset-verify", params={"ticket": ticket})
    _, second, _ = await sandbox.call("GET", "/u/reset-verify", params={"ticket": ticket})
    assert (first["factors"], first["reset_token"] != second["reset_token"]) == (["otp", "email"], True)

    async def change(token: str, password: str) -> tuple[int, str | None]:
        form = {"reset_token": token, "new_password": password}
        status, body, _ = await sandbox.call("POST", "/u/reset-password", json=form)
        return status, body.get("error")

    assert await change(first["reset_token"], "short") == (400, "invalid_password")
    assert await change(first["reset_token"], "test-only-new") == (200, None)
    assert await change(first["reset_token"], "test-only-newer") == (400, "invalid_request")
    assert await change(second["reset_token"], "test-only-newer") == (400, "invalid_request")
    status, error, _ = await sandbox.call("GET", "/u/reset-verify", params={"ticket": ticket})
    assert (status, error["error"]) == (400, "invalid_ticket")


@pytest.mark.parametrize("email", ["nobody@example.com", "locked@example.com", "jane@example.com"])
async def test_asking_for_a_new_password_does_not_tell_who_has_an_account(sandbox: Sandbox, email: str) -> None:
    asked = {"client_id": "shop", "connection": "customers", "email": email}
    status, text, _ = await sandbox.call("POST", "/dbconnections/change_password", json=asked)
    assert (status, text) == (200, "We've just sent you an email to reset your password.")
    assert (set((await sandbox.call("GET", "/sandbox/tickets"))[1]) == {email}) is (email == "jane@example.com")


# Around it


@pytest.mark.parametrize("path", ["/sandbox/codes", "/sandbox/tickets"])
async def test_codes_and_links_are_not_told_through_a_proxy(sandbox: Sandbox, path: str) -> None:
    assert (await sandbox.call("GET", path))[0] == 200
    assert (await sandbox.call("GET", path, headers={"Via": "1.1 vestibule"}))[0] == 404


async def test_it_says_plainly_that_it_is_a_sandbox(sandbox: Sandbox) -> None:
    status, page, headers = await sandbox.call("GET", "/")
    assert (status, headers["x-sandbox"]) == (200, "oauth")
    assert "sandbox" in page["what"]


async def test_what_is_not_there_and_what_is_not_allowed_have_its_errors(sandbox: Sandbox) -> None:
    status, error, headers = await sandbox.call("GET", "/nothing")
    assert (status, error["error"], headers["x-sandbox"]) == (404, "not_found", "oauth")
    status, _, headers = await sandbox.call("GET", "/oauth/token")
    assert (status, headers["Allow"]) == (405, "POST")


async def test_a_file_keeps_refresh_tokens_over_a_restart(running: Running, tmp_path: Path) -> None:
    data = str(tmp_path / "sandbox.db")
    _, tokens = await (await running.start(data)).token("password", **JANE, **LASTING)
    await running.stop()
    second = await running.start(data)
    assert (await second.token("refresh_token", refresh_token=tokens["refresh_token"]))[0] == 200
