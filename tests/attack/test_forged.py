"""No forged token gets past a rule: every known forgery, and a great many small changes, for every family of keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from proxy.services.store.effects import perform
from proxy.services.store.memory import MemoryStore
from tests.figures import Figures

from .acting import NOW, Acting, respond

SECRET = "test-only-test-only-test-only-0000"
ISSUER = "https://id.example"
CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": "shop", "sub": "jane", "iat": int(NOW), "exp": int(NOW) + 900}
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "PS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
MALLORY: dict[str, Any] = {
    "HS256": "test-only-mallory-test-only-mallory",
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
ALGORITHMS = ("HS256", *KEYS)


def public(algorithm: str, encoding: str = "PEM") -> bytes:
    found: bytes = (
        KEYS[algorithm]
        .public_key()
        .public_bytes(getattr(serialization.Encoding, encoding), serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return found


def rule(algorithm: str) -> str:
    pem = "" if algorithm == "HS256" else json.dumps({"pem": public(algorithm).decode()})
    held = '{secret: "${secret:key}"}' if algorithm == "HS256" else pem
    settings = f"keys: {held}, algorithms: [{algorithm}], issuer: '{ISSUER}', audience: shop, typ: jwt, into: token"
    return f"  - {{name: {algorithm}, match: {{path: /{algorithm}}}, before: [{{verify_token: {{{settings}}}}}]}}\n"


@pytest.fixture(scope="module")
def acting() -> Acting:
    return Acting("rules:\n" + "".join(rule(one) for one in ALGORITHMS), secrets=lambda _: SECRET)


def passes(acting: Acting, algorithm: str, *lines: str) -> bool:
    """Say whether a token gets a request through; a refusal is the one that all get."""
    headers = tuple(("Authorization", f"Bearer {line}") for line in lines)
    outcome = acting.play(acting.begin(f"/{algorithm}", headers=headers), respond)
    if outcome.forwarded is not None:
        return True
    assert outcome.answer is not None
    assert outcome.answer.status in (400, 401)
    return False


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(data: Any) -> str:
    return b64(data if isinstance(data, bytes) else json.dumps(data).encode())


def signed(algorithm: str, claims: dict[str, Any] = CLAIMS, key: Any = None, **header: Any) -> str:
    key = key or (SECRET if algorithm == "HS256" else KEYS[algorithm])
    return jwt.encode(claims, key, algorithm=algorithm, headers=header or None)


def by_hmac(key: bytes, header: Any, claims: Any = CLAIMS, hash: Callable[..., Any] = hashlib.sha256) -> str:
    start = f"{part(header)}.{part(claims)}"
    return f"{start}.{b64(hmac.new(key, start.encode(), hash).digest())}"


def without(name: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in {**CLAIMS, **more}.items() if key != name}


def forgeries(algorithm: str) -> Iterator[str]:
    """Give what group I of the threat list knows, for one algorithm."""
    good = signed(algorithm)
    head, body, signature = good.split(".")
    claims = part(CLAIMS)
    # Unsigned, or signed by what nobody asked for.
    for alg in (
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        " none",
        None,
        0,
        True,
        [],
        ["none"],
        [algorithm],
        {"alg": algorithm},
    ):
        for end in ("", signature, "AA"):
            yield f"{part({'alg': alg, 'typ': 'JWT'})}.{claims}.{end}"
    yield f"{part({'typ': 'JWT'})}.{claims}.{signature}"
    yield f"{part({})}.{claims}."
    other_algorithms = (
        "HS256",
        "HS384",
        "HS512",
        "RS256",
        "PS256",
        "ES256",
        "ES384",
        "ES256K",
        "EdDSA",
        "A128KW",
        "dir",
    )
    for other in other_algorithms:
        if other != algorithm:
            yield f"{part({'alg': other, 'typ': 'JWT'})}.{body}.{signature}"
    # The public key as a shared secret, in every form that somebody may have taken it in.
    if algorithm != "HS256":
        pem = public(algorithm)
        jwk = json.dumps(
            jwt.get_algorithm_by_name(algorithm).to_jwk(KEYS[algorithm].public_key(), as_dict=True)
        ).encode()
        forms = (pem, pem.strip(), pem.replace(b"\n", b"\r"), pem.replace(b"\n", b"\r\n"), pem.replace(b"\n", b""), jwk)
        for form in (*forms, public(algorithm, "DER"), b"\xef\xbb\xbf" + jwk, b"\xef\xbb\xbf" + pem, b""):
            for alg, hash in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512), (algorithm, hashlib.sha256)):
                yield by_hmac(form, {"alg": alg, "typ": "JWT"}, hash=hash)
    for key in (b"", b"\0", b"secret", SECRET[:-1].encode(), SECRET.upper().encode(), SECRET.encode() + b"\n"):
        yield by_hmac(key, {"alg": "HS256", "typ": "JWT"})
    # Another's key, which the token brings along.
    mallory = MALLORY[algorithm] if algorithm in MALLORY else MALLORY["RS256"]
    header: dict[str, Any]
    own = {"kty": "oct", "k": b64(b"x" * 32)}
    for header in (
        {},
        {"jwk": own},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["AAAA"]},
    ):
        yield signed(algorithm, key=mallory, **header)
    for kid in ("../../dev/null", "/dev/null", "' OR 1=1 --", "k" * 10_000, 7, None, ["a"], {"a": 1}, "\0", ""):
        yield f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': kid})}.{claims}.{signature}"
        if algorithm == "HS256":
            yield by_hmac(b"", {"alg": "HS256", "typ": "JWT", "kid": kid})
    # Signed by the right key, and yet not for here and now.
    wrong: dict[str, Any]
    for wrong in (
        {"exp": int(NOW)}, {"exp": int(NOW) - 1}, {"exp": str(int(NOW) + 900)}, {"exp": None}, {"exp": True},
        {"exp": 10**30},
        {"exp": [int(NOW) + 900]}, {"exp": -1}, {"nbf": int(NOW) + 1}, {"nbf": "0"}, {"iat": int(NOW) + 1}, {"iat": {}},
        {"aud": "shopping"}, {"aud": "sho"}, {"aud": ["other"]}, {"aud": []}, {"aud": {"shop": 1}}, {"aud": 7},
        {"aud": ["shop", 7]}, {"aud": "SHOP"}, {"aud": None}, {"iss": f"{ISSUER}/"}, {"iss": "https://evil.example"},
        {"iss": [ISSUER]}, {"iss": None}, {"iss": ISSUER.upper()}, {"sub": 7}, {"jti": 7},
    ):  # fmt: skip
        if algorithm == "HS256":
            # What no library would sign.
            yield by_hmac(SECRET.encode(), {"alg": "HS256", "typ": "JWT"}, {**CLAIMS, **wrong})
        else:
            start = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part({**CLAIMS, **wrong})}"
            yield f"{start}.{_raw_signature(algorithm, start)}"
    for name in ("exp", "aud", "iss"):
        yield signed(algorithm, without(name))
    for header in (
        {"typ": "at+jwt"}, {"typ": "JWS"}, {"crit": ["b64"], "b64": False}, {"crit": ["exp"]}, {"crit": []},
        {"b64": False},
    ):  # fmt: skip
        start = f"{part({'alg': algorithm, 'typ': 'JWT', **header})}.{claims}"
        yield f"{start}.{_raw_signature(algorithm, start)}"
    for payload in (
        b'{"sub":"jane","sub":"admin"}', b"[]", b"null", b'"x"', b"", b"{" * 5000, b'{"exp":NaN}', b'{"exp":1e400}',
        json.dumps(CLAIMS)[:-1].encode() + b',"sub":"admin"}',
        json.dumps(CLAIMS)[:-1].encode() + b',"\\u0073ub":"admin"}',
        b'{"a":' * 200 + b"1" + b"}" * 200, b"\xff", b"\xef\xbb\xbf{}",
    ):  # fmt: skip
        start = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(payload)}"
        yield f"{start}.{_raw_signature(algorithm, start)}"
    for raw in (b'{"alg":"%s","alg":"none","typ":"JWT"}', b'{"alg":"none","alg":"%s","typ":"JWT"}'):
        start = f"{part(raw.replace(b'%s', algorithm.encode()))}.{claims}"
        yield f"{start}.{_raw_signature(algorithm, start)}"
    # Another spelling of the same bytes, and other forms of tokens.
    for spelling in (
        f"{good}=", f"{good}==", f"{head}=.{body}.{signature}", f"{good} ", f" {good}", f"{good}\t", f"{good}.",
        f".{good}",
        f"{good}.{signature}", f"{good},{good}", f"{good} {good}", f"{good}%3d",
        good.replace("-", "+").replace("_", "/") + "=",
        f'"{good}"', f"{head}.{body}", f"{head}..{signature}", f".{body}.{signature}", f"{head}.{body}.", "..", "",
        f"{head}.{body}.{signature}.AA.AA", f"{head}.{body}.{b64(bytes(64))}", f"{good[:-1]}{_twin(good[-1])}",
        json.dumps({"payload": body, "signatures": [{"protected": head, "signature": signature}]}), f"{good}\u0663",
        f"{good}\xa0",
    ):  # fmt: skip
        if spelling != good:
            yield spelling
    if algorithm == "ES256":
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        raw = base64.urlsafe_b64decode(signature + "==")
        for forged in (
            bytes(64),
            order.to_bytes(32, "big") * 2,
            raw + b"\0",
            b"\0" + raw,
            raw[:63],
            raw[32:] + raw[:32],
        ):
            yield f"{head}.{body}.{b64(forged)}"


def _raw_signature(algorithm: str, start: str) -> str:
    made = jwt.get_algorithm_by_name(algorithm)
    key = SECRET.encode() if algorithm == "HS256" else KEYS[algorithm]
    return b64(made.sign(start.encode(), key))


def _twin(last: str) -> str:
    """Give a character that stands for the same bits at the end, where some are left over."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(last) ^ 1]


