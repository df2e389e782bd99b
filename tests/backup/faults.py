"""Faults at single system calls: a fork of this process does its work under strace, which kills it, or fails the call, at the nth one."""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# What our code does to a file system.
CALLS = "openat,mkdir,rename,unlink,unlinkat,rmdir,write,pwrite64,ftruncate,fsync,flock,fchmod,close"
# What it never does, but the child until the tracer sees it, and the seconds between two looks.
_MARK, _LOOK = "getpriority", 0.002


def run_with(inject: str, work: Callable[[], None], log: Path) -> tuple[int, list[tuple[str, int]]]:
    """Do the work in a child with a fault injected; return its wait status, and the calls it made: the name of each, and how many of that name there were.

    The exit status of the child is 0 when the work was done and 3 when it raised an exception. strace counts each call by its name.
    """
    log.unlink(missing_ok=True)
    gate, opener = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(opener)
        while not select.select([gate], [], [], _LOOK)[0]:
            os.getpriority(os.PRIO_PROCESS, 0)
        status = 3
        gc.disable()  # it closes files of the parent's whenever it likes, and every call counts
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    os.close(gate)
    expression = ["-e", f"inject={inject}"] if inject else []
    tracer = subprocess.Popen(
        ["strace", "-qq", "-o", str(log), "-e", f"trace={CALLS},{_MARK}", *expression, "-p", str(child)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        # To be attached is not yet to see every call: the work begins when one was seen.
        while not log.exists() or f"{_MARK}(" not in log.read_text(errors="replace"):
            assert tracer.poll() is None, "strace does not attach"
            time.sleep(_LOOK)
        os.write(opener, b"x")
        _child, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(opener)
        tracer.wait(30)
    counted: Counter[str] = Counter()
    calls: list[tuple[str, int]] = []
    for line in log.read_text(errors="replace").splitlines():
        name, opened, _rest = line.partition("(")
        if opened and name in CALLS.split(","):
            counted[name] += 1
            calls.append((name, counted[name]))
    return status, calls
