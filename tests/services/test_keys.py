"""Key sets: fetched seldom, by one for all, ahead of their time, and kept while their service is down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from proxy.engine.effects import FetchKeys
from proxy.engine.errors import EffectFailed
from proxy.services.keys import KeySets
from proxy.services.outbound import Own

from .conftest import PATIENCE, Clock, Serve, Service

MINUTE, HOUR = 60.0, 3600.0


@pytest.fixture
async def keys(clock: Clock) -> AsyncIterator[KeySets]:
    made = KeySets(clock=clock)
    yield made
    await made.close()


def rsa(kid: str | None = "one", **more: Any) -> dict[str, Any]:
    key = {"kty": "RSA", "n": "AQAB", "e": "AQAB", **more}
    return key if kid is None else {**key, "kid": kid}


def publish(service: Service, *keys: Any, **headers: str) -> None:
    service.says(200, json.dumps({"keys": keys}).encode(), **headers)


async def kids(keys: KeySets, service: Service, kid: str | None = None) -> list[str | None]:
    return [key.get("kid") for key in await keys.fetch(FetchKeys(f"{service.url}/jwks", kid))]


async def settled(keys: KeySets) -> None:
    """Wait for what is fetched in the background."""
    await asyncio.wait_for(asyncio.gather(*keys._tasks), PATIENCE)


async def fails(keys: KeySets, service: Service) -> str:
    with pytest.raises(EffectFailed) as caught:
        await kids(keys, service)
    return caught.value.cause


async def test_keys_are_given_as_they_were_published(keys: KeySets, service: Service) -> None:
    ec = {"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB", "kid": "two", "alg": "ES256", "use": "sig"}
    publish(service, rsa(), ec)
    assert await keys.fetch(FetchKeys(f"{service.url}/jwks")) == (rsa(), ec)
    assert (service.asked[0].method, service.asked[0].target) == ("GET", "/jwks")


async def test_many_who_ask_at_once_are_one_fetch(keys: KeySets, service: Service) -> None:
    service.waits(200, json.dumps({"keys": [rsa()]}).encode())
    asking = [asyncio.create_task(kids(keys, service)) for _ in range(100)]
    await service.arrive(1)
    asking[0].cancel()
    service.open.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [["one"]] * 99
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("cache_control", "lifetime"),
    [
        ("max-age=3600", HOUR),
        ("public, Max-Age=7200, must-revalidate", 2 * HOUR),
        ("s-maxage=9000, max-age=3600", HOUR),
        ("max-age=15", 5 * MINUTE),
        ("no-store", 5 * MINUTE),
        ("max-age=99999999", 24 * HOUR),
        ("x-max-age=3600", 5 * MINUTE),
        (None, 5 * MINUTE),
    ],
)
async def test_a_set_is_kept_as_long_as_its_service_says_within_bounds(
    keys: KeySets, service: Service, clock: Clock, cache_control: str | None, lifetime: float
) -> None:
    publish(service, rsa(), **({"Cache_Control": cache_control} if cache_control else {}))
    await kids(keys, service)
    clock.pass_(lifetime * 0.79)
    await kids(keys, service)
    assert len(service.asked) == 1
    clock.pass_(lifetime * 0.21)
    await kids(keys, service)
    assert len(service.asked) == 2


async def test_a_set_is_fetched_again_before_its_end_and_nobody_waits_for_it(
    keys: KeySets, service: Service, clock: Clock
) -> None:
    publish(service, rsa("old"))
    await kids(keys, service)
    clock.pass_(4.5 * MINUTE)
    service.waits(200, json.dumps({"keys": [rsa("new")]}).encode())
    assert await kids(keys, service) == ["old"]
    await service.arrive(2)
    assert await kids(keys, service) == ["old"]
    service.open.set()
    await settled(keys)
    assert await kids(keys, service) == ["new"]
    assert len(service.asked) == 2


async def test_last_good_keys_are_used_while_the_service_fails_and_not_for_ever(
    keys: KeySets, service: Service, clock: Clock
) -> None:
    publish(service, rsa())
    await kids(keys, service)
    service.says(500)
    clock.pass_(5 * MINUTE)
    assert await kids(keys, service) == ["one"]
    clock.pass_(24 * HOUR - 1)
    assert await kids(keys, service) == ["one"]
    clock.pass_(1)
    assert await fails(keys, service) == f"{service.name} answered 500 instead of its keys"


async def test_a_service_that_fails_is_asked_once_in_30_seconds(keys: KeySets, service: Service, clock: Clock) -> None:
    publish(service, rsa())
    await kids(keys, service)
    service.says(500)
    clock.pass_(5 * MINUTE)
    for _ in range(60):
        assert await kids(keys, service) == ["one"]
        clock.pass_(1)
    assert len(service.asked) == 1 + 2
    publish(service, rsa("new"))
    clock.pass_(30)
    assert await kids(keys, service) == ["new"]


async def test_without_any_keys_a_service_that_is_back_is_found_within_5_seconds(
    keys: KeySets, service: Service, clock: Clock
) -> None:
    service.says(503)
    for _ in range(10):
        await fails(keys, service)
    assert len(service.asked) == 1
    publish(service, rsa())
    clock.pass_(5)
    assert await kids(keys, service) == ["one"]


async def test_an_unknown_kid_is_looked_for_once_in_30_seconds(keys: KeySets, service: Service, clock: Clock) -> None:
    publish(service, rsa())
    await kids(keys, service)
    clock.pass_(30)
    for number in range(100):
        assert await kids(keys, service, f"made-up-{number}") == ["one"]
    assert len(service.asked) == 2
    publish(service, rsa(), rsa("rotated"))
    assert await kids(keys, service, "rotated") == ["one"]
    clock.pass_(30)
    assert await kids(keys, service, "rotated") == ["one", "rotated"]
    assert len(service.asked) == 3


async def test_an_unknown_kid_gets_the_keys_that_are_there_while_the_service_fails(
    keys: KeySets, service: Service, clock: Clock
) -> None:
    publish(service, rsa())
    await kids(keys, service)
    clock.pass_(30)
    service.says(500)
    assert await kids(keys, service, "new") == ["one"]


async def test_a_set_that_was_emptied_holds_no_keys(keys: KeySets, service: Service, clock: Clock) -> None:
    """To publish no key is how a service withdraws all: that is an answer, not a failure."""
    publish(service, rsa())
    await kids(keys, service)
    publish(service)
    clock.pass_(5 * MINUTE)
    assert await kids(keys, service) == []


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "AQAB", "kid": "bad"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "k": "AQAB", "kid": "bad"},
        rsa("bad", d="AQAB"),
        {"kty": "OKP", "crv": "Ed25519", "x": "AQAB", "d": "AQAB", "kid": "bad"},
        rsa("bad", use="enc"),
        rsa("bad", key_ops=["encrypt"]),
        rsa("bad", key_ops="verify"),
        {"kty": "none", "kid": "bad"},
        {"kty": ["RSA"], "kid": "bad"},
        {"kid": "bad"},
        {**rsa(), "kid": 7},
        {},
    ],
)
async def test_a_key_that_can_verify_nothing_is_left_out(keys: KeySets, service: Service, key: dict[str, Any]) -> None:
    publish(service, rsa(), key, rsa(None))
    assert await kids(keys, service) == ["one", None]


async def test_keys_of_one_name_are_all_left_out(keys: KeySets, service: Service) -> None:
    publish(service, rsa("twice"), rsa("once"), rsa("twice", n="AAAA"))
    assert await kids(keys, service) == ["once"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"5",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": ["x"]}',
        b'{"keys": [{"kty": "RSA", "kty": "EC"}]}',
        b'{"keys": [], "keys": []}',
        b'{"keys": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'\xef\xbb\xbf{"keys": []}',
        b'{"keys": [{"kty": "\xff"}]}',
    ],
)
async def test_what_is_no_key_set_is_a_failure_and_the_old_keys_stay(
    keys: KeySets, service: Service, clock: Clock, body: bytes
) -> None:
    service.says(200, body)
    assert service.name in await fails(keys, service)
    publish(service, rsa())
    clock.pass_(5)
    await kids(keys, service)
    service.says(200, body)
    clock.pass_(5 * MINUTE)
    assert await kids(keys, service) == ["one"]
    assert len(service.asked) == 3


@pytest.mark.parametrize("status", [201, 204, 301, 302, 404, 500])
async def test_only_200_is_an_answer(keys: KeySets, service: Service, serve: Serve, status: int) -> None:
    other = await serve()
    publish(other, rsa())
    body = b"" if status == 204 else json.dumps({"keys": [rsa()]}).encode()
    service.says(status, body, Location=f"{other.url}/jwks")
    assert await fails(keys, service) == f"{service.name} answered {status} instead of its keys"
    assert other.asked == []


async def test_a_set_that_is_too_large_is_a_failure(keys: KeySets, service: Service) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65_536)

    service.answer = endless
    assert "larger than 262144 bytes" in await fails(keys, service)


@pytest.mark.parametrize("url", ["http://keys.example/jwks", "https://user@keys.example/", "/jwks"])
async def test_keys_come_by_https_from_loopback_or_the_upstream_itself(keys: KeySets, url: str) -> None:
    with pytest.raises(EffectFailed):
        await keys.fetch(FetchKeys(url))


async def test_the_upstreams_own_keys_are_a_path(service: Service, clock: Clock) -> None:
    publish(service, rsa())
    keys = KeySets(clock=clock, own=Own(service.url, "auth.internal"))
    assert await keys.fetch(FetchKeys("/jwks")) == (rsa(),)
    await keys.close()
    assert service.asked[0].get("Host") == "auth.internal"


async def test_sets_that_nobody_asked_for_in_a_long_time_are_forgotten(keys: KeySets, service: Service) -> None:
    publish(service, rsa())
    for number in range(300):
        await keys.fetch(FetchKeys(f"{service.url}/{number}"))
    assert len(keys._sets) == 256
    await keys.fetch(FetchKeys(f"{service.url}/299"))
    assert len(service.asked) == 300


async def test_the_end_fails_those_who_wait(keys: KeySets, service: Service) -> None:
    service.waits()
    asking = asyncio.create_task(kids(keys, service))
    await service.arrive(1)
    await keys.close()
    with pytest.raises(EffectFailed, match="ending"):
        await asking
