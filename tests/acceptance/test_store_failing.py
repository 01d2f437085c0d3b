"""A Redis that fails in other ways than by being gone: each is answered as the rules declare, and when it is well again
all goes on without a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.figures import Figures
from tests.running import Proxy, running
from tests.services.store.valkey import Server, serving
from tests.storing import WORKERS

from .services import Call, Reply, Service, service

SECRET = "test-only-ticket"
PASSWORD = "test-only-password"
ENV = {"VESTIBULE_SECRET_STORE_KEY": "test-only-store-key"}
RULES = """
version: 1
rules:
  - name: closed
    match: {path: /closed}
    timeout: 500ms
    before: [{limit: {key: anybody, failures: 1000, per: 15m}}]
  - name: shared
    match: {path: /shared}
    timeout: 500ms
    before: [{once: {key: everybody, ttl: 1ms}}]
  - name: withheld
    match: {path: /withheld}
    timeout: 500ms
    after: [{challenge: {any: [email], subject: jane}}]
  - name: open
    match: {path: /open}
    timeout: 500ms
    on_error: continue
    before: [{cache_set: {key: k, value: v, ttl: 60s}}, {headers: {set: {X-Stored: "yes"}}}]
"""
FACTORS = "factors: {email: {to: jane@example.com, send: {url: '%s/send', method: POST, json: {code: '${code}'}}}}\n"
# Declared closed, and open: what each answers while the store works, and while it does not.
WELL = {"/closed": {200}, "/shared": {200}, "/withheld": {401}, "/open": {200}, "/other": {200}}
ILL = {"/closed": {503, 504}, "/shared": {503, 504}, "/withheld": {503, 504}, "/open": {200}, "/other": {200}}
# A limit's script has written before it asks for room, and Redis lets it go on: it still counts, and so still limits.
FULL = {**ILL, "/closed": {200}}


def give(_: Call) -> Reply:
    return Reply(200, {"jwtAccessToken": SECRET})


class Trial:
    """A proxy before a store that a test makes ill; `wrong` is all that was not answered as declared."""

    def __init__(self, proxy: Proxy, upstream: Service) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.cases = 0
        self.wrong: list[str] = []

    def finds(self, expected: dict[str, set[int]], state: str, says: str = "") -> None:
        """Call every path a few times, so that each worker has its turn."""
        for path, statuses in expected.items():
            for _ in range(4):
                self.upstream.calls.clear()
                answer = self.proxy.call("GET", path)
                stored = [call.headers.get("X-Stored") for call in self.upstream.calls]
                told = SECRET in answer.body.decode()
                well = answer.status in statuses and told == (answer.status == 200)
                # Refused before it was forwarded, and an open rule leaves nothing half done.
                if 200 not in statuses and path in ("/closed", "/shared"):
                    well = well and stored == []
                elif path == "/open":
                    well = well and stored == ["yes" if expected is WELL else None]
                self.cases += 1
                if not well:
                    self.wrong.append(f"{state}: {path} was answered {answer.status}, forwarded {len(stored)} times")
                elif says and answer.status in (503, 504):
                    cause = self.proxy.event("exchange", id=answer.headers["x-correlation-id"])["cause"]
                    assert says in cause, cause

    def recovers(self, state: str) -> None:
        """Go on as before; connections of the store's bad time may cost a call each."""
        for _ in range(50):
            if self.proxy.call("GET", "/closed").status == 200:
                break
        self.finds(WELL, f"after {state}")


@contextmanager
def trial(folder: Path, store: str, figures: Figures) -> Iterator[Trial]:
    rules = folder / "rules.yaml"
    with service(give) as upstream:
        rules.write_text(RULES + FACTORS % upstream.url)
        flags = ("--upstream", upstream.url, "--rules", rules, *WORKERS, "--store", store)
        with running(*flags, env=ENV) as proxy:
            proxy.event("ready")
            trial = Trial(proxy, upstream)
            yield trial
            assert proxy.stop() == 0
            said = proxy.rest() + proxy.err.rest()
            assert SECRET not in said
            assert PASSWORD not in said
            assert "Traceback" not in said
    figures.add("faults", cases=trial.cases, found=len(trial.wrong))
    assert trial.wrong == []


Ailing = Callable[[Server], None]
Illness = tuple[Ailing, Ailing, dict[str, set[int]], str]


def become_replica(server: Server) -> None:
    server.ask("REPLICAOF", "127.0.0.1", "1")


def be_primary(server: Server) -> None:
    server.ask("REPLICAOF", "NO", "ONE")


def hold_writes(server: Server) -> None:
    server.ask("CLIENT", "PAUSE", 600_000, "WRITE")


def let_writes(server: Server) -> None:
    server.ask("CLIENT", "UNPAUSE")


def be_full(server: Server) -> None:
    server.ask("CONFIG", "SET", "maxmemory", "1")


def have_room(server: Server) -> None:
    server.ask("CONFIG", "SET", "maxmemory", "0")


def ask_for_password(server: Server) -> None:
    server.ask("CONFIG", "SET", "requirepass", PASSWORD)
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        client.client_kill_filter(_type="normal", skipme=True)


def ask_for_none(server: Server) -> None:
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        client.config_set("requirepass", "")


ILLNESSES: dict[str, Illness] = {
    "a replica": (become_replica, be_primary, ILL, "is a replica, which cannot be written"),
    "slow": (hold_writes, let_writes, ILL, ""),
    "full": (be_full, have_room, FULL, "is full"),
    "refusing": (ask_for_password, ask_for_none, ILL, "refused the user or the password"),
}


@pytest.mark.parametrize("illness", ILLNESSES)
def test_a_store_that_is_ill_is_answered_as_declared_until_it_is_well(
    illness: str, tmp_path: Path, figures: Figures
) -> None:
    fall_ill, get_well, expected, says = ILLNESSES[illness]
    with serving(tmp_path) as server, trial(tmp_path, server.url, figures) as run:
        run.finds(WELL, "at first")
        for _ in range(2):
            fall_ill(server)
            run.finds(expected, illness, says)
            get_well(server)
            run.recovers(illness)


def test_a_store_that_flaps_is_answered_as_declared_each_time(tmp_path: Path, figures: Figures) -> None:
    with serving(tmp_path) as server:
        port, url = server.port, server.url
    with trial(tmp_path, url, figures) as run:
        # It is not even there when the run starts.
        run.finds(ILL, "never there", "cannot be reached")
        for turn in range(5):
            with serving(tmp_path, at=port) as server:
                run.recovers(f"down {turn}")
                # Connections that are cut while it stays up cost at most the calls that were on them.
                server.ask("CLIENT", "KILL", "TYPE", "normal")
                run.recovers(f"cut {turn}")
            run.finds(ILL, f"down {turn}", "cannot be reached")
