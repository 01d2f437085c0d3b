"""The Helm chart: Kubernetes takes what it renders, the proxy its settings, and the container serves by them."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import cli
from proxy.cli.run import command as run_command_line
from proxy.settings import Settings, load_settings
from tests.deploy import chart
from tests.deploy.chart import CHART, HELM, helm, render
from tests.deploy.kubernetes import VERSIONS, all_problems, problems
from tests.deploy.samples import CONTAINERS, SETS, of_kind, our_container, pods, values
from tests.running import running
from tests.serving import answering

pytestmark = [
    pytest.mark.skipif(not HELM.exists(), reason="there is no Helm: run `make .venv/bin/helm`"),
]


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[dict[str, Any]]]:
    """Give what the chart makes of each set of values."""
    return {name: render(values(more)) for name, more in SETS.items()}


def settings_of(documents: list[dict[str, Any]], folder: Path) -> Settings:
    """Give the settings as a run would load them, with the arguments and variables of the container."""
    file = folder / "vestibule.yaml"
    file.write_text(of_kind(documents, "ConfigMap", "-settings")["data"]["vestibule.yaml"])
    loaded = load_settings(file, {}, {})
    assert loaded.faults == []
    assert loaded.settings is not None
    return loaded.settings


# What is rendered


def test_every_version_of_kubernetes_takes_everything_that_is_rendered(rendered: Any) -> None:
    documents = [one for found in rendered.values() for one in found]
    kinds = {one["kind"] for one in documents}
    assert {"Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor"} < kinds
    assert all_problems(documents) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_field_that_there_is_not_would_be_found(version: str) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}}
    assert problems(service, version) != []


@pytest.mark.parametrize("name", SETS)
def test_the_proxy_takes_the_settings(name: str, rendered: Any, tmp_path: Path) -> None:
    documents = rendered[name]
    settings = settings_of(documents, tmp_path)
    assert settings.rules == ["/etc/vestibule/rules"]
    for pod in pods(documents):
        grace = pod["terminationGracePeriodSeconds"]
        assert grace > settings.drain_delay + settings.drain + 5
        mounts = {one["mountPath"]: one["name"] for one in our_container(documents)["volumeMounts"]}
        given = {one["name"] for one in pod["volumes"]}
        assert set(mounts.values()) <= given
        assert {settings.rules[0], settings.secrets, "/etc/vestibule/settings"} < mounts.keys()
        ports = {one["name"]: one["containerPort"] for one in our_container(documents)["ports"]}
        assert settings.admin.listen == f"0.0.0.0:{ports['admin']}"
        assert all(one.startswith("127.0.0.1:") or one == f"0.0.0.0:{ports['http']}" for one in settings.listens)
        assert {address.rpartition(":")[2] for address in settings.served.values()} <= set(map(str, ports.values()))


@pytest.mark.parametrize("name", SETS)
def test_pods_are_restricted(name: str, rendered: Any) -> None:
    """As https://kubernetes.io/docs/concepts/security/pod-security-standards/ has it, and read-only."""
    for pod in [*pods(rendered[name]), *(one["spec"] for one in rendered[name] if one["kind"] == "Pod")]:
        assert pod["automountServiceAccountToken"] is False
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            if "vestibule" not in container["image"]:
                continue
            held = {**pod.get("securityContext", {}), **container["securityContext"]}
            assert held["runAsNonRoot"] is True
            assert held["seccompProfile"] == {"type": "RuntimeDefault"}
            assert held["allowPrivilegeEscalation"] is False
            assert held["readOnlyRootFilesystem"] is True
            assert held["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", [name for name in SETS if name != "sidecar of another chart"])
def test_the_arguments_are_ones_that_run_knows(name: str, rendered: Any) -> None:
    first, *words = our_container(rendered[name])["args"]
    assert first == "run"
    words[words.index("--config") + 1] = __file__
    context = run_command_line.make_context("run", words)
    assert context.params["watch"] is True


