"""The kustomize component: what it makes of a storefront's Deployment is what the Helm chart would, and is taken."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import cli
from proxy.settings import load_settings
from tests.deploy.chart import HELM, ROOT, render
from tests.deploy.kubernetes import all_problems
from tests.deploy.samples import SIDECAR, pods, values
from tests.running import PATIENCE

KUBECTL = HELM.parent / "kubectl"
EXAMPLE = ROOT / "deploy" / "kustomize" / "example"

pytestmark = [
    pytest.mark.skipif(not KUBECTL.exists(), reason="there is no kubectl: run `make .venv/bin/helm`"),
]


@pytest.fixture(scope="module")
def built() -> list[Any]:
    done = subprocess.run(
        [KUBECTL, "kustomize", EXAMPLE], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def data(built: list[Any], name: str) -> Any:
    [found] = [one for one in built if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith(name)]
    return found["data"]


def test_every_version_of_kubernetes_takes_it(built: list[Any]) -> None:
    assert sorted(one["kind"] for one in built) == ["ConfigMap", "ConfigMap", "Deployment", "Service"]
    assert all_problems(built) == []


def test_the_sidecar_is_that_of_the_chart(built: list[Any]) -> None:
    [ours], [theirs] = pods(built), pods(render(values(SIDECAR)))
    assert ours["initContainers"] == theirs["initContainers"]
    mounted = [one["name"] for one in theirs["volumes"]]
    assert [one["name"] for one in ours["volumes"]] == mounted
    modes = [one["secret"]["defaultMode"] for pod in (ours, theirs) for one in pod["volumes"] if "secret" in one]
    assert modes[0] == modes[1]


def test_the_storefront_is_as_it_was_but_for_where_it_sends_to(built: list[Any]) -> None:
    before = list(yaml.safe_load_all((EXAMPLE / "base" / "shop.yaml").read_text("utf-8")))
    [pod], [was] = pods(built), pods(before)
    assert pod["containers"][0].pop("env") == [{"name": "AUTH_URL", "value": "http://127.0.0.1:8080"}]
    was["containers"][0].pop("env")
    assert pod["containers"] == was["containers"]
    assert [one for one in built if one["kind"] == "Service"] == [one for one in before if one["kind"] == "Service"]


def test_other_settings_are_other_pods_and_other_rules_are_not(built: list[Any]) -> None:
    [pod] = pods(built)
    names = {one["name"]: one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
    there = {one["metadata"]["name"] for one in built if one["kind"] == "ConfigMap"}
    assert set(names.values()) == there
    assert names["vestibule-rules"] == "vestibule-rules"
    assert names["vestibule-settings"].startswith("vestibule-settings-")


def test_the_proxy_takes_settings_and_rules(built: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "vestibule.yaml"
    file.write_text(data(built, "vestibule-settings")["vestibule.yaml"])
    assert load_settings(file, {}, {}).faults == []
    [(name, text)] = data(built, "vestibule-rules").items()
    (tmp_path / name).write_text(text)
    done = CliRunner().invoke(cli, ["check", "--strict", str(tmp_path / name)])
    assert done.exit_code == 0, done.stdout
