"""Labs for tests: brought up when a test needs one, taken down when the run ends, and found again when it could not do that itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.cluster import Cluster
    from lab.hosts.fleet import Fleet

# One file for each lab that a test run has up, of the lab's name. The run holds its lock, which the kernel drops however the run ends.
CLAIMS = ROOT / ".cache" / "test-labs"
_own: set[str] = set()


def shared_name() -> str:
    """The lab that the tests of a cluster share: "test", or PAAS_LAB_NAME; each of several processes that share the tests out has its own."""
    parts = [os.environ.get("PAAS_LAB_NAME", "test"), os.environ.get("PYTEST_XDIST_WORKER", "")]
    return "-".join(filter(None, parts))


@contextlib.contextmanager
def running(name: str, report: Callable[[str], Any] = print, **options: Any) -> Iterator[Cluster]:
    """Yield a lab that is up, with the options of ``Cluster.up``, and take it down afterwards, however the test ends.

    A lab that was up before is completed and left alone: whoever works on a test keeps one with ``python -m lab up --name NAME``. So is one that another
    fixture of this very run has brought up, which takes it down.
    """
    from lab.cluster import Cluster

    cluster = Cluster(name)
    if name in _own or (cluster.is_up() and not (CLAIMS / name).exists()):
        cluster.up(report=report, **options)
        yield cluster
        return
    with _claimed(name):
        try:
            # Whatever an earlier run, or an earlier version of the lab, has left under this name is of no use here.
            cluster.up(report=report, **{"fresh": True, **options})
            yield cluster
        finally:
            cluster.down()


@contextlib.contextmanager
def hosts(wanted: Sequence[str], disks: int = 0, report: Callable[[str], Any] = print, purpose: str = "hosts", size: str = "512M") -> Iterator[Fleet]:
    """Yield standalone hosts that are up, NAME or NAME:RELEASE each, in a lab of their own, and take them down afterwards, however the test ends."""
    from lab.hosts.fleet import Fleet

    name = f"{shared_name()}-{purpose}"
    fleet = Fleet(name)
    asked = [entry.partition(":")[0] for entry in wanted]
    if set(asked) <= set(fleet.names()) and not (CLAIMS / name).exists():
        # Whoever works on a test keeps them: python -m lab hosts up --name NAME-hosts. They are as he left them.
        fleet.up(wanted, disks=disks, size=size, report=report)
        yield fleet
        return
    with _claimed(name):
        try:
            fleet.down()
            fleet.up(wanted, disks=disks, size=size, report=report)
            yield fleet
        finally:
            fleet.down()


@contextlib.contextmanager
def _claimed(name: str) -> Iterator[None]:
    """Tell other runs of this checkout that this one has the lab. Raises AssertionError when another run has it."""
    CLAIMS.mkdir(parents=True, exist_ok=True)
    with (CLAIMS / name).open("w") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AssertionError(f"Another test run of this checkout has the lab {name}: wait for it, or choose another with PAAS_LAB_NAME.") from None
        _own.add(name)
        try:
            yield
        finally:
            _own.discard(name)
            (CLAIMS / name).unlink(missing_ok=True)


def take_down_orphans() -> None:
    """Take down the labs whose test run has ended without doing so."""
    for path in sorted(CLAIMS.glob("*")):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open() as claim:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            from lab.cluster import Cluster

            Cluster(path.name).down()
            path.unlink(missing_ok=True)
