"""How the processes of a run take renewed certificates, keys and tokens into use, part by part."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from ..edge.renewal import Use
from ..observe.board import Credentials
from .credentials import (
    ADMIN_TOKEN,
    STORE,
    TLS,
    TRACING_TOKEN,
    UPSTREAM_TLS,
    make_server_tls,
    make_upstream_tls,
    store_contents,
)

if TYPE_CHECKING:
    from ..admin.guard import Admission
    from ..edge.gateway import Gateway
    from ..edge.reach import Reach
    from ..edge.server import Server
    from ..observe.spans import Spans
    from ..services.pem import PemFiles
    from ..services.perform import Services


def uses_of_worker(
    server: Server, gateway: Gateway, services: Services, store_files: PemFiles, spans: Spans | None
) -> dict[str, Use]:
    """Say how a worker takes each part into use."""

    async def use_tls(found: Credentials) -> None:
        server.renew(make_server_tls(found))

    async def use_upstream_tls(found: Credentials) -> None:
        # Reading the system's authorities takes long enough to hold up the loop.
        tls = await asyncio.to_thread(make_upstream_tls, found)
        gateway.pool.options = replace(gateway.pool.options, tls=tls)
        services.renew(tls)

    async def use_store(found: Credentials) -> None:
        store_files.write(store_contents(found))

    async def use_tracing_token(found: Credentials) -> None:
        if spans is not None:
            spans.renew(found.text(TRACING_TOKEN))

    return {TLS: use_tls, UPSTREAM_TLS: use_upstream_tls, STORE: use_store, TRACING_TOKEN: use_tracing_token}


def uses_of_admin(admission: Admission, reach: Reach) -> dict[str, Use]:
    """Say how the process of the admin port takes each part into use."""

    async def use_token(found: Credentials) -> None:
        admission.renew(found.text(ADMIN_TOKEN))

    async def use_upstream_tls(found: Credentials) -> None:
        reach.renew(await asyncio.to_thread(make_upstream_tls, found))

    return {ADMIN_TOKEN: use_token, UPSTREAM_TLS: use_upstream_tls}
