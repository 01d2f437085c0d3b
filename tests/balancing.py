"""HAProxy or Envoy before runs of the proxy: it asks each whether it is ready, and sends requests to those that are."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.running import PATIENCE, ROOT

_ENVOY = ROOT / ".venv-envoy" / "bin" / "envoy"
_TYPES = "type.googleapis.com/envoy.extensions"

_CONFIGURATION = """
global
    stats socket {folder}/stats mode 600 level operator
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout check 1s
    http-reuse safe
frontend shop
    bind fd@{descriptor}
    default_backend runs
backend runs
    balance roundrobin
    option redispatch
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
    default-server check inter 100ms fall 1 rise 1
"""


class Balancer:
    """A balancer that listens on `port`."""

    port: int

    def serving(self) -> set[str]:
        """Give the runs that get requests now."""
        raise NotImplementedError

    def until(self, *names: str) -> None:
        """Wait until these runs get requests, and no others."""
        end = time.monotonic() + PATIENCE
        while (found := self.serving()) != set(names):
            assert time.monotonic() < end, f"{found or 'none'} get requests, not {set(names)}"


class _HaProxy(Balancer):
    def __init__(self, port: int, stats: Path) -> None:
        self.port = port
        self._stats = stats

    def serving(self) -> set[str]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self._stats))
            sock.sendall(b"show stat\n")
            text = b"".join(iter(lambda: sock.recv(65_536), b"")).decode()
        names, *rows = (line.split(",") for line in text.removeprefix("# ").splitlines() if line)
        name, status = names.index("svname"), names.index("status")
        return {row[name] for row in rows if row[0] == "runs" and row[name] != "BACKEND" and row[status] == "UP"}


class _Envoy(Balancer):
    def __init__(self, port: int, admin: int, names: dict[int, str]) -> None:
        self.port = port
        self._admin = admin
        self._names = names

    def serving(self) -> set[str]:
        hosts = _admin(self._admin, "/clusters?format=json")["cluster_statuses"][0].get("host_statuses", [])
        return {
            self._names[host["address"]["socket_address"]["port_value"]]
            for host in hosts
            if not host["health_status"].get("failed_active_health_check")
        }


Run = tuple[str, int, int]


@contextmanager
def balancing(kind: str, folder: Path, runs: Sequence[Run]) -> Iterator[Balancer]:
    """Start `haproxy` or `envoy` before runs, each with its name, its port and its admin port."""
    with (_haproxy if kind == "haproxy" else _envoy)(folder, runs) as balancer:
        yield balancer


@contextmanager
def _haproxy(folder: Path, runs: Sequence[Run]) -> Iterator[Balancer]:
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("HAProxy is not installed (apt-get install haproxy), so none can stand before the proxy")
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        configuration = folder / "haproxy.cfg"
        lines = [f"    server {name} 127.0.0.1:{port} port {admin}\n" for name, port, admin in runs]
        configuration.write_text(
            _CONFIGURATION.format(folder=folder, descriptor=listening.fileno()) + "".join(lines), "utf-8"
        )
        with subprocess.Popen(
            [program, "-db", "-q", "-f", str(configuration)],
            pass_fds=[listening.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                balancer = _HaProxy(listening.getsockname()[1], folder / "stats")
                end = time.monotonic() + PATIENCE
                while not balancer._stats.exists():
                    assert process.poll() is None, "HAProxy ended at once"
                    assert time.monotonic() < end, "HAProxy does not start"
                yield balancer
            finally:
                process.kill()


@contextmanager
def _envoy(folder: Path, runs: Sequence[Run]) -> Iterator[Balancer]:
    if not _ENVOY.is_file():
        pytest.skip("Envoy is not installed (make .venv-envoy/.installed), so none can stand before the proxy")
    configuration, admin = folder / "envoy.json", folder / "admin"
    configuration.write_text(json.dumps(_bootstrap(runs)), "utf-8")
    words = (_ENVOY, "-c", configuration, "--admin-address-path", admin, "--use-dynamic-base-id", "--concurrency", "1")
    with (folder / "envoy.log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            end = time.monotonic() + PATIENCE
            while not (told := admin.read_text("utf-8") if admin.exists() else ""):
                assert process.poll() is None, (folder / "envoy.log").read_text("utf-8")
                assert time.monotonic() < end, "Envoy does not start"
                time.sleep(0.02)
            number = int(told.rpartition(":")[2])
            while not (listeners := _admin(number, "/listeners?format=json").get("listener_statuses")):
                assert time.monotonic() < end, "Envoy does not listen"
                time.sleep(0.02)
            port = listeners[0]["local_address"]["socket_address"]["port_value"]
            yield _Envoy(port, number, {port: name for name, port, _ in runs})
        finally:
            process.kill()


def _bootstrap(runs: Sequence[Run]) -> dict[str, Any]:
    """Give the configuration: as deploy/README.md says, who is not ready is found out in a part of the drain delay."""
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "shop",
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"}}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "shop",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {
                                "cluster": "runs",
                                "timeout": "60s",
                                # What was never sent may be sent to another.
                                "retry_policy": {"retry_on": "connect-failure", "num_retries": 2},
                            },
                        }
                    ],
                }
            ]
        },
    }
    endpoints = [
        {"endpoint": {"address": _address(port), "health_check_config": {"port_value": admin}}}
        for _, port, admin in runs
    ]
    cluster = {
        "name": "runs",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "runs", "endpoints": [{"lb_endpoints": endpoints}]},
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "0.1s",
                "unhealthy_interval": "0.1s",
                "no_traffic_interval": "0.1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "http_health_check": {"host": "localhost", "path": "/readyz"},
            }
        ],
        # Who is not ready gets nothing, though nobody be left; and at once: by default changes are held back for a
        # second, which is as long as these runs go on taking requests.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
    }
    listener = {
        "name": "shop",
        "address": _address(0),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {
        "admin": {"address": _address(0)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _admin(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as response:
        return json.load(response)
