"""Every case that Envoy can express has the outcome that it has in the proxy itself, through a real Envoy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from proxy.language.cases.playing import Stage
from proxy.services.rehearsal import rehearse
from tests.adapters.conftest import ThroughEnvoy
from tests.adapters.expressing import why_not
from tests.casefiles import each_file, prepared
from tests.figures import Figures

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("way", ["ext_proc", "ext_authz"])
@each_file
async def test_the_cases_of_a_file_come_out_as_in_the_proxy(
    path: Path, way: str, through_envoy: ThroughEnvoy, figures: Figures
) -> None:
    played = 0
    found: list[str] = []
    left: list[str] = []
    for one in prepared(path).cases:
        if one.findings is not None or one.ruleset is None:
            # It is about what is wrong with its rules.
            continue
        reason = why_not(one, way)
        if reason is not None:
            left.append(reason)
            continue
        played += 1
        stage = Stage(one.ruleset, one.given, one.case, rehearse, one.limits)
        found += [f"{one.case.name}: {finding}" for finding in (await through_envoy.play(stage, way)).findings]
    figures.add(f"{way}-cases", cases=played, found=len(found))
    figures.add(f"{way}-left", cases=played + len(left), found=len(left), reasons=Counter(left))
    assert not found, "\n".join(found)