def test_the_container_serves_and_takes_rules_as_the_kubelet_swaps_them(rendered: Any, tmp_path: Path) -> None:
    """By its own arguments and settings, with other names for folders and hosts, and ports that are free."""
    documents = rendered["one pod"]
    container = our_container(documents)
    home = tmp_path / "vestibule"
    for folder in ("settings", "rules", "secrets"):
        (home / folder).mkdir(parents=True)
    (home / "secrets" / "admin_token").write_text("test-only-token")
    swap(home / "rules", "one")
    with answering() as upstream:
        text = of_kind(documents, "ConfigMap", "-settings")["data"]["vestibule.yaml"]
        for there, here in {
            "https://auth.example": upstream,
            "/etc/vestibule": str(home),
            "0.0.0.0:8080": "127.0.0.1:0",
            "0.0.0.0:9090": "0.0.0.0:0",
            # Nobody is left here who would have to hear of the stop.
            "drain_delay: 5s": "drain_delay: 0s",
        }.items():
            assert there in text
            text = text.replace(there, here)
        (home / "settings" / "vestibule.yaml").write_text(text)
        name, *words = (word.replace("/etc/vestibule", str(home)) for word in container["args"])
        with running(*words, command_name=name) as proxy:
            assert proxy.call("GET", "/").headers["X-Tag"] == "one"
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                with urllib.request.urlopen(proxy.admin + container[probe]["httpGet"]["path"]) as answer:
                    assert answer.status == 200
            token = {"Authorization": "Bearer test-only-token"}
            with urllib.request.urlopen(urllib.request.Request(f"{proxy.admin}/metrics", headers=token)) as answer:
                assert b"vestibule_ready 1" in answer.read()
            swap(home / "rules", "two")
            proxy.event("reloaded")
            assert proxy.call("GET", "/").headers["X-Tag"] == "two"
            assert proxy.stop() == 0


def swap(folder: Path, tag: str) -> None:
    """Lay out a ConfigMap with an item `shop/tag.yaml` as the kubelet does: a link is replaced in one move."""
    rule = f"{{name: tag, after: [{{headers: {{set: {{X-Tag: {tag}}}}}}}]}}"
    (folder / f"..{tag}" / "shop").mkdir(parents=True)
    (folder / f"..{tag}" / "shop" / "tag.yaml").write_text(f"version: 1\nrules: [{rule}]\n")
    (folder / "..data_tmp").symlink_to(f"..{tag}")
    (folder / "..data_tmp").rename(folder / "..data")
    if not (folder / "shop").is_symlink():
        (folder / "shop").symlink_to("..data/shop")


@pytest.mark.parametrize("name", SETS)
def test_what_names_another_finds_it(name: str, rendered: Any) -> None:
    documents = rendered[name]
    found: dict[str, list[dict[str, Any]]] = {}
    for one in documents:
        found.setdefault(one["kind"], []).append(one)
    templates = [one["spec"]["template"] for one in found.get("Deployment", [])]
    for template in templates:
        labels = template["metadata"]["labels"]
        containers = [*template["spec"]["containers"], *template["spec"].get("initContainers", ())]
        ports = {port.get(key) for one in containers for port in one["ports"] for key in ("name", "containerPort")}
        selectors = [one["spec"]["selector"]["matchLabels"] for one in found.get("PodDisruptionBudget", [])]
        for service in found["Service"]:
            selectors.append(service["spec"]["selector"])
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
        for policy in found.get("NetworkPolicy", []):
            selectors.append(policy["spec"]["podSelector"]["matchLabels"])
            assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= ports
        assert [one for one in selectors if not one.items() <= labels.items()] == []
        # The pod of the test takes no requests.
        assert not any(
            one.items() <= pod["metadata"]["labels"].items() for one in selectors for pod in found.get("Pod", [])
        )
    for scaler in found.get("HorizontalPodAutoscaler", []):
        assert scaler["spec"]["scaleTargetRef"]["name"] == found["Deployment"][0]["metadata"]["name"]
        assert "replicas" not in found["Deployment"][0]["spec"]
    for monitor in found.get("ServiceMonitor", []):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [one for one in found["Service"] if wanted <= one["metadata"]["labels"].items()]
        [endpoint] = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        secrets = values(SETS[name])["secrets"]
        assert endpoint["authorization"]["credentials"] == {
            "name": secrets["existingSecret"],
            "key": secrets.get("adminTokenKey", "admin_token"),
        }


