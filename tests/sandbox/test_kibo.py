"""The Kibo sandbox by itself: what its operations answer, so that rules can be tried against it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer

from proxy.sandbox.kibo import BASE, application

Client = TestClient[Any, Any]
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with TestClient(TestServer(application()), auto_decompress=False, headers=PLAIN) as client:
        yield client


async def login(client: Client, name: str = "jane", number: int = 1, query: str = "", **more: Any) -> tuple[int, Any]:
    body = {"username": f"{name}@example.com", "password": f"correct-horse-{number}", **more}
    async with client.post(f"{BASE}{query}", json=body) as answer:
        return answer.status, await answer.json()


async def test_a_login_gives_a_ticket_with_every_field(client: Client) -> None:
    status, ticket = await login(client)
    assert status == 200
    assert set(ticket) == {
        "accessToken", "accessTokenExpiration", "customerAccount", "jwtAccessToken", "refreshToken",
        "refreshTokenExpiration", "requires2FA", "userId",
    }  # fmt: skip
    assert len(ticket["customerAccount"]) >= 27


async def test_the_jwt_is_signed_with_the_published_key(client: Client) -> None:
    _, ticket = await login(client)
    async with client.get("/.well-known/jwks.json") as answer:
        key = jwt.PyJWKSet.from_dict(await answer.json()).keys[0]
    claims = jwt.decode(ticket["jwtAccessToken"], key, algorithms=["RS256"])
    assert claims["sub"] == ticket["userId"]


async def test_response_fields_limit_the_ticket(client: Client) -> None:
    _, ticket = await login(client, query="?responseFields=userId,customerAccount(id,notes(content))")
    assert set(ticket) == {"userId", "customerAccount"}
    assert set(ticket["customerAccount"]) == {"id", "notes"}
    assert (await login(client, query="?responseFields=a(("))[0] == 400
    assert "accessToken" in (await login(client, query="/?responseFields="))[1]


async def test_a_refresh_token_works_once(client: Client) -> None:
    _, ticket = await login(client)
    params = {"refreshToken": ticket["refreshToken"]}
    async with client.put(f"{BASE}/refresh", params=params) as answer:
        assert answer.status == 200
    async with client.put(f"{BASE}/refresh", params=params) as answer:
        assert (answer.status, (await answer.json())["errorCode"]) == (404, "ITEM_NOT_FOUND")


async def test_five_wrong_passwords_lock_an_account(client: Client) -> None:
    for _ in range(5):
        assert (await login(client, number=9))[0] == 401
    status, body = await login(client)
    assert (status, body["errorCode"]) == (401, "ACCOUNT_LOCKED")


async def test_a_locked_account_stays_locked(client: Client) -> None:
    assert (await login(client, "locked", 3))[1]["errorCode"] == "ACCOUNT_LOCKED"


async def test_a_second_factor_withholds_the_tokens_until_the_code(client: Client) -> None:
    _, ticket = await login(client, "maria", 2)
    assert (ticket["requires2FA"], ticket["accessToken"]) == (True, None)
    async with client.get("/sandbox/codes") as answer:
        code = (await answer.json())["maria@example.com"]
    for given, status in (("000000" if code != "000000" else "111111", 401), (code, 200), (code, 401)):
        body = {"userId": ticket["userId"], "otpCode": given}
        async with client.post(f"{BASE}/2fa/auth", json=body) as answer:
            assert answer.status == status


async def test_a_code_by_mail_logs_in_too(client: Client) -> None:
    async with client.post(f"{BASE}/otp/request", json={"email": "vip@example.com"}) as answer:
        assert answer.status == 204
    async with client.get("/sandbox/codes") as answer:
        code = (await answer.json())["vip@example.com"]
    body = {"email": "vip@example.com", "otpCode": code}
    async with client.post(f"{BASE}/otp/auth", json=body) as answer:
        segments = (await answer.json())["customerAccount"]["segments"]
    assert [segment["code"] for segment in segments] == ["VIP", "EARLY"]


async def test_an_anonymous_shopper_gets_a_ticket(client: Client) -> None:
    async with client.get(f"{BASE}/anonymousshopper") as answer:
        assert (await answer.json())["customerAccount"]["isAnonymous"] is True


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"username": 1}'])
async def test_what_cannot_be_read_is_an_error_in_kibos_format(client: Client, body: bytes) -> None:
    async with client.post(BASE, data=body, headers={"x-vol-correlation": "test-only-id"}) as answer:
        found = await answer.json()
        assert (answer.status, found["errorCode"], found["correlationId"]) == (400, "VALIDATION_ERROR", "test-only-id")
        assert answer.headers["x-vol-correlation"] == "test-only-id"


async def test_a_ticket_lives_as_long_as_was_asked_for_and_no_longer_than_allowed(client: Client) -> None:
    for asked, minutes in ((5, 5), (100_000, 60)):
        _, ticket = await login(client, authTicketTtlMinutes=asked)
        claims = jwt.decode(ticket["jwtAccessToken"], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == minutes * 60
    assert (await login(client, authTicketTtlMinutes="long"))[0] == 400


async def test_answers_are_compressed_where_the_client_takes_it(client: Client) -> None:
    body = {"username": "jane@example.com", "password": "correct-horse-1"}
    async with client.post(BASE, json=body, headers={"Accept-Encoding": "br;q=1.0, gzip;q=0.8"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert (await answer.read()).startswith(b"\x1f\x8b")


async def test_it_says_that_it_is_a_sandbox(client: Client) -> None:
    async with client.get("/") as answer:
        assert "not for production" in (await answer.json())["what"]
        assert answer.headers["x-sandbox"] == "kibo"


async def test_data_in_a_file_outlive_the_sandbox(tmp_path: Any) -> None:
    path = str(tmp_path / "sandbox.sqlite")
    async with TestClient(TestServer(application(path)), headers=PLAIN) as one:
        _, ticket = await login(one)
    async with TestClient(TestServer(application(path)), headers=PLAIN) as other:
        params = {"refreshToken": ticket["refreshToken"]}
        async with other.put(f"{BASE}/refresh", params=params) as answer:
            assert answer.status == 200


