"""nginx: alone, the floor under every proxy here, and with Lua or njs, which are what nginx offers for rewriting."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from .peer import FILES, Peer, Place, said

_MODULES = Path("/usr/lib/nginx/modules")
_CJSON = list(Path("/usr/lib").glob("*/lua/5.1/cjson.so"))
_NO_BODIES = "nginx alone does not rewrite bodies"


def _version(module: str | None = None) -> str | None:
    if module is not None and not (_MODULES / module).is_file():
        return None
    told = said("nginx", "-v")
    return told and told.removeprefix("nginx version: ").replace("/", " ")


def _words(place: Place, modules: Sequence[str] = (), http: str = "", locations: str = "") -> Sequence[str]:
    loaded = "\n".join(f"load_module {_MODULES / name};" for name in modules)
    text = (FILES / locations).read_text() if locations else ""
    place.fill("nginx.conf", MODULES=loaded, HTTP=http, LOCATIONS=text)
    return [shutil.which("nginx") or "nginx", "-p", str(place.folder), "-c", str(place.folder / "nginx.conf")]


def _lua(place: Place) -> Sequence[str]:
    place.fill("rewrite.lua")
    return _words(
        place,
        ("ndk_http_module.so", "ngx_http_lua_module.so"),
        f'lua_package_path "{place.folder}/?.lua;;";',
        "nginx.lua.conf",
    )


def _njs(place: Place) -> Sequence[str]:
    place.fill("rewrite.js")
    http = f"js_path {place.folder}; js_import rewrite from rewrite.js; subrequest_output_buffer_size 4m;"
    return _words(place, ("ngx_http_js_module.so",), http, "nginx.njs.conf")


PLAIN = Peer(
    name="nginx",
    title="nginx, nothing rewritten",
    install="apt-get install nginx-light",
    version=_version,
    command=_words,
    cannot=dict.fromkeys(("login", "deny", "big"), _NO_BODIES),
)
LUA = Peer(
    name="nginx-lua",
    title="nginx + Lua + cjson",
    install="apt-get install nginx-light libnginx-mod-http-lua lua-cjson",
    version=lambda: _version("ngx_http_lua_module.so") if _CJSON else None,
    command=_lua,
)
NJS = Peer(
    name="nginx-njs",
    title="nginx + njs",
    install="apt-get install nginx-light libnginx-mod-http-js",
    version=lambda: _version("ngx_http_js_module.so"),
    command=_njs,
)
