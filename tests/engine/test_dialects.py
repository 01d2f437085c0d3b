"""The proxy's own answers: every dialect, every status, and text that tries to be more than text."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine import dialects
from proxy.engine.dialects import DIALECTS
from proxy.engine.message import Limits, Response

STATUSES = (
    400,
    401,
    403,
    404,
    405,
    408,
    409,
    413,
    414,
    415,
    417,
    421,
    422,
    429,
    431,
    451,
    500,
    501,
    502,
    503,
    504,
    505,
    599,
)
CORRELATION = "0123456789abcdef"


def answer(dialect: str, status: int = 403, **more: Any) -> Response:
    return dialects.answer(dialect, status, correlation=CORRELATION, limits=Limits(), **more)


def body(response: Response) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(response.content or b"")
    return found


def test_problem_is_rfc_9457() -> None:
    response = answer("problem", 403, code="BLOCKED", reason="No.")
    assert response.headers.get(b"content-type") == b"application/problem+json"
    assert body(response) == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "No.",
        "code": "BLOCKED",
        "correlationId": CORRELATION,
    }


def test_kibo_is_the_body_that_its_clients_turn_into_an_api_error() -> None:
    response = answer("kibo", 403, code="BLOCKED", reason="No.")
    assert response.headers.get(b"content-type") == b"application/json"
    assert body(response) == {
        "message": "No.",
        "errorCode": "BLOCKED",
        "applicationName": "Vestibule",
        "correlationId": CORRELATION,
        "additionalErrorData": [],
        "items": [],
    }


def test_ocapi_is_a_fault() -> None:
    assert body(answer("ocapi", 403, code="BlockedException", reason="No.")) == {
        "_v": "23.2",
        "fault": {"type": "BlockedException", "message": "No.", "arguments": {"correlationId": CORRELATION}},
    }


def test_oauth_is_the_error_of_a_token_endpoint() -> None:
    assert body(answer("oauth", 403, code="blocked", reason="No.")) == {
        "error": "blocked",
        "error_description": "No.",
        "correlationId": CORRELATION,
    }


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", STATUSES)
def test_every_answer_is_json_never_stored_and_carries_the_correlation_id(dialect: str, status: int) -> None:
    response = answer(dialect, status)
    assert response.status == status
    assert response.headers.get(b"cache-control") == b"no-store"
    assert (response.headers.get(b"content-type") or b"").endswith(b"json")
    assert response.headers.get(dialects.correlation_header(dialect)) == CORRELATION.encode()
    assert CORRELATION in (response.content or b"").decode()
    assert isinstance(body(response), dict)


@pytest.mark.parametrize(
    ("dialect", "status", "code"),
    [
        ("kibo", 400, "VALIDATION_ERROR"),
        ("kibo", 401, "UNAUTHORIZED"),
        ("kibo", 403, "FORBIDDEN"),
        ("kibo", 404, "ITEM_NOT_FOUND"),
        ("kibo", 413, "REQUEST_TOO_LARGE"),
        ("kibo", 422, "VALIDATION_ERROR"),
        ("kibo", 429, "TOO_MANY_REQUESTS"),
        ("kibo", 500, "UNEXPECTED_ERROR"),
        ("kibo", 505, "UNEXPECTED_ERROR"),
        ("oauth", 400, "invalid_request"),
        ("oauth", 403, "access_denied"),
        ("oauth", 413, "invalid_request"),
        ("oauth", 500, "server_error"),
        ("oauth", 502, "server_error"),
        ("oauth", 503, "temporarily_unavailable"),
        ("ocapi", 403, "ForbiddenException"),
        ("ocapi", 418, "BadRequestException"),
        ("ocapi", 599, "InternalServerErrorException"),
        ("problem", 403, None),
    ],
)
def test_a_code_that_is_not_given_fits_the_status(dialect: str, status: int, code: str | None) -> None:
    found = body(answer(dialect, status))
    place = {"kibo": found.get("errorCode"), "oauth": found.get("error"), "problem": found.get("code")}
    assert (found["fault"]["type"] if dialect == "ocapi" else place[dialect]) == code


@pytest.mark.parametrize("status", STATUSES)
def test_kibo_never_uses_the_code_on_which_a_client_sends_its_request_again(status: int) -> None:
    assert body(answer("kibo", status))["errorCode"] != "INVALID_ACCESS_TOKEN"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_only_a_401_has_a_challenge(dialect: str) -> None:
    assert answer(dialect, 401).headers.values(b"www-authenticate") == [b'Bearer realm="auth"']
    assert b"www-authenticate" not in answer(dialect, 403).headers


@pytest.mark.parametrize("status", STATUSES)
def test_a_reason_that_is_not_given_is_a_sentence_without_detail(status: int) -> None:
    told = body(answer("kibo", status))["message"]
    assert re.fullmatch(r"[A-Z][^<>{}`]+\.", told)


def test_further_members_stand_where_clients_keep_them() -> None:
    extra = {"redirectUrl": "https://shop.example/mfa"}
    assert body(answer("problem", extra=extra))["redirectUrl"] == extra["redirectUrl"]
    assert body(answer("oauth", extra=extra))["redirectUrl"] == extra["redirectUrl"]
    kibo = body(answer("kibo", extra=extra))
    assert kibo["redirectUrl"] == extra["redirectUrl"]
    assert kibo["additionalErrorData"] == [{"name": "redirectUrl", "value": extra["redirectUrl"]}]
    ocapi = body(answer("ocapi", extra=extra))
    assert ocapi["redirectUrl"] == ocapi["fault"]["arguments"]["redirectUrl"] == extra["redirectUrl"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_further_members_never_take_the_place_of_the_dialects_own(dialect: str) -> None:
    plain = body(answer(dialect, reason="No."))
    loaded = body(answer(dialect, reason="No.", extra=dict.fromkeys(plain, "mine") | {"correlationId": "mine"}))
    for name, value in plain.items():
        if name == "additionalErrorData":
            continue
        if name == "fault":
            assert loaded["fault"]["arguments"]["correlationId"] == CORRELATION
            assert loaded["fault"]["message"] == "No."
        else:
            assert loaded[name] == value


@given(st.sampled_from(DIALECTS), st.text(st.characters(codec=None), max_size=40))
def test_any_reason_gives_valid_json(dialect: str, reason: str) -> None:
    assert CORRELATION in msgspec.json.encode(body(answer(dialect, reason=reason))).decode()


def test_oauth_descriptions_hold_no_quote_backslash_or_control() -> None:
    told = body(answer("oauth", reason='say "no"\\\r\n\x00 to Jürgen'))["error_description"]
    assert told == "say 'no'/  to Jürgen"


@pytest.mark.parametrize(
    ("status", "phrase"), [(413, "Content Too Large"), (422, "Unprocessable Content"), (200, "OK"), (599, "Unknown")]
)
def test_phrases_are_the_same_on_every_python(status: int, phrase: str) -> None:
    assert dialects.phrase(status) == phrase


def test_the_kibo_dialect_has_its_own_correlation_header() -> None:
    assert dialects.correlation_header("kibo") == b"x-vol-correlation"
    assert {dialects.correlation_header(name) for name in DIALECTS if name != "kibo"} == {b"x-correlation-id"}
