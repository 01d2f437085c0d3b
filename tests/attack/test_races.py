"""Of all who come back with one state at the same time, one goes on: on stores that workers share, and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from proxy.engine import returns, run
from proxy.engine.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.engine.message import Response
from proxy.services.store import Store
from proxy.services.store.effects import perform
from proxy.services.store.memory import MemoryStore
from proxy.services.store.sqlite import SqliteStore
from tests.figures import Figures

from .acting import NOW, Acting, respond

SECRET = "test-only-test-only-test-only-0000"
RULES = """
rules:
  - name: second-factor
    match: {path: /login, status: 200}
    after:
      - redirect:
          to: https://id.example/proof
          mode: redirect
          token: {secret: "${secret:key}", subject: jane}
    continue:
      - verify_redirect_token: {secret: "${secret:key}", into: back}
"""
COME_BACK = 100
RACES = 100


@pytest.fixture(params=["memory", "sqlite"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Store]]:
    """Give the store of each of two workers."""
    found: list[Store]
    if request.param == "memory":
        found = [MemoryStore(lambda: NOW)]
    else:
        found = [SqliteStore(tmp_path / "store.db"), SqliteStore(tmp_path / "store.db")]
    yield found
    for store in found:
        await store.close()


async def settle(result: Any, store: Store) -> Response:
    """Bring an exchange to its answer; others are let in wherever it waits."""
    while isinstance(result, run.Pending):
        effect: Effect = result.effect
        await asyncio.sleep(0)
        result = result.resume(await perform(store, effect, lease=60.0), 0.0)  # type: ignore[arg-type]
    assert isinstance(result, Response)
    return result


async def suspend(acting: Acting, store: Store) -> tuple[str, str, str]:
    """Withhold an answer; gives the state, the cookie and the token with which its owner comes back."""
    x = acting.begin("/login", method="POST")
    x.ruleset.choose(x)
    assert run.before(x) is None
    sent = await settle(run.after(x, respond(200, content=b"the ticket")), store)
    query = parse_qs(urlsplit(sent.headers.text(b"location") or "").query)
    given = jwt.decode(query["session_token"][0], SECRET, algorithms=["HS256"], options={"verify_exp": False})
    (state,) = query["state"]
    token = jwt.encode({"iss": given["iss"], "sub": "jane", "exp": given["exp"], "state": state}, SECRET, "HS256")
    return state, (sent.headers.text(b"set-cookie") or "").partition(";")[0], token


def come_back(acting: Acting, state: str, cookie: str, token: str) -> Exchange:
    query = f"state={state}&session_token={token}"
    return acting.begin("/.vestibule/continue", query, headers=(("Cookie", cookie),))


async def race(acting: Acting, stores: list[Store]) -> bool:
    """Let a hundred come back at once; say whether one of them got the answer."""
    way = await suspend(acting, stores[0])
    exchanges = [come_back(acting, *way) for _ in range(COME_BACK)]
    answers = await asyncio.gather(
        *(settle(returns.resume(x), stores[index % len(stores)]) for index, x in enumerate(exchanges))
    )
    assert {answer.status for answer in answers} <= {200, 401}
    return [answer.content for answer in answers if answer.status == 200] == [b"the ticket"]


async def test_of_a_hundred_that_come_back_at_once_one_goes_on(stores: list[Store], figures: Figures) -> None:
    acting = Acting(RULES, secrets=lambda _: SECRET)
    lost = [number for number in range(RACES) if not await race(acting, stores)]
    figures.add("races", cases=RACES, found=len(lost))
    assert not lost


@pytest.mark.soak
async def test_so_does_one_in_ten_thousand_races(
    soaking: Callable[[], bool], stores: list[Store], figures: Figures
) -> None:
    acting = Acting(RULES, secrets=lambda _: SECRET)
    raced = 0
    while raced < 10_000 and soaking():
        lost = [number for number in range(RACES) if not await race(acting, stores)]
        raced += RACES
        figures.add("races", cases=RACES, found=len(lost))
        assert not lost
