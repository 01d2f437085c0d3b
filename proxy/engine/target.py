"""The one path of a request: what rules match is what is forwarded.

A target that two readers could take for two paths is refused here, so that no rule can be walked around by spelling.
"""

from __future__ import annotations

import re

from .errors import Unreadable

_REMEMBERED = 2048
_known: dict[str, str] = {}

# Nothing but letters, digits and slashes, no dot: already canonical, which is the common case.
_plain = re.compile(r"(?:/[A-Za-z0-9_~-]+)+/?|/").fullmatch
_printable = re.compile(r"[!-~]*").fullmatch
_refused = re.compile(r"//|[\\;#]").search
_escape = re.compile(r"%(.{0,2})", re.DOTALL)
_hex = re.compile(r"[0-9A-Fa-f]{2}").fullmatch
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_AMBIGUOUS = frozenset("/\\?#;%") | frozenset(map(chr, range(32))) | {"\x7f"}


def canonical(target: bytes | str) -> tuple[str, str | None]:
    """Split a request target into its canonical path and its query (as sent; None where there is no question mark).

    Only the origin form is taken: a path that begins with a slash (RFC 9112 section 3.2.1). Whatever else, and every
    ambiguous spelling, is Unreadable with 400.
    """
    text = target.decode("latin-1") if isinstance(target, bytes) else target
    raw, mark, query = text.partition("?")
    if mark and (not _printable(query) or "#" in query):
        raise Unreadable("request", "the query holds raw controls, spaces, a fragment or text beyond ASCII")
    path = _known.get(raw)
    if path is None:
        path = raw if _plain(raw) else _resolve(raw)
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[raw] = path
    return path, query if mark else None


def _resolve(raw: str) -> str:
    if not raw.startswith("/"):
        raise Unreadable("request", "the target is not a path")
    if not _printable(raw):
        raise Unreadable("request", "the path holds raw controls, spaces or text beyond ASCII")
    if _refused(raw):
        raise Unreadable("request", "the path holds an empty segment, a backslash, a semicolon or a fragment")
    path = _escape.sub(_unescape, raw) if "%" in raw else raw
    if "%" in path:
        _must_be_utf8(path)
    return _without_dots(path) if "/." in path else path


def _unescape(found: re.Match[str]) -> str:
    digits = found[1]
    if not _hex(digits):
        raise Unreadable("request", "the path holds a broken percent escape")
    character = chr(int(digits, 16))
    if character in _UNRESERVED:
        return character
    if character in _AMBIGUOUS:
        raise Unreadable("request", "the path holds an escaped separator or control")
    return "%" + digits.upper()


def _must_be_utf8(path: str) -> None:
    # Overlong and broken sequences are read as other characters by some decoders.
    data = _escape.sub(lambda found: chr(int(found[1], 16)), path).encode("latin-1")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("request", "the path holds escapes that are not UTF-8") from None


def _without_dots(path: str) -> str:
    """Resolve `.` and `..` (RFC 3986 section 5.2.4); what climbs above the root stays at the root."""
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
