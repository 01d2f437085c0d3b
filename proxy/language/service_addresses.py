"""Addresses of services that rules call: where they lead is fixed at load, what is in their path and query is encoded.

So nothing that comes with a request chooses whom the proxy calls, leaves the segment that it was meant for, or adds a
parameter. The call itself checks the place once more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from ..engine.addresses import AddressError, is_loopback, read
from ..engine.errors import EvaluationError
from ..engine.exchange import Exchange
from ..engine.pairs import encode_form
from .action import StepEnvironment, Value
from .cel import STRING
from .problems import nearest
from .slots import constant
from .template import plain_text, segment_text

_STANDS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*(?=[/?#])")
_OPEN = "scheme, host and port are written out or come from `configuration`: no request chooses whom the proxy calls"
_NEITHER = "an address is https://…, http:// for loopback alone, or a path of the upstream, which begins with `/`"
_ALONE = "no upstream is given here, so a step cannot call it: write the whole address, https://…, or give --upstream"
_FRAGMENT = "an address that is called has no fragment"

_Piece = str | Value[Any]


def compile_address(env: StepEnvironment, source: str, *loc: str | int) -> Value[str]:
    """Compile the address of a service: whole, or a path of the upstream. Secrets may stand in its path and query."""
    head, rest = _split(env.pieces(source, *loc, secrets=True))
    wrong = _fault(head, whole=not rest)
    if any(isinstance(piece, str) and "#" in piece for piece in (head, *rest)):
        wrong = _FRAGMENT
    if not head and not rest and source:
        # What cannot be read at all was reported already.
        return _value(lambda _: "/", (), constant=True)
    if wrong is None and head.startswith("/") and not env.has_upstream:
        wrong = _ALONE
    if wrong is not None:
        env.problem("bad-setting", wrong, *loc)
        return _value(lambda _: "/", (), constant=True)
    if not rest:
        return _value(lambda _: head, (), constant=True)
    start = _STANDS.match(head)
    place = start[0] if start is not None else ""
    path: list[_Piece] = []
    query: list[_Piece] = []
    for piece in (head[len(place) :], *rest):
        if query or not isinstance(piece, str):
            (query or path).append(piece)
            continue
        before, mark, after = piece.partition("?")
        path.append(before)
        query.extend((mark, after) if mark else ())
    return _render(place, path, query)


def compile_operation(
    env: StepEnvironment, name: str, params: Mapping[str, str], loc: str = "operation", under: str = "params"
) -> Value[str]:
    """Compile the path of a pack's operation, whose parameters are each one encoded segment."""
    operation = env.operations.get(name)
    if operation is None:
        text = f"no pack of this rule set has an operation {name!r}"
        env.problem("unknown-operation", text, loc, suggestion=nearest(name, env.operations))
        return _value(lambda _: "/", (), constant=True)
    if not env.has_upstream:
        env.problem("bad-setting", _ALONE, loc)
    names = operation.path.names
    for given in params:
        if given not in names:
            text = f"the path of {name} has no parameter {given!r}"
            env.problem("unknown-key", text, under, given, key=True, suggestion=nearest(given, names))
    missing = [one for one in names if one not in params]
    if missing:
        env.problem("missing-key", f"the path of {name} needs {', '.join(missing)} in `{under}`", loc)
        return _value(lambda _: "/", (), constant=True)
    given_names = iter(names)
    path: list[_Piece] = []
    for segment in operation.path.segments:
        if segment is not None:
            path.append(f"/{segment}")
        else:
            one = next(given_names)
            path.append("/")
            path.append(env.text(params[one], under, one, place="text", secrets=True))
    if operation.path.slash or not path:
        path.append("/")
    return _render("", path, [])


def _split(pieces: tuple[_Piece, ...]) -> tuple[str, list[_Piece]]:
    """Give the start of an address that is known at load, and what follows it."""
    head = ""
    for index, piece in enumerate(pieces):
        if isinstance(piece, str):
            head += piece
        elif not head.startswith("/") and not _STANDS.match(head) and _is_configuration(piece):
            # At the start it is an address, or a part of one; later it would be a value like any other.
            try:
                head += plain_text(constant(piece))
            except EvaluationError:
                return head, list(pieces[index:])
        else:
            return head, list(pieces[index:])
    return head, []


def _is_configuration(piece: Value[Any]) -> bool:
    names = {name for program in piece.programs for name in program.names}
    return not piece.secrets and (piece.constant or names == {"configuration"})


def _fault(head: str, *, whole: bool) -> str | None:
    """Say what is wrong with the start of an address, or None."""
    own = head.startswith("/")
    if not own and not _STANDS.match(head) and not (whole and head):
        return _OPEN
    try:
        origin, _ = read(head)
    except AddressError as error:
        return error.cause
    if origin is not None and origin.scheme != "https" and not is_loopback(origin):
        return _NEITHER
    return _path_fault(head[len(_place(head)) :].partition("?")[0]) if whole else None


def _place(head: str) -> str:
    start = _STANDS.match(head)
    return start[0] if start is not None else "" if head.startswith("/") else head


def _path_fault(path: str) -> str | None:
    if any(unquote(segment) in (".", "..") for segment in path.split("/")):
        return "the path of the address has a dot segment"
    return None


def _render(place: str, path: list[_Piece], query: list[_Piece]) -> Value[str]:
    def render(x: Exchange) -> str:
        written = "".join([piece if isinstance(piece, str) else _segment(piece.read(x)) for piece in path])
        wrong = _path_fault(written)
        if wrong is not None:
            raise EvaluationError(wrong)
        asked = [piece if isinstance(piece, str) else encode_form(plain_text(piece.read(x))) for piece in query]
        return f"{place}{written}{''.join(asked)}"

    return _value(render, (*path, *query), constant=False)


def _segment(value: Any) -> str:
    """Write a value into a path; an empty one would name another resource, often the list of all."""
    text = segment_text(value)
    if not text:
        raise EvaluationError("a value in the path of an address is empty")
    return text


def _value(render: Any, pieces: tuple[_Piece, ...], *, constant: bool) -> Value[str]:
    values = [piece for piece in pieces if not isinstance(piece, str)]
    return Value(
        render,
        constant,
        STRING,
        tuple(program for value in values for program in value.programs),
        frozenset(name for value in values for name in value.secrets),
    )
