"""Lookups: answers that are shared and remembered, and breakers that stop calling a service that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from proxy.engine.effects import Answer, Breaker, Lookup
from proxy.engine.errors import EffectFailed
from proxy.services.lookup import Lookups

from .conftest import PATIENCE, Clock, Service

Make = Callable[..., Lookups]


@pytest.fixture
async def make(service: Service, clock: Clock) -> AsyncIterator[Make]:
    made: list[Lookups] = []

    def begin(**more: Any) -> Lookups:
        lookups = Lookups(base=f"{service.url}/api", tls=None, authority="auth.internal", clock=clock, **more)
        made.append(lookups)
        return lookups

    yield begin
    for lookups in made:
        await lookups.close()


@pytest.fixture
def lookups(make: Make) -> Lookups:
    return make()


def get(service: Service, path: str = "/u/1", **more: Any) -> Lookup:
    return replace(Lookup("GET", f"{service.url}{path}"), **more)


async def fails(lookups: Lookups, effect: Lookup) -> EffectFailed:
    with pytest.raises(EffectFailed) as caught:
        await lookups.call(effect)
    return caught.value


async def count(service: Service) -> None:
    """Let each answer say which one it is."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=str(len(service.asked)).encode())

    service.answer = answer


async def test_a_path_is_one_of_the_upstream_itself(lookups: Lookups, service: Service) -> None:
    service.says(404, b"nobody")
    answer = await lookups.call(Lookup("GET", "/users/1?a=b", (("X-A", "b"),)))
    assert (answer.status, answer.body) == (404, b"nobody")
    assert (service.asked[0].target, service.asked[0].get("Host")) == ("/api/users/1?a=b", "auth.internal")


async def test_without_a_cache_each_call_is_made(lookups: Lookups, service: Service) -> None:
    await lookups.call(get(service))
    await lookups.call(get(service))
    assert len(service.asked) == 2


async def test_an_answer_is_used_again_for_its_time_and_no_longer(
    lookups: Lookups, service: Service, clock: Clock
) -> None:
    await count(service)
    bodies = []
    for _ in range(3):
        bodies.append((await lookups.call(get(service, cache=60.0))).body)
        clock.pass_(30)
    assert bodies == [b"1", b"1", b"2"]


async def test_another_method_url_header_or_body_is_another_call(lookups: Lookups, service: Service) -> None:
    await count(service)
    effect = get(service, cache=60.0, headers=(("Authorization", "a"),), body=b"x")
    others = [
        effect,
        replace(effect, method="POST"),
        replace(effect, url=f"{effect.url}?a=b"),
        replace(effect, headers=(("Authorization", "b"),)),
        replace(effect, headers=(*effect.headers, ("X-B", "c"))),
        replace(effect, body=b"y"),
        replace(effect, body=None),
    ]
    bodies = [(await lookups.call(other)).body for other in [*others, *others]]
    assert bodies == [str(n + 1).encode() for n in range(len(others))] * 2


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Set_Cookie": "a=b"}),
        (200, {"Cache_Control": "max-age=60, Private"}),
        (200, {"Cache_Control": "no-store"}),
        (200, {"Vary": "Accept, *"}),
        (302, {"Location": "/other"}),
        (401, {}),
        (429, {}),
        (500, {}),
    ],
)
async def test_an_answer_that_is_one_persons_or_may_soon_be_another_is_not_kept(
    lookups: Lookups, service: Service, status: int, headers: dict[str, str]
) -> None:
    service.says(status, b"x", **headers)
    for _ in range(2):
        await lookups.call(get(service, cache=60.0))
    assert len(service.asked) == 2


@pytest.mark.parametrize("status", [200, 204, 404, 410])
async def test_that_nothing_is_there_is_remembered_too(lookups: Lookups, service: Service, status: int) -> None:
    service.says(status)
    for _ in range(2):
        assert (await lookups.call(get(service, cache=60.0))).status == status
    assert len(service.asked) == 1


