"""`vestibule explain`: what it says of exchanges, from where it takes them, and how it ends.

What it says of logins is in tests/explained/*.yaml, in the words that an author reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from proxy.cli import cli
from proxy.observe.record import Body, EffectRecord, Record, RequestRecord, ResponseRecord, VerdictRecord, encode

EXPLAINED = sorted((Path(__file__).parent.parent / "explained").glob("*.yaml"))
RULES = """\
version: 1
rules:
  - name: stamp
    match: {path: /open}
    before: [{headers: {set: {x-stamp: "1"}}}]
  - name: refuse
    match: {path: /closed, client: [10.0.0.0/8]}
    before: [{deny: {reason: It is closed.}}]
"""
CASES = """\
rules: [rules.yaml]
cases:
  - name: a request is stamped
    request: {path: /open}
    expect: {upstream: {headers: {x-stamp: "2"}}}
  - name: so are two
    exchanges: [{request: {path: /open}, repeat: 2}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "rules.test.yaml").write_text(CASES)
    return tmp_path


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["explain", "--seconds", "0", *arguments])


def data(*arguments: str) -> list[dict[str, Any]]:
    result = explain("--json", *arguments)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["exchanges"]
    return found


def record(number: int, *, effects: list[EffectRecord] | None = None, body: Body | None = None) -> bytes:
    """Give a line of a recording: a POST to /login that the auth service answered with 401."""
    return encode(
        Record(
            id=f"exchange-{number}", recording="r", time=1_767_225_600.0 + number, client="192.0.2.1", scheme="http",
            host="a.example", rules="", ran=[], verdict=VerdictRecord("upstream"), own_ms=0.1, status=401,
            request=RequestRecord("POST", "/login", [("Content-Type", "application/json")], body),
            upstream=ResponseRecord(401, [], "Unauthorized"), effects=effects or [],
        )
    )  # fmt: skip


def recording(folder: Path, *lines: bytes) -> str:
    (folder / "traffic.ndjson").write_bytes(b"\n".join(lines))
    return "traffic.ndjson"


def examples() -> Iterator[Any]:
    for file in EXPLAINED:
        for one in yaml.safe_load(file.read_text("utf-8")):
            yield pytest.param(one, id=one["name"])


