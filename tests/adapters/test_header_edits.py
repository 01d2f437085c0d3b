"""Edits make what is held what is wanted, whatever either is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.adapters.header_edits import HeaderEdits, by_name, compare
from proxy.engine.message import Line

NAMES = [b"x-a", b"x-b", b"cookie", b"set-cookie", b"content-length", b"connection", b"host"]
LINES = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=3)).map(lambda one: (one[0], one[0], one[1])))


def apply(held: list[Line], edits: HeaderEdits) -> dict[bytes, list[bytes]]:
    """Edit as another proxy does: names are removed first, then each that is set replaces what is there."""
    found = {key: values for key, values in by_name(held).items() if key not in edits.removed}
    return {**found, **dict(edits.set)}


@given(LINES, LINES)
def test_the_edits_of_two_heads_make_the_one_the_other(held: list[Line], wanted: list[Line]) -> None:
    assert apply(held, compare(held, wanted)) == by_name(wanted)


@given(LINES)
def test_what_is_the_same_needs_no_edit(lines: list[Line]) -> None:
    assert compare(lines, lines) == ([], [])


@given(LINES, LINES)
def test_what_is_kept_and_what_frames_a_message_is_never_edited(held: list[Line], wanted: list[Line]) -> None:
    edits = compare(held, wanted, kept=frozenset({b"x-a"}))
    touched = {name for name, _ in edits.set} | set(edits.removed)
    assert touched.isdisjoint({b"x-a", b"content-length", b"connection", b"host"})
