# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helm releases, read from the records that Helm keeps in the cluster. No helm binary takes part."""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Protocol, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release_helm2 import read_release
from ansible_collections.paas.hardening.plugins.module_utils._cluster.values import coalesce
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref, ref_of

RELEASE_NAME = "meta.helm.sh/release-name"
RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"
TILLER_NAMESPACES = ("kube-system",)

# A record is at most about 1 MiB; what unpacks to more than this is a bomb.
LARGEST = 64 * 1024 * 1024

_GZIP = b"\x1f\x8b\x08"
_STORES = ("Secret", "ConfigMap")
_NOT_REPEATABLE = re.compile(
    r"(?<![.$\w\"-])(lookup|rand(?:Alpha|AlphaNum|Ascii|Numeric|Bytes|Int)|uuidv4|gen(?:PrivateKey|CA|SelfSignedCert|SignedCert)\w*|htpasswd|bcrypt|"
    r"encryptAES|shuffle|now)\b"
)
_ACTION = re.compile(r"\{\{(?!-?\s*/\*).*?\}\}", re.DOTALL)
_INCLUDED = re.compile(r"\b(?:include|template)\s+\"([^\"]+)\"")
_DEFINED = re.compile(r"\{\{-?\s*define\s+\"([^\"]+)\"")


class Reader(Protocol):
    """What is needed of the cluster: a list by label."""

    def list(self, kind: str, namespace: Optional[str] = None, labels: Optional[str] = None) -> Iterable[Dict[str, Any]]: ...


@dataclass(repr=False, eq=False)
class Release:
    """One revision of one Helm release. Its values, manifest and hooks may hold secrets and never appear in its text.

    ``values`` is what the user gave, ``chart_values`` the defaults of the chart, ``method`` how an upgrade writes objects: ``helm2`` (old manifest
    against new one), ``csa`` (three-way merge) or ``ssa`` (server-side apply). ``locked`` says that an unfinished operation bars the next upgrade,
    ``newest_failed`` that the newest attempt failed and this is the revision before it.
    """

    name: str
    namespace: str
    revision: int
    status: str
    chart_name: str
    chart_version: str
    app_version: str
    values: Mapping[str, Any]
    chart_values: Mapping[str, Any]
    manifest: str
    hooks: Sequence[Mapping[str, Any]]
    method: str
    helm: int
    storage: str
    locked: bool = False
    newest_failed: bool = False
    subcharts: Mapping[str, Any] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    _index: Optional[Manifest] = None
    _hooks_found: Dict[Ref, Optional[Mapping[str, Any]]] = field(default_factory=dict)
    _effective: Optional[Dict[str, Any]] = None

    def __repr__(self) -> str:
        return f"Release({self.namespace}/{self.name} revision {self.revision}, {self.status}, chart {self.chart}, {self.method})"

    @property
    def chart(self) -> str:
        """The chart with its version, the way Helm writes it: ``workflow-v2.18.0``."""
        return f"{self.chart_name}-{self.chart_version}"

    def document(self, ref: Ref) -> Optional[Dict[str, Any]]:
        """Return the object as the installed manifest states it, or None. Do not write into it. Raises Failure when it cannot be read."""
        return self._manifest().find(ref)

    def hook(self, ref: Ref) -> Optional[Mapping[str, Any]]:
        """Return the hook (``events``, ``delete_policies``, ...) that makes this object, or None. Hooks are no part of the manifest."""
        if ref not in self._hooks_found:
            candidates = (hook for hook in self.hooks if hook.get("kind") == ref.kind and hook.get("name") == ref.name)
            self._hooks_found[ref] = next((hook for hook in candidates if Manifest(str(hook.get("manifest") or ""), self.namespace).find(ref)), None)
        return self._hooks_found[ref]

    def effective_values(self) -> Dict[str, Any]:
        """Return the values with which the manifest was made: defaults and the user's. Do not write into them."""
        if self._effective is None:
            self._effective = coalesce(self.chart_values, self.values, self.subcharts)
        return self._effective

    def unpredictable(self, ref: Ref, words: Iterable[str]) -> bool:
        """Tell whether the object's template makes it with random values, dates or look-ups, as far as the record holds the template.

        Secrets and ConfigMaps are judged whole, since such values are usually put into variables first; of other kinds, only the lines with one of
        the given words count.
        """
        template = self.templates.get(self._manifest().source(ref), "")
        if ref.kind in ("Secret", "ConfigMap"):
            return self._not_repeatable(template)
        wanted = tuple(words)
        return any(self._not_repeatable(line) for line in template.splitlines() if any(word in line for word in wanted))

    def _not_repeatable(self, text: str) -> bool:
        actions = _ACTION.findall(text)
        included = {name for action in actions for name in _INCLUDED.findall(action)}
        bodies = [body for name, body in self._definitions() if name in included]
        return any(_NOT_REPEATABLE.search(action) for action in actions + [action for body in bodies for action in _ACTION.findall(body)])

    def _definitions(self) -> Iterator[Tuple[str, str]]:
        """Yield the named templates of the stored files; each is taken to reach to the next one."""
        for text in self.templates.values():
            marks = list(_DEFINED.finditer(text))
            for mark, following in zip(marks, [*(each.start() for each in marks[1:]), len(text)]):
                yield mark.group(1), text[mark.end() : following]

    def as_data(self) -> Dict[str, Any]:
        return {"release": self.name, "namespace": self.namespace, "chart": self.chart, "revision": self.revision}

    def _manifest(self) -> Manifest:
        if self._index is None:
            self._index = Manifest(self.manifest, self.namespace)
        return self._index


