# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The upgrade verdict: what the next ``helm upgrade`` with the same chart and the same values does to a field that was set live."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.merge import Ambiguous, Difference, Merge, built_in, covers, of_quantities, owners, same
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import RELEASE_NAME, RELEASE_NAMESPACE, Release
from ansible_collections.paas.hardening.plugins.module_utils._cluster.values import keys_of, overlay, value_at
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, Ref, look, path_text
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import mask

KEPT = "kept"
REVERTED = "reverted"
CONFLICT = "conflict"
NOT_CHART_OWNED = "not_chart_owned"
UNCHANGED = "unchanged"
UNKNOWN = "unknown"

_REFUSED = "An upgrade puts the chart's field beside ours; the object may have only one of the two, so the server refuses the upgrade."
_DROPPED = "The chart states the structure around this field without it, and an upgrade takes away what is not listed there."
_OMITTED = "The chart does not state this field, and an upgrade leaves what it does not state."
_HELM2 = "Helm 2 compares the old manifest with the new one and never reads the live object: kept until the chart's own value changes."
_CUSTOM = "Helm compares the old manifest with the new one for custom resources: kept until the chart's own value changes."
_LASTING = (KEPT, UNCHANGED, NOT_CHART_OWNED)
_UPGRADE_HOOKS = ("pre-upgrade", "post-upgrade")


@dataclass(frozen=True)
class Verdict:
    """What the next upgrade with the same values does to one field.

    ``outcome`` is ``kept`` (the chart does not state it, or Helm does not look), ``unchanged`` (the chart states the same value), ``reverted`` (the
    chart's value comes back), ``conflict`` (the upgrade itself fails), ``not_chart_owned`` (no release has this object) or ``unknown``.
    ``owner`` is the release as namespace/name, ``values_path`` the key that carries the setting, ``values_current`` what stands there now (masked
    where it is secret), and ``durable`` says that the value is still there after the upgrade and the upgrade does not fail over it.
    """

    outcome: str
    reason: str
    owner: str = ""
    values_path: Optional[str] = None
    values_current: Any = ABSENT
    durable: bool = False
    ref: Optional[Ref] = None
    path: Path = ()
    helm: Optional[Mapping[str, Any]] = None
    values_wanted: Any = field(default=ABSENT, repr=False)
    values_carry_it: bool = False

    def as_data(self) -> Dict[str, Any]:
        """Return the verdict as plain data for a result; it holds no values of any field."""
        return {
            "object": str(self.ref),
            "field": path_text(self.path) or "(object)",
            "outcome": self.outcome,
            "lasts": self.durable,
            "reason": self.reason,
            "values_path": self.values_path,
            "helm": dict(self.helm) if self.helm else None,
        }


def verdict(
    change: Change,
    live: Optional[Mapping[str, Any]],
    release: Optional[Release],
    values_path: Optional[str] = None,
    value_for_values: Any = None,
    manager: str = "paas-hardening",
) -> Verdict:
    """Judge one change.

    ``live`` is the object as observed, before the change or after it, with its managedFields when the release uses server-side apply; None when it
    does not exist. ``release`` is what ``find_release`` says. ``values_path`` names the chart's key for the setting, None says that there is none;
    ``value_for_values`` is what that key has to hold when it is not the field's own value. ``manager`` is the field manager that makes the change.
    A release that cannot be read gives ``unknown``; nothing is raised.
    """
    judged = _judge(change, live or {}, release, manager)
    if release is None:
        return replace(judged, ref=change.ref, path=change.path)
    return _with_values(judged, change, release, values_path, change.after if value_for_values is None else value_for_values)


def verdicts_for_fields(
    fields: Iterable[Tuple[Ref, Path, Any]],
    lives: Mapping[Ref, Mapping[str, Any]],
    releases: Mapping[Ref, Optional[Release]],
    values_paths: Optional[Mapping[Tuple[Ref, Path], str]] = None,
    values: Optional[Mapping[Tuple[Ref, Path], Any]] = None,
    manager: str = "paas-hardening",
) -> List[Verdict]:
    """Judge settings that are already right, so that a second run still says which of them the next upgrade takes back.

    ``fields`` are (object, path, value that stands there); the mappings give, for each object, its live state and its release, and for each field its
    values path and the value for that path.
    """
    return [
        verdict(
            Change(ref, path, value, value, ""),
            lives.get(ref),
            releases.get(ref),
            (values_paths or {}).get((ref, path)),
            (values or {}).get((ref, path)),
            manager,
        )
        for ref, path, value in fields
    ]


def durable_values(verdicts: Iterable[Verdict]) -> Dict[str, Any]:
    """Return the smallest values overlay that makes these settings last, as far as the chart has keys for them."""
    return overlay(
        {
            judged.values_path: judged.values_wanted
            for judged in verdicts
            if judged.values_path and judged.values_wanted is not ABSENT and not judged.durable and not judged.values_carry_it
        }
    )


