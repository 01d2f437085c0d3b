"""The one table of actions: what an author writes, in the order of the reference.

An action's module is imported when its entry is first used, so that a rule file pays only for what it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from ..action import Action, ActionRoot

_TABLE = {
    "headers": "headers.Headers",
    "response_headers": "headers.ResponseHeaders",
    "cookies": "cookies.Cookies",
    "query": "query.Query",
    "path": "path.Path",
    "method": "method.Method",
    "body": "body.Body",
    "select": "select.Select",
    "status": "status.Status",
    "respond": "respond.Respond",
    "deny": "deny.Deny",
    "redirect": "redirect.Redirect",
    "challenge": "challenge.Challenge",
    "result_url": "result_url.ResultUrl",
    "limit": "limit.Limit",
    "once": "once.Once",
    "end": "end.End",
    "set": "set.Set",
    "verify_token": "verify_token.VerifyToken",
    "mint_token": "mint_token.MintToken",
    "verify_redirect_token": "verify_redirect_token.VerifyRedirectToken",
    "cache_get": "cache.CacheGet",
    "cache_set": "cache.CacheSet",
    "cache_delete": "cache.CacheDelete",
    "lookup": "lookup.Lookup",
    "log": "log.Log",
}


class _Actions(Mapping[str, type[Action] | type[ActionRoot[Any]]]):
    """A mapping whose values are imported when they are asked for."""

    def __getitem__(self, name: str) -> type[Action | ActionRoot[Any]]:
        module, _, attribute = _TABLE[name].partition(".")
        found: type[Action | ActionRoot[Any]] = getattr(import_module(f".{module}", __name__), attribute)
        return found

    def __contains__(self, name: object) -> bool:
        return name in _TABLE

    def __iter__(self) -> Iterator[str]:
        return iter(_TABLE)

    def __len__(self) -> int:
        return len(_TABLE)


ACTIONS: Mapping[str, type[Action | ActionRoot[Any]]] = _Actions()
