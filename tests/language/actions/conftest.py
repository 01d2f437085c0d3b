"""Rules in an author's words, played on a request without network: `play` for each test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.engine import run
from proxy.engine.exchange import Exchange
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.engine.target import canonical
from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.language.problems import Problem

NOW = 1_767_225_600.0
PACK = """
name: vendor
dialect: kibo
secrets: {fields: [password], headers: [x-vol-app-claims], query: [code]}
"""


@dataclass
class Played:
    """An exchange that came to its end: what was forwarded (None when nothing was) and what the client got."""

    exchange: Exchange
    forwarded: Request | None
    answer: Response


@dataclass
class Stage:
    """What a test may change before it plays."""

    secrets: dict[str, str] = field(default_factory=dict)
    public_origin: str | None = None
    allow_redirects: tuple[str, ...] = ()
    count: int = 0

    def problems(self, rules: str) -> list[Problem]:
        return list(self._build(rules).problems)

    def _build(self, rules: str) -> Any:
        options = Options(
            secrets=self.secrets.get,
            packs=lambda name: Source("vendor.yaml", PACK) if name == "vendor" else None,
            public_origin=self.public_origin,
            allow_redirects=self.allow_redirects,
            need_secrets=True,
        )
        return build([Source("rules.yaml", f"version: 1\npacks: [vendor]\n{rules}")], options)

    def _entropy(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")

    def play(
        self,
        rules: str,
        target: str = "/",
        *,
        method: str = "GET",
        headers: tuple[tuple[str, str], ...] = (),
        content: bytes | None = None,
        host: str = "shop.example",
        upstream: Response | None = None,
    ) -> Played:
        built = self._build(rules)
        assert built.ruleset is not None, list(built.problems)
        path, query = canonical(target)
        request = Request(method, path, query, Headers.of(headers), content, limits=Limits(), host=host)
        x = run.begin(built.ruleset, request, clock=lambda: NOW, entropy=self._entropy)
        built.ruleset.choose(x)
        early = run.before(x)
        forwarded = None
        if early is None:
            forwarded = x.request.copy()
            early = run.after(x, upstream or Response(200, Headers(side="response"), b"", limits=Limits()))
        assert isinstance(early, Response)
        return Played(x, forwarded, early)


@pytest.fixture
def stage() -> Stage:
    return Stage()


Play = Callable[..., Played]


@pytest.fixture
def play(stage: Stage) -> Play:
    return stage.play
