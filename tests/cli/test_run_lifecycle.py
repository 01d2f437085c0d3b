"""A run under load: stopped, reloaded, replaced, robbed of its workers. No client may lose a request."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

import pytest

from tests.admin.test_admin import ask, eventually, metrics
from tests.figures import Figures
from tests.running import PATIENCE, ROOT, Lines, Proxy, command, run_command, running
from tests.serving import Load, answering

WORKERS = ("--workers", "2")
ADMIN = ("--admin", "127.0.0.1:0")
BROKEN = (
    "version: 1\nrules: [{nam: x}]\n",
    "version: 1\nru",
    "",
    "[" * 100_000,
    "version: 1\nrules: [{name: a, before: [{headers: {set: {X: '${nothing}'}}}]}]\n",
)


def write(path: Path, version: int) -> Path:
    """Write a file whose two rules say which version of it they are of: one on the way in, one on the way out."""
    aside = path.with_suffix(".aside")
    aside.write_text(
        f"""version: 1
rules:
  - name: one
    before: [{{response_headers: {{set: {{X-One: v{version}}}}}}}]
  - name: two
    after: [{{headers: {{set: {{X-Two: v{version}}}}}}}]
"""
    )
    aside.rename(path)
    return path


def is_of_one_version(status: int, headers: Message) -> str | None:
    one, two = headers["X-One"], headers["X-Two"]
    if status != 200:
        return f"the answer was {status}"
    return None if one == two and one is not None else f"rules of {one} and {two} met in one exchange"


def workers_of(proxy: Proxy) -> list[int]:
    pid = proxy.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def upstream() -> Iterator[str]:
    with answering() as address:
        yield address


# Stopping


def test_a_stop_under_load_loses_no_request(upstream: str, figures: Figures) -> None:
    with (
        running("--upstream", upstream, *WORKERS, *ADMIN, "--drain-delay", "1s", "--log-level", "info") as proxy,
        Load(proxy.port, until_refused=True) as load,
    ):
        admin = proxy.admin
        load.more(100)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.event("draining")
        answer = ask(admin, "/readyz")
        assert (answer.status, answer.json["reasons"][0]) == (503, "the proxy is stopping")
        # The listening sockets are still open, and every answer says that they will not be.
        assert proxy.call("GET", "/").headers["Connection"] == "close"
        load.join()
        assert load.tally.failures == []
        assert [proxy.event("stopped")["cut"] for _ in range(2)] == [0, 0]
        assert proxy.process.wait(PATIENCE) == 0
    figures.add("drain", cases=load.tally.answers, found=len(load.tally.failures))


def test_an_idle_run_ends_at_once_with_its_idle_connections(upstream: str) -> None:
    with (
        running("--upstream", upstream, "--drain", "1h") as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(65_536).endswith(b"ok")
        assert proxy.stop() == 0
        assert client.recv(65_536) == b""


def test_an_answer_that_the_client_is_slow_to_take_outlives_a_stop(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    size = 400_000
    rules.write_text(
        f"version: 1\nrules: [{{name: big, before: [{{respond: {{status: 200, text: {'x' * size}}}}}]}}]\n"
    )
    with (
        running("--upstream", "http://127.0.0.1:1", "--rules", rules) as proxy,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", proxy.port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        first = client.recv(1024)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.event("closed")
        rest = b"".join(iter(lambda: client.recv(65_536), b""))
        assert (first + rest).endswith(b"x" * size)
        assert proxy.process.wait(PATIENCE) == 0


def test_a_worker_that_does_not_end_is_killed_in_time(upstream: str) -> None:
    with running("--upstream", upstream, "--drain", "100ms") as proxy:
        [worker] = workers_of(proxy)
        os.kill(worker, signal.SIGSTOP)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.process.send_signal(signal.SIGINT)
        assert proxy.event("worker-killed")["worker"] == worker
        assert proxy.process.wait(PATIENCE) == 0


# Replacement


def test_a_run_that_takes_over_refuses_and_resets_nobody(upstream: str, tmp_path: Path, figures: Figures) -> None:
    flags = ("--upstream", upstream, *WORKERS, "--handover", tmp_path / "handover", "--drain-delay", "500ms")
    runs = 2
    with contextlib.ExitStack() as stack:
        before = stack.enter_context(running(*flags))
        load = stack.enter_context(Load(before.port))
        # It can be replaced when all its workers are ready, which is after the first of them is.
        while not (tmp_path / "handover").exists():
            load.more(1)
        load.more(50)
        for _ in range(runs):
            after = stack.enter_context(running(*flags))
            assert after.address == before.address
            before.event("closed")
            assert [before.event("stopped")["cut"] for _ in range(2)] == [0, 0]
            assert before.process.wait(PATIENCE) == 0
            load.more(50)
            before = after
        load.stop()
        assert load.tally.failures == []
    figures.add("replacement", cases=load.tally.answers, found=len(load.tally.failures))


def test_a_run_that_does_not_come_up_replaces_nothing(upstream: str, tmp_path: Path) -> None:
    path = tmp_path / "handover"
    with running("--upstream", upstream, "--handover", path) as proxy:
        while not path.exists():
            assert proxy.call("GET", "/").status == 200
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as asker:
            asker.settimeout(PATIENCE)
            asker.connect(str(path))
            data, descriptors, _, _ = socket.recv_fds(asker, 4096, 8)
            assert (json.loads(data), len(descriptors)) == (["127.0.0.1:0"], 1)
            for descriptor in descriptors:
                os.close(descriptor)
        assert proxy.call("GET", "/").status == 200
        assert proxy.stop() == 0
        assert '"draining"' in proxy.rest()


# Workers


def test_a_worker_that_is_killed_under_load_costs_only_what_ran_on_it(upstream: str, figures: Figures) -> None:
    with running("--upstream", upstream, *WORKERS, *ADMIN) as proxy, Load(proxy.port) as load:
        worker, killed = proxy.event("ready")["pid"], 3
        for _ in range(killed):
            load.more(50)
            os.kill(worker, signal.SIGKILL)
            assert proxy.event("worker-died", worker=worker)["again_in"] < 1
            worker = proxy.event("ready")["pid"]
        found = eventually(proxy, 'vestibule_workers{state="ready"}', 2)
        assert found["vestibule_worker_deaths_total"] == killed
        load.stop()
        # Each client has at most one request under way.
        assert len(load.tally.failures) <= 4 * killed
        assert all("200" not in failure for failure in load.tally.failures)
        lost = max(0, len(load.tally.failures) - 4 * killed)
        figures.add("replacement", cases=load.tally.answers, found=lost)


def test_a_worker_that_hangs_under_load_is_replaced_and_costs_only_what_ran_on_it(
    upstream: str, figures: Figures
) -> None:
    with running("--upstream", upstream, *WORKERS, *ADMIN, "--hang", "3s") as proxy, Load(proxy.port) as load:
        proxy.event("ready")
        load.more(50)
        [worker, *_] = workers_of(proxy)
        os.kill(worker, signal.SIGSTOP)
        # What is asked meanwhile is served by the other one, but for what the stopped one has taken.
        assert proxy.event("worker-hung")["worker"] == worker
        assert proxy.event("worker-died")["worker"] == worker
        assert proxy.event("ready")["pid"] != worker
        load.more(50)
        found = eventually(proxy, 'vestibule_workers{state="ready"}', 2)
        assert found["vestibule_worker_deaths_total"] == 1
        load.stop()
        # Each client has at most one request under way.
        assert len(load.tally.failures) <= 4
        assert proxy.stop() == 0
        assert proxy.rest().count('"worker-hung"') == 1
        figures.add("replacement", cases=load.tally.answers, found=max(0, len(load.tally.failures) - 4))


def test_a_worker_that_starts_after_a_reload_has_the_rules_of_the_reload(upstream: str, tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", 1)
    with running("--upstream", upstream, "--rules", rules) as proxy:
        write(rules, 2)
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reloaded")
        # Even when the files are no longer what they were.
        rules.write_text("broken")
        [worker] = workers_of(proxy)
        os.kill(worker, signal.SIGKILL)
        proxy.event("ready")
        assert proxy.call("GET", "/").headers["X-One"] == "v2"


# Reload


def reload(proxy: Proxy, rules: Path, number: int) -> None:
    """Reload on both workers; one file of ten is broken."""
    if number % 10 == 5:
        rules.write_text(BROKEN[number // 10 % len(BROKEN)])
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reload-failed")
    else:
        write(rules, number)
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reloaded")
        proxy.event("reloaded")


def tell_slowness(figures: Figures, took: list[float], quiet: int) -> None:
    """Write down how much slower answers are while rules are reloaded: the first `quiet` ones came before that.

    The first half of those is left out: it is slow because all is new.
    """
    still, moved = sorted(took[quiet // 2 : quiet]), sorted(took[quiet:])
    p99 = [times[int(0.99 * (len(times) - 1))] for times in (still, moved)]
    figures.add("reload-p99", cases=len(moved), found=round(p99[1] / p99[0], 2))


def resident(pids: list[int]) -> int:
    """Give the memory of processes in KiB."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("VmRSS"))


