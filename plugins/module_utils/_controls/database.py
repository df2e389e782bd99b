# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database is outside of the cluster: what the bundled one holds is moved to another server, proved there row by row, and only then used."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, present, secrets_of, wanted_settings, workload_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import authority_file
from ansible_collections.paas.hardening.plugins.module_utils._controls.database_move import CLEAR, CLOSE, MOVE, PREPARE, DatabaseMove
from ansible_collections.paas.hardening.plugins.module_utils._controls.database_place import Relocation, arrived, begun, fields_of, relocations, remembers
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import freeze, frozen_replicas, thaw
from ansible_collections.paas.hardening.plugins.module_utils._controls.stages import TAKE_BACK, interrupted
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Plan
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import Database as Seen
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import SSL_MODES
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Database, Platform

RECOMMENDATION = Recommendation(
    id="database",
    title="The database is outside of the cluster",
    severity="high",
    source=Source(
        "Deis Workflow, Production Deployments",
        "Running Workflow without Minio",
        "components such as the registry, database and logger must be able to survive by storing persistent data off-cluster",
    ),
)


class Observed(NamedTuple):
    """The settings, what goes where, whether it has arrived, and what there is to move of each database while a component still uses the bundled one."""

    moves: Tuple[Relocation, ...]
    settings: Settings
    arrived: Mapping[str, bool]
    wanted: Tuple[Wanted, ...]
    # By component: None for a database that was never made inside.
    inside: Mapping[str, Optional[Seen]]
    outside: Mapping[str, str]
    closed: Optional[bool]
    # How far a run came that was killed in the middle.
    interrupted: str = ""

    @property
    def at_target(self) -> bool:
        return all(self.arrived.values())

    @property
    def pending(self) -> Tuple[Relocation, ...]:
        return tuple(entry for entry in self.moves if not self.arrived[entry.role])


