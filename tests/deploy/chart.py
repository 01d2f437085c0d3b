"""The Helm chart for its tests, and what of it is generated: `python -m tests.deploy.chart` writes that again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from proxy.cli.schema import settings_schema

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "vestibule"
SCHEMA = CHART / "values.schema.json"
PAGE = CHART / "README.md"
HELM = Path(sys.executable).parent / "helm"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
UPSTREAM = "^(https?://[^/?#]|sandbox:)"
# What the chart decides, or knows better by a value of its own.
OWN = ("listen", "admin", "rules", "secrets", "tls", "handover", "sandbox_data", "drain_delay", "drain")


def helm(*words: str | Path, values: Any = None) -> subprocess.CompletedProcess[str]:
    """Run Helm; values are given as a file."""
    given = [] if values is None else ["--values", "-"]
    return subprocess.run(
        [HELM, *words, *given],
        input=None if values is None else json.dumps(values),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def render(values: Any, *flags: str) -> list[dict[str, Any]]:
    """Give the documents that the chart makes of values."""
    done = helm("template", "shop", CHART, *flags, values=values)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def refusal(values: Any, *flags: str) -> str:
    """Give what Helm says of values that it refuses."""
    done = helm("template", "shop", CHART, *flags, values=values)
    assert done.returncode != 0
    assert done.stdout == ""
    return done.stderr


def shown(kind: str) -> list[str]:
    """Give what the page of the chart shows for readers to take."""
    return re.findall(rf"(?ms)^```{kind}\n(.*?)^```$", PAGE.read_text("utf-8"))


# What is generated


def with_settings(schema: dict[str, Any]) -> dict[str, Any]:
    """Give the schema of the values with that of the settings, but for those that are the chart's."""
    settings = settings_schema()
    definitions = {f"settings_{name}": part for name, part in settings["$defs"].items()}
    properties = {name: part for name, part in settings["properties"].items() if name not in OWN}
    # A chart without an auth service makes pods that do not start.
    for form in properties["upstream"]["anyOf"]:
        if form.get("type") == "string":
            form["pattern"] = UPSTREAM
    definitions["settings_UpstreamSettings"]["required"] = ["url"]
    definitions["settings_UpstreamSettings"]["properties"]["url"] |= {
        "anyOf": [{"type": "string", "pattern": UPSTREAM}]
    }
    whole = {
        "type": "object",
        "additionalProperties": False,
        # Where only adapters are served, other proxies have the upstream.
        "anyOf": [{"required": ["upstream"]}, {"required": ["serve"]}],
        "properties": properties,
    }
    found: dict[str, Any] = _kept(_led({**schema, "$defs": {"settings": whole, **definitions}}))
    named = json.dumps(found)
    found["$defs"] = {name: part for name, part in found["$defs"].items() if f'"#/$defs/{name}"' in named}
    return found


def _led(part: Any, within: bool = False) -> Any:
    """Lead the references of the settings to where they are now."""
    if isinstance(part, list):
        return [_led(one, within) for one in part]
    if not isinstance(part, dict):
        return part
    found = {}
    for name, value in part.items():
        if name == "$ref" and within:
            value = value.replace("#/$defs/", "#/$defs/settings_")
        found[name] = _led(value, within or name == "$defs")
    return found


def _kept(part: Any) -> Any:
    """Leave out what only helps who writes in an editor."""
    if isinstance(part, list):
        return [_kept(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {name: _kept(value) for name, value in part.items() if name not in ("examples", "title") or "type" in value}


def table(schema: dict[str, Any], values: dict[str, Any]) -> str:
    """Write the values as a table: what each is for, and its default."""
    rows = ["| value | default | |", "|---|---|---|"]
    for name, part, default in _leaves(schema, values, ""):
        shown = "" if default is None else f"`{json.dumps(default)}`"
        rows.append(f"| `{name}` | {shown} | {part['description']} |")
    return "\n".join(rows)


def _leaves(schema: dict[str, Any], values: Any, above: str) -> Any:
    for name, part in schema["properties"].items():
        default = values.get(name) if isinstance(values, dict) else None
        if "properties" in part:
            yield from _leaves(part, default, f"{above}{name}.")
        elif name != "global":
            yield f"{above}{name}", part, default


def write_schema() -> str:
    return json.dumps(with_settings(json.loads(SCHEMA.read_text("utf-8"))), indent=2, ensure_ascii=False) + "\n"


def write_page() -> str:
    schema, values = json.loads(SCHEMA.read_text("utf-8")), yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table(schema, values)}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    SCHEMA.write_text(write_schema(), "utf-8")
    PAGE.write_text(write_page(), "utf-8")