def changes(algorithm: str, count: int) -> Iterator[str]:
    """Give so many tokens that differ a little from one that holds."""
    good = signed(algorithm)
    draw = random.Random(algorithm)
    alphabet = "Ab9-_.=+ "
    while count:
        at = draw.randrange(len(good))
        changed = good[:at] + draw.choice(alphabet) * draw.randint(0, 2) + good[at + draw.randint(0, 2) :]
        if changed.strip() != good:
            count -= 1
            yield changed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_forged_token_is_accepted(algorithm: str, acting: Acting, figures: Figures) -> None:
    assert passes(acting, algorithm, signed(algorithm))
    tried = [*forgeries(algorithm), *changes(algorithm, 1000)]
    accepted = [token for token in tried if passes(acting, algorithm, token)]
    figures.add("forged", cases=len(tried), found=len(accepted))
    assert not accepted
    # None of it was remembered in the place of the one that holds.
    assert passes(acting, algorithm, signed(algorithm))


def test_no_token_of_one_key_is_accepted_by_another(acting: Acting, figures: Figures) -> None:
    pairs = [(one, other) for one in ALGORITHMS for other in ALGORITHMS if one != other]
    accepted = [(one, other) for one, other in pairs if passes(acting, other, signed(one))]
    figures.add("forged", cases=len(pairs), found=len(accepted))
    assert not accepted


