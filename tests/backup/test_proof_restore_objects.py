"""Objects that come back into a real cluster: claims bound to their old volumes, workloads at rest until they are started, what is there left alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.canonical import canonical
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.collect import Collected, collect
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.kind import write_objects
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from lab import processes
from tests.backup.asking import brought_back, refused
from tests.backup.test_proof_restore import published

if TYPE_CHECKING:
    from lab.cluster import Cluster

SPACE = "restore-proof"
PLATFORM = """
apiVersion: v1
kind: Namespace
metadata: {name: SPACE}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.proof.example.com}
spec:
  group: proof.example.com
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing, listKind: ThingList}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: SPACE}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Delete
  storageClassName: none
  nfs: {server: 192.0.2.1, path: /exports/old-folder}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: SPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, volumeName: SPACE, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: SPACE}
data: {mode: production}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner, namespace: SPACE}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: SPACE}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: SPACE}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {nodeSelector: {nowhere: "true"}, serviceAccountName: runner, containers: [{name: web, image: registry.invalid/web}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: SPACE}
spec:
  schedule: "0 3 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: x, image: registry.invalid/x}]}}}}
"""
THING = """
apiVersion: proof.example.com/v1
kind: Thing
metadata: {name: one, namespace: SPACE}
spec: {size: 3}
"""


@pytest.fixture(scope="module")
def live(lab_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster with a small platform in it, which may be lost."""
    lab_cluster.kubectl("apply", "-f", "-", stdin=PLATFORM.replace("SPACE", SPACE))

    def made() -> bool:
        try:
            lab_cluster.kubectl("apply", "-f", "-", stdin=THING.replace("SPACE", SPACE))
        except Exception:
            return False
        return lab_cluster.kubectl("get", "pvc", "data", "-n", SPACE, "-o", "jsonpath={.status.phase}") == "Bound"

    assert processes.wait_until(made, 60)
    yield lab_cluster
    lose(lab_cluster)


def lose(cluster: Cluster) -> None:
    """What a disaster does, and a volume that keeps its data outside."""
    cluster.kubectl("delete", "namespace", SPACE, "--ignore-not-found", "--timeout=120s")
    cluster.kubectl("patch", "pv", SPACE, "--type=merge", "-p", '{"metadata":{"finalizers":null}}') if SPACE in cluster.kubectl("get", "pv") else None
    cluster.kubectl("delete", "pv", SPACE, "--ignore-not-found", "--timeout=60s")
    cluster.kubectl("delete", "crd", "things.proof.example.com", "--ignore-not-found", "--timeout=60s")


def get(cluster: Cluster, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.kubectl("get", *words, "-n", SPACE, "-o", "json"))
    return found


def test_objects_come_back_with_their_volumes_and_start_when_told(live: Cluster, tmp_path: Path) -> None:
    objects = Objects(connect({"kubeconfig": str(live.kubeconfig)}))
    found = collect(objects, [SPACE])
    kept = [document for document in found.documents if document["kind"] not in ("StorageClass",)]
    assert {"Thing", "Deployment", "CronJob", "PersistentVolume"} <= {document["kind"] for document in kept}

    def fill(place: Path) -> Mapping[str, Any]:
        digest = write_objects(str(place), Collected(tuple(kept), ("",) * len(kept), found.kinds, {}))
        return {"objects": len(kept), "namespaces": [SPACE], "namespace": SPACE, "content": digest}

    point = published(tmp_path, "objects", fill)
    wanted: dict[str, Any] = {"kinds": ["objects"], "objects": {"kubeconfig": str(live.kubeconfig)}}
    # Nothing is lost: nothing is to be done, but the workloads that run are not the ones that a restore would rest.
    assert brought_back(tmp_path, check=True, **wanted)["plan"] == []
    before = get(live, "deployment", "web")
    assert before["spec"]["replicas"] == 3
    volume = live.kubectl("get", "pv", SPACE, "-o", "jsonpath={.metadata.uid}")

    lose(live)
    predicted = brought_back(tmp_path, check=True, **wanted)
    assert predicted.get("msg") is None, predicted
    assert len(predicted["plan"]) == len(kept)
    identity = live.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    for confirm in ({}, {"confirm": "kube-system"}):
        reason, message = refused(brought_back(tmp_path, **confirm, **wanted))
        assert (reason, identity in message) == ("Refused", True)
    assert "NotFound" in str(refused_get(live))
    begun = time.monotonic()
    done = brought_back(tmp_path, confirm=identity, **wanted)
    assert done.get("msg") is None, done
    print(f"{len(kept)} objects made in {time.monotonic() - begun:.1f} s: {done['proof']['checks']}")
    assert done["proof"]["verdict"] == "pass"
    assert {change["object"] for change in done["plan"]} <= {change["object"] for change in predicted["plan"]}
    claim = get(live, "pvc", "data")
    assert (claim["status"]["phase"], claim["spec"]["volumeName"]) == ("Bound", SPACE)
    back = json.loads(live.kubectl("get", "pv", SPACE, "-o", "json"))
    assert back["metadata"]["uid"] != volume
    assert (back["spec"]["persistentVolumeReclaimPolicy"], back["spec"]["nfs"]["path"]) == ("Retain", "/exports/old-folder")
    assert get(live, "deployment", "web")["spec"]["replicas"] == 0
    assert get(live, "cronjob", "nightly")["spec"]["suspend"] is True
    assert get(live, "things", "one")["spec"] == {"size": 3}
    assert brought_back(tmp_path, confirm=identity, **wanted)["changed"] is False

    # What somebody has there is left as it is.
    live.kubectl("patch", "configmap", "settings", "-n", SPACE, "--type=merge", "-p", '{"data":{"mode":"mine"}}')
    done = brought_back(tmp_path, confirm=identity, **wanted)
    assert done["changed"] is False
    assert any("left as they are" in step for step in done["remains_to_do"])
    assert get(live, "configmap", "settings")["data"] == {"mode": "mine"}

    predicted = brought_back(tmp_path, check=True, state="swapped", confirm=identity, **wanted)
    done = brought_back(tmp_path, state="swapped", confirm=identity, **wanted)
    assert done.get("msg") is None, done
    assert (done["plan"], len(done["plan"])) == (predicted["plan"], 2)
    after = get(live, "deployment", "web")
    assert canonical(after) == canonical(before)
    assert get(live, "cronjob", "nightly")["spec"]["suspend"] is False
    assert brought_back(tmp_path, state="swapped", confirm=identity, **wanted)["changed"] is False
    assert point.identifier == done["point"]["identifier"]


def refused_get(cluster: Cluster) -> str:
    """What the cluster says of the namespace that is lost."""
    try:
        return cluster.kubectl("get", "namespace", SPACE)
    except Exception as error:
        return str(error)


def test_what_the_cluster_would_not_take_stops_all_of_it(live: Cluster, tmp_path: Path) -> None:
    lose(live)
    documents = [canonical(document) for document in yaml.safe_load_all(PLATFORM.replace("SPACE", SPACE)) if document["kind"] in ("Namespace", "ConfigMap")]
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "wrong", "namespace": SPACE}, "spec": {"ports": [{"port": 99999}]}}

    def fill(place: Path) -> Mapping[str, Any]:
        write_objects(str(place), Collected((*documents, wrong), ("",) * 3, {}, {}))
        return {"objects": 3}

    published(tmp_path, "objects", fill)
    identity = live.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    reason, message = refused(brought_back(tmp_path, confirm=identity, kinds=["objects"], objects={"kubeconfig": str(live.kubeconfig)}))
    assert (reason, "Service restore-proof/wrong" in message) == ("Refused", True)
    assert live.kubectl("get", "configmap", "settings", "-n", SPACE, "--ignore-not-found") == ""
