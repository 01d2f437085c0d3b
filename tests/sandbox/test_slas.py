"""The token endpoint of SLAS in the SFCC sandbox, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.sandbox.serving import Running, Sandbox, basic, serving

SLAS = "/shopper/auth/v1/organizations/f_ecom_test_001/oauth2"
PACK = yaml.safe_load((Path(__file__).resolve().parents[2] / "rules" / "sfcc" / "pack.yaml").read_text("utf-8"))


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving("sfcc") as found:
        yield found


@pytest.fixture
async def sandbox(running: Running) -> Sandbox:
    return await running.start()


async def token(sandbox: Sandbox, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    given = basic("test-only-client", "sandbox") if headers is None else headers
    status, body, _ = await sandbox.call("POST", f"{SLAS}/token", data=form, headers=given)
    return status, body


GUEST = {"grant_type": "client_credentials", "channel_id": "RefArch"}


async def test_slas_gives_a_guest_tokens_that_hold_against_its_keys(sandbox: Sandbox) -> None:
    status, body = await token(sandbox, GUEST)
    assert status == 200
    Draft202012Validator({**PACK["schemas"]["TokenResponse"], "additionalProperties": False}).validate(body)
    _, keys, _ = await sandbox.call("GET", f"{SLAS}/jwks")
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(body["access_token"])["kid"]]
    claims = jwt.decode(
        body["access_token"],
        key.key,
        algorithms=["RS256"],
        issuer="slas/prod/test_001",
        audience="commercecloud/prod/test_001",
    )
    assert body["usid"] in claims["sub"]
    assert "upn:Guest" in claims["isb"]
    assert claims["exp"] - claims["iat"] == body["expires_in"]


async def test_a_refresh_token_of_slas_holds_once_and_keeps_the_shopper(sandbox: Sandbox) -> None:
    _, first = await token(sandbox, GUEST)
    form = {**GUEST, "grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    status, second = await token(sandbox, form)
    assert status == 200
    assert (second["usid"], second["customer_id"]) == (first["usid"], first["customer_id"])
    assert second["refresh_token"] != first["refresh_token"]
    status, error = await token(sandbox, form)
    assert (status, error["error"]) == (400, "invalid_grant")


async def test_two_refreshes_at_once_give_one_token(sandbox: Sandbox) -> None:
    _, first = await token(sandbox, GUEST)
    form = {**GUEST, "grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    answers = await asyncio.gather(*(token(sandbox, form) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200] + [400] * 7


async def test_a_refresh_token_is_for_its_own_client_alone(sandbox: Sandbox) -> None:
    _, first = await token(sandbox, GUEST)
    form = {**GUEST, "grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    status, error = await token(sandbox, {**form, "client_id": "another"}, {})
    assert (status, error["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("form", "headers", "status", "error"),
    [
        ({"grant_type": "client_credentials"}, None, 400, "invalid_request"),
        ({**GUEST, "channel_id": "Other"}, None, 400, "invalid_request"),
        ({**GUEST, "grant_type": "password"}, None, 400, "unsupported_grant_type"),
        ({"channel_id": "RefArch"}, None, 400, "invalid_request"),
        (GUEST, {}, 400, "invalid_request"),
        ({**GUEST, "client_id": "public"}, {}, 401, "invalid_client"),
        (GUEST, basic("test-only-client", "test-only-wrong"), 401, "invalid_client"),
        (GUEST, {"Authorization": "Basic !"}, 401, "invalid_client"),
    ],
    ids=[
        "no channel",
        "a wrong one",
        "another grant",
        "no grant",
        "no client",
        "no secret",
        "a wrong one",
        "no base64",
    ],
)
async def test_what_slas_refuses(
    sandbox: Sandbox, form: dict[str, str], headers: Mapping[str, str] | None, status: int, error: str
) -> None:
    answered, body = await token(sandbox, form, headers)
    assert (answered, body["error"]) == (status, error)


async def test_slas_reads_forms_alone_and_no_field_twice(sandbox: Sandbox) -> None:
    status, error, _ = await sandbox.call("POST", f"{SLAS}/token", GUEST)
    assert (status, error["error"]) == (415, "invalid_request")
    twice = aiohttp.FormData([("channel_id", "RefArch"), *GUEST.items()])
    status, error, _ = await sandbox.call("POST", f"{SLAS}/token", data=twice, headers=basic("a", "sandbox"))
    assert (status, error["error"]) == (400, "invalid_request")
    status, error, headers = await sandbox.call("GET", f"{SLAS}/token")
    assert (status, error["error"], headers["Allow"]) == (405, "invalid_request", "POST")


async def test_a_file_keeps_refresh_tokens_over_a_restart(running: Running, tmp_path: Path) -> None:
    data = str(tmp_path / "sandbox.db")
    _, issued = await token(await running.start(data), GUEST)
    await running.stop()
    form = {**GUEST, "grant_type": "refresh_token", "refresh_token": issued["refresh_token"]}
    status, again = await token(await running.start(data), form)
    assert (status, again["usid"]) == (200, issued["usid"])
