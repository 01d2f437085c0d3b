"""A server of the store is killed under the load of two instances: every answer is one that the rules declare, who was
locked out stays so, who was at a second factor goes on, and the instances need no restart.
"""

from __future__ import annotations

import http.client
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from email.message import Message
from pathlib import Path
from typing import Self

from tests.figures import Figures
from tests.running import PATIENCE, Proxy, running
from tests.services.store.valkey import clustered, serving
from tests.serving import Load

from .services import Call, Reply, Service, service

RULES = """
version: 1
factors:
  email: {{to: "${{response.body.mail}}", send: {{url: "{mail}/send", method: POST, json: {{code: "${{code}}"}}}}}}
rules:
  - name: counted
    match: {{path: /guess}}
    timeout: 500ms
    before: [{{limit: {{key: "${{request.headers['user']}}", failures: 10000, per: 10m}}}}]
  - name: lock-out
    match: {{path: /locked}}
    timeout: 500ms
    before: [{{limit: {{key: "${{request.headers['user']}}", failures: 1, per: 10m}}}}]
  - name: one-call
    match: {{path: /session}}
    timeout: 500ms
    before: [{{once: {{key: "${{request.headers['user']}}", ttl: 5m}}}}]
  - name: open
    match: {{path: /open}}
    timeout: 500ms
    on_error: continue
    before: [{{cache_set: {{key: "${{request.headers['user']}}", value: v, ttl: 60s}}}}]
  - name: step-up
    match: {{path: /login}}
    after: [{{challenge: {{factor: email, subject: "${{response.body.mail}}"}}}}]
"""
HOST = {"Host": "shop.example"}
ENV = {"VESTIBULE_SECRET_STORE_KEY": "test-only-store-key"}
# What each is answered while all is well, and whether the rules declare a refusal for while the store is not.
WELL = {"/guess": 401, "/locked": 429, "/session": 200, "/open": 200, "/other": 200}
REFUSED = {"/guess", "/locked", "/session"}
# They are spread over all nodes.
USERS = [f"user-{number}" for number in range(16)]
# What was written stays when the server is killed: this is about the proxy and not about what Valkey forgets.
DURABLE = ("--appendonly", "yes", "--appendfsync", "no")


def answer(call: Call) -> Reply:
    return Reply(401 if call.path in ("/guess", "/locked") else 200, {"mail": "jane@example.com"})


class Trial:
    """Two instances under load, a client for each path at each; `found` counts every answer by path and status."""

    def __init__(self, proxies: list[Proxy], mail: Service) -> None:
        self.found: Counter[tuple[str, int]] = Counter()
        self._proxies = proxies
        self._mail = mail
        self._loads = {(proxy.port, path): self._load(proxy, path) for proxy in proxies for path in WELL}

    def _load(self, proxy: Proxy, path: str) -> Load:
        users = itertools.cycle(["jane"] if path == "/locked" else USERS)

        def send(connection: http.client.HTTPConnection) -> None:
            connection.request("POST", path, headers={**HOST, "User": next(users)})

        def judge(status: int, _: Message) -> str | None:
            self.found[path, status] += 1
            declared = status == WELL[path] or (path in REFUSED and status in (503, 504))
            return None if declared else f"{path} was answered {status}"

        return Load(proxy.port, clients=1, send=send, judge=judge)

    def __enter__(self) -> Self:
        for load in self._loads.values():
            load.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for load in self._loads.values():
            load.stop()

    @property
    def wrong(self) -> list[str]:
        return [failure for load in self._loads.values() for failure in load.tally.failures]

    @property
    def refused(self) -> int:
        return sum(count for (_, status), count in self.found.items() if status in (503, 504))

    def goes_on(self) -> None:
        """Wait until both instances have answered some more; that is how long a state is looked at."""
        for proxy in self._proxies:
            self._loads[proxy.port, "/guess"].more(10)

    def withhold(self) -> dict[str, str]:
        """Log in for everybody; gives what it takes to go on, a token with its code."""
        found = {}
        for _, proxy in zip(USERS, itertools.cycle(self._proxies), strict=False):
            answer = proxy.call("POST", "/login", None, HOST)
            assert answer.status == 401
            found[answer.json["challenge_token"]] = self._mail.calls[-1].json["code"]
        self.goes_on()
        return found

    def go_on(self, withheld: dict[str, str]) -> None:
        """Go on with every login at each instance: it works once, wherever it was begun."""
        for token, code in withheld.items():
            proof = {"challenge_token": token, "code": code}
            answers = [proxy.call("POST", "/.vestibule/challenge", proof, HOST) for proxy in self._proxies]
            assert sorted(answer.status for answer in answers) == [200, 401]

    def is_well(self) -> None:
        """Wait until everybody is served at both instances, and see that it stays so."""
        self._until(lambda served: all(served.values()))
        before = self.refused
        self.goes_on()
        assert self.refused == before

    def is_ill(self, *, for_all: bool) -> None:
        """Wait until nobody is served at any instance, or the same ones at both."""
        self._until(lambda served: not any(served.values()) if for_all else len(set(served.values())) == 2)
        before = self.refused
        self.goes_on()
        assert self.refused > before

    def _until(self, holds: Callable[[dict[str, bool]], bool]) -> None:
        """Ask for everybody at both instances until both say the same, and it is what is waited for."""
        end = time.monotonic() + PATIENCE
        while True:
            answers = {user: {self._status(proxy, user) for proxy in self._proxies} for user in USERS}
            agreed = all(statuses == {401} or statuses <= {503, 504} for statuses in answers.values())
            if agreed and holds({user: statuses == {401} for user, statuses in answers.items()}):
                return
            assert time.monotonic() < end, answers

    @staticmethod
    def _status(proxy: Proxy, user: str) -> int:
        return proxy.call("POST", "/guess", None, {**HOST, "User": user}).status


