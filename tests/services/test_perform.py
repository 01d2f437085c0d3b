"""Each effect reaches the service that performs it, and whatever fails there is the rule's error."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.engine.effects import (
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
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request
from proxy.engine.ruleset import Ruleset
from proxy.services.keys import KeySets
from proxy.services.lookup import Lookups
from proxy.services.outbound import Own
from proxy.services.perform import Services
from proxy.services.store.memory import MemoryStore
from tests.services.conftest import Clock, Service

REQUEST = Request("GET", "/", None, Headers.of(()), limits=Limits())
EXCHANGE = Exchange(Ruleset(()), REQUEST, clock=time.time, entropy=bytes)
LEASE = 30.0


@pytest.fixture
async def services(service: Service, clock: Clock) -> AsyncIterator[Services]:
    services = Services(
        MemoryStore(clock, most_bytes=5000),
        Lookups(base=service.url, tls=None, authority=service.name, clock=clock),
        KeySets(clock=clock, own=Own(service.url, service.name)),
        lease=LEASE,
    )
    yield services
    await services.close()


async def perform(services: Services, *effects: Effect) -> list[Any]:
    return [await services.perform(effect, EXCHANGE) for effect in effects]


async def test_what_is_asked_of_the_store(services: Services) -> None:
    effects = (StoreSet("k", b"v", 60), StoreAdd("k", b"w", 60), StoreGet("k"), StoreTake("k"), StoreTake("k"))
    assert await perform(services, *effects) == [None, False, b"v", b"v", None]
    assert await perform(services, StoreIncrement("k", 60), StoreIncrement("k", 60)) == [1, 2]


async def test_a_limit_on_failures_has_a_lease_and_one_on_requests_has_none(services: Services, clock: Clock) -> None:
    failures, requests = Reserve("f", 1, 60, None, True), Reserve("r", 1, 60, None, False)
    reserved, counted = await perform(services, failures, requests)
    assert await perform(services, failures, requests) == [Reserved(None, 1.0), Reserved(None, 60)]
    clock.pass_(LEASE)
    again, still = await perform(services, failures, requests)
    assert again.ticket not in (None, reserved.ticket)
    assert still == Reserved(None, 60 - LEASE)
    await perform(services, Settle("f", again.ticket, True, 1, 60, None))
    assert await perform(services, failures) == [Reserved(None, 60)]
    assert counted.ticket is not None


async def test_what_is_shared(services: Services) -> None:
    [lead] = await perform(services, Share("k"))
    assert isinstance(lead, Lead)
    assert await perform(services, Publish("k", lead.ticket, b"v", 60), Share("k")) == [None, b"v"]


async def test_what_is_asked_of_other_services(services: Services, service: Service) -> None:
    service.says(200, b"found")
    [answer] = await perform(services, Lookup("GET", "/account"))
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (200, b"found")
    keys = [{"kty": "oct", "k": "dGVzdC1vbmx5"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "one"}]
    service.says(200, json.dumps({"keys": keys}).encode())
    [found] = await perform(services, FetchKeys("/jwks"))
    assert [key.get("kid") for key in found if key["kty"] == "EC"] == ["one"]


async def test_a_store_that_fails_is_the_rules_error(services: Services) -> None:
    with pytest.raises(EffectFailed) as failed:
        await perform(services, StoreSet("k", b"v" * 10_000, 60))
    assert failed.value.status == 503
    assert failed.value.cause == "the store in memory is full"


async def test_an_effect_that_nobody_knows_is_refused(services: Services) -> None:
    with pytest.raises(EffectFailed, match="no service performs Effect"):
        await perform(services, Effect())
