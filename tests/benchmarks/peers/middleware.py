"""http-proxy-middleware, what the makers of a storefront in Node have at hand; middleware.js is the program."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

from .peer import FILES, ROOT, Peer, Place, said

_HOME = ROOT / ".bench" / "node_modules" / "http-proxy-middleware"


def _version() -> str | None:
    node = said("node", "--version")
    if node is None or not _HOME.is_dir():
        return None
    return f"http-proxy-middleware {json.loads((_HOME / 'package.json').read_text())['version']}, Node {node}"


def _words(place: Place) -> Sequence[str]:
    node = shutil.which("node") or "node"
    log = str(place.folder / "access.log")
    return [node, str(FILES / "middleware.js"), str(_HOME), str(place.upstream), str(place.port), log]


PEER = Peer(
    name="middleware",
    title="http-proxy-middleware",
    install="npm install --prefix .bench --no-audit --no-fund --no-package-lock http-proxy-middleware@3",
    version=_version,
    command=_words,
)
