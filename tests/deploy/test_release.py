"""What is released: a wheel and an sdist that are the same bytes whoever builds them, install alone and serve a login;
a lock that holds what is needed and nothing else; a bill that tells what lies inside the wheels.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution, distributions, version
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.release import bill
from tests.running import ROOT, run_command, running

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCK = (ROOT / "deploy" / "requirements.lock").read_text("utf-8")
# They are for those who change Vestibule.
NOT_SERVING = {"test", "fuzz"}
SOURCES = ("LICENSE", "Makefile", "README.md", "deploy", "proxy", "pyproject.toml", "rules")
EPOCH = "1790000000"
LOGIN = "/api/commerce/customer/authtickets?responseFields=userId,refreshToken"
JANE = {"username": "jane@example.com", "password": "correct-horse-1"}


@dataclass(frozen=True, slots=True)
class Pin:
    """A line of the lock."""

    version: str
    marker: str
    hashes: int


def pins() -> dict[str, Pin]:
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", LOCK):
        if line := re.match(r"([a-z0-9-]+)==([^ ]+)(?: ; (.+?))? \\\n", block):
            found[line[1]] = Pin(line[2], line[3] or "", len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)))
    return found


def needed() -> dict[str, list[Requirement]]:
    """Give what serving needs here, by name, with all that asks for it: the requirements, and theirs in turn."""
    extras = PROJECT["project"]["optional-dependencies"]
    lines = [
        *PROJECT["project"]["dependencies"],
        *(one for name in extras.keys() - NOT_SERVING for one in extras[name]),
    ]
    waiting = [one for line in lines if applies(one := Requirement(line), "")]
    found: dict[str, list[Requirement]] = {}
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found.setdefault(name, []).append(requirement)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                asked = map(Requirement, distribution(name).requires or ())
                waiting += [one for one in asked if applies(one, extra)]
    return found


def applies(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is None or marker.evaluate({**default_environment(), "extra": extra})  # type: ignore[dict-item]


def test_the_lock_pins_what_serving_needs_each_with_its_hashes() -> None:
    found = pins()
    assert LOCK.count("==") == len(found), "a line of the lock is not understood"
    wanted = needed()
    assert sorted(wanted.keys() - found.keys()) == [], "run `make lock`"
    for name, requirements in wanted.items():
        for requirement in requirements:
            assert found[name].version in requirement.specifier, f"{name}, for {requirement}: run `make lock`"
    assert [name for name, pin in found.items() if not pin.hashes] == []


def test_the_lock_pins_nothing_else() -> None:
    """What only another Python needs has a marker."""
    assert sorted(name for name in pins().keys() - needed().keys() if not pins()[name].marker) == [], "run `make lock`"


def test_the_lock_covers_every_extra_that_serves() -> None:
    [named] = re.findall(r"(?m)^IMAGE_EXTRAS := (.+)$", (ROOT / "Makefile").read_text("utf-8"))
    assert set(named.split()) == PROJECT["project"]["optional-dependencies"].keys() - NOT_SERVING


def test_nothing_that_is_installed_brings_a_module_that_something_else_brings() -> None:
    """The one that is installed last would be there for both."""
    owners: dict[str, set[str]] = {}
    for one in distributions():
        for file in one.files or ():
            if file.suffix in (".py", ".so"):
                owners.setdefault(str(file), set()).add(one.name)
    assert len(owners) > 1000
    assert {file: names for file, names in owners.items() if len(names) > 1} == {}


def test_the_lock_names_no_registry() -> None:
    """Whoever builds an image has one of his own."""
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links", LOCK)


# The wheel and the sdist


def built(folder: Path) -> list[Path]:
    """Build from a copy of the sources that nobody else made."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"), copy_function=copy
            )
        else:
            copy(ROOT / name, source / name)
    build = ("-m", "build", "--no-isolation", "--outdir", folder / "dist", source)
    do("env", f"SOURCE_DATE_EPOCH={EPOCH}", sys.executable, *build)
    return sorted((folder / "dist").iterdir())


