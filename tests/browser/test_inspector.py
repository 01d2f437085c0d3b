"""The inspector in a browser: a login appears, is opened, explained, saved as a test and run; no secret is seen."""

from __future__ import annotations

import http.client
import re
import threading
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.admin.inspecting import PASSWORD, Inspected, inspected_alone
from tests.browser.conftest import OpenPage
from tests.running import PATIENCE, ROOT, run_command

# A width each with its colours: neither depends on the other.
LOOKS: tuple[tuple[int, Literal["light", "dark"]], ...] = ((1280, "light"), (400, "dark"))
PAGES = ["live", "x", "rules", "try", "health", "help"]


def address(run: Inspected, place: str = "") -> str:
    return f"{run.proxy.admin}/inspect/{place}"


def rows(page: Page) -> Any:
    return page.locator(".body .row:not([hidden])")


def filled(run: Inspected) -> int:
    """Let the shop have a login and a denial; gives the number of the login."""
    last = run.last()
    run.login()
    n: int = run.seen(last)["n"]
    run.login("x@mailinator.com")
    run.seen(n)
    return n


def test_a_login_appears_is_opened_holds_no_secret_and_is_saved_as_a_test(
    run: Inspected, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(address(run))
    heard: list[str] = []
    page.on("response", lambda response: heard.append(response.text()) if "/stream" not in response.url else None)
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
    answer = run.login()
    row = page.get_by_role("row").filter(has_text="createUserAuthTicket").first
    expect(row).to_contain_text("200")
    expect(row).to_contain_text("ticket-to-bearer")
    listed = page.content()
    row.click()

    delivered = page.get_by_role("region", name="Vestibule to client", exact=True)
    expect(delivered).to_contain_text("added: Authorization:")
    expect(delivered).to_contain_text('removed: "refreshToken"')
    missed = page.locator(".rule-row", has_text="applications-only")
    missed.locator("summary").click()
    expect(missed.get_by_text("context siteId is to be 3, and is 2")).to_be_visible()
    expect(page.get_by_role("heading", name="Tokens")).to_be_visible()
    expect(page.get_by_role("cell", name="user00000000000000000000000003e9")).to_be_visible()

    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    everything = "\n".join([listed, page.content(), page.inner_text("body"), stored, *heard])
    assert "jane@example.com" in everything, "there is nothing to look through"
    cookie = answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    ticket = answer.json["jwtAccessToken"]
    for secret in (PASSWORD, cookie, ticket, ticket.rpartition(".")[2], answer.json["accessToken"]):
        assert secret not in everything

    folder = tmp_path / "kibo"
    folder.mkdir()
    for file in (ROOT / "rules" / "kibo").glob("*.yaml"):
        if not file.name.endswith(".test.yaml"):
            (folder / file.name).write_text(file.read_text())
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as test").click()
    saved.value.save_as(folder / saved.value.suggested_filename)
    code, out, err = run_command("test", folder)
    assert (code, err) == (0, ""), out
    assert "1 passed" in out


@pytest.mark.parametrize("name", PAGES)
def test_every_page_can_be_used_by_everybody(run: Inspected, open_page: OpenPage, name: str) -> None:
    n = filled(run)
    place = {"x": f"#/x/{n}", "help": "#/live"}.get(name, f"#/{name}")
    page = open_page(address(run, place))
    if name == "live":
        expect(rows(page).first).to_be_visible()
    elif name == "x":
        expect(page.get_by_role("heading", name="Rules")).to_be_visible()
        expect(page.locator(".timeline")).to_be_visible()
        for summary in page.locator(".rule-row summary").all():
            summary.click()
    elif name == "rules":
        page.locator(".rule-card summary").first.click()
    elif name == "try":
        page.get_by_role("button", name="Explain").click()
        expect(page.locator(".timeline")).to_be_visible()
    elif name == "health":
        expect(page.get_by_role("heading", name="Auth service")).to_be_visible()
    else:
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 860})
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{width} {scheme}: {found.generate_report()}"
        wider = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wider, f"the page is wider than a window of {width}"


