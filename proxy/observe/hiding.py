"""What is secret in an exchange is replaced, before anything of it is kept.

What takes the place of a secret keeps its type, and is the same for the same value within one recording (a keyed
hash), so that "these two are equal" still holds. What rules decide on and is no secret stays: the name in Basic
credentials, the claims of a signed token (its signature goes, and with it its worth), names and attributes of cookies.
A secret that was found under its name is replaced wherever else it stands, however that place is called.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from urllib.parse import quote, unquote, unquote_plus

import msgspec

from ..language.secret_names import CREDENTIALS, Names

# Shorter ones stand in many a text by chance.
_SHORTEST = 6
_WORD = re.compile("[A-Za-z][A-Za-z_.:-]*|").fullmatch
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*")
_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_.%\[\]-]*)=([^&#\s\"'<>;,\\]+)")
_SAID = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)([\"']?\s*[:=]\s*[\"']?)([^&#\s\"'<>;,\\]+)")
# The strings of a JSON text, each with its colon if it is a key: possessive, so that none is taken for another's end.
_STRING = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*+(:?)')
# What may hold something in base64.
_RUN = re.compile(r"[A-Za-z0-9+/_-]{16,}")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[\[\]{}]')
_COLON = re.compile(r"\s*:")


class Cover:
    """Hides the secrets of one exchange; what was hidden in one message is then hidden in all of it by `sweep`."""

    def __init__(self, key: bytes, names: Names, known: Iterable[str] = ()) -> None:
        self._key = key
        self._names = names
        # What was found, and what stands in its place.
        self._found: dict[str, str] = {}
        self._told: set[str] = set()
        for secret in known:
            self.hide(secret)

    def digest(self, value: bytes | str, size: int = 8) -> bytes:
        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        return blake2b(data, key=self._key, digest_size=size).digest()

    def hide(self, value: str) -> str:
        """Give what stands in the place of a secret text; the empty one stays."""
        if not value or value in self._told:
            return value
        found = self._found.get(value)
        if found is None:
            found = (self._hide_token(value) if value.startswith("eyJ") else None) or self._opaque(value)
            self._found[value] = found
            self._told.add(found)
        return found

    def _opaque(self, value: str) -> str:
        if value.isdigit() and value.isascii():
            return self._number(value)
        return f"redacted-{self.digest(value).hex()}"

    def _number(self, text: str) -> str:
        return str(9 * 10**14 + int.from_bytes(self.digest(text, 5), "big"))

    def _hide_token(self, text: str) -> str | None:
        """Take the signature, and claims with a secret name, from a signed token; None for what is none."""
        head, _, rest = text.partition(".")
        payload, _, signature = rest.partition(".")
        if not signature or "." in signature:
            return None
        try:
            header, claims = _part(head), _part(payload)
            algorithm = msgspec.json.decode(header)["alg"]
            msgspec.json.decode(claims, type=dict[str, msgspec.Raw])
        except (ValueError, KeyError, TypeError, binascii.Error):
            return None
        if not isinstance(algorithm, str) or algorithm.lower() in ("none", ""):
            return None
        self._found.setdefault(signature, _unpadded(self.digest(signature, 12)))
        told = self.json(claims.decode(), asked=False)
        return f"{head}.{_unpadded(told.encode())}.{self._found[signature]}"

    # Places

    def header(self, key: str, value: str) -> str:
        """Hide what is secret in the value of a header, whose name is given in lower case."""
        if key in CREDENTIALS:
            return self._credentials(value)
        if key == "cookie":
            return "; ".join(self._cookie(pair.strip(" ")) for pair in value.split(";"))
        if key == "set-cookie":
            pair, mark, attributes = value.partition(";")
            return self._cookie(pair) + mark + attributes
        return self.hide(value) if self._names.header(key) else self.free(value)

    def _credentials(self, value: str) -> str:
        scheme, space, rest = value.partition(" ")
        if not space:
            return self.hide(value)
        if scheme.lower() == "basic":
            try:
                user, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
            except (ValueError, binascii.Error):
                return f"{scheme} {self.hide(rest)}"
            self._found.setdefault(rest, self._opaque(rest))
            told = f"{self.free(user)}{colon}{self.hide(password)}"
            return f"{scheme} {base64.b64encode(told.encode()).decode()}"
        return f"{scheme} {self.hide(rest)}"

    def _cookie(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        return f"{name}={self.hide(value)}" if equals else self.hide(pair)

    def query(self, text: str, *, form: bool = False) -> str:
        """Hide what is secret in a query or in the body of a form; the rest keeps its bytes."""
        return "&".join(self._parameter(part, form=form) for part in text.split("&"))

    def _parameter(self, part: str, *, form: bool) -> str:
        name, equals, value = part.partition("=")
        if not equals:
            return self.free(part)
        read = unquote_plus if form else unquote
        if self._names.parameter(read(name)):
            return f"{name}={quote(self.hide(read(value)), safe='')}"
        plain = read(value)
        told = self.free(plain)
        return part if told == plain else f"{name}={quote(told, safe='')}"

    def target(self, path: str, query: str | None) -> str:
        told = self.free(path)
        return told if query is None else f"{told}?{self.query(query)}"

    def json(self, text: str, *, asked: bool) -> str:
        """Hide what is secret in a JSON text, which holds; every other byte of it stays. `asked` is a request's."""
        secret = {
            key: told for key in self._keys(text) if (told := self._names.field(_unescaped(f'"{key}"'))) is not False
        }
        if not secret:
            return self.free(text)
        parts: list[str] = []
        done = 0
        for found in re.finditer(f'"({"|".join(map(re.escape, secret))})"\\s*:\\s*', text):
            at = found.end()
            if at <= done:
                # It lies within what is hidden already.
                continue
            end = _end_of_value(text, at)
            value = text[at:end]
            if secret[found[1]] is None and (value[0] in "{[" or (not asked and _is_word(value))):
                # What lies below has names of its own; a word says what went wrong.
                continue
            parts += [text[done:at], _TOKEN.sub(self._hide_leaf, value)]
            done = end
        parts.append(text[done:])
        return self.free("".join(parts))

    def _keys(self, text: str) -> set[str]:
        """Give the keys of a JSON text as they are spelled."""
        return {key for key, colon in _STRING.findall(text) if colon}

    def _hide_leaf(self, found: re.Match[str]) -> str:
        leaf = found[0]
        if leaf in "[]{}" or _is_key(found):
            return leaf
        if leaf[0] == '"':
            return f'"{self.hide(_unescaped(leaf))}"'
        return self.hide(leaf) if leaf.isdigit() else self._number(leaf)

    def free(self, text: str) -> str:
        """Hide what looks like a token, or like a parameter with a secret name, in a text of any kind."""
        if "eyJ" in text:
            text = _JWT.sub(lambda found: self.hide(found[0]), text)
        if "=" in text:
            text = _PAIR.sub(self._hide_pair, text)
        return text

    def _hide_pair(self, found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        if value in self._told or not self._names.parameter(unquote(name)):
            return found[0]
        return f"{name}={self.hide(unquote(value))}"

    def prose(self, text: str) -> str:
        """Hide what is secret in a plain text or a page."""
        return self.free(_SAID.sub(self._hide_said, text))

    def _hide_said(self, found: re.Match[str]) -> str:
        name, between, value = found[1], found[2], found[3]
        # A short word after a colon is prose; a credential is not.
        if self._names.field(name) is not True or value in self._told:
            return found[0]
        return f"{name}{between}{self.hide(value)}"

    # Everywhere

    def found_in(self, texts: Iterable[str]) -> list[tuple[str, str]]:
        """Give what is still to be replaced in these texts, and by what: secrets where nobody calls them so."""
        whole = "\n".join(texts)
        runs = " ".join(_RUN.findall(whole))
        found = []
        for secret, told in sorted(self._found.items(), key=lambda pair: -len(pair[0])):
            if len(secret) >= _SHORTEST:
                found += [(spelled, told) for spelled in _spellings(secret) if spelled in whole]
                found += [(spelled, told) for spelled in _base64(secret) if spelled in runs]
        return found


def _spellings(secret: str) -> Iterator[str]:
    """Give the ways in which a text is written within others."""
    if '"' not in secret:
        # Bare, it is no part of a JSON text: its quotes would be those of members.
        yield secret
    if not secret.isalnum() or not secret.isascii():
        ways = {msgspec.json.encode(secret).decode()[1:-1], quote(secret, safe=""), secret.replace("/", "\\/")}
        ways.add(secret.encode("ascii", "backslashreplace").decode())
        yield from ways - {secret}


def _base64(secret: str) -> Iterator[str]:
    """Give the ways in which a text stands in something in base64, whatever stands before it."""
    data = secret.encode("utf-8", "surrogatepass")
    if len(data) < 2 * _SHORTEST:
        return
    for before in range(3):
        coded = binascii.b2a_base64(bytes(before) + data, newline=False)
        # What its neighbours have a part in is cut off.
        inner = coded[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6].decode()
        yield inner
        if "+" in inner or "/" in inner:
            yield inner.replace("+", "-").replace("/", "_")


def _part(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unescaped(literal: str) -> str:
    return msgspec.json.decode(literal, type=str) if "\\" in literal else literal[1:-1]


def _is_word(value: str) -> bool:
    return value[0] == '"' and _WORD(value[1:-1]) is not None


def _is_key(found: re.Match[str]) -> bool:
    return found[0][0] == '"' and _COLON.match(found.string, found.end()) is not None


def _end_of_value(text: str, at: int) -> int:
    """Find the end of the value that begins at a place of a JSON text."""
    if text[at : at + 1] not in ("{", "[", '"'):
        end = at
        while end < len(text) and text[end] not in ",]} \t\r\n":
            end += 1
        return end
    depth = 0
    for found in _TOKEN.finditer(text, at):
        token = found[0]
        depth += token in "[{"
        depth -= token in "]}"
        if depth == 0:
            return found.end()
    return len(text)