def decode(document: Mapping[str, Any]) -> Release:
    """Read the release out of the Secret or ConfigMap in which Helm keeps it.

    Raises Failure, without any of the content, when the record is damaged, too large, or no release: what the next upgrade does is then not known.
    """
    storage = document.get("kind") or ("Secret" if "type" in document else "ConfigMap")
    metadata = document.get("metadata") or {}
    labels = metadata.get("labels") or {}
    try:
        text = (document.get("data") or {})["release"]
        packed = base64.b64decode(text, validate=True)
        if storage == "Secret":
            packed = base64.b64decode(packed, validate=True)
        payload = _unpacked(packed)
        release = _helm2(payload, storage) if labels.get("OWNER") == "TILLER" else _helm3(json.loads(payload), storage)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, binascii.Error, zlib.error):
        raise _unreadable(metadata) from None
    except Failure:
        raise _unreadable(metadata) from None
    release.status = _status(labels) or release.status
    return release


def _unreadable(metadata: Mapping[str, Any]) -> Failure:
    name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    return Failure(
        f"The Helm release record {name} cannot be read: it is damaged, too large or of an unknown form.",
        "What the next helm upgrade does cannot be known from it; look at it with 'helm history'.",
        subject=name,
    )


def _unpacked(packed: bytes) -> bytes:
    if not packed.startswith(_GZIP):
        # Records older than compression.
        if len(packed) > LARGEST:
            raise ValueError("too large")
        return packed
    inflater = zlib.decompressobj(wbits=31)
    payload = inflater.decompress(packed, LARGEST)
    if not inflater.eof or inflater.unused_data:
        raise ValueError("too large or truncated")
    return payload


def _helm3(record: Mapping[str, Any], storage: str) -> Release:
    chart = record.get("chart") or {}
    metadata = chart.get("metadata") or {}
    method = record.get("apply_method") or ""
    if method not in ("", "csa", "ssa"):
        raise ValueError("unknown apply method")
    name = str(metadata.get("name", ""))
    return Release(
        name=str(record["name"]),
        namespace=str(record["namespace"]),
        revision=int(record["version"]),
        status=str((record.get("info") or {}).get("status", "unknown")),
        chart_name=name,
        chart_version=str(metadata.get("version", "")),
        app_version=str(metadata.get("appVersion", "")),
        values=dict(record.get("config") or {}),
        chart_values=dict(chart.get("values") or {}),
        manifest=str(record.get("manifest") or ""),
        hooks=tuple(dict(hook) for hook in record.get("hooks") or ()),
        method=method or "csa",
        # Helm 4 alone writes how it applied.
        helm=4 if method else 3,
        storage=storage,
        subcharts={str(entry.get("alias") or entry["name"]): {} for entry in metadata.get("dependencies") or ()},
        templates={f"{name}/{entry['name']}": _template(entry) for entry in chart.get("templates") or ()},
    )


