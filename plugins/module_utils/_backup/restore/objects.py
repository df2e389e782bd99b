# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects are made again in the cluster that was named, those that are not there; volumes with their data and claims first, workloads at rest.

What is there already is never written to, but for the workloads that this restore has made and that are to be started.
"""

from __future__ import annotations

import copy
import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.canonical import canonical, line_of, title_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.collect import kinds_in, served_kinds
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.kind import read_objects
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.restorer import CONTENT, USE, Outcome
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS, Kind
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, Invalid, NotFound, Refused, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

ARGUMENTS: Dict[str, Any] = {
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "kinds": {"type": "list", "elements": "str", "default": []},
    "bind_timeout": {"type": "int", "default": 120},
}
# What a workload had before it was put to rest.
RESTING = "paas.hardening/resting"
_SCALED = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")
_SUSPENDED = "CronJob"
_MARK = "kube-system"
# These are made before anything can be tried: what is in them, or of them, cannot be judged while they are not there.
_GROUND = ("CustomResourceDefinition", "Namespace")
_SHOWN = 5
_LOOK = 0.5

Address = Tuple[str, str, str]


class ObjectsRestore:
    """The objects of a point on their way into a cluster. ``folder`` is where the point has them; ``confirm`` is the identity of the cluster."""

    name, swaps = "objects", True

    def __init__(self, options: Mapping[str, Any], point: Manifest, folder: str, confirm: str) -> None:
        if not options["kubeconfig"]:
            raise Invalid("objects.kubeconfig is missing.", "Give that of the cluster in which the objects are to be made.", "objects.kubeconfig")
        self._point, self._confirm, self._bind_timeout = point, confirm, options["bind_timeout"]
        whole = read_objects(folder)
        unknown = sorted(set(options["kinds"]) - {str(document["kind"]) for document in whole})
        if unknown:
            raise Invalid(f"The point has no {', '.join(unknown)}.", f"It has {', '.join(sorted({str(one['kind']) for one in whole}))}.", "objects.kinds")
        self._documents = {_address(document): resting(document) for document in whole if not options["kinds"] or document["kind"] in options["kinds"]}
        self._known = kinds_in(whole)
        self._objects = Objects(connect({"kubeconfig": options["kubeconfig"], "context": options["context"]}))
        self._kinds: Dict[Tuple[str, str], Kind] = {}
        self._live: Dict[Address, Optional[Mapping[str, Any]]] = {}
        self._identity = ""
        self._made: List[Address] = []
        self._tried = False
        self._seconds = 0.0

    def look(self) -> None:
        """Read what of it is there. Raises like Connection.request()."""
        mark = self._objects.find(KINDS["Namespace"], _MARK)
        self._identity = str(mark["metadata"]["uid"]) if mark else ""
        self._kinds = {**self._known, **{(kind.api_version, kind.kind): kind for kind in served_kinds(self._objects.connection)}}
        self._live = {address: self._found(document) for address, document in self._documents.items()}
        if self._made and not self._absent():
            deadline = Deadline(self._bind_timeout)
            while self._unbound() and deadline.pause(_LOOK):
                for address in self._unbound():
                    self._live[address] = self._found(self._documents[address])

    def _found(self, document: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
        metadata = document["metadata"]
        try:
            found: Mapping[str, Any] = self._objects.connection.request("GET", self._kind(document).path(metadata.get("namespace"), metadata["name"])).data
        except NotFound:
            return None
        return {**found, "apiVersion": document["apiVersion"], "kind": document["kind"]}

    def _kind(self, document: Mapping[str, Any]) -> Kind:
        kind = self._kinds.get((str(document["apiVersion"]), str(document["kind"])))
        if kind is None:
            raise Refused(
                f"The cluster does not know {document['kind']} of {document['apiVersion']}.",
                "Restore into a cluster of the same release, or leave that kind out with objects.kinds.",
                title_of(document),
            )
        return kind

    def changes(self, swap: bool) -> List[Change]:
        changes: List[Change] = []
        for address in self._absent():
            changes.append(Change(_ref(self._documents[address]), CONTENT, ABSENT, self._point.identifier, "it is not there"))
        for address, live in self._live.items():
            document = self._documents[address]
            rests = live is None or RESTING in (live["metadata"].get("annotations") or {})
            if swap and rests and RESTING in (document["metadata"].get("annotations") or {}):
                before, after = "at rest", document["metadata"]["annotations"][RESTING]
                changes.append(Change(_ref(document), USE, before, after, "this cluster was named, and the workload is one that was restored"))
        return changes

    def restore(self, change: Change, deadline: Deadline) -> None:
        self._require_confirmation()
        begun = time.monotonic()
        address = _address_of(change.ref)
        document = self._documents[address]
        if document["kind"] not in _GROUND and not self._tried:
            self._try_all()
            self._tried = True
        while True:
            try:
                self._post(document, {"fieldValidation": "Strict"})
                break
            except NotFound:
                # A definition that was just made takes a moment until it is served.
                if self._kind(document).builtin or not deadline.pause(_LOOK):
                    raise
        self._made.append(address)
        self._seconds += time.monotonic() - begun

    def _try_all(self) -> None:
        """Let the cluster judge all that is to be made, before any of it is. Raises Refused, with what the cluster will not have."""
        wrong: List[str] = []
        for address in self._absent():
            document = self._documents[address]
            if document["kind"] in _GROUND or not self._kind(document).builtin:
                continue
            try:
                self._post(document, {"fieldValidation": "Strict", "dryRun": "All"})
            except (Conflict, Unavailable):
                # One that came meanwhile (every namespace gets an account) is looked at again.
                continue
            except Failure as failure:
                wrong.append(f"{title_of(document)}: {failure.message}")
        if wrong:
            more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise Refused(f"The cluster would not take {'; '.join(wrong[:_SHOWN])}{more}", "Nothing but namespaces and definitions was made.", "objects")

    def _post(self, document: Mapping[str, Any], query: Mapping[str, str]) -> None:
        self._objects.connection.request("POST", self._kind(document).path(document["metadata"].get("namespace")), query, document)

    def swap(self, change: Change) -> None:
        """Start one workload that this restore, or an earlier one, has put to rest."""
        self._require_confirmation()
        document = self._documents[_address_of(change.ref)]
        metadata, before = document["metadata"], document["metadata"]["annotations"][RESTING]
        spec: Dict[str, Any] = {"suspend": before == "true"} if document["kind"] == _SUSPENDED else {"replicas": int(before)}
        body = {"metadata": {"annotations": {RESTING: None}}, "spec": spec}
        path = self._kind(document).path(metadata.get("namespace"), metadata["name"])
        self._objects.connection.request("PATCH", path, {}, body, content_type="application/merge-patch+json")

    def _require_confirmation(self) -> None:
        if self._confirm != self._identity or not self._identity:
            said = f"confirm is {self._confirm!r}" if self._confirm else "confirm is missing"
            raise Refused(
                f"{said}, and the namespace kube-system of this cluster has the uid {self._identity}.",
                "Give that when the objects are to be made in this very cluster.",
                "confirm",
            )

    def _absent(self) -> List[Address]:
        return [address for address, live in self._live.items() if live is None]

    def _unbound(self) -> List[Address]:
        """Return the claims that are not bound to the volume that they had."""
        return [
            address
            for address, live in self._live.items()
            if address[0] == "PersistentVolumeClaim"
            and self._documents[address]["spec"].get("volumeName")
            and not (
                live and (live.get("status") or {}).get("phase") == "Bound" and live["spec"].get("volumeName") == self._documents[address]["spec"]["volumeName"]
            )
        ]

    def outcome(self) -> Outcome:
        wanted, absent = len(self._documents), self._absent()
        other = [address for address in self._made if address not in absent and not self._same(address)]
        foreign = [address for address, live in self._live.items() if live is not None and address not in self._made and not self._same(address)]
        claims = [address for address, document in self._documents.items() if address[0] == "PersistentVolumeClaim" and document["spec"].get("volumeName")]
        checks = (
            Check.equal("objects of the point that are there", wanted, wanted - len(absent)),
            Check.equal("objects made now that are other ones than in the point", 0, len(other)),
            Check.equal("claims that are bound to the volumes that they had", len(claims), len(claims) - len(self._unbound())),
        )
        todo = ["Give the Secrets to the cluster before workloads start (kinds secrets), then run again with state=swapped: it starts what rests."]
        todo += [f"{len(foreign)} objects were there already, or changed since, and were left as they are: {_titles(foreign)}."] if foreign else []
        todo += [f"Volumes keep their data now; their former reclaim policy is in the annotation of each. Other objects: {_titles(other)}."] if other else []
        rests = any(RESTING in (live["metadata"].get("annotations") or {}) for live in self._live.values() if live is not None)
        return Outcome(
            (f"cluster {self._identity}",),
            Proof(checks) if not absent else Proof(),
            self._seconds,
            not absent and not rests,
            "",
            tuple(todo if rests else todo[1:]),
        )

    def _same(self, address: Address) -> bool:
        live = self._live[address]
        return live is not None and line_of(canonical(live)) == line_of(self._documents[address])


def resting(document: Mapping[str, Any]) -> Dict[str, Any]:
    """Return an object as it is made: a workload without pods, so that none starts before its Secrets and its data are there. Pure."""
    found: Dict[str, Any] = copy.deepcopy(dict(document))
    kind = found["kind"]
    if kind not in (*_SCALED, _SUSPENDED):
        return found
    spec: Dict[str, Any] = found.setdefault("spec", {})
    if kind in _SCALED:
        before, spec["replicas"] = str(spec.get("replicas", 1)), 0
    else:
        before, spec["suspend"] = "true" if spec.get("suspend") else "false", True
    found["metadata"]["annotations"] = {**(found["metadata"].get("annotations") or {}), RESTING: before}
    return found


def _ref(document: Mapping[str, Any]) -> Ref:
    metadata = document["metadata"]
    return Ref(str(document["apiVersion"]), str(document["kind"]), str(metadata["name"]), str(metadata.get("namespace") or ""))


def _address(document: Mapping[str, Any]) -> Address:
    return _address_of(_ref(document))


def _address_of(ref: Ref) -> Address:
    return ref.kind, ref.namespace, ref.name


def _titles(addresses: List[Address]) -> str:
    titles = [f"{kind} {'/'.join(filter(None, (namespace, name)))}" for kind, namespace, name in addresses[:_SHOWN]]
    return ", ".join(titles) + (f" and {len(addresses) - _SHOWN} more" if len(addresses) > _SHOWN else "")