def copy(source: str | Path, target: str | Path) -> None:
    """Copy a file as a checkout makes one: as of now, and with what the umask leaves of its mode."""
    Path(target).write_bytes(Path(source).read_bytes())


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sdist and the wheel that was built from it."""
    return built(tmp_path_factory.mktemp("release"))[::-1]


def test_a_second_build_gives_the_same_bytes(release: list[Path], tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        again = built(tmp_path)[::-1]
    finally:
        os.umask(umask)
    assert [file.name for file in again] == [file.name for file in release]
    for one, other in zip(release, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_the_wheel_is_the_sources_with_the_rules_and_the_licence(release: list[Path]) -> None:
    _, wheel = release
    assert wheel.name == f"vestibule-{version('vestibule')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
        [licence] = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert found == dict(sources("proxy", "proxy")) | dict(sources("rules", "proxy/rules"))
    assert {f"proxy/rules/{pack}/pack.yaml" for pack in ("auth0", "kibo", "oauth", "sfcc")} <= found.keys()


def sources(folder: str, place: str) -> Iterator[tuple[str, bytes]]:
    for file in (ROOT / folder).rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            yield f"{place}/{file.relative_to(ROOT / folder).as_posix()}", file.read_bytes()


def test_the_sdist_has_all_that_it_takes_to_build_it_again(release: list[Path]) -> None:
    sdist, _ = release
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "Makefile", "README.md", "pyproject.toml", "deploy/requirements.lock"} <= names
    assert {"proxy/__init__.py", "rules/kibo/pack.yaml"} <= names
    assert not any(part.startswith(".venv") or part == "build" for name in names for part in name.split("/"))


# What users do with them


@pytest.fixture
def clean(release: list[Path], tmp_path: Path) -> Path:
    """An environment with nothing but what the wheel asks for; gives its programs."""
    _, wheel = release
    do(sys.executable, "-m", "venv", "--without-pip", tmp_path / "clean")
    # It takes a tenth of the time that pip takes to find what is needed.
    do(Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--python", tmp_path / "clean", wheel)
    return tmp_path / "clean" / "bin"


def do(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_released_installs_and_serves_a_login(release: list[Path], clean: Path, tmp_path: Path) -> None:
    """The wheel was built from the sdist, so one of them is enough."""
    _, wheel = release
    folder = tmp_path / "shop"
    folder.mkdir()
    pip = (sys.executable, "-m", "pip", "--python", clean / "python", "--disable-pip-version-check")
    do(*pip, "install", "--quiet", "--force-reinstall", "--no-deps", wheel)
    program = (str(clean / "vestibule"),)
    for words in (("init", "kibo"), ("check", "--strict", "."), ("test", ".")):
        code, out, err = run_command(*words, cwd=folder, program=program)
        assert code == 0, f"{words}: {out}{err}"
    with running(cwd=folder, program=program) as proxy:
        answer = proxy.call("POST", LOGIN, JANE, {"x-vol-site": "2"})
        assert answer.status == 200
        assert answer.headers["Authorization"].startswith("Bearer ")
        assert "refreshToken" not in answer.json
        assert proxy.stop() == 0


# The bill of materials


def test_the_bill_tells_what_lies_inside_the_wheels() -> None:
    def told(name: str) -> dict[str, str | None]:
        components = {"components": [{"name": wheel.name} for wheel in wheels()]}
        [found] = [
            one for one in bill.add(components, wheels())["components"] if canonicalize_name(one["name"]) == name
        ]
        return {one["name"]: one.get("version") for one in found.get("components", ())}

    assert told("aiohttp")["llhttp"], "aiohttp was raised: look up its llhttp, and say it in deploy/release/bill.py"
    assert told("uvloop")["libuv"]
    assert told("pyyaml")["libyaml"]
    assert {"openssl", "pyo3"} <= told("cryptography").keys()
    assert told("click") == {}


def wheels() -> Iterator[Distribution]:
    return iter({canonicalize_name(wheel.name): wheel for wheel in distributions()}.values())
