"""Values of the Helm chart for its tests, and how to find one's way in what it renders."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

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
