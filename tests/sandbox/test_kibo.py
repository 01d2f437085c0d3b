"""The Kibo sandbox on a real socket: what it serves is what rules are tried against."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from proxy.sandbox import serve
from tests.sandbox.serving import Running, Sandbox, serving

TICKETS = "/api/commerce/customer/authtickets"
JANE = {"username": "jane@example.com", "password": "correct-horse-1"}
MARIA = {"username": "maria@example.com", "password": "correct-horse-2"}
LOCKED = {"username": "locked@example.com", "password": "correct-horse-3"}
VIP = {"username": "vip@example.com", "password": "correct-horse-4"}
PACK = yaml.safe_load((Path(__file__).resolve().parents[2] / "rules" / "kibo" / "pack.yaml").read_text("utf-8"))


async def log_in(sandbox: Sandbox, who: Mapping[str, Any], **more: Any) -> tuple[int, Any]:
    status, body, _ = await sandbox.call("POST", TICKETS, {**who}, **more)
    return status, body


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving("kibo") as found:
        yield found


@pytest.fixture
async def sandbox(running: Running) -> Sandbox:
    return await running.start()


def closed(schema: Any) -> Any:
    """Make every field of a schema required and no other allowed."""
    if isinstance(schema, dict):
        inner = {key: closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict):
            inner |= {"additionalProperties": False, "required": list(schema["properties"])}
        return inner
    return schema


@pytest.mark.parametrize("who", [JANE, VIP], ids=["jane", "vip"])
async def test_a_ticket_has_exactly_the_fields_of_the_schema(sandbox: Sandbox, who: dict[str, str]) -> None:
    status, ticket = await log_in(sandbox, who)
    assert status == 200
    Draft202012Validator(closed(PACK["schemas"]["AuthTicket"]), format_checker=FormatChecker()).validate(ticket)
    assert ticket["customerAccount"]["userName"] == who["username"]
    assert ticket["userId"] == ticket["customerAccount"]["userId"]
    assert ticket["requires2FA"] is False


async def test_the_vip_has_segments_notes_and_contacts(sandbox: Sandbox) -> None:
    _, ticket = await log_in(sandbox, VIP)
    account = ticket["customerAccount"]
    assert [segment["code"] for segment in account["segments"]] == ["VIP", "EARLY"]
    assert len(account["notes"]) == 2
    assert account["contacts"][0]["address"]["cityOrTown"] == "Springfield"


async def test_the_jwt_holds_against_the_published_keys_and_names_the_user(sandbox: Sandbox) -> None:
    _, ticket = await log_in(sandbox, JANE, headers={"x-vol-tenant": "1", "x-vol-site": "2"})
    _, keys, _ = await sandbox.call("GET", "/.well-known/jwks.json")
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(ticket["jwtAccessToken"])["kid"]]
    claims = jwt.decode(ticket["jwtAccessToken"], key.key, algorithms=["RS256"], issuer=sandbox.address)
    assert claims["sub"] == ticket["userId"]
    assert (claims["tenant"], claims["site"], claims["isAnonymous"]) == ("1", "2", False)
    assert "d" not in keys["keys"][0]


async def test_a_ticket_lives_as_long_as_was_asked_for_and_no_longer_than_allowed(sandbox: Sandbox) -> None:
    async def lives(minutes: int | None) -> tuple[float, float]:
        _, ticket = await log_in(sandbox, {**JANE, "authTicketTtlMinutes": minutes})
        claims = jwt.decode(ticket["jwtAccessToken"], options={"verify_signature": False})
        ends = dt.datetime.fromisoformat(ticket["accessTokenExpiration"])
        return (claims["exp"] - claims["iat"]) / 60, (ends - dt.datetime.now(dt.UTC)).total_seconds() / 60

    token, ticket = await lives(10)
    assert token == 10
    assert 9 < ticket <= 10
    assert [(await lives(minutes))[0] for minutes in (None, 600)] == [60, 60]


@pytest.mark.parametrize("minutes", [0, -1, True, "30", 1.5])
async def test_a_time_that_is_no_number_of_minutes_is_a_400(sandbox: Sandbox, minutes: object) -> None:
    status, error = await log_in(sandbox, {**JANE, "authTicketTtlMinutes": minutes})
    assert (status, error["errorCode"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("who", [{**JANE, "password": "test-only-wrong"}, {**JANE, "username": "nobody@example.com"}])
async def test_a_wrong_password_and_an_unknown_user_get_one_answer(sandbox: Sandbox, who: dict[str, str]) -> None:
    status, error, headers = await sandbox.call("POST", TICKETS, who, headers={"x-vol-correlation": "test-only-id-1"})
    assert (status, error["errorCode"]) == (401, "INVALID_CREDENTIALS")
    assert error["correlationId"] == headers["x-vol-correlation"] == "test-only-id-1"
    assert {"message", "applicationName", "additionalErrorData", "items", "exceptionDetail"} < set(error)


async def test_five_wrong_passwords_lock_an_account_and_a_right_one_before_that_clears_them(sandbox: Sandbox) -> None:
    wrong = {**JANE, "password": "test-only-wrong"}
    for _ in range(4):
        assert (await log_in(sandbox, wrong))[0] == 401
    assert (await log_in(sandbox, JANE))[0] == 200
    for _ in range(5):
        assert (await log_in(sandbox, wrong))[1]["errorCode"] == "INVALID_CREDENTIALS"
    status, error = await log_in(sandbox, JANE)
    assert (status, error["errorCode"]) == (401, "ACCOUNT_LOCKED")


async def test_a_locked_account_is_told_only_to_who_knows_the_password(sandbox: Sandbox) -> None:
    assert (await log_in(sandbox, LOCKED))[1]["errorCode"] == "ACCOUNT_LOCKED"
    assert (await log_in(sandbox, {**LOCKED, "password": "test-only-no"}))[1]["errorCode"] == "INVALID_CREDENTIALS"


APPLICATION = {"Authorization": "Bearer test-only-application"}
ACCOUNTS = "/api/commerce/customer/accounts"


async def test_an_application_reads_the_account_that_a_ticket_names(sandbox: Sandbox) -> None:
    _, ticket = await log_in(sandbox, VIP)
    where = f"{ACCOUNTS}/{ticket['customerAccount']['id']}"
    status, account, _ = await sandbox.call("GET", where, headers=APPLICATION)
    assert (status, account) == (200, ticket["customerAccount"])
    Draft202012Validator(closed(PACK["schemas"]["CustomerAccount"]), format_checker=FormatChecker()).validate(account)
    wanted = {"responseFields": "id,segments(code)"}
    _, some, _ = await sandbox.call("GET", where, headers=APPLICATION, params=wanted)
    assert some == {"id": 1004, "segments": [{"code": "VIP"}, {"code": "EARLY"}]}


async def test_the_login_state_counts_wrong_passwords_until_the_account_is_locked(sandbox: Sandbox) -> None:
    async def state() -> tuple[int, int, bool]:
        name = {"userName": JANE["username"]}
        _, found, _ = await sandbox.call("POST", f"{ACCOUNTS}/loginstatebyusername", headers=APPLICATION, params=name)
        by_number = await sandbox.call("GET", f"{ACCOUNTS}/1001/loginstate", headers=APPLICATION)
        schema = closed(PACK["schemas"]["LoginState"])
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(found)
        assert by_number[1] == found
        return found["failedLoginAttemptCount"], found["remainingLoginAttempts"], found["isLocked"]

    seen = [await state()]
    for _ in range(5):
        await log_in(sandbox, {**JANE, "password": "test-only-wrong"})
        seen.append(await state())
    assert seen == [(0, 5, False), (1, 4, False), (2, 3, False), (3, 2, False), (4, 1, False), (5, 0, True)]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/1001", {}, 401, "UNAUTHORIZED"),
        ("POST", "/loginstatebyusername?userName=jane@example.com", {}, 401, "UNAUTHORIZED"),
        ("GET", "/1001", {"x-vol-app-claims": "test-only"}, 200, None),
        ("GET", "/7", APPLICATION, 404, "ITEM_NOT_FOUND"),
        ("GET", "/one", APPLICATION, 400, "VALIDATION_ERROR"),
        ("GET", "/7/loginstate", APPLICATION, 404, "ITEM_NOT_FOUND"),
        ("POST", "/loginstatebyusername?userName=nobody@example.com", APPLICATION, 404, "ITEM_NOT_FOUND"),
        ("POST", "/loginstatebyusername", APPLICATION, 400, "VALIDATION_ERROR"),
    ],
)
async def test_accounts_are_read_by_applications_and_by_what_names_them(
    sandbox: Sandbox, method: str, path: str, headers: dict[str, str], status: int, code: str | None
) -> None:
    answer = await sandbox.call(method, ACCOUNTS + path, headers=headers)
    assert (answer[0], answer[1].get("errorCode")) == (status, code)


async def test_a_refresh_token_works_once_and_gives_the_next(sandbox: Sandbox) -> None:
    _, ticket = await log_in(sandbox, JANE)
    first = ticket["refreshToken"]
    status, second, _ = await sandbox.call("PUT", f"{TICKETS}/refresh", params={"refreshToken": first})
    assert status == 200
    assert second["userId"] == ticket["userId"]
    assert second["accessToken"] != ticket["accessToken"]
    status, error, _ = await sandbox.call("PUT", f"{TICKETS}/refresh", params={"refreshToken": first})
    assert (status, error["errorCode"]) == (404, "ITEM_NOT_FOUND")
    again = {"refreshToken": second["refreshToken"], "accountId": str(ticket["customerAccount"]["id"])}
    assert (await sandbox.call("PUT", f"{TICKETS}/refresh/", params=again))[0] == 200


@pytest.mark.parametrize(("account", "status"), [("7", 404), ("x", 400), ("\u0661", 400)])
async def test_a_refresh_for_another_account_is_refused(sandbox: Sandbox, account: str, status: int) -> None:
    _, ticket = await log_in(sandbox, JANE)
    params = {"refreshToken": ticket["refreshToken"], "accountId": account}
    assert (await sandbox.call("PUT", f"{TICKETS}/refresh", params=params))[0] == status


async def test_anonymous_shoppers_are_different_ones_and_can_refresh(sandbox: Sandbox) -> None:
    _, one, _ = await sandbox.call("GET", f"{TICKETS}/anonymousshopper")
    _, other, _ = await sandbox.call("GET", f"{TICKETS}/anonymousshopper")
    assert one["customerAccount"]["isAnonymous"] is True
    assert one["userId"] != other["userId"]
    _, again, _ = await sandbox.call("PUT", f"{TICKETS}/refresh", params={"refreshToken": one["refreshToken"]})
    assert again["userId"] == again["customerAccount"]["userId"] == one["userId"]


async def test_a_second_factor_gives_no_token_before_the_code(sandbox: Sandbox) -> None:
    status, ticket = await log_in(sandbox, MARIA)
    assert status == 200
    assert ticket["requires2FA"] is True
    assert [ticket[name] for name in ("accessToken", "jwtAccessToken", "refreshToken")] == [None, None, None]
    proof = {"userId": ticket["userId"], "otpCode": await sandbox.code("maria@example.com")}
    status, full, _ = await sandbox.call("POST", f"{TICKETS}/2fa/auth", proof)
    assert status == 200
    assert full["accessToken"]
    assert (await sandbox.call("POST", f"{TICKETS}/2fa/auth", proof))[0] == 401


async def test_the_third_wrong_code_burns_it_and_a_new_one_can_be_asked_for(sandbox: Sandbox) -> None:
    _, ticket = await log_in(sandbox, MARIA)
    code = await sandbox.code("maria@example.com")
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    proof = {"userId": ticket["userId"], "otpCode": wrong}
    for _ in range(3):
        assert (await sandbox.call("POST", f"{TICKETS}/2fa/auth", proof))[0] == 401
    assert (await sandbox.call("POST", f"{TICKETS}/2fa/auth", {**proof, "otpCode": code}))[0] == 401
    # Kibo's client sends this call without a body.
    assert (await sandbox.call("POST", f"{TICKETS}/2fa/request"))[:2] == (204, None)
    new = {**proof, "otpCode": await sandbox.code("maria@example.com")}
    assert (await sandbox.call("POST", f"{TICKETS}/2fa/auth", new))[0] == 200


async def test_no_code_of_a_second_factor_is_sent_before_the_password(sandbox: Sandbox) -> None:
    _, ticket = await log_in(sandbox, JANE)
    assert (await sandbox.call("POST", f"{TICKETS}/2fa/request", {"userId": ticket["userId"]}))[0] == 204
    assert (await sandbox.call("GET", "/sandbox/codes"))[1] == {}


async def test_a_one_time_code_is_a_login_of_its_own(sandbox: Sandbox) -> None:
    assert (await sandbox.call("POST", f"{TICKETS}/otp/request", {"email": "jane@example.com"}))[0] == 204
    code = await sandbox.code("jane@example.com")
    _, jane = await log_in(sandbox, JANE)
    as_factor = {"userId": jane["userId"], "otpCode": code}
    assert (await sandbox.call("POST", f"{TICKETS}/2fa/auth", as_factor))[0] == 401
    status, ticket, _ = await sandbox.call(
        "POST", f"{TICKETS}/otp/auth", {"email": "jane@example.com", "otpCode": code}
    )
    assert (status, ticket["userId"]) == (200, jane["userId"])


@pytest.mark.parametrize("email", ["nobody@example.com", "locked@example.com"])
async def test_asking_for_a_one_time_code_does_not_tell_who_has_an_account(sandbox: Sandbox, email: str) -> None:
    assert (await sandbox.call("POST", f"{TICKETS}/otp/request", {"email": email}))[0] == 204
    assert (await sandbox.call("GET", "/sandbox/codes"))[1] == {}


async def test_the_codes_are_not_told_through_a_proxy(sandbox: Sandbox) -> None:
    status, _, _ = await sandbox.call("GET", "/sandbox/codes", headers={"Via": "1.1 vestibule"})
    assert status == 404


async def test_a_cart_can_be_taken_over(sandbox: Sandbox) -> None:
    _, jane = await log_in(sandbox, JANE)
    asked = {"cartId": "c1", "accountId": jane["customerAccount"]["id"]}
    status, ticket, _ = await sandbox.call("POST", f"{TICKETS}/impersonatecart", asked)
    assert (status, ticket["userId"]) == (200, jane["userId"])
    assert (await sandbox.call("POST", f"{TICKETS}/impersonatecart", {**asked, "accountId": 7}))[0] == 404


async def test_response_fields_limit_the_ticket_as_deep_as_they_say(sandbox: Sandbox) -> None:
    wanted = {"responseFields": "userId,customerAccount(id,segments(code))"}
    _, ticket = await log_in(sandbox, VIP, params=wanted)
    assert set(ticket) == {"userId", "customerAccount"}
    assert ticket["customerAccount"] == {"id": 1004, "segments": [{"code": "VIP"}, {"code": "EARLY"}]}
    assert "accessToken" in (await log_in(sandbox, VIP, params={"responseFields": ""}))[1]
    assert (await log_in(sandbox, VIP, params={"responseFields": "a("}))[0] == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b"[" * 100_000, b"{}", b'{"username":null,"password":"x"}', b'{"username":"\\ud800"}'],
    ids=["nothing", "null", "a list", "cut off", "deep", "empty", "no name", "half a surrogate pair"],
)
async def test_a_malformed_login_is_a_400(sandbox: Sandbox, body: bytes) -> None:
    async with sandbox.session.post(sandbox.address + TICKETS, data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["errorCode"] == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        ([("x-vol-tenant", "1"), ("x-vol-site", "2")], 200),
        ([("x-vol-tenant", "99")], 400),
        ([("x-vol-tenant", "1"), ("x-vol-tenant", "1")], 400),
        ([("x-vol-site", "two")], 400),
    ],
    ids=["none", "its own", "another tenant", "two tenants", "no number"],
)
async def test_a_wrong_tenant_or_site_is_a_400(sandbox: Sandbox, headers: list[tuple[str, str]], status: int) -> None:
    assert (await log_in(sandbox, JANE, headers=headers))[0] == status


@pytest.mark.parametrize(
    ("accepted", "coded"),
    [("gzip", True), ("br;q=1.0, gzip;q=0.8", True), ("gzip;q=0", False), ("identity", False), ("gzip;q=x", False)],
)
async def test_answers_are_compressed_when_that_is_asked_for(sandbox: Sandbox, accepted: str, coded: bool) -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as raw,
        raw.post(sandbox.address + TICKETS, json=JANE, headers={"Accept-Encoding": accepted}) as answer,
    ):
        body = await answer.read()
        assert (answer.headers.get("Content-Encoding") == "gzip") is coded
        assert json.loads(gzip.decompress(body) if coded else body)["requires2FA"] is False


async def test_what_is_not_there_and_what_is_not_allowed_have_kibos_errors(sandbox: Sandbox) -> None:
    status, error, headers = await sandbox.call("GET", "/api/commerce/nothing")
    assert (status, error["errorCode"], headers["x-sandbox"]) == (404, "ITEM_NOT_FOUND", "kibo")
    status, error, headers = await sandbox.call("DELETE", TICKETS)
    assert (status, headers["Allow"]) == (405, "POST")
    assert error["correlationId"] == headers["x-vol-correlation"]


@pytest.mark.parametrize("path", ["/oauth", "/oauth2", "", "/oauth/"])
async def test_any_application_gets_a_token(sandbox: Sandbox, path: str) -> None:
    asked = {"client_id": "test-only", "client_secret": "test-only", "grant_type": "client_credentials"}
    status, token, _ = await sandbox.call("POST", f"/api/platform/applications/authtickets{path}", asked)
    assert status == 200
    assert token["access_token"] == token["accessToken"]
    assert token["expires_in"] == 3600


async def test_it_says_plainly_that_it_is_a_sandbox(sandbox: Sandbox) -> None:
    status, page, headers = await sandbox.call("GET", "/")
    assert status == 200
    assert "sandbox" in page["what"]
    assert headers["x-sandbox"] == "kibo"


async def test_a_file_keeps_tickets_over_a_restart_which_unlocks_who_got_locked(
    running: Running, tmp_path: Path
) -> None:
    data = str(tmp_path / "sandbox.db")
    first = await running.start(data)
    _, ticket = await log_in(first, JANE)
    for _ in range(5):
        await log_in(first, {**VIP, "password": "test-only-wrong"})
    assert (await log_in(first, VIP))[0] == 401
    await running.stop()
    second = await running.start(data)
    params = {"refreshToken": ticket["refreshToken"]}
    assert (await second.call("PUT", f"{TICKETS}/refresh", params=params))[0] == 200
    assert (await log_in(second, VIP))[0] == 200
    assert (await log_in(second, LOCKED))[1]["errorCode"] == "ACCOUNT_LOCKED"


async def test_without_a_file_a_restart_forgets_everything(running: Running) -> None:
    _, ticket = await log_in(await running.start(), JANE)
    await running.stop()
    params = {"refreshToken": ticket["refreshToken"]}
    assert (await (await running.start()).call("PUT", f"{TICKETS}/refresh", params=params))[0] == 404


async def test_there_is_no_sandbox_of_another_name() -> None:
    with pytest.raises(ValueError, match="kibo"):
        await serve("kibbo", host="127.0.0.1", port=0, data=None)
