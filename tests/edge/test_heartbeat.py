"""Which workers count as hung, at times that the test says."""

from __future__ import annotations

from proxy.edge.heartbeat import Heartbeats


def test_a_worker_that_beats_is_never_hung() -> None:
    hearts = Heartbeats(5.0)
    assert not any(hearts.look(float(now), {1: float(now)}) for now in range(1000))


def test_a_worker_that_does_not_beat_is_found_when_its_time_is_over_and_once() -> None:
    hearts = Heartbeats(5.0)
    found = [hearts.look(float(now), {1: 0.5, 2: float(now)}) for now in range(8)]
    assert found == [[], [], [], [], [], [1], [], []]


def test_a_worker_that_never_began_to_beat_is_found_too() -> None:
    hearts = Heartbeats(2.0)
    assert [hearts.look(float(now), {1: 0.0}) for now in range(3)] == [[], [], [1]]


def test_one_beat_begins_the_time_anew() -> None:
    hearts = Heartbeats(5.0)
    found = [hearts.look(float(now), {1: 4.0 if now >= 4 else 0.0}) for now in range(10)]
    assert found == [[]] * 9 + [[1]]


def test_a_process_in_the_place_of_another_has_the_whole_time() -> None:
    hearts = Heartbeats(3.0)
    assert [hearts.look(float(now), {1 if now < 2 else 2: 0.5}) for now in range(6)] == [[]] * 5 + [[2]]


def test_a_machine_that_stood_still_as_a_whole_costs_no_worker() -> None:
    hearts = Heartbeats(5.0)
    hearts.look(0.0, {1: 0.0, 2: 0.0})
    assert hearts.look(3600.0, {1: 0.0, 2: 0.0}) == []
    assert hearts.look(3601.0, {1: 3600.5, 2: 0.0}) == []
    assert hearts.look(3604.0, {1: 3603.5, 2: 0.0}) == [2]
