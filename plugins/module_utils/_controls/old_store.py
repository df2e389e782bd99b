# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the bundled store once nobody uses it: kept, scaled down, or deleted, which cannot be undone and asks for everything that makes it safe."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, look
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.kept import Kept, Remains

RETIRE, DELETE = "retire", "delete"
KEEP, SCALED_DOWN, DELETED = "keep", "scaled_down", "deleted"

ARGUMENTS: Dict[str, Any] = {
    "old_store": {"type": "str", "choices": [KEEP, SCALED_DOWN, DELETED], "default": KEEP},
    "confirm_old_store_loss": {"type": "bool", "default": False},
    "confirm_old_store_deletion": {"type": "str"},
    "forgo_objects": {"type": "int", "default": 0},
    "backup_repository": {"type": "path"},
    "backup_signing_key_file": {"type": "path", "no_log": False},
    "backup_older_key_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
    "backup_kinds": {"type": "list", "elements": "str", "default": ["etcd"]},
    "backup_max_age": {"type": "str", "default": "24h"},
}

_WHY = "nothing uses the bundled store any more"
# Where data lie that go with neither the workload nor a claim.
_ON_NODES = ("hostPath", "nfs")


class Copy(NamedTuple):
    """The proved copy of one bucket, and what is left of it in the new store."""

    role: str
    kept: Kept
    remains: Remains


class Backup(NamedTuple):
    """A verified backup, in words."""

    identifier: str
    instant: str
    kinds: Tuple[str, ...]


# Reads the backups that the options name, and returns the newest that counts, or raises a Failure that says why there is none.
ReadBackup = Callable[[Mapping[str, Any]], Backup]


class Evidence(NamedTuple):
    """What speaks for a deletion, as it was found: the claims that hold the data, the copies, the backup, and what could not be had of these."""

    claims: Tuple[Mapping[str, Any], ...] = ()
    copies: Tuple[Copy, ...] = ()
    backup: Optional[Backup] = None
    trouble: Tuple[Failure, ...] = ()


def examine(
    site: Site, params: Mapping[str, Any], bundled: Mapping[str, Any], copies: Callable[[], Tuple[Copy, ...]], read_backup: Optional[ReadBackup]
) -> Evidence:
    """Look at everything that a deletion has to rest on. What is missing is noted, not raised: who plans decides what it means."""
    trouble: List[Failure] = []
    found: Tuple[Copy, ...] = ()
    backup: Optional[Backup] = None
    if not _confirmed(params, bundled) or _runs(bundled):
        # Neither is worth a listing: the plan refuses it in any case.
        return Evidence()
    try:
        found = copies()
    except Failure as failure:
        trouble.append(failure)
    try:
        if read_backup is None:
            raise Refused("No backup can be read here.", "Run workflow_object_storage as it is.", subject="backup_repository")
        seen = read_backup(params)
        backup = Backup(seen.identifier, seen.instant, seen.kinds)
    except Failure as failure:
        trouble.append(failure)
    return Evidence(claims_of(bundled, list(site.objects.list(KINDS["PersistentVolumeClaim"], namespace=site.namespace))), found, backup, tuple(trouble))


def claims_of(workload: Mapping[str, Any], claims: Sequence[Mapping[str, Any]]) -> Tuple[Mapping[str, Any], ...]:
    """Return those claims that hold the data of a workload and are not on their way out."""
    name = re.escape(str(workload["metadata"]["name"]))
    templates = [str(template["metadata"]["name"]) for template in workload["spec"].get("volumeClaimTemplates") or ()]
    patterns = [rf"{re.escape(template)}-{name}-\d+" for template in templates]
    volumes = look(workload, ("spec", "template", "spec", "volumes")) or ()
    patterns += [re.escape(str(volume["persistentVolumeClaim"]["claimName"])) for volume in volumes if "persistentVolumeClaim" in volume]
    wanted = re.compile("|".join(patterns) or r"(?!)")
    found = [claim for claim in claims if wanted.fullmatch(str(claim["metadata"]["name"])) and not claim["metadata"].get("deletionTimestamp")]
    return tuple(sorted(found, key=lambda claim: str(claim["metadata"]["name"])))


def retired(params: Mapping[str, Any], bundled: Optional[Mapping[str, Any]], settled: bool, evidence: Evidence) -> List[Wanted]:
    """Return what has to become of the bundled store. ``settled`` says that there is nothing else to do. Pure. Raises Refused when it is not safe."""
    if params["old_store"] == KEEP or bundled is None:
        return []
    if params["state"] == "reverted":
        if params["old_store"] == DELETED:
            raise Refused("old_store is deleted, and state is reverted, which leads back into it.", "Leave old_store out.", subject="old_store")
        return []
    return _deleted(params, bundled, settled, evidence) if params["old_store"] == DELETED else _scaled_down(params, bundled)


