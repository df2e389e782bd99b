"""Locks between processes. The kernel drops them with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import paths


@contextmanager
def held(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file or folder; ``waiting`` is called once when another process has it."""
    if not path.is_dir():
        paths.private_folder(path.parent)
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def machine() -> Iterator[None]:
    """Hold the lock for what all labs of this machine share, whichever cache they live in. Leaves no file behind."""
    with held(Path("/run")):
        yield
