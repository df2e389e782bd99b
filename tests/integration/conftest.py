"""A connection to the lab's cluster, and namespaces in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection, connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from tests.integration import workloads

if TYPE_CHECKING:
    from lab.cluster import Cluster


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