def test_no_token_is_accepted_beside_another(acting: Acting, figures: Figures) -> None:
    good, bad = signed("ES256"), signed("ES256", key=MALLORY["ES256"])
    tried = [(good, bad), (bad, good), (good, good)]
    accepted = [lines for lines in tried if passes(acting, "ES256", *lines)]
    figures.add("forged", cases=len(tried), found=len(accepted))
    assert not accepted


# Who comes back to a suspended exchange

SUSPENDS = """
rules:
  - name: second-factor
    match: {path: /login, status: 200}
    after:
      - redirect: {to: /proof, mode: redirect, token: {secret: "${secret:key}", subject: jane}}
    continue:
      - verify_redirect_token: {secret: "${secret:key}", into: back}
  - name: another
    match: {path: /other, status: 200}
    after:
      - redirect: {to: /proof, mode: redirect, token: {secret: "${secret:other}", subject: jane}}
    continue:
      - verify_redirect_token: {secret: "${secret:other}", into: back}
"""
OTHER = "test-only-other-test-only-other-00"
TICKET = b"the ticket"


class Returns:
    """Exchanges that were suspended, in a store of their own."""

    def __init__(self) -> None:
        store = MemoryStore(lambda: NOW)

        def perform_now(effect: Any) -> Any:
            ask = perform(store, effect, lease=60.0)
            try:
                ask.send(None)
            except StopIteration as stop:
                return stop.value
            raise AssertionError("the memory waited")

        self.acting = Acting(SUSPENDS, perform=perform_now, secrets={"key": SECRET, "other": OTHER}.get)

    def suspend(self, path: str = "/login") -> tuple[str, str, str]:
        """Give the state, the cookie of the browser, and the token that the proxy issued."""
        sent = self.acting.play(self.acting.begin(path), lambda: respond(200, content=TICKET)).answer
        assert sent is not None
        query = parse_qs(urlsplit(sent.headers.text(b"location") or "").query)
        cookie = (sent.headers.text(b"set-cookie") or "").partition(";")[0]
        return query["state"][0], cookie, query["session_token"][0]

    def back(self, state: str, token: str, cookie: str | None, *, method: str = "GET", then: str = "continue") -> bytes:
        """Come back; gives the body of the answer, with the id that each has of its own left out."""
        query = f"state={quote(state, safe='')}&session_token={quote(token, safe='')}"
        headers = (("Cookie", cookie),) if cookie is not None else ()
        exchange = self.acting.begin(f"/.vestibule/{then}", query, method=method, headers=headers)
        answer = self.acting.play(exchange).answer
        assert answer is not None
        return (answer.content or b"").replace(exchange.correlation.encode(), b"ID")


