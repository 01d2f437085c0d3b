"""Bytes of a query that no rule names stay as they were sent."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Play


def query(setting: str) -> str:
    return f"rules: [{{name: r, before: [{{query: {setting}}}]}}]"


@pytest.mark.parametrize(
    ("setting", "before", "after"),
    [
        ('{set: {a: "1", b: "x y&=ü"}}', "z=%7e&a=0&y", "z=%7e&a=1&y&b=x+y%26%3D%C3%BC"),
        ("{remove: [a]}", "a=1", None),
        ("{remove: [a]}", "&&b=%41;c=+&", "&&b=%41;c=+&"),
        ("{remove: [a]}", "", ""),
        ("{remove: [utm_*]}", "utm_a=1&b=%20+%2B&utm_b", "b=%20+%2B"),
        ("{rename: {a: b}}", "a=%7e+x&c=%zz", "b=%7e+x&c=%zz"),
        ('{add: {a: ["2", "3"]}}', "a=0&A=1", "a=0&A=1&a=2&a=3"),
        ('{set: {a: ["1", "2"]}}', "a=0&b=%62", "a=1&b=%62&a=2"),
    ],
)
def test_an_edit_changes_only_what_it_names(play: Play, setting: str, before: str, after: str | None) -> None:
    forwarded = play(query(setting), f"/x?{before}").forwarded
    assert forwarded is not None
    assert forwarded.query == after


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("abAB%20+=~.", min_size=1, max_size=6).map(lambda text: f"z{text}"), max_size=4))
def test_other_pairs_keep_their_bytes(play: Play, others: list[str]) -> None:
    rest = "&".join(others)
    played = play(query("{set: {a: new}}"), f"/x?a=old&{rest}".rstrip("&"))
    if played.forwarded is not None:
        assert played.forwarded.query == f"a=new&{rest}".rstrip("&")
    else:
        assert played.answer.status == 400
