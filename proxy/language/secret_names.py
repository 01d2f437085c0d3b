"""What is secret by its name: for who writes down an exchange, whatever for."""

from __future__ import annotations

import re
from functools import lru_cache

from ..engine.ruleset import Redaction

# Parameters that carry secrets in any API.
ALWAYS = frozenset(
    {
        "access_token", "api_key", "assertion", "auth", "challenge_token", "client_assertion", "client_secret", "code",
        "code_verifier", "id_token", "jwt", "key", "mfa_token", "otp", "passwd", "password", "pwd", "refresh_token",
        "refreshtoken", "secret", "session", "session_token", "sessionid", "sig", "signature", "state", "token",
    }
)  # fmt: skip
# Headers whose value is a scheme and a secret.
CREDENTIALS = frozenset({"authorization", "proxy-authorization"})
_ODD = re.compile("[^a-z0-9]")
# Parts of a name, without its punctuation, that make it one of a secret...
_SECRET = re.compile(
    "passw|passphrase|pwd|secret|token|apikey|accesskey|privatekey|sharedkey|credential|assertion|signature|jwt|csrf|xsrf"
    "|verifier|otp|cookie|bearer|authorization|sessionid|recoverycode|backupcode|fingerprint|ticketid|ticket$|^sid$|^pin$|^nonce$"
)
# ...unless it ends with one of these: what is told about a secret is none.
_ABOUT = re.compile(
    "(type|expir[a-z]*|expiresin|expiresat|ttl|minutes|seconds|lifetime|status|count|required|enabled|length)$"
)
_ALWAYS = frozenset(_ODD.sub("", name) for name in ALWAYS)
# In an answer these are mostly words for what went wrong, or of an address; in a request they are credentials.
_ASKED = frozenset({"code", "state", "key", "auth", "session"})


class Names:
    """What is secret by its name: always, or because a pack says so."""

    def __init__(self, known: Redaction) -> None:
        self.headers = known.headers
        self._query = frozenset(_ODD.sub("", name.lower()) for name in known.query)
        self._fields = frozenset(_ODD.sub("", name.lower()) for name in known.fields)
        self.field = lru_cache(4096)(self._field)
        self.parameter = lru_cache(4096)(self._parameter)

    def header(self, key: str) -> bool:
        return key in self.headers or key in CREDENTIALS or self.field(key) is True

    def _field(self, name: str) -> bool | None:
        """Say whether a member is secret; None is where its side and its value tell."""
        plain = _ODD.sub("", name.lower())
        if plain in _ASKED:
            return None
        if plain in self._fields or plain in _ALWAYS:
            return True
        return _SECRET.search(plain) is not None and _ABOUT.search(plain) is None

    def _parameter(self, name: str) -> bool:
        plain = _ODD.sub("", name.lower())
        return plain in self._query or self.field(name) is not False
