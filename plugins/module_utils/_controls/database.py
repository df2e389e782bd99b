# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database is outside of the cluster: what the bundled one holds is moved to another server, proved there row by row, and only then used."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, configured, text_in, wanted_settings, workload_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import read_file
from ansible_collections.paas.hardening.plugins.module_utils._controls.database_move import CLOSE, MOVE, PREPARE, DatabaseMove
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import freeze, frozen_replicas, thaw
from ansible_collections.paas.hardening.plugins.module_utils._controls.stages import TAKE_BACK, interrupted
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import Database as Seen
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import SSL_MODES, Server
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
    """The settings, the server that is wanted, the bundled database, and what there is to move while the platform still uses it."""

    target: Server
    settings: Settings
    at_target: bool
    wanted: Tuple[Wanted, ...]
    inside: Optional[Seen]
    outside: str
    closed: Optional[bool]
    # How far a run came that was killed in the middle.
    interrupted: str = ""


class DatabaseControl:
    """Moves the platform's database out of the cluster, and keeps it there."""

    recommendation = RECOMMENDATION
    arguments: Dict[str, Any] = {
        "server": {"type": "str", "required": True},
        "port": {"type": "int", "default": 5432},
        "name": {"type": "str"},
        "role": {"type": "str"},
        "role_password": {"type": "str", "no_log": True},
        "role_password_file": {"type": "path", "no_log": False},
        "sslmode": {"type": "str", "choices": list(SSL_MODES), "default": "prefer"},
        "ca_file": {"type": "path"},
        "admin_role": {"type": "str"},
        "admin_password": {"type": "str", "no_log": True},
        "admin_password_file": {"type": "path", "no_log": False},
        "admin_database": {"type": "str", "default": "postgres"},
        "old_database": {"type": "str", "choices": ["read_only", "keep"], "default": "read_only"},
        "freeze_timeout": {"type": "int", "default": 3600},
        "guard": {"type": "bool", "default": True},
        "client_folder": {"type": "path"},
        "work_folder": {"type": "path", "default": "~/.cache/paas.hardening/database"},
    }

    def __init__(self) -> None:
        self._move: Optional[DatabaseMove] = None

    def observe(self, site: Site, params: Mapping[str, Any]) -> Observed:
        facts = _facts(site)
        settings = _settings(site, facts)
        secret = settings.secrets[facts.secret]
        user, password = text_in(secret, facts.user_key) or "", text_in(secret, facts.password_key) or ""
        # The bundled database is called like its role; of one outside the Secret tells the name.
        target = _target(params, user, password, text_in(secret, facts.name_key) or user)
        fields = {"host": target.host, "port": str(target.port), "name": target.database, "user": target.user, "password": target.password}
        if target.sslmode != "prefer":
            fields["sslmode"] = _for_pods(target.sslmode)
        wanted = wanted_settings(facts, facts.way, fields, settings)
        at_target = all(configured(facts, wanted).values())
        bundled = settings.workloads.get((facts.bundled.kind, facts.bundled.name))
        move = self._move = self._move or DatabaseMove(site, params, facts, target, secret)
        broken_off = move.stages.left_behind()
        if broken_off:
            return Observed(target, settings, False, tuple(wanted), None, "", None, broken_off)
        if at_target:
            if not all(entry.holds for entry in wanted):
                move.try_credentials()
            return Observed(target, settings, True, tuple(wanted), None, "in use", move.is_closed(bundled) if params["old_database"] == "read_only" else None)
        if bundled is None:
            raise Refused(
                f"The bundled database {facts.bundled.name} is not there, but the platform still uses it.",
                "Bring it back first (helm rollback).",
                subject=facts.bundled.name,
            )
        move.stages.check_rights()
        move.stages.adopt([document for document in settings.workloads.values() if frozen_replicas(document) is not None])
        return Observed(target, settings, False, tuple(wanted), move.look_inside(bundled), move.look_outside(), False)

    def wanted(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
        facts = platform.database
        if facts is None:
            return []
        if observed.interrupted:
            return [interrupted(observed.interrupted)]
        writers = [workload_of(observed.settings, workload) for user in facts.users for workload in user.workloads]
        place = {"apiVersion": "", "kind": "Database", "metadata": {"name": f"{observed.target.address}/{observed.target.database}"}}
        wanted: List[Wanted] = []
        if not observed.at_target and observed.inside is not None:
            held = f"{observed.inside.tables} tables, {observed.inside.bytes} bytes"
            why = "the role and the database have to be there"
            wanted.append(Wanted(place, ("state",), f"empty, owned by {observed.target.user}", why, stage=PREPARE, step=True, standing=observed.outside))
            for document in writers:
                wanted += freeze(document, "nothing may be written while the rows move")
            why = "takes the place of the database in the cluster"
            wanted.append(Wanted(place, ("content",), f"{held}, proved row by row", why, stage=MOVE, step=True, standing="nothing"))
        wanted += observed.wanted
        for document in writers:
            if not observed.at_target or frozen_replicas(document) is not None:
                wanted += thaw(document, "the platform uses the new database")
        if params["old_database"] == "read_only" and observed.closed is False:
            old = {"apiVersion": "", "kind": "Database", "metadata": {"name": facts.bundled.name}}
            why = "nobody may go on with rows that are no longer the truth"
            wanted.append(Wanted(old, ("writers",), "none: read-only", why, stage=CLOSE, step=True, standing="open"))
        return wanted

    @property
    def _at_work(self) -> DatabaseMove:
        if self._move is None:
            raise RuntimeError("nothing was observed yet")
        return self._move

    def carry_out(self, site: Site, params: Mapping[str, Any], plan: Plan) -> None:
        if plan.changes[0].stage == TAKE_BACK:
            facts = _facts(site)
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
        names = {entry.document["metadata"]["name"] for entry in observed.wanted if entry.document["kind"] != "Secret"}
        documents = [document for (_kind, name), document in sorted(observed.settings.workloads.items()) if name in names]
        return [document for document in documents if frozen_replicas(document) is None]

    def unsettled(self, params: Mapping[str, Any], observed: Observed) -> str:
        return ""

    def probe(self, site: Site, params: Mapping[str, Any], observed: Observed) -> Proof:
        return Proof(tuple(self._at_work.checks(observed.settings, observed.at_target)))

    def describe(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> Tuple[str, str, str]:
        place = f"the platform uses {observed.target.address}"
        return f"database of {platform.title}", place, place if observed.at_target else "the platform uses the bundled database"

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Finding]:
        return []


def _facts(site: Site) -> Database:
    facts = site.platform.database
    if facts is None:
        raise Invalid(
            f"The database of {site.platform.title} cannot be moved yet: it has one for each component.",
            "Move it by hand: dump and restore each, then set databaseUrl of every component in the chart's values.",
            subject="platform",
        )
    return facts


def _settings(site: Site, facts: Database) -> Settings:
    workloads = {}
    for workload in (*(entry for user in facts.users for entry in user.workloads), facts.bundled):
        document = site.objects.find(KINDS[workload.kind], workload.name, site.namespace)
        if document is not None:
            workloads[workload.kind, workload.name] = document
    return Settings(workloads, {facts.secret: site.objects.get(KINDS["Secret"], facts.secret, site.namespace)})


def _target(params: Mapping[str, Any], user: str, password: str, name: str) -> Server:
    """Return the server that the options describe; what they do not say of role and database is as it is now."""
    given = read_file(params, "role_password")
    role = params.get("role") or user
    if role != user and not given:
        raise Invalid(f"role is {role}, but no password is given.", "Give role_password or role_password_file.", subject="role_password")
    return Server(params["server"], role, params.get("name") or name, given or password, params["port"], params["sslmode"], params.get("ca_file") or "")


def _for_pods(sslmode: str) -> str:
    """Return the mode for the platform's own driver, whose pods have no certificate to verify with."""
    return "require" if sslmode.startswith("verify") else sslmode


CONTROL = DatabaseControl()
