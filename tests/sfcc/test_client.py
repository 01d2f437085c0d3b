"""The Shop API's own client through the example rules, over TLS, as it keeps the cookies of a session only there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme

from tests.running import ROOT, running

HERE = Path(__file__).parent
MODULE = HERE / "node_modules" / "commercecloud-ocapi-client"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what the client saw, by the name of the call."""
    if shutil.which("node") is None or not MODULE.is_dir():
        pytest.skip("the Shop API's client needs node and `npm install` in tests/sfcc (make clients does both steps)")
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(folder / "cert.pem", append=True)
    tls = ("--tls-cert", folder / "cert.pem", "--tls-key", folder / "key.pem")
    with running("--upstream", "sandbox:sfcc", "--rules", ROOT / "rules" / "sfcc", *tls) as proxy:
        done = subprocess.run(
            ["node", str(HERE / "client.mjs"), proxy.address],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(folder / "ca.pem")},
        )
    return {call["name"]: call for call in map(json.loads, done.stdout.splitlines())}


def customer_of(call: Any) -> tuple[str, bool]:
    """Give what the token of an answer says, and check that it is a customer's document that came with it."""
    assert (call["ok"], call["status"], call["kind"]) == (True, 200, "Customer")
    claims = jwt.decode(call["authorization"].removeprefix("Bearer "), options={"verify_signature": False})
    info = json.loads(claims["sub"])["customer_info"]
    assert (claims["iss"], info["customer_id"]) == ("test-only-client", call["data"]["customer_id"])
    return info["customer_id"], info["guest"]


def test_a_guest_gets_a_token_that_holds_and_can_be_refreshed(calls: dict[str, Any]) -> None:
    guest, is_guest = customer_of(calls["guest"])
    assert is_guest
    assert calls["guest is known"]["data"]["customer_id"] == guest
    assert customer_of(calls["refresh of a guest"]) == (guest, True)


def test_a_login_gets_a_token_that_holds_and_can_be_refreshed(calls: dict[str, Any]) -> None:
    jane, is_guest = customer_of(calls["credentials"])
    assert not is_guest
    assert calls["customer"]["data"]["login"] == "jane@example.com"
    assert customer_of(calls["refresh"]) == (jane, False)
    assert calls["refresh"]["authorization"] != calls["credentials"]["authorization"]


def test_a_token_becomes_a_session_and_a_session_a_token(calls: dict[str, Any]) -> None:
    assert (calls["sessions"]["ok"], calls["sessions"]["status"]) == (True, 204)
    assert customer_of(calls["session"]) == customer_of(calls["credentials"])


def test_a_put_that_travels_as_a_post_passes(calls: dict[str, Any]) -> None:
    assert (calls["basket"]["kind"], calls["put"]["kind"]) == ("Basket", "Basket")
    assert calls["put"]["data"]["customer_info"]["email"] == "jane@example.com"


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("wrong password", "AuthenticationFailedException"),
        ("denied", "DisposableAddressException"),
        ("second factor", "HookStatusException"),
        ("somebody else", "CustomerNotFoundException"),
    ],
)
def test_a_refusal_is_a_fault_for_the_client(calls: dict[str, Any], name: str, type_: str) -> None:
    refused = calls[name]
    assert (refused["ok"], refused["kind"], refused["type"]) == (False, "Fault", type_)
    assert refused["message"]


def test_a_token_that_was_given_up_holds_no_longer(calls: dict[str, Any]) -> None:
    assert calls["invalidate"]["status"] == 204
    assert calls["invalidated"]["kind"] == "Fault"