def test_a_sidecar_starts_before_the_storefront_and_ends_after_it(rendered: Any, tmp_path: Path) -> None:
    [pod] = pods(rendered["sidecar"])
    assert pod["containers"] == CONTAINERS
    [sidecar] = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    settings = settings_of(rendered["sidecar"], tmp_path)
    assert settings.listen == ["127.0.0.1:8080"]
    # It is told to stop when nobody is left who could send anything.
    assert settings.drain_delay == 0
    assert of_kind(rendered["sidecar"], "Service")["spec"]["ports"][0]["targetPort"] == 8000


def test_other_charts_add_the_sidecar_to_a_deployment_of_their_own(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    (shop / "templates").mkdir(parents=True)
    (shop / "charts").mkdir()
    (shop / "charts" / "vestibule").symlink_to(CHART)
    (shop / "Chart.yaml").write_text(
        "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies: [{name: vestibule, version: 0.1.0}]\n"
    )
    (shop / "values.yaml").write_text(yaml.safe_dump({"vestibule": values(SETS["sidecar of another chart"])}))
    [snippet] = [text for text in chart.shown("yaml") if "include" in text]
    (shop / "templates" / "deployment.yaml").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\nspec:\n"
        "  selector: {matchLabels: {app: shop}}\n  template:\n    metadata: {labels: {app: shop}}\n"
        + "".join(f"    {line}\n" for line in snippet.replace("nindent 4", "nindent 8").splitlines())
        + "      containers:\n        - {name: shop, image: 'shop:1'}\n"
    )
    done = helm("template", "shop", shop)
    assert done.returncode == 0, done.stderr
    documents = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert sorted(one["kind"] for one in documents) == ["ConfigMap", "ConfigMap", "Deployment"]
    assert all_problems(documents) == []
    [pod] = pods(documents)
    assert [one["name"] for one in pod["initContainers"]] == ["vestibule"]
    named = {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
    assert named == {one["metadata"]["name"] for one in documents if one["kind"] == "ConfigMap"}


def test_other_settings_are_another_pod_and_other_rules_are_not() -> None:
    def pod(more: dict[str, Any]) -> Any:
        return of_kind(render(values(more)), "Deployment")["spec"]["template"]

    assert pod({}) != pod({"settings": {"hang": "20s"}})
    assert pod({}) == pod({"rules": {"files": {"login.yaml": "version: 1\n"}}})


def test_what_is_exported_is_what_the_chart_renders() -> None:
    """But for what only a chart has: its own labels, an account, a test."""
    flags = ("--upstream", "https://auth.example", "--store", "rediss://valkey", "--name", "shop")
    done = CliRunner().invoke(cli, ["export", "k8s", *flags, "rules/kibo"])
    assert done.exit_code == 0, done.stderr
    exported = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
    assert all_problems(list(exported.values())) == []
    [rules] = [
        one["configMap"]
        for one in exported["Deployment", "shop"]["spec"]["template"]["spec"]["volumes"]
        if one["name"] == "vestibule-rules"
    ]
    more = {
        "fullnameOverride": "shop",
        "settings": {"upstream": {"url": "https://auth.example"}, "store": "rediss://valkey"},
        "rules": {"files": None, "existingConfigMap": rules["name"], "items": rules["items"]},
        "serviceAccount": {"create": False},
    }
    found = {(one["kind"], one["metadata"]["name"]): one for one in render(values(more))}
    del found["Pod", "shop-test"]
    del exported["ConfigMap", "shop-rules"]
    for documents in (found, exported):
        for one in documents.values():
            for label in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
                one["metadata"]["labels"].pop(label, None)
            # Settings are compared below, whatever the order of their keys.
            one["spec"]["template"]["metadata"].pop("annotations") if one["kind"] == "Deployment" else None
            if one["kind"] == "ConfigMap":
                one["data"] = yaml.safe_load(one["data"]["vestibule.yaml"])
    assert exported == found
