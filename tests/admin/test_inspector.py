"""The inspector without a browser: who may use it, what it is told, and that trying something stays a try."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from tests.admin.inspecting import LOGIN, PASSWORD, SITE, Inspected, inspected, inspected_alone
from tests.running import PATIENCE, ROOT, run_command, running
from tests.serving import answering

PAGES = sorted(file.name for file in resources.files("proxy.admin").joinpath("static").iterdir())
APIS = ["exchanges", "exchanges/1", "exchanges/1/trace", "exchanges/1/case", "rules", "health", "stream"]
TRY = {
    "request": {"method": "POST", "path": LOGIN, "headers": SITE, "json": {"username": "a@mailinator.com"}},
    "upstream": {"status": 401},
}


@pytest.fixture(scope="module")
def run() -> Iterator[Inspected]:
    with inspected() as run:
        yield run


# Who may use it


def test_without_the_setting_there_is_no_inspector_and_nothing_is_kept() -> None:
    with (
        answering() as upstream,
        running("--upstream", upstream, "--admin", "127.0.0.1:0", "--admin-ready", "workers") as proxy,
    ):
        run = Inspected(proxy)
        assert not any("inspector" in line for line in proxy.greeting)
        assert {run.ask(path).status for path in ("/inspect/", "/inspect", "/inspect/api/exchanges")} == {404}


def test_an_inspector_without_an_admin_port_keeps_a_run_from_starting() -> None:
    code, _, err = run_command("run", "--upstream", "http://127.0.0.1:1", "--inspect", "10")
    assert code == 3
    assert "admin.inspect: the inspector is on the admin port" in err


@pytest.mark.parametrize("name", [*PAGES, *(f"api/{path}" for path in APIS)])
@pytest.mark.parametrize(
    ("headers", "status"), [({"Host": "shop.example"}, 421), ({"Host": "localhost", "Origin": "http://a.example"}, 403)]
)
def test_another_page_in_the_browser_of_an_operator_gets_nothing(
    run: Inspected, name: str, headers: dict[str, str], status: int
) -> None:
    assert run.ask(f"/inspect/{name}", headers).status == status


@pytest.mark.parametrize("name", ["", *(name for name in PAGES if name != "index.html")])
def test_a_page_may_load_nothing_but_its_own_files(run: Inspected, name: str) -> None:
    answer = run.ask(f"/inspect/{name}")
    assert answer.status == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert b"://" not in answer.body.replace(b"http://www.w3.org/2000/svg", b"").replace(b"://${record.host}", b"")


@pytest.mark.parametrize(
    "path",
    [
        "../guard.py", "..%2fguard.py", "%2e%2e/guard.py", "..\\guard.py", "/etc/passwd", "%2fetc%2fpasswd",
        "index.html", "style.css/", "style.css%00", "static/style.css", ".", "..",
    ],
)  # fmt: skip
def test_no_path_leads_to_another_file(run: Inspected, path: str) -> None:
    answer = run.ask(f"/inspect/{path}")
    assert answer.status in (400, 404)
    assert b"root:" not in answer.body
    assert b"hmac" not in answer.body


def test_with_a_token_pages_show_themselves_and_nothing_else() -> None:
    token = {"VESTIBULE_SECRET_ADMIN": "test-only-token"}
    words = ("--upstream", "http://127.0.0.1:1", "--admin", "0.0.0.0:0", "--admin-token", "admin", "--inspect", "9")
    with running(*words, "--admin-ready", "workers", env=token) as proxy:
        proxy.greeting = [line.replace("0.0.0.0", "127.0.0.1") for line in proxy.greeting]
        assert any(
            line.endswith("#token=…, the last 9 exchanges with what is secret replaced") for line in proxy.greeting
        )
        run = Inspected(proxy)
        for name in ("", *(name for name in PAGES if name != "index.html")):
            assert run.ask(f"/inspect/{name}").status == 200
        for path in (*APIS, "try", "nothing"):
            assert run.ask(f"/inspect/api/{path}").status == 401
            assert run.ask(f"/inspect/api/{path}?token=test-only-token").status == 401
        assert run.post("try", TRY).status == 401
        assert run.ask("/inspect/api/health", {"Authorization": "Bearer test-only-token"}).status == 200
        assert proxy.stop() == 0
        assert "test-only" not in proxy.rest() + proxy.err.rest()


# What it is told


def test_an_exchange_of_any_worker_is_told_as_soon_as_it_is_over(run: Inspected) -> None:
    last = run.last()
    workers = set()
    for _ in range(50):
        assert run.login().status == 200
        row = run.seen(last)
        last = row["n"]
        workers.add(run.get(f"exchanges/{last}")["pid"])
        if len(workers) == 2:
            break
    assert len(workers) == 2, "the kernel gave all connections to one worker"
    assert (row["status"], row["operation"], row["by"]) == (200, "createUserAuthTicket", "upstream")
    assert "ticket-to-bearer" in row["ran"]
    assert row["own"] > 0
    assert row["upstream"] > 0


def test_the_oldest_are_let_go_of(run: Inspected) -> None:
    for _ in range(60):
        run.proxy.call("GET", "/nothing")
    while (found := run.get("exchanges"))["last"] < 60:
        run.event(found["last"])
    assert len(found["rows"]) == found["most"] == 50
    assert found["first"] == found["last"] - 49
    assert run.ask(f"/inspect/api/exchanges/{found['first'] - 1}").status == 404
    assert run.ask("/inspect/api/exchanges/999999999999").status == 404


def test_what_is_secret_is_nowhere(run: Inspected) -> None:
    last = run.last()
    answer = run.login()
    ticket = answer.json["jwtAccessToken"]
    cookie = answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    n = run.seen(last)["n"]
    for path in ("exchanges", f"exchanges/{n}", f"exchanges/{n}/trace", f"exchanges/{n}/case", "rules", "health"):
        body = run.ask(f"/inspect/api/{path}").body.decode()
        assert body
        for secret in (PASSWORD, cookie, ticket, ticket.rpartition(".")[2], answer.json["accessToken"]):
            assert secret not in body, path


def test_a_rule_that_did_not_match_is_told_with_the_condition_and_what_it_saw(run: Inspected) -> None:
    last = run.last()
    run.login()
    result = run.get(f"exchanges/{run.seen(last)['n']}/trace")
    rules = {rule["name"]: rule for rule in result["trace"]["rules"]}
    assert rules["applications-only"]["state"] == "no match"
    [failed] = [one for one in rules["applications-only"]["conditions"] if not one["held"]]
    assert (failed["key"], failed["wanted"], failed["saw"]) == ("context siteId", "3", "2")
    assert rules["ticket-to-bearer"]["state"] == "ran"
    assert result.get("notes", []) == []


def test_a_saved_exchange_is_a_case_that_passes(run: Inspected, tmp_path: Path) -> None:
    exchanges = [("jane@example.com", PASSWORD), ("jane@example.com", "wrong"), ("x@mailinator.com", "x")]
    folder = tmp_path / "kibo"
    folder.mkdir()
    for file in (ROOT / "rules" / "kibo").glob("*.yaml"):
        if not file.name.endswith(".test.yaml"):
            (folder / file.name).write_text(file.read_text())
    for name, password in exchanges:
        last = run.last()
        status = run.login(name, password).status
        answer = run.ask(f"/inspect/api/exchanges/{run.seen(last)['n']}/case")
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
        (folder / f"saved-{status}.test.yaml").write_bytes(answer.body)
        assert f"status: {status}" in answer.body.decode().partition("expect:")[2]
    code, out, err = run_command("test", folder)
    assert (code, err) == (0, ""), out + err
    assert run_command("fmt", "--check", folder)[0] == 0


def test_rules_are_told_with_their_source_and_what_became_of_them(run: Inspected) -> None:
    last = run.last()
    run.login("x@mailinator.com")
    n = run.seen(last)["n"]
    rules = {rule["name"]: rule for rule in run.get("rules")["rules"]}
    while not rules["refuse-disposable-mail"].get("hits"):
        rules = {rule["name"]: rule for rule in run.get("rules")["rules"]}
    rule = rules["refuse-disposable-mail"]
    assert rule["text"].startswith("- name: refuse-disposable-mail\n")
    lines = (ROOT / rule["file"]).read_text().splitlines()
    assert lines[rule["line"] - 1].strip() == "- name: refuse-disposable-mail"
    assert rule["outcomes"]["denied"] >= 1
    assert (rule["last_n"], rule["last"] > 0, rule["p99"] > 0) == (n, True, True)
    assert "hits" not in rules["forget-a-refresh-token"]


def test_health_is_that_of_the_whole_run(run: Inspected) -> None:
    health = run.get("health")
    assert (health["ready"], health["reached"], len(health["workers"])) == (True, True, 2)
    assert {worker["rules"] for worker in health["workers"]} == {13}
    assert "sqlite" in health["store"]


# Trying


def test_a_try_says_what_would_come_of_it_and_sends_nothing(run: Inspected) -> None:
    last = run.last()
    answer = run.post("try", TRY)
    assert answer.status == 200
    decision = answer.json["trace"]["decision"]
    assert (decision["status"], decision["rule"], decision["denied"]) == (403, "refuse-disposable-mail", True)
    assert run.last() == last


def test_edited_rules_hold_for_one_try(run: Inspected) -> None:
    [source] = [one for one in run.get("rules")["sources"] if "refuse-disposable-mail" in one["text"]]
    edited = source["text"].replace("mailinator.com", "example.org")
    tried = run.post("try", {**TRY, "sources": {source["name"]: edited}}).json
    assert tried["trace"]["decision"]["by"] == "upstream"
    assert run.post("try", TRY).json["trace"]["decision"]["rule"] == "refuse-disposable-mail"
    broken = run.post("try", {**TRY, "sources": {source["name"]: source["text"].replace("deny:", "denny:", 1)}}).json
    assert broken["refused"] == "the rules have errors"
    [problem] = [one for one in broken["problems"] if one["severity"] == "error"]
    assert (problem["source"], problem["suggestion"]) == (source["name"], "deny")
    assert run.post("try", {**TRY, "sources": {"/etc/passwd": ""}}).status == 422


def test_edited_rules_get_no_secret_of_the_operator() -> None:
    rules = "version: 1\nrules: [{name: one, before: [{headers: {set: {x-key: '${secret:admin}'}}}]}]\n"
    with inspected_alone(rules, {"VESTIBULE_SECRET_ADMIN": "canary-secret-of-the-operator"}) as run:
        tried = run.post("try", {"request": {"path": "/"}})
        assert dict(tried.json["trace"]["forwarded"]["headers"])["x-key"].startswith("test-only-admin-")
        assert b"canary" not in tried.body
        [trial] = Path(f"/proc/{run.admin}/task/{run.admin}/children").read_text().split()
        environment = Path(f"/proc/{trial}/environ").read_text()
        assert "PYTHONPATH=" in environment
        assert "VESTIBULE" not in environment


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://shop.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Host": "shop.example"}, 421),
    ],
)
def test_a_try_comes_from_a_page_of_this_address_alone(run: Inspected, headers: dict[str, str], status: int) -> None:
    assert run.post("try", TRY, headers).status == status


def test_a_try_that_does_not_say_where_it_comes_from_is_refused(run: Inspected) -> None:
    body = json.dumps(TRY).encode()
    headers = {"Content-Type": "application/json"}
    assert run.ask("/inspect/api/try", headers, method="POST", body=body).status == 403


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"request": 1}', b"[" * 100_000, b'{"request": {"path": 7}}'])
def test_a_try_that_is_none_is_refused_in_words(run: Inspected, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Origin": run.proxy.admin}
    answer = run.ask("/inspect/api/try", headers, method="POST", body=body)
    assert answer.status == 422 or "refused" in answer.json


def test_a_try_is_bounded_in_size(run: Inspected) -> None:
    assert run.post("try", {"request": {"path": "/", "body": "x" * (1 << 20)}}).status == 413


def test_a_try_is_bounded_in_time_and_the_port_answers_meanwhile(run: Inspected) -> None:
    [source] = [one for one in run.get("rules")["sources"] if "refuse-disposable-mail" in one["text"]]
    # A build that takes much longer than a trial may compute.
    rule = '\n  - name: n{}\n    before: [{{set: {{x{}: "${{request.headers.size() + {}}}"}}}}]'
    endless = source["text"].rstrip() + "".join(rule.format(n, n, n) for n in range(9000)) + "\n"
    connection = http.client.HTTPConnection(run.proxy.admin.removeprefix("http://"), timeout=PATIENCE)
    headers = {"Content-Type": "application/json", "Origin": run.proxy.admin}
    try:
        connection.request(
            "POST", "/inspect/api/try", json.dumps({**TRY, "sources": {source["name"]: endless}}), headers
        )
        assert run.ask("/livez").status == 200
        answer = connection.getresponse()
        refused = json.loads(answer.read())["refused"]
    finally:
        connection.close()
    assert refused == "it took too much, and its process was ended"
    assert run.post("try", TRY).json["trace"]["decision"]["rule"] == "refuse-disposable-mail"


def test_the_list_goes_on_when_the_process_that_shows_it_is_killed() -> None:
    with inspected() as run:
        run.login()
        assert run.seen(0)["n"] == 1
        os.kill(run.admin, signal.SIGKILL)
        run.proxy.event("admin-died")
        run.proxy.event("admin-ready")
        run.login("x@mailinator.com")
        assert run.seen(0)["rule"] == "refuse-disposable-mail"
        assert run.proxy.stop() == 0


def test_a_run_stops_while_pages_listen() -> None:
    with inspected() as run:
        connection = http.client.HTTPConnection(run.proxy.admin.removeprefix("http://"), timeout=PATIENCE)
        connection.request("GET", "/inspect/api/stream")
        response = connection.getresponse()
        assert response.readline() == b"event: rows\n"
        assert run.proxy.stop() == 0
        assert b"event" not in response.read()
        connection.close()
