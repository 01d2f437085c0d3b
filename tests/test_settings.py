"""Settings: where each value comes from, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.settings import Leaf, leaves, load_settings
from tests.running import run_command


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_flags_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "v.yaml", "workers: 2\ndrain: 1s\nlisten: 127.0.0.1:1\nupstream: http://a\n")
    loaded = load_settings(file, {"VESTIBULE_DRAIN": "2s", "VESTIBULE_WORKERS": "3"}, {"workers": "4"})
    assert loaded.faults == []
    assert loaded.settings is not None
    assert (loaded.settings.workers, loaded.settings.drain, loaded.settings.listen) == (4, 2.0, ["127.0.0.1:1"])
    origins = {name: loaded.origins[name] for name in ("workers", "drain", "listen", "upstream.url", "store")}
    assert origins == {
        "workers": "--workers",
        "drain": "VESTIBULE_DRAIN",
        "listen": f"{file}:3",
        "upstream.url": f"{file}:4",
        "store": "default",
    }


def test_every_setting_has_a_flag_and_a_variable_of_its_own() -> None:
    known = list(leaves())
    assert len({leaf.flag for leaf in known}) == len({leaf.variable for leaf in known}) == len(known)
    assert Leaf("upstream.timeouts.first_byte", False, "").flag == "--upstream-timeouts-first-byte"
    assert Leaf("upstream.url", False, "").variable == "VESTIBULE_UPSTREAM"


def test_lists_in_variables_and_flags_are_separated_by_commas() -> None:
    loaded = load_settings(None, {"VESTIBULE_TRUSTED_PROXIES": "10.0.0.0/8, ::1/128"}, {"rules": ("a", "b")})
    assert loaded.settings is not None
    assert loaded.settings.trusted_proxies == ["10.0.0.0/8", "::1/128"]
    assert loaded.settings.rules == ["a", "b"]


def test_sizes_and_durations_have_units(tmp_path: Path) -> None:
    file = write(tmp_path / "v.yaml", "limits: {body_bytes: 1MiB, decoded_bytes: 1000, deadlines: {header: 500ms}}\n")
    loaded = load_settings(file, {}, {})
    assert loaded.settings is not None
    limits = loaded.settings.limits
    assert (limits.body_bytes, limits.decoded_bytes, limits.deadlines.header) == (1 << 20, 1000, 0.5)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("limits: {body_byts: 1}", "1:10", "did you mean 'body_bytes'"),
        ("workers: 0", "1:10", "at least 1"),
        ("drain: 5", "1:8", "a duration is"),
        ("upstream: {url: 'ftp://x'}", "1:17", "the upstream is http://"),
        ("upstream: http://user@host", "1:11", "no user"),
        ("trusted_proxies: [10.0.0.0/40]", "1:19", "CIDR"),
        ("hosts: [shop.example:443]", "1:9", "without a port"),
        ("public_origin: shop.example", "1:16", "an origin is"),
        ("store: redis://x/y", "1:8", "number of a database"),
        ("tracing: collector:4318", "1:10", "a collector is"),
        ("tracing: {endpoint: 'http://user@collector:4318'}", "1:21", "a collector is"),
        ("tracing: {ratio: 2}", "1:18", "at most 1"),
        ("admin: {listen: nowhere}", "1:17", "an address is"),
        ("log: {level: loud}", "1:14", "'debug'"),
        ("listen: [", "2:1", "syntax"),
    ],
)
def test_a_problem_of_the_file_has_its_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    file = write(tmp_path / "v.yaml", text + "\n")
    loaded = load_settings(file, {}, {})
    assert loaded.settings is None
    assert any(fault.startswith(f"{file}:{place}: error") and words in fault for fault in loaded.faults), loaded.faults


@pytest.mark.parametrize(
    ("environ", "flags", "said"),
    [
        ({"VESTIBULE_WORKRES": "1"}, {}, "did you mean VESTIBULE_WORKERS?"),
        ({"VESTIBULE_WORKERS": "many"}, {}, "VESTIBULE_WORKERS: "),
        ({}, {"listen": ("nowhere",)}, "--listen: an address is"),
        ({}, {"tls.cert": "x"}, "give both"),
        ({}, {"workers": "2", "store": "memory"}, "`memory` is of one worker"),
    ],
)
def test_a_problem_of_a_flag_or_a_variable_has_its_name(
    environ: dict[str, str], flags: dict[str, Any], said: str
) -> None:
    loaded = load_settings(None, environ, flags)
    assert loaded.settings is None
    assert any(said in fault for fault in loaded.faults), loaded.faults


@pytest.mark.parametrize("workers", ["many", "0"])
def test_one_mistake_is_one_problem(tmp_path: Path, workers: str) -> None:
    file = write(tmp_path / "v.yaml", f"workers: {workers}\n")
    assert len(load_settings(file, {}, {}).faults) == 1
    assert len(load_settings(None, {"VESTIBULE_WORKERS": workers}, {}).faults) == 1


@pytest.mark.parametrize(("workers", "store"), [("1", "memory"), ("2", "sqlite")])
def test_several_workers_share_a_store_unless_told_otherwise(workers: str, store: str) -> None:
    loaded = load_settings(None, {}, {"workers": workers})
    assert loaded.settings is not None
    assert loaded.settings.store == store


def test_a_secret_of_the_environment_is_no_setting() -> None:
    assert load_settings(None, {"VESTIBULE_SECRET_MFA": "test-only"}, {}).settings is not None


def test_the_settings_are_printed_with_their_origin(tmp_path: Path) -> None:
    file = write(tmp_path / "v.yaml", "workers: 2\n")
    code, out, _ = run_command("config", "-c", file, "--drain", "3s", env={"VESTIBULE_STORE": "sqlite:x.db"})
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if len(line.split()) == 3}
    assert rows["workers"] == ["2", f"{file}:1"]
    assert rows["drain"] == ["3.0", "--drain"]
    assert rows["store"] == ["sqlite:x.db", "VESTIBULE_STORE"]
    code, _, err = run_command("config", "-c", write(file, "wrokers: 2\n"))
    assert code == 3
    assert "did you mean 'workers'" in err
