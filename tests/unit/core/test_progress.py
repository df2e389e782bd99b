"""What takes long is told while it goes on; what is short is not, nor is anything told twice in a row before its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ansible_collections.paas.hardening.plugins.module_utils._core.progress import EVERY, counted, so_far, telling

SOON = 0.02


class Heard:
    """Who listens, and wakes whoever waits for a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._came = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._came:
            self.lines.append(line.rpartition(" (")[0])
            self._came.notify_all()

    def wait(self, count: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.lines) >= count, 10), self.lines


def test_each_step_is_told_once_and_again_when_it_lasts() -> None:
    heard, threads = Heard(), threading.active_count()
    with telling(heard, SOON, 10 * SOON):
        so_far("first")
        heard.wait(1)
        counted("objects", 5, 20)
        heard.wait(3)
    assert heard.lines == ["first", "objects: 5 of 20", "objects: 5 of 20"]
    assert threading.active_count() == threads


def test_what_is_short_is_not_told_and_needs_nobody() -> None:
    heard, threads = Heard(), threading.active_count()
    with telling(heard, EVERY):
        so_far("short")
    assert heard.lines == []
    with telling(None):
        counted("objects", 5)
        assert threading.active_count() == threads


def test_work_goes_on_when_nobody_can_hear_it() -> None:
    tried = threading.Event()

    def broken(_line: str) -> None:
        tried.set()
        raise BrokenPipeError

    heard: Callable[[str], None] = broken
    with telling(heard, SOON):
        so_far("anything")
        assert tried.wait(10)
        tried.clear()
        so_far("more")
        assert tried.wait(10), "the first failure ended it"


def test_nothing_is_left_of_the_work_before() -> None:
    heard = Heard()
    with telling(heard, SOON):
        so_far("old")
        heard.wait(1)
    with telling(heard, SOON):
        so_far("new")
        heard.wait(2)
    assert heard.lines == ["old", "new"]


def test_a_line_that_is_stuck_holds_nobody_up() -> None:
    stuck, free = threading.Event(), threading.Event()

    def hang(_line: str) -> None:
        stuck.set()
        free.wait(60)

    begun = time.monotonic()
    with telling(hang, SOON):
        so_far("anything")
        assert stuck.wait(10)
    assert time.monotonic() - begun < 30
    free.set()
