"""The lab of the contract tests: the one that all tests of a real cluster share, with one platform after the other in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests import labs
from tests.contract.installed import Installed, install, remove, remove_others
from tests.contract.story import Story, Teller

if TYPE_CHECKING:
    from lab.cluster import Cluster

# The last one stays for the tests that come after these.
ORDER = ("deis", "drycc-1.8", "drycc-head", "hephy")


def wanted_platforms() -> list[str]:
    """All platforms that the collection knows, or those that PAAS_PLATFORMS names, separated by commas, while one works on a test."""
    named = os.environ.get("PAAS_PLATFORMS")
    chosen = named.split(",") if named else sorted(PLATFORMS)
    return sorted(chosen, key=lambda name: ORDER.index(name) if name in ORDER else 0)


@pytest.fixture(scope="session")
def lab_cluster(report: Callable[[str], None]) -> Iterator[Cluster]:
    """A real control plane with two real nodes."""
    with labs.running(os.environ.get("PAAS_LAB_NAME", "test"), report, nodes=2) as cluster:
        yield cluster


@pytest.fixture(scope="session", params=wanted_platforms())
def platform(request: pytest.FixtureRequest, lab_cluster: Cluster, report: Callable[[str], None]) -> Iterator[Installed]:
    """One platform that runs in the lab, as it was installed."""
    begun = time.monotonic()
    remove_others(lab_cluster, request.param)
    installed = install(lab_cluster, request.param, report)
    report(f"{request.param} is installed after {time.monotonic() - begun:.0f} s")
    yield installed
    if request.param != wanted_platforms()[-1]:
        begun = time.monotonic()
        remove(lab_cluster, request.param)
        report(f"{request.param} is gone after {time.monotonic() - begun:.0f} s")


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
