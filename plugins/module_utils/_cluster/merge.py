# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What writing a stated object over a live one does to it: by strategic merge (the client's three-way merge) and by server-side apply."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path, look

# A place inside an object: field names, and for an entry of a keyed list the values of its keys.
Identity = Tuple[Tuple[str, Any], ...]
Place = Tuple[Union[str, Identity], ...]

# The groups whose kinds have strategic merge; of every other kind a client knows no merge keys.
_BUILT_IN_GROUPS = frozenset(
    ["", "apps", "autoscaling", "batch", "extensions", "policy"]
    + [
        f"{group}.k8s.io"
        for group in (
            "admissionregistration", "authentication", "authorization", "certificates", "coordination", "discovery", "events", "flowcontrol.apiserver",
            "internal.apiserver", "networking", "node", "rbac.authorization", "resource", "scheduling", "storage", "storagemigration",
        )
    ]
)  # fmt: skip

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
# Lists that merge by key: (keys of strategic merge, keys of server-side apply). Every other list of a built-in kind is atomic.
_KEYED: Dict[str, Tuple[Tuple[str, ...], Tuple[str, ...]]] = {
    **dict.fromkeys((*_CONTAINERS, "env", "imagePullSecrets", "matchConditions", "resourceClaims", "schedulingGates"), (("name",), ("name",))),
    **dict.fromkeys(("secrets", "volumes", "webhooks"), (("name",), ("name",))),
    "hostAliases": (("ip",), ("ip",)),
    "ownerReferences": (("uid",), ("uid",)),
    "topologySpreadConstraints": (("topologyKey",), ("topologyKey", "whenUnsatisfiable")),
    "volumeDevices": (("devicePath",), ("devicePath",)),
    "volumeMounts": (("mountPath",), ("mountPath",)),
}
# Maps that server-side apply takes as one value.
_ATOMIC_MAPS = frozenset(
    (
        "configMapKeyRef", "controllerExpandSecretRef", "controllerPublishSecretRef", "dataSource", "fieldRef", "fileKeyRef", "labelSelector",
        "namespaceSelector", "nodeExpandSecretRef", "nodePublishSecretRef", "nodeSelector", "nodeStageSecretRef", "objectSelector", "podSelector",
        "preference", "required", "requiredDuringSchedulingIgnoredDuringExecution", "resourceFieldRef", "roleRef", "scopeSelector",
        "secretKeyRef", "secretRef", "selector", "targetRef",
    )
)  # fmt: skip
# What the server fills into entries of atomic lists, so that a stated list and the same list read back compare equal.
_FILLED_IN = {"apiVersion": "v1", "divisor": "0", "expirationSeconds": 3600, "protocol": "TCP", "apiGroup": "rbac.authorization.k8s.io"}
# What the server fills in where a Deployment's strategy says no more than its type.
_DEFAULTS = {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
_DEFAULT_KEYS = {"protocol": "TCP"}

_HANDLERS = frozenset(("exec", "grpc", "httpGet", "sleep", "tcpSocket"))
_QUANTITIES = frozenset(("requests", "limits", "hard", "capacity", "sizeLimit", "min", "max", "default", "defaultRequest", "averageValue"))
_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12, "P": Decimal(10) ** 15, "E": Decimal(10) ** 18, "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40, "Pi": Decimal(2) ** 50, "Ei": Decimal(2) ** 60,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]?|[KMGTPE]i)")


class Ambiguous(Exception):
    """Two entries of a list have the same key, so what a merge does to them depends on their order."""


@dataclass(frozen=True)
class Difference:
    """One place where writing the stated object would act.

    ``how``: ``differs`` (another value is stated), ``gone`` (stated, not there), ``dropped`` (not stated, and the merge takes it away),
    ``refused`` (stated and live together make an object that no server accepts).
    """

    place: Place
    how: str


def built_in(api_version: str) -> bool:
    """Tell whether a kind of this API version is one of Kubernetes' own."""
    return api_version.rpartition("/")[0] in _BUILT_IN_GROUPS


