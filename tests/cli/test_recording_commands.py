"""Recording through the proxy, and what is done with a recording: replay, diff, archives. Real sockets throughout."""

from __future__ import annotations

import http.client
import json
import os
import pty
import re
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import jsonschema
import pytest

from tests.running import PATIENCE, ROOT, Proxy, run_command, running

SHOP = {"x-vol-tenant": "1", "x-vol-site": "2"}
TICKETS = "/api/commerce/customer/authtickets"
PASSWORDS = {"jane": "correct-horse-1", "maria": "correct-horse-2", "vip": "correct-horse-4"}
RULES = ROOT / "rules" / "kibo"
SECRETS = ("--secrets", ROOT / "tests" / "secrets")
NO_VIPS = """
version: 1
packs: [kibo]
rules:
  - name: no-vips
    match: {operation: createUserAuthTicket}
    before:
      - when: request.body.username.startsWith('vip')
        deny: {reason: Not today., code: NO_VIPS}
"""


def login(proxy: Proxy, name: str, password: str | None = None) -> int:
    data = {"username": f"{name}@example.com", "password": password or PASSWORDS[name]}
    return proxy.call("POST", TICKETS, data, SHOP).status


@contextmanager
def recording(file: Path, *more: str | Path) -> Iterator[Proxy]:
    with running("--upstream", "sandbox:kibo", "--rules", RULES, *SECRETS, "--record", file, *more) as proxy:
        yield proxy


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def logins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record six exchanges, of two workers."""
    file = tmp_path_factory.mktemp("recorded") / "logins.ndjson"
    with recording(file, "--workers", "2") as proxy:
        assert [login(proxy, name) for name in ("jane", "vip", "maria", "vip")] == [200, 200, 403, 200]
        assert login(proxy, "jane", "test-only-wrong-password") == 401
        assert proxy.call("GET", "/nothing?x=1", headers=SHOP).status == 404
        assert proxy.stop() == 0
    return file


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """Copy the rules, with one more."""
    folder = tmp_path / "rules"
    shutil.copytree(RULES, folder / "kibo")
    (folder / "kibo" / "no-vips.yaml").write_text(NO_VIPS)
    return folder / "kibo"


def test_a_recording_has_every_exchange_and_no_password(logins: Path) -> None:
    assert stat.S_IMODE(logins.stat().st_mode) == 0o600
    assert sorted(one["status"] for one in records(logins)) == [200, 200, 200, 401, 403, 404]
    text = logins.read_text()
    assert [word for word in (*PASSWORDS.values(), "test-only-wrong-password") if word in text] == []
    assert "vip@example.com" in text


def test_what_is_not_recorded_is_told_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "logins.ndjson"
    with recording(file, "--admin", "127.0.0.1:0") as proxy:
        file.unlink()
        file.mkdir()
        assert login(proxy, "jane") == 200
        assert proxy.event("records-dropped")["count"] == 1
        found = ""
        while "vestibule_records_lost_total 1.0" not in found:
            with urlopen(f"{proxy.admin}/metrics", timeout=PATIENCE) as answer:
                found = answer.read().decode()


def test_diff_names_exactly_the_exchanges_that_change(logins: Path, changed: Path) -> None:
    vips = {one["id"] for one in records(logins) if "vip@example.com" in one["request"].get("body", {}).get("text", "")}
    assert len(vips) == 2
    code, out, err = run_command("diff", RULES, changed, "--traffic", logins, *SECRETS, "--json")
    found = json.loads(out)
    assert code == 1
    assert {one["id"] for one in found["changed"]} == vips
    assert (found["total"], found["unknown"]) == (6, [])
    assert "2 of 6 exchanges change" in err
    code, out, _ = run_command("diff", RULES, changed, "--traffic", logins, *SECRETS)
    assert code == 1
    assert "2 × createUserAuthTicket\n  answered by: upstream → denied by no-vips (deny)\n  status: 200 → 403" in out
    assert all(one in out for one in vips)


def test_diff_is_silent_about_rules_that_do_the_same(logins: Path) -> None:
    code, out, err = run_command("diff", RULES, RULES, "--traffic", logins, *SECRETS, "--strict")
    assert (code, out.strip()) == (0, ""), err
    assert "0 of 6 exchanges change" in err


def test_a_recorded_exchange_is_explained_under_other_rules(logins: Path, changed: Path) -> None:
    one = next(one for one in records(logins) if "vip@example.com" in one["request"].get("body", {}).get("text", ""))
    code, out, err = run_command("explain", changed, *SECRETS, "--recorded", logins, "--id", one["id"][:20], "--json")
    assert code == 0, err
    (found,) = json.loads(out)["exchanges"]
    assert (found["decision"]["rule"], found["decision"]["code"]) == ("no-vips", "NO_VIPS")
    (when,) = [rule["steps"][0]["when"] for rule in found["rules"] if rule["name"] == "no-vips"]
    assert when["parts"][0]["value"] == '"vip@example.com"'


def test_diff_goes_without_secrets(logins: Path, changed: Path) -> None:
    signs = "      - headers: {set: {x-signed: \"${hmac(secret('signing'), request.path)}\"}}\n"
    (changed / "no-vips.yaml").write_text(NO_VIPS + signs)
    code, _, err = run_command("diff", changed, RULES, "--traffic", logins)
    assert (code, "note: stand-ins for secrets that are not there: signing" in err) == (1, True), err


def test_diff_annotates_a_pull_request(logins: Path, changed: Path) -> None:
    code, out, _ = run_command("diff", RULES, changed, "--traffic", logins, *SECRETS, "--format", "github")
    assert code == 1
    assert out.startswith(
        f"::warning file={changed},title=2 × createUserAuthTicket%3A the outcome changes::answered by: "
    )


def test_diff_exits_3_for_rules_or_traffic_that_cannot_be_read(logins: Path, changed: Path, tmp_path: Path) -> None:
    (changed / "no-vips.yaml").write_text(NO_VIPS.replace("deny", "dney"))
    code, out, err = run_command("diff", RULES, changed, "--traffic", logins, *SECRETS)
    assert (code, out) == (3, "")
    assert "did you mean 'deny'" in err
    broken = tmp_path / "broken.ndjson"
    broken.write_text(logins.read_text()[:-20])
    code, out, err = run_command("diff", RULES, RULES, "--traffic", broken, *SECRETS)
    assert (code, out) == (3, "")
    assert f"{broken}:6: this is no record of an exchange" in err


def test_replay_says_which_outcomes_are_others_now(logins: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORDS["vip"])
    with running("--upstream", "sandbox:kibo", "--rules", RULES, *SECRETS) as proxy:
        code, out, err = run_command("replay", logins, "--against", proxy.address)
        assert (code, "6 sent, 4 with another outcome" in err) == (1, True), err
        lines = [line.split() for line in out.splitlines()]
        assert lines[0][:4] == ["request", "recorded", "answered", "by"]
        assert ["createUserAuthTicket", "200", "upstream", "≠", "401", "3"] in [line[:6] for line in lines]
        assert ["GET", "/nothing", "404", "upstream", "404", "1"] in [line[:6] for line in lines]
    with running("--upstream", "sandbox:kibo", "--rules", RULES, *SECRETS) as proxy:
        words = ("--fill", f"password={password}", "--json", "--rate", "100")
        code, out, _ = run_command("replay", logins, "--against", proxy.address, *words)
        told = json.loads(out)
        assert (code, len(told)) == (1, 6)
        by_id = {one["id"]: one["status"] for one in told}
        vips = [one["id"] for one in records(logins) if "vip@" in one["request"].get("body", {}).get("text", "")]
        assert [by_id[one] for one in vips] == [200, 200]


def test_replay_exits_4_when_the_server_is_to_blame(logins: Path) -> None:
    code, out, _ = run_command("replay", logins, "--against", "http://127.0.0.1:1")
    assert code == 4
    assert "no answer" in out


def test_an_archive_is_valid_and_loses_nothing(logins: Path, changed: Path, tmp_path: Path) -> None:
    archive = tmp_path / "logins.har"
    code, _, err = run_command("har", logins, "--out", archive)
    assert (code, err) == (0, f"6 exchanges in {archive}\n")
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    jsonschema.validate(json.loads(archive.read_text()), json.loads((ROOT / "tests/observe/har-1.2.json").read_text()))
    words = (*SECRETS, "--json")
    told = [run_command("diff", RULES, changed, "--traffic", file, *words)[1] for file in (logins, archive)]
    # What is hidden has another name in each.
    one, other = (re.sub("redacted-[0-9a-f]{16}", "redacted", text) for text in told)
    assert one == other


def test_an_archive_of_a_browser_is_traffic_too(changed: Path, tmp_path: Path) -> None:
    archive = tmp_path / "browser.har"
    response = {"status": 200, "statusText": "OK", "headers": [], "content": {"text": "{}"}}
    body = json.dumps({"username": "vip@example.com", "password": "test-only-x"})
    headers = [{"name": ":method", "value": "POST"}, {"name": "content-type", "value": "application/json"}]
    headers += [{"name": name, "value": value} for name, value in SHOP.items()]
    request = {
        "method": "POST",
        "url": f"https://shop.example{TICKETS}",
        "headers": headers,
        "postData": {"text": body},
    }
    entry = {"startedDateTime": "2026-01-01T00:00:00Z", "time": 3, "request": request, "response": response}
    archive.write_text(json.dumps({"log": {"entries": [entry]}}))
    code, out, err = run_command("diff", RULES, changed, "--traffic", archive, *SECRETS)
    assert (code, "denied by no-vips" in out) == (1, True), err
    assert "test-only-x" not in out


def test_record_is_run_with_a_recording(tmp_path: Path) -> None:
    file = tmp_path / "out.ndjson"
    words = ("--out", file, "--upstream", "sandbox:kibo", "--rules", RULES, *SECRETS)
    with running(*words, command_name="record") as proxy:
        assert any(str(file) in line for line in proxy.greeting)
        assert login(proxy, "jane") == 200
        assert proxy.stop() == 0
    assert len(records(file)) == 1


def test_only_the_operations_that_are_named_are_recorded(tmp_path: Path) -> None:
    file = tmp_path / "out.ndjson"
    with recording(file, "--record-operations", "createUserAuthTicket") as proxy:
        login(proxy, "jane")
        proxy.call("GET", "/nothing", headers=SHOP)
        proxy.stop()
    assert [one["operation"] for one in records(file)] == ["createUserAuthTicket"]


def test_a_disk_that_is_full_costs_records_and_no_answer(tmp_path: Path) -> None:
    file = tmp_path / "out.ndjson"

    limit = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))"
    under = (sys.executable, "-c", f"{limit}; os.execv(sys.argv[1], sys.argv[1:])")
    words = ("--upstream", "sandbox:kibo", "--rules", RULES, *SECRETS, "--record", file)
    with running(*words, under=under) as proxy:
        for _ in range(5):
            assert login(proxy, "jane") == 200
        assert proxy.event("records-dropped")["count"] > 0
        assert login(proxy, "jane") == 200
        proxy.stop()
    # What is there are whole lines.
    assert all(one["version"] == 1 if "version" in one else one["id"] for one in records(file))


def test_a_file_that_cannot_be_written_keeps_a_run_from_starting(tmp_path: Path) -> None:
    code, _, err = run_command(
        "run", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1", "--record", tmp_path
    )
    assert (code, "cannot be used" in err) == (3, True), err


def test_record_shows_on_a_terminal_how_much_there_is(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [
        "record",
        "--out",
        tmp_path / "a",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "sandbox:kibo",
        "--rules",
        RULES,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", *map(str, words)], cwd=ROOT, stderr=theirs, stdout=subprocess.PIPE
    )
    os.close(theirs)
    shown = b""

    def until(pattern: bytes) -> re.Match[bytes]:
        nonlocal shown
        while (found := re.search(pattern, shown)) is None:
            shown += os.read(ours, 65_536)
        return found

    try:
        port = until(rb"listening on  http://127.0.0.1:(\d+)")[1].decode()
        until(rb"without the proxy")
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE)
            connection.request("GET", "/nothing")
            assert connection.getresponse().status == 404
            connection.close()
        until(rb"recorded 2 exchanges")
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=PATIENCE)
        os.close(ours)
    assert (process.returncode, out) == (0, b"")
