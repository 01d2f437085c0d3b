"""The maps of the house are true: what a page names is there, and what is there is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PAGES = {"proxy": PROJECT / "proxy" / "README.md", "tests": PROJECT / "tests" / "README.md"}
_NAMED = re.compile(r"`([A-Za-z_][\w/]*/)`|\b([A-Za-z_][\w/]*\.py)\b")


def rooms(package: str) -> list[str]:
    """Give the folders of the house at any depth, and the modules and folders at the top of it or of the tests."""
    folder = PROJECT / package
    top = [child for child in folder.iterdir() if child.suffix in ("", ".py")]
    deep = [child for child in folder.rglob("*") if child.is_dir() and any(child.glob("*.py"))]
    found = top + (deep if package == "proxy" else [])
    return sorted(
        {
            f"{child.name}/" if child.is_dir() else child.name
            for child in found
            if not child.name.startswith((".", "_", "test_", "conftest"))
        }
    )


@pytest.mark.parametrize("package", PAGES)
def test_every_room_is_on_the_map(package: str) -> None:
    page = PAGES[package].read_text(encoding="utf-8")
    assert [room for room in rooms(package) if f"`{room}`" not in page] == []


@pytest.mark.parametrize("package", PAGES)
def test_every_room_on_the_map_is_there(package: str) -> None:
    page = PAGES[package].read_text(encoding="utf-8")
    named = [folder or module for folder, module in _NAMED.findall(page)]
    assert len(named) > 10
    assert [name for name in named if not there(PROJECT / package, name)] == []


def there(folder: Path, name: str) -> bool:
    """Say whether a page means something: a place from the top of the project or of the package, or a name in it."""
    if (PROJECT / name).exists() or (folder / name).exists():
        return True
    return any(found.as_posix().endswith(f"/{name.rstrip('/')}") for found in folder.rglob(Path(name).name))
