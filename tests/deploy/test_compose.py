"""The compose files, that of the project and those that are exported: compose takes them, and what they say runs."""

from __future__ import annotations

import contextlib
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from proxy import __version__
from proxy.cli import cli
from proxy.settings import load_settings
from tests.deploy.dockerfile import ROOT, last
from tests.running import PATIENCE, Lines, command, run_command, running
from tests.services.store.valkey import serving

OURS = ROOT / "deploy" / "compose.yaml"
LOGIN = "/api/commerce/customer/authtickets"
TENANT = {"x-vol-tenant": "1", "x-vol-site": "2"}


def exported(*words: str) -> Any:
    done = CliRunner().invoke(cli, ["export", "compose", *words])
    assert done.exit_code == 0, done.stderr
    return yaml.safe_load(done.stdout)


FILES = {
    "ours": lambda: yaml.safe_load(OURS.read_text("utf-8")),
    "kibo": lambda: exported("--upstream", "sandbox:kibo", "rules/kibo"),
    "secrets": lambda: exported("--upstream", "https://auth.example/$base", "rules/recipes/totp.yaml"),
    "own store": lambda: exported(
        "--upstream", "https://auth.example", "--store", "rediss://cache.example", "rules/kibo"
    ),
}


@pytest.fixture(params=FILES)
def compose(request: pytest.FixtureRequest) -> Any:
    return FILES[request.param]()


def test_it_is_of_this_version(compose: Any) -> None:
    images = {service["image"] for service in compose["services"].values()} - {"valkey/valkey:9"}
    assert images == {f"vestibule:{__version__}"}


def test_compose_takes_it(compose: Any) -> None:
    schema = files("check_jsonschema").joinpath("builtin_schemas", "vendor", "compose-spec.json").read_text("utf-8")
    jsonschema.Draft7Validator(json.loads(schema)).validate(compose)


def test_no_service_has_what_it_does_not_need(compose: Any) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_a_stop_has_longer_than_exchanges_may_take_to_end(compose: Any) -> None:
    service = compose["services"]["vestibule"]
    settings = load_settings(None, undollared(service["environment"]), {}).settings
    assert settings is not None
    assert float(service["stop_grace_period"].removesuffix("s")) > settings.drain_delay + settings.drain + 5


def undollared(environment: dict[str, str]) -> dict[str, str]:
    """Give variables as a container has them: compose takes one dollar for a variable of its own, and two for one."""
    assert not any(re.search(r"(?<!\$)\$(?!\$)", value.replace("$$", "")) for value in environment.values())
    return {name: value.replace("$$", "$") for name, value in environment.items()}


def test_a_dollar_stays_one() -> None:
    environment = FILES["secrets"]()["services"]["vestibule"]["environment"]
    assert undollared(environment)["VESTIBULE_UPSTREAM"] == "https://auth.example/$base"


def mounted(service: dict[str, Any], compose: Any, folder: Path) -> Path:
    """Lay out the rules as compose mounts them."""
    for volume in service.get("volumes", ()):
        source, target, _ = str(volume).split(":")
        assert target == "/etc/vestibule/rules"
        return (OURS.parent / source).resolve()
    for config in service["configs"]:
        file = folder / Path(config["target"]).relative_to("/etc/vestibule")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((ROOT / compose["configs"][config["source"]]["file"]).read_bytes())
    return folder / "rules"


@pytest.mark.parametrize("name", ["ours", "kibo"])
def test_its_services_serve_together(name: str, tmp_path: Path) -> None:
    """Each by its own command line, with other names for the hosts, and ports that are free."""
    compose = FILES[name]()
    services = compose["services"]
    with contextlib.ExitStack() as stack:
        program, *options = services["valkey"]["command"]
        assert program == "valkey-server"
        valkey = stack.enter_context(serving(tmp_path, *options))
        words = ["127.0.0.1:0" if word == "0.0.0.0:8081" else word for word in services["sandbox"]["command"]]
        assert "127.0.0.1:0" in words
        sandbox = stack.enter_context(command(*words))
        stack.callback(sandbox.kill)
        address = Lines(sandbox.stdout).next("the address of the sandbox").strip()
        service = services["vestibule"]
        text = json.dumps(undollared(service["environment"]))
        for there, here in {
            "http://sandbox:8081": address,
            "redis://valkey:6379": valkey.url,
            "/etc/vestibule/rules": str(mounted(service, compose, tmp_path)),
        }.items():
            assert there in text
            text = text.replace(there, here)
        first, *flags = service["command"]
        env = {**json.loads(text), "VESTIBULE_ADMIN": f"unix:{tmp_path}/admin"}
        proxy = stack.enter_context(running(*flags, command_name=first, env=env, cwd=tmp_path))
        assert flags == ["--watch"]
        proxy.event("upstream-reached")
        answer = proxy.call("POST", LOGIN, {"username": "jane@example.com", "password": "correct-horse-1"}, TENANT)
        assert answer.status == 200
        test = service.get("healthcheck", {}).get("test", ["CMD", *last("HEALTHCHECK").words])
        assert test[:2] == ["CMD", "vestibule"]
        assert run_command(*test[2:], env={"VESTIBULE_ADMIN": env["VESTIBULE_ADMIN"]}) == (0, "", "")
        assert proxy.stop() == 0
        sandbox.terminate()
        assert sandbox.wait(PATIENCE) == 0
