"""Objects as they are written down: without what belongs to one cluster, the same when done twice, in the order in which they can be made."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.canonical import RECLAIM_POLICY, address_of, canonical, line_of, title_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.collect import Collected
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.kind import FILES, write_objects
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.proof import differing

# What an API server says of every object.
NOTES: dict[str, Any] = {
    "uid": "0b0c",
    "resourceVersion": "17",
    "generation": 3,
    "creationTimestamp": "2026-01-01T00:00:00Z",
    "managedFields": [{"manager": "helm"}],
    "finalizers": ["kubernetes.io/pvc-protection"],
    "ownerReferences": [{"uid": "0a", "kind": "Owner", "name": "o", "apiVersion": "v1"}],
}


def live(kind: str, name: str = "one", api_version: str = "v1", **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, **NOTES, **rest.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


VOLUME = live(
    "PersistentVolume",
    "pv-1",
    metadata={"annotations": {"pv.kubernetes.io/bound-by-controller": "yes", "pv.kubernetes.io/provisioned-by": "nfs"}, "labels": {"a": "b"}},
    spec={
        "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"namespace": "deis", "name": "data", "uid": "0d", "resourceVersion": "9"},
        "nfs": {"server": "192.0.2.1", "path": "/exports/one"},
    },
    status={"phase": "Bound"},
)


def test_volume_keeps_its_data_and_its_claim_by_name_only() -> None:
    found = canonical(VOLUME)
    assert found["spec"]["claimRef"] == {"namespace": "deis", "name": "data"}
    assert (found["spec"]["persistentVolumeReclaimPolicy"], found["spec"]["nfs"]) == ("Retain", {"server": "192.0.2.1", "path": "/exports/one"})
    # What its policy was is not lost, and what the provisioner wrote stays.
    assert found["metadata"] == {"name": "pv-1", "labels": {"a": "b"}, "annotations": {"pv.kubernetes.io/provisioned-by": "nfs", RECLAIM_POLICY: "Delete"}}
    assert "status" not in found
    assert VOLUME["spec"]["claimRef"]["uid"] == "0d", "what was observed must stay as it is"


def test_claim_keeps_the_name_of_its_volume() -> None:
    noted = {"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "n1", "volume.kubernetes.io/storage-provisioner": "nfs"}
    found = canonical(live("PersistentVolumeClaim", metadata={"namespace": "deis", "annotations": noted}, spec={"volumeName": "pv-1"}))
    assert found == {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "one", "namespace": "deis"}, "spec": {"volumeName": "pv-1"}}


@pytest.mark.parametrize(
    ("spec", "left"),
    [
        ({"clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ports": [{"port": 80, "nodePort": 30080}]}, {"ports": [{"port": 80, "nodePort": 30080}]}),
        ({"clusterIP": "None", "clusterIPs": ["None"]}, {"clusterIP": "None", "clusterIPs": ["None"]}),
        ({"type": "LoadBalancer", "healthCheckNodePort": 31000}, {"type": "LoadBalancer"}),
    ],
)
def test_addresses_of_a_service_are_those_of_its_cluster(spec: dict[str, Any], left: dict[str, Any]) -> None:
    assert canonical(live("Service", spec=spec))["spec"] == left


def test_tokens_of_an_account_and_the_finalizer_of_a_namespace_go() -> None:
    assert "secrets" not in canonical(live("ServiceAccount", secrets=[{"name": "default-token-abcde"}], imagePullSecrets=[{"name": "pull"}]))
    assert canonical(live("Namespace", spec={"finalizers": ["kubernetes"]})) == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "one"}}


def test_the_same_when_done_twice() -> None:
    for document in (VOLUME, live("Service", spec={"clusterIP": "10.0.0.7"}), live("Deployment", api_version="apps/v1", spec={"replicas": 2})):
        once = canonical(document)
        assert canonical(once) == once
        assert line_of(canonical(json.loads(line_of(once)))) == line_of(once)


def test_nothing_is_made_before_what_it_needs() -> None:
    kinds = ["ResourceQuota", "HorizontalPodAutoscaler", "Deployment", "Service", "RoleBinding", "Role", "ServiceAccount", "PersistentVolumeClaim"]
    kinds += ["PersistentVolume", "StorageClass", "Namespace", "CustomResourceDefinition"]
    documents = [live(kind) for kind in kinds]
    random.Random(1).shuffle(documents)
    found = [document["kind"] for document in sorted(documents, key=address_of)]
    assert found == ["CustomResourceDefinition", "Namespace", "StorageClass", "PersistentVolume", "PersistentVolumeClaim", *found[5:]]
    assert found.index("ServiceAccount") < found.index("RoleBinding") < found.index("Service") < found.index("Deployment")
    assert found[-2:] == ["HorizontalPodAutoscaler", "ResourceQuota"]


def test_files_hold_one_object_a_line_and_one_digest(tmp_path: Any) -> None:
    documents = sorted((canonical(live(kind, metadata={"namespace": "deis"})) for kind in ("Namespace", "PersistentVolumeClaim", "ConfigMap")), key=address_of)
    collected = Collected(tuple(documents), ("1", "2", "3"), {}, {})
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        digests.append(write_objects(str(tmp_path / name), collected))
        assert [json.loads((tmp_path / name / file).read_text())["kind"] for file in FILES] == ["Namespace", "PersistentVolumeClaim", "ConfigMap"]
    assert digests[0] == digests[1]
    assert collected.counts == {"ConfigMap": 1, "Namespace": 1, "PersistentVolumeClaim": 1}


def test_what_differs_is_named_without_its_value() -> None:
    one, other = {"spec": {"env": [{"value": "secret"}], "a": 1}}, {"spec": {"env": [{"value": "other"}], "b": 2}}
    assert differing(one, other) == ["spec.a", "spec.b", "spec.env"]
    assert title_of(live("ConfigMap", metadata={"namespace": "deis"})) == "ConfigMap deis/one"
