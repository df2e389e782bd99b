"""How long the lab takes to come up and to go, and how much memory it needs at rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from lab import cgroups, processes
from tests.perf.figures import Figure, at_most, told

if TYPE_CHECKING:
    from lab.cluster import Cluster

_REST_SECONDS = 10


def bring_up(cluster: Cluster, platforms: Iterable[str], report: Callable[[str], None]) -> float:
    """Bring the lab up from no state, with warm caches; return the seconds."""
    begun = time.monotonic()
    cluster.up(platforms=tuple(platforms), fresh=True, report=report)
    return time.monotonic() - begun


def take_down(cluster: Cluster) -> float:
    """Take the lab down; return the seconds."""
    begun = time.monotonic()
    cluster.down(purge=True)
    return time.monotonic() - begun


def at_rest(cluster: Cluster) -> float:
    """Wait until things have calmed down; return the MiB that all processes of the lab have for themselves."""
    time.sleep(_REST_SECONDS)
    return sum(processes.memory(pid) for pid in cgroups.members(cluster.layout.addresses.bridge)) / 2**20


def figures(plain: float | None, with_platform: float | None, memory: float | None, downs: list[float]) -> list[Figure]:
    """The figures, from the seconds and MiB that were measured."""
    note = "" if with_platform is not None else "the lab was up already, and was left alone"
    return [
        told("lab: up without a platform", plain, "s", note),
        at_most("lab: up with hephy, until it answers", with_platform, "s", 60, note),
        at_most("lab: down", max(downs, default=None), "s", 10, note, {"seconds": [round(seconds, 2) for seconds in downs]}),
        at_most("lab: memory at rest with hephy", memory, "MiB", 2048, "proportional share of all its processes"),
    ]
