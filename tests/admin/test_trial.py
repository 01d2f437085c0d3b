"""Recorded exchanges as cases: what was replaced is of a test, and the case passes; what is not told is said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.admin.inspector.ring import Ring
from proxy.admin.inspector.rulebook import algorithm_of
from proxy.admin.inspector.trial import Job, RuleInputs, run
from proxy.observe.board import RuleTexts, Text
from proxy.observe.record import Body, EffectRecord, Record, RequestRecord, ResponseRecord, VerdictRecord, encode
from tests.admin.inspecting import inspected_alone
from tests.running import run_command

SECRET = "canary-secret-of-the-operator-canary"
KEYS = "https://id.example/keys"
VERIFYING = """
version: 1
rules:
  - name: verified
    match: {path: /in}
    before:
      - verify_token: {keys: {%s}, algorithms: [%s], into: token}
      - headers: {set: {x-user: "${token.claims.sub}"}}
"""


def pair() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def hidden(token: str) -> str:
    """Take the worth from a token, as a recorder does."""
    return f"{token.rpartition('.')[0]}.AAAAAAAAAAAAAAAA"


def record(**changes: Any) -> Record:
    given = {
        "id": "one", "recording": "test", "time": 1_790_000_000.0, "client": "192.0.2.1", "scheme": "http",
        "host": "shop.example", "rules": "", "ran": [], "verdict": VerdictRecord("upstream"), "own_ms": 1.0,
        "request": RequestRecord("GET", "/in", []), "status": 200, "upstream": ResponseRecord(200, []),
    }  # fmt: skip
    return Record(**{**given, **changes})


def job(do: Any, rules: str, one: Record, keys: dict[str, str] | None = None) -> Job:
    texts = RuleTexts(1, "", [Text("rules.yaml", rules)])
    return Job(do, RuleInputs(texts, keys=keys or {}), record=one, rules_at=["rules.yaml"])


def passes(folder: Path, rules: str, case: str) -> None:
    (folder / "rules.yaml").write_text(rules)
    (folder / "rules.test.yaml").write_text(case)
    code, out, err = run_command("test", folder)
    assert (code, err) == (0, ""), out + case
    assert run_command("fmt", "--check", folder / "rules.test.yaml")[0] == 0


@pytest.mark.parametrize("kind", ["secret", "pem"])
def test_a_token_that_was_verified_is_one_of_the_test(tmp_path: Path, kind: str) -> None:
    key = pair()
    secret = SECRET if kind == "secret" else pem(key)
    algorithm = "HS256" if kind == "secret" else "ES256"
    token = jwt.encode({"sub": "jane", "exp": 4_000_000_000}, secret if kind == "secret" else key, algorithm)
    rules = VERIFYING % (f'{kind}: "${{secret:key}}"', algorithm)
    with inspected_alone(rules, {"VESTIBULE_SECRET_KEY": secret}) as inspected:
        answer = inspected.proxy.call("GET", "/in", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 502, "the token holds, and there is no auth service"
        n = inspected.seen(0)["n"]
        case = inspected.ask(f"/inspect/api/exchanges/{n}/case").body.decode()
        told = inspected.ask(f"/inspect/api/exchanges/{n}/trace").body.decode()
    for text in (case, told):
        assert "jane" in text
        assert token.rpartition(".")[2] not in text
        assert "canary" not in text
    assert "headers: {x-user: jane}" in case
    assert "upstream: {fails: down}" in case
    assert "# Note" not in case
    passes(tmp_path, rules, case)


def test_keys_that_were_fetched_are_a_key_set_of_the_test(tmp_path: Path) -> None:
    rules = VERIFYING % (f"jwks: {KEYS}", "ES256")
    token = hidden(jwt.encode({"sub": "jane", "exp": 4_000_000_000}, pair(), "ES256", headers={"kid": "2026-09"}))
    public: dict[str, str | list[str]] = {"kty": "EC", "crv": "P-256", "kid": "2026-09", "x": "AA", "y": "AA"}
    one = record(
        request=RequestRecord("GET", "/in", [("Authorization", f"Bearer {token}")]),
        effects=[EffectRecord("keys", "verified", url=KEYS, keys=[public])],
    )
    case = run(job("save", rules, one)).yaml
    assert case is not None
    assert f"key_sets: {{{KEYS}: [2026-09]}}" in case or '"2026-09"' in case
    assert "headers: {x-user: jane}" in case
    passes(tmp_path, rules, case)


def test_bodies_cookies_and_lookups_are_in_the_case_with_texts_of_a_test(tmp_path: Path) -> None:
    rules = """
