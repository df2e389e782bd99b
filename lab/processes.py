"""Processes, known by number and start time, so that a number used again by another process is never taken for ours."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import paths
from lab.errors import CommandFailed


def run(command: Sequence[str | Path], stdin: str | None = None, env: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """Run a command, in a folder if told, and return its stdout; files that it makes are this user's only.

    Raises CommandFailed with its stderr; neither stdin nor env are shown.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin or "", env=env, cwd=folder, umask=0o077, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(" ".join(words[:4]), done.returncode, done.stderr or done.stdout)
    return done.stdout


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of the process, or None when it is gone (a zombie is gone)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def boot_id() -> str:
    """Changes with every start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def remember(path: Path, pid: int) -> None:
    """Write the identity of a running process to a file."""
    paths.write_json(path, {"pid": pid, "started": start_time(pid), "boot": boot_id()})


def recall(path: Path) -> int | None:
    """Number of the remembered process if that very process still runs."""
    kept: dict[str, Any] = paths.read_json(path) or {}
    pid = kept.get("pid")
    if not pid or kept.get("boot") != boot_id() or kept.get("started") is None:
        return None
    return pid if start_time(pid) == kept["started"] else None


def children(pid: int) -> list[int]:
    """Direct children, as this machine numbers them, also across a pid namespace."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def program(pid: int) -> str:
    """Name of the program file that the process runs, empty when it is gone."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)")
    except OSError:
        return ""


def command(pid: int) -> list[str]:
    """The words that the process was started with, none when it is gone."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return []
    return text.removesuffix("\0").split("\0") if text else []


def memory(pid: int) -> int:
    """Bytes of memory that are the process's own share (PSS)."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def kill(pid: int) -> None:
    """End the process at once; one that is gone already is no error."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_until(condition: Callable[[], Any], seconds: float, pause: float = 0.05) -> Any:
    """Ask again and again until the condition is truthy; return its last value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() >= deadline:
            return value
        time.sleep(pause)
