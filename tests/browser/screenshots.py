"""Pictures of each page of the inspector: light and dark, wide and narrow. Run by `make screenshots`."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page

from tests.admin.inspecting import Inspected, inspected
from tests.browser.chromium import MISSING, PATIENCE, find, launched

PAGES = {
    "live": ".body .row.chosen",
    "exchange": ".timeline",
    "rules": ".rule-card",
    "try": ".timeline",
    "health": ".card",
}


def main(folder: Path) -> None:
    """Make the pictures in a folder."""
    path = find()
    if path is None:
        sys.exit(MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    with inspected() as run, launched(path) as browser:
        traffic(run)
        for width in (1280, 400):
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=scheme)
                context.set_default_timeout(PATIENCE)
                page = context.new_page()
                for name in PAGES:
                    show(page, run, name)
                    page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=name != "live")
                context.close()


def traffic(run: Inspected) -> None:
    """Let people log in, with more or less luck."""
    for n in range(4):
        run.login(site=str(n))
        run.login(password="wrong")
        run.login("x@mailinator.com")
        path = f"/api/commerce/catalog/storefront/products/{n}?responseFields=name"
        run.proxy.call("GET", path, headers={"x-vol-site": "2"})
    last = 0
    while last < 16:
        last = run.event(last)["last"]


def show(page: Page, run: Inspected, name: str) -> None:
    """Bring a page to where it has something to show."""
    login = next(row["n"] for row in run.get("exchanges")["rows"] if "ticket-to-bearer" in row.get("ran", []))
    # Another address first: from one page of the inspector to the next nothing would be loaded.
    page.goto("about:blank")
    page.goto(f"{run.proxy.admin}/inspect/#/{f'x/{login}' if name == 'exchange' else name}")
    if name == "live":
        page.locator(".body .row").first.wait_for()
        page.keyboard.press("j")
    elif name == "exchange":
        page.locator(".rule-name").get_by_text("ticket-to-bearer", exact=True).click()
    elif name == "rules":
        page.locator(".rule-name").get_by_text("refuse-disposable-mail", exact=True).click()
    elif name == "try":
        page.locator("#help").evaluate("node => node.blur()")
        page.get_by_label("Path").fill("/api/commerce/customer/authtickets")
        page.get_by_role("button", name="Explain").click()
    page.locator(PAGES[name]).first.wait_for()
    page.evaluate("window.scrollTo(0, 0)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