async def test_a_failure_is_not_kept(lookups: Lookups, service: Service) -> None:
    service.waits()
    await fails(lookups, get(service, cache=60.0, timeout=0.05))
    service.says(200, b"back")
    assert (await lookups.call(get(service, cache=60.0, timeout=PATIENCE))).body == b"back"


async def test_what_is_kept_is_bounded_in_count(make: Make, service: Service) -> None:
    lookups = make(entries=2)
    await count(service)
    for path in ("/a", "/b", "/a", "/c", "/a", "/b"):
        await lookups.call(get(service, path, cache=60.0))
    assert [asked.target for asked in service.asked] == ["/a", "/b", "/c", "/b"]


async def test_what_is_kept_is_bounded_in_bytes(make: Make, service: Service) -> None:
    lookups = make(size=10_000)
    service.says(200, bytes(6_000))
    for path in ("/a", "/a", "/b", "/a"):
        await lookups.call(get(service, path, cache=60.0))
    assert [asked.target for asked in service.asked] == ["/a", "/b", "/a"]
    service.says(200, bytes(20_000))
    for _ in range(2):
        await lookups.call(get(service, "/huge", cache=60.0))
    assert len(service.asked) == 5


async def test_equal_calls_at_one_time_are_one_call(lookups: Lookups, service: Service) -> None:
    service.waits(200, b"one")
    calls = [asyncio.create_task(lookups.call(get(service, cache=60.0))) for _ in range(100)]
    await service.arrive(1)
    service.open.set()
    assert {answer.body for answer in await asyncio.gather(*calls)} == {b"one"}
    assert len(service.asked) == 1


async def test_calls_whose_answers_are_not_to_be_kept_are_never_shared(lookups: Lookups, service: Service) -> None:
    service.waits()
    calls = [asyncio.create_task(lookups.call(get(service))) for _ in range(3)]
    await service.arrive(3)
    service.open.set()
    await asyncio.gather(*calls)


async def test_one_who_goes_takes_nothing_from_those_who_wait_with_him(lookups: Lookups, service: Service) -> None:
    service.waits(200, b"one")
    first = asyncio.create_task(lookups.call(get(service, cache=60.0)))
    await service.arrive(1)
    second = asyncio.create_task(lookups.call(get(service, cache=60.0)))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    service.open.set()
    assert (await second).body == b"one"
    assert len(service.asked) == 1


