"""What a forger may try on a signed token, and what a token that holds is remembered by."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from proxy.language.tokens import jws, keys
from proxy.language.tokens.jws import BadToken
from proxy.language.tokens.keys import BadKey, Key
from proxy.language.tokens.verification import Expected, Keyring, Verifier, check, fitting, open_token

NOW = 1_767_225_600
SECRET = b"test-only-test-only-test-only-0000"
CLAIMS = {"sub": "u1", "exp": NOW + 900}

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
MADE: dict[str, Any] = {
    "RS256": RSA, "RS384": RSA, "RS512": RSA, "PS256": RSA, "PS384": RSA, "PS512": RSA, "ES256": EC,
    "ES384": ec.generate_private_key(ec.SECP384R1()), "ES512": ec.generate_private_key(ec.SECP521R1()), "EdDSA": ED,
}  # fmt: skip


def private_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def public_jwk(key: Any, **more: Any) -> dict[str, Any]:
    algorithm: Any = {
        "RSA": jwt.algorithms.RSAAlgorithm, "EC": jwt.algorithms.ECAlgorithm, "OKP": jwt.algorithms.OKPAlgorithm
    }[keys.read_public(public_pem(key)).kind]  # fmt: skip
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), **more}


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token_of(header: Mapping[str, Any], claims: Mapping[str, Any], key: Key, algorithm: str) -> str:
    return jws.put_together(header, claims, lambda message: key.sign(algorithm, message))


def hs256(claims: Mapping[str, Any] = CLAIMS, **header: Any) -> str:
    return token_of({"alg": "HS256", **header}, claims, keys.read_secret(SECRET), "HS256")


def verify(text: str, key: Key, *algorithms: str, expected: Expected | None = None, now: float = NOW) -> dict[str, Any]:
    token = open_token(text, algorithms)
    claims = Verifier().verify(token, [key], now)
    check(token, claims, expected or Expected(), now)
    return claims


def word_of(text: str, key: Key | None = None, *algorithms: str, **more: Any) -> str:
    with pytest.raises(BadToken) as caught:
        verify(text, key or keys.read_secret(SECRET), *(algorithms or ("HS256",)), **more)
    return caught.value.word


# Every algorithm, against the library that everybody uses


@pytest.mark.parametrize("algorithm", keys.ALGORITHMS)
def test_what_others_sign_holds_here_and_what_is_signed_here_holds_for_others(algorithm: str) -> None:
    if algorithm.startswith("HS"):
        secret = SECRET * 2
        own = other = keys.read_secret(secret)
        theirs: Any = secret
        public: Any = secret
    else:
        own, other = keys.read_private(private_pem(MADE[algorithm])), keys.read_public(public_pem(MADE[algorithm]))
        theirs, public = MADE[algorithm], MADE[algorithm].public_key()
    assert verify(jwt.encode(CLAIMS, theirs, algorithm=algorithm), other, algorithm) == CLAIMS
    minted = token_of({"alg": algorithm}, CLAIMS, own, algorithm)
    options: Any = {"verify_exp": False}
    assert jwt.decode(minted, public, algorithms=[algorithm], options=options) == CLAIMS


def test_the_example_of_rfc_7515_a_1_holds() -> None:
    text = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    secret = base64.urlsafe_b64decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=="
    )
    assert verify(text, keys.read_secret(secret), "HS256", now=1_300_819_379)["iss"] == "joe"
    assert word_of(text, keys.read_secret(secret), now=1_300_819_380) == "expired"


# Forgeries


@given(st.data())
def test_no_token_with_another_character_holds(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(GOOD))
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.text("Ab9-_+/=. \n\té", min_size=0, max_size=2))
    cut = data.draw(st.integers(0, 2))
    changed = text[:at] + put + text[at + cut :]
    if changed == text:
        return
    for key, algorithm in HOLDERS:
        with pytest.raises(BadToken):
            verify(changed, key, algorithm)


GOOD = [
    hs256(),
    token_of({"alg": "EdDSA", "typ": "JWT"}, CLAIMS, keys.read_private(private_pem(ED)), "EdDSA"),
    token_of({"alg": "RS256", "kid": "a"}, CLAIMS, keys.read_private(private_pem(RSA)), "RS256"),
    token_of({"alg": "ES256"}, CLAIMS, keys.read_private(private_pem(EC)), "ES256"),
]
HOLDERS = [
    (keys.read_secret(SECRET), "HS256"),
    (keys.read_public(public_pem(ED)), "EdDSA"),
    (keys.read_public(public_pem(RSA)), "RS256"),
    (keys.read_public(public_pem(EC)), "ES256"),
]


@given(st.permutations(range(3)), st.lists(st.sampled_from(GOOD), min_size=3, max_size=3))
def test_parts_of_several_tokens_make_no_token(order: list[int], tokens: list[str]) -> None:
    parts = [token.split(".")[part] for token, part in zip(tokens, order, strict=True)]
    text = ".".join(parts)
    if text in GOOD:
        return
    for key, algorithm in HOLDERS:
        with pytest.raises(BadToken):
            verify(text, key, algorithm)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 0, ["HS256"], {"HS256": 1}, True])
def test_an_algorithm_that_is_none_is_refused(alg: Any) -> None:
    head = encode(json.dumps({"alg": alg}).encode())
    body = encode(json.dumps(CLAIMS).encode())
    assert word_of(f"{head}.{body}.") in ("algorithm", "header")
    assert word_of(f"{head}.{body}.{hs256().rpartition('.')[2]}") in ("algorithm", "header")


def test_a_header_without_an_algorithm_is_refused() -> None:
    assert word_of(f"e30.{encode(json.dumps(CLAIMS).encode())}.eA") == "algorithm"


@pytest.mark.parametrize(
    "forged",
    [
        lambda pem: pem,
        lambda pem: pem.strip(),
        lambda pem: pem.replace(b"\n", b"\r"),
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda _: RSA.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        lambda _: json.dumps(public_jwk(RSA)).encode(),
        lambda _: b"\xef\xbb\xbf" + json.dumps(public_jwk(RSA)).encode(),
    ],
)
def test_a_public_key_is_never_taken_for_a_shared_secret(forged: Any) -> None:
    """RFC 8725 section 2.1: signed with HS256 and the text of the RSA key that everybody knows."""
    start = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256"}, CLAIMS))
    data = forged(public_pem(RSA))
    text = f"{start}.{encode(hmac.new(data, start.encode(), hashlib.sha256).digest())}"
    rsa_key = keys.read_public(public_pem(RSA))
    assert word_of(text, rsa_key, "RS256") == "algorithm"
    # Even where a rule would allow both, the kind of the key decides.
    assert word_of(text, rsa_key, "RS256", "HS256") == "signature"
    with pytest.raises(BadKey, match="no shared secret"):
        keys.read_secret(data)


def test_a_signature_of_another_algorithm_of_the_family_does_not_hold() -> None:
    minted = token_of({"alg": "RS256"}, CLAIMS, keys.read_private(private_pem(RSA)), "RS256")
    _, payload, signature = minted.split(".")
    for other in ("PS256", "RS512"):
        text = f"{encode(json.dumps({'alg': other}).encode())}.{payload}.{signature}"
        assert word_of(text, keys.read_public(public_pem(RSA)), "RS256", other) == "signature"
    assert word_of(minted, keys.read_public(public_pem(RSA)), "PS256") == "algorithm"


def test_an_ecdsa_signature_of_zeros_or_in_another_form_does_not_hold() -> None:
    key = keys.read_public(public_pem(EC))
    start = token_of({"alg": "ES256"}, CLAIMS, keys.read_private(private_pem(EC)), "ES256").rpartition(".")[0]
    der = EC.sign(start.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert verify(f"{start}.{encode(raw)}", key, "ES256") == CLAIMS
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    wrong = [b"", bytes(64), bytes(63) + b"\1", order.to_bytes(32, "big") * 2, der, raw + b"\0", b"\0" + raw, raw[:63]]
    for signature in wrong:
        assert word_of(f"{start}.{encode(signature)}", key, "ES256") == "signature"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": []},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
        {"kid": 7},
        {"kid": None},
        {"kid": ["a"]},
        {"typ": 1},
        {"cty": {}},
    ],
)
def test_a_header_that_asks_for_more_is_refused(header: dict[str, Any]) -> None:
    assert word_of(hs256(CLAIMS, **header)) == "header"


def test_a_key_that_the_token_brings_along_is_not_looked_at() -> None:
    mallory = ec.generate_private_key(ec.SECP256R1())
    header = {
        "alg": "ES256", "kid": "k1", "jwk": public_jwk(mallory), "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/cert", "x5c": ["AAAA"],
    }  # fmt: skip
    text = token_of(header, CLAIMS, keys.read_private(private_pem(mallory)), "ES256")
    assert word_of(text, keys.read_public(public_pem(EC)), "ES256") == "signature"


@pytest.mark.parametrize("kid", ["../../dev/null", "x' UNION SELECT 'key", "/proc/self/environ", "", "\0", "\u2028"])
def test_the_name_of_a_key_is_only_compared(kid: str) -> None:
    token = open_token(hs256(CLAIMS, kid=kid), ["HS256"])
    with pytest.raises(BadToken, match="key"):
        fitting(token, [public_jwk(EC, kid="k1"), {"kty": "oct", "k": "AAAA", "kid": kid}], Keyring())


def test_a_long_name_of_a_key_is_refused_before_any_key_is_asked_for() -> None:
    assert word_of(hs256(CLAIMS, kid="k" * 10_000)) == "key"


# Key sets


def choose(jwks: list[Any], kid: str | None = None) -> list[Key]:
    header = {"alg": "ES256"} if kid is None else {"alg": "ES256", "kid": kid}
    return fitting(open_token(token_of(header, CLAIMS, SIGNER, "ES256"), ["ES256"]), jwks, Keyring())


SIGNER = keys.read_private(private_pem(EC))


def test_the_named_key_of_a_set_is_chosen() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    found = choose([public_jwk(other, kid="k1"), public_jwk(EC, kid="k2")], "k2")
    assert len(found) == 1
    assert verify(token_of({"alg": "ES256"}, CLAIMS, SIGNER, "ES256"), found[0], "ES256") == CLAIMS


def test_without_a_name_every_key_that_fits_is_tried_but_no_more_than_a_few() -> None:
    jwks = [public_jwk(ec.generate_private_key(ec.SECP256R1()), kid=str(number)) for number in range(12)]
    assert len(choose([public_jwk(RSA), public_jwk(ED), *jwks])) == 8


@pytest.mark.parametrize(
    "jwk",
    [
        public_jwk(EC, kid="k", use="enc"),
        public_jwk(EC, kid="k", use=None),
        public_jwk(EC, kid="k", key_ops=["sign"]),
        public_jwk(EC, kid="k", key_ops="verify"),
        public_jwk(EC, kid="k", alg="ES384"),
        public_jwk(EC, kid="k", kty="RSA"),
        public_jwk(EC, kid="k", crv="P-384"),
        public_jwk(EC, kid="k", crv="secp256k1"),
        public_jwk(EC, kid="k", x="AAAA"),
        public_jwk(EC, kid="k", x=7),
        public_jwk(EC, kid="k", d="AAAA"),
        public_jwk(EC, kid="other"),
        public_jwk(EC),
        public_jwk(RSA, kid="k"),
        public_jwk(ED, kid="k"),
        public_jwk(ec.generate_private_key(ec.SECP384R1()), kid="k"),
        {"kty": "oct", "kid": "k", "k": encode(SECRET)},
        {"kty": "new", "kid": "k"},
        {"kty": ["EC"], "kid": "k"},
        {"kid": "k"},
        {},
        "EC",
        None,
        7,
    ],
)
def test_a_key_of_a_set_that_is_not_for_this_is_passed_over(jwk: Any) -> None:
    with pytest.raises(BadToken) as caught:
        choose([jwk], "k")
    assert caught.value.word == "key"


def test_a_key_of_a_set_is_read_once() -> None:
    known = Keyring()
    jwk = public_jwk(EC)
    assert known.read(jwk) is known.read(dict(reversed(jwk.items())))
    assert known.read(public_jwk(EC, kid="renamed")) is not known.read(jwk)


# Keys


@pytest.mark.parametrize(
    ("read", "data", "text"),
    [
        (keys.read_secret, b"", "empty"),
        (keys.read_secret, private_pem(EC), "no shared secret"),
        (keys.read_public, b"", "no public key"),
        (keys.read_public, private_pem(EC), "private key"),
        (keys.read_public, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
        (keys.read_public, SECRET, "no public key"),
        (keys.read_private, public_pem(EC), "no private key"),
        (keys.read_private, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
        (
            keys.read_private,
            EC.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"test-only"),
            ),
            "encrypted",
        ),
    ],
    # Without, they would be the keys, which are others in each process.
    ids=[
        "an empty secret",
        "a private key for a secret",
        "an empty public key",
        "a private key for a public one",
        "a certificate",
        "a secret for a public key",
        "a public key for a private one",
        "no key",
        "an encrypted key",
    ],
)
def test_what_is_no_such_key_is_refused_without_being_shown(read: Any, data: bytes, text: str) -> None:
    with pytest.raises(BadKey, match=text) as caught:
        read(data)
    assert caught.value.__cause__ is None
    assert "test-only" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (keys.read_secret(SECRET), "HS384"),
        (keys.read_secret(b"test-only-short"), "HS256"),
        (keys.read_private(private_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))), "RS256"),
        (keys.read_private(private_pem(EC)), "ES384"),
        (keys.read_private(private_pem(ec.generate_private_key(ec.SECP256K1()))), "ES256"),
        (keys.read_private(private_pem(EC)), "EdDSA"),
        (keys.read_private(private_pem(RSA)), "HS256"),
    ],
)
def test_a_key_that_does_not_fit_neither_signs_nor_verifies(key: Key, algorithm: str) -> None:
    with pytest.raises(BadKey):
        key.sign(algorithm, b"message")
    assert key.verify(algorithm, b"message", b"signature") is False


def test_a_key_that_is_shown_by_accident_shows_nothing() -> None:
    assert "test-only" not in repr(keys.read_secret(SECRET))


def test_both_edwards_curves_sign() -> None:
    key = keys.read_private(private_pem(ed448.Ed448PrivateKey.generate()))
    assert verify(token_of({"alg": "EdDSA"}, CLAIMS, key, "EdDSA"), key, "EdDSA") == CLAIMS


# Claims


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": str(NOW + 900)},
        {"exp": True},
        {"exp": None},
        {"exp": -1},
        {"exp": 10**30},
        {"exp": [NOW + 900]},
        {"exp": NOW + 900, "nbf": "0"},
        {"exp": NOW + 900, "iat": {}},
        {"exp": NOW + 900, "sub": 7},
        {"exp": NOW + 900, "iss": ["https://id.example"]},
        {"exp": NOW + 900, "jti": 7},
        {"exp": NOW + 900, "aud": 7},
        {"exp": NOW + 900, "aud": ["shop", 7]},
        {"exp": NOW + 900, "aud": {"shop": 1}},
        {},
        {"sub": "u1"},
    ],
)
def test_a_claim_that_is_missing_or_of_a_wrong_type_is_refused(claims: dict[str, Any]) -> None:
    assert word_of(hs256(claims), expected=Expected(audiences=["shop"])) == "claims"


@pytest.mark.parametrize(
    ("claims", "leeway", "word"),
    [
        ({"exp": NOW}, 0, "expired"),
        ({"exp": NOW + 1}, 0, None),
        ({"exp": NOW + 0.5}, 0, None),
        ({"exp": NOW - 5}, 5, "expired"),
        ({"exp": NOW - 4}, 5, None),
        ({"exp": NOW + 9, "nbf": NOW}, 0, None),
        ({"exp": NOW + 9, "nbf": NOW + 1}, 0, "early"),
        ({"exp": NOW + 9, "nbf": NOW + 5}, 5, None),
        ({"exp": NOW + 9, "iat": NOW}, 0, None),
        ({"exp": NOW + 9, "iat": NOW + 1}, 0, "early"),
        ({"exp": NOW + 9, "iat": NOW + 6}, 5, "early"),
        ({"exp": 253_402_300_799, "iat": 0}, 0, None),
    ],
)
def test_times_hold_to_the_second(claims: dict[str, Any], leeway: float, word: str | None) -> None:
    expected = Expected(leeway=leeway)
    if word is None:
        assert verify(hs256(claims), keys.read_secret(SECRET), "HS256", expected=expected) == claims
    else:
        assert word_of(hs256(claims), expected=expected) == word


@pytest.mark.parametrize(
    ("aud", "audiences", "holds"),
    [
        ("shop", ["shop"], True),
        (["app", "shop"], ["shop"], True),
        ("shop", ["app", "shop"], True),
        ("shopping", ["shop"], False),
        ("shop", ["shopping"], False),
        ([], ["shop"], False),
        ("shop", [], False),
        ([], [], False),
        (None, ["shop"], False),
        (None, [], True),
    ],
)
def test_an_audience_is_named_by_both_sides_or_by_none(aud: Any, audiences: list[str], holds: bool) -> None:
    claims = CLAIMS if aud is None else {**CLAIMS, "aud": aud}
    expected = Expected(audiences=audiences)
    if holds:
        assert verify(hs256(claims), keys.read_secret(SECRET), "HS256", expected=expected) == claims
    else:
        assert word_of(hs256(claims), expected=expected) == "audience"


@pytest.mark.parametrize(
    ("sent", "wanted", "holds"),
    [
        ("at+jwt", "at+jwt", True),
        ("AT+JWT", "at+jwt", True),
        ("application/at+jwt", "at+jwt", True),
        ("JWT", "at+jwt", False),
        (None, "at+jwt", False),
        ("x", None, True),
    ],
)
def test_a_type_is_compared_as_media_types_are(sent: str | None, wanted: str | None, holds: bool) -> None:
    text = hs256(CLAIMS, **({"typ": sent} if sent else {}))
    if holds:
        verify(text, keys.read_secret(SECRET), "HS256", expected=Expected(typ=wanted))
    else:
        assert word_of(text, expected=Expected(typ=wanted)) == "type"


# What held is remembered


class Counting(Key):
    """A key that counts how often it is asked."""

    count = 0

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        type(self).count += 1
        return Key.verify(self, algorithm, message, signature)


def counting(data: bytes = SECRET) -> Counting:
    Counting.count = 0
    key = keys.read_secret(data)
    return Counting(key.kind, key.material, key.fingerprint)


def test_a_signature_that_held_is_not_computed_again() -> None:
    verifier, key = Verifier(), counting()
    token = open_token(hs256(), ["HS256"])
    assert verifier.verify(token, [key], NOW) == verifier.verify(token, [key], NOW + 1) == CLAIMS
    assert key.count == 1


def test_one_that_did_not_hold_is_not_remembered() -> None:
    verifier, key = Verifier(), counting(SECRET + b"another")
    for _ in range(2):
        with pytest.raises(BadToken, match="signature"):
            verifier.verify(open_token(hs256(), ["HS256"]), [key], NOW)
    assert (key.count, len(verifier)) == (2, 0)


def test_what_one_key_verified_another_one_did_not() -> None:
    verifier = Verifier()
    token = open_token(hs256(), ["HS256"])
    verifier.verify(token, [keys.read_secret(SECRET)], NOW)
    with pytest.raises(BadToken, match="signature"):
        verifier.verify(token, [keys.read_secret(SECRET + b"another")], NOW)


def test_a_token_is_forgotten_when_its_time_is_over() -> None:
    verifier, key = Verifier(), counting()
    token = open_token(hs256(), ["HS256"])
    verifier.verify(token, [key], NOW)
    assert len(verifier) == 1
    verifier.verify(token, [key], NOW + 900)
    assert (key.count, len(verifier)) == (2, 0)


def test_times_are_looked_at_each_time() -> None:
    verifier, key = Verifier(), keys.read_secret(SECRET)
    token = open_token(hs256({**CLAIMS, "nbf": NOW}), ["HS256"])
    check(token, verifier.verify(token, [key], NOW), Expected(), NOW)
    for now, word in ((NOW - 1, "early"), (NOW + 900, "expired")):
        with pytest.raises(BadToken, match=word):
            check(token, verifier.verify(token, [key], now), Expected(), now)


def test_a_very_long_token_is_not_remembered() -> None:
    verifier, key = Verifier(), keys.read_secret(SECRET)
    verifier.verify(open_token(hs256({**CLAIMS, "text": "x" * 4096}), ["HS256"]), [key], NOW)
    assert len(verifier) == 0


def test_no_more_than_so_many_tokens_are_remembered() -> None:
    verifier, key = Verifier(), keys.read_secret(SECRET)
    for number in range(1100):
        verifier.verify(open_token(hs256({**CLAIMS, "n": number}), ["HS256"]), [key], NOW)
    assert len(verifier) == 1024
