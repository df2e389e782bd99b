"""Waiting and repeating, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline, repeat


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def deadline(self, seconds: float) -> Deadline:
        return Deadline(seconds, clock=self.read, sleep=self.sleep)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def failing(times: int, retry_after: float | None = None) -> Callable[[], str]:
    """A call that is answered after so many failures."""
    left = [times]

    def call() -> str:
        if left[0] > 0:
            left[0] -= 1
            raise Unavailable("not now", retry_after=retry_after)
        return "answer"

    return call


def test_a_deadline_counts_down_and_stops_at_nothing(clock: Clock) -> None:
    deadline = clock.deadline(10)
    clock.now += 4
    assert (deadline.passed, deadline.left) == (4, 6)
    clock.now += 100
    assert deadline.left == 0


def test_a_pause_never_goes_beyond_the_deadline(clock: Clock) -> None:
    deadline = clock.deadline(3)
    assert deadline.pause(2)
    assert deadline.pause(2)
    assert not deadline.pause(2)
    assert clock.naps == [2, 1]


def test_a_deadline_knows_whether_there_was_anything_to_wait_for(clock: Clock) -> None:
    deadline = clock.deadline(1)
    clock.now += 0.5
    assert not deadline.paused
    deadline.pause(0.1)
    assert deadline.paused


def test_an_answer_at_once_costs_no_time(clock: Clock) -> None:
    assert repeat(failing(0), clock.deadline(10)) == "answer"
    assert clock.naps == []


def test_pauses_double_up_to_the_longest(clock: Clock) -> None:
    assert repeat(failing(6), clock.deadline(60), first_pause=1, longest_pause=8, chance=lambda: 1.0) == "answer"
    assert clock.naps == [1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize(("luck", "pause"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_chance_shortens_a_pause_by_half_at_most(clock: Clock, luck: float, pause: float) -> None:
    repeat(failing(1), clock.deadline(60), first_pause=1, chance=lambda: luck)
    assert clock.naps == [pause]


def test_the_server_says_when_to_come_back(clock: Clock) -> None:
    repeat(failing(2, retry_after=7), clock.deadline(60), first_pause=1, chance=lambda: 1.0)
    assert clock.naps == [7, 7]


def test_what_the_server_asks_for_beyond_the_deadline_is_not_waited_for(clock: Clock) -> None:
    with pytest.raises(Unavailable, match="not now"):
        repeat(failing(1, retry_after=61), clock.deadline(60))
    assert clock.naps == []


def test_the_last_failure_is_raised_when_time_is_over(clock: Clock) -> None:
    with pytest.raises(Unavailable, match="not now"):
        repeat(failing(1000), clock.deadline(20), first_pause=1, chance=lambda: 1.0)
    assert clock.now <= 1020


def test_only_unavailability_is_repeated(clock: Clock) -> None:
    def refused() -> None:
        raise Forbidden("no right")

    with pytest.raises(Forbidden):
        repeat(refused, clock.deadline(60))
    assert clock.naps == []


def test_the_caller_may_say_that_repeating_is_not_safe(clock: Clock) -> None:
    with pytest.raises(Unavailable):
        repeat(failing(1), clock.deadline(60), should_repeat=lambda error: error.status == 429)
    assert clock.naps == []
