# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the CronJob and the Secret of a schedule differ from what they have to be, field by field. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_objects import PROVED, Documents
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.pod_places import PROGRAM
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._cluster.patches import merge_key
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, Plan, Ref, ref_of, same
from ansible_collections.paas.hardening.plugins.module_utils._host.archive import digest_of

# What makes another pod of it. Where it may run (a node, tolerations, priority) is nobody's here, and what a server fills in is left alone.
_FOREIGN_OF_HOST = ("hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers", "shareProcessNamespace", "sysctls")
_FOREIGN_OF_POD = (*_FOREIGN_OF_HOST, "ephemeralContainers", "initContainers", "supplementalGroups")
_FOREIGN_OF_CONTAINER = ("add", "args", "envFrom", "lifecycle", "livenessProbe", "privileged", "procMount", "startupProbe", "volumeDevices", "workingDir")
_FOREIGN = frozenset((*_FOREIGN_OF_POD, *_FOREIGN_OF_CONTAINER))
_ENTRIES_OWNED = frozenset(("containers", "env", "volumeMounts", "volumes"))
_SINGLE = frozenset(("env", "volumes"))
_WHY = {
    "suspend": "a CronJob that is suspended makes nothing",
    "schedule": "the cluster has to know when to run it",
    "timeZone": "the cluster has to know when to run it",
    "concurrencyPolicy": "two runs never overlap",
    "jobTemplate": "the pod has to be the one that was asked for",
    "annotations": "what it starts has to end well in a pod first",
    "labels": "it is known by its labels",
}
_WHY_SECRET = "the pod needs its program, of the collection's present release, its options and its keys"
_WHY_GONE = "there is to be no such schedule"

Found = List[Tuple[Path, Any, Any]]


def planned(documents: Documents, secret: Optional[Mapping[str, Any]], cronjob: Optional[Mapping[str, Any]]) -> Plan:
    """Compare what is there with what has to be. Raises Refused for objects of the same names that this collection did not make."""
    changes: List[Change] = []
    versions: Dict[Ref, str] = {}
    for wanted, live, differ in ((documents.secret, secret, _secret_differs), (documents.cronjob, cronjob, _cronjob_differs)):
        ref = ref_of(wanted)
        if live is None:
            changes.append(Change(ref, (), ABSENT, wanted, _WHY_SECRET if ref.kind == "Secret" else "nothing makes points"))
            continue
        refuse_foreign(ref, live)
        found = differ(wanted, live)
        changes += [Change(ref, path, before, after, _why(ref, path)) for path, before, after in found]
        if found:
            versions[ref] = str(live["metadata"].get("resourceVersion") or "")
    return Plan(tuple(changes), versions)


def removal(refs: Sequence[Ref], lives: Sequence[Optional[Mapping[str, Any]]]) -> Plan:
    """Take away the CronJob first, then what it mounts. Raises Refused as ``planned`` does."""
    changes: List[Change] = []
    versions: Dict[Ref, str] = {}
    for ref, live in reversed(tuple(zip(refs, lives))):
        if live is None:
            continue
        refuse_foreign(ref, live)
        changes.append(Change(ref, (), live, ABSENT, _WHY_GONE))
        versions[ref] = str(live["metadata"].get("resourceVersion") or "")
    return Plan(tuple(changes), versions)


def refuse_foreign(ref: Ref, live: Mapping[str, Any]) -> None:
    """Raises Refused for what somebody else gave the same name."""
    if not OWNER.items() <= (live["metadata"].get("labels") or {}).items():
        label = "=".join(next(iter(OWNER.items())))
        raise Refused(f"{ref} is not of this collection: it has no label {label}.", "Give another schedule.name, or take it away.", "schedule.name")


def _secret_differs(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> Found:
    found, there = differences(wanted["metadata"]["labels"], live["metadata"].get("labels") or {}, ("metadata", "labels")), live.get("data") or {}
    for name, value in sorted(wanted["data"].items()):
        before = there.get(name, ABSENT)
        if not same(before, value) and not (name == PROGRAM and _same_program(before, value)):
            found.append((("data", name), before, value))
    return found + [(("data", name), there[name], ABSENT) for name in sorted(set(there) - set(wanted["data"]))]


def _same_program(one: Any, other: str) -> bool:
    try:
        return isinstance(one, str) and digest_of(base64.b64decode(one, validate=True)) == digest_of(base64.b64decode(other))
    except (binascii.Error, ValueError):
        return False


def _cronjob_differs(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> Found:
    metadata = live["metadata"]
    found = differences(wanted["metadata"]["labels"], metadata.get("labels") or {}, ("metadata", "labels"))
    before = (metadata.get("annotations") or {}).get(PROVED, ABSENT)
    after = wanted["metadata"]["annotations"][PROVED]
    found += [] if same(before, after) else [(("metadata", "annotations", PROVED), before, after)]
    return found + differences(wanted["spec"], live.get("spec") or {}, ("spec",))


def differences(wanted: Any, live: Any, path: Path) -> Found:
    """Return each field below a path with what stands there and what has to: what the server adds by itself, and where a pod may run, counts for nothing."""
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        found: Found = []
        for name, value in wanted.items():
            found += differences(value, live[name], (*path, name)) if name in live else [((*path, name), ABSENT, value)]
        # One source of a volume, or of a variable, beside another is refused by the server.
        whole = isinstance(path[-1], Item) and str(path[-2]) in _SINGLE
        return found + [((*path, name), live[name], ABSENT) for name in live if name not in wanted and (whole or name in _FOREIGN)]
    if isinstance(wanted, list) and isinstance(live, list):
        key = merge_key("CronJob", path)
        return _entries_differ(wanted, live, path, key) if key else _whole_differs(wanted, live, path)
    return [] if same(wanted, live) else [(path, live, wanted)]


def _entries_differ(wanted: Sequence[Mapping[str, Any]], live: Sequence[Mapping[str, Any]], path: Path, key: str) -> Found:
    found: Found = []
    there = {entry.get(key): entry for entry in live}
    for entry in wanted:
        place = (*path, Item(key, entry[key]))
        found += differences(entry, there[entry[key]], place) if entry[key] in there else [(place, ABSENT, entry)]
    names = {entry[key] for entry in wanted}
    if path[-1] in _ENTRIES_OWNED:
        found += [((*path, Item(key, name)), entry, ABSENT) for name, entry in there.items() if name not in names]
    return found


def _whole_differs(wanted: Sequence[Any], live: Sequence[Any], path: Path) -> Found:
    """Such a list can only be written as a whole: its entries are compared without what a server adds to them."""
    alike = len(wanted) == len(live) and not any(differences(one, other, (*path, "")) for one, other in zip(wanted, live))
    return [] if alike else [(path, list(live), list(wanted))]


def _why(ref: Ref, path: Path) -> str:
    if ref.kind == "Secret" and path[0] == "data":
        return _WHY_SECRET
    return _WHY.get(str(path[1]) if len(path) > 1 else "", "a run has to begin and to end in time")
