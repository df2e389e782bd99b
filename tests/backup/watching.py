"""What everybody on a machine can see of others: the command lines of all processes, looked at all the time."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Self

_PAUSE = 0.02


class CommandLines:
    """Gathers them until the end of the block. ``looks`` says how often all of them were read."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_trouble: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            self.looks += 1
