"""Work is bounded: what multiplies is charged before it is done."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.engine.errors import CostExceeded
from proxy.language.cel import DYN, STRING, Environment, Variable, compile, list_of, map_of

ENVIRONMENT = Environment(
    variables={
        "list": Variable(type=list_of(DYN), read=lambda x: x["list"]),
        "text": Variable(type=STRING, read=lambda x: x["text"]),
        "map": Variable(type=map_of(STRING, DYN), read=lambda x: x["map"]),
        "any": Variable(read=lambda x: x["any"]),
    }
)


def run(source: str, **bindings: Any) -> Any:
    return compile(source, ENVIRONMENT).run(bindings)


@pytest.mark.parametrize(
    "source",
    [
        "list.all(a, list.all(b, a == b))",
        "list.map(a, list.map(b, [a, b]))",
        "list.exists(a, list.exists_one(b, b == a + 1))",
        "list.filter(a, a in list) == []",
        "list.all(a, list == list)",
        "list.transformList(i, a, list.transformMap(j, b, b))",
        "list.all(a, !text.contains('y'))",
        "list.map(a, text + text)",
        "list.map(a, text.lowerAscii())",
        "list.map(a, sha256(text))",
        "list.exists(a, text.matches('(x+x+)+y'))",
        "cel.bind(a, list.map(i, text), a.join().replace('a', text))",
    ],
)
def test_work_that_multiplies_is_stopped(source: str) -> None:
    with pytest.raises(CostExceeded):
        run(source, list=[1] * 3000, text="a" * 200_000)


@pytest.mark.parametrize(
    "source",
    [
        "cel.bind(a, text + text, cel.bind(b, a + a, cel.bind(c, b + b, cel.bind(d, c + c, size(d + d)))))",
        "text.replace('a', text)",
        "text.replace('', text)",
        "text.split('').join(text)",
        "'%s%s%s'.format([list.map(i, text), text, text])",
        "list.map(i, text).join()",
    ],
)
def test_text_cannot_grow_without_bound(source: str) -> None:
    with pytest.raises(CostExceeded):
        run(source, text="a" * 20_000_000, list=[1] * 300)


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("list.exists(a, a == 99999)", True),
        ("list.map(a, a * 2).size()", 100_000),
        ("99999 in list", True),
        ("text.contains('b')", False),
        ("size(text + text)", 2_000_000),
        ("text.replace('b', 'c') == text", True),
        ("size(text.lowerAscii())", 1_000_000),
    ],
)
def test_large_documents_are_no_matter(source: str, result: object) -> None:
    assert run(source, list=list(range(100_000)), text="a" * 1_000_000) == result


def test_a_limit_is_never_absorbed_by_a_condition() -> None:
    with pytest.raises(CostExceeded):
        run("list.all(a, list.all(b, a == b)) || any == 1 || any == 2", list=[1] * 3000, any=1)


def test_every_run_has_the_whole_limit() -> None:
    program = compile("list.map(a, a + 1).size()", ENVIRONMENT)
    for _ in range(30):
        assert program.run({"list": list(range(50_000))}) == 50_000
