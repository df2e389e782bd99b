"""The lab that all tests of a real cluster share: two nodes, no platform."""

from __future__ import annotations

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
    with labs.running(labs.shared_name(), report, nodes=2) as cluster:
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