@contextmanager
def trial(folder: Path, store: str, figures: Figures) -> Iterator[Trial]:
    rules = folder / "rules.yaml"
    with ExitStack() as stack:
        upstream, mail = stack.enter_context(service(answer)), stack.enter_context(service(lambda _: Reply(202)))
        rules.write_text(RULES.format(mail=mail.url))
        flags = ("--upstream", upstream.url, "--rules", rules, "--store", store)
        proxies = [stack.enter_context(running(*flags, env=ENV)) for _ in range(2)]
        # What is to be remembered: the only try of the locked one, and the calls that are shared.
        assert proxies[0].call("POST", "/locked", None, {**HOST, "User": "jane"}).status == 401
        for user in USERS:
            assert proxies[0].call("POST", "/session", None, {**HOST, "User": user}).status == 200
        with Trial(proxies, mail) as run:
            run.is_well()
            yield run
        for proxy in proxies:
            assert proxy.stop() == 0
            assert "Traceback" not in proxy.rest() + proxy.err.rest()
        figures.add("faults", cases=sum(run.found.values()), found=len(run.wrong))
        assert run.wrong == []
        calls = Counter(call.path for call in upstream.calls)
        assert calls["/locked"] == 1
        assert calls["/session"] == len(USERS)


def test_a_server_that_is_killed_under_load_gives_only_what_is_declared(tmp_path: Path, figures: Figures) -> None:
    with serving(tmp_path, *DURABLE) as server, trial(tmp_path, server.url, figures) as run:
        withheld = run.withhold()
        server.process.kill()
        server.process.wait()
        run.is_ill(for_all=True)
        with serving(tmp_path, *DURABLE, at=server.port):
            run.is_well()
            run.go_on(withheld)


def test_so_does_a_node_of_a_cluster(tmp_path: Path, figures: Figures) -> None:
    options = ("--cluster-node-timeout", "500", "--cluster-require-full-coverage", "no", *DURABLE)
    with clustered(tmp_path, *options) as cluster:
        cluster.replica(of=0)
        with trial(tmp_path, cluster.url, figures) as run:
            withheld = run.withhold()
            cluster.kill(0)
            # Its replica takes its place.
            run.is_well()
            run.go_on(withheld)
            cluster.kill(1)
            # It had none: what it holds is away, and nothing else.
            run.is_ill(for_all=False)
            cluster.again(1)
            run.is_well()
