"""Timing changes nothing: every case of tests/cases goes the same with each step timed."""

from __future__ import annotations

from itertools import count, islice
from pathlib import Path

import pytest

from proxy.language.cases import Results, prepare
from proxy.language.cases.meter import FIRST_STEP, REST, Meter, steps_of, timed_rules
from proxy.language.cases.playing import Stage
from proxy.language.document import Source
from proxy.services import rulefiles
from proxy.services.rehearsal import rehearse

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "tests" / "cases").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_cases_go_the_same_when_they_are_timed(file: Path) -> None:
    def find_rules(name: str) -> list[Source] | None:
        return rulefiles.read([file.parent / name])[0] or None

    source = Source(file.name, file.read_text("utf-8"))
    for one in prepare(source, find_rules, lambda name: rulefiles.find_pack(name, ()), Results()):
        if one.findings is not None or one.ruleset is None:
            continue
        steps = {rule.name: len(steps_of(rule)) for rule in one.ruleset.rules}
        meter = Meter(lambda: 0, FIRST_STEP + sum(steps.values()))
        played = Stage(timed_rules(one.ruleset, meter), one.given, one.case, rehearse, one.limits, meter).play()
        assert played.findings == (), one.case.name
        rows = count(FIRST_STEP)
        timed = {
            name
            for name, own in [(name, list(islice(rows, number))) for name, number in steps.items()]
            if any(ledger.entries[row] for ledger in meter.ledgers for row in own)
        }
        assert timed == set(played.ran), one.case.name
        assert all(ledger.entries[REST] for ledger in meter.ledgers)
