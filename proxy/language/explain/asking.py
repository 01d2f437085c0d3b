"""Effects and what they gave, in words without what is secret."""

from __future__ import annotations

from typing import Any

import msgspec

from ...engine.effects import (
    Answer,
    Effect,
    FetchKeys,
    Lead,
    Lookup,
    Publish,
    Reserve,
    Reserved,
    Settle,
    Share,
    StoreAdd,
    StoreGet,
    StoreIncrement,
    StoreSet,
    StoreTake,
)
from .masks import Masks

_STORE = {StoreGet: "read", StoreSet: "kept", StoreAdd: "kept if new", StoreTake: "taken", StoreIncrement: "counted"}


def asked(effect: Effect, masks: Masks) -> tuple[str, str]:
    """Name an effect's kind, and say what it asks for."""
    match effect:
        case Lookup(method, url):
            path, question, query = url.partition("?")
            return "lookup", f"{method} {masks.text(path)}{question}{masks.query(query)}"
        case FetchKeys(url, kid):
            return "keys", masks.text(url) + (f" (kid {masks.text(kid)})" if kid is not None else "")
        case Reserve(key, most, per):
            return "limit", f"one more of {most} in {per:g} s for {_last(key, masks)}"
        case Settle(key, _, failed):
            return "limit", f"{'a failure counts' if failed else 'given back'} for {_last(key, masks)}"
        case Share():
            # The key is what only one client has: a session, a token.
            return "once", "one upstream call for all with this key"
        case Publish():
            return "once", "the answer for those who wait"
        case StoreGet(key) | StoreSet(key) | StoreAdd(key) | StoreTake(key) | StoreIncrement(key):
            return "store", f"{_STORE[type(effect)]}: {_key(key, masks)}"
        case _:
            return type(effect).__name__, ""


def _key(key: str, masks: Masks) -> str:
    """Write a key of the store; only of those that rules write more than the kind, as others are secrets themselves."""
    kind = key.partition("\0")[0]
    return f"{kind} {_last(key, masks)}" if kind in _TOLD else kind


def _last(key: str, masks: Masks) -> str:
    """Give the part of a key that a rule wrote."""
    return masks.text(key.rpartition("\0")[2])


# What rules keep under keys of their own.
_TOLD = frozenset({"cache"})


def given(effect: Effect, result: Any, masks: Masks) -> str:
    """Say what an effect gave."""
    if isinstance(effect, StoreSet | Settle | Publish):
        return "done"
    match result:
        case Answer(status, headers, body):
            return f"{status}, {_body(dict(headers).get('content-type', ''), body, masks)}"
        case Reserved(ticket, retry_after):
            return "there was room" if ticket is not None else f"none left; try again in {retry_after:g} s"
        case Lead():
            return "this exchange makes the call"
        case tuple():
            return f"{len(result)} {'key' if len(result) == 1 else 'keys'}"
        case None:
            return "nothing"
        case bytes():
            return f"{len(result)} bytes"
        case _:
            return masks.json(result)


def _body(kind: str, body: bytes, masks: Masks) -> str:
    if not body:
        return "no body"
    try:
        return masks.json(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{len(body)} bytes of {kind or 'no type'}"
