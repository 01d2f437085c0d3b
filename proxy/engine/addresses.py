"""Where a redirect may lead: addresses as a browser reads them (WHATWG URL), refused where two readers could differ.

Nothing is resolved or fetched here, and a cause never repeats the address: it came from outside and is logged.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_to_bytes

from .pairs import encode_form

# Browsers take more; what is longer than this is cut or refused somewhere on the way.
LONGEST = 8192

_DEFAULT_PORTS = {"https": 443, "http": 80}
_WRITTEN_OUT = re.compile(
    r"https://(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?=[/?#]|\Z)", re.IGNORECASE
)
_REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"//([^/?#]+)(.*)", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")
_LABELS = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# What RFC 3986 allows in a path, query or fragment; `%` stays, as what was escaped was escaped by the author.
_KEPT = "!#$%&'()*+,/:;=?@[]~-._"


class AddressError(Exception):
    """An address that a redirect may not lead to."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host as it is looked up, and a port that is always given."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of an allow list; with `below` it is every host that ends in a dot and this one."""

    host: str
    port: int
    below: bool = False

    def takes(self, origin: Origin) -> bool:
        if origin.scheme != "https" or origin.port != self.port:
            return False
        return origin.host.endswith(f".{self.host}") if self.below else origin.host == self.host


def is_loopback(origin: Origin) -> bool:
    """Say whether a place is this machine by its own name, so that nothing in between can read along."""
    if origin.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(origin.host).is_loopback
    except ValueError:
        return False


class Destinations:
    """The places that a redirect may lead to beside paths of the same host."""

    __slots__ = ("_patterns", "_public")

    def __init__(self, public_origin: str | None, patterns: Iterable[Pattern]) -> None:
        self._public = read(public_origin)[0] if public_origin else None
        self._patterns = tuple(patterns)

    def check(self, text: str) -> str:
        """Return an address as it is sent; raise AddressError when a redirect may not lead there."""
        origin, address = read(text)
        if origin is None or origin == self._public or any(pattern.takes(origin) for pattern in self._patterns):
            return address
        raise AddressError("the address leads to a host that is not allowed")


def read(text: str) -> tuple[Origin | None, str]:
    """Read an address; the origin is None for a path, and the text is the address as it is sent."""
    _check_characters(text)
    if "\\" in text:
        raise AddressError("the address holds a backslash")
    if text.startswith("/"):
        if text.startswith("//"):
            raise AddressError("the address begins with two slashes, which names a host")
        return None, quote(text, safe=_KEPT)
    found = _SCHEME.match(text)
    if found is None:
        raise AddressError("the address is neither https://… nor a path that begins with `/`")
    scheme = found[1].lower()
    if scheme not in _DEFAULT_PORTS:
        raise AddressError("the address has another scheme than https")
    parts = _AUTHORITY.fullmatch(text, found.end())
    if parts is None:
        raise AddressError("the address has no host between `//` and the path")
    if "@" in parts[1]:
        raise AddressError("the address holds a user name or password")
    origin = _authority(scheme, parts[1])
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == _DEFAULT_PORTS[scheme] else f":{origin.port}"
    return origin, f"{scheme}://{host}{port}{quote(parts[2], safe=_KEPT)}"


def is_written_out(literal: str, *, whole: bool) -> bool:
    """Say whether the literal start of an address fixes its host.

    It does with `https://host[:port]` and then `/`, `?`, `#` or the end. `whole` says that nothing follows the literal,
    so that its end is the address's.
    """
    found = _WRITTEN_OUT.match(literal)
    return found is not None and (whole or found.end() < len(literal))


def fixed(text: str) -> str:
    """Return an address whose host is written out as it is sent; raise AddressError for controls."""
    _check_characters(text)
    return quote(text, safe=_KEPT)


def parse_pattern(text: str) -> Pattern:
    """Read `host`, `host:port` or `*.host` of an allow list; raise AddressError."""
    below = text.startswith("*.")
    rest = text[2:] if below else text
    if not rest or re.search(r"[/\\?#@\s*]", rest):
        raise AddressError("an allowed place is `host`, `host:port` or `*.host`, without scheme and path")
    origin = _authority("https", rest)
    return Pattern(origin.host, origin.port, below)


def with_query(address: str, items: Sequence[tuple[str, str]]) -> str:
    """Set parameters of an address: each in the place of the first of its name, other ones of that name dropped."""
    if not items:
        return address
    rest, hash_mark, fragment = address.partition("#")
    path, _, query = rest.partition("?")
    spellings = query.split("&") if query else []
    for name, value in items:
        spelling = f"{encode_form(name)}={encode_form(value)}"
        kept: list[str] = []
        for other in spellings:
            if _name_of(other) != name:
                kept.append(other)
            elif spelling:
                kept.append(spelling)
                spelling = ""
        spellings = [*kept, spelling] if spelling else kept
    return f"{path}?{'&'.join(spellings)}{hash_mark}{fragment}"


def _name_of(spelling: str) -> str:
    return unquote(spelling.partition("=")[0].replace("+", " "))


def _check_characters(text: str) -> None:
    if not text:
        raise AddressError("the address is empty")
    if len(text) > LONGEST:
        raise AddressError(f"the address is longer than {LONGEST} characters")
    if _REFUSED.search(text):
        raise AddressError("the address holds a control character")
    if text[0].isspace() or text[-1].isspace():
        raise AddressError("the address begins or ends with white space")


def _authority(scheme: str, text: str) -> Origin:
    """Read `host[:port]` (WHATWG host parsing); what ends in a number must be a plain IPv4 address."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError:
            raise AddressError("the address has a host that cannot be read") from None
        if not bracket or "%" in host or (rest and not rest.startswith(":")):
            raise AddressError("the address has a host that cannot be read")
        return Origin(scheme, str(address), _port(scheme, rest[1:]))
    host, _, port = text.partition(":")
    return Origin(scheme, _domain(host), _port(scheme, port))


def _port(scheme: str, text: str) -> int:
    if not text:
        return _DEFAULT_PORTS[scheme]
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise AddressError("the address has a port that cannot be read")
    return int(text)


def _domain(text: str) -> str:
    try:
        name = unquote_to_bytes(text).decode("utf-8")
        if not name.isascii() or "xn--" in name.lower():
            # Only international names need the tables, which take their time to load.
            import idna

            name = idna.encode(name, uts46=True, transitional=False).decode("ascii")
    except UnicodeError:
        raise AddressError("the address has a host that cannot be read") from None
    name = name.lower()
    if not _LABELS.fullmatch(name):
        raise AddressError("the address has a host that cannot be read")
    if _NUMBER.fullmatch(name.rstrip(".").rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise AddressError("the address has a host that cannot be read") from None
    return name
