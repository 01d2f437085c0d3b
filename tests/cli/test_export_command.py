"""`vestibule export`: checked rules, in the forms in which other systems have them. tests/deploy looks at the forms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from proxy.cli import cli
from proxy.cli.export import TARGETS
from proxy.services.rulefiles import read
from proxy.settings import load_settings

UPSTREAM = ("--upstream", "https://auth.example")
RULE = "version: 1\nrules: [{{name: {0}, after: [{{headers: {{set: {{X-Tag: {0}}}}}}}]}}]\n"


def export(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, words)])


def printed(*words: str | Path) -> list[Any]:
    """Give the documents that an export prints."""
    done = export(*words)
    assert done.exit_code == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(documents: list[Any], kind: str, end: str = "") -> Any:
    [found] = [one for one in documents if one["kind"] == kind and one["metadata"]["name"].endswith(end)]
    return found


def mount(documents: list[Any], folder: Path) -> None:
    """Lay the rules out as Kubernetes mounts them."""
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    [volume] = [one["configMap"] for one in pod["volumes"] if one["name"] == "vestibule-rules"]
    data = of_kind(documents, "ConfigMap", volume["name"])["data"]
    for item in volume["items"]:
        file = folder / item["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(data[item["key"]], encoding="utf-8")


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_listed_and_has_help(target: str) -> None:
    assert f"  {target} " in export("--help").stdout
    assert export(target, "--help").stdout.startswith(f"Usage: cli export {target}")


@pytest.mark.parametrize("target", ["compose", "k8s"])
def test_rules_with_a_mistake_are_refused_as_check_does(target: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nruels: []\n")
    done = export(target, *UPSTREAM, rules)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{rules}:2:1: error[unknown-key]" in done.stderr
    assert "nothing was exported" in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--upstream", "auth.example"), "the upstream is http://host[:port][/path]"),
        (("--upstream", "sandbox:kiboo"), "there is no such sandbox"),
        ((*UPSTREAM, "--store", "reddis://valkey"), "the store is `memory`"),
        ((*UPSTREAM, "--store", "redis://:test-only@valkey"), "its password would be there for all to read"),
    ],
)
@pytest.mark.parametrize("target", ["compose", "k8s"])
def test_a_wrong_setting_is_refused_and_not_repeated(target: str, flags: tuple[str, ...], said: str) -> None:
    done = export(target, *flags, "rules/kibo")
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(re.sub("[│╭╰─]", " ", done.stderr).split())
    assert "test-only" not in done.stderr


def test_files_that_would_be_read_in_another_order_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b/first.yaml", "a/second.yaml"):
        Path(name).parent.mkdir()
        Path(name).write_text(RULE.format(Path(name).stem))
    done = export("k8s", *UPSTREAM, "a", tmp_path / "b")
    assert done.exit_code == 1
    assert "another order" in done.stderr
    assert export("k8s", *UPSTREAM, "a", "b").exit_code == 0


def test_a_file_that_no_folder_would_have_is_refused(tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text(RULE.format("tag"))
    done = export("k8s", *UPSTREAM, rules)
    assert done.exit_code == 1
    assert "names that end with .yaml" in done.stderr


def test_rules_too_large_for_a_config_map_are_refused(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.yaml").write_text(RULE.format(f"r{number}") + "#" * 130_000)
    done = export("k8s", *UPSTREAM, tmp_path)
    assert done.exit_code == 1
    assert "a ConfigMap holds" in done.stderr


def test_kubernetes_mounts_the_same_rules_in_the_same_order(tmp_path: Path) -> None:
    given = ["rules/kibo", "rules/recipes"]
    mount(printed("k8s", *UPSTREAM, *given), tmp_path)
    assert [one.text for one in read([tmp_path])[0]] == [one.text for one in read(given)[0]]


def test_a_pack_of_ones_own_goes_along(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "pack.yaml").write_text(
        "version: 1\nname: shop\ndescription: Ours.\noperations: {login: {method: POST, path: /login}}\n"
    )
    rules = tmp_path / "rules" / "tag.yaml"
    rules.write_text(
        "version: 1\npacks: [shop]\n"
        "rules: [{name: tag, match: {operation: login}, after: [{headers: {set: {X-Tag: shop}}}]}]\n"
    )
    out = tmp_path / "mounted"
    mount(printed("k8s", *UPSTREAM, rules), out)
    done = CliRunner().invoke(cli, ["check", "--strict", str(out)])
    assert (done.exit_code, done.stderr) == (0, "1 file: no problem\n")


def test_the_settings_are_ones_that_a_run_takes(tmp_path: Path) -> None:
    file = tmp_path / "vestibule.yaml"
    documents = printed("k8s", *UPSTREAM, "--store", "redis://valkey:6379", "rules/kibo")
    file.write_text(of_kind(documents, "ConfigMap", "-settings")["data"]["vestibule.yaml"])
    assert load_settings(file, {}, {}).faults == []
    environment = printed("compose", *UPSTREAM, "rules/kibo")[0]["services"]["vestibule"]["environment"]
    assert load_settings(None, environment, {}).faults == []


@pytest.mark.parametrize(
    ("store", "replicas"), [((), 1), (("--store", "memory"), 1), (("--store", "rediss://valkey"), 2)]
)
def test_there_are_several_replicas_only_where_they_share_what_rules_keep(
    store: tuple[str, ...], replicas: int
) -> None:
    assert of_kind(printed("k8s", *UPSTREAM, *store, "rules/kibo"), "Deployment")["spec"]["replicas"] == replicas


def test_the_secrets_that_rules_name_are_asked_for_and_nothing_of_them_is_printed() -> None:
    told = export("k8s", *UPSTREAM, "rules/recipes/totp.yaml").stdout
    assert "--from-file=admin_token=FILE --from-file=factors_key=FILE" in told
    compose = printed("compose", *UPSTREAM, "rules/recipes/totp.yaml")[0]
    assert compose["secrets"] == {"factors_key": {"file": "./secrets/factors_key"}}
    assert compose["services"]["vestibule"]["secrets"] == [
        {"source": "factors_key", "target": "/etc/vestibule/secrets/factors_key"}
    ]
    assert "secrets" not in printed("compose", *UPSTREAM, "rules/kibo")[0]


def test_a_sandbox_is_a_service_of_its_own() -> None:
    compose = printed("compose", "--upstream", "sandbox:kibo", "rules/kibo")[0]
    assert compose["services"]["vestibule"]["environment"]["VESTIBULE_UPSTREAM"] == "http://sandbox:8081"
    assert compose["services"]["sandbox"]["command"] == ["sandbox", "kibo", "--listen", "0.0.0.0:8081"]
