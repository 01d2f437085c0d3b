"""The values of the Helm chart: those that make no sense are refused in words, and what is written about them is so."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy import __version__
from tests.deploy import chart
from tests.deploy.chart import CHART, HELM, helm, refusal, render
from tests.deploy.samples import LEAST, SETS, SIDECAR, of_kind, pods, values

pytestmark = [
    pytest.mark.skipif(not HELM.exists(), reason="there is no Helm: run `make .venv/bin/helm`"),
]


# What is refused


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"replcas": 2}, "at '': additional properties 'replcas' not allowed"),
        ({"replicas": 0}, "at '/replicas': minimum: got 0, want 1"),
        ({"replicas": "two"}, "at '/replicas': got string, want integer"),
        ({"mode": "side"}, "at '/mode': value must be one of 'standalone', 'sidecar'"),
        ({"secrets": {"existingSecret": None}}, "at '/secrets': missing property 'existingSecret'"),
        ({"secrets": {"existingSecret": "Not a name"}}, "at '/secrets/existingSecret': 'Not a name' does not match"),
        ({"settings": {"upstream": None}}, "at '/settings': missing property 'upstream'"),
        ({"settings": {"serve": "ext_proc=0.0.0.0:9001"}}, "extraPorts: settings.serve has adapters, and nobody could"),
        ({"settings": {"upstream": "auth.example"}}, "'auth.example' does not match pattern '^(https?://"),
        ({"settings": {"upstream": {"host": "auth.example"}}}, "at '/settings/upstream': missing property 'url'"),
        ({"settings": {"upstreem": "https://auth.example"}}, "additional properties 'upstreem' not allowed"),
        ({"settings": {"listen": "0.0.0.0:80"}}, "at '/settings': additional properties 'listen' not allowed"),
        ({"settings": {"drain": "5s"}}, "at '/settings': additional properties 'drain' not allowed"),
        ({"settings": {"hang": "5"}}, "at '/settings/hang': '5' does not match"),
        ({"settings": {"workers": 0}}, "at '/settings/workers': minimum: got 0, want 1"),
        ({"settings": {"limits": {"body_bytes": -1}}}, "at '/settings/limits/body_bytes': minimum: got -1, want 0"),
        ({"settings": {"limits": {"body_bytes": "4 megs"}}}, "'4 megs' does not match"),
        ({"settings": {"log": {"level": "loud"}}}, "at '/settings/log/level': value must be one of 'debug'"),
        ({"settings": {"store": "memory"}}, "settings.store: several pods would each count by themselves"),
        ({**SIDECAR, "settings": {"store": None}}, "settings.store: several pods would each count by themselves"),
        ({"settings": {"store": "redis://:test-only@valkey"}}, "its password would stand in a ConfigMap"),
        ({"rules": {"files": {"login.txt": "version: 1"}}}, "invalid propertyName 'login.txt'"),
        ({"rules": {"files": {"a/login.yaml": "version: 1"}}}, "'a/login.yaml' does not match"),
        ({"rules": {"files": None}}, "rules: there are none"),
        ({"rules": {"existingConfigMap": "x"}}, "rules: give either files or existingConfigMap"),
        ({"drain": {"delaySeconds": "5s"}}, "at '/drain/delaySeconds': got string, want integer"),
        ({"drain": {"waitSeconds": -1}}, "at '/drain/waitSeconds': minimum: got -1, want 0"),
        ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "maxReplicas: this must be at least"),
        ({"autoscaling": {"cpu": 101}}, "at '/autoscaling/cpu': maximum: got 101, want 100"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "at '/podDisruptionBudget/maxUnavailable'"),
        ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match"),
        ({"service": {"port": 70000}}, "at '/service/port': maximum: got 70,000, want 65,535"),
        ({"runAsUser": 0}, "at '/runAsUser': minimum: got 0, want 1"),
        ({"extraPorts": [{"name": "ext_proc", "port": 9001}]}, "at '/extraPorts/0/name': 'ext_proc' does not match"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_in_words(more: dict[str, Any], said: str) -> None:
    told = refusal(values(more))
    assert said in told
    assert "test-only" not in told


def test_kubernetes_that_is_too_old_is_refused() -> None:
    assert "kubeVersion: >=1.29.0-0" in refusal(LEAST, "--kube-version", "1.28.5")
    late = values({"drain": {"preStopSleepSeconds": 5}})
    assert "Kubernetes has this from 1.30 on" in refusal(late, "--kube-version", "1.29.0")
    assert render(late, "--kube-version", "1.30.0") != []


# What is written about it


def test_the_chart_is_of_this_version() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"] == __version__


def test_what_the_page_shows_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chart.ROOT)
    [install] = [text for text in chart.shown("sh") if text.startswith("helm install ")]
    words = shlex.split(install.replace("\\\n", " "))
    done = helm("template", *words[2:])
    assert done.returncode == 0, done.stderr
    documents = [one for one in yaml.safe_load_all(done.stdout) if one]
    rules = of_kind(documents, "ConfigMap", "-rules")["data"]
    assert rules == {"tickets.yaml": Path("rules/kibo/short-tickets.yaml").read_text("utf-8")}
    [sidecar] = [text for text in chart.shown("yaml") if "mode:" in text]
    [pod] = pods(render(yaml.safe_load(sidecar)))
    assert [one["name"] for one in pod["initContainers"]] == ["vestibule"]


def test_helm_finds_nothing_to_better() -> None:
    done = helm("lint", "--strict", CHART, values=LEAST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_what_is_said_after_an_installation_fits_the_values() -> None:
    def notes(more: dict[str, Any]) -> str:
        done = helm("install", "shop", CHART, "--dry-run=client", values=values(more))
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:")[2]

    assert "Send to shop-vestibule.default:8080 what went to the auth service." in notes({})
    assert "The storefront sends to 127.0.0.1:8080" in notes(SIDECAR)
    assert "on the ports 9001 (ext-proc) 9002 (forward-auth)." in notes(SETS["adapters"])
    assert 'Include "vestibule.sidecar"' in notes({"mode": "sidecar"})
    assert "WARNING: each pod counts by itself" in notes(SETS["nothing is stored"])


def test_the_schema_and_the_page_of_the_values_are_current() -> None:
    assert chart.SCHEMA.read_text("utf-8") == chart.write_schema(), "run `make docs`"
    assert chart.PAGE.read_text("utf-8") == chart.write_page(), "run `make docs`"


def test_every_value_that_a_template_reads_is_in_the_schema() -> None:
    """And the other way round: none is there that nothing reads."""
    text = "".join(file.read_text("utf-8") for file in sorted((CHART / "templates").rglob("*")) if file.is_file())
    schema = json.loads(chart.SCHEMA.read_text("utf-8"))
    for name, part in schema["properties"].items():
        if name != "global":
            assert f".Values.{name}" in text
        for inner in part.get("properties", ()):
            assert f".{inner}" in text, f"{name}.{inner}"
