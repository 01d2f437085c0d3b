"""The admin port and the metrics under load: from callers of their own, and from clients who make up names."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
from pathlib import Path

from proxy.admin.exposition import Exposition
from proxy.observe.board import Board, WorkerState
from proxy.observe.metrics import MOST, Metrics
from tests.faults.process import Process
from tests.figures import Figures
from tests.running import Proxy, running
from tests.serving import answering
from tests.wire import LOOPBACK, Wire

MB = 1 << 20
RULES = """
version: 1
rules:
  - name: token
    match: {path: /token/*}
    before:
      - verify_token: {keys: {secret: "${secret:shared}"}, algorithms: [HS256]}
  - name: limited
    match: {path: /limited/*}
    before:
      - limit: {key: "${request.path}", failures: 10000, per: 15m}
"""


async def ask(port: int, path: str) -> tuple[int, bytes]:
    wire = await Wire.open(port)
    await wire.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
    answer = await wire.message()
    await wire.close()
    return answer.status, answer.body


def admin_port(proxy: Proxy) -> int:
    return int(proxy.admin.rpartition(":")[2])


def admin_process(proxy: Proxy) -> Process:
    told = [json.loads(line) for line in proxy.raw]
    ready = [event for event in told if event["event"] == "admin-ready"] or [proxy.event("admin-ready")]
    return Process(ready[0]["pid"], admin_port(proxy))


async def test_a_storm_of_scrapes_costs_clients_and_probes_nothing(figures: Figures) -> None:
    scrapes, probes, requests = 600, 50, 300
    with answering() as upstream, running("--upstream", upstream, "--admin", f"{LOOPBACK}:0") as proxy:
        admin = admin_process(proxy)
        # The first look at the upstream may come after the first scrape, whose page is kept for a while.
        while b"vestibule_ready 1.0" not in (await ask(admin.port, "/metrics"))[1]:
            pass
        resident, descriptors = admin.resident(), admin.descriptors()

        async def repeat(port: int, path: str, times: int) -> list[int]:
            return [(await ask(port, path))[0] for _ in range(times)]

        scraped, live, ready, served = await asyncio.gather(
            asyncio.gather(*(ask(admin.port, "/metrics") for _ in range(scrapes))),
            repeat(admin.port, "/livez", probes),
            repeat(admin.port, "/readyz", probes),
            repeat(proxy.port, "/", requests),
        )
        assert [status for status, _ in scraped] == [200] * scrapes
        assert all(b"vestibule_ready 1.0" in page for _, page in scraped)
        assert (live, ready) == ([200] * probes, [200] * probes)
        figures.add("slow-clients", cases=requests, found=requests - served.count(200))
        assert served == [200] * requests
        assert admin.most_resident() - resident < 64 * MB
        while admin.descriptors() > descriptors:
            await ask(admin.port, "/livez")
        assert proxy.stop() == 0


def test_who_asks_for_the_metrics_at_once_gets_the_same_page() -> None:
    now = [100.0]
    exposition = Exposition(lambda at: b"%.1f" % at, lambda: now[0])
    assert exposition.page() == b"100.0"
    now[0] = 100.2
    assert exposition.page() == b"100.0"
    now[0] = 100.3
    assert exposition.page() == b"100.3"


async def test_no_name_that_a_client_makes_up_becomes_a_series(tmp_path: Path, figures: Figures) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    dice = random.Random(16)
    rounds, each = 20, 100

    def name() -> bytes:
        return b"CANARY-%x" % dice.getrandbits(64)

    def request() -> bytes:
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"%b"}' % name()).rstrip(b"=")
        claims = base64.urlsafe_b64encode(b'{"iss":"%b"}' % name()).rstrip(b"=")
        path = dice.choice((b"/token/", b"/limited/", b"/other/")) + name()
        lines = b"Host: %b.example\r\nAuthorization: Bearer %b.%b.AAAA\r\n%b: x" % (name(), head, claims, name())
        return b"GET %b HTTP/1.1\r\n%b\r\n\r\n" % (path, lines)

    env = {"VESTIBULE_SECRET_SHARED": "test-only-shared-secret-of-32-bytes"}
    words = ("--rules", rules, "--admin", f"{LOOPBACK}:0")
    with answering() as upstream, running("--upstream", upstream, *words, env=env) as proxy:

        async def play() -> None:
            statuses = set()
            wire = await Wire.open(proxy.port)
            await wire.send(b"".join(request() for _ in range(each)))
            for _ in range(each):
                statuses.add((await wire.message()).status)
            assert statuses == {200, 401}
            await wire.close()

        async def series() -> set[str]:
            """Give the names of all series, once all that was asked is counted."""
            while True:
                page = (await ask(admin_port(proxy), "/metrics"))[1].decode()
                found = dict(re.findall(r"^(vestibule_[^ ]+) (\S+)$", page, re.MULTILINE))
                asked = sum(float(value) for key, value in found.items() if key.startswith("vestibule_requests_total"))
                if asked == played * each:
                    return set(found)

        played = 1
        await play()
        before = await series()
        for _ in range(rounds):
            await play()
            played += 1
        after = await series()
        assert after == before
        assert "canary" not in "".join(after).lower()
        assert len(after) <= 1_000
        figures.add("canaries", cases=rounds * each)
        assert proxy.stop() == 0


def test_a_family_has_so_many_series_and_counts_what_is_beyond_under_other() -> None:
    metrics = Metrics()
    for number in range(3 * MOST):
        metrics.effect(f"service-{number}", "ok", 0.001)
    found = metrics.series.counters["effects"]
    assert len(found) == MOST + 1
    assert sum(found.values()) == 3 * MOST
    assert found["other", "other"] == 2 * MOST
    # All of it fits on the page that a worker tells of itself by.
    assert Board(1).tell_worker(0, WorkerState(series=metrics.series))
