"""Source text to tokens: numbers, strings and their escapes, names, signs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from .problems import CelProblem, CelProblems
from .values import UInt

TokenKind = Literal["int", "uint", "double", "string", "bytes", "name", "quoted", "sign", "end"]

# fmt: off
RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop", "null",
    "package", "namespace", "return", "true", "var", "void", "while",
})
# fmt: on

_TOKEN = re.compile(
    r"""
    (?P<skip>(?:[ \t\r\n\f]|//[^\n]*)+)
  | (?P<text>(?P<prefix>[rR]?[bB]?|[bB][rR])(?P<fence>\"{3}|'{3}|"|'))
  | (?P<double>(?:\d+\.\d+|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
  | (?P<int>(?:0[xX][0-9a-fA-F]+|\d+)(?P<unsigned>[uU]?))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | `(?P<quoted>[A-Za-z0-9_./ \-]+)`
  | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\?\"'`])|[xX](?P<hex>[0-9a-fA-F]{2})|(?P<octal>[0-3][0-7]{2})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))"
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: TokenKind
    text: str
    start: int
    end: int
    value: Any = None


def refuse(text: str, start: int, end: int, suggestion: str | None = None, code: str = "syntax") -> CelProblems:
    """Make the error of a source that cannot be read at one place."""
    return CelProblems([CelProblem(code, text, start, end, suggestion)])


def split(source: str) -> list[Token]:
    """Split an expression into tokens, the last one `end`; raise CelProblems at what is none."""
    tokens: list[Token] = []
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            raise refuse(*_stranger(source, at))
        end = found.end()
        if found["fence"] is not None:
            token = _string(source, at, found)
            tokens.append(token)
            end = token.end
        elif found["skip"] is None:
            token = _plain(found)
            if (
                token.kind in ("int", "uint", "double")
                and end < len(source)
                and (source[end].isalnum() or source[end] == "_")
            ):
                raise refuse("a number must not run into a name", at, end + 1)
            tokens.append(token)
        at = end
    tokens.append(Token("end", "", len(source), len(source)))
    return tokens


def _stranger(source: str, at: int) -> tuple[str, int, int, str | None]:
    meant = {"=": "==", "&": "&&", "|": "||"}.get(source[at])
    if meant is not None:
        return f"a single `{source[at]}` is no operator", at, at + 1, meant
    if source[at] == "`":
        return "a name in backticks holds letters, digits, `_`, `-`, `.`, `/` and spaces", at, at + 1, None
    return f"{source[at]!r} has no meaning here", at, at + 1, None


def _plain(found: re.Match[str]) -> Token:
    start, end = found.span()
    if (digits := found["int"]) is not None:
        unsigned = bool(found["unsigned"])
        number = int(digits.rstrip("uU"), 16 if digits[:2] in ("0x", "0X") else 10)
        # The parser knows whether a minus stands before it: 2**63 may be the least int.
        if number > (2**64 - 1 if unsigned else 2**63):
            raise refuse("this number does not fit into 64 bits", start, end)
        return Token("uint", digits, start, end, UInt(number)) if unsigned else Token("int", digits, start, end, number)
    if (digits := found["double"]) is not None:
        return Token("double", digits, start, end, float(digits))
    if (name := found["name"]) is not None:
        return Token("name", name, start, end)
    if (name := found["quoted"]) is not None:
        return Token("quoted", name, start, end)
    return Token("sign", found["sign"], start, end)


def _string(source: str, start: int, found: re.Match[str]) -> Token:
    prefix, fence = found["prefix"].lower(), found["fence"]
    raw, is_bytes = "r" in prefix, "b" in prefix
    first = at = found.end()
    while not source.startswith(fence, at):
        if at >= len(source) or (len(fence) == 1 and source[at] in "\r\n"):
            raise refuse("this string has no end", start, at)
        # In a raw string a backslash is one; in another it keeps a quote from ending it.
        at += 2 if source[at] == "\\" and not raw else 1
    at = min(at, len(source))
    end = at + len(fence)
    body = source[first:at]
    if raw:
        value: str | bytes = body.encode() if is_bytes else body
    else:
        value = _unescape_bytes(body, first) if is_bytes else _unescape(body, first)
    return Token("bytes" if is_bytes else "string", source[start:end], start, end, value)


def _escapes(body: str, offset: int) -> list[str | re.Match[str]]:
    """Split a string's body into text and escapes."""
    parts: list[str | re.Match[str]] = []
    at = 0
    while (slash := body.find("\\", at)) >= 0:
        found = _ESCAPE.match(body, slash)
        if found is None:
            raise refuse("no such escape in a string", offset + slash, offset + slash + 2, "\\\\")
        parts += (body[at:slash], found)
        at = found.end()
    parts.append(body[at:])
    return parts


def _number(found: re.Match[str], offset: int) -> int:
    code = int(found["octal"], 8) if found["octal"] else int(found["hex"] or found["short"] or found["long"], 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise refuse("this escape is no Unicode character", offset + found.start(), offset + found.end())
    return code


def _unescape(body: str, offset: int) -> str:
    return "".join(
        part if isinstance(part, str) else _SIMPLE[part["simple"]] if part["simple"] else chr(_number(part, offset))
        for part in _escapes(body, offset)
    )


def _unescape_bytes(body: str, offset: int) -> bytes:
    out = bytearray()
    for part in _escapes(body, offset):
        if isinstance(part, str):
            out += part.encode()
        elif part["simple"]:
            out += _SIMPLE[part["simple"]].encode()
        elif part["short"] or part["long"]:
            raise refuse(
                "bytes have no `\\u` escape; write the bytes as `\\x…`", offset + part.start(), offset + part.end()
            )
        else:
            out.append(_number(part, offset))
    return bytes(out)