def test_everything_is_done_with_keys(run: Inspected, open_page: OpenPage) -> None:
    filled(run)
    page = open_page(address(run))
    expect(rows(page).first).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("rule:refuse by:rule -op:refresh")
    expect(page.get_by_text("the list")).to_have_count(0)
    expect(rows(page).first).to_contain_text("refuse-disposable-mail")
    page.keyboard.press("Enter")
    expect(page.get_by_role("grid")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Reason", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("searchbox")).to_have_value("rule:refuse by:rule -op:refresh")
    page.keyboard.press("Escape")
    expect(page.get_by_role("searchbox")).to_have_value("")
    page.keyboard.press("p")
    expect(page.get_by_role("button", name=re.compile("Go on"))).to_be_visible()
    before = rows(page).first.inner_text()
    run.login()
    expect(page.get_by_role("button", name=re.compile(r"Go on \(\d+ new\)"))).to_be_visible()
    assert rows(page).first.inner_text() == before
    page.keyboard.press("p")
    expect(rows(page).first).not_to_have_text(before)
    for key, title in (("r", "Rules"), ("t", "Try it"), ("h", "Health")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()


def test_a_filter_word_that_means_nothing_is_told(run: Inspected, open_page: OpenPage) -> None:
    page = open_page(address(run))
    page.get_by_role("searchbox").fill("statsu:4xx")
    expect(page.get_by_text("No such word: statsu:4xx")).to_be_visible()


def test_light_and_dark_are_chosen_and_kept(run: Inspected, open_page: OpenPage) -> None:
    page = open_page(address(run), scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name="Colours")
    button.click()
    button.click()
    expect(button).to_have_text("● Dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert page.evaluate(ground) == dark


def test_rules_are_edited_and_tried(run: Inspected, open_page: OpenPage) -> None:
    page = open_page(address(run, "#/try"))
    page.get_by_label("Path").fill("/api/commerce/customer/authtickets")
    page.get_by_label("Headers").first.fill("x-vol-tenant: 1\nx-vol-site: 2\ncontent-type: application/json")
    page.get_by_label("Body").first.fill('{"username": "jane@example.org"}')
    page.get_by_label("Status, or down, or late").fill("401")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_text("The auth service answered: 401")).to_be_visible()
    [file] = [one["name"] for one in run.get("rules")["sources"] if "mailinator" in one["text"]]
    page.get_by_label("Rule file", exact=True).select_option(file)
    text = page.get_by_label("Text of the rule file")
    text.fill(text.input_value().replace("mailinator.com", "example.org"))
    expect(page.get_by_text("1 edited: this try alone uses it")).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("refuse-disposable-mail denied: 403")).to_be_visible()


def test_what_a_message_says_stays_text(run: Inspected, open_page: OpenPage) -> None:
    page = open_page(address(run))
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    last = run.last()
    run.proxy.call("POST", "/api/<img%20src=x>?a=" + "%3Cscript%3E", {"username": hostile}, {"X-Hostile": hostile})
    run.login(hostile)
    row = run.seen(last)
    page.goto(address(run, f"#/x/{row['n']}"))
    expect(page.locator(".timeline")).to_be_visible()
    page.goto(address(run, f"#/x/{row['n'] + 1}"))
    expect(page.locator(".pane").first).to_contain_text("<img src=x")
    assert page.locator("img[src=x], main script").count() == 0


def test_a_token_is_asked_for_and_left_nowhere(open_page: OpenPage) -> None:
    secrets = {"VESTIBULE_SECRET_ADMIN": "test-only-token"}
    with inspected_alone("version: 1\nrules: []\n", secrets, "--admin-token", "admin") as run:
        stored = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        page = open_page(address(run))
        field = page.get_by_role("textbox", name="Token")
        field.fill("test-only-tokem")
        page.keyboard.press("Enter")
        expect(field).to_have_value("")
        field.fill("test-only-token")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
        assert "test-only" not in page.content() + page.evaluate(stored)
        page = open_page(address(run, "#token=test-only-token"))
        expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
        assert "test-only" not in page.content() + page.evaluate(stored)


def test_of_ten_thousand_exchanges_only_those_in_sight_are_elements(open_page: OpenPage) -> None:
    rules = "version: 1\nrules: [{name: all, match: {path: /*}, before: [{respond: {status: 204}}]}]\n"
    with inspected_alone(rules, {}, "--inspect", "10000") as run:

        def send(first: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", run.proxy.port, timeout=PATIENCE)
            for n in range(first, 10_000, 4):
                connection.request("GET", f"/{'rare' if n % 100 == 0 else 'some'}/{n}")
                connection.getresponse().read()
            connection.close()

        threads = [threading.Thread(target=send, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        page = open_page(address(run))
        for thread in threads:
            thread.join()
        expect(page.get_by_text("10,000 exchanges")).to_be_visible()
        page.keyboard.press("End")
        oldest = run.get("exchanges")["rows"][0]["target"]
        expect(page.get_by_role("row", selected=True)).to_contain_text(oldest)
        page.get_by_role("searchbox").fill("path:/rare")
        expect(page.get_by_text("100 of 10,000 exchanges")).to_be_visible()
        assert page.locator(".row").count() < 100