def _template(entry: Mapping[str, Any]) -> str:
    return base64.b64decode(entry.get("data") or "").decode("utf-8", "replace")


def _helm2(payload: bytes, storage: str) -> Release:
    parts = read_release(payload)
    chart = parts["chart"]
    return Release(
        name=parts["name"],
        namespace=parts["namespace"],
        revision=parts["version"],
        status=parts["status"],
        chart_name=chart.name,
        chart_version=chart.version,
        app_version=chart.app_version,
        values=parts["config"],
        chart_values=chart.effective({}),
        manifest=parts["manifest"],
        hooks=tuple(parts["hooks"]),
        method="helm2",
        helm=2,
        storage=storage,
        subcharts=chart.subcharts(),
        templates=chart.all_templates(),
        _effective=chart.effective(parts["config"]),
    )


def _status(labels: Mapping[str, str]) -> str:
    word = labels.get("status") or labels.get("STATUS") or ""
    word = word.lower().replace("_", "-")
    return {"deleted": "uninstalled", "deleting": "uninstalling"}.get(word, word)


def _revision(document: Mapping[str, Any]) -> int:
    labels = (document.get("metadata") or {}).get("labels") or {}
    text = labels.get("version") or labels.get("VERSION") or "0"
    return int(text) if text.isdigit() else 0


def _label(document: Mapping[str, Any], *names: str) -> str:
    labels = (document.get("metadata") or {}).get("labels") or {}
    return next((labels[name] for name in names if labels.get(name)), "")


def _current(documents: Sequence[Mapping[str, Any]]) -> Optional[Release]:
    """Return the revision from which Helm upgrades: the newest deployed one, or without any the newest at all; None when it is uninstalled."""
    if not documents:
        return None
    newest = max(documents, key=_revision)
    deployed = [document for document in documents if _status((document.get("metadata") or {}).get("labels") or {}) == "deployed"]
    newest_status = _status((newest.get("metadata") or {}).get("labels") or {})
    if not deployed and newest_status in ("uninstalled", "uninstalling"):
        return None
    release = decode(max(deployed, key=_revision) if deployed else newest)
    release.locked = newest_status.startswith("pending")
    release.newest_failed = newest_status == "failed"
    return release


