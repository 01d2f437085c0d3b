"""The table of figures says what was measured, and what was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.figures import PROMISES, Figures, main, marks


def test_figures_of_one_promise_are_added_up_and_a_worst_one_is_the_greatest(tmp_path: Path) -> None:
    file, page = tmp_path / "figures", tmp_path / "page.md"
    for _ in range(2):
        Figures(file).add("desync", cases=500, found=1)
    for worst in (12.5, 3):
        Figures(file).add("loop-stall", cases=1, found=worst)
    begin, end = marks("figures")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n", "utf-8")
    main(str(file), str(page))
    text = page.read_text("utf-8")
    assert text.startswith(f"before\n{begin}\n| what")
    assert text.endswith(f"{end}\nafter\n")
    assert "| 0 | 2 | 1,000 |" in text
    assert "| 50 | 12.5 | 2 |" in text
    assert text.count("not measured") == len(PROMISES) - 2
    assert "old" not in text


def test_the_table_of_the_long_runs_has_what_they_measure_and_a_place_of_its_own(tmp_path: Path) -> None:
    file, page = tmp_path / "figures", tmp_path / "page.md"
    Figures(file).add("races", cases=500)
    page.write_text("\n".join((*marks("figures"), *marks("soak"))), "utf-8")
    main(str(file), str(page), "soak")
    head, _, tail = page.read_text("utf-8").partition(marks("soak")[0])
    assert head == "\n".join((*marks("figures"), ""))
    assert tail.count("\n| ") == 2
    assert "| 0 | 0 | 500 |" in tail


def test_a_figure_of_no_promise_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no promise"):
        Figures(tmp_path / "figures").add("speed", cases=1)


def test_what_went_through_other_proxies_is_said_with_the_reasons_why_the_rest_did_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures"
    for _ in range(2):
        Figures(file).add("ext_proc-cases", cases=600)
        Figures(file).add("ext_proc-left", cases=605, found=5, reasons={"no phrase": 3, "no address": 2})
    main(str(file))
    assert capsys.readouterr().out.splitlines() == [
        "ext_proc: 1,200 cases came through, 0 of them otherwise; 10 could not be expressed",
        "      6 no phrase",
        "      4 no address",
    ]
