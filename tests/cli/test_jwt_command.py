"""`vestibule jwt`: what it says, what it exits with, and that no key is ever shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.cli.jwt import command

from ..running import run_command

SECRET = "test-only-test-only-test-only-0000"
EC = ec.generate_private_key(ec.SECP256R1())
Run = Callable[..., Result]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Make a folder of keys."""
    private = EC.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = EC.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True)
    (tmp_path / "private.pem").write_bytes(private)
    (tmp_path / "public.pem").write_bytes(public)
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**jwk, "kid": "k1"}]}))
    return tmp_path


@pytest.fixture
def call(keys: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(keys)

    def call(*words: str, input: str | None = None) -> Result:
        done = CliRunner().invoke(command, list(words), input=input)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        shown = done.output + done.stderr
        assert SECRET not in shown
        assert "PRIVATE" not in shown
        return done

    return call


def mint(call: Run, *words: str) -> str:
    done = call("mint", "--expires-in", "15m", *words)
    assert done.exit_code == 0
    return done.stdout.strip()


def test_what_is_signed_holds(call: Run) -> None:
    token = mint(call, "--key", "private.pem", "--alg", "ES256", "--claim", "sub=u1", "--kid", "k1")
    for source in (("--key", "public.pem"), ("--jwks", "jwks.json")):
        done = call("verify", token, *source, "--alg", "ES256")
        assert done.exit_code == 0
        assert "u1" in done.stdout
        assert "it holds" in done.stdout


def test_a_file_s_last_line_break_is_not_part_of_a_secret(call: Run) -> None:
    token = mint(call, "--key", "secret", "--alg", "HS256")
    assert jwt.decode(token, SECRET, algorithms=["HS256"])
    assert call("verify", token, "--key", "secret", "--alg", "HS256").exit_code == 0


def test_claims_are_texts_or_json(call: Run) -> None:
    token = mint(call, "--key", "secret", "--alg", "HS256", "--claim", "n=7", "--claim", 'roles:=["a"]')
    said = json.loads(call("decode", token, "--json").stdout)
    assert said["verified"] is False
    assert said["header"] == {"alg": "HS256", "typ": "JWT"}
    assert said["claims"]["exp"] - said["claims"]["iat"] == 900
    assert (said["claims"]["n"], said["claims"]["roles"]) == ("7", ["a"])


def test_json_has_the_token_with_what_it_says(call: Run) -> None:
    words = ("mint", "--key", "secret", "--alg", "HS256", "--expires-in", "1m", "--claim", "sub=u1", "--json")
    made = json.loads(call(*words).stdout)
    assert made["claims"]["sub"] == "u1"
    assert json.loads(call("verify", made["token"], "--key", "secret", "--alg", "HS256", "--json").stdout)["ok"] is True


def test_a_token_may_come_by_the_standard_input(call: Run) -> None:
    token = mint(call, "--key", "secret", "--alg", "HS256")
    for ending in ("", "\n", "\r\n"):
        assert call("verify", "-", "--key", "secret", "--alg", "HS256", input=token + ending).exit_code == 0
    for ending in ("\n\n", " \n", "=\n"):
        assert call("verify", "-", "--key", "secret", "--alg", "HS256", input=token + ending).exit_code == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--alg", "HS384"), "algorithm"),
        (("--alg", "HS256", "--issuer", "https://id.example"), "issuer"),
        (("--alg", "HS256", "--typ", "at+jwt"), "type"),
        (("--alg", "HS256", "--require", "nonce"), "claims"),
        (("--alg", "HS256", "--audience", "shop"), "audience"),
    ],
)
def test_a_token_that_does_not_hold_exits_1_and_says_why(
    call: Run, keys: Path, words: tuple[str, ...], error: str
) -> None:
    (keys / "secret").write_text(SECRET * 2)
    token = mint(call, "--key", "secret", "--alg", "HS256")
    done = call("verify", token, "--key", "secret", *words)
    assert done.exit_code == 1
    assert f"it does not hold: {error}: " in done.stdout
    said = json.loads(call("verify", token, "--key", "secret", "--json", *words).stdout)
    assert (said["ok"], said["error"]) == (False, error)