def _judge(change: Change, live: Mapping[str, Any], release: Optional[Release], manager: str) -> Verdict:
    if release is None:
        return _without_release(live)
    try:
        stated = release.document(change.ref)
        hook = None if stated else release.hook(change.ref)
    except Failure as failure:
        return _verdict(UNKNOWN, f"{failure.message} {failure.hint}", release)
    if hook:
        return _of_hook(hook, release)
    if stated is None:
        return _verdict(NOT_CHART_OWNED, "The release has no such object, so an upgrade does not touch it.", release)
    if not change.path and change.after is ABSENT:
        return _verdict(REVERTED, "The chart has this object: an upgrade creates it again.", release)
    return _of_field(change, live, stated, release, manager)


def _without_release(live: Mapping[str, Any]) -> Verdict:
    metadata = live.get("metadata") or {}
    labels = metadata.get("labels") or {}
    signed = (metadata.get("annotations") or {}).get(RELEASE_NAME)
    if signed:
        return Verdict(UNKNOWN, f"Helm's release {signed} made this object, but its record is not in the cluster where Helm keeps it by default.")
    if "Tiller" in (labels.get("heritage"), labels.get("app.kubernetes.io/managed-by")):
        return Verdict(UNKNOWN, "Helm 2 made this object, but its record was not found in the namespaces that were searched.")
    return Verdict(NOT_CHART_OWNED, "No Helm release has this object.", durable=True)


def _of_hook(hook: Mapping[str, Any], release: Release) -> Verdict:
    events = hook.get("events") or ()
    if not any(event in events for event in _UPGRADE_HOOKS):
        return _verdict(KEPT, f"The object is a hook ({', '.join(events)}), which an upgrade does not touch.", release)
    policies = hook.get("delete_policies") or (() if release.helm == 2 else ("before-hook-creation",))
    if "before-hook-creation" in policies:
        return _verdict(REVERTED, "The object is an upgrade hook: every upgrade deletes it and makes it anew.", release)
    return _verdict(CONFLICT, "The object is an upgrade hook that is not deleted first: the upgrade fails because it exists.", release)


def _of_field(change: Change, live: Mapping[str, Any], stated: Mapping[str, Any], release: Release, manager: str) -> Verdict:
    ref, path, after = _on_the_server(change)
    stated, write_only = _as_stored(ref, _signed(stated, release))
    there = look(stated, path) if path else stated
    if there is not ABSENT and release.unpredictable(ref, _words(path)):
        return _verdict(UNKNOWN, "The chart makes this field with random values, dates or look-ups, so each upgrade may state another value.", release)
    agreed = there is not ABSENT and after is not ABSENT and covers(there, after, of_quantities(path))
    if release.method == "helm2":
        return _agreed(release) if agreed else _verdict(KEPT, _HELM2, release)
    apply = release.method == "ssa"
    managed = (live.get("metadata") or {}).get("managedFields") or ()
    custom = not built_in(ref.api_version)
    if custom and apply and not managed:
        return _verdict(UNKNOWN, "How this kind merges shows in the object's managed fields, which were not read.", release)
    try:
        changed = _applied(live, path, after) if path else after
        # Without merge keys a client compares two manifests, and only the signature, which it puts on the new one alone, differs there.
        enforced = _signed({}, release) if custom and not apply else stated
        found = list(Merge(ref.api_version, ref.kind, apply, managed).differences(enforced, changed, path))
    except Ambiguous:
        return _verdict(UNKNOWN, "Two entries of a list have the same merge key, so the result of an upgrade depends on their order.", release)
    if not found:
        return _agreed(release) if agreed else _verdict(KEPT, _CUSTOM if custom and not apply else _OMITTED, release)
    if not apply:
        return _three_way(found, release)
    return _server_side(found, change, live, path, write_only, release, manager)


def _three_way(found: List[Difference], release: Release) -> Verdict:
    hows = {difference.how for difference in found}
    if "refused" in hows:
        return _verdict(CONFLICT, _REFUSED, release)
    if hows == {"dropped"}:
        return _verdict(REVERTED, _DROPPED, release)
    return _verdict(REVERTED, "The chart states this field, and Helm's three-way merge puts the chart's value back.", release)


def _server_side(
    found: List[Difference], change: Change, live: Mapping[str, Any], path: Path, write_only: Sequence[str], release: Release, manager: str
) -> Verdict:
    if any(difference.how == "refused" for difference in found):
        return _verdict(CONFLICT, _REFUSED, release)
    silent = [("data", key) for key in write_only]
    # Read after the change, the object says itself who holds the field; before it, that will be us.
    if path and same(look(live, path), change.after) and (live.get("metadata") or {}).get("managedFields"):
        applier = _applier(live)
        holders = {owner[0] for entry in found if entry.place not in silent for owner in owners(live, entry.place) if owner != applier}
    else:
        holders = {manager for entry in found if entry.how == "differs" and entry.place not in silent}
    if holders:
        named = " and ".join(sorted(holders))
        return _verdict(CONFLICT, f"The chart states this field with another value and {named} holds it: the upgrade fails with a conflict.", release)
    if any(entry.place in silent for entry in found):
        reason = "The chart writes this key as stringData, which no field manager holds: every upgrade overwrites it without a conflict."
        return _verdict(REVERTED, reason, release)
    return _verdict(REVERTED, "The chart states this field, nobody else holds it, and an upgrade puts the chart's value back.", release)


