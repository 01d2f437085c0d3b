"""The time of a store's file, over starts of the machine and jumps of the wall clock."""

from __future__ import annotations

import time

import pytest

from proxy.services.store.clock import Epoch, go_on, this_start

WALL = 1_700_000_000.0


def begin() -> Epoch:
    return go_on(None, "one", wall=lambda: WALL)


def test_a_new_file_begins_with_the_wall_clock() -> None:
    assert begin().now() == pytest.approx(WALL, abs=5)


@pytest.mark.parametrize("wall", [WALL - 3600, WALL + 3600, 0.0])
def test_within_one_start_of_the_machine_the_wall_clock_does_not_matter(wall: float) -> None:
    epoch = begin()
    assert go_on(epoch, "one", wall=lambda: wall) is epoch


def test_after_a_restart_of_the_machine_what_is_over_by_the_wall_clock_is_over() -> None:
    assert go_on(begin(), "two", wall=lambda: WALL + 3600).now() == pytest.approx(WALL + 3600, abs=5)


def test_a_machine_that_starts_in_the_past_goes_on_where_the_file_was_seen_last() -> None:
    epoch = begin()
    epoch.seen = WALL + 60
    assert go_on(epoch, "two", wall=lambda: 0.0).now() == pytest.approx(WALL + 60, abs=5)


def test_without_a_name_for_the_start_no_two_are_taken_for_one() -> None:
    epoch = go_on(None, "", wall=lambda: WALL)
    assert go_on(epoch, "", wall=lambda: WALL + 3600).now() == pytest.approx(WALL + 3600, abs=5)


def test_this_start_of_the_machine_has_one_name_and_its_time_goes_on() -> None:
    assert this_start() == this_start()
    epoch = go_on(None, this_start())
    assert abs(epoch.now() - time.time()) < 5
