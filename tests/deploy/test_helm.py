"""The Helm chart: Kubernetes takes what it renders, the proxy its settings, and values without sense are refused."""

from __future__ import annotations

import copy
import json
import re
import shlex
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from proxy import __version__
from proxy.cli import cli
from proxy.cli.run import command as run_command_line
from proxy.settings import Settings, load_settings
from tests.deploy import chart
from tests.deploy.chart import CHART, HELM, helm, refusal, render
from tests.deploy.kubernetes import VERSIONS, all_problems, problems
from tests.running import running
from tests.serving import answering

pytestmark = [
    pytest.mark.xdist_group("helm"),
    pytest.mark.skipif(not HELM.exists(), reason="there is no Helm: run `make .venv/bin/helm`"),
]

RULES = {"login.yaml": "version: 1\nrules: []\n"}
LEAST = {
    "settings": {"upstream": "https://auth.example", "store": "rediss://valkey:6379"},
    "secrets": {"existingSecret": "shop"},
    "rules": {"files": RULES},
}
CONTAINERS = [{"name": "shop", "image": "shop:1", "ports": [{"containerPort": 8000}]}]
PEERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]
SIDECAR = {"mode": "sidecar", "storefront": {"containers": CONTAINERS}}
EVERYTHING: dict[str, Any] = {
    "fullnameOverride": "auth",
    "image": {"repository": "registry.example/vestibule", "digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "settings": {
        "upstream": {
            "url": "https://auth.example",
            "tls": {"ca": "/etc/authorities/ca.pem"},
            "timeouts": {"first_byte": "5s"},
            "pool": {"connections": 100},
        },
        "limits": {"body_bytes": 8388608, "memory": "300MiB"},
        "log": {"level": "warning"},
        "trusted_proxies": ["10.0.0.0/8"],
        "public_origin": "https://login.shop.example",
        "serve": ["forward_auth=0.0.0.0:9001"],
    },
    "secrets": {"existingSecret": "shop", "adminTokenKey": "token", "storeKey": "store"},
    "rules": {
        "files": None,
        "existingConfigMap": "auth-rules",
        "items": [{"key": "login.yaml", "path": "shop/login.yaml"}],
    },
    "tls": {"existingSecret": "shop-tls"},
    "autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 30, "cpu": 70},
    "podDisruptionBudget": {"maxUnavailable": "25%"},
    "drain": {"delaySeconds": 15, "waitSeconds": 60, "preStopSleepSeconds": 5},
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"example.com/a": "b"}},
    "extraPorts": [{"name": "forward-auth", "port": 9001}],
    "serviceAccount": {"name": "auth", "annotations": {"example.com/a": "b"}},
    "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
    "networkPolicy": {
        "enabled": True,
        "from": PEERS,
        "metricsFrom": PEERS,
        "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}],
    },
    "runAsUser": None,
    "podLabels": {"team": "shop"},
    "podAnnotations": {"example.com/a": "b"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "shop", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "priorityClassName": "critical",
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/authorities", "readOnly": True}],
}
SETS: dict[str, dict[str, Any]] = {
    "least": {},
    "one pod": {"replicas": 1, "settings": {"store": "sqlite", "workers": 2}},
    "nothing is stored": {"settings": {"store": None}, "unsharedStore": True},
    "address of the store is secret": {"settings": {"store": None}, "secrets": {"storeKey": "store"}},
    "autoscaled": {"autoscaling": {"enabled": True}},
    "adapters": {
        "settings": {"upstream": None, "serve": ["ext_proc=0.0.0.0:9001", "forward_auth=0.0.0.0:9002"]},
        "extraPorts": [
            {"name": "ext-proc", "port": 9001, "appProtocol": "kubernetes.io/h2c"},
            {"name": "forward-auth", "port": 9002},
        ],
        "networkPolicy": {"enabled": True},
    },
    "watched": {"serviceMonitor": {"enabled": True}, "networkPolicy": {"enabled": True}},
    "everything": EVERYTHING,
    "sidecar": SIDECAR,
    "sidecar with everything": {
        **EVERYTHING,
        "mode": "sidecar",
        "storefront": {"containers": CONTAINERS, "volumes": [{"name": "x", "emptyDir": {}}], "graceSeconds": 120},
    },
    "sidecar of another chart": {"mode": "sidecar"},
}