def _applier(live: Mapping[str, Any]) -> Optional[Tuple[str, str]]:
    """Return the (manager, operation) under which Helm applies this object: the one that holds Helm's signature."""
    signature = ("metadata", "annotations", RELEASE_NAME)
    return next((owner for owner in owners(live, signature) if owner[1] == "Apply"), None)


def _agreed(release: Release) -> Verdict:
    return _verdict(UNCHANGED, "The chart states the same value, so an upgrade changes nothing.", release)


def _verdict(outcome: str, reason: str, release: Release) -> Verdict:
    if release.locked:
        reason += " An unfinished Helm operation locks the release: no upgrade runs until that is cleared."
    return Verdict(outcome, reason, owner=f"{release.namespace}/{release.name}", durable=outcome in _LASTING, helm=release.as_data())


def _with_values(judged: Verdict, change: Change, release: Release, values_path: Optional[str], wanted: Any) -> Verdict:
    current: Any = ABSENT
    reason = judged.reason
    carried = False
    if values_path:
        current = value_at(release.effective_values(), values_path)
        carried = wanted is not ABSENT and current is not ABSENT and same(current, wanted)
        if judged.outcome == UNCHANGED and carried:
            reason += f" The release's values carry it: {values_path}."
        elif not judged.durable and carried:
            reason += f" The release's values already carry it ({values_path}), but the installed manifest does not follow them."
        elif not judged.durable:
            reason += f" It lasts when the values set {values_path}."
        current = mask("", keys_of(values_path), current) if current is not ABSENT else current
    elif judged.outcome in (REVERTED, CONFLICT):
        reason += " The chart has no values key for it."
    return replace(
        judged, reason=reason, values_path=values_path, values_current=current, ref=change.ref, path=change.path, values_wanted=wanted, values_carry_it=carried
    )


def _words(path: Path) -> Tuple[str, ...]:
    return tuple(str(step.value if isinstance(step, Item) else step) for step in path[-1:])


def _on_the_server(change: Change) -> Tuple[Ref, Path, Any]:
    """Return the change as the server keeps it: what is written as stringData of a Secret is read as data."""
    path, after = change.path, change.after
    if change.ref.kind == "Secret" and path[:1] == ("stringData",):
        path = ("data", *path[1:])
        if isinstance(after, str):
            after = _encoded(after)
        elif isinstance(after, Mapping):
            after = {key: _encoded(value) for key, value in after.items()}
    return change.ref, path, after


def _signed(stated: Mapping[str, Any], release: Release) -> Mapping[str, Any]:
    """Return a stated object with the signature that Helm 3 and 4 put on it and leave out of the manifest that they keep."""
    if release.helm == 2:
        return stated
    metadata = dict(stated.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"}
    signature = {RELEASE_NAME: release.name, RELEASE_NAMESPACE: release.namespace}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **signature}
    return {**stated, "metadata": metadata}


def _as_stored(ref: Ref, stated: Mapping[str, Any]) -> Tuple[Mapping[str, Any], Tuple[str, ...]]:
    """Return a stated object as the server keeps it, and the keys of a Secret that the chart writes as stringData."""
    if ref.kind != "Secret" or ref.api_version != "v1":
        return stated, ()
    texts = stated.get("stringData") or {}
    data = {key: _tidy(value) for key, value in (stated.get("data") or {}).items()}
    data.update({key: _encoded(value) for key, value in texts.items()})
    return {**{key: value for key, value in stated.items() if key != "stringData"}, "data": data}, tuple(texts)


def _encoded(text: Any) -> str:
    return base64.b64encode(str(text).encode()).decode()


def _tidy(text: Any) -> Any:
    """Return base64 text in the one form in which the server gives it back."""
    try:
        return base64.b64encode(base64.b64decode(text)).decode()
    except (TypeError, ValueError, binascii.Error):
        return text


def _applied(document: Any, path: Path, value: Any) -> Any:
    """Return a copy of the document with the value put at the path; what is not on the path is shared."""
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        result = dict(document) if isinstance(document, Mapping) else {}
        inner = _applied(result.get(step, ABSENT), rest, value) if rest else value
        if inner is not ABSENT:
            result[step] = inner
            return result
        # The server does not keep a map out of which the last key was taken.
        emptied = result.pop(step, None) is not None and not result
        return ABSENT if emptied else result
    entries = list(document) if isinstance(document, list) else []
    at = next((number for number, entry in enumerate(entries) if isinstance(entry, Mapping) and entry.get(step.key) == step.value), len(entries))
    old = entries[at] if at < len(entries) else {step.key: step.value}
    inner = _applied(old, rest, value) if rest else value
    if inner is ABSENT:
        return entries[:at] + entries[at + 1 :] or ABSENT
    return [*entries[:at], inner, *entries[at + 1 :]]
