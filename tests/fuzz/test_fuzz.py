"""What fuzzing ever found stays found: the corpus is replayed, and each target gets texts of a grammar of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.targets import TARGETS, address, cel, chunks, json_body, request_head, response_head, rules, target
from tests.strategies.addresses import addresses
from tests.strategies.languages import cel_sources, json_texts, rule_files
from tests.strategies.messages import chunked_bodies, request_heads, response_heads, targets

CORPUS = Path(__file__).parent / "corpus"
KEPT = sorted(path for path in CORPUS.glob("*/*") if path.is_file())

Check = Callable[[bytes], None]
many = settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
fewer = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_kept_is_no_finding(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_a_corpus() -> None:
    assert {path.parent.name for path in KEPT} == set(TARGETS)


@many
@given(request_heads)
def test_heads_of_requests(data: bytes) -> None:
    request_head(data)


@many
@given(response_heads)
def test_heads_of_answers(data: bytes) -> None:
    response_head(data)


@many
@given(chunked_bodies)
def test_chunked_bodies(data: bytes) -> None:
    chunks(data)


@many
@given(targets)
def test_targets(data: bytes) -> None:
    target(data)


@many
@given(json_texts)
def test_bodies_of_json(data: bytes) -> None:
    json_body(data)


@many
@given(cel_sources)
def test_expressions(data: bytes) -> None:
    cel(data)


@many
@given(addresses)
def test_addresses(text: str) -> None:
    address(text.encode("utf-8", "surrogatepass"))


@fewer
@given(rule_files)
def test_rule_files(data: bytes) -> None:
    rules(data)
