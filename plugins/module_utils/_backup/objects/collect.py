# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that a platform and its apps have in a cluster: every kind that the server has, so that none is forgotten; what is left out is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Set, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.canonical import address_of, canonical
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS, Kind
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects

# Runs and notes, not state: made by whoever needs them, or over.
_RUNS = frozenset({"ControllerRevision", "Endpoints", "EndpointSlice", "Event", "Job", "Lease", "Pod", "PodTemplate"})
# These have a kind of backup of their own, which encrypts them.
_SECRET = "Secret"
# Every namespace has it, of its own cluster.
_OF_CLUSTER = ("ConfigMap", "kube-root-ca.crt")
_BOOTSTRAPPED = "kubernetes.io/bootstrapping"
# With more namespaces than this, one list of all of them is cheaper than one of each.
_ONE_BY_ONE = 4


@dataclass(frozen=True)
class Collected:
    """Objects in the order in which they are made. ``versions`` has the version that each was read under, ``left_out`` a count by reason."""

    documents: Tuple[Dict[str, Any], ...]
    versions: Tuple[str, ...]
    kinds: Mapping[Tuple[str, str], Kind]
    left_out: Mapping[str, int]

    @property
    def counts(self) -> Dict[str, int]:
        """How many there are of each kind."""
        return dict(sorted(Counter(str(document["kind"]) for document in self.documents).items()))


def served_kinds(connection: Connection) -> List[Kind]:
    """Return every kind that can be listed and made, in the version that the server prefers. Raises like Connection.request()."""
    groups = connection.request("GET", "/apis").data.get("groups") or []
    versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in groups)]
    found: List[Kind] = []
    for version in versions:
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        for resource in connection.request("GET", path).data.get("resources") or []:
            if "/" not in resource["name"] and {"list", "create"} <= set(resource.get("verbs") or ()):
                found.append(Kind(version, str(resource["kind"]), str(resource["name"]), bool(resource.get("namespaced"))))
    return found


def collect(objects: Objects, namespaces: Sequence[str]) -> Collected:
    """Read everything in these namespaces, and what of the cluster belongs to it: volumes, their classes, roles of its accounts, definitions of its kinds."""
    wanted = set(namespaces)
    kinds = served_kinds(objects.connection)
    left_out: Counter[str] = Counter()
    found: List[Mapping[str, Any]] = []
    for kind in kinds:
        if kind.namespaced and kind.kind not in _RUNS:
            found += [document for document in _listed(objects, kind, namespaces, wanted) if _is_state(document, left_out)]
    accounts = {(document["metadata"]["namespace"], document["metadata"]["name"]) for document in found if document["kind"] == "ServiceAccount"}
    groups = {str(document["apiVersion"]).rpartition("/")[0] for document in found}
    found += _of_cluster(objects, wanted, accounts, groups)
    # One kind can be served by two groups (HorizontalPodAutoscaler was); the same object is taken once.
    unique = {str(document["metadata"].get("uid") or address_of(document)): document for document in found}
    ordered = sorted(unique.values(), key=address_of)
    return Collected(
        documents=tuple(canonical(document) for document in ordered),
        versions=tuple(str(document["metadata"].get("resourceVersion", "")) for document in ordered),
        kinds={(kind.api_version, kind.kind): kind for kind in kinds},
        left_out=dict(sorted(left_out.items())),
    )


def _listed(objects: Objects, kind: Kind, namespaces: Sequence[str], wanted: Set[str]) -> Iterator[Mapping[str, Any]]:
    if len(namespaces) <= _ONE_BY_ONE:
        for namespace in namespaces:
            yield from objects.list(kind, namespace=namespace)
        return
    for document in objects.list(kind):
        if document["metadata"]["namespace"] in wanted:
            yield document


def _is_state(document: Mapping[str, Any], left_out: Counter[str]) -> bool:
    """Tell whether an object is to be made again, and count it when not."""
    kind, metadata = document["kind"], document["metadata"]
    if kind == _SECRET and document["apiVersion"] == "v1":
        left_out["Secrets, which are encrypted in the kind secrets"] += 1
    elif any(owner.get("controller") for owner in metadata.get("ownerReferences") or ()):
        left_out[f"{kind} that its owner makes again"] += 1
    elif (kind, metadata["name"]) == _OF_CLUSTER:
        left_out["ConfigMap that every cluster makes by itself"] += 1
    elif metadata.get("deletionTimestamp"):
        left_out[f"{kind} that is being deleted"] += 1
    else:
        return True
    return False


def _of_cluster(objects: Objects, namespaces: Set[str], accounts: Set[Tuple[str, str]], groups: Set[str]) -> List[Mapping[str, Any]]:
    found: List[Mapping[str, Any]] = [document for document in objects.list(KINDS["Namespace"]) if document["metadata"]["name"] in namespaces]
    for document in objects.list(KINDS["PersistentVolume"]):
        if ((document.get("spec") or {}).get("claimRef") or {}).get("namespace") in namespaces:
            found.append(document)
    found += objects.list(KINDS["StorageClass"])
    bindings = [document for document in objects.list(KINDS["ClusterRoleBinding"]) if _binds(document, accounts)]
    roles = {document["roleRef"]["name"] for document in bindings}
    found += bindings
    for document in objects.list(KINDS["ClusterRole"]):
        # Those that every cluster begins with are there already.
        if document["metadata"]["name"] in roles and _BOOTSTRAPPED not in (document["metadata"].get("labels") or {}):
            found.append(document)
    found += [document for document in objects.list(KINDS["CustomResourceDefinition"]) if document["spec"]["group"] in groups]
    return found


def _binds(binding: Mapping[str, Any], accounts: Set[Tuple[str, str]]) -> bool:
    subjects = binding.get("subjects") or ()
    return any(entry.get("kind") == "ServiceAccount" and (entry.get("namespace"), entry.get("name")) in accounts for entry in subjects)


def kind_for(collected: Collected, document: Mapping[str, Any]) -> Kind:
    """Return the kind of a collected object, in the version that it was read in."""
    known = collected.kinds.get((str(document["apiVersion"]), str(document["kind"])))
    return known or replace(KINDS[str(document["kind"])], api_version=str(document["apiVersion"]))


def kinds_in(documents: Sequence[Mapping[str, Any]]) -> Dict[Tuple[str, str], Kind]:
    """Return the kinds that definitions among the documents bring: a server has them only once those are made."""
    found: Dict[Tuple[str, str], Kind] = {}
    for document in documents:
        if document["kind"] == "CustomResourceDefinition":
            spec = document["spec"]
            for version in spec["versions"]:
                name = f"{spec['group']}/{version['name']}"
                found[name, spec["names"]["kind"]] = Kind(name, spec["names"]["kind"], spec["names"]["plural"], spec["scope"] == "Namespaced")
    return found