class DatabaseControl:
    """Moves the platform's database out of the cluster, and keeps it there."""

    recommendation = RECOMMENDATION
    arguments: Dict[str, Any] = {
        "server": {"type": "str", "required": True},
        "port": {"type": "int", "default": 5432},
        "name": {"type": "str"},
        "names": {"type": "dict"},
        "replica_server": {"type": "str"},
        "role": {"type": "str"},
        "role_password": {"type": "str", "no_log": True},
        "role_password_file": {"type": "path", "no_log": False},
        "sslmode": {"type": "str", "choices": list(SSL_MODES), "default": "prefer"},
        "ca_file": {"type": "path"},
        "ca_certificates": {"type": "str"},
        "admin_role": {"type": "str"},
        "admin_password": {"type": "str", "no_log": True},
        "admin_password_file": {"type": "path", "no_log": False},
        "admin_database": {"type": "str", "default": "postgres"},
        "connections": {"type": "int"},
        "old_database": {"type": "str", "choices": ["read_only", "keep"], "default": "read_only"},
        "freeze_timeout": {"type": "int", "default": 3600},
        "guard": {"type": "bool", "default": True},
        "client_folder": {"type": "path"},
        "work_folder": {"type": "path", "default": "~/.cache/paas.hardening/database"},
    }

    def __init__(self) -> None:
        self._move: Optional[DatabaseMove] = None

    def observe(self, site: Site, params: Mapping[str, Any]) -> Observed:
        facts = site.platform.database
        settings = _settings(site, facts)
        secret = settings.secrets.get(facts.bundled_secret)
        moves = relocations(site, {**params, "ca_file": authority_file(params)}, facts, settings, secret)
        wanted = tuple(wanted_settings(facts, facts.way, fields_of(params, facts, moves), settings))
        there = arrived(facts, settings, wanted, moves)
        bundled = settings.workloads.get((facts.bundled.kind, facts.bundled.name))
        move = self._move = self._move or DatabaseMove(site, params, facts, moves, secret)
        broken_off = move.stages.left_behind()
        if broken_off:
            return Observed(moves, settings, dict.fromkeys(there, False), wanted, {}, {}, None, broken_off)
        if all(there.values()):
            if not all(entry.holds for entry in wanted):
                move.try_credentials()
            closed = move.is_closed(bundled) if params["old_database"] == "read_only" else None
            return Observed(moves, settings, there, wanted, {}, {}, closed)
        if bundled is None:
            raise Refused(
                f"The bundled database {facts.bundled.name} is not there, but the platform still uses it.",
                "Bring it back first (helm rollback).",
                subject=facts.bundled.name,
            )
        move.stages.check_rights()
        if not any(there.values()):
            move.stages.adopt([document for document in settings.workloads.values() if frozen_replicas(document) is not None])
        waiting = [entry for entry in moves if not there[entry.role]]
        move.take_up([entry.role for entry in waiting], [entry.role for entry in waiting if begun(facts, settings, entry)])
        inside, outside = move.look_inside(bundled), move.look_outside()
        move.check_connections(settings)
        return Observed(moves, settings, there, wanted, inside, outside, False)

    def wanted(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
        if observed.interrupted:
            return [interrupted(observed.interrupted)]
        facts = platform.database
        writers = _writers(facts, observed.settings)
        wanted: List[Wanted] = []
        if not observed.at_target:
            for entry in observed.pending:
                why = "the role and the database have to be there"
                empty = f"empty, owned by {entry.target.user}"
                wanted.append(Wanted(_document(entry), ("state",), empty, why, stage=PREPARE, step=True, standing=observed.outside.get(entry.role, "missing")))
            for document in writers:
                wanted += freeze(document, "nothing may be written while the rows move")
            why = "takes the place of the database in the cluster"
            for entry in observed.pending:
                held = observed.inside.get(entry.role)
                if held is not None:
                    proved = f"{held.tables} tables, {held.bytes} bytes, proved row by row"
                    wanted.append(Wanted(_document(entry), ("content",), proved, why, stage=MOVE, step=True, standing="nothing"))
        wanted += observed.wanted
        for document in writers:
            if not observed.at_target or frozen_replicas(document) is not None:
                wanted += thaw(document, "the platform uses the new database")
        return wanted + _cleared(facts, observed) + _closed(facts, params, observed)

    @property
    def _at_work(self) -> DatabaseMove:
        if self._move is None:
            raise RuntimeError("nothing was observed yet")
        return self._move

    def carry_out(self, site: Site, params: Mapping[str, Any], plan: Plan) -> None:
        if plan.changes[0].stage == TAKE_BACK:
            facts = site.platform.database
            self._at_work.take_over(site.objects.get(KINDS[facts.bundled.kind], facts.bundled.name, site.namespace))
            # What it saw was half a move.
            self._move = None
        else:
            self._at_work.carry_out(plan)

    def take_back(self) -> str:
        return self._move.take_back() if self._move else ""

    def against(self, params: Mapping[str, Any]) -> str:
        return ""

    def workloads(self, observed: Observed) -> Sequence[Mapping[str, Any]]:
        names = {entry.document["metadata"]["name"] for entry in observed.wanted if entry.document["kind"] in ("Deployment", "StatefulSet")}
        documents = [document for (_kind, name), document in sorted(observed.settings.workloads.items()) if name in names]
        return [document for document in documents if frozen_replicas(document) is None]

    def unsettled(self, params: Mapping[str, Any], observed: Observed) -> str:
        return ""

    def probe(self, site: Site, params: Mapping[str, Any], observed: Observed) -> Proof:
        return Proof(tuple(self._at_work.checks(observed.settings, observed.at_target)))

    def describe(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> Tuple[str, str, str]:
        address = observed.moves[0].target.address
        subject = f"{'databases' if len(observed.moves) > 1 else 'database'} of {platform.title}"
        away = [entry.role for entry in observed.pending] if any(observed.arrived.values()) else []
        seen = f"{', '.join(away)} {'use' if len(away) > 1 else 'uses'} the bundled database" if away else "the platform uses the bundled database"
        place = f"the platform uses {address}"
        return subject, place, place if observed.at_target else seen

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Finding]:
        facts, findings = platform.database, []
        if not observed.at_target:
            return []
        job = facts.backups
        if job is not None and (job.kind, job.name) in observed.settings.workloads:
            findings.append(
                RECOMMENDATION.beside(
                    "backups",
                    "The platform's own backups are of the database in use",
                    "high",
                    FAIL,
                    f"{job.kind} {job.name}",
                    "backups of the server outside",
                    "dumps of the bundled database, which nothing uses any more",
                    "Let the server outside make backups, then suspend the job or turn it off in the chart's values.",
                    "A backup that is made every night and holds nothing new looks like one that could be restored.",
                )
            )
        for component in present(facts, observed.settings):
            if not component.secret and not facts.secret:
                findings.append(
                    RECOMMENDATION.beside(
                        f"{component.role}-password",
                        "A limit of the chart",
                        "low",
                        PASS,
                        f"{component.workloads[0].kind} {component.workloads[0].name}",
                        "it is known",
                        "it applies",
                        "Grant the reading of workloads in that namespace to nobody who may not know it.",
                        f"The chart has no Secret for the URL of {component.role}: its password stands in the pod template.",
                    )
                )
        return findings


def _settings(site: Site, facts: Database) -> Settings:
    """Read every workload that knows the database, and each Secret by its name. The bundled one and its Secret may be gone."""
    known = [entry for user in facts.users for entry in (*user.workloads, *user.once)]
    known += [facts.bundled, *([facts.backups] if facts.backups else [])]
    workloads: Dict[Tuple[str, str], Mapping[str, Any]] = {}
    for kind in sorted({entry.kind for entry in known}):
        names = {entry.name for entry in known if entry.kind == kind}
        for document in site.objects.list(KINDS[kind], namespace=site.namespace):
            if document["metadata"]["name"] in names:
                workloads[kind, document["metadata"]["name"]] = document
    secrets = secrets_of(facts, lambda name: site.objects.find(KINDS["Secret"], name, site.namespace))
    if facts.bundled_secret not in secrets:
        bundled = site.objects.find(KINDS["Secret"], facts.bundled_secret, site.namespace)
        secrets.update({facts.bundled_secret: bundled} if bundled else {})
    return Settings(workloads, secrets)


def _writers(facts: Database, settings: Settings) -> List[Mapping[str, Any]]:
    """Return what has to stand still. What runs by the clock need not: the bundled database lets nobody in while its rows move."""
    return [workload_of(settings, entry) for user in present(facts, settings) if user.writes for entry in user.workloads if entry.kind != "CronJob"]


def _document(entry: Relocation) -> Mapping[str, Any]:
    return {"apiVersion": "", "kind": "Database", "metadata": {"name": entry.place}}


def _cleared(facts: Database, observed: Observed) -> List[Wanted]:
    """Jobs that are over and name the bundled database: a Job cannot be changed, so the first upgrade that states the new one would stop at it."""
    wanted = []
    for entry in (job for user in facts.users for job in user.once):
        job = observed.settings.workloads.get((entry.kind, entry.name))
        if job is None or "helm.sh/hook" in (job["metadata"].get("annotations") or {}) or not remembers(facts, job):
            continue
        if not observed.at_target and (job.get("status") or {}).get("active"):
            raise Refused(f"Job {entry.name} is running: it changes the database.", "Wait until it is through.", subject=entry.name)
        wanted.append(Wanted(job, (), ABSENT, "it names the old database and cannot be changed: an upgrade would stop at it", stage=CLEAR, step=True))
    return wanted


def _closed(facts: Database, params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
    if params["old_database"] != "read_only" or observed.closed is not False:
        return []
    old = {"apiVersion": "", "kind": "Database", "metadata": {"name": facts.bundled.name}}
    why = "nobody may go on with rows that are no longer the truth"
    return [Wanted(old, ("writers",), "none: read-only", why, stage=CLOSE, step=True, standing="open")]


CONTROL = DatabaseControl()
