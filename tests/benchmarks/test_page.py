"""What was measured becomes tables and plots of the page, and nothing else of the page changes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from . import growth
from .page import write
from .plot import plot, short

PAGE = "before\n<!-- bench: begin -->\nold\n<!-- bench: end -->\n<!-- growth: begin -->\n<!-- growth: end -->\nafter\n"
SVG = "{http://www.w3.org/2000/svg}"


def test_growth_is_measured_and_written_into_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "FEW", (1, 3))
    growth.main(
        ["--rounds", "1", "--seconds", "0.02", "--only", "conditions,stores", "--json", str(tmp_path / "growth.json")]
    )
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write(tmp_path, page)
    text = page.read_text()
    report = json.loads((tmp_path / "growth.json").read_text())
    assert report["series"]["conditions"]["left_out"] == []
    assert [point["at"] for point in report["series"]["conditions"]["lines"]["Vestibule"]] == [1, 3]
    assert set(report["stores"]) == {"memory", "sqlite", "redis"}
    assert text.startswith("before\n<!-- bench: begin -->\nold\n")
    assert text.endswith("<!-- growth: end -->\nafter\n")
    assert "plots/conditions.svg" in text
    assert (tmp_path / "plots" / "conditions.svg").is_file()


def test_a_page_without_its_marks_is_told() -> None:
    from tests.figures import put

    with pytest.raises(ValueError, match="has no"):
        put(Path(__file__), "no-such-table", [])


def test_a_plot_has_a_point_for_every_value_and_grows_upwards() -> None:
    lines = {"one & only": [(1.0, 2.0), (10.0, 4.0), (100.0, 8.0)], "other": [(1.0, 1.0), (100.0, 1.0)]}
    drawn = ET.fromstring(plot("A title", "rules", "µs", lines))
    circles = [(float(one.get("cx", "")), float(one.get("cy", ""))) for one in drawn.iter(f"{SVG}circle")]
    assert len(circles) == 5
    (x1, y1), (x2, y2), (x3, y3) = circles[:3]
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert y1 > y2 > y3
    assert {"one & only", "1", "10", "100"} <= {one.text for one in drawn.iter(f"{SVG}text")}


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (1_500.0, "1.5k"), (2e6, "2M"), (0.25, "0.25")])
def test_values_on_an_axis_are_short(value: float, text: str) -> None:
    assert short(value) == text