def same(one: Any, other: Any, quantity: bool = False) -> bool:
    """Tell whether two values mean the same to the API: 1 is 1.0 and 1e+06 is 1000000, but 1 is not "1" and not true."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key], quantity or key in _QUANTITIES) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(same(mine, theirs, quantity) for mine, theirs in zip(one, other))
    if quantity and not isinstance(one, bool) and not isinstance(other, bool):
        amounts = _amount(one), _amount(other)
        if None not in amounts:
            return amounts[0] == amounts[1]
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    return type(one) is type(other) and one == other


def _amount(value: Any) -> Optional[Decimal]:
    match = _QUANTITY.fullmatch(str(value))
    if not match:
        return None
    try:
        return Decimal(match.group(1)) * _SUFFIXES[match.group(2)]
    except InvalidOperation:
        return None


def of_quantities(place: Sequence[Any]) -> bool:
    """Tell whether amounts stand at a place or a path, which may be written in several ways: 1 and 1000m, 1Gi and 1024Mi."""
    return any(step in _QUANTITIES for step in place[-2:])


def covers(stated: Any, live: Any, quantity: bool = False) -> bool:
    """Tell whether a live value is the stated one, leaving aside what the server fills in."""
    if isinstance(stated, Mapping) and isinstance(live, Mapping):
        extra = live.keys() - stated.keys()
        return all(live[key] == _FILLED_IN.get(key, ABSENT) for key in extra) and all(
            key in live and covers(value, live[key], quantity or key in _QUANTITIES) for key, value in stated.items()
        )
    if isinstance(stated, list) and isinstance(live, list):
        return len(stated) == len(live) and all(covers(mine, theirs, quantity) for mine, theirs in zip(stated, live))
    return same(stated, live, quantity)


class Merge:
    """The rules of one way to write: ``apply`` is server-side apply, otherwise strategic merge.

    ``managed`` is ``metadata.managedFields`` of the live object: it shows how a custom resource's lists merge, which no client knows.
    """

    def __init__(self, api_version: str, kind: str, apply: bool, managed: Sequence[Mapping[str, Any]] = ()) -> None:
        self._built_in = built_in(api_version)
        self._kind = kind
        self._apply = apply
        self._managed = [entry.get("fieldsV1") or {} for entry in managed if not entry.get("subresource")]

    def differences(self, stated: Any, live: Any, path: Path) -> Iterator[Difference]:
        """Yield where writing ``stated`` acts on ``live``, looking only along the path and below it. Raises Ambiguous."""
        return self._along(stated, live, list(path), ())

    def _along(self, stated: Any, live: Any, steps: List[Union[str, Item]], here: Place) -> Iterator[Difference]:
        step = steps[0] if steps else None
        container: Any = dict if isinstance(step, str) else list
        there = container() if live is ABSENT else live
        if step is None or not (isinstance(stated, container) and isinstance(there, container)) or self.one_value(stated, there, here):
            yield from self._write(stated, live, here)
        elif isinstance(step, str):
            yield from self._clashes(stated, there, here)
            if step in stated:
                yield from self._along(stated[step], there.get(step, ABSENT), steps[1:], (*here, step))
            elif step in there and self.retains(here):
                # What is taken away comes back as the server's default, which may be what stands there.
                left = look(there[step], tuple(steps[1:]))
                if left is ABSENT or left != look(_DEFAULTS.get(step), tuple(steps[1:])):
                    yield Difference((*here, step), "dropped")
        else:
            keys = self.list_keys(here) or (step.key,)
            mine, theirs = _by_identity(stated, keys), _by_identity(there, keys)
            # A path may name an entry by another field than the one by which the list merges: a port by its name.
            named = [identity for entries in (theirs, mine) for identity, entry in entries.items() if same(entry.get(step.key), step.value)]
            if named and named[0] in mine:
                yield from self._along(mine[named[0]], theirs.get(named[0], ABSENT), steps[1:], (*here, named[0]))

    def _write(self, stated: Any, live: Any, here: Place) -> Iterator[Difference]:
        if stated is None:
            # A null is a deletion to a merge; server-side apply takes it for nothing stated.
            if not self._apply and live is not ABSENT and live is not None:
                yield Difference(here, "dropped")
        elif live is ABSENT or live is None:
            # The server does not keep these when they are empty.
            if stated not in ({}, [], ""):
                yield Difference(here, "gone")
        elif isinstance(stated, dict) and isinstance(live, dict) and not self.one_value(stated, live, here):
            yield from self._clashes(stated, live, here)
            for key, value in stated.items():
                yield from self._write(value, live.get(key, ABSENT), (*here, key))
            if self.retains(here):
                yield from (Difference((*here, key), "dropped") for key in live if key not in stated)
        elif isinstance(stated, list) and isinstance(live, list) and not self.one_value(stated, live, here):
            keys = self.list_keys(here)
            if not keys:
                yield from (Difference(here, "gone") for entry in stated if entry not in live)
                return
            mine, theirs = _by_identity(stated, keys), _by_identity(live, keys)
            for identity, entry in mine.items():
                yield from self._write(entry, theirs.get(identity, ABSENT), (*here, identity))
        elif not covers(stated, live, of_quantities(here)):
            yield Difference(here, "differs")

    def one_value(self, stated: Any, live: Any, here: Place) -> bool:
        """Tell whether this map or list is written as one value, not entry by entry."""
        name = here[-1] if here else ""
        if isinstance(stated, dict) and isinstance(live, dict):
            if not self._apply:
                # The only map of a built-in kind that strategic merge replaces.
                return self._kind == "PodDisruptionBudget" and here == ("spec", "selector")
            if not self._built_in:
                return self._atomic_by_owners(here, live)
            parent = here[-2] if len(here) > 1 else ""
            return name in _ATOMIC_MAPS or (name, parent) in (("port", "service"), ("resource", "backend"), ("resource", "defaultBackend"))
        return isinstance(stated, list) and isinstance(live, list) and self.list_keys(here) is None

    def list_keys(self, here: Place) -> Optional[Tuple[str, ...]]:
        """Return the keys of a list: None when it is atomic, an empty tuple when it is a set."""
        names = [step for step in here if isinstance(step, str)]
        name, parent = names[-1], names[-2] if len(names) > 1 else ""
        if name == "finalizers" and parent == "metadata":
            return ()
        if name == "ownerReferences" and parent == "metadata":
            return ("uid",)
        if not self._built_in:
            return self._keys_by_owners(here)
        if name == "ports":
            key = "containerPort" if parent in _CONTAINERS else "port" if self._kind == "Service" else None
            return None if key is None else (key, "protocol") if self._apply else (key,)
        if name == "claims" and parent == "resources" and self._apply:
            return ("name",)
        if name == "imagePullSecrets" and not parent:
            return None
        keys = _KEYED.get(name)
        return keys[self._apply] if keys else None

    def retains(self, here: Place) -> bool:
        """Tell whether the merge takes away what a stated map does not list."""
        if self._apply or not self._built_in:
            return False
        if self._kind == "Deployment" and here == ("spec", "strategy"):
            return True
        return len(here) > 1 and here[-2] in ("volumes", "resourceClaims") and not isinstance(here[-1], str)

    def _clashes(self, stated: Mapping[str, Any], live: Mapping[str, Any], here: Place) -> Iterator[Difference]:
        """Find fields of which an object may have one only: one is stated, another is live, and the write would leave both."""
        if self.retains(here):
            return
        names = [step for step in here if isinstance(step, str)]
        name = names[-1] if names else ""
        rivals: frozenset[str] = frozenset()
        if name == "env":
            rivals = frozenset(("value", "valueFrom"))
        elif name.endswith("Probe") or name in ("preStop", "postStart"):
            rivals = _HANDLERS
        elif name == "volumes" and here[-1] != "volumes":
            rivals = frozenset(stated.keys() | live.keys()) - {"name"}
        elif self._kind == "PodDisruptionBudget" and here == ("spec",):
            rivals = frozenset(("minAvailable", "maxUnavailable"))
        coming = [key for key in rivals if stated.get(key) not in (None, "") and key not in live]
        staying = [key for key in rivals if live.get(key) not in (None, "") and key not in stated]
        if coming and staying:
            yield Difference((*here, coming[0]), "refused")

    def _atomic_by_owners(self, here: Place, live: Any) -> bool:
        nodes = [node for fields in self._managed for node in [_owned(fields, here)] if node is not None]
        return bool(live) and bool(nodes) and not any(key.startswith("f:") for node in nodes for key in node)

    def _keys_by_owners(self, here: Place) -> Optional[Tuple[str, ...]]:
        for fields in self._managed:
            for key in _owned(fields, here) or ():
                if key.startswith("k:"):
                    return tuple(json.loads(key[2:]))
                if key.startswith("v:"):
                    return ()
        return None


def _by_identity(entries: List[Any], keys: Tuple[str, ...]) -> Dict[Identity, Mapping[str, Any]]:
    found: Dict[Identity, Mapping[str, Any]] = {}
    for entry in entries:
        if isinstance(entry, Mapping):
            identity = tuple((key, entry.get(key, _DEFAULT_KEYS.get(key))) for key in keys)
            if identity in found:
                raise Ambiguous
            found[identity] = entry
    return found


def _owned(fields: Mapping[str, Any], place: Place) -> Optional[Mapping[str, Any]]:
    """Return what a manager's field set says about a place, or None when it holds nothing there."""
    here: Any = fields
    for step in place:
        if isinstance(step, str):
            here = here.get(f"f:{step}")
        else:
            wanted = dict(step)
            here = next((node for key, node in here.items() if key.startswith("k:") and json.loads(key[2:]) == wanted), None)
        if not isinstance(here, Mapping):
            return None
    return dict(here)


def owners(live: Mapping[str, Any], place: Place) -> List[Tuple[str, str]]:
    """Return (manager, operation) of everyone whose field set holds the place of a live object, in the server's order."""
    found = []
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        if _owned(entry.get("fieldsV1") or {}, place) is not None:
            found.append((str(entry.get("manager", "")), str(entry.get("operation", ""))))
    return found
