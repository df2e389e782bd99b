"""Telling the user what takes time: steps with their duration, long steps with an estimate."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError

Report = Callable[[str], None]
_SIGN_OF_LIFE = 20.0


def silent(_line: str) -> None:
    """A report that goes nowhere."""


def span(seconds: float) -> str:
    """A duration for people: 0.4 s, 12 s, 3 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


class Steps:
    """The steps of one job and their durations."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.begun = time.monotonic()
        self.durations: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; it is shown when it ends."""
        begun = time.monotonic()
        yield
        self.durations[name] = time.monotonic() - begun
        self.report(f"  {name:<44} {span(self.durations[name]):>10}")

    @property
    def elapsed(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self.begun


def run_long(
    command: Sequence[str], what: str, log: Path, report: Report, *, expected: float, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> None:
    """Run a command that may take minutes, its output in a log, with a sign of life now and then.

    ``expected`` is how many seconds it took where it was measured, with nothing cached. Raises LabError that names the log.
    """
    # ends with us, even if we are killed
    command = ["setpriv", "--pdeathsig", "TERM", "--", *command]
    report(f"  {what}: takes up to {span(expected)} the first time")
    begun = shown = time.monotonic()
    with log.open("w") as output:
        output.write("+ " + " ".join(command) + "\n")
        output.flush()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=folder)
        try:
            while process.poll() is None:
                try:
                    process.wait(0.5)
                except subprocess.TimeoutExpired:
                    now = time.monotonic()
                    if now - shown >= _SIGN_OF_LIFE:
                        shown = now
                        report(f"    {what}: {span(now - begun)} of about {span(expected)}")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise LabError(f"{what} failed ({process.returncode}):\n{last}", log)
    report(f"  {what + ': done':<44} {span(time.monotonic() - begun):>10}")