def test_no_return_but_its_owners_gets_what_was_withheld(figures: Figures) -> None:
    returns = Returns()
    state, cookie, issued = returns.suspend()
    given = jwt.decode(issued, SECRET, algorithms=["HS256"], options={"verify_exp": False})
    other_state, other_cookie, _ = returns.suspend("/other")
    claims = {"iss": given["iss"], "sub": "jane", "exp": int(NOW) + 60, "state": state}

    def token(key: str = SECRET, more: Mapping[str, Any] = MappingProxyType({})) -> str:
        return jwt.encode({name: one for name, one in {**claims, **more}.items() if one is not ...}, key, "HS256")

    good = token()
    head, body, signature = good.split(".")
    forged = [
        issued, token(OTHER), f"{good}=", f"{good} ", f"{head}.{body}.", f"{head}.{body}",
        "", "..",
        f"{part({'alg': 'none'})}.{body}.", f"{head}.{part({**claims, 'sub': 'mallory'})}.{signature}", good[:-2],
        good[1:],
        *(token(more={name: wrong}) for name, wrong in (
            ("exp", int(NOW)), ("exp", int(NOW) - 1), ("exp", ...), ("iss", "evil.example"), ("iss", ...),
            ("sub", "mallory"),
            ("sub", ...), ("state", other_state), ("state", ...), ("state", state[:-1]), ("jti", given["jti"]),
            ("nbf", int(NOW) + 9), ("iat", int(NOW) + 9),
        )),
    ]  # fmt: skip
    tried: list[tuple[str, str, str | None]] = [(state, one, cookie) for one in forged]
    tried += [
        (state, good, wrong)
        for wrong in (None, "", "x=1", other_cookie, cookie[:-1], f"{cookie}; {cookie}", cookie.upper())
    ]
    tried += [
        (wrong, good, cookie)
        for wrong in (other_state, state[:-1], f"{state}=", f"{state} ", "", "A" * 43, state.swapcase())
    ]
    tried += [(other_state, good, other_cookie), (other_state, token(more={"state": other_state}), other_cookie)]
    answers = []
    for way in tried:
        # The tenth wrong token burns a state, so every try has one that is as new.
        fresh = Returns()
        assert fresh.suspend()[0] == state
        assert fresh.suspend("/other")[0] == other_state
        answers.append(fresh.back(*way))
        # A wrong one leaves the state to its owner, and once only.
        assert fresh.back(state, good, cookie) == TICKET, (way, answers[-1])
        answers += [fresh.back(state, good, cookie), fresh.back(state, good, cookie)]
    accepted = [answer for answer in answers if TICKET in answer]
    figures.add("forged", cases=len(answers), found=len(accepted))
    assert not accepted
    assert len(set(answers)) == 1, "the refusals differ, and so tell something"
