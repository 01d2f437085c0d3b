"""Set-Cookie lines (RFC 6265bis): reading one, editing what is named, writing the rest back byte for byte.

Lines are never folded into one: a comma may stand in a date. What a browser would refuse is said here, by whom it is
reported is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .message import Headers

SET_COOKIE = b"set-cookie"

# In the order in which new ones are written.
ATTRIBUTES = ("Max-Age", "Domain", "Path", "Secure", "HttpOnly", "SameSite")

# An attribute's value: text, or True for one that has none (Secure), or None for one that is to go.
Attributes = Mapping[str, str | bool | None]


class SetCookie:
    """One Set-Cookie line; what was not edited keeps its spelling."""

    __slots__ = ("_parts", "name", "value")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        self.value = value
        # The spellings of the attributes, each as it stood between two semicolons.
        self._parts: list[bytes] = []

    @classmethod
    def parse(cls, line: bytes) -> SetCookie:
        """Read a line; one without `=` is a cookie without a name (RFC 6265bis section 5.7)."""
        pair, *parts = line.split(b";")
        name, equals, value = pair.partition(b"=")
        cookie = cls(name.strip(b" \t"), value.strip(b" \t")) if equals else cls(b"", name.strip(b" \t"))
        cookie._parts = parts
        return cookie

    def get(self, attribute: str) -> bytes | None:
        """Return an attribute's value, the last one where there are several, as a browser does; b"" for a flag."""
        key = attribute.lower().encode()
        for part in reversed(self._parts):
            name, _, value = part.partition(b"=")
            if name.strip(b" \t").lower() == key:
                return value.strip(b" \t")
        return None

    def put(self, attribute: str, value: str | bool | None) -> None:
        """Write an attribute where it stood, or at the end; True is a flag, None and False drop it."""
        key = attribute.lower().encode()
        spelling: bytes | None = None
        if value is True:
            spelling = f" {attribute}".encode()
        elif value is not None and value is not False:
            spelling = f" {attribute}={value}".encode()
        parts: list[bytes] = []
        for part in self._parts:
            if part.partition(b"=")[0].strip(b" \t").lower() != key:
                parts.append(part)
            elif spelling is not None:
                parts.append(spelling)
                spelling = None
        if spelling is not None:
            parts.append(spelling)
        self._parts = parts

    def update(self, attributes: Attributes) -> None:
        for attribute, value in attributes.items():
            self.put(attribute, value)

    def dump(self) -> bytes:
        pair = self.name + b"=" + self.value if self.name else self.value
        return b";".join([pair, *self._parts])

    def fault(self) -> str | None:
        """Say why a browser would refuse the cookie, by the prefix of its name, or None."""
        name = self.name.decode("latin-1")
        if (prefix := prefix_of(name)) is None:
            return None
        if self.get("Secure") is None:
            return f"a {prefix} cookie needs Secure"
        if prefix == "__Host-" and (self.get("Domain") is not None or self.get("Path") != b"/"):
            return "a __Host- cookie needs Path=/ and no Domain"
        return None


def prefix_of(name: str) -> str | None:
    """Return the prefix of a name that binds its attributes; browsers compare it without regard to case."""
    lower = name.lower()
    if lower.startswith("__host-"):
        return "__Host-"
    return "__Secure-" if lower.startswith("__secure-") else None


def fitting(name: str, attributes: Attributes) -> Attributes:
    """Leave out the attributes with which a browser would refuse a cookie of this name."""
    prefix = prefix_of(name)
    if prefix is None:
        return attributes
    fits = {key: value for key, value in attributes.items() if key != "Secure" or value}
    if prefix == "__Host-":
        fits = {
            key: value
            for key, value in fits.items()
            if not (key == "Domain" and value is not None) and not (key == "Path" and value != "/")
        }
    return fits


def name_of(line: bytes) -> bytes:
    """Return the name of the cookie that a line sets."""
    pair = line.partition(b";")[0]
    name, equals, _ = pair.partition(b"=")
    return name.strip(b" \t") if equals else b""


def kept(headers: Headers, matches: Callable[[bytes], bool]) -> list[tuple[bytes, bytes, bytes]]:
    """Return the Set-Cookie lines whose cookie's name matches, as they stand."""
    return [line for line in headers.lines if line[0] == SET_COOKIE and matches(name_of(line[2]))]
