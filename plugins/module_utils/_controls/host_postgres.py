# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server is what its inventory says: on a disk of its own, by TLS only, for those who need it, with roles that can do no more than they must."""

from __future__ import annotations

import datetime
import time
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls import host_postgres_rejoin
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_plan import (
    ACCESS,
    REPLICATION,
    ROLES,
    SERVER,
    SETTINGS,
    TLS,
    Observed,
    Planner,
    refusal_of,
    wanted_settings,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner, HostServer, Writer
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotProven, RolloutFailed
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, disk, families
from ansible_collections.paas.hardening.plugins.module_utils._host.addresses import require_own
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import (
    access,
    accounts,
    cluster,
    former,
    handshake,
    layout,
    live,
    repository,
    rewind,
    settings,
    standby,
    tuning,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import Database, literal
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.wishes import AHEAD, ARGUMENTS, secrets_of, wish_of

SOURCE = Source(
    "OpenG2P, Production Deployment",
    "Standalone PostgreSQL",
    "separate machine, primary/standby, backups critical, DBA decides tuning",
)
_AREAS = (SERVER, TLS, SETTINGS, ACCESS, ROLES, REPLICATION)
# Nobody has this name: a server that does not refuse it for want of a line lets in strangers.
STRANGER = "paas_hardening_stranger"
# Seconds: an answer of the server, and until a standby follows.
_PATIENCE = 5.0
_FOLLOWS = 90.0
_PAUSE = 0.2
# Of a large server, which has much to write.
_CHECKPOINT = 1800.0


def begin(params: Mapping[str, Any]) -> Postgres:
    """Begin the work of the verb. Raises Invalid."""
    return Ahead(params) if params["step"] == AHEAD else Postgres(params)


class Postgres(HostServer[Observed]):
    """The server of the host that we are on."""

    main = SERVER
    source = SOURCE

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._wish = wish_of(params)
        self._settings_before: Optional[str] = None
        self._settings_written = False
        self._replaced = False

    # Looking

    def _look(self) -> Observed:
        wish = self._wish
        place = layout.chosen(wish.version, cluster.majors(), families.release())
        for address in wish.addresses:
            require_own(address, "addresses", "postgres_server_addresses")
        storage = disk.look(layout.DATA, wish.data_disk)
        if storage is not None and not storage.mounted:
            disk.refuse(storage)
        more = [disk.PROGRAMS[wish.data_filesystem]] if storage is not None and storage.empty else []
        seen = cluster.look(place, more, [wish.tls.certificate, wish.tls.key])
        derived = tuning.derived(tuning.measured(disk.size_of(layout.DATA, storage)), wish.connections)
        names = [*wanted_settings(wish, place, derived, None, seen.control), *settings.FLOORS]
        running = live.look(place, names, [one.name for one in wish.databases]) if seen.has_data and not seen.missing else None
        found = self._former(place, seen, running is not None)
        lacking = tuple(standby.secrets_differ(wish.primary)) if wish.primary else ()
        moment = datetime.datetime.now(datetime.timezone.utc)
        packages = repository.look(wish.repository, families.release(), place) if wish.repository else None
        return Observed(place, storage, seen, certificates.look(wish.tls), running, derived, lacking, moment, found, packages)

    def _former(self, place: layout.Layout, seen: cluster.Seen, runs: bool) -> Optional[former.Former]:
        """Look at the data of a former primary, when there is some and its primary told its own past."""
        past = self._wish.primary.past if self._wish.primary else None
        return former.look(place, seen.control, past) if past and host_postgres_rejoin.is_candidate(seen, runs) else None

    def _require(self, observed: Observed) -> None:
        refusal = refusal_of(self._wish, observed)
        if refusal:
            raise refusal

    def _planned(self, observed: Observed) -> Tuple[AreaPlanner, Plan]:
        planner = Planner(self._wish, observed)
        return planner, planner.plan(observed)

    def _subject(self) -> str:
        return f"PostgreSQL on {self._wish.names[0]}"

    # Doing

    def _writers(self) -> Mapping[str, Writer[Observed]]:
        return {
            "Packages": self._apply_packages,
            "Repository": self._apply_repository,
            "File": self._apply_file,
            "Disk": self._apply_disk,
            "Mount": self._apply_mount,
            "Cluster": self._apply_cluster,
            "Authority": self._apply_authority,
            "Certificate": self._apply_certificate,
            "Private part": self._apply_key,
            "Settings": self._apply_settings,
            "Unit": self._apply_unit,
            "Role": self._apply_role,
            "Database": self._apply_database,
            "Slot": self._apply_slot,
        }

    def _apply_packages(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        cluster.install([change.field for change in changes])

    def _apply_repository(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        if self._wish.repository:
            repository.write(self._wish.repository, ref.name, families.release(), observed.place)

    def _apply_file(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        place, fields = observed.place, [change.field for change in changes]
        if ref.name == layout.DROP_IN:
            cluster.write_drop_in()
        elif ref.name in (standby.PASSWORD_FILE, standby.AUTHORITY_FILE) and self._wish.primary:
            standby.write_secrets(self._wish.primary)
        elif ref.name == place.access_file:
            cluster.write_access(place, access.render(self._wish.entries))
        else:
            numbers = [int(field.partition(" ")[2]) for field in fields if field.startswith("line ")]
            cluster.comment_out(ref.name, numbers)
            if "include_dir" in fields:
                cluster.include_folder(place)

    def _apply_disk(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        disk.make_on(layout.DATA, self._wish.data_disk, self._wish.data_filesystem)

    def _apply_mount(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        disk.mount(layout.DATA, self._wish.data_disk)

    def _apply_cluster(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        place, primary, after = observed.place, self._wish.primary, {change.field: change.after for change in changes}
        if primary is None:
            self._make(place, observed.cluster.exists)
        elif not observed.cluster.exists:
            standby.copy(place, primary)
        elif "former data" in after:
            standby.replace(place, primary, str(after["former data"]))
        elif "data" in after:
            standby.put(place)
        elif "rewound" in after and observed.former:
            rewind.run(place, primary, observed.former)
        else:
            standby.signal(place.signal_file)
        self._replaced = primary is not None

    def _make(self, place: layout.Layout, exists: bool) -> None:
        if exists:
            Database(place).run("CHECKPOINT;\n", _CHECKPOINT)
        else:
            cluster.create(place)

    def _apply_authority(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        certificates.make_authority(self._wish.tls, self._wish.names[0])

    def _apply_certificate(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        certificates.make_certificate(self._wish.tls, self._wish.names)

    def _apply_key(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        certificates.guard_key(ref.name, layout.ACCOUNT if ref.name == self._wish.tls.key else "root")

    def _apply_settings(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        place, seen = observed.place, observed.cluster
        control = seen.control if seen.exists and not self._replaced else cluster.look(place).control
        wanted = wanted_settings(self._wish, place, observed.derived, observed.live, control)
        self._settings_before, self._settings_written = seen.settings.text, True
        if observed.live is not None:
            differ = settings.differences(wanted, place, seen.include_number, observed.live, self._wish.may_restart)
            for name in differ.forget:
                Database(place).run(f"ALTER SYSTEM RESET {name};\n")
        cluster.write_settings(place, settings.render(wanted))

    def _apply_unit(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        place, fields = observed.place, [change.field for change in changes]
        if "at boot" in fields:
            cluster.let_start(place)
        if "running" in fields:
            cluster.start(place)
        elif "restarted" in fields:
            self._restart(place)
        elif "reloaded" in fields:
            cluster.reload(place)

    def _restart(self, place: layout.Layout) -> None:
        """Restart the server; when it does not come back with the new settings, it comes back with the old ones."""
        try:
            cluster.start(place, "restart")
        except RolloutFailed as failure:
            if self._settings_written:
                cluster.put_back(place, self._settings_before)
            cluster.start(place)
            failure.hint = f"It runs again, with the settings that it had. {failure.hint}"
            raise

    def _apply_role(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        known = observed.live.accounts if observed.live else {}
        for role in self._wish.roles:
            if role.name == ref.name:
                Database(observed.place).change(accounts.role_statements(role, known.get(role.name)))

    def _apply_database(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        for wanted in self._wish.databases:
            if wanted.name == ref.name:
                if observed.live is None or wanted.name not in observed.live.databases:
                    Database(observed.place).run(f"{accounts.create_statement(wanted)};\n")
                now = live.look(observed.place, (), [wanted.name])
                there = now.databases.get(wanted.name) if now else None
                if there is not None:
                    Database(observed.place).change(accounts.right_statements(wanted, there))
                    Database(observed.place, wanted.name).change(accounts.inner_statements(wanted, there))

    def _apply_slot(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        if changes[0].after is ABSENT:
            Database(observed.place).run(f"SELECT pg_drop_replication_slot({literal(ref.name)});\n")
            return
        # It keeps the log from now on, so that the copy that is made next can follow.
        Database(observed.place).run(f"SELECT pg_create_physical_replication_slot({literal(ref.name)}, true);\n")

    def settle(self, observed: Optional[Observed], plan: Plan) -> float:
        """Wait until a standby follows. Raises RolloutFailed when it does not."""
        if observed is None or not plan or not self._wish.primary:
            return 0.0
        begun = time.monotonic()
        while not _follows(observed.place):
            if time.monotonic() - begun > _FOLLOWS:
                hint = f"Its log says why: /var/log/postgresql/postgresql-{observed.place.major}-{layout.NAME}.log"
                raise RolloutFailed(f"The standby does not follow {self._wish.primary.name}.", hint, observed.place.unit)
            time.sleep(_PAUSE)
        return time.monotonic() - begun

    # Telling

    def conclude(self, first: Optional[Observed], last: Optional[Observed], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Knock at the server, and put the result together. Raises NotProven when it is not seen from outside what was made."""
        server = self._server(last)
        seen = last is not None and last.live is not None and not self._refusal
        knocked = self._knocked(server) if seen else ()
        followed = self._followed() if seen else ()
        proof = Proof(knocked + followed)
        if enforced and not self._refusal and proof.verdict != PASS:
            raise NotProven(f"The configuration is right, but the effect is not seen: {proof}.", "Look at the server's log.", subject=server["name"])
        # Roles come to a standby from its primary; a server by itself has nothing to do with replication, unless something of it is left over.
        remarked = {remark.area for remark in self._remarks}
        left_out = [*([ROLES] if self._wish.primary else []), *([] if self._wish.replicated or REPLICATION in remarked else [REPLICATION])]
        proofs = {TLS: Proof(knocked), ACCESS: Proof(knocked), REPLICATION: Proof(followed)}
        silent = (ROLES, REPLICATION) if last is not None and last.silent else ()
        findings = [self._finding(area, plan, proofs.get(area, Proof()), enforced, area in silent) for area in _AREAS if area not in left_out]
        told: Dict[str, Any] = {"findings": [finding.as_data() for finding in findings], "server": server, "warnings": self._warnings()}
        if seen and last is not None and last.live is not None and last.live.timeline:
            told["past"] = former.past_of_files(last.place, last.cluster.control, last.live.timeline).as_data()
        return told

    def _server(self, observed: Optional[Observed]) -> Dict[str, Any]:
        """Return what clients, and a standby, have to know."""
        return {
            "name": self._wish.names[0],
            "address": self._wish.addresses[0],
            "port": layout.PORT,
            "authority": (observed.tls.authority or "") if observed else "",
            "access": [entry._asdict() for entry in self._wish.entries],
            "standby": bool(self._wish.primary),
            "version": observed.live.version if observed and observed.live else "",
        }

    def _knocked(self, server: Mapping[str, Any]) -> Tuple[Check, ...]:
        """Come as somebody whom nobody named, with TLS and without."""
        checks = []
        for address in self._wish.addresses:
            door = handshake.Door(server["name"], address, server["port"], server["authority"])
            for encrypted, what in ((True, "log-in of a stranger, by TLS as verify-full does it"), (False, "log-in of a stranger, without TLS")):
                answer = handshake.knock(door, STRANGER, "postgres", encrypted, _PATIENCE)
                verdict = PASS if answer.kind == handshake.REFUSED else FAIL
                checks.append(Check(f"{what}, at {address}", handshake.REFUSED, str(answer), verdict))
        return tuple(checks)

    def _followed(self) -> Tuple[Check, ...]:
        """See whether a standby follows."""
        if not self._wish.primary or not self._seen:
            return ()
        follows = _follows(self._seen.place)
        return (Check("the standby's receiver", "streaming", "streaming" if follows else "not streaming", PASS if follows else FAIL),)


class Ahead(Postgres):
    """What a standby has to have before its primary gets more: where it has less, it would stop to follow."""

    def plan(self, observed: Optional[Observed]) -> Plan:
        self._seen = observed
        if observed is None or observed.live is None or not observed.live.recovery or not self._wish.may_restart:
            return Plan()
        place, running = observed.place, observed.live.settings
        wanted = wanted_settings(self._wish, place, observed.derived, observed.live, observed.cluster.control)
        more = {name: wanted[name] for name in settings.FLOORS if name in wanted and name in running and int(wanted[name]) > int(running[name].value)}
        why = "before its primary gets more"
        changes = [Change(Ref("", "Settings", place.settings_file), (name,), running[name].value, value, why) for name, value in more.items()]
        if changes:
            unit = Ref("", "Unit", place.unit)
            changes.append(Change(unit, ("restarted",), f"runs with other values of {', '.join(more)}", "restarted", "these need it"))
        return Plan(tuple(changes))

    def _apply_settings(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        ours = [entry for entry in (observed.live.lines if observed.live else ()) if entry.file == observed.place.settings_file]
        text = settings.render({**{entry.name: entry.value for entry in ours}, **{change.field: str(change.after) for change in changes}})
        self._settings_before, self._settings_written = observed.cluster.settings.text, True
        cluster.write_settings(observed.place, text)

    def settle(self, observed: Optional[Observed], plan: Plan) -> float:
        return 0.0

    def conclude(self, first: Optional[Observed], last: Optional[Observed], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Tell whether there is the data of a former primary, which is to be rewound if it is named."""
        return {"findings": [], "former": bool(last and host_postgres_rejoin.is_candidate(last.cluster, last.live is not None))}


def _follows(place: layout.Layout) -> bool:
    try:
        return bool(Database(place).ask("SELECT json_build_array(EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'));\n")[0])
    except Failure:
        return False


VERB = Verb(ARGUMENTS, begin, secrets_of)
