"""What `vestibule export envoy` prints and what stands in deploy/envoy is what Envoy takes, and all of it is one."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import cli
from tests.adapters.envoy import BINARY

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "envoy"
BODIES = "version: 1\nrules: [{name: a, before: [{when: request.body.a == 1, deny: {}}]}]\n"
HEADS = "version: 1\nrules: [{name: a, before: [{deny: {}}]}]\n"
SHARED = "version: 1\nrules: [{name: a, timeout: 2s, before: [{once: {key: a, ttl: 5s}}]}]\n"
SUSPENDED = (
    "version: 1\nfactors: {otp: {secret: abc}}\nrules: [{name: a, after: [{challenge: {factor: otp, subject: a}}]}]\n"
)


def printed(*words: str | Path) -> Any:
    done = CliRunner().invoke(cli, ["export", "envoy", *map(str, words)])
    assert done.exit_code == 0, done.stderr
    return yaml.safe_load(done.stdout)


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((FOLDER / name).read_text("utf-8")))


def filter_of(bootstrap: Any) -> Any:
    [listener] = bootstrap["static_resources"]["listeners"]
    [manager] = listener["filter_chains"][0]["filters"]
    return manager["typed_config"]["http_filters"][0]


def validate(bootstrap: Any, folder: Path) -> None:
    """Have Envoy itself read a configuration."""
    if not BINARY.is_file():
        pytest.skip("Envoy is not installed: `make .venv-envoy/.installed` does")
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(bootstrap))
    done = subprocess.run(
        [BINARY, "--mode", "validate", "-c", file, "-l", "error"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ext_proc.yaml", ["rules/kibo"]),
        ("ext_authz.yaml", ["--by", "ext_authz", "rules/recipes/mail-domain.yaml"]),
    ],
)
def test_a_file_is_what_the_command_prints_and_envoy_takes_it(
    name: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (bootstrap,) = documents(name)
    assert bootstrap == printed(*words)
    validate(bootstrap, tmp_path)


@pytest.mark.parametrize("by", ["ext_proc", "ext_authz"])
def test_envoy_takes_what_is_printed_for_an_upstream_that_speaks_tls(by: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(BODIES)
    bootstrap = printed("--by", by, "--upstream", "https://auth.example", "--admin", "127.0.0.1:9902", rules)
    validate(bootstrap, tmp_path)
    (auth, _) = bootstrap["static_resources"]["clusters"]
    assert auth["transport_socket"]["name"] == "envoy.transport_sockets.tls"


@pytest.mark.parametrize(
    ("text", "request_modes", "response_modes", "seconds"),
    [
        (HEADS, {"NONE"}, {"NONE"}, "5s"),
        (BODIES, {"NONE", "BUFFERED"}, {"NONE"}, "5s"),
        (SHARED, {"NONE", "BUFFERED"}, {"NONE", "BUFFERED"}, "7s"),
        (SUSPENDED, {"NONE", "BUFFERED"}, {"NONE", "BUFFERED"}, "10s"),
    ],
    ids=["heads alone", "a body is read", "a call is shared", "an exchange is suspended"],
)
def test_only_the_bodies_that_rules_read_may_be_asked_for(
    text: str, request_modes: set[str], response_modes: set[str], seconds: str, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(text)
    asks = filter_of(printed(rules))["typed_config"]
    every = [{"request_body_mode": mode, "response_body_mode": mode} for mode in ("NONE", "BUFFERED")]
    modes = asks.get("allowed_override_modes", every)
    # An answer that nobody held could not be taken back.
    assert asks["processing_mode"]["request_body_mode"] == "NONE"
    assert asks["processing_mode"]["response_body_mode"] == max(response_modes, key=len)
    assert {mode["request_body_mode"] for mode in modes} == request_modes
    assert {mode["response_body_mode"] for mode in modes} == response_modes
    assert asks["failure_mode_allow"] is False
    assert asks["message_timeout"] == seconds


def test_rules_that_envoy_cannot_run_are_not_exported(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules: [{name: a, after: [{status: {code: 201, reason: Made}}]}]\n")
    done = CliRunner().invoke(cli, ["export", "envoy", str(rules)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "its answers have no reason phrase" in done.stderr


def test_istio_asks_with_the_filter_that_is_printed_for_all_bodies(tmp_path: Path) -> None:
    envoy_filter, policy, mesh = documents("istio.yaml")
    asks = envoy_filter["spec"]["configPatches"][0]["patch"]["value"]
    (bootstrap,) = documents("ext_proc.yaml")
    listed = filter_of(bootstrap)["typed_config"]
    listed["grpc_service"]["envoy_grpc"]["cluster_name"] = "outbound|9001||vestibule.auth.svc.cluster.local"
    assert asks == {"name": "envoy.filters.http.ext_proc", "typed_config": listed}
    [manager] = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    manager["typed_config"]["http_filters"][0] = asks
    validate(bootstrap, tmp_path)
    (provider,) = mesh["spec"]["meshConfig"]["extensionProviders"]
    assert policy["spec"]["provider"]["name"] == provider["name"]
    assert provider["envoyExtAuthzGrpc"]["failOpen"] is False
    assert provider["envoyExtAuthzGrpc"]["includeRequestBodyInCheck"]["allowPartialMessage"] is False


def test_envoy_gateway_is_told_what_envoy_is_told() -> None:
    extension, traffic, security = documents("envoy-gateway.yaml")
    (asks,) = extension["spec"]["extProc"]
    (bootstrap,) = documents("ext_proc.yaml")
    listed = filter_of(bootstrap)["typed_config"]
    modes = asks["processingMode"]
    assert modes["request"] == {"attributes": listed["request_attributes"]}
    assert modes["response"] == {"attributes": listed["response_attributes"], "body": "Buffered"}
    assert modes["allowModeOverride"] is True
    assert asks["failOpen"] is security["spec"]["extAuth"]["failOpen"] is False
    assert asks["messageTimeout"] == listed["message_timeout"]
    [listener] = bootstrap["static_resources"]["listeners"]
    assert traffic["spec"]["connection"]["bufferLimit"] == "4Mi"
    assert security["spec"]["extAuth"]["bodyToExtAuth"]["maxRequestBytes"] == 4 << 20
    assert listener["per_connection_buffer_limit_bytes"] == 4 << 20