version: 1
rules:
  - name: asks
    match: {path: /in}
    before:
      - lookup: {url: "https://risk.example/of", method: GET, headers: {x-user: "${request.body.user}"}, into: risk}
      - when: risk.body.score > 5
        deny: {reason: Too risky., code: RISK}
"""
    secret = "redacted-0123456789abcdef"
    lookup = EffectRecord(
        "lookup", "asks", "GET", "https://risk.example/of", 200, [("content-type", "application/json")], '{"score": 9}'
    )
    body = Body(9, text=f'{{"user": "jane", "password": "{secret}", "again": "{secret}"}}')
    headers = [("Content-Type", "application/json"), ("Cookie", f"sid={secret}"), ("X-Two", "a"), ("X-Two", "b")]
    one = record(
        request=RequestRecord("POST", "/in?a=${token_1}", headers, body), effects=[lookup], status=403, upstream=None,
        verdict=VerdictRecord("rule", "asks", action="deny", denied=True),
    )  # fmt: skip
    result = run(job("save", rules, one))
    assert result.yaml is not None
    assert result.notes == ["the rules are not those that it was recorded with"]
    assert "redacted" not in result.yaml
    assert result.yaml.count("test-only-1") == 3, "equal ones are equal"
    assert "denied_by: asks" in result.yaml
    passes(tmp_path, rules, result.yaml)


def test_what_a_recording_does_not_tell_is_said() -> None:
    rules = "version: 1\nrules: []\n"
    returned = record(request=RequestRecord("GET", "/.vestibule/continue?state=redacted-0123456789abcdef", []))
    assert run(job("explain", rules, returned)).refused == (
        "it comes back to an exchange that was suspended, which is not recorded"
    )
    long = record(request=RequestRecord("POST", "/in", [], Body(9, why="longer than what is recorded")), status=201)
    notes = run(job("explain", rules, long)).notes
    assert notes[0] == "the request's body is not recorded: longer than what is recorded; here it has none"
    assert notes[-1].startswith("it does not end as it did: 201 (upstream) then, 200 (upstream) here")
    asked = RequestRecord("POST", "/in", [], Body(0, why="not told by the proxy that asks"))
    untold = record(request=asked, forwarded=asked, upstream=None, status=None, verdict=VerdictRecord(None))
    notes = run(job("explain", rules, untold)).notes
    assert notes[0] == "the request's body is not recorded: not told by the proxy that asks; here it has none"
    assert notes[-1] == "what it was answered was not told; here it is a 200"


def test_the_kind_of_a_key_is_known_without_the_key() -> None:
    private = pair().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert (algorithm_of(private.decode()), algorithm_of(pem(pair()))) == ("ES256", "public ES256")
    assert algorithm_of(SECRET) is algorithm_of(None) is algorithm_of("-----BEGIN RUBBISH-----") is None


async def test_a_ring_keeps_the_newest_within_its_bytes_and_wakes_who_waits() -> None:
    line = encode(record(ran=["one"]))
    ring = Ring(1000, size=20 * len(line))
    waiting = asyncio.ensure_future(ring.wait(0))
    await asyncio.sleep(0)
    for _ in range(50):
        ring.take(line)
    ring.take(b"{")
    await waiting
    assert (ring.last, ring.bad) == (50, 1)
    assert 5 < len(ring) < 20
    assert ring.line(50) == line
    assert ring.line(ring.first - 1) is ring.line(51) is None
    assert [json.loads(row)["n"] for row in ring.rows(47, 10)] == [48, 49, 50]
    assert [json.loads(row)["n"] for row in ring.rows(0, 2)] == [49, 50]
    assert (ring.rules["one"].last_n, ring.rules["one"].p99) == (50, 1.0)


def test_a_result_is_plain_data() -> None:
    told = json.loads(msgspec.json.encode(run(job("explain", "version: 1\nrules: []\n", record()))))
    assert told["trace"]["decision"]["status"] == 200
