"""A real etcd that the tests of this folder share, and how much of each proof is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from lab import builds
from tests.backup.member import Etcd


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Etcd]:
    """One member with 300 keys, of which some look like what Kubernetes keeps."""
    builds.ensure(["etcd", "etcdctl", "etcdutl"], report)
    with Etcd(tmp_path_factory.mktemp("etcd") / "member").running() as member:
        member.fill(300, 400)
        member.put(**{"-dash": "1", "empty": "", "/registry/configmaps/default/a": "plain"})
        yield member


@pytest.fixture(scope="session")
def share() -> Callable[[int, int], int]:
    """Says how many of a proof's cases are tried: all of them under `make proof-backup`, few otherwise."""
    return lambda few, all_of_them: all_of_them if os.environ.get("PAAS_BACKUP_PROOF") else few
