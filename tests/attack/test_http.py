"""Groups A to D of the attacks: HTTP framing, request lines, header fields, paths. One test for each input."""

from __future__ import annotations

import logging

import pytest

from proxy.engine.exchange import Exchange
from proxy.engine.ruleset import Rule, Step
from tests.figures import Figures
from tests.gateways import Start

from .cases import CANARY, CHUNKED, Case, compiled, post, refused
from .fields import C
from .framing import A
from .paths import D
from .request_lines import B
from .runner import Runner

BOTH_LOOPS = True
CASES = (*A, *B, *C, *D)


def test_every_number_of_the_four_lists_has_its_cases() -> None:
    # A44, the delivery in pieces, is what the runner does to all of them; C26 is refused when rules are loaded.
    counts = {"A": 43, "B": 28, "C": 30, "D": 26}
    numbered = {case.id for case in CASES if len(case.id) > 1} | {"C26"}
    assert numbered == {f"{group}{n}" for group, count in counts.items() for n in range(1, count + 1)}
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_an_attack_comes_to_what_the_table_says(
    case: Case, start: Start, figures: Figures, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    proxied = await start(trust=case.trust)
    if case.rules:
        proxied.gateway.ruleset = compiled(case.rules)
    await Runner(proxied, figures).run(case)
    assert CANARY.decode() not in caplog.text


@pytest.mark.parametrize("case", [case for case in CASES if case.late], ids=str)
async def test_where_a_rule_reads_the_body_a_broken_one_leaves_no_byte_however_it_is_cut(
    case: Case, start: Start, figures: Figures
) -> None:
    def nothing(_: Exchange) -> None: ...

    proxied = await start(Rule("reads", 0, before=(Step(nothing, "test", "reads"),), needs_request=True))
    status = case.outcome.answers[0]
    await Runner(proxied, figures).run(Case(case.id, case.name, case.data, refused(status)))


async def test_a_bad_chunk_that_comes_late_stops_the_upload_and_is_refused(start: Start) -> None:
    proxied = await start()
    wire = await proxied.client()
    # More than is held back before the upstream is asked.
    await wire.send(post(CHUNKED, body=b"%x\r\n%b\r\n" % (100_000, b"a" * 100_000)))
    await proxied.upstream.begun()
    await wire.send(b"zz\r\n")
    assert (await wire.message()).status == 400
    assert await wire.rest() == b""
    assert proxied.upstream.messages == []


def test_a_template_in_the_name_of_a_header_is_refused_when_rules_are_loaded() -> None:
    with pytest.raises(AssertionError, match="name"):
        compiled('- {name: c26, before: [{headers: {set: {"X-${request.query.name}": a}}}]}')