def values(more: dict[str, Any]) -> dict[str, Any]:
    """Lay values over the least that must be given; None takes one of those away."""
    found = copy.deepcopy(LEAST)

    def lay(under: dict[str, Any], over: dict[str, Any]) -> None:
        for name, value in over.items():
            if isinstance(value, dict) and isinstance(under.get(name), dict):
                lay(under[name], value)
            elif value is None and name in under:
                del under[name]
            else:
                under[name] = value

    lay(found, more)
    return found


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[dict[str, Any]]]:
    """Give what the chart makes of each set of values."""
    return {name: render(values(more)) for name, more in SETS.items()}


def of_kind(documents: list[dict[str, Any]], kind: str, end: str = "") -> Any:
    [found] = [one for one in documents if one["kind"] == kind and one["metadata"]["name"].endswith(end)]
    return found


def pods(documents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in documents:
        if one["kind"] == "Deployment":
            yield one["spec"]["template"]["spec"]


def our_container(documents: list[dict[str, Any]]) -> dict[str, Any]:
    [pod] = pods(documents)
    found: list[dict[str, Any]] = [*pod["containers"], *pod.get("initContainers", ())]
    return next(one for one in found if one["name"] == "vestibule")


def settings_of(documents: list[dict[str, Any]], folder: Path) -> Settings:
    """Give the settings as a run would load them, with the arguments and variables of the container."""
    file = folder / "vestibule.yaml"
    file.write_text(of_kind(documents, "ConfigMap", "-settings")["data"]["vestibule.yaml"])
    loaded = load_settings(file, {}, {})
    assert loaded.faults == []
    assert loaded.settings is not None
    return loaded.settings


def blocks(kind: str) -> list[str]:
    """Give what the page of the chart shows for readers to take."""
    return re.findall(rf"(?ms)^```{kind}\n(.*?)^```$", chart.PAGE.read_text("utf-8"))


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
            "0.0.0.0:9090": "127.0.0.1:0",
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
            swap(home / "rules", "two")
            proxy.event("reloaded")
            assert proxy.call("GET", "/").headers["X-Tag"] == "two"
            assert proxy.stop() == 0


def swap(folder: Path, tag: str) -> None:
    """Lay a ConfigMap out as the kubelet does: behind a link that is replaced in one move."""
    rule = f"{{name: tag, after: [{{headers: {{set: {{X-Tag: {tag}}}}}}}]}}"
    (folder / f"..{tag}").mkdir()
    (folder / f"..{tag}" / "tag.yaml").write_text(f"version: 1\nrules: [{rule}]\n")
    (folder / "..data_tmp").symlink_to(f"..{tag}")
    (folder / "..data_tmp").rename(folder / "..data")
    if not (folder / "tag.yaml").is_symlink():
        (folder / "tag.yaml").symlink_to("..data/tag.yaml")


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
    [snippet] = [text for text in blocks("yaml") if "include" in text]
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
    [install] = [text for text in blocks("sh") if text.startswith("helm install ")]
    words = shlex.split(install.replace("\\\n", " "))
    done = helm("template", *words[2:])
    assert done.returncode == 0, done.stderr
    documents = [one for one in yaml.safe_load_all(done.stdout) if one]
    rules = of_kind(documents, "ConfigMap", "-rules")["data"]
    assert rules == {"tickets.yaml": Path("rules/kibo/short-tickets.yaml").read_text("utf-8")}
    [sidecar] = [text for text in blocks("yaml") if "mode:" in text]
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
