"""Promise: no spelling of a denied path or method reaches its handler, as three kinds of upstream read what they get.

Only spellings that lead some upstream to the handler are tried: those alone are attacks.
"""

from __future__ import annotations

import itertools
import posixpath
import random
import re
from urllib.parse import unquote_to_bytes

import ada_url
import pytest

from tests.figures import Figures
from tests.gateways import Proxied, Start
from tests.wire import Message

from .cases import compiled, request
from .paths import RULES

# What is tried is counted in one place.

_WORDS = (
    "admin", "%61dmin", "%61%64%6d%69%6e", "adm%69n", "a%64m%69%6E", "%2561dmin", "%25%36%31dmin", "a%5Cdmin/../admin",
)  # fmt: skip
_BEFORE = (
    "/", "//", "///", "/./", "/%2e/", "/%2E/", "/../", "/x/../", "/x/%2e%2e/", "/x/.%2E/", "/x/%2e./", "/x/y/../../",
    "/x/..%2f", "/x/..%2F", "/%2f", "/%2F%2F", "/\\", "/%5c", "/x/..\\", "/x/..%5C", "/x/..;/", "/x/..;a=b/", "/;/",
    "/;a=b/", "/.;/", "/%2e%2e/", "/x//../", "/x/../../", "/%2e%2f", "/x%2f..%2f", "/x/%2e%2e%2f", "/x/%2e%2e;/",
    "/\t/../", "/public/..%00/../", "/%09/../", "/x/./..//",
)  # fmt: skip
_AFTER = (
    "", "/", "//", "/.", "/./", "/x/..", "/%2e", "/users", "/x/../users", "//users", "?", "?a=b", "?a#b", "#", "#x",
    "%3f", "%23", ";", ";x=1", ";x/users", "%3b", "%2f", "%2F", "%2fusers", "\\", "%5c", "\\users", "/..;/admin",
    "/%2e%2e/admin", "%00", "%00.png", "/.;", "?/../public", "/?%2f",
)  # fmt: skip
_OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")


def _resolved(path: bytes) -> bytes:
    return posixpath.normpath(re.sub(rb"/{2,}", b"/", path))


def read_as_nginx(target: bytes) -> set[bytes]:
    """Decode once, escaped slashes too, merge slashes, resolve dots; a null byte ends a path that a C program opens."""
    path = unquote_to_bytes(re.split(rb"[?#]", target)[0])
    return {_resolved(path), _resolved(path.partition(b"\0")[0])}


def read_as_python(target: bytes) -> set[bytes]:
    """Decode as WSGI and ASGI servers do, with dots resolved or not, or twice as a framework behind them may."""
    once = unquote_to_bytes(target.partition(b"?")[0])
    return {path for one in (once, unquote_to_bytes(once)) for path in (one, _resolved(one))}


def read_as_browser(target: bytes) -> set[bytes]:
    """Read as WHATWG does, where a backslash is a slash; then decoded, and without `;` parameters as servlets do."""
    found: set[bytes] = set()
    for address in ("http://a" + target.decode("latin-1"), "http://a/" + target.decode("latin-1").lstrip("/\\")):
        try:
            path = ada_url.URL(address).pathname.encode()
        except ValueError:
            continue
        bare = re.sub(rb";[^/]*", b"", path)
        found |= {path, unquote_to_bytes(path), _resolved(bare), _resolved(unquote_to_bytes(bare))}
    return found


READERS = (read_as_nginx, read_as_python, read_as_browser)


def reaches(target: bytes) -> bool:
    """Say whether some upstream takes this target to the handler of /admin."""
    paths = {path.rstrip(b"/") or b"/" for reader in READERS for path in reader(target)}
    return any(path == b"/admin" or path.startswith(b"/admin/") for path in paths)


def spellings() -> list[str]:
    """Choose spellings of /admin that reach it: the plain word in all, and as many others, the same in every run."""
    everything = ["".join(parts) for parts in itertools.product(_BEFORE, _WORDS, _AFTER)]
    reaching = [one for one in everything if reaches(one.encode("latin-1"))]
    plain = [one for one in reaching if "admin" in one and "%61" not in one]
    others = sorted(set(reaching) - set(plain))
    dice = random.Random(1)
    return dice.sample(plain, 900) + dice.sample(others, 900)


async def ask(proxied: Proxied, data: bytes) -> tuple[int, list[Message]]:
    """Send a request on a connection of its own; gives the answer's status and what arrived."""
    before = len(proxied.upstream.messages)
    wire = await proxied.client()
    await wire.send(data)
    answer = await wire.message(bodyless=data.startswith(b"HEAD"))
    await wire.close()
    proxied.clients.remove(wire)
    return answer.status, proxied.upstream.messages[before:]


@pytest.mark.parametrize("target", [b"/admin", b"//admin", b"/x/..%2fadmin", b"/admin/users", b"/%2561dmin"])
def test_an_upstream_would_take_these_to_the_handler(target: bytes) -> None:
    assert reaches(target)


@pytest.mark.parametrize("target", [b"/", b"/public", b"/administrator", b"/x/admin", b"/?next=/admin"])
def test_no_upstream_would_take_these_to_the_handler(target: bytes) -> None:
    assert not reaches(target)


async def test_no_spelling_of_a_denied_path_reaches_its_handler(start: Start, figures: Figures) -> None:
    proxied = await start()
    proxied.gateway.ruleset = compiled(RULES)
    tried = spellings()
    assert len(set(tried)) == 1800
    through: list[tuple[str, bytes]] = []
    verdicts: dict[int, int] = {}
    for target in tried:
        status, arrived = await ask(proxied, request("GET", target=target))
        verdicts[status] = verdicts.get(status, 0) + 1
        through += [(target, message.target) for message in arrived if reaches(message.target)]
    figures.add("spellings", cases=len(tried), found=len(through))
    assert not through
    # Both ways of denial were met: by the rule on one path, by HTTP where there would be two.
    assert min(verdicts[403], verdicts[400]) > 100


async def test_no_spelling_of_a_denied_method_reaches_its_handler(start: Start, figures: Figures) -> None:
    proxied = await start()
    proxied.gateway.ruleset = compiled(RULES)
    words = ("DELETE", "delete", "Delete", "DELETE\t", " DELETE", "DELETE,POST", "\x00DELETE", "DELETE\x0b", "%44ELETE")
    tried = [request(word) for word in words]
    for name in _OVERRIDES:
        for spelt in {name, name.lower(), name.upper(), name.replace("-", "_"), name + " ", name + "\t"}:
            for method, value in itertools.product(
                ("POST", "GET", "PUT"), ("DELETE", "delete", " DELETE ", "POST, DELETE")
            ):
                tried.append(request(method, f"{spelt}: {value}"))
        tried.append(request("POST", f"{name}: POST", f"{name}: DELETE"))
        tried.append(request("POST", f"Connection: {name}", f"{name}: DELETE"))
    through = []
    for data in tried:
        _, arrived = await ask(proxied, data)
        for message in arrived:
            said = [value for key, value in message.headers if b"method" in key.lower()]
            if message.method.upper() != data.split(b" ")[0] or b"DELETE" in message.method.upper() or said:
                through.append(message.head)
    figures.add("spellings", cases=len(tried), found=len(through))
    assert not through
