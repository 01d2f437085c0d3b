"""No redirect leads off the allow list, as readers of addresses see it that are not ours: ada's and node's."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from urllib.parse import quote

import ada_url
import pytest
from hypothesis import given, settings

from tests.figures import Figures
from tests.strategies.addresses import addresses, tricks

from .acting import Acting, Outcome, respond

PAGE = "https://shop.example/account/login?next=1"
ALLOWED = {"shop.example", "good.com", "pay.example:8443"}

# One rule for each way in which text from outside can get into an address.
ADDRESSES = {
    "whole": "${request.query.next}",
    "path": "/${request.query.next}",
    "below": "/account/${request.query.next}",
    "behind-a-host": "https://shop.example${request.query.next}",
    "behind-a-slash": "https://good.com/${request.query.next}",
    "in-the-query": "https://pay.example:8443/?next=${request.query.next}",
    "label": "https://${request.query.next}.partner.example/",
    "host": "https://${request.query.next}/",
    "scheme": "${request.query.next}://good.com/",
}
ALLOW = "[good.com, 'pay.example:8443', '*.partner.example']"
RULES = "rules:\n" + "".join(
    f"""
  - name: {name}-{action}
    match: {{path: /{name}/{action}, status: 200}}
    after:
      - {action}: {{{key}: "{address}", allow: {ALLOW}, query: {{back: "${{request.query.next}}"}}{more}}}
"""
    for name, address in ADDRESSES.items()
    for action, key, more in (("redirect", "to", ", mode: redirect"), ("result_url", "url", ""))
)
WAYS = [f"/{name}/{action}" for name in ADDRESSES for action in ("redirect", "result_url")]
NAVIGATES = (("Sec-Fetch-Mode", "navigate"),)


@cache
def acting() -> Acting:
    return Acting(RULES, public_origin="https://shop.example")


def play(acting: Acting, way: str, text: str) -> Outcome:
    query = "next=" + quote(text, safe="")
    return acting.play(acting.begin(way, query, headers=NAVIGATES), lambda: respond(200, ("Content-Type", "text/html")))


def location(outcome: Outcome) -> str | None:
    answer = outcome.answer
    assert answer is not None
    value = answer.headers.text(b"location")
    if value is None:
        # Refused, or an error of the rule: nothing that the attacker wrote is told back.
        assert answer.status in (403, 500), answer.status
        assert answer.content is not None
        assert b"evil" not in answer.content
    else:
        assert answer.status in (302, 303)
        assert answer.headers.values(b"location") == [value.encode()]
    return value


def leads_away(scheme: str, host: str, user: str) -> bool:
    """Judge what a reader found in a Location."""
    return scheme != "https:" or bool(user) or not (host in ALLOWED or host.endswith(".partner.example"))


def read_by_ada(address: str) -> tuple[str, str, str] | None:
    try:
        url = ada_url.URL(address, base=PAGE)
    except ValueError:
        # A browser goes nowhere.
        return None
    return url.protocol, url.host, url.username + url.password


def read_by_node(found: Iterable[str]) -> list[tuple[str, str, str] | None]:
    script = """
      const [page, all] = JSON.parse(require('fs').readFileSync(0));
      console.log(JSON.stringify(all.map(one => {
        try { const u = new URL(one, page); return [u.protocol, u.host, u.username + u.password]; }
        catch { return null; }
      })))
    """
    done = subprocess.run(
        ["node", "-e", script], input=json.dumps([PAGE, list(found)]), capture_output=True, text=True, check=True
    )
    return [tuple(one) if one is not None else None for one in json.loads(done.stdout)]


def led(step: int = 1) -> tuple[int, list[str]]:
    """Try all tricks, or every so many, on all ways; gives how many were tried, and the Locations that came of them."""
    texts = tricks()[::step]
    # Every trick on the way that is most open, by turns for both actions, and a share of them on each of the others.
    tried = [(WAYS[index % 2], text) for index, text in enumerate(texts)]
    tried += [(way, text) for index, way in enumerate(WAYS) for text in texts[index :: len(WAYS)]]
    found = [location(play(acting(), way, text)) for way, text in tried]
    return len(tried), [one for one in found if one is not None]


def test_no_redirect_leaves_the_allow_list_as_ada_reads_it(figures: Figures) -> None:
    tried, found = led()
    assert tried >= 20_000
    assert len(found) > 2_000, "most tricks were refused before anybody could judge them"
    away = [one for one in found if (seen := read_by_ada(one)) is not None and leads_away(*seen)]
    figures.add("redirects", cases=tried, found=len(away))
    assert not away


@pytest.mark.skipif(shutil.which("node") is None, reason="node, whose URL is another reader, is not installed")
def test_nor_as_node_reads_it() -> None:
    found = list(dict.fromkeys(led(5)[1]))
    assert not [one for one, seen in zip(found, read_by_node(found), strict=True) if seen and leads_away(*seen)]


@settings(max_examples=200)
@given(text=addresses)
def test_nor_whatever_the_address_is_put_together_of(text: str) -> None:
    for way in WAYS[::2]:
        found = location(play(acting(), way, text))
        seen = read_by_ada(found) if found is not None else None
        assert seen is None or not leads_away(*seen), (way, found)


def test_the_judge_knows_what_leads_away() -> None:
    away = ("//evil.com", "/\\evil.com", "https://good.com@evil.com", "http://good.com/", "/\t/a.b", "javascript:x")
    # `https:evil.com` is read against the page, as a path of it.
    for address in (*away, "https:evil.com"):
        seen = read_by_ada(address)
        assert (seen is not None and leads_away(*seen)) is (address != "https:evil.com")
