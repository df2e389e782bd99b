"""Labs for tests: brought up when a test needs one, taken down when the run ends, and found again when it could not do that itself.

``python -m tests.labs`` takes down the labs of test runs of this checkout that are no more.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.cluster import Cluster

# One file for each lab that a test run has up: its name is the lab's, its content the process id of the run.
CLAIMS = ROOT / ".cache" / "test-labs"


@contextlib.contextmanager
def running(name: str, report: Callable[[str], Any] = print, **options: Any) -> Iterator[Cluster]:
    """Yield a lab that is up, with the options of ``Cluster.up``, and take it down afterwards, however the test ends.

    A lab that was up before is completed and left alone: whoever works on a test keeps one with ``python -m lab up --name NAME``. So is one that another
    fixture of this very run has brought up, which takes it down.
    """
    from lab.cluster import Cluster

    cluster = Cluster(name)
    claim = CLAIMS / name
    if cluster.is_up() and (not claim.exists() or claim.read_text() == str(os.getpid())):
        cluster.up(report=report, **options)
        yield cluster
        return
    CLAIMS.mkdir(parents=True, exist_ok=True)
    claim.write_text(str(os.getpid()))
    try:
        # Whatever an earlier run, or an earlier version of the lab, has left under this name is of no use here.
        cluster.up(report=report, **{"fresh": True, **options})
        yield cluster
    finally:
        cluster.down()
        claim.unlink(missing_ok=True)


def alive(run: str) -> bool:
    """Tell whether the test run with this process id still runs."""
    try:
        return b"pytest" in pathlib.Path("/proc", run, "cmdline").read_bytes()
    except FileNotFoundError:
        return False


def take_down_orphans() -> list[str]:
    """Take down the labs whose test run has ended without doing so. Returns their names."""
    orphans = [claim for claim in sorted(CLAIMS.glob("*")) if not alive(claim.read_text())]
    for claim in orphans:
        from lab.cluster import Cluster

        Cluster(claim.name).down()
        claim.unlink()
    return [claim.name for claim in orphans]


if __name__ == "__main__":
    for orphan in take_down_orphans():
        print(f"An earlier test run left the lab {orphan} behind; it is down now.", file=sys.stderr)