@pytest.mark.parametrize("one", list(examples()))
def test_it_says(one: dict[str, Any], folder: Path) -> None:
    (folder / "rules.yaml").write_text(one["rules"])
    result = explain("rules.yaml", *one["explain"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.sub("[0-9a-f]{32}", "ID", result.stdout) == one["says"]
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_a_case_is_named_by_a_part_of_its_name_and_says_when_it_does_not_go_as_it_expects(folder: Path) -> None:
    result = explain("--case", "rules.test.yaml:IS STAMPED")
    assert result.exit_code == 0
    assert "    + request header x-stamp: 1\n" in result.stdout
    assert result.stderr.startswith("note: ")


def test_all_exchanges_of_a_case_are_explained(folder: Path) -> None:
    assert len(data("--case", "rules.test.yaml:so are two")) == 2
    assert "exchange 2 of 2\n" in explain("--case", "rules.test.yaml:so are two").stdout


def test_rules_take_the_place_of_those_that_the_test_file_names(folder: Path) -> None:
    (folder / "other.yaml").write_text("version: 1\nrules: [{name: other, before: [{end: true}]}]\n")
    (found,) = data("other.yaml", "--case", "rules.test.yaml:is stamped")
    assert [rule["name"] for rule in found["rules"]] == ["other"]


LOCK_OUT = """\
version: 1
rules:
  - name: lock-out
    match: {path: /login}
    before: [{limit: {key: "${request.body.user}", failures: 2, per: 15m}}]
"""


def test_the_exchanges_before_a_recorded_one_are_played_too(folder: Path) -> None:
    (folder / "rules.yaml").write_text(LOCK_OUT)
    jane = Body(16, text='{"user": "jane"}')
    traffic = recording(folder, *(record(number, body=jane) for number in range(1, 4)))
    second, third = (data("rules.yaml", "--recorded", traffic, "--id", f"exchange-{n}")[0] for n in (2, 3))
    assert (second["decision"]["by"], second["received"]["body"]) == ("upstream", '{"user": "jane"}')
    assert (third["decision"]["rule"], third["decision"]["status"]) == ("lock-out", 429)
    assert third["rules"][0]["steps"][0]["asked"][0]["given"].startswith("none left")


def test_what_was_answered_then_is_answered_again(folder: Path) -> None:
    lookup = '{lookup: {url: "https://crm.example/1", into: crm}}'
    deny = "{when: crm.body.blocked, deny: {reason: Blocked.}}"
    (folder / "rules.yaml").write_text(f"version: 1\nrules: [{{name: crm, before: [{lookup}, {deny}]}}]\n")
    answer = EffectRecord(
        "lookup", "crm", method="GET", url="https://crm.example/1", status=200,
        headers=[("content-type", "application/json")], body='{"blocked": true}',
    )  # fmt: skip
    (found,) = data("rules.yaml", "--recorded", recording(folder, record(1, effects=[answer])))
    assert found["decision"]["denied"] is True
    assert found["rules"][0]["steps"][0]["asked"][0]["given"] == '200, {"blocked": true}'


def test_what_a_recording_does_not_tell_is_said(folder: Path) -> None:
    (folder / "rules.yaml").write_text(LOCK_OUT)
    result = explain("rules.yaml", "--recorded", recording(folder, record(1, body=Body(16, why="it was too long"))))
    assert result.exit_code == 0
    assert "note: it cannot be known as a whole: the request's body is not recorded" in result.stderr


def test_the_client_has_the_address_that_is_given(folder: Path) -> None:
    (found,) = data("rules.yaml", "--ip", "10.1.2.3", "/closed")
    assert found["decision"]["denied"] is True
    (found,) = data("rules.yaml", "/closed")
    assert found["near_misses"] == ["refuse", "stamp"]


def test_an_auth_service_that_is_down_is_played(folder: Path) -> None:
    (found,) = data("rules.yaml", "--status", "down", "/open")
    assert (found["decision"]["by"], found["decision"]["status"]) == ("proxy", 502)


def test_a_body_is_read_from_a_file_and_its_type_told_by_its_looks(folder: Path) -> None:
    (folder / "body.json").write_text('{"a": 1}')
    (found,) = data("rules.yaml", "-d", "@body.json", "/open")
    assert found["received"]["headers"] == [["content-type", "application/json"]]
    assert found["received"]["body"] == '{"a": 1}'
    (found,) = data("rules.yaml", "-d", "a=1", "-d", "b=2", "/open")
    assert found["received"]["headers"] == [["content-type", "application/x-www-form-urlencoded"]]
    assert found["received"]["body"] == '{"a": "1", "b": "2"}'


def test_json_has_stable_keys(folder: Path) -> None:
    (found,) = data("rules.yaml", "/open")
    assert list(found) == [
        "operation", "received", "forwarded", "arrived", "delivered", "rules", "asked", "remarks", "decision", "us",
        "near_misses",
    ]  # fmt: skip
    stamp, refuse = found["rules"]
    assert list(stamp) == ["name", "mode", "on_error", "state", "conditions", "steps", "note", "us"]
    assert list(stamp["steps"][0]) == [
        "name", "action", "phase", "position", "state", "order", "when", "changes", "asked", "outcome", "error", "us",
    ]  # fmt: skip
    assert stamp["steps"][0]["changes"] == [{"of": "request", "place": "header x-stamp", "before": None, "after": "1"}]
    assert refuse["conditions"] == [
        {"key": "path", "wanted": "/closed", "saw": "/open", "held": False},
        {"key": "client", "wanted": "10.0.0.0/8", "saw": "192.0.2.1", "held": False},
    ]


def test_what_it_costs_is_measured(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["explain", "--json", "--seconds", "0.01", "rules.yaml", "/open"])
    (found,) = json.loads(result.stdout)["exchanges"]
    assert found["us"] > 0
    assert found["rules"][0]["us"] is not None
    assert found["rules"][1]["us"] is None


def test_a_secret_of_the_folder_is_shown_only_when_it_was_asked_for(folder: Path) -> None:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "upstream").write_text("test-only-upstream-key")
    step = '{headers: {set: {x-site: "${secret:upstream}"}}}'
    (folder / "rules.yaml").write_text(f"version: 1\nrules: [{{name: key, before: [{step}]}}]\n")
    arguments = ("rules.yaml", "--secrets", "secrets", "-v", "/open")
    assert "test-only-upstream-key" not in explain(*arguments).output
    assert "test-only-upstream-key" not in explain("--json", *arguments).output
    assert "test-only-upstream-key" in explain("--show-secrets", *arguments).output


def test_a_secret_that_is_not_there_has_a_stand_in_which_is_told(folder: Path) -> None:
    step = '{headers: {set: {x-site: "${secret:upstream}"}}}'
    (folder / "rules.yaml").write_text(f"version: 1\nrules: [{{name: key, before: [{step}]}}]\n")
    result = explain("rules.yaml", "/open")
    assert "+ request header x-site: ***\n" in result.stdout
    assert result.stderr == "note: stand-ins for secrets that are not there: upstream\n"


def test_redirects_are_allowed_as_they_would_be_served(folder: Path) -> None:
    step = '{redirect: {to: "${request.query.to}"}}'
    (folder / "rules.yaml").write_text(f"version: 1\nrules: [{{name: r, before: [{step}]}}]\n")
    arguments = ("rules.yaml", "/open?to=https://mfa.example/a", "-H", "sec-fetch-mode: navigate")
    assert data(*arguments)[0]["decision"]["status"] == 403
    assert data(*arguments, "--allow-redirects", "mfa.example")[0]["decision"]["status"] == 302


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rules.yaml",), "say which RULES, and the PATH of the request"),
        (("rules.yaml", "login"), "'login' is no path (it would begin with `/`) and no operation of a pack"),
        (("rules.yaml", "-H", "x-country DE", "/"), "a header is written as 'name: value'"),
        (("rules.yaml", "--status", "20", "/"), "upstream.status"),
        (("rules.yaml", "-d", "@nowhere.json", "/"), "nowhere.json: cannot be read"),
        (("--case", "rules.test.yaml"), "say which case"),
        (("--case", "rules.test.yaml:so are three"), "did you mean 'so are two'?"),
        (("--case", "nowhere.test.yaml"), "there is no test file"),
        (("-X", "PUT", "--case", "rules.test.yaml"), "a case and a recording have their own request and answer"),
        (("--recorded", "traffic.ndjson"), "say under which RULES"),
        (("rules.yaml", "--recorded", "traffic.ndjson"), "say which exchange by --id: 2 exchanges are in it"),
        (("rules.yaml", "--recorded", "traffic.ndjson", "--id", "exchnge-1"), "did you mean 'exchange-1'?"),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_is_wrong_with_it(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    recording(folder, record(1), record(2))
    result = explain(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_rules_that_cannot_be_read_are_told_and_end_with_3(folder: Path) -> None:
    (folder / "rules.yaml").write_text("version: 1\nrules: [{name: a, before: [{dney: {}}]}]\n")
    result = explain("rules.yaml", "/")
    assert result.exit_code == 3
    assert "did you mean 'deny'?" in result.stdout
