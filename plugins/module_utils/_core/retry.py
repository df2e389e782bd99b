# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits and repeats within a deadline, with jitter, and only what is safe to repeat."""

from __future__ import annotations

import random
import time
from typing import Callable, Optional, TypeVar

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Unavailable

Result = TypeVar("Result")


class Deadline:
    """A point in time after which nothing is tried again.

    ``seconds`` is the whole time allowed; the clock is monotonic. ``paused`` tells whether there was anything to wait for.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self.seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._start = clock()
        self.paused = False

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    @property
    def left(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.seconds - self.passed)

    def pause(self, seconds: float) -> bool:
        """Sleep, but not beyond the deadline; False when there is no time left."""
        left = self.left
        if left <= 0:
            return False
        self._sleep(min(seconds, left))
        self.paused = True
        return True


def repeat(
    call: Callable[[], Result],
    deadline: Deadline,
    first_pause: float = 0.2,
    longest_pause: float = 5.0,
    chance: Callable[[], float] = random.random,
    should_repeat: Optional[Callable[[Unavailable], bool]] = None,
) -> Result:
    """Call until it does not raise Unavailable, with exponential pauses and full jitter; a Retry-After of the server is honoured.

    Raises the last Unavailable when the deadline has passed, or at once when ``should_repeat`` says no.
    """
    pause = first_pause
    while True:
        try:
            return call()
        except Unavailable as error:
            if should_repeat is not None and not should_repeat(error):
                raise
            wanted = error.retry_after if error.retry_after is not None else pause * (0.5 + 0.5 * chance())
            if wanted > deadline.left or not deadline.pause(wanted):
                raise
            pause = min(pause * 2, longest_pause)
