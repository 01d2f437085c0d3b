"""What must not be logged: finding it in expressions at load, masking it where only the run can tell.

What a pack calls secret and what a rule removes is known by name; a value computed from it is masked whole. Nothing
here decides what a rule may do with a value, only whether it may be written down.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from ..engine.errors import Unreadable
from ..engine.exchange import Exchange
from ..engine.ruleset import Redaction
from .action import StepEnvironment, Value
from .cel import Program, Read

MASK = "***"

# Never logged, whatever a pack says.
_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_STATE = "secret_variables"
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")

Holds = Callable[[Exchange], bool]


def redaction(env: StepEnvironment) -> Redaction:
    """Return what is known at load as secret."""
    return env.redaction


def _parts(read: Read) -> list[str]:
    return [part.lower() for part in read.path or () if isinstance(part, str)]


def name_secret(program: Program, redaction: Redaction) -> str | None:
    """Name the first thing that an expression reads by a name that is known as secret, or None."""
    for read in program.reads:
        parts = _parts(read)
        side, _, what = read.footprint.partition(".")
        if side == "context" and what in redaction.context:
            return f"the context value {what}"
        if what == "cookies":
            return f"a cookie of the {side}"
        if what == "bearer":
            return "the bearer token"
        if what == "headers" and parts and parts[0] in _HEADERS | redaction.headers:
            return f"the header {parts[0]}"
        if what == "query" and parts and parts[0] in redaction.query:
            return f"the parameter {parts[0]}"
        if what == "body" and (secret := [part for part in parts if part in _lower(redaction.fields)]):
            return f"the field {secret[0]}"
    return None


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def reads_secret(programs: Iterable[Program], env: StepEnvironment) -> Holds | None:
    """Build the test whether a value computed by these programs is secret in an exchange; None when it never is."""
    headers: set[str] = set()
    query: set[str] = set()
    fields: set[str] = set()
    variables: set[str] = set()
    always = url = False
    known = redaction(env)
    for program in programs:
        variables |= program.names
        always = always or name_secret(program, known) is not None
        for read in program.reads:
            parts = _parts(read)
            what = read.footprint.partition(".")[2]
            if what in ("url", "href"):
                url = True
            elif what in ("headers", "query", "body"):
                # The whole of it, or a name that is computed; a mere test of its being there has an empty path.
                always = always or read.path is None
                {"headers": headers, "query": query, "body": fields}[what].update(parts)
    if always:
        return lambda _: True
    if not (headers or query or fields or variables or url):
        return None

    def holds(x: Exchange) -> bool:
        redact = x.ruleset.redact
        return (
            not headers.isdisjoint(redact.headers)
            or not query.isdisjoint(redact.query)
            or not fields.isdisjoint(_lower(redact.fields))
            or not variables.isdisjoint(x.state.get(_STATE, ()))
            or (url and _has_secret_query(x))
        )

    return holds


def watch(env: StepEnvironment, value: Value[Any], *loc: str | int) -> Holds | None:
    """Report what can be seen to be secret in a setting that is logged; give the test for what cannot."""
    known = redaction(env)
    for program in value.programs:
        secret = name_secret(program, known)
        if secret is not None:
            env.problem("secret-here", f"{secret} is never logged", *loc)
    return reads_secret(value.programs, env)


def masked(text: str, holds: Holds | None, x: Exchange) -> str:
    """Return a text as it may be logged."""
    return MASK if holds is not None and holds(x) else str(mask(text, x.ruleset.redact))


def _has_secret_query(x: Exchange) -> bool:
    if x.request.query is None:
        return False
    try:
        names = x.request.parameters.names()
    except Unreadable:
        return True
    return not _lower(names).isdisjoint(x.ruleset.redact.query)


def mark_secret(x: Exchange, assigned: Iterable[str], secret: Collection[str]) -> None:
    """Note which of the variables that a step assigned hold something secret."""
    if _STATE not in x.state and not secret:
        return
    x.state[_STATE] = (x.state.get(_STATE, frozenset()) - frozenset(assigned)) | frozenset(secret)


def mask(value: Any, redact: Redaction) -> Any:
    """Copy a value with members of a secret name, and what looks like a token, masked."""
    if isinstance(value, str):
        return _TOKEN.sub(MASK, value)
    if isinstance(value, dict):
        hidden = _HEADERS | redact.headers | redact.query | _lower(redact.fields)
        return {key: MASK if str(key).lower() in hidden else mask(item, redact) for key, item in value.items()}
    if isinstance(value, list):
        return [mask(item, redact) for item in value]
    return value
