# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An object as it is written down to be made again: without what belongs to one cluster and one moment. Pure, and the same when done twice."""

from __future__ import annotations

import copy
import json
from typing import Any, Dict, Mapping, Tuple

_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    # Whoever needs them adds them again; on a volume they would keep it from being bound.
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    # They name owners by a number that no other cluster has: there the garbage collector would delete the object.
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
# What controllers note about their own work.
_ANNOTATIONS = (
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
)
# A volume that is made again must not be wiped when its claim is late: this says what its policy was.
RECLAIM_POLICY = "paas.hardening/reclaim-policy"
_RETAIN = "Retain"
# What has to be there before something else can be. A quota comes last: nobody counts yet what it allows.
_ORDER = (
    ("CustomResourceDefinition",),
    ("Namespace",),
    ("StorageClass",),
    ("PersistentVolume",),
    ("PersistentVolumeClaim",),
    ("ConfigMap", "Secret", "ServiceAccount", "ClusterRole", "Role"),
    ("ClusterRoleBinding", "RoleBinding"),
)
_LATE = (("CronJob", "DaemonSet", "Deployment", "ReplicaSet", "ReplicationController", "StatefulSet"), ("HorizontalPodAutoscaler",), ("ResourceQuota",))
FIRST_OF_VOLUMES, FIRST_OF_REST = 2, 5


def canonical(document: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what of an object is to be made again."""
    found: Dict[str, Any] = copy.deepcopy({key: value for key, value in document.items() if key != "status"})
    metadata = {key: value for key, value in found.get("metadata", {}).items() if key not in _METADATA}
    annotations = {key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key not in _ANNOTATIONS}
    spec: Dict[str, Any] = found.get("spec") or {}
    kind = (found.get("apiVersion"), found.get("kind"))
    if kind == ("v1", "PersistentVolume"):
        annotations.update(_kept_volume(spec))
    elif kind == ("v1", "Service"):
        _freed_addresses(spec)
    elif kind == ("v1", "Namespace"):
        found.pop("spec", None)
    elif kind == ("v1", "ServiceAccount"):
        # Names of tokens that the cluster made for itself.
        found.pop("secrets", None)
    found["metadata"] = {**metadata, **({"annotations": annotations} if annotations else {})}
    return found


def _kept_volume(spec: Dict[str, Any]) -> Dict[str, str]:
    """Let a volume keep its data and its claim, by name: without the numbers of the old claim it is bound to the new one, and to no stranger."""
    claim = spec.get("claimRef")
    if claim:
        spec["claimRef"] = {key: value for key, value in claim.items() if key not in ("uid", "resourceVersion")}
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy in (None, _RETAIN):
        return {}
    spec["persistentVolumeReclaimPolicy"] = _RETAIN
    return {RECLAIM_POLICY: policy}


def _freed_addresses(spec: Dict[str, Any]) -> None:
    spec.pop("healthCheckNodePort", None)
    if spec.get("clusterIP") not in (None, "None"):
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)


def line_of(document: Mapping[str, Any]) -> bytes:
    """Return an object in its one spelling, with the end of its line."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass") + b"\n"


def step_of(document: Mapping[str, Any]) -> int:
    """Return when an object is made: those with a lower number are needed by those with a higher one."""
    for number, kinds in enumerate(_ORDER):
        if document["kind"] in kinds:
            return number
    for number, kinds in enumerate(_LATE, len(_ORDER) + 1):
        if document["kind"] in kinds:
            return number
    return len(_ORDER)


def address_of(document: Mapping[str, Any]) -> Tuple[int, str, str, str, str]:
    """Return the place of an object in the order in which objects are made."""
    metadata = document["metadata"]
    return step_of(document), str(document["kind"]), str(document["apiVersion"]), str(metadata.get("namespace", "")), str(metadata["name"])


def title_of(document: Mapping[str, Any]) -> str:
    """Return an object's kind, namespace and name, as people write them."""
    metadata = document["metadata"]
    return f"{document['kind']} {'/'.join(part for part in (metadata.get('namespace'), metadata['name']) if part)}"
