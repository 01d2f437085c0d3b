"""The maps of the house are true: what a page names is there, and what is there is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PAGES = {"proxy": PROJECT / "proxy" / "README.md", "tests": PROJECT / "tests" / "README.md"}
_CODE = re.compile(r"`([A-Za-z_][\w./]*(?:\.py|/))`")


def rooms(package: str) -> list[str]:
    return sorted(
        f"{child.name}/" if child.is_dir() else child.name
        for child in (PROJECT / package).iterdir()
        if child.suffix in ("", ".py") and not child.name.startswith((".", "_", "test_", "conftest"))
    )


@pytest.mark.parametrize("package", PAGES)
def test_every_folder_and_module_at_the_top_is_named(package: str) -> None:
    page = PAGES[package].read_text(encoding="utf-8")
    assert [room for room in rooms(package) if f"`{room}`" not in page] == []


@pytest.mark.parametrize("package", PAGES)
def test_every_folder_and_module_that_a_page_names_is_there(package: str) -> None:
    page = PAGES[package].read_text(encoding="utf-8")
    places = [PROJECT, PROJECT / package]
    missing = [
        name
        for name in _CODE.findall(page)
        if not any((place / name).exists() for place in places)
        and not any(list((PROJECT / package).rglob(name.rstrip("/"))))
    ]
    assert missing == []
