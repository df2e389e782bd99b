"""One platform after the other in the lab: while the tests look at one, the next is installed beside it by a process of its own, since both mostly wait.

That process only does earlier what has to be done anyway: whoever takes a platform completes what it left, and gets the error if there is one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.contract.installed import Installed, install, remove
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.cluster import Cluster


# Of no concern to the modules that are told here, and a part of what an installation costs.
WITHOUT = ("grafana",)


class Rotation:
    """The platforms in their order. In the end only the last one is left."""

    def __init__(self, cluster: Cluster, order: Sequence[str], report: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._order = list(order)
        self._report = report
        self._ahead: subprocess.Popen[str] | None = None
        self._following: list[str] = []

    def take(self, name: str) -> Installed:
        """Return the platform, which runs, and begin to remove the others and to install the next one. Raises what an installation raises."""
        begun = time.monotonic()
        self._finish()
        for other in PLATFORMS:
            if other != name and not _room(self._cluster, other, name):
                remove(self._cluster, other)
        platform = install(self._cluster, name, self._report, without=WITHOUT)
        self._report(f"{name} is there after {time.monotonic() - begun:.0f} s")
        self._following = self._order[self._order.index(name) + 1 :][:1]
        paths = os.pathsep.join([str(ROOT / ".cache"), str(ROOT)])
        self._ahead = subprocess.Popen(
            [sys.executable, "-m", __name__, self._cluster.name, name, *self._following],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return platform

    def close(self) -> None:
        """Wait until only the last platform is left. Where the tests end earlier, what is under way is broken off, and completed by the next run."""
        if self._ahead and self._following:
            os.killpg(self._ahead.pid, signal.SIGKILL)
        self._finish()

    def _finish(self) -> None:
        if self._ahead:
            output = self._ahead.communicate()[0].strip()
            if output:
                self._report(output)
            self._ahead = None


def _room(cluster: Cluster, one: str, other: str) -> bool:
    """Whether both can be there at once: those of one family share a namespace."""
    from lab.installation import installation

    return installation(cluster, one).namespace != installation(cluster, other).namespace


def main(lab: str, present: str, following: str = "") -> None:
    """Remove every platform but the present one, and install the following one if there is room for it."""
    from lab.cluster import Cluster

    cluster = Cluster(lab)
    for name in PLATFORMS:
        if name not in (present, following):
            remove(cluster, name)
    if following and _room(cluster, present, following):
        install(cluster, following, lambda line: print(line, flush=True), without=WITHOUT)


if __name__ == "__main__":
    main(*sys.argv[1:])
