"""What deploy/README.md tells operators by name is there: settings with their defaults, metrics, alarms."""

from __future__ import annotations

import re

import pytest
import yaml

from proxy.admin.exposition import FAMILIES
from proxy.cli.config import value_of
from proxy.language.fields import parse_duration
from proxy.settings import Settings, leaves
from tests.running import ROOT

DEPLOY = ROOT / "deploy"
PAGE = (DEPLOY / "README.md").read_text("utf-8")
SHOWN = re.findall(r"(?m)^\| `([a-z_.]+)` \| (\d+m?s) \| ", PAGE)
ALARMS = {
    rule["alert"]
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
}


def test_there_are_settings_to_look_at() -> None:
    assert len(SHOWN) >= 8


@pytest.mark.parametrize(("name", "default"), SHOWN)
def test_a_setting_has_the_default_that_the_page_tells(name: str, default: str) -> None:
    assert name in {leaf.name for leaf in leaves()}
    assert value_of(Settings(), name) == parse_duration(default)


def test_metrics_that_the_page_names_are_told() -> None:
    named = set(re.findall(r"\bvestibule_[a-z_]+\b", PAGE))
    told = {family.told(name) for name, family in FAMILIES.items()}
    assert len(named) >= 5
    assert sorted(named - told) == []


def test_alarms_that_the_page_names_go_off_and_most_are_somebodys() -> None:
    named = set(re.findall(r"`(Vestibule[A-Z][A-Za-z]+)`", PAGE))
    assert sorted(named - ALARMS) == []
    assert len(named) > len(ALARMS) / 2
