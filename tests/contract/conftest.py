"""The lab of the contract tests: the one that all tests of a real cluster share, with one platform after the other in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.contract.installed import Installed
from tests.contract.rotation import Rotation
from tests.contract.story import Story, Teller

if TYPE_CHECKING:
    from lab.cluster import Cluster

# Neighbours in this order have room beside each other; the last one stays for the tests that come after these.
ORDER = ("drycc-1.8", "deis", "drycc-head", "hephy")


def wanted_platforms() -> list[str]:
    """All platforms that the collection knows, or those that PAAS_PLATFORMS names, separated by commas, while one works on a test."""
    named = os.environ.get("PAAS_PLATFORMS")
    chosen = named.split(",") if named else sorted(PLATFORMS)
    return sorted(chosen, key=lambda name: ORDER.index(name) if name in ORDER else 0)


@pytest.fixture(scope="session")
def rotation(lab_cluster: Cluster, report: Callable[[str], None]) -> Iterator[Rotation]:
    """The wanted platforms, one after the other."""
    platforms = Rotation(lab_cluster, wanted_platforms(), report)
    yield platforms
    platforms.close()


@pytest.fixture(scope="session", params=wanted_platforms())
def platform(request: pytest.FixtureRequest, rotation: Rotation) -> Installed:
    """One platform that runs in the lab, as it was installed."""
    return rotation.take(request.param)


@pytest.fixture(scope="session")
def story(platform: Installed, tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Story:
    """What happened when every module was run on the platform in every case."""
    begun = time.monotonic()
    last = platform.name == wanted_platforms()[-1]
    told = Teller(platform, tmp_path_factory.mktemp(platform.name)).tell(both_ways=last)
    if last:
        platform.restore()
    report(f"{platform.name}: {len(told.runs)} plays in {time.monotonic() - begun:.0f} s")
    return told
