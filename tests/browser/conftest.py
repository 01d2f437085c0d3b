"""What the tests in a browser share: one browser, and a page that reports whatever goes wrong in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from tests.admin.inspecting import Inspected, inspected
from tests.browser.chromium import MISSING, PATIENCE, find, launched

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find()
    if path is None:
        pytest.skip(MISSING)
    with launched(path) as browser:
        yield browser


@pytest.fixture(scope="module")
def run() -> Iterator[Inspected]:
    with inspected() as run:
        yield run


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open a page in a context of its own; what it complains of, and what it asks of others, fails the test."""
    contexts = []
    wrong: list[str] = []

    def open(address: str, *, width: int = 1280, scheme: Any = "light") -> Page:
        size = {"width": width, "height": 860}
        context = browser.new_context(viewport=size, color_scheme=scheme, accept_downloads=True)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        own = urlsplit(address).netloc

        def asked(request: Request) -> None:
            if not request.url.startswith("blob:") and urlsplit(request.url).netloc != own:
                wrong.append(f"asked {request.url}")

        def complained(said: ConsoleMessage) -> None:
            # A request that is refused is told in the page; what else a browser complains of is a fault of ours.
            if said.type == "error" and "the server responded with a status of 4" not in said.text:
                wrong.append(said.text)

        page.on("request", asked)
        page.on("pageerror", lambda error: wrong.append(f"error {error}"))
        page.on("console", complained)
        page.goto(address)
        return page

    yield open
    for context in contexts:
        context.close()
    assert wrong == []
