# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves exported objects: made for good in an empty API server and exported again, or, where there is none, taken by the live one in a dry run."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.canonical import canonical, line_of, title_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.collect import Collected, kind_for
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS, Kind
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, NotFound, Refused, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

# What a proof was: by which name the manifest keeps it.
EMPTY_SERVER, DRY_RUN = "imported into an empty API server and exported again", "taken by the live API server in a dry run, which is not an empty one"
_SHOWN = 5
_TRIES = 3
_LOOK = 0.3
# The namespace that tells two clusters apart.
_MARK = "kube-system"

Found = Tuple[str, bytes]


def prove_dry(objects: Objects, collected: Collected, wanted: int, deadline: Deadline) -> Proof:
    """Let the live server judge each object as if it were written, and compare what it would keep. ``wanted`` is how many there have to be.

    Nothing is written; the right to update is needed.
    """

    def ask(document: Mapping[str, Any], version: str) -> Mapping[str, Any]:
        kind = kind_for(collected, document)
        metadata = document["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"])
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        for _try in range(_TRIES):
            body = {**document, "metadata": {**metadata, "resourceVersion": version}}
            try:
                return _answered(objects, "PUT", path, body, query)
            except Conflict:
                # Somebody writes it all the time; what is judged is ours.
                version = str(objects.connection.request("GET", path).data["metadata"]["resourceVersion"])
            except NotFound:
                # Deleted since it was read.
                return _answered(objects, "POST", kind.path(metadata.get("namespace")), document, query)
        raise Conflict(f"{title_of(document)} is written so often that it cannot be judged.", "Run again.", title_of(document))

    return _judged(collected, wanted, ask, DRY_RUN)


def prove_empty(live: Optional[Objects], empty: Objects, collected: Collected, wanted: int, namespaces: Sequence[str], deadline: Deadline) -> Proof:
    """Make everything in an empty API server, read it back, and compare byte by byte. That server is to be thrown away afterwards.

    ``wanted`` is how many there have to be. Raises Refused when it is the live one (``live``, where that is known), or not empty.
    """
    _refuse_live(live, empty, namespaces)

    def ask(document: Mapping[str, Any], _version: str) -> Mapping[str, Any]:
        kind, metadata = kind_for(collected, document), document["metadata"]
        _made(empty, kind, document, deadline)
        answer: Mapping[str, Any] = empty.connection.request("GET", kind.path(metadata.get("namespace"), metadata["name"])).data
        return answer

    return _judged(collected, wanted, ask, EMPTY_SERVER)


def _refuse_live(live: Optional[Objects], empty: Objects, namespaces: Sequence[str]) -> None:
    mine, its = (objects.find(KINDS["Namespace"], _MARK) if objects else None for objects in (live, empty))
    if mine and its and mine["metadata"]["uid"] == its["metadata"]["uid"]:
        raise Refused("objects.empty_server leads to the live cluster.", "Give an API server with an etcd of its own.", "objects.empty_server")
    node = next(empty.list(KINDS["Node"], page=1), None)
    if node is not None:
        raise Refused("objects.empty_server has nodes: it is a cluster that somebody uses.", "Give an empty one: it is filled.", "objects.empty_server")
    for namespace in namespaces:
        if empty.find(KINDS["Namespace"], namespace) is not None:
            raise Refused(
                f"objects.empty_server has a namespace {namespace} already.", "Give an empty one: it is filled, and thrown away.", "objects.empty_server"
            )


def _made(empty: Objects, kind: Kind, document: Mapping[str, Any], deadline: Deadline) -> None:
    """Make one object. A kind whose definition has just been made takes a moment until it is served; a default may be there already."""
    while True:
        try:
            _answered(empty, "POST", kind.path(document["metadata"].get("namespace")), document, {"fieldValidation": "Strict"})
            return
        except NotFound:
            if kind.builtin or not deadline.pause(_LOOK):
                raise
        except Conflict:
            raise Refused(f"{title_of(document)} is there already.", "Give an empty server.", title_of(document)) from None


def _answered(objects: Objects, method: str, path: str, body: Mapping[str, Any], query: Mapping[str, str]) -> Mapping[str, Any]:
    answer: Mapping[str, Any] = objects.connection.request(method, path, query, body).data
    return answer


def _judged(collected: Collected, wanted: int, ask: Callable[[Mapping[str, Any], str], Mapping[str, Any]], how: str) -> Proof:
    taken, same = 0, 0
    wrong: List[str] = []
    for document, version in zip(collected.documents, collected.versions):
        try:
            answer = ask(document, version)
        except Unavailable:
            raise
        except Failure as failure:
            wrong.append(f"{title_of(document)}: {failure.message}")
            continue
        taken += 1
        if line_of(canonical(_named(answer, document))) == line_of(document):
            same += 1
        else:
            wrong.append(f"{title_of(document)}: comes back with other {', '.join(differing(document, canonical(_named(answer, document))))}")
    said = "; ".join(wrong[:_SHOWN]) + (f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")
    return Proof(
        (
            Check.equal("objects in the files", wanted, len(collected.documents)),
            Check.equal(f"objects {how}", wanted, taken),
            Check.equal("objects that come back byte by byte as they were exported", wanted, same),
            Check("objects that do not", "none", said or "none", FAIL if wrong else PASS),
        )
    )


def _named(answer: Mapping[str, Any], document: Mapping[str, Any]) -> Dict[str, Any]:
    return {**answer, "apiVersion": document["apiVersion"], "kind": document["kind"]}


def differing(one: Any, other: Any, path: str = "") -> List[str]:
    """Return the fields in which two objects differ, by name: values may be secrets."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        found: List[str] = []
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                found += differing(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
        return found[:_SHOWN]
    return [path or "kind"]
