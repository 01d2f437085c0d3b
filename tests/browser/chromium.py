"""A Chromium of this machine, driven by playwright; playwright's own downloads are not used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "no Chromium is here; `make browser` installs it where apt is, and this process may"
# Only a test that fails waits so long, in milliseconds.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)


def find() -> str | None:
    """Find the program."""
    return next((found for name in NAMES if (found := shutil.which(name)) is not None), None)


@contextmanager
def launched(path: str) -> Iterator[Browser]:
    """Start it without a window. Root has no sandbox: the pages are our own."""
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*alone, "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