def _scaled_down(params: Mapping[str, Any], bundled: Mapping[str, Any]) -> List[Wanted]:
    name = str(bundled["metadata"]["name"])
    if _runs(bundled) and not keeps_data(bundled) and not params["confirm_old_store_loss"]:
        raise Refused(
            f"old_store is scaled_down, but {name} keeps its data in its pod: without the pod they are gone.",
            "Leave old_store at keep until you have seen the platform work, or set confirm_old_store_loss to true.",
            subject=name,
        )
    return [Wanted(bundled, ("spec", "replicas"), 0, _WHY, stage=RETIRE)]


def _deleted(params: Mapping[str, Any], bundled: Mapping[str, Any], settled: bool, evidence: Evidence) -> List[Wanted]:
    name = str(bundled["metadata"]["name"])
    if not settled:
        raise Refused(
            f"old_store is deleted, but the platform does not yet use the new store, or not as it should: {name} may still be needed.",
            "Run with old_store at keep or scaled_down first, and look at the platform.",
            subject="old_store",
        )
    if _runs(bundled):
        raise Refused(
            f"{name} still runs: only a store without which the platform was seen to work is deleted.",
            "Set old_store to scaled_down, use the platform for a while, then set it to deleted.",
            subject=name,
        )
    if not _confirmed(params, bundled):
        given = params["confirm_old_store_deletion"]
        raise Refused(
            f"confirm_old_store_deletion is {given or 'not set'}, and has to name what is deleted for ever.",
            f"Set it to {name} when you are sure.",
            subject="confirm_old_store_deletion",
        )
    for failure in evidence.trouble:
        raise Refused(f"{name} is not deleted: {failure.message}", failure.hint, subject=failure.subject or name)
    _refuse_losses(params, evidence.copies, name)
    if evidence.backup is None:
        raise Refused(f"{name} is not deleted: there is no verified backup.", "See backup_repository.", subject="backup_repository")
    why = f"nothing uses it any more; the copy was proved, and the backup {evidence.backup.identifier} of {evidence.backup.instant} is whole"
    # The workload goes last: by it the claims are known, should this be interrupted.
    return [Wanted(document, (), ABSENT, why, stage=DELETE) for document in (*evidence.claims, bundled)]


def _refuse_losses(params: Mapping[str, Any], copies: Sequence[Copy], name: str) -> None:
    lost = [copy for copy in copies if copy.remains.gone or copy.remains.replaced]
    count = sum(copy.remains.gone + copy.remains.replaced for copy in lost)
    if count <= params["forgo_objects"]:
        return
    parts = [f"{copy.remains.gone} gone and {copy.remains.replaced} replaced of {copy.kept.objects} in {copy.kept.bucket}" for copy in lost]
    shown = ", ".join(lost[0].remains.keys)
    raise Refused(
        f"{name} is not deleted: the new store no longer holds everything that was proved there: {'; '.join(parts)} ({shown}).",
        f"Components delete and replace what is theirs. If these are such objects, set forgo_objects to {count}.",
        subject="forgo_objects",
    )


def left_on_nodes(workload: Mapping[str, Any]) -> Tuple[str, ...]:
    """Return in words where data lie that outlive the deletion."""
    volumes = look(workload, ("spec", "template", "spec", "volumes")) or ()
    return tuple(f"{kind} {volume[kind].get('path', '')}" for volume in volumes for kind in _ON_NODES if kind in volume)


def keeps_data(workload: Mapping[str, Any]) -> bool:
    """Tell whether the data of a workload outlive its pods."""
    volumes = look(workload, ("spec", "template", "spec", "volumes")) or ()
    return bool((workload.get("spec") or {}).get("volumeClaimTemplates")) or any({"persistentVolumeClaim", *_ON_NODES} & set(volume) for volume in volumes)


def _runs(bundled: Mapping[str, Any]) -> bool:
    """Tell whether it has pods, or will."""
    return look(bundled, ("spec", "replicas")) != 0 or bool((bundled.get("status") or {}).get("replicas"))


def _confirmed(params: Mapping[str, Any], bundled: Mapping[str, Any]) -> bool:
    return bool(params["confirm_old_store_deletion"] == bundled["metadata"]["name"])
