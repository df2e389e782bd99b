"""The time of a point beside that of the engines run by hand."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests.perf import figures

BAR = 1.10
Work = Callable[[Path], None]


def compared(folder: Path, ours: Work, by_hand: Work, rounds: int) -> dict[str, list[float]]:
    """The seconds of both, each in a new folder, in turn."""
    times: dict[str, list[float]] = {"ours": [], "by hand": []}
    for number in range(rounds):
        for way, work in [("ours", ours), ("by hand", by_hand)][:: -1 if number % 2 else 1]:
            place = folder / f"{way} {number}"
            place.mkdir(mode=0o700)
            # What the one before left to the disk is nothing that this one did.
            os.sync()
            begun = time.monotonic()
            work(place)
            times[way].append(time.monotonic() - begun)
            shutil.rmtree(place)
    return times


def told(name: str, times: dict[str, list[float]], note: str, share: Callable[[int, int], int]) -> figures.Figure:
    """The figure. Few data and one round say nothing of speed, so that there the bar is left out."""
    shown = ", ".join(f"{way} {min(seconds):.2f} to {max(seconds):.2f} s" for way, seconds in times.items())
    what, value, note = f"{name}: a proved point / the engines by hand", figures.ratio(times["ours"], times["by hand"]), f"{note}; {shown}"
    return figures.at_most(what, value, "times", BAR, note, times) if share(0, 1) else figures.told(what, value, "times", note, times)
