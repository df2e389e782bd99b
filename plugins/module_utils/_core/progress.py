# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far long work has come, told while it goes on: by a play on standard error, by a module in the log of its host, by a timer or a CronJob in its output.

Who works notes what he is at, as often as he likes. It is told from time to time, and never when it is short.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Callable, Iterator, List, Optional

Say = Callable[[str], None]
# Seconds between two lines, and between two that say the same.
EVERY, AGAIN = 10.0, 60.0
# Seconds that the last one may take.
_LAST_LINE = 2.0

# A process does one piece of work at a time.
_now: List[str] = [""]


def so_far(text: str) -> None:
    """Note what is being done, in words that hold no secret."""
    _now[0] = text


def counted(what: str, done: int, total: int = 0) -> None:
    """Note how much of something is done, and how much there is; 0 when that is not known."""
    so_far(f"{what}: {done} of {total}" if total else f"{what}: {done}")


@contextlib.contextmanager
def telling(say: Optional[Say], every: float = EVERY, again: float = AGAIN) -> Iterator[None]:
    """Tell what is noted within the block, by ``say``, from a thread of its own. Times are seconds."""
    so_far("")
    if say is None:
        yield
        return
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(say, over, every, again), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        # Whoever listened may be gone, and a line for him stuck: that holds nobody up.
        teller.join(_LAST_LINE)


def _tell(say: Say, over: threading.Event, every: float, again: float) -> None:
    begun = told = time.monotonic()
    last = ""
    while not over.wait(every):
        text, now = _now[0], time.monotonic()
        if text and (text != last or now - told >= again):
            # That nobody hears it is no reason to stop the work.
            with contextlib.suppress(OSError):
                say(f"{text} ({now - begun:.0f} s)")
            last, told = text, now
