"""Other servers that read the same bytes: nginx and Envoy, each between two ends that we hold.

One listens on a socket file and passes on what it reads, with what it took the request for in `X-Front`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from tests.wire import LOOPBACK, PATIENCE

ROOT = Path(__file__).resolve().parents[2]
FRONTS = ("nginx", "envoy")
_FILTERS = "type.googleapis.com/envoy.extensions.filters"

_NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    client_header_timeout 1s;
    client_body_timeout 1s;
    large_client_header_buffers 4 64k;
    upstream behind {{ server {host}:{port} max_fails=0; keepalive 4; }}
    server {{
        listen unix:{folder}/front;
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_ignore_client_abort on;
            proxy_next_upstream off;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Front "$request_method $request_uri";
        }}
    }}
}}
"""


def _envoy(folder: Path, port: int) -> str:
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "stream_idle_timeout": "1s",
        "request_headers_timeout": "1s",
        # We take a hundred headers, and add our own.
        "common_http_protocol_options": {"idle_timeout": "1s", "max_headers_count": 200},
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "a"},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "request_headers_to_add": [
                        {
                            "header": {"key": "X-Front", "value": "%REQ(:METHOD)% %REQ(:PATH)%"},
                            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                        }
                    ],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "behind", "timeout": "5s"}}],
                }
            ]
        },
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    return json.dumps(
        {
            "static_resources": {
                "listeners": [
                    {"name": "front", "address": {"pipe": {"path": f"{folder}/front"}}, "filter_chains": [chain]}
                ],
                "clusters": [
                    {
                        "name": "behind",
                        "type": "STATIC",
                        "load_assignment": {"cluster_name": "behind", "endpoints": [endpoint]},
                    }
                ],
            }
        }
    )


def missing(name: str) -> str | None:
    """Say why a server is not there to be asked, or None."""
    if name == "nginx":
        return None if shutil.which("nginx") else "nginx is not installed (Debian: apt-get install nginx-light)"
    return None if _envoy_binary().is_file() else "Envoy is not installed: `make attack-envoy` does"


def _envoy_binary() -> Path:
    return ROOT / ".venv-envoy" / "bin" / "envoy"


@contextlib.asynccontextmanager
async def running(name: str, folder: Path, port: int) -> AsyncIterator[Path]:
    """Start a server in front of a port of this machine; gives the socket file on which it listens."""
    if name == "nginx":
        (folder / "conf").write_text(_NGINX.format(folder=folder, host=LOOPBACK, port=port))
        words = [shutil.which("nginx") or "nginx", "-p", str(folder), "-c", str(folder / "conf")]
    else:
        (folder / "conf.json").write_text(_envoy(folder, port))
        words = [str(_envoy_binary()), "-c", str(folder / "conf.json"), "--concurrency", "1", "-l", "error",
                 "--use-dynamic-base-id"]  # fmt: skip
    log = (folder / "log").open("wb")
    process = await asyncio.create_subprocess_exec(*words, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _listens(folder / "front"):
                assert process.returncode is None, (folder / "log").read_text()
                await asyncio.sleep(0)
        yield folder / "front"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log.close()


async def _listens(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True