def test_what_is_no_token_exits_1(call: Run) -> None:
    assert call("decode", "x").exit_code == 1
    assert call("decode", "-", input="").exit_code == 1
    assert call("decode", "-", input="\u00e9.\x80.\x00").exit_code == 1


def test_a_token_is_shown_and_never_obeyed(call: Run) -> None:
    token = jwt.encode({"sub": "a\x1b[31mred\u202e\x9b", "exp": 1, "[bold]": "[/]"}, SECRET)
    shown = call("decode", token).stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\x9b" not in shown
    assert r"a\x1b[31mred" in shown
    assert "claims.[bold]  [/]" in shown
    assert "1970-01-01 00:00:01Z" in shown


def test_a_time_that_no_calendar_has_is_shown_as_it_is(call: Run) -> None:
    assert "1e+300" in call("decode", jwt.encode({"exp": 1e300}, SECRET)).stdout


@pytest.mark.parametrize(
    "words",
    [
        ("--alg", "ES256"),
        ("--alg", "ES256", "--key", "public.pem", "--jwks", "jwks.json"),
        ("--alg", "none", "--key", "public.pem"),
        ("--alg", "ES256", "--alg", "HS256", "--key", "public.pem"),
        ("--alg", "HS256", "--jwks", "jwks.json"),
        ("--alg", "ES256", "--jwks", "missing.json"),
        ("--alg", "ES256", "--key", "missing.pem"),
        ("--alg", "ES256", "--key", "public.pem", "--leeway", "soon"),
        ("--key", "public.pem"),
    ],
)
def test_settings_that_do_not_go_together_exit_2(call: Run, words: tuple[str, ...]) -> None:
    token = mint(call, "--key", "private.pem", "--alg", "ES256")
    assert call("verify", token, *words).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--key", "private.pem", "--alg", "ES256"),
        ("--key", "secret", "--alg", "ES256"),
        ("--key", "public.pem", "--alg", "ES384"),
        ("--key", "public.pem", "--alg", "HS256"),
        ("--key", "secret", "--alg", "HS512"),
        ("--jwks", "public.pem", "--alg", "ES256"),
        ("--jwks", "list.json", "--alg", "ES256"),
    ],
)
def test_a_key_that_cannot_be_used_exits_3(call: Run, keys: Path, words: tuple[str, ...]) -> None:
    (keys / "list.json").write_text("[]")
    # The key is looked at only for a token that names the algorithm.
    head = jwt.utils.base64url_encode(json.dumps({"alg": words[-1]}).encode()).decode()
    token = f"{head}.e30.AAAA"
    done = call("verify", token, *words)
    assert (done.exit_code, done.stdout) == (3, "")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--key", "public.pem", "--alg", "ES256"), 3),
        (("--key", "private.pem", "--alg", "ES384"), 3),
        (("--key", "secret", "--alg", "HS512"), 3),
        (("--key", "secret", "--alg", "none"), 2),
        (("--key", "secret", "--alg", "HS256", "--claim", "exp=1"), 2),
        (("--key", "secret", "--alg", "HS256", "--claim", "sub"), 2),
        (("--key", "secret", "--alg", "HS256", "--claim", "=x"), 2),
        (("--key", "secret", "--alg", "HS256", "--claim", "sub:=7"), 2),
        (("--key", "secret", "--alg", "HS256", "--claim", "a:={"), 2),
        (("--key", "secret", "--alg", "HS256", "--expires-in", "10ms"), 2),
    ],
)
def test_what_cannot_be_signed_is_not(call: Run, words: tuple[str, ...], code: int) -> None:
    given = words if "--expires-in" in words else (*words, "--expires-in", "1m")
    done = call("mint", *given)
    assert (done.exit_code, done.stdout) == (code, "")


def test_keys_that_cannot_be_fetched_exit_4(keys: Path) -> None:
    token = jwt.encode({"exp": 2**31}, EC, algorithm="ES256")
    code, out, err = run_command("jwt", "verify", token, "--alg", "ES256", "--jwks", "http://127.0.0.1:1/jwks")
    assert (code, out) == (4, "")
    assert "127.0.0.1:1" in err
    code, out, err = run_command("jwt", "verify", token, "--alg", "ES256", "--jwks", "http://id.example/jwks")
    assert (code, out) == (4, "")
    assert "https" in err
