"""The world of a case: the services and the key sets that its file describes, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...engine.effects import Answer, FetchKeys, Lookup
from ...engine.errors import EffectFailed
from ...engine.ruleset import Ruleset
from ..problems import nearest
from .content import GivenLookup
from .messages import CaseError, make_answer
from .model import Case, GeneratedKey, Given
from .names import Names
from .rehearsing import NotGivenError
from .tokens import public_jwk

_FAILURES = {"down": "the service cannot be reached", "late": "the service did not answer in time"}


class CaseWorld:
    """Answers as the file says. `lookups` are those of the exchange that asks, `calls` what it has called so far."""

    def __init__(self, ruleset: Ruleset, given: Given, case: Case, names: Names) -> None:
        self._ruleset = ruleset
        self._secrets = given.secrets
        self._key_sets = {**given.key_sets, **case.key_sets}
        self._standing = (*case.lookups, *given.lookups)
        self._names = names
        self.lookups: Sequence[GivenLookup] = ()
        self.calls: list[Lookup] = []

    def call(self, lookup: Lookup) -> Answer:
        self.calls.append(lookup)
        known = (*self.lookups, *self._standing)
        for given in known:
            if self._fits(given, lookup):
                if given.fails is not None:
                    raise EffectFailed(_FAILURES[given.fails], late=given.fails == "late")
                return make_answer(self._names.fill(given, {}))
        text = f"the rule called {lookup.method} {lookup.url} and the case gives no answer for it"
        hint = nearest(lookup.url, [given.url for given in known if given.url is not None])
        raise NotGivenError(f"{text}; did you mean that for {hint}?" if hint else text)

    def _fits(self, given: GivenLookup, lookup: Lookup) -> bool:
        if given.method is not None and given.method != lookup.method:
            return False
        if given.url is not None:
            try:
                return self._names.fill(given.url, {}) == lookup.url
            except CaseError:
                # A name in it that means nothing yet: nobody can have called it.
                return False
        operation = self._ruleset.route(lookup.method, lookup.url.partition("?")[0]).operation
        return operation is not None and operation.name == given.operation

    def keys(self, fetch: FetchKeys) -> tuple[dict[str, Any], ...]:
        given = self._key_sets.get(fetch.url)
        if given is None:
            text = f"the rule asked for the keys at {fetch.url} and the case gives no key set for it"
            hint = nearest(fetch.url, self._key_sets)
            raise NotGivenError(f"{text}; did you mean {hint}?" if hint else text)
        if isinstance(given, str):
            raise EffectFailed(_FAILURES[given], late=given == "late")
        found = [(name, self._secrets[name]) for name in given]
        return tuple(public_jwk(name, secret) for name, secret in found if isinstance(secret, GeneratedKey))
