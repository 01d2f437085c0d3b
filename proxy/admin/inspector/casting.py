"""A recorded exchange as a case of a test file: what came in, what others answered, at the time of the record.

What was replaced when it was recorded cannot be had back. It becomes what tests use: `redacted-…` a text that says
that it is of a test, a signed token one that a key of the test signs, so that rules which verify it go on. What a
recording does not tell at all is in the notes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from ...observe.record import Body, Lines, Record

_REDACTED = re.compile(r"redacted-[0-9a-f]{16}")
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# What the connection says, and no rule reads.
_CONNECTION = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "te", "upgrade"})
_FAILS = {502: "down", 503: "down", 504: "late"}
# What `generate` makes a key for.
GENERATED = frozenset({"ES256", "ES384", "EdDSA", "RS256"})


@dataclass(slots=True)
class Cast:
    """A case, what holds for its file, and what could not be told.

    `hmacs` are the names of tokens that a secret of the rules signs; which one, the recording does not say.
    """

    case: dict[str, Any]
    given: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    hmacs: list[str] = field(default_factory=list)

    def sign_with(self, secret: str) -> None:
        """Let a secret sign the tokens of which nobody knows who signed them."""
        for name in self.hmacs:
            self.case["tokens"][name]["secret"] = secret


def cast(record: Record, name: str, keys: Mapping[str, str]) -> Cast:
    """Make a case of a record. `keys` has, by the name of a secret of the rules, the algorithm of its key."""
    return _Casting(record, keys).cast(name)


class _Casting:
    def __init__(self, record: Record, keys: Mapping[str, str]) -> None:
        self.record = record
        self.keys = keys
        self.notes: list[str] = []
        self.hmacs: list[str] = []
        self.tokens: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, Any] = {}
        self._replaced: dict[str, str] = {}
        self._signed: dict[str, str] = {}

    def cast(self, name: str) -> Cast:
        record = self.record
        moment = datetime.fromtimestamp(record.time, UTC).isoformat(timespec="milliseconds")
        case: dict[str, Any] = {"name": name, "request": self.request()}
        if (upstream := self.upstream()) is not None:
            case["upstream"] = upstream
        lookups = [found for effect in record.effects if (found := self.lookup(effect)) is not None]
        if lookups:
            case["lookups"] = lookups
        sets = {effect.url: self.key_set(effect) for effect in record.effects if effect.kind == "keys" and effect.url}
        if sets:
            case["key_sets"] = sets
        if any(effect.kind == "stored" and effect.found for effect in record.effects):
            self.notes.append("a rule read a value from the store, which a recording does not have")
        if self.tokens:
            case["tokens"] = self.tokens
        given: dict[str, Any] = {"now": moment.replace("+00:00", "Z")}
        if self.secrets:
            given["secrets"] = self.secrets
        return Cast(case, given, self.notes, self.hmacs)

    # Messages

    def request(self) -> dict[str, Any]:
        record = self.record
        request: dict[str, Any] = {"method": record.request.method, "path": self.text(record.request.target)}
        request["ip"] = record.client
        if len(record.ips) > 1:
            request["through"] = record.ips[1:]
        if record.scheme != "http":
            request["scheme"] = record.scheme
        self.message(request, record.request.headers, record.request.body, "the request's body")
        return request

    def upstream(self) -> dict[str, Any] | None:
        record = self.record
        if record.upstream is None:
            failed = record.verdict.by == "proxy" and record.verdict.rule is None and record.forwarded is not None
            return {"fails": _FAILS.get(record.status or 0, "down")} if failed else None
        answer: dict[str, Any] = {"status": record.upstream.status}
        self.message(answer, record.upstream.headers, record.upstream.body, "the body of the auth service's answer")
        return answer

    def message(self, given: dict[str, Any], lines: Lines, body: Body | None, what: str) -> None:
        headers: dict[str, Any] = {}
        for name, value in lines:
            key = name.lower()
            if key in _CONNECTION:
                continue
            text = self.text(value)
            if key in headers:
                known = headers[key]
                headers[key] = [*known, text] if isinstance(known, list) else [known, text]
            else:
                headers[key] = text
        if headers:
            given["headers"] = headers
        if body is None or not (body.size or body.why):
            return
        if body.text is None:
            self.notes.append(f"{what} is not recorded: {body.why or 'it has no text'}; here it has none")
            headers.pop("content-encoding", None)
            return
        kind = str(headers.get("content-type", "")).partition(";")[0].strip().lower()
        text = self.text(body.text)
        if kind == "application/json" or kind.endswith("+json"):
            # A spelling that JSON can have in several ways is the one that the case writes.
            given["json"] = msgspec.json.decode(text)
        elif body.coding is None:
            given["body"] = text
        else:
            given["text"] = text

    def lookup(self, effect: Any) -> dict[str, Any] | None:
        if effect.kind != "lookup":
            return None
        given: dict[str, Any] = {"method": effect.method, "url": self.text(effect.url or "")}
        if effect.status is None:
            return given | {"fails": "late" if effect.late else "down"}
        given["status"] = effect.status
        if effect.failed is not None:
            self.notes.append(f"the answer of {effect.method} {effect.url}: {effect.failed}")
        size = len(effect.body or "")
        self.message(given, effect.headers, Body(size, text=effect.body) if size else None, "an answer")
        given.get("headers", {}).pop("content-encoding", None)
        return given

    def key_set(self, effect: Any) -> Any:
        if effect.failed is not None:
            return "late" if effect.late else "down"
        names = []
        for key in effect.keys or ():
            kid, algorithm = str(key.get("kid", "")), _algorithm_of(key)
            if kid and algorithm in GENERATED:
                self.secrets[kid] = {"generate": algorithm}
                names.append(kid)
        return names

    # What was replaced

    def text(self, text: str) -> str:
        """Write a text with what tests use in the place of what was secret."""
        return _REDACTED.sub(self._replace, _TOKEN.sub(self._sign, text))

    def _replace(self, found: re.Match[str]) -> str:
        return self._replaced.setdefault(found[0], f"test-only-{len(self._replaced) + 1}")

    def _sign(self, found: re.Match[str]) -> str:
        text = found[0]
        if text not in self._signed:
            parts = _parts(text)
            if parts is None:
                self._signed[text] = text
            else:
                name = f"token_{len(self.tokens) + 1}"
                self.tokens[name] = self._token(name, *parts)
                self._signed[text] = f"${{{name}}}"
        return self._signed[text]

    def _token(self, name: str, header: dict[str, Any], claims: dict[str, Any]) -> dict[str, Any]:
        algorithm, kid = str(header.pop("alg", "")), header.pop("kid", None)
        token: dict[str, Any] = {"algorithm": algorithm, "kid": kid, "typ": header.pop("typ", None)}
        if header:
            token["header"] = header
        # Texts with `redacted-` are within its claims too.
        token |= {"claims": self._claims(claims), "issued_at": None, "expires_in": None}
        if algorithm.startswith("HS"):
            self.hmacs.append(name)
            token["secret"] = ""
            return token
        pair = next((name for name, known in self.keys.items() if known == algorithm), None)
        public = next((name for name, known in self.keys.items() if known == f"public {algorithm}"), None)
        if isinstance(kid, str) and kid and self._is_fetched(kid):
            token["secret"] = kid
        elif pair is not None:
            token["secret"] = pair
        elif public is not None:
            token["secret"] = signer_of(public)
            self.secrets[token["secret"]] = {"generate": algorithm}
        else:
            token["secret"] = str(kid or f"key_{name}")
            self.secrets.setdefault(token["secret"], {"generate": algorithm if algorithm in GENERATED else "ES256"})
            token["algorithm"] = algorithm if algorithm in GENERATED else "ES256"
        return token

    def _is_fetched(self, kid: str) -> bool:
        return any(key.get("kid") == kid for effect in self.record.effects for key in effect.keys or ())

    def _claims(self, value: Any) -> Any:
        if isinstance(value, str):
            return _REDACTED.sub(self._replace, value)
        if isinstance(value, dict):
            return {name: self._claims(item) for name, item in value.items()}
        return [self._claims(item) for item in value] if isinstance(value, list) else value


def signer_of(name: str) -> str:
    """Name the key pair whose public half takes the place of a public key of the rules."""
    return f"{name}-signer"


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Read the header and the claims of a token; None for what is none."""
    try:
        header, claims = (
            msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=dict[str, Any])
            for part in text.split(".")[:2]
        )
    except ValueError:
        return None
    return (header, claims) if isinstance(header.get("alg"), str) else None


def _algorithm_of(key: Mapping[str, Any]) -> str:
    if isinstance(key.get("alg"), str):
        return str(key["alg"])
    return {"P-256": "ES256", "P-384": "ES384", "Ed25519": "EdDSA"}.get(str(key.get("crv", "")), "RS256")
