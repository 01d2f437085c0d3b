"""The schemas of Kubernetes, of each version once: what is not in them is refused, an unknown field too."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any

import jsonschema
from kubernetes_validate import utils
from referencing import Registry, Resource

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
# Not Kubernetes' own; its fields are those of https://prometheus-operator.dev/docs/api-reference/api/
FOREIGN = {"monitoring.coreos.com/v1"}


@functools.cache
def _folder(version: str) -> Any:
    [found] = {one for one in utils.all_versions() if utils.major_minor(one) == version}
    return files("kubernetes_validate").joinpath("kubernetes-json-schema", f"v{found}-local-strict")


@functools.cache
def _registry(version: str) -> Any:
    definitions = json.loads(_folder(version).joinpath("_definitions.json").read_text("utf-8"))
    return Resource.from_contents(definitions) @ Registry()


@functools.cache
def _validator(version: str, kind: str, api: str) -> Any:
    group, _, number = api.rpartition("/")
    name = "-".join(filter(None, [kind.lower(), group.partition(".")[0], number]))
    schema = json.loads(_folder(version).joinpath(f"{name}.json").read_text("utf-8"))
    registry = Resource.from_contents(schema) @ _registry(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


def problems(document: Any, version: str) -> list[str]:
    """Say what Kubernetes of this version would not take of a document."""
    return [
        f"{version} {document['kind']} {error.json_path}: {error.message}"
        for error in _validator(version, document["kind"], document["apiVersion"]).iter_errors(document)
    ]


def all_problems(documents: list[Any]) -> list[str]:
    """Say what any version would not take; each document is looked at once, however often it is there."""
    known = {json.dumps(one, sort_keys=True): one for one in documents if one["apiVersion"] not in FOREIGN}
    return [text for one in known.values() for version in VERSIONS for text in problems(one, version)]
