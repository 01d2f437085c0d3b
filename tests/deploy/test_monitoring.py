"""What watches a run: the dashboard and the alarms ask for metrics that there are, and the alarms go off."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.admin.exposition import FAMILIES, TEXT, expose
from proxy.observe.board import Board, RunState, Slot, WorkerState
from proxy.observe.metrics import Metrics

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
CASES = DEPLOY / "prometheus" / "alerts.test.yaml"
DASHBOARD = DEPLOY / "grafana" / "vestibule.json"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")

# What Prometheus itself adds to a series, and what a histogram has.
ADDED = {"instance", "job", "le"}
NAMED = re.compile(r"\bvestibule_[a-z0-9_]+")
SELECTED = re.compile(r"\b(vestibule_[a-z0-9_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\bby \(([^)]*)\)")


def series() -> dict[str, tuple[str, ...]]:
    """Give every series that the exposition may have, with its labels."""
    found = {}
    for name, family in FAMILIES.items():
        told = family.told(name)
        for end in ("_bucket", "_count", "_sum") if family.kind == "histogram" else ("",):
            found[told + end] = family.labels
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> list[Any]:
    asked = [pytest.param(rule["expr"], id=rule["alert"]) for rule in alerts()]
    for panel in panels():
        asked += [pytest.param(one["expr"], id=f"{panel['title']}-{one['refId']}") for one in panel["targets"]]
    page = (DEPLOY / "METRICS.md").read_text()
    asked += [pytest.param(one, id=one) for one in re.findall(r"\| `([^`]*\(.*vestibule_[^`]*)` \|", page)]
    dashboard = json.loads(DASHBOARD.read_text())
    asked += [pytest.param(one["expr"], id=one["name"]) for one in dashboard["annotations"]["list"]]
    asked += [pytest.param(one["definition"], id=one["name"]) for one in dashboard["templating"]["list"][1:]]
    return asked


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_series_and_labels_that_there_are(query: str) -> None:
    known = series()
    named = set(NAMED.findall(query))
    assert named
    assert named <= known.keys()
    for name, selector in SELECTED.findall(query):
        assert set(re.findall(r"(\w+)\s*(?:=~|!=|=)", selector)) <= {*known[name], *ADDED}
    labels = ADDED.union(*(known[name] for name in named))
    for group in GROUPED.findall(query):
        assert {label.strip() for label in group.split(",")} <= labels


def test_all_of_the_page_is_in_the_table_of_metrics() -> None:
    board = Board(1)
    metrics = Metrics()
    metrics.effect("store", "ok", 0.001)
    board.tell_worker(0, WorkerState(pid=1, ready=True, services={"store": True}, series=metrics.series))
    board.tell_run(RunState(slots=[Slot(pid=1)]))
    page = expose(board, 1.0, reached=True, needed=True, form=TEXT).decode()
    told = set(re.findall(r"(?m)^(vestibule_\w+)[ {]", page))
    assert told <= series().keys()
    assert "vestibule_service_up" in told


def test_every_alarm_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_every_alarm_has_a_case_in_which_it_goes_off_and_one_in_which_it_does_not() -> None:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    checked = [one for case in tests for one in case["alert_rule_test"]]
    names = {rule["alert"] for rule in alerts()}
    assert {one["alertname"] for one in checked if one.get("exp_alerts")} == names
    assert {one["alertname"] for one in checked if not one.get("exp_alerts")} == names


def test_the_dashboard_can_be_imported_anywhere() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def promtool(*words: str, given: bytes | None = None) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *words], cwd=ALERTS.parent, input=given, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


@needs_promtool
def test_prometheus_takes_its_settings_and_the_alarms() -> None:
    promtool("check", "config", "prometheus.yaml")
    promtool("check", "rules", ALERTS.name)


@needs_promtool
def test_the_alarms_go_off_when_they_should() -> None:
    promtool("test", "rules", CASES.name)


@needs_promtool
def test_prometheus_finds_no_fault_in_the_metrics() -> None:
    promtool("check", "metrics", given=expose(Board(1), 1.0, reached=True, needed=True))
