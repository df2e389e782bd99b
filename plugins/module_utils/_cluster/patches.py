# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds, out of the planned changes of one object, the one patch that makes them. Pure: nothing is sent here."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, path_text, same
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import Masked

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
_DEFECT = "This is a defect of the collection: report it."

# The lists that the API server merges by key in a strategic merge patch (patchMergeKey in the API types). It replaces every other list as a whole.
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_OF_CONTAINER = {"env": "name", "ports": "containerPort", "volumeMounts": "mountPath", "volumeDevices": "devicePath"}
_OF_POD = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumes": "name",
}
_OF_KIND = {
    ("Service", "spec", "ports"): "port",
    ("ServiceAccount", "secrets"): "name",
    ("MutatingWebhookConfiguration", "webhooks"): "name",
    ("ValidatingWebhookConfiguration", "webhooks"): "name",
}


def merge_key(kind: str, path: Path) -> Optional[str]:
    """Return the key by which the API server merges the list at this path of a built-in kind; None when it replaces the list as a whole."""
    names = [step for step in path if isinstance(step, str)]
    if not names or isinstance(path[-1], Item):
        return None
    if (kind, *names) in _OF_KIND:
        return _OF_KIND[(kind, *names)]
    if names[-2:] == ["metadata", "ownerReferences"]:
        return "uid"
    if len(names) > 1 and names[-2] in _CONTAINERS:
        return _OF_CONTAINER.get(names[-1])
    # A pod's own spec, or the one inside a template.
    if names[-2:-1] == ["spec"] and ("template" in names or kind == "Pod"):
        return _OF_POD.get(names[-1])
    return None


def refuse_masked(body: Any, where: str = "") -> None:
    """Raise Invalid when a masked value stands anywhere in what is about to be sent."""
    if isinstance(body, Masked):
        raise Invalid(f"A hidden value stands at {where or 'the top'} of what should be written: it would destroy the real one.", _DEFECT)
    if isinstance(body, Mapping):
        for key, value in body.items():
            refuse_masked(value, f"{where}.{key}" if where else str(key))
    elif isinstance(body, (list, tuple)):
        for index, value in enumerate(body):
            refuse_masked(value, f"{where}[{index}]")


def strategic_patch(kind: str, changes: Sequence[Change]) -> Dict[str, Any]:
    """Return the strategic merge patch for changes of one object of a built-in kind.

    List items are found by the key that the API server uses; new ones are put in front by the server, so that an added variable cannot be used by those
    before it. Raises Invalid when an item step goes into a list that the server replaces as a whole, or two changes overlap.
    """
    return _patch(changes, kind)


def json_merge_patch(changes: Sequence[Change]) -> Dict[str, Any]:
    """Return the JSON merge patch for changes of one custom resource. Raises Invalid for an item of a list: such lists can only be written as a whole."""
    return _patch(changes, None)


def _patch(changes: Sequence[Change], kind: Optional[str]) -> Dict[str, Any]:
    patch: Dict[str, Any] = {}
    for index, change in enumerate(changes):
        for other in changes[:index]:
            shorter = min(len(change.path), len(other.path))
            if change.path[:shorter] == other.path[:shorter]:
                raise Invalid(f"Two planned changes of {change.ref} overlap at {change.field}.", _DEFECT, str(change.ref))
        parent, step = _descend(patch, change, kind)
        if isinstance(step, Item):
            parent.append(_item(change, step, kind))
        else:
            parent[step] = None if change.after is ABSENT else _replacement(kind, change.path, change.before, change.after)
            removed = _removed_finalizers(change) if kind is not None else []
            if removed:
                parent["$deleteFromPrimitiveList/finalizers"] = removed
    return patch


def _descend(patch: Dict[str, Any], change: Change, kind: Optional[str]) -> Tuple[Any, Any]:
    """Walk to the place of the last step, making what is not there yet; return the container and the step."""
    here: Any = patch
    for index, step in enumerate(change.path[:-1]):
        if isinstance(step, Item):
            _check_item(change, index, kind)
            known = next((entry for entry in here if entry.get(step.key) == step.value), None)
            if known is None:
                known = {step.key: step.value}
                here.append(known)
            here = known
        else:
            here = here.setdefault(step, [] if isinstance(change.path[index + 1], Item) else {})
    _check_item(change, len(change.path) - 1, kind)
    return here, change.path[-1]


def _check_item(change: Change, index: int, kind: Optional[str]) -> None:
    step, place = change.path[index], change.path[:index]
    wanted = merge_key(kind, place) if kind is not None else None
    if isinstance(step, Item) and step.key != wanted:
        how = f"by {wanted}, not by {step.key}" if wanted else "only as a whole"
        raise Invalid(f"The list {path_text(place)} of {change.ref} can be written {how}.", _DEFECT, str(change.ref))


def _item(change: Change, step: Item, kind: Optional[str]) -> Dict[str, Any]:
    if change.after is ABSENT:
        return {"$patch": "delete", step.key: step.value}
    if not isinstance(change.after, Mapping):
        raise Invalid(f"{change.field} of {change.ref} has to be a mapping.", _DEFECT, str(change.ref))
    return {**_replacement(kind, change.path, change.before, change.after), step.key: step.value}


def _replacement(kind: Optional[str], path: Path, before: Any, after: Any) -> Any:
    """Return the patch that turns the value ``before`` into ``after``: merging must not leave over what only ``before`` had."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        patch: Dict[str, Any] = {key: None for key in before if key not in after}
        for key, value in after.items():
            if key not in before or not same(before[key], value):
                patch[key] = _replacement(kind, path + (key,), before.get(key, ABSENT), value)
        return patch
    if isinstance(before, list) and before and isinstance(after, list) and kind is not None and merge_key(kind, path):
        return [{"$patch": "replace"}, *after]
    return after


def _removed_finalizers(change: Change) -> List[Any]:
    """Finalizers are the one list of plain values that is merged: what goes away has to be named."""
    if change.path != ("metadata", "finalizers") or not isinstance(change.before, list):
        return []
    return [entry for entry in change.before if change.after is ABSENT or entry not in change.after]
