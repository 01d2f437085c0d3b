"""Every attack of groups E to K, M and O has a test; what no test can time is looked for in the sources."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.language.document import Source, load, plain
from proxy.language.problems import Problems

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = TESTS.parent / "proxy"
COUNTS = {"E": 24, "F": 26, "G": 18, "H": 22, "I": 40, "J": 14, "K": 18, "M": 20, "O": 16}
TABLE: dict[str, Any] = yaml.safe_load((TESTS / "attack" / "content.yaml").read_text("utf-8"))
ROWS = [(number, row) for group in COUNTS for number, row in TABLE[group].items()]


@cache
def names_in(path: Path) -> frozenset[str]:
    """Give the tests of a Python file, or the cases of a YAML file."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        nodes = ast.walk(ast.parse(text))
        return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    document = load(Source(path.name, text), Problems())
    assert document is not None
    return frozenset(str(case["name"]) for case in plain(document.data)["cases"])


def test_the_table_has_every_attack_of_its_groups() -> None:
    for group, count in COUNTS.items():
        assert list(TABLE[group]) == [f"{group}{number}" for number in range(1, count + 1)]


@pytest.mark.parametrize(("number", "row"), ROWS, ids=[number for number, _ in ROWS])
def test_an_attack_has_a_test_or_a_reason(number: str, row: Any) -> None:
    if isinstance(row, dict):
        assert set(row) == {"left"}
        return
    assert row
    for reference in row:
        path, _, name = reference.partition(": ")
        assert name in names_in(TESTS / path), reference


_SECRETS = re.compile(r"(?:^|_)(?:signature|digest|mac|hmac|secret|passwor[dt]|code|token|binding|pepper)$")


def compared(tree: ast.AST) -> list[str]:
    """Give the names that sound like secrets and are compared by `==` with something that is no literal."""
    found: list[str] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare) or not all(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops):
            continue
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant | ast.Call) or "kind" in ast.dump(side) for side in sides):
            continue
        for side in sides:
            name = side.id if isinstance(side, ast.Name) else side.attr if isinstance(side, ast.Attribute) else ""
            if _SECRETS.search(name):
                found.append(ast.unparse(node))
    return found


# Words of errors, and of a count of calls, which are no secrets.
_PUBLIC = {"problem.code == expected.code", "token == self._era", "token != self._era"}


def test_no_secret_is_compared_but_in_constant_time() -> None:
    """A comparison that ends at the first difference tells by its time how far a guess is right."""
    served = [path for path in PACKAGE.rglob("*.py") if "sandbox" not in path.parts]
    found = {
        f"{path.relative_to(PACKAGE)}: {one}" for path in served for one in compared(ast.parse(path.read_text("utf-8")))
    }
    assert {one for one in found if one.partition(": ")[2] not in _PUBLIC} == set()
    assert compared(ast.parse("given.digest == wanted")) == ["given.digest == wanted"]
    assert sum("compare_digest" in path.read_text("utf-8") for path in served) >= 4
