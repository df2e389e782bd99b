"""The lab that all tests of a real cluster share: two nodes, no platform.

It is named "test" (or PAAS_LAB_NAME) and taken down when the run ends, unless it was up before, or PAAS_LAB_KEEP=1 says to leave it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection, connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from tests import labs
from tests.integration import workloads

if TYPE_CHECKING:
    from lab.cluster import Cluster


@pytest.fixture(scope="session")
def lab_cluster(report: Callable[[str], None]) -> Iterator[Cluster]:
    """A real control plane with two real nodes."""
    from lab.cluster import Cluster

    name = os.environ.get("PAAS_LAB_NAME", "test")
    if os.environ.get("PAAS_LAB_KEEP") == "1":
        cluster = Cluster(name)
        cluster.up(nodes=2, report=report)
        yield cluster
        return
    with labs.running(name, report, nodes=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def connection(lab_cluster: Cluster) -> Connection:
    """A connection of the administrator."""
    return connect({"kubeconfig": str(lab_cluster.kubeconfig)})


@pytest.fixture
def objects(connection: Connection) -> Objects:
    """Objects over the administrator's connection."""
    return Objects(connection)


@pytest.fixture
def namespace(objects: Objects) -> Iterator[str]:
    """A namespace of the test's own, in which pods can be made; deleted afterwards."""
    with workloads.namespace(objects) as name:
        yield name
