"""The cache actions at their limits of size, and on a store that is down or holds something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.engine import run
from proxy.engine.effects import Effect, StoreGet, StoreSet, StoreTake
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.language.compile import Options, build
from proxy.language.document import Source

NOW = 1_767_225_600.0
OVER = {"type": "error", "code": "CacheSizeExceeded"}


@dataclass
class Cache:
    """A store in a dict, and the cache actions on it; `effects` are those that were asked for."""

    stored: dict[str, bytes] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    down: bool = False

    def perform(self, effect: Effect) -> Any:
        self.effects.append(effect)
        if self.down:
            raise EffectFailed("the store is down")
        match effect:
            case StoreGet(key):
                return self.stored.get(key)
            case StoreSet(key, value, _):
                self.stored[key] = value
                return None
            case StoreTake(key):
                return self.stored.pop(key, None)
        raise AssertionError(effect)

    def play(self, action: str, **settings: Any) -> tuple[Exchange, Response | None]:
        """Run one step on a request whose body is `settings`, which the action reads by name."""
        given = {name: f"${{request.body.{name}}}" for name in settings if name not in ("profile", "ttl")}
        given |= {name: settings[name] for name in ("profile", "ttl") if name in settings}
        rules = {"version": 1, "rules": [{"name": "r", "before": [{action: {**given, "into": "result"}}]}]}
        options = Options(secrets=lambda _: None, packs=lambda _: None)
        built = build([Source("rules.yaml", json.dumps(rules))], options)
        assert built.ruleset is not None, list(built.problems)
        headers = Headers.of([("content-type", "application/json")])
        request = Request("POST", "/", None, headers, json.dumps(settings).encode(), limits=Limits())
        x = run.begin(built.ruleset, request, clock=lambda: NOW, entropy=bytes)
        built.ruleset.choose(x)
        outcome = run.before(x)
        while isinstance(outcome, run.Pending):
            try:
                result = self.perform(outcome.effect)
            except EffectFailed as error:
                outcome = outcome.fail(error, 0.0)
            else:
                outcome = outcome.resume(result, 0.0)
        return x, outcome

    def result(self, action: str, **settings: Any) -> Any:
        x, answer = self.play(action, **settings)
        assert answer is None, x.verdict.cause
        return x.variables["result"]


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"key": "k" * 1024, "value": 1}, None),
        ({"key": "k" * 1025, "value": 1}, "CacheKeySizeExceeded"),
        ({"key": "k", "value": "v" * 65_536}, None),
        ({"key": "k", "value": "v" * 65_537}, "CacheValueSizeExceeded"),
        ({"key": "k", "value": ["v" * 65_533]}, "CacheValueSizeExceeded"),
        ({"key": "k" * 64, "value": "v" * 4096, "profile": "auth0"}, None),
        ({"key": "k", "value": "v" * 4097, "profile": "auth0"}, "CacheValueSizeExceeded"),
        ({"key": "k", "value": "ä" * 2049, "profile": "auth0"}, "CacheValueSizeExceeded"),
    ],
)
def test_what_is_over_a_limit_is_a_result_and_is_not_written(
    cache: Cache, settings: dict[str, Any], code: str | None
) -> None:
    result = cache.result("cache_set", **settings)
    assert result.get("code") == code
    assert bool(cache.stored) == (code is None)


def test_auth0s_cache_as_a_whole_is_bounded_and_an_old_value_of_the_key_counts(cache: Cache) -> None:
    for number in range(4):
        assert cache.result("cache_set", key=f"k{number}", value="v" * 4096, profile="auth0")["type"] == "success"
    assert cache.result("cache_set", key="k0", value="v" * 4096, profile="auth0") == OVER
    assert cache.result("cache_set", key="rest", value="v" * (16_640 - 4 * 4098 - 4 + 1), profile="auth0") == OVER
    assert (
        cache.result("cache_set", key="rest", value="v" * (16_640 - 4 * 4098 - 4), profile="auth0")["type"] == "success"
    )
    assert cache.result("cache_delete", key="k1", profile="auth0") == {"type": "success"}
    assert cache.result("cache_set", key="k0", value="v" * 4094, profile="auth0")["type"] == "success"
    assert cache.result("cache_get", key="k1", profile="auth0") is None


def test_size_is_told_before_time_as_auth0_does(cache: Cache) -> None:
    settings = {"key": "k" * 65, "value": "v", "expires_at": 1, "profile": "auth0"}
    assert cache.result("cache_set", **settings)["code"] == "CacheKeySizeExceeded"
    assert cache.result("cache_set", **{**settings, "key": "k"})["code"] == "ItemAlreadyExpired"


def test_a_record_is_stored_for_as_long_as_it_lives(cache: Cache) -> None:
    cache.result("cache_set", key="a", value=1, ttl="90s")
    cache.result("cache_set", key="a", value="1", ttl="90s", profile="auth0")
    cache.result("cache_set", key="b", value="1", ttl="30s", profile="auth0")
    assert [(effect.key, effect.ttl) for effect in cache.effects if isinstance(effect, StoreSet)] == [
        ("cache\0own\0a", 90.0), ("cache\0auth0", 90.0), ("cache\0auth0", 90.0),
    ]  # fmt: skip


@pytest.mark.parametrize("profile", ["own", "auth0"])
@pytest.mark.parametrize(
    ("action", "settings"),
    [("cache_get", {"key": "a"}), ("cache_set", {"key": "a", "value": "b"}), ("cache_delete", {"key": "a"})],
)
def test_a_store_that_is_down_is_an_error_of_the_rule(
    cache: Cache, profile: str, action: str, settings: Mapping[str, Any]
) -> None:
    cache.down = True
    x, answer = cache.play(action, **settings, profile=profile)
    assert isinstance(answer, Response)
    assert (answer.status, x.verdict.cause) == (503, "the store is down")
    assert "result" not in x.variables


@pytest.mark.parametrize("profile", ["own", "auth0"])
@pytest.mark.parametrize("stored", [b"", b"\xff", b"[]", b'{"a": 1', b"1", b'{"a": {}, "value": 1}'])
def test_what_is_no_record_is_an_error_and_not_a_miss(cache: Cache, profile: str, stored: bytes) -> None:
    cache.stored = {"cache\0own\0a": stored, "cache\0auth0": stored}
    x, answer = cache.play("cache_get", key="a", profile=profile)
    assert isinstance(answer, Response)
    assert (answer.status, x.verdict.cause) == (503, "the cache holds something that is no record")
