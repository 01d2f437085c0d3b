"""The arrows between the rooms of the house point one way, and the pure rooms stay pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import proxy

PACKAGE = Path(proxy.__file__).parent

# room -> the rooms it may import, beside itself
ALLOWED: dict[str, set[str]] = {
    "engine": set(),
    "language": {"engine"},
    "services": {"engine", "language"},
    "observe": {"engine", "language"},
    "edge": {"engine", "language", "services", "observe"},
    "admin": {"engine", "language", "services", "observe", "edge"},
    "adapters": {"engine", "language", "services", "observe", "edge"},
    "sandbox": {"engine", "language", "services", "observe", "edge"},
    # What an operator wrote, with the sandboxes and adapters that it may name; everybody else is handed what he needs.
    "settings": {"engine", "language", "services", "adapters", "sandbox"},
    "cli": {"engine", "language", "services", "observe", "settings", "edge", "admin", "adapters", "sandbox"},
    "__init__": set(),
    "__main__": {"cli"},
}
PURE = ("engine", "language")
# What reaches outside, or knows the time, or makes one run differ from another.
OUTSIDE = {"aiohttp", "asyncio", "time", "os", "random", "socket", "pathlib", "threading", "subprocess", "shutil"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(file: Path) -> str:
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file: Path) -> Iterator[tuple[int, str, str | None]]:
    """Give line, absolute name and, for what is of this package, the room of everything that a file imports."""
    package = ("proxy", *file.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*start, *filter(None, [node.module])))
            # `from .. import x` imports a room, or a name of the package.
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "proxy" else [module]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "proxy":
                yield node.lineno, name, None
            elif len(parts) > 1 and parts[1] in ALLOWED:
                yield node.lineno, name, parts[1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_room_may(file: Path) -> None:
    own = room(file)
    assert own in ALLOWED, f"{own} is a room that the map does not have"
    wrong = [(line, name) for line, name, other in imports(file) if other not in (None, own, *ALLOWED[own])]
    assert wrong == []


@pytest.mark.parametrize(
    "file", [file for file in FILES if room(file) in PURE], ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_what_is_pure_reaches_nothing_outside(file: Path) -> None:
    wrong = [(line, name) for line, name, other in imports(file) if other is None and name.split(".")[0] in OUTSIDE]
    assert wrong == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_of_the_package_itself_are_relative(file: Path) -> None:
    absolute = [
        node.lineno
        for node in ast.walk(tree_of(file))
        if (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "proxy")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "proxy" for alias in node.names))
    ]
    assert absolute == []


def test_actions_do_not_import_one_another() -> None:
    wrong = []
    for file in (PACKAGE / "language" / "actions").glob("*.py"):
        if file.name != "__init__.py":
            wrong += [(file.name, name) for _, name, _ in imports(file) if name.startswith("proxy.language.actions")]
    assert wrong == []


def test_the_test_sees_the_arrows() -> None:
    """The language does import the engine: were nothing found, the tests above could not fail."""
    found = {other for file in FILES if room(file) == "language" for _, _, other in imports(file)}
    assert {"engine", "language"} <= found
    names = {name for file in FILES for _, name, _ in imports(file)}
    assert {"os", "pathlib", "yaml"} <= names


@pytest.mark.parametrize("module", ["proxy.engine.run", "proxy.language.compile"])
def test_what_is_pure_does_not_load_a_server_either(module: str) -> None:
    code = f"import sys, {module}; sys.exit(str(sorted({{'aiohttp', 'asyncio', 'uvloop'}} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == "[]"