async def test_those_who_wait_for_a_call_that_fails_each_get_an_error_of_their_own(
    lookups: Lookups, service: Service
) -> None:
    service.waits()
    effect = get(service, cache=60.0, timeout=0.1)
    errors = await asyncio.gather(*(lookups.call(effect) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(error, EffectFailed) and error.status == 504 for error in errors)
    assert len({id(error) for error in errors}) == 3
    assert len(service.asked) == 1


async def test_the_end_fails_those_who_wait(lookups: Lookups, service: Service) -> None:
    service.waits()
    call = asyncio.create_task(lookups.call(get(service)))
    await service.arrive(1)
    await lookups.close()
    with pytest.raises(EffectFailed, match="ending"):
        await call


# Breakers

BREAKER = Breaker(window=10, failures=5, open=60.0, probes=4, probe_failures=2)


async def ask(lookups: Lookups, service: Service, times: int, **more: Any) -> list[Answer | BaseException]:
    """Ask one after another."""
    effect = get(service, **{"breaker": BREAKER, **more})
    return [(await asyncio.gather(lookups.call(effect), return_exceptions=True))[0] for _ in range(times)]


async def opened(lookups: Lookups, service: Service) -> None:
    service.says(500)
    await ask(lookups, service, 6)
    service.asked.clear()


async def test_a_breaker_opens_after_too_many_failures_and_then_refuses_at_once(
    lookups: Lookups, service: Service
) -> None:
    service.says(500)
    answers = await ask(lookups, service, 8)
    assert [isinstance(answer, Answer) for answer in answers] == [True] * 6 + [False] * 2
    assert str(answers[-1]) == f"{service.name} is not called for a while: too many of the last calls failed"
    assert len(service.asked) == 6


async def test_as_many_failures_as_are_allowed_open_nothing(lookups: Lookups, service: Service) -> None:
    service.says(503)
    await ask(lookups, service, 5)
    service.says(200)
    answers = await ask(lookups, service, 20)
    assert all(isinstance(answer, Answer) for answer in answers)


async def test_only_the_last_calls_count(lookups: Lookups, service: Service) -> None:
    for _ in range(4):
        service.says(500)
        await ask(lookups, service, 5)
        service.says(404)
        await ask(lookups, service, 10)
    assert len(service.asked) == 60


async def test_time_outs_and_broken_connections_are_failures_too(lookups: Lookups, service: Service) -> None:
    service.waits()
    await ask(lookups, service, 3, timeout=0.05)

    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    service.answer = cut
    answers = await ask(lookups, service, 4)
    assert "not called for a while" in str(answers[-1])
    assert len(service.asked) == 6


async def test_a_breaker_closes_when_enough_probes_went_well(lookups: Lookups, service: Service, clock: Clock) -> None:
    await opened(lookups, service)
    clock.pass_(59)
    await ask(lookups, service, 1)
    assert service.asked == []
    clock.pass_(1)
    service.says(200)
    answers = await ask(lookups, service, 20)
    assert all(isinstance(answer, Answer) for answer in answers)
    assert len(service.asked) == 20


async def test_a_breaker_opens_again_when_too_many_probes_fail(
    lookups: Lookups, service: Service, clock: Clock
) -> None:
    await opened(lookups, service)
    clock.pass_(60)
    answers = await ask(lookups, service, 5)
    assert [isinstance(answer, Answer) for answer in answers] == [True] * 3 + [False] * 2
    clock.pass_(59)
    assert isinstance((await ask(lookups, service, 1))[0], EffectFailed)
    assert len(service.asked) == 3


async def test_no_more_probes_are_under_way_than_decide(lookups: Lookups, service: Service, clock: Clock) -> None:
    await opened(lookups, service)
    clock.pass_(60)
    service.waits()
    effect = get(service, breaker=BREAKER)
    calls = [asyncio.create_task(lookups.call(effect)) for _ in range(10)]
    await service.arrive(4)
    service.open.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, Answer) for answer in answers) == 4


async def test_a_call_that_was_given_up_still_tells_the_breaker_how_it_ended(
    lookups: Lookups, service: Service
) -> None:
    """A rule's own time may be shorter than a call's: a service that hangs must open the breaker all the same."""
    service.waits(500)
    calls = [asyncio.create_task(lookups.call(get(service, breaker=BREAKER))) for _ in range(6)]
    await service.arrive(6)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    service.open.set()
    await asyncio.gather(*lookups._tasks)
    assert isinstance((await ask(lookups, service, 1))[0], EffectFailed)


async def test_another_method_place_or_setting_has_a_breaker_of_its_own(lookups: Lookups, service: Service) -> None:
    await opened(lookups, service)
    assert isinstance((await ask(lookups, service, 1, path="/other"))[0], EffectFailed)
    for more in (
        {"method": "POST"},
        {"breaker": None},
        {"breaker": Breaker()},
        {"url": f"http://localhost:{service.port}/"},
    ):
        assert isinstance((await ask(lookups, service, 1, **more))[0], Answer)


async def test_an_open_breaker_does_not_stand_between_a_rule_and_what_is_known(
    lookups: Lookups, service: Service
) -> None:
    service.says(200, b"known")
    effect = get(service, "/known", breaker=BREAKER, cache=60.0)
    await lookups.call(effect)
    await opened(lookups, service)
    assert (await lookups.call(effect)).body == b"known"
