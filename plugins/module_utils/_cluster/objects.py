# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of a cluster: read one, read many page by page, write a plan with one request for each object."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple, TypeVar, Union

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.discovery import served_kind
from ansible_collections.paas.hardening.plugins.module_utils._cluster.failures import KindNotServed, ListExpired
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS, Kind, kind_named, kind_of
from ansible_collections.paas.hardening.plugins.module_utils._cluster.patches import MERGE, STRATEGIC, json_merge_patch, refuse_masked, strategic_patch
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, NotFound
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref

KindName = Union[str, Kind]
Result = TypeVar("Result")
# The label by which an object that this collection made is told from one that somebody else gave the same name.
OWNER: Dict[str, str] = {"app.kubernetes.io/managed-by": "paas.hardening"}
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_RESTARTS = 3


def deletion(**preconditions: str) -> Dict[str, Any]:
    """Return the body of a request that deletes an object, and what belongs to it, as long as it is the one that was seen (``uid``, ``resourceVersion``)."""
    # Without Background the pods of a Job would stay behind.
    return {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background", "preconditions": preconditions}


class Objects:
    """Reads and writes objects over one connection. ``written`` holds the address of every object that was written, in order."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.written: List[Ref] = []

    def get(self, kind: KindName, name: str, namespace: str = "") -> Dict[str, Any]:
        """Return one object. Raises NotFound when it, its namespace or its kind does not exist."""

        def read(served: Kind) -> Dict[str, Any]:
            document: Dict[str, Any] = self.connection.request("GET", served.path(namespace, name)).data
            return document

        return self._with_kind(kind_named(kind), read)

    def find(self, kind: KindName, name: str, namespace: str = "") -> Optional[Dict[str, Any]]:
        """Return one object, or None when it, its namespace or its kind really does not exist. A missing right is still an error."""
        try:
            return self.get(kind, name, namespace)
        except NotFound:
            return None
        except Forbidden:
            # Who has no right to a kind is refused also when the server has no such kind; discovery is open to everybody.
            known = kind_named(kind)
            if known.builtin or served_kind(self.connection, known.group, known.kind) is not None:
                raise
            return None

    def list(
        self,
        kind: KindName,
        namespace: Optional[str] = None,
        labels: Optional[str] = None,
        fields: Optional[str] = None,
        page: int = 250,
        managed_fields: bool = False,
    ) -> Iterator[Dict[str, Any]]:
        """Yield the objects of a kind, of one namespace or of all, while only one page of them (``page`` objects) is in memory.

        ``labels`` and ``fields`` are selectors of the API. managedFields are dropped unless asked for. When the server forgets the snapshot in the middle
        of the list, it goes on with the next key; no object comes twice. Raises NotFound when the server has no such kind.
        """
        return self._pages(kind, namespace, labels, fields, page, managed_fields, None)

    def list_metadata(
        self, kind: KindName, namespace: Optional[str] = None, labels: Optional[str] = None, fields: Optional[str] = None, page: int = 250
    ) -> Iterator[Dict[str, Any]]:
        """Yield only the metadata of the objects, under the kind's own apiVersion and kind: far less to send and to parse."""
        return self._pages(kind, namespace, labels, fields, page, False, _METADATA_ONLY)

    def _pages(
        self,
        kind: KindName,
        namespace: Optional[str],
        labels: Optional[str],
        fields: Optional[str],
        page: int,
        managed_fields: bool,
        accept: Optional[str],
    ) -> Iterator[Dict[str, Any]]:
        query = {"limit": str(page)}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        token, restarts, repeated = "", 0, False
        seen: Set[Tuple[str, str]] = set()

        def read(served: Kind) -> Tuple[Kind, Any]:
            asked = {**query, "continue": token} if token else query
            return served, self.connection.request("GET", served.path(namespace), asked, accept=accept).data

        while True:
            try:
                served, document = self._with_kind(kind_named(kind), read)
            except ListExpired as error:
                token, repeated = error.token, True
                if not token:
                    restarts += 1
                    if restarts > _RESTARTS:
                        raise
                continue
            for item in document.get("items") or []:
                metadata = item.get("metadata") or {}
                key = (metadata.get("namespace") or "", metadata.get("name") or "")
                if repeated and key in seen:
                    continue
                seen.add(key)
                if not managed_fields:
                    metadata.pop("managedFields", None)
                # The items of a list do not say what they are.
                item["apiVersion"], item["kind"] = served.api_version, served.kind
                yield item
            token = (document.get("metadata") or {}).get("continue") or ""
            if not token:
                return

    def apply_plan(self, plan: Plan) -> List[Ref]:
        """Write a plan: one request for each object that changes, in the plan's order. Returns the addresses of what was written.

        An object that somebody else wrote after it was observed is not written (Conflict). What was written before a failure stands in ``written``.
        """
        todo = [(ref, changes, plan.versions.get(ref, "")) for ref, changes in plan.by_object()]
        # All bodies are built, and refused if need be, before the first is sent.
        writers = [(ref, self._writer(ref, changes, version)) for ref, changes, version in todo]
        done = []
        for ref, write in writers:
            write()
            done.append(ref)
            self.written.append(ref)
        return done

    def _writer(self, ref: Ref, changes: Sequence[Change], version: str) -> Callable[[], None]:
        whole = [change for change in changes if not change.path]
        if whole and len(changes) > 1:
            raise Invalid(f"The plan has {ref} both as a whole and by field.", "This is a defect of the collection: report it.", str(ref))
        for change in changes:
            if change.after is not ABSENT:
                refuse_masked(change.after, change.field)
        if not whole:
            return self._patcher(ref, changes, version)
        if whole[0].before is ABSENT and whole[0].after is not ABSENT:
            return self._creator(ref, whole[0].after)
        if whole[0].after is ABSENT:
            return self._deleter(ref, whole[0].before, version)
        raise Invalid(f"The plan replaces {ref} as a whole.", "Plan its fields instead.", str(ref))

    def _patcher(self, ref: Ref, changes: Sequence[Change], version: str) -> Callable[[], None]:
        known = kind_of(ref)
        strategic = known is not None and known.builtin
        patch = strategic_patch(ref.kind, changes) if strategic else json_merge_patch(changes)
        if version:
            patch.setdefault("metadata", {})["resourceVersion"] = version

        def write(served: Kind) -> None:
            self.connection.request("PATCH", served.path(ref.namespace, ref.name), body=patch, content_type=STRATEGIC if strategic else MERGE)

        return lambda: self._with_ref(ref, write)

    def _creator(self, ref: Ref, document: Mapping[str, Any]) -> Callable[[], None]:
        metadata = {**(document.get("metadata") or {}), "name": ref.name}
        if ref.namespace:
            metadata["namespace"] = ref.namespace

        def write(served: Kind) -> None:
            body = {**document, "apiVersion": served.api_version, "kind": ref.kind, "metadata": metadata}
            self.connection.request("POST", served.path(ref.namespace), body=body)

        return lambda: self._with_ref(ref, write)

    def _deleter(self, ref: Ref, document: Any, version: str) -> Callable[[], None]:
        preconditions = {"resourceVersion": version} if version else {}
        uid = (document.get("metadata") or {}).get("uid") if isinstance(document, Mapping) else None
        if uid:
            preconditions["uid"] = uid
        body = deletion(**preconditions)

        def write(served: Kind) -> None:
            try:
                self.connection.request("DELETE", served.path(ref.namespace, ref.name), body=body)
            except KindNotServed:
                raise
            except NotFound:
                # Gone already, which is what was wanted.
                return

        return lambda: self._with_ref(ref, write)

    def kind(self, ref: Ref) -> Kind:
        """Return the kind of an address, asking the server when the table does not know it. Raises NotFound when the server has no such kind."""
        known = kind_of(ref)
        if known is not None:
            return known
        group = ref.api_version.rpartition("/")[0]
        served = served_kind(self.connection, group, ref.kind)
        if served is None:
            raise KindNotServed(f"The server does not have the kind {ref.kind} of {ref.api_version}.", "Is the API (a CRD?) installed?", str(ref), 404)
        return replace(served, api_version=ref.api_version)

    def _with_ref(self, ref: Ref, call: Callable[[Kind], Result]) -> Result:
        kind = self.kind(ref)
        # An address in another version than the table's was read from the server, and its fields are those of that version.
        return self._with_kind(kind, call) if KINDS.get(ref.kind) == kind else call(kind)

    def _with_kind(self, kind: Kind, call: Callable[[Kind], Result]) -> Result:
        """Call with the kind of the table; when the server does not have that version, ask once which one it has, and call with that."""
        known = (kind.group, kind.kind) in self.connection.served
        served = self.connection.served.get((kind.group, kind.kind), kind)
        if served is None or kind.group in self.connection.unserved:
            raise self._unknown(kind)
        try:
            return call(served)
        except KindNotServed:
            if known:
                raise
            other = served_kind(self.connection, kind.group, kind.kind)
            if other is None:
                raise self._unknown(kind) from None
            if other == kind:
                raise
            return call(other)

    @staticmethod
    def _unknown(kind: Kind) -> KindNotServed:
        group = kind.group or "core"
        return KindNotServed(f"The server does not have the kind {kind.kind} of the group {group}.", "Is the API (a CRD?) installed?", kind.kind, 404)
