"""`vestibule export k8s`: a stand-alone Deployment of these rules, as the Helm chart would render it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ... import __version__
from .bundle import (
    ADMIN_PORT,
    HOME,
    IMAGE_IS_BUILT,
    PORT,
    RULES,
    SECRETS,
    SETTINGS,
    TMP,
    USER,
    Bundle,
    bundle_or_exit,
    is_shared,
    refuse,
    rules_argument,
    setting,
    store_option,
)
from .writing import write

# What a ConfigMap holds, less what its names take.
_LARGEST = 1_000_000
# The name of the secret that the admin port asks for, except for its probes.
TOKEN = "admin_token"
DRAIN_DELAY = 5
DRAIN = 20
# What the supervisor takes to end workers that did not, and some more.
_SLACK = 10
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,51}[a-z0-9])?")


def _dns_label(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise click.BadParameter("a name is lower-case letters, digits and hyphens", ctx, param)
    return value


@click.command("k8s")
@rules_argument
@click.option("--upstream", required=True, callback=setting("upstream"), help="The auth service: https://auth.example.")
@store_option("Without one there is one replica, for each would count by itself.")
@click.option("--name", default="vestibule", show_default=True, callback=_dns_label, help="What everything is called.")
@click.option("--image", default=f"vestibule:{__version__}", show_default=True, help="The image of Vestibule.")
def command(rules: tuple[Path, ...], upstream: str, store: str | None, name: str, image: str) -> None:
    """Print manifests for these rules: a Deployment, its Service, settings and rules.

    \b
    vestibule export k8s --upstream https://auth.example rules | kubectl apply -f -

    RULES are files, or folders with everything below them. The secrets that they name are taken from a Secret, which
    is not printed. The Helm chart has more to choose: deploy/helm/vestibule.
    """
    bundle = bundle_or_exit(rules)
    size = sum(len(text.encode()) for text in bundle.texts.values())
    if size > _LARGEST:
        refuse(f"the rules take {size} bytes, and a ConfigMap holds {_LARGEST}: put them into the image")
    click.echo("---\n".join(_documents(bundle, upstream, store, name, image)), nl=False)


def _documents(bundle: Bundle, upstream: str, store: str | None, name: str, image: str) -> Iterator[str]:
    labels = {"app.kubernetes.io/name": "vestibule", "app.kubernetes.io/instance": name}
    above = {**labels, "app.kubernetes.io/version": __version__}

    def meta(suffix: str = "") -> dict[str, Any]:
        return {"name": f"{name}{suffix}", "labels": above}

    keys = _keys(bundle)
    settings = write(_settings(upstream, store))
    replicas = 2 if is_shared(store) else 1
    yield write(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta("-rules"),
            "data": {keys[path]: text for path, text in bundle.texts.items()},
        },
        f"{IMAGE_IS_BUILT}\n"
        "The rules. A change is served within about a minute, without a restart; one with a mistake is not.",
    )
    yield write(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta("-settings"),
            "data": {"vestibule.yaml": settings},
        },
        "The settings; `vestibule config` prints all that there are.",
    )
    secrets = dict.fromkeys([TOKEN, *(["store_key"] if is_shared(store) else []), *bundle.secrets])
    yield write(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta(),
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {
                    "metadata": {
                        "labels": above,
                        "annotations": {"checksum/settings": hashlib.sha256(settings.encode()).hexdigest()},
                    },
                    "spec": _pod(name, image, keys, labels),
                },
            },
        },
        "The secrets are files of a Secret; make it first, each of random bytes or of what the service gave you:\n"
        f"kubectl create secret generic {name} "
        + " ".join(f"--from-file={one}=FILE" for one in secrets)
        + ("" if is_shared(store) else "\nOne pod: several would each count by themselves. With --store they share."),
    )
    yield write(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta(),
            "spec": {
                "type": "ClusterIP",
                "selector": labels,
                "ports": [{"name": "http", "port": PORT, "targetPort": "http", "appProtocol": "http"}],
            },
        },
        "Send to it what went to the auth service.",
    )
    if replicas > 1:
        yield write(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": meta(),
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
            }
        )


def _keys(bundle: Bundle) -> dict[str, str]:
    """Give each file the key that it has in the ConfigMap, where no folder can be."""
    keys: dict[str, str] = {}
    for path in bundle.texts:
        key = re.sub(r"[^-._A-Za-z0-9]", "_", path.replace("/", "--"))
        keys[path] = key if key not in keys.values() else f"{len(keys)}-{key}"
    return keys


def _settings(upstream: str, store: str | None) -> dict[str, Any]:
    return {
        "listen": f"0.0.0.0:{PORT}",
        # A pod that leaves its Service when the upstream is down could not even say so.
        "admin": {"listen": f"0.0.0.0:{ADMIN_PORT}", "token": TOKEN, "ready": "workers"},
        "upstream": {"url": upstream},
        "rules": RULES,
        "secrets": SECRETS,
        **({} if store is None else {"store": store}),
        "drain_delay": f"{DRAIN_DELAY}s",
        "drain": f"{DRAIN}s",
    }


def _pod(name: str, image: str, keys: dict[str, str], labels: dict[str, str]) -> dict[str, Any]:
    items = [{"key": key, "path": path} for path, key in keys.items()]
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_DELAY + DRAIN + _SLACK,
        "securityContext": {"runAsNonRoot": True, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "vestibule",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["run", "--watch", "--config", SETTINGS],
                "ports": [
                    {"name": "http", "containerPort": PORT},
                    {"name": "admin", "containerPort": ADMIN_PORT},
                ],
                "startupProbe": _probe("/readyz", period=1, failures=60),
                "livenessProbe": _probe("/livez", period=10, failures=3),
                "readinessProbe": _probe("/readyz", period=2, failures=1),
                "resources": {"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "runAsUser": USER,
                    "runAsGroup": USER,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": [
                    {"name": "vestibule-settings", "mountPath": f"{HOME}/settings", "readOnly": True},
                    {"name": "vestibule-rules", "mountPath": RULES, "readOnly": True},
                    {"name": "vestibule-secrets", "mountPath": SECRETS, "readOnly": True},
                    {"name": "vestibule-tmp", "mountPath": TMP},
                ],
            }
        ],
        "volumes": [
            {"name": "vestibule-settings", "configMap": {"name": f"{name}-settings"}},
            {"name": "vestibule-rules", "configMap": {"name": f"{name}-rules", "items": items}},
            {"name": "vestibule-secrets", "secret": {"secretName": name, "defaultMode": 0o440}},
            {"name": "vestibule-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels},
            }
        ],
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }
