"""No secret leaves by what is told of exchanges that Envoy asks about: the same secrets as in test_canaries.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.asking import Stream, streams
from tests.attack.test_canaries import BODY, CANARIES, HEADERS, Service, Watch, serving
from tests.figures import Figures

pytestmark = pytest.mark.asyncio(loop_scope="session")

# By the path, whether a rule reads the request's body and, where it goes on, the answer's.
PATHS = {
    "/login": (True, True),
    "/plain": (False, False),
    "/denied?name=authorization": (False, None),
    "/verified": (False, None),
    "/looks/x?how=login": (False, False),
    "/looks/x?how=bad-json": (False, None),
    "/breaks/x?at=no": (True, True),
    "/breaks/x?at=body": (True, None),
    "/breaks/x?at=number": (True, None),
    "/withheld": (False, True),
    "/challenged": (False, True),
    f"/.vestibule/continue?state={CANARIES['code']}": (True, None),
}
REQUEST = {"authorization": HEADERS["Authorization"], "cookie": HEADERS["Cookie"]}
ANSWER = {"set-cookie": f"session={CANARIES['set-cookie']}; Path=/"}
GIVEN = {"username": "jane", "refresh_token": CANARIES["refresh"], "totp": CANARIES["totp"], "mail": "jane@example.com"}
JSON = "application/json"


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


async def exchange(stream: Stream, path: str, *, asks: bool, reads: bool | None) -> None:
    """Bring one exchange to its end, or to where it is answered."""
    code = f"{path}{'&' if '?' in path else '?'}code={CANARIES['code']}"
    await stream.head(code, method="POST", ends=False, content_type=JSON, more=REQUEST)
    reply = await stream.hear()
    if asks:
        assert reply.HasField("request_headers"), path
        await stream.body(json.dumps(BODY).encode())
        reply = await stream.hear()
    assert reply.HasField("immediate_response") is (reads is None), path
    if reads is None:
        return
    await stream.answer(ends=False, content_type=JSON, more=ANSWER)
    reply = await stream.hear()
    if reads:
        assert reply.HasField("response_headers"), path
        await stream.body(json.dumps(GIVEN).encode(), of="response")
        assert await stream.hear() is not None


async def test_no_canary_is_found_in_what_is_told_of_exchanges_that_envoy_asks_about(
    service: Service, tmp_path: Path, figures: Figures
) -> None:
    watch = Watch()
    with serving(service, tmp_path, watch, "--serve", "ext_proc=127.0.0.1:0") as proxy:
        async with streams(proxy.greeted("ext_proc")) as open_stream:
            for path, (asks, reads) in PATHS.items():
                await exchange(open_stream(), path, asks=asks, reads=reads)
            cut = open_stream()
            await cut.head("/plain", more=REQUEST)
            await cut.hear()
            cut.cut()
            broken = open_stream()
            await broken.head(f"/{CANARIES['code']}", content_length=CANARIES["refresh"], more=REQUEST)
            await broken.hear()
    figures.add("canaries", cases=watch.looked, found=len(watch.found))
    assert sorted(set(watch.found)) == []
    records = (tmp_path / "recording.ndjson").read_text("utf-8").splitlines()
    assert len(records) == len(PATHS) + 1
    assert all("redacted-" in record for record in records)
