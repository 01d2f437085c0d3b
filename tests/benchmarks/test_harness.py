"""The benchmark itself works: it measures who does the jobs, and tells who does them wrong. No figure is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from .__main__ import main
from .alone import play as play_alone
from .engines import serving_upstream
from .jobs import JOBS
from .load import WrongAnswer, check, full
from .peers import PEERS, Place
from .processes import cpu, on_cores
from .promises import ratio_table
from .report import ratios, tables
from .rounds import play

TINY = ("--rounds", "1", "--seconds", "0.05")


@pytest.fixture
def bare() -> Iterator[int]:
    """The upstream alone: what a peer that changes nothing would answer."""
    with serving_upstream({0}) as port:
        yield port


def test_a_round_measures_vestibule_and_the_obvious_version_at_every_small_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    code = main([*TINY, "--peers", "vestibule,obvious", "--jobs", "pass,login,deny,big", "--json", str(file)])
    report = json.loads(file.read_text())
    assert code == 0, report["left_out"]
    assert {(turn["peer"], turn["job"]) for turn in report["turns"]} == {
        (peer, job) for peer in ("vestibule", "obvious") for job in ("pass", "login", "deny", "big")
    }
    assert all(turn["answers"] > 0 and turn["cpu"] > 0 and turn["memory"] > 0 for turn in report["turns"])
    printed = capsys.readouterr().out
    assert all(line in printed for line in tables(report))


def _careless(place: Place) -> Sequence[str]:
    """Start the obvious version, which forgets to take the refresh token out."""
    python, program, *rest = PEERS["obvious"].command(place)
    forgetful = place.folder / "forgetful.py"
    forgetful.write_text(Path(program).read_text().replace('ticket["refreshToken"], ', ""))
    return [python, str(forgetful), *rest]


def test_a_peer_that_answers_wrongly_is_left_out_with_the_reason() -> None:
    careless = replace(PEERS["obvious"], name="careless", command=_careless)
    outcome = play([careless], [JOBS["login"], JOBS["deny"]], 1, 0.05, lambda _: None)
    assert outcome.left_out == {("careless", "login"): "wrong answer: login: the body is not what it has to be"}
    assert {turn.job for turn in outcome.turns} == {"deny"}


def test_a_peer_that_does_not_start_is_left_out_and_the_others_are_measured() -> None:
    broken = replace(
        PEERS["obvious"], name="broken", command=lambda _: [sys.executable, "-c", "raise SystemExit('no')"]
    )
    outcome = play([broken, PEERS["obvious"]], [JOBS["deny"]], 1, 0.05, lambda _: None)
    assert {turn.peer for turn in outcome.turns} == {"obvious"}
    assert outcome.left_out == {("broken", "deny"): "broken does not serve: no"}


@pytest.mark.parametrize("job", ["login", "deny", "big"])
def test_an_answer_that_nobody_rewrote_is_wrong(bare: int, job: str) -> None:
    with pytest.raises(WrongAnswer):
        check(bare, JOBS[job])


def test_an_answer_that_changes_under_load_is_told(bare: int) -> None:
    right = check(bare, JOBS["pass"])
    assert full(bare, JOBS["pass"], right, 0.02).answers > 0
    with pytest.raises(WrongAnswer, match="under load 200"):
        full(bare, JOBS["pass"], right + 1, 0.02)


def test_cpu_time_is_that_of_a_process_and_all_below_it() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    shell = f"'{sys.executable}' -c '{burn}'; true"
    with subprocess.Popen(["sh", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert cpu(process.pid) >= 0.2
        process.communicate(b"\n")


def test_a_ratio_is_of_rounds_that_both_were_in() -> None:
    turns = [
        {"peer": "a", "job": "pass", "round": 1, "cpu": 2.0},
        {"peer": "b", "job": "pass", "round": 1, "cpu": 1.0},
        {"peer": "a", "job": "pass", "round": 2, "cpu": 9.0},
        {"peer": "a", "job": "pass", "round": 3, "cpu": 3.0},
        {"peer": "b", "job": "pass", "round": 3, "cpu": 1.0},
    ]
    assert ratios(turns, "cpu", "a", "pass", "b") == [2.0, 3.0]


@pytest.mark.parametrize(("ours", "word"), [(1.9, "reached"), (2.1, "not reached")])
def test_what_has_to_be_reached_is_compared_with_the_median_of_the_rounds(ours: float, word: str) -> None:
    turns = [
        {"peer": peer, "job": "login", "round": number, "cpu": cpu, "paced_p99": None}
        for number, mine in enumerate((ours, 0.1, 9.0))
        for peer, cpu in (("vestibule", mine), ("nginx-lua", 2.0))
    ]
    report = {"turns": turns, "jobs": ["login"], "titles": {"vestibule": "Vestibule", "nginx-lua": "nginx + Lua"}}
    _, _, row, paced = ratio_table(report)
    assert [cell.strip() for cell in row.split("|")[2:6]] == ["1.00", f"{ours / 2:.2f}", "0.05 to 4.50", word]
    assert "not measured" in paced


def test_a_peer_that_is_not_installed_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PEERS, "nginx", replace(PEERS["nginx"], version=lambda: None))
    assert main([*TINY, "--peers", "nginx", "--json", str(tmp_path / "found.json")]) == 1
    assert "apt-get install nginx-light" in capsys.readouterr().err


def test_the_cores_that_were_left_are_taken_again() -> None:
    before = os.sched_getaffinity(0)
    with on_cores({min(before)}):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("job", ["login", "pass"])
def test_exchanges_without_sockets_are_whole(job: str) -> None:
    assert play_alone(job, 3) > 0
