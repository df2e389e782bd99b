"""Releases found in a real cluster: which revision counts, where records lie, what stands in the way of the next upgrade."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path as File
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection, connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Releases, find_release, releases_in
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from lab.cluster import Cluster
from tests.integration.live_changes import DEPLOYMENT
from tests.integration.probe_release import ProbeRelease, placed
from tests.integration.test_upgrade_truth import opened


@pytest.fixture
def probe(lab_cluster: Cluster, connection: Connection, namespace: str, tmp_path: File) -> ProbeRelease:
    """Helm 4 with server-side apply: the way in which an upgrade can fail over a live change."""
    helm = [str(lab_cluster.binary("helm4"))]
    return ProbeRelease(connection, lab_cluster.kubeconfig, namespace, tmp_path, helm, helm)


def live(probe: ProbeRelease) -> dict[str, Any]:
    return probe.read(probe.ref(*DEPLOYMENT[:2], "probe-web-0"))


def test_history(probe: ProbeRelease, objects: Objects) -> None:
    """The newest deployed revision counts, also behind a failed one; one request finds it."""
    assert releases_in(objects, probe.namespace) == []
    probe.install({})
    assert probe.upgrade() == ""
    changed = probe.write(placed(live(probe), ("spec", "replicas"), 2))
    assert "conflict" in probe.upgrade()
    before = objects.connection.reads
    release = find_release(objects, changed)
    assert objects.connection.reads - before == 1
    assert release is not None
    assert (release.revision, release.status, release.newest_failed, release.locked) == (2, "deployed", True, False)
    found = Releases(objects)
    assert [each.revision for each in found.in_namespace(probe.namespace)] == [2]
    before = objects.connection.reads
    assert found.of(changed) is found.of(changed)
    assert objects.connection.reads == before


def test_unfinished_upgrade_locks(probe: ProbeRelease, objects: Objects) -> None:
    probe.install({})
    relabel(objects, probe, 1, "pending-upgrade", 2)
    release = find_release(objects, live(probe))
    assert release is not None
    assert (release.revision, release.locked) == (1, True)
    assert "another operation" in probe.upgrade()


def relabel(objects: Objects, probe: ProbeRelease, revision: int, status: str, as_revision: int) -> None:
    """Copy a record under another revision, as an interrupted helm leaves it behind."""
    record = objects.get("Secret", f"sh.helm.release.v1.probe.v{revision}", probe.namespace)
    name = f"sh.helm.release.v1.probe.v{as_revision}"
    labels = {**record["metadata"]["labels"], "status": status, "version": str(as_revision)}
    # Helm reads the state from the record itself, we read it from the label as its own search does; both have to say it.
    text = decoded(record)
    text["info"]["status"] = status
    text["version"] = as_revision
    copy = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": record["type"],
        "metadata": {"name": name, "namespace": probe.namespace, "labels": labels},
        "data": {"release": encoded(text)},
    }
    objects.apply_plan(Plan((Change(Ref("v1", "Secret", name, probe.namespace), (), ABSENT, copy, "an interrupted helm"),)))


def decoded(record: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(gzip.decompress(base64.b64decode(base64.b64decode(record["data"]["release"])))))


def encoded(content: dict[str, Any]) -> str:
    return base64.b64encode(base64.b64encode(gzip.compress(json.dumps(content).encode()))).decode()


def test_nothing_deployed_any_more(probe: ProbeRelease, objects: Objects) -> None:
    """All revisions superseded: helm upgrades from the newest one all the same. Uninstalled: there is no release."""
    probe.install({})
    objects_of = Ref("v1", "Secret", "sh.helm.release.v1.probe.v1", probe.namespace)
    label = ("metadata", "labels", "status")
    objects.apply_plan(Plan((Change(objects_of, label, "deployed", "superseded", "test"),)))
    release = find_release(objects, live(probe))
    assert release is not None
    assert (release.revision, release.status) == (1, "superseded")
    objects.apply_plan(Plan((Change(objects_of, label, "superseded", "uninstalled", "test"),)))
    assert find_release(objects, live(probe)) is None


def test_records_in_config_maps(probe: ProbeRelease, objects: Objects) -> None:
    probe.driver = "configmap"
    probe.install({})
    assert probe.upgrade() == ""
    release = find_release(objects, live(probe))
    assert release is not None
    assert (release.storage, release.revision, release.method) == ("ConfigMap", 2, "ssa")
    assert [each.storage for each in releases_in(objects, probe.namespace)] == ["ConfigMap"]


def test_not_from_helm(probe: ProbeRelease, objects: Objects) -> None:
    probe.install({})
    alone = placed(live(probe), ("metadata", "annotations"), {})
    assert find_release(objects, alone) is None


@pytest.mark.proof
def test_helm2_is_looked_for_where_it_was_told(lab_cluster: Cluster, connection: Connection, objects: Objects, namespace: str, tmp_path: File) -> None:
    with opened("helm 2", lab_cluster, connection, namespace, tmp_path, print) as probe:
        probe.install({})
        found = find_release(objects, live(probe), [namespace])
        assert found is not None
        assert (found.helm, found.method, found.namespace, found.storage) == (2, "helm2", namespace, "ConfigMap")
        assert find_release(objects, live(probe), ["default"]) is None
        assert [each.name for each in releases_in(objects, namespace, [namespace])] == ["probe"]
        other = placed(live(probe), ("metadata", "name"), "somebody-elses")
        assert find_release(objects, other, [namespace]) is None


def test_no_right_is_no_answer(probe: ProbeRelease, lab_cluster: Cluster) -> None:
    """Who may not read the records does not know; that is never the same as no release."""
    probe.install({})
    stranger = Objects(connect({"kubeconfig": str(lab_cluster.issue_client("release-stranger"))}))
    with pytest.raises(Forbidden):
        find_release(stranger, live(probe))
    with pytest.raises(Forbidden):
        find_release(stranger, placed(live(probe), ("metadata", "annotations"), {}))


def test_damaged_record(probe: ProbeRelease, objects: Objects) -> None:
    probe.install({})
    ref = Ref("v1", "Secret", "sh.helm.release.v1.probe.v1", probe.namespace)
    record = objects.get("Secret", ref.name, probe.namespace)
    objects.apply_plan(Plan((Change(ref, ("data", "release"), record["data"]["release"], record["data"]["release"][:400], "test"),)))
    with pytest.raises(Failure, match="cannot be read"):
        find_release(objects, live(probe))
