# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Object storage is outside of the cluster: what the bundled store holds is moved to another one, proved there, and only then used.

The stages of the move are parts of one plan. How far it came is seen from the objects themselves, so a run that was interrupted is gone on with by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Releases
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import (
    Settings,
    chart_settings,
    configured,
    copies_wanted,
    secrets_of,
    text_in,
    wanted_settings,
    workload_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import authority_file
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import freeze, frozen_replicas, thaw
from ansible_collections.paas.hardening.plugins.module_utils._controls.old_store import ARGUMENTS as OLD_STORE_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._controls.old_store import DELETED, Evidence, ReadBackup, examine, left_on_nodes, retired
from ansible_collections.paas.hardening.plugins.module_utils._controls.stages import TAKE_BACK, interrupted
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_job import ARGUMENTS as JOB_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_move import BACK_UP, COPY, COPY_REST, PREPARE, Move, Pair
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_source import Former, former_store, superfluous
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_target import ARGUMENTS, Target, target_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan, ref_of
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ObjectStorage, Platform

RECOMMENDATION = Recommendation(
    id="object-storage",
    title="Object storage is outside of the cluster",
    severity="critical",
    source=Source(
        "Deis Workflow, Production Deployments",
        "Running Workflow without Minio",
        "This means that components such as the registry, database and logger must be able to survive by storing persistent data off-cluster.",
    ),
)


class Observed(NamedTuple):
    """The settings, the copies in the apps' namespaces, the bundled store, and what there is to move while components still use it."""

    target: Target
    settings: Settings
    at_target: Mapping[str, bool]
    bundled: Optional[Mapping[str, Any]]
    constants: bool
    pairs: Tuple[Pair, ...]
    # Every setting as it should be, in the order in which they are written.
    wanted: Tuple[Wanted, ...]
    namespace: str
    # How far a run came that was killed in the middle.
    interrupted: str = ""
    # The store outside that components use and are to leave.
    former: Optional[Former] = None
    evidence: Evidence = Evidence()

    @property
    def moved(self) -> bool:
        return all(self.at_target.values())


class ObjectStorageControl:
    """Moves the platform's object storage out of the cluster, and keeps it there."""

    recommendation = RECOMMENDATION
    arguments: Dict[str, Any] = {
        **ARGUMENTS,
        "state": {"type": "str", "choices": ["external", "reverted"], "default": "external"},
        "create_buckets": {"type": "bool", "default": True},
        "overwrite": {"type": "bool", "default": False},
        **OLD_STORE_ARGUMENTS,
        "freeze_timeout": {"type": "int", "default": 900},
        "guard": {"type": "bool", "default": True},
        "rclone": {"type": "path"},
        **JOB_ARGUMENTS,
        "work_folder": {"type": "path", "default": "~/.cache/paas.hardening/object-storage"},
    }

    def __init__(self, read_backup: Optional[ReadBackup] = None) -> None:
        self._read_backup = read_backup
        self._target: Optional[Target] = None
        self._move: Optional[Move] = None
        self._releases: Optional[Releases] = None

    def observe(self, site: Site, params: Mapping[str, Any]) -> Observed:
        facts = site.platform.object_storage
        target = self._target = self._target or target_of(site, params)
        self._move = self._move or Move(site, params, target)
        settings, apps = self._settings(site, facts)
        wanted = wanted_settings(facts, target.way, target.fields, settings)
        addresses = {setting.variable: target.fields[setting.field] for setting in target.way.settings if setting.variable and setting.field in target.fields}
        kind = target.way.kind
        if params["state"] == "reverted":
            kind = next(way.kind for way in facts.ways if way.addressed)
            wanted = chart_settings(facts, settings, wanted, lambda document: self._stated(site, document))
            addresses = self._inside_addresses(site, facts, addresses)
        else:
            wanted += superfluous(facts, target.way, settings)
        if facts.copied:
            found = site.objects.list(KINDS["Secret"], labels=f"heritage={site.platform.heritage}")
            secrets = [secret for secret in found if secret["metadata"]["namespace"] != site.namespace]
            wanted += copies_wanted(facts, wanted, {**addresses, facts.app_variable: kind}, secrets, apps)
        at_target = configured(facts, settings, wanted)
        bundled = settings.workloads.get((facts.bundled.workload.kind, facts.bundled.workload.name))
        credentials = site.objects.find(KINDS["Secret"], facts.bundled.secret, site.namespace)
        pairs: Tuple[Pair, ...] = ()
        former: Optional[Former] = None
        evidence = Evidence()
        broken_off = self._move.stages.left_behind()
        if broken_off:
            return Observed(target, settings, at_target, bundled, False, (), tuple(wanted), site.namespace, broken_off)
        if not all(at_target.values()):
            if params["state"] == "external":
                former = former_store(facts, settings, at_target, authority_file(params))
            pairs = self._move.pairs(bundled, credentials, former)
            if not any(at_target.values()):
                self._move.stages.adopt([document for document in settings.workloads.values() if frozen_replicas(document) is not None])
        elif not all(entry.holds for entry in wanted):
            # Credentials are tried before they are written.
            self._move.try_credentials()
        elif bundled is not None and params["old_store"] == DELETED:
            evidence = examine(site, params, bundled, lambda: self._at_work.copies(bundled), self._read_backup)
        constants = former is None and _are_constants(facts, credentials)
        return Observed(target, settings, at_target, bundled, constants, pairs, tuple(wanted), site.namespace, "", former, evidence)

    def _settings(self, site: Site, facts: ObjectStorage) -> Tuple[Settings, Tuple[Mapping[str, Any], ...]]:
        """Read all workloads with one list a kind, and each Secret by its name."""
        users = [workload for user in facts.users for workload in user.workloads] + [facts.bundled.workload]
        workloads: Dict[Tuple[str, str], Mapping[str, Any]] = {}
        apps: List[Mapping[str, Any]] = []
        for kind in sorted({workload.kind for workload in users}):
            # Apps have namespaces of their own; their workloads are looked at only where they carry an address of the store.
            everywhere = facts.copied and kind == "Deployment"
            found = site.objects.list(KINDS[kind], namespace=None if everywhere else site.namespace, labels=f"heritage={site.platform.heritage}")
            for document in found:
                if document["metadata"]["namespace"] == site.namespace:
                    workloads[kind, document["metadata"]["name"]] = document
                else:
                    apps.append(document)
        secrets = secrets_of(facts, lambda name: site.objects.find(KINDS["Secret"], name, site.namespace))
        return Settings(workloads, secrets), tuple(apps)

    def _stated(self, site: Site, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the object as the chart states it."""
        self._releases = self._releases or Releases(site.objects)
        release = self._releases.of(document)
        stated = release.document(ref_of(document)) if release else None
        if stated is None:
            raise Refused(
                f"What the chart states for {document['kind']} {document['metadata']['name']} could not be found: no Helm release has it.",
                "Go back with helm rollback, or set the fields by hand.",
                subject=str(document["metadata"]["name"]),
            )
        return stated

    @staticmethod
    def _inside_addresses(site: Site, facts: ObjectStorage, outside: Mapping[str, str]) -> Dict[str, str]:
        """Return the variables of an address as Kubernetes derives them from the bundled store's Service."""
        service = site.objects.get(KINDS["Service"], facts.bundled.workload.name, site.namespace)
        inside = {"HOST": service["spec"]["clusterIP"], "PORT": str(facts.bundled.port)}
        return {variable: inside[variable.rpartition("_")[2]] for variable in outside if variable.rpartition("_")[2] in inside}

    def wanted(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
        if observed.interrupted:
            return [interrupted(observed.interrupted)]
        facts = platform.object_storage
        writers = [workload_of(observed.settings, workload) for user in facts.users if user.writes for workload in user.workloads]
        wanted: List[Wanted] = []
        if not observed.moved:
            for pair in observed.pairs:
                wanted += pair.wanted(PREPARE) + pair.wanted(COPY)
            for document in writers:
                wanted += freeze(document, "nothing may be written while the last bytes move")
            # A run that was killed may have come further: a database that has been switched has made its backup.
            if facts.backup and not observed.at_target.get(facts.backup[0].name, True):
                wanted.append(self._backup_step(workload_of(observed.settings, facts.backup[0])))
            for pair in observed.pairs:
                wanted += pair.wanted(COPY_REST)
        wanted += observed.wanted
        for document in writers:
            if not observed.moved or frozen_replicas(document) is not None:
                wanted += thaw(document, "the platform uses the new store")
        settled = all(entry.holds for entry in wanted)
        return wanted + retired(params, observed.bundled, settled, observed.evidence)

    def _backup_step(self, database: Mapping[str, Any]) -> Wanted:
        why = "the database starts from the newest whole backup in its bucket, so nothing may be newer than that"
        path = ("metadata", "annotations", "paas.hardening/backup")
        return Wanted({**database, "kind": "Backup"}, path, "a whole backup, taken now", why, stage=BACK_UP, step=True, standing="older backups")

    @property
    def _at_work(self) -> Move:
        if self._move is None:
            raise RuntimeError("nothing was observed yet")
        return self._move

    def carry_out(self, site: Site, params: Mapping[str, Any], plan: Plan) -> None:
        if plan.changes[0].stage == TAKE_BACK:
            self._at_work.stages.take_over()
            # What it saw was half a move.
            self.leave()
            self._move = self._target = None
        else:
            self._at_work.carry_out(plan)

    def take_back(self) -> str:
        if self._move is None:
            return ""
        if self._move.stages.pending:
            with contextlib.suppress(OSError):
                self._move.forget()
        return self._move.stages.take_back()

    def leave(self) -> None:
        if self._move is not None:
            self._move.leave()

    def against(self, params: Mapping[str, Any]) -> str:
        return ""

    def workloads(self, observed: Observed) -> Sequence[Mapping[str, Any]]:
        """Every component that uses the store and does not stand still."""
        names = {entry.document["metadata"]["name"] for entry in observed.wanted if entry.document["metadata"]["namespace"] == observed.namespace}
        found = [document for (kind, name), document in sorted(observed.settings.workloads.items()) if kind in ("Deployment", "StatefulSet") and name in names]
        return [document for document in found if frozen_replicas(document) is None]

    def unsettled(self, params: Mapping[str, Any], observed: Observed) -> str:
        return ""

    def probe(self, site: Site, params: Mapping[str, Any], observed: Observed) -> Proof:
        return self._at_work.probe(observed.settings)

    def describe(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> Tuple[str, str, str]:
        target = observed.target
        place = target.fields.get("endpoint") or f"{target.way.provider} {target.fields.get('region', '')}".strip()
        away = sorted(name for name, there in observed.at_target.items() if not there)
        former = observed.former.store.name if observed.former else "the bundled store"
        seen = f"{', '.join(away)} use{'s' if len(away) == 1 else ''} {former}" if away else f"all components use {place}"
        return f"object storage of {platform.title}", f"all components use {place}", seen

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Finding]:
        findings = []
        if observed.constants and not observed.moved:
            findings.append(
                RECOMMENDATION.beside(
                    "well-known-credentials",
                    "The bundled store has the credentials that every installation has",
                    "critical",
                    FAIL,
                    f"Secret {platform.object_storage.bundled.secret}",
                    "credentials of one's own",
                    "the chart's constants",
                    "Move the storage out of the cluster; the chart has no key for other credentials.",
                    "Whoever can reach the store's Service reads and writes every image, slug and database backup.",
                )
            )
        if params["old_store"] == DELETED and (observed.evidence.backup is not None or observed.bundled is None):
            findings.append(_deletion(platform.object_storage, observed))
        for number, limit in enumerate(observed.target.way.limits, 1):
            findings.append(
                RECOMMENDATION.beside(
                    f"limit-{number}",
                    "A limit of this way to an external store",
                    "info",
                    PASS,
                    observed.target.fields.get("endpoint", ""),
                    "it is known",
                    "it applies",
                    "Use a store of the provider itself where this is too much.",
                    limit,
                )
            )
        return findings


def _deletion(facts: ObjectStorage, observed: Observed) -> Finding:
    """What a deletion does not do, and what brings the store back."""
    backup, bundled = observed.evidence.backup, observed.bundled or {}
    name = facts.bundled.workload.name
    kinds = ", ".join(backup.kinds) if backup else ""
    left = left_on_nodes(bundled) if bundled else ()
    key, value = facts.bundled.left_out or ("", None)
    hint = f"Set {key}={str(value).lower()} in the values before the next upgrade." if key else "Take the overlay with every upgrade."
    reason = f"What is in buckets is in the new store alone from then on. An upgrade whose values have {name} makes it anew, and empty."
    reason = f"The backup holds {kinds}. {reason}" if kinds else reason
    return RECOMMENDATION.beside(
        "old-store",
        "The old store goes for ever",
        "info",
        PASS,
        name,
        "it is known what stays and what comes back",
        f"data stay on {', '.join(left)}" if left else "nothing of it stays but what its volumes' reclaim policy keeps",
        hint,
        reason,
    )


def _are_constants(facts: ObjectStorage, secret: Optional[Mapping[str, Any]]) -> bool:
    found = [text_in(secret or {}, key) for key in (facts.bundled.access_key, facts.bundled.secret_key)]
    return tuple(hashlib.sha256((text or "").encode()).hexdigest() for text in found) == facts.bundled.constants


CONTROL = ObjectStorageControl()
