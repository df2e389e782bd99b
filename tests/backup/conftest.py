"""A real etcd and a platform that the tests of this folder share, and how much of each proof is done."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs, find
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.proof import Expected
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.snapshot import Snapshot, read_snapshot, revision_of
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from lab import builds, layers, processes
from tests.backup.member import Etcd, left_running, member_of
from tests.backup.whole import Identity, identity
from tests.contract.installed import Installed, install, remove_others

if TYPE_CHECKING:
    from lab.cluster import Cluster
    from lab.seed import Sown

VOLUME = """
apiVersion: v1
kind: PersistentVolume
metadata: {name: backup-proof}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Delete
  storageClassName: none
  nfs: {server: 192.0.2.1, path: /exports/backup-proof}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: backup-proof, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, volumeName: backup-proof, resources: {requests: {storage: 1Gi}}}
"""


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


@pytest.fixture(scope="module")
def programs(etcd: Etcd) -> Programs:
    return find(str(etcd.programs), Deadline(30))


@pytest.fixture(scope="module")
def snapshot(etcd: Etcd, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    path = tmp_path_factory.mktemp("snapshot") / "snapshot.db"
    member_of(etcd, programs).save(str(path), Deadline(60))
    return read_snapshot(str(path))


@pytest.fixture(scope="module")
def expected(etcd: Etcd, programs: Programs, snapshot: Snapshot) -> Expected:
    revision = revision_of(programs, snapshot, Deadline(60))
    return Expected(member_of(etcd, programs).content(Deadline(60), revision), revision, revision)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield str(folder)
    assert left_running(tmp_path) == []


@pytest.fixture(scope="session")
def hephy(lab_cluster: Cluster, report: Callable[[str], None]) -> Installed:
    remove_others(lab_cluster, "hephy")
    platform = install(lab_cluster, "hephy", report)
    lab_cluster.kubectl("apply", "-f", "-", stdin=VOLUME.replace("NAMESPACE", platform.namespace))

    def is_bound() -> bool:
        return "Bound" in lab_cluster.kubectl("get", "pvc", "backup-proof", "-n", platform.namespace, "-o", "jsonpath={.status.phase}")

    assert processes.wait_until(is_bound, 60)
    return platform


@pytest.fixture(scope="session")
def sown(hephy: Installed, report: Callable[[str], None]) -> Sown:
    from lab.seed import sow

    return sow(hephy.cluster, hephy.name, megabytes=8, report=report)


@pytest.fixture(scope="session")
def newest(report: Callable[[str], None]) -> Iterator[str]:
    """A folder with PostgreSQL's programs of the very release that the lab's platforms run: that of this machine may be an older one."""
    root = layers.unpacked(layers.debian(report), report)
    with tempfile.TemporaryDirectory(prefix="paas-hardening-postgres-") as folder:
        Path(folder).chmod(0o755)
        for part in ("usr/lib/postgresql/15", "usr/share/postgresql/15"):
            shutil.copytree(root / part, Path(folder) / part, symlinks=True)
        yield str(Path(folder) / "usr/lib/postgresql/15/bin")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    folder = tmp_path_factory.mktemp("elsewhere")
    return [identity(folder, "operations"), identity(folder, "paper")]