@pytest.mark.soak
def test_a_thousand_reloads_and_more_under_load_leave_nothing_behind(
    upstream: str, tmp_path: Path, figures: Figures, soaking: Callable[[], bool]
) -> None:
    rules = write(tmp_path / "rules.yaml", 0)
    with (
        running("--upstream", upstream, "--rules", rules, *WORKERS) as proxy,
        Load(proxy.port, judge=is_of_one_version) as load,
    ):
        proxy.event("ready")
        load.more(1000)
        number, warm, quiet = 0, 0, len(load.tally.took)
        while number < 1000 or soaking():
            number += 1
            reload(proxy, rules, number)
            if number == 200:
                warm = resident(workers_of(proxy))
        grown = resident(workers_of(proxy)) - warm
        load.stop()
        assert load.tally.failures == []
        # Less than a KiB for each reload of each worker: a version that is not let go takes a hundred.
        assert grown < 2 * number
    tell_slowness(figures, load.tally.took, quiet)
    figures.add("reload", cases=load.tally.answers, found=len(load.tally.failures))


def test_reloads_under_load_lose_no_request_and_mix_no_rules(upstream: str, tmp_path: Path, figures: Figures) -> None:
    rules = write(tmp_path / "rules.yaml", 0)
    count = 60
    with (
        running("--upstream", upstream, "--rules", rules, *WORKERS, *ADMIN) as proxy,
        Load(proxy.port, judge=is_of_one_version) as load,
    ):
        proxy.event("ready")
        load.more(400)
        quiet = len(load.tally.took)
        for number in range(1, count + 1):
            reload(proxy, rules, number)
        tell_slowness(figures, load.tally.took, quiet)
        answer = proxy.call("GET", "/")
        assert (answer.headers["X-One"], answer.headers["X-Two"]) == (f"v{count}", f"v{count}")
        found = eventually(proxy, 'vestibule_reloads_total{result="taken"}', count - count // 10)
        assert found['vestibule_reloads_total{result="refused"}'] == count // 10
        assert found["vestibule_rules_reload_ok"] == 1
        load.stop()
        assert load.tally.failures == []
        assert load.tally.answers > count
    figures.add("reload", cases=load.tally.answers, found=len(load.tally.failures))


def test_a_reload_that_is_asked_for_while_a_run_starts_is_done_when_it_has(upstream: str, tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", 1)
    words = ("--listen", "127.0.0.1:0", "--upstream", upstream, "--rules", str(rules))
    with command("run", *words) as process:
        proxy = Proxy(process, Lines(process.stdout), Lines(process.stderr))
        while not (line := proxy.err.next("where it listens")).startswith("  listening on  "):
            pass
        # It has built its rules, and nobody serves yet.
        proxy.address = line.split()[-1]
        write(rules, 2)
        process.send_signal(signal.SIGHUP)
        proxy.event("ready")
        while proxy.call("GET", "/").headers["X-Two"] != "v2":
            pass
        assert proxy.stop() == 0


def test_reloads_that_come_faster_than_they_are_done_end_with_the_last_file(upstream: str, tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", 0)
    with running("--upstream", upstream, "--rules", rules) as proxy:
        for number in range(1, 30):
            write(rules, number)
            proxy.process.send_signal(signal.SIGHUP)
        while proxy.call("GET", "/").headers["X-Two"] != "v29":
            proxy.event("reloaded")
        assert proxy.stop() == 0
        assert proxy.rest().count('"reload-failed"') == 0


def test_a_file_that_cannot_be_used_keeps_the_last_good_rules(upstream: str, tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.yaml", 1)
    with running("--upstream", upstream, "--rules", rules, *ADMIN) as proxy:
        whole = rules.read_text()

        def half() -> None:
            rules.write_text(whole[: len(whole) // 2])

        def folder() -> None:
            rules.unlink()
            rules.mkdir()

        def device() -> None:
            rules.rmdir()
            rules.symlink_to("/dev/zero")

        def gone() -> None:
            rules.unlink()

        def no_text() -> None:
            rules.write_bytes(b"version: 1\n\xff")

        for break_it in (half, folder, device, gone, no_text):
            break_it()
            proxy.process.send_signal(signal.SIGHUP)
            assert proxy.event("reload-failed")["kept"]
            assert proxy.call("GET", "/").headers["X-Two"] == "v1"
        found = eventually(proxy, 'vestibule_reloads_total{result="refused"}', 5)
        assert found["vestibule_rules_reload_ok"] == 0
        write(rules, 2)
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reloaded")
        eventually(proxy, "vestibule_rules_reload_ok", 1)


# What is not there


def test_a_run_starts_while_everything_it_needs_is_down_and_recovers_by_itself(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "version: 1\n"
        "rules: [{name: guess, match: {path: /guess}, before: [{limit: {key: one, failures: 5, per: 15m}}]}]\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = ("--store", "redis://127.0.0.1:1", "--admin", f"unix:{tmp_path}/admin")
    with running("--upstream", f"http://127.0.0.1:{port}", "--rules", rules, *store) as proxy:
        assert proxy.call("GET", "/").status == 502
        assert proxy.call("GET", "/guess").status == 503
        # The rules that need the store deny; others, and a reload, do not wait for it.
        rules.write_text(rules.read_text().replace("/guess", "/other"))
        proxy.process.send_signal(signal.SIGHUP)
        proxy.event("reloaded")
        assert proxy.call("GET", "/guess").status == 502
        code, _, said = run_command("healthcheck", *store[2:])
        assert (code, said.strip()) == (1, "the upstream cannot be reached")
        with answering(port):
            assert proxy.call("GET", "/guess").status == 200
            assert proxy.call("GET", "/other").status == 503
            proxy.event("upstream-reached")
            assert run_command("healthcheck", *store[2:])[0] == 0
        assert proxy.stop() == 0
    code, _, said = run_command("healthcheck", *store[2:])
    assert (code, said.strip()) == (1, f"unix:{tmp_path}/admin does not answer as an admin port")


@pytest.mark.parametrize("upstream", ["http://no-such-host.invalid:80", "http://127.0.0.1:1"], ids=["name", "address"])
def test_a_run_whose_upstream_is_not_there_starts_and_says_so(upstream: str) -> None:
    with running("--upstream", upstream, *ADMIN) as proxy:
        assert proxy.call("GET", "/").status == 502
        assert ask(proxy.admin, "/livez").status == 200
        answer = ask(proxy.admin, "/readyz")
        assert (answer.status, answer.json["reasons"]) == (503, ["the upstream cannot be reached"])
        found = metrics(proxy)
        assert (found["vestibule_ready"], found["vestibule_upstream_up"]) == (0, 0)
        assert proxy.stop() == 0
    with running("--upstream", upstream, *ADMIN, "--admin-ready", "workers") as proxy:
        assert ask(proxy.admin, "/readyz").status == 200


def test_a_run_whose_upstream_goes_is_not_ready_until_it_is_back_and_needs_nobody_for_that() -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(answering())
        port = int(first.rpartition(":")[2])
        with running("--upstream", first, *WORKERS, *ADMIN, "--upstream-pool-idle", "1ms") as proxy:
            for _ in range(2):
                eventually(proxy, "vestibule_ready", 1)
                assert proxy.call("GET", "/").status == 200
                stack.close()
                # A connection that stands may serve once more; the first that must be made anew finds out.
                while proxy.call("GET", "/").status != 502:
                    continue
                eventually(proxy, "vestibule_ready", 0)
                assert ask(proxy.admin, "/livez").status == 200
                stack.enter_context(answering(port))
            eventually(proxy, "vestibule_ready", 1)
            assert proxy.stop() == 0


def test_a_run_needs_no_place_to_write_and_no_privilege(upstream: str) -> None:
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups") if os.getuid() == 0 else ()
    if subprocess.run([*nobody, sys.executable, "-c", "import proxy"], cwd=ROOT, check=False).returncode:
        pytest.skip("another user cannot read this checkout, so none can serve from it")
    nowhere = {"TMPDIR": "/proc", "HOME": "/proc", "PYTHONDONTWRITEBYTECODE": "1"}
    with running("--upstream", upstream, env=nowhere, cwd=Path("/proc"), under=nobody) as proxy:
        owner = Path(f"/proc/{proxy.process.pid}").stat().st_uid
        assert owner == (os.getuid() or 65534)
        assert proxy.call("GET", "/").status == 200
        assert proxy.stop() == 0