class Releases:
    """Finds the releases of a cluster and remembers them, so that each record is read and unpacked once.

    ``objects`` is where records are read from; ``tiller_namespaces`` are the namespaces in which Helm 2 keeps its records.
    """

    def __init__(self, objects: Reader, tiller_namespaces: Sequence[str] = TILLER_NAMESPACES) -> None:
        self._objects = objects
        self._tiller_namespaces = tuple(tiller_namespaces)
        self._named: Dict[Tuple[str, str], Optional[Release]] = {}
        self._helm2: Optional[List[Release]] = None
        self._signed: Dict[str, List[Release]] = {}

    def of(self, live: Mapping[str, Any]) -> Optional[Release]:
        """Return the release that made a live object, or None when no record of one is found.

        Helm 3 and 4 sign their objects, but for hooks. An unsigned one is looked for among the hooks of its namespace's releases, then in the manifests
        of Helm 2, unless another object owns it, which no chart's object knows of. Raises Failure when the records may not or cannot be read: that is
        not the same as None.
        """
        metadata = live.get("metadata") or {}
        annotations = metadata.get("annotations") or {}
        if annotations.get(RELEASE_NAME):
            return self.named(annotations.get(RELEASE_NAMESPACE) or metadata.get("namespace") or "", annotations[RELEASE_NAME])
        if metadata.get("ownerReferences"):
            return None
        ref = ref_of(live)
        hooked = next((release for release in self._signing(ref.namespace) if release.hook(ref)), None)
        if hooked:
            return hooked
        return next((release for release in self._of_helm2() if release.document(ref) or release.hook(ref)), None)

    def named(self, namespace: str, name: str) -> Optional[Release]:
        """Return the release of Helm 3 or 4 with this name, or None."""
        key = (namespace, name)
        if key not in self._named:
            self._named[key] = self._read(namespace, name)
        return self._named[key]

    def in_namespace(self, namespace: str) -> List[Release]:
        """Return the releases of a namespace, one entry each. Helm 2 is asked only when Helm 3 and 4 have none there."""
        found = [release for group in self._groups(namespace, "").values() for release in [_current(group)] if release]
        for release in found:
            self._named.setdefault((release.namespace, release.name), release)
        return found or [release for release in self._of_helm2() if release.namespace == namespace]

    def _signing(self, namespace: str) -> List[Release]:
        """Return the releases of Helm 3 and 4 whose records lie where they lie by default, in Secrets of the namespace."""
        if namespace and namespace not in self._signed:
            groups: Dict[str, List[Mapping[str, Any]]] = {}
            for document in self._objects.list(_STORES[0], namespace=namespace, labels="owner=helm,status notin (superseded,uninstalled)"):
                groups.setdefault(_label(document, "name"), []).append(_with_kind(document, _STORES[0]))
            self._signed[namespace] = [release for group in groups.values() for release in [_current(group)] if release]
            for release in self._signed[namespace]:
                self._named.setdefault((release.namespace, release.name), release)
        return self._signed.get(namespace, [])

    def _read(self, namespace: str, name: str) -> Optional[Release]:
        found = _current(self._groups(namespace, f",name={name}").get(name, []))
        if found:
            return found
        # Nothing in force: a release whose every revision is superseded is still upgraded from its newest one.
        for kind in _STORES:
            old = self._objects.list(kind, namespace=namespace, labels=f"owner=helm,name={name},status=superseded")
            found = _current([_with_kind(document, kind) for document in old])
            if found:
                return found
        return None

    def _groups(self, namespace: str, more: str) -> Dict[str, List[Mapping[str, Any]]]:
        groups: Dict[str, List[Mapping[str, Any]]] = {}
        for kind in _STORES:
            # One question brings the deployed revision and whatever failed or hangs after it, without the history.
            for document in self._objects.list(kind, namespace=namespace, labels=f"owner=helm{more},status notin (superseded,uninstalled)"):
                groups.setdefault(_label(document, "name"), []).append(_with_kind(document, kind))
            if groups and more:
                break
        return groups

    def _of_helm2(self) -> List[Release]:
        if self._helm2 is None:
            groups: Dict[Tuple[str, str], List[Mapping[str, Any]]] = {}
            for namespace in self._tiller_namespaces:
                for kind in _STORES:
                    for document in self._objects.list(kind, namespace=namespace, labels="OWNER=TILLER,STATUS notin (SUPERSEDED,DELETED)"):
                        groups.setdefault((namespace, _label(document, "NAME")), []).append(_with_kind(document, kind))
            self._helm2 = [release for group in groups.values() for release in [_current(group)] if release]
        return self._helm2


def _with_kind(document: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Entries of an API list do not say their kind."""
    return {"kind": kind, **document}


def find_release(objects: Reader, live: Mapping[str, Any], tiller_namespaces: Sequence[str] = TILLER_NAMESPACES) -> Optional[Release]:
    """Return the release that made one live object; for several objects use one ``Releases``, which remembers."""
    return Releases(objects, tiller_namespaces).of(live)


def releases_in(objects: Reader, namespace: str, tiller_namespaces: Sequence[str] = TILLER_NAMESPACES) -> List[Release]:
    """Return the releases of one namespace, one entry each: the revision from which the next upgrade starts."""
    return Releases(objects, tiller_namespaces).in_namespace(namespace)
