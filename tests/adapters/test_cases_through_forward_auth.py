"""Every case that forward-auth can express has the outcome that it has in the proxy itself, through real proxies."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import uvloop

from proxy.adapters import ext_authz_http, forward_auth, forward_auth_body
from proxy.edge.sockets import address_of, reserve
from proxy.language.cases.playing import Played, Stage
from proxy.services.rehearsal import rehearse
from tests.adapters import fronts
from tests.adapters.carrying import Carrier, CasesWorker
from tests.adapters.expressing import why_not
from tests.adapters.fronts import FRONTS
from tests.adapters.header_names import asked
from tests.casefiles import each_file, prepared
from tests.figures import Figures
from tests.wire import LOOPBACK

ADAPTERS = {"ext_authz_http": ext_authz_http, "forward_auth": forward_auth, "forward_auth_body": forward_auth_body}


class Asking:
    """Plays cases through proxies that ask by forward-auth, each started when it is first needed."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self._runner = runner
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self._ports: dict[str, int] = {}
        self._carrier = Carrier(CasesWorker())

    def play(self, stage: Stage, name: str) -> Played:
        return self._runner.run(self._play(stage, name))

    async def _play(self, stage: Stage, name: str) -> Played:
        if not self._ports:
            await self._carrier.start()
            self._stack.push_async_callback(self._carrier.stop)
        if name not in self._ports:
            self._ports[name] = await self._stack.enter_async_context(self._running(name))
        self._carrier.front = self._ports[name]
        return await self._carrier.play(stage)

    @contextlib.asynccontextmanager
    async def _running(self, name: str) -> AsyncIterator[int]:
        front = FRONTS[name]
        with reserve(f"{LOOPBACK}:0") as held:
            address = address_of(held)
            served = await ADAPTERS[front.adapter].start(self._carrier.worker, address, most=100)
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        write = partial(front.write, asked(), "of the cases")
        try:
            async with fronts.running(front, folder, write, vestibule=address, upstream=self._carrier.port) as port:
                yield port
        finally:
            await served.stop(0)

    def close(self) -> None:
        self._runner.run(self._stack.aclose())


@pytest.fixture(scope="session")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        through = Asking(runner, tmp_path_factory.mktemp("asking"))
        yield through
        through.close()


@pytest.mark.parametrize("name", FRONTS)
@each_file
def test_the_cases_of_a_file_come_out_as_in_the_proxy(path: Path, name: str, asking: Asking, figures: Figures) -> None:
    front = FRONTS[name]
    if front.binary() is None:
        pytest.skip(front.missing)
    played = 0
    found: list[str] = []
    left: list[str] = []
    for one in prepared(path).cases:
        if one.findings is not None or one.ruleset is None:
            # It is about what is wrong with its rules.
            continue
        reason = why_not(one, front.adapter, name)
        if reason is not None:
            left.append(reason)
            continue
        played += 1
        stage = Stage(one.ruleset, one.given, one.case, rehearse, one.limits)
        found += [f"{one.case.name}: {finding}" for finding in asking.play(stage, name).findings]
    told = front.adapter if name == "envoy" else name
    figures.add(f"{told}-cases", cases=played, found=len(found))
    figures.add(f"{told}-left", cases=played + len(left), found=len(left), reasons=Counter(left))
    assert not found, "\n".join(found)
