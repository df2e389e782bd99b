"""Asking again: what is unclear for a moment is not the last word, and what stays unclear is reported when the time is up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import patiently
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline


class Clock:
    """A time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def deadline(self, seconds: float) -> Deadline:
        return Deadline(seconds, clock=lambda: self.now, sleep=self.sleep)


def answers(given: Sequence[int | Failure]) -> Callable[[], int]:
    """A question that is answered in this order; the last answer stays."""
    rest = list(given)

    def ask() -> int:
        answer = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(answer, Failure):
            raise answer
        return answer

    return ask


@pytest.mark.parametrize(
    ("given", "answer", "seconds"),
    [
        ([403], 403, 0),
        ([500, 500, 403], 403, 1),
        ([Unavailable("away"), 403], 403, 0.5),
        ([500], 500, 5),
        ([Unavailable("away"), 500], 500, 5),
    ],
)
def test_the_first_clear_answer_counts_or_else_the_last_one(given: list[int | Failure], answer: int, seconds: float) -> None:
    clock = Clock()
    assert patiently(answers(given), lambda status: status < 500, clock.deadline(5)) == answer
    assert clock.now == seconds


@pytest.mark.parametrize(("failure", "seconds"), [(Unavailable("away"), 5), (Forbidden("no"), 0)])
def test_what_cannot_be_asked_is_raised(failure: Failure, seconds: float) -> None:
    clock = Clock()
    with pytest.raises(type(failure)):
        patiently(answers([failure]), bool, clock.deadline(5))
    assert clock.now == seconds


def test_without_time_everything_is_asked_once() -> None:
    assert patiently(answers([500, 403]), lambda status: status < 500, Clock().deadline(0)) == 500
