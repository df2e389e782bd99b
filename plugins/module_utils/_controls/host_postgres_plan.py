# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change on a host so that its PostgreSQL is what the inventory says, and what is wrong but left to a person. Pure."""

from __future__ import annotations

import datetime
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls import host_postgres_rejoin
from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_ground import Renewal, certificate_changes, disk_changes
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, disk, files
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import (
    access,
    accounts,
    cluster,
    former,
    layout,
    live,
    repository,
    settings,
    standby,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import literal
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.wishes import COPY, Wish

SERVER = Area("host-postgres-server", "PostgreSQL runs as one pinned cluster with checksums, on a disk of its own", "high")
TLS = Area("host-postgres-tls", "The server's certificate is valid, and its private part is the server's alone", "high")
SETTINGS = Area("host-postgres-settings", "Settings are as wanted: in the files, in force, and by nothing overridden", "high")
ACCESS = Area("host-postgres-access", "Each database is open to named roles from named networks, by TLS and SCRAM only", "critical")
ROLES = Area("host-postgres-roles", "Roles have no right that they do not need", "high")
REPLICATION = Area("host-postgres-replication", "Standbys follow by slots that cannot fill the primary's disk", "high")


class Observed(NamedTuple):
    """Everything that was seen."""

    place: layout.Layout
    disk: Optional[disk.Seen]
    cluster: cluster.Seen
    tls: certificates.Seen
    live: Optional[live.Live]
    derived: Mapping[str, str]
    lacking: Tuple[str, ...]
    moment: datetime.datetime
    former: Optional[former.Former] = None
    repository: Optional[repository.Seen] = None

    @property
    def silent(self) -> bool:
        """There is a server, but it does not answer."""
        return self.live is None and self.cluster.exists


def refusal_of(wish: Wish, observed: Observed) -> Optional[Refused]:
    """Return why nothing may be done on this host, or None."""
    seen, running, place = observed.cluster, observed.live, observed.place
    later = observed.disk is not None and not observed.disk.mounted
    if seen.exists and not seen.has_data and not later and not seen.missing and not (seen.incoming and wish.primary):
        hint = f"Is its disk away? If the data is gone for good: pg_dropcluster {place.major} {layout.NAME}, run again, and restore a backup."
        return Refused(f"The cluster {place.major}/{layout.NAME} has its configuration, but no data in {place.data}.", hint, place.data)
    if seen.has_data and not seen.exists:
        hint = f"If the data is wanted: pg_createcluster {place.major} {layout.NAME}. If not, move it away."
        return Refused(f"There is data in {place.data}, but no configuration for it.", hint, place.data)
    if seen.signal and not wish.primary:
        hint = "Promote it, after the former primary was fenced, or name the primary (postgres_server_primary)."
        return Refused("This host is a standby, and is wanted as a primary.", hint, "primary")
    if running and not running.recovery and wish.primary:
        hint = f"Is {wish.primary.name} the primary? Then stop this one (systemctl stop {place.unit}), and run again: that tells what is on no other host."
        return Refused(f"This host is a primary of its own, and is wanted as a standby of {wish.primary.name}.", hint, "primary")
    return host_postgres_rejoin.refusal(wish, seen, observed.former, place) if seen.exists and seen.has_data and not running else None


def wanted_settings(wish: Wish, place: layout.Layout, derived: Mapping[str, str], running: Optional[live.Live], control: Mapping[str, str]) -> Dict[str, str]:
    """Return every setting that the server has to have."""
    wanted = settings.fixed(place, wish.addresses, wish.tls.certificate, wish.tls.key, wish.connections)
    wanted.update(derived)
    wanted.update(wish.settings)
    wanted = settings.adjusted(wanted, derived, place.settings_file, running)
    return settings.raised(wanted, control) if wish.primary else wanted


class Planner(AreaPlanner):
    """Plans from one observation."""

    def __init__(self, wish: Wish, observed: Observed) -> None:
        super().__init__()
        self._wish = wish
        self._wanted = wanted_settings(wish, observed.place, observed.derived, observed.live, observed.cluster.control)

    def plan(self, observed: Observed) -> Plan:
        """Return what has to change, in the order in which it can."""
        groups = [
            (SERVER, self._ground(observed)),
            (REPLICATION, self._secrets(observed)),
            (SERVER, self._cluster(observed)),
            (TLS, self._certificates(observed)),
            (SETTINGS, self._settings(observed)),
            (ACCESS, self._access(observed)),
        ]
        changes = [change for _area, found in groups for change in found]
        groups.append((SERVER, self._process(observed, changes)))
        if not observed.silent:
            groups.append((ROLES, self._accounts(observed)))
            groups.append((REPLICATION, self._slots(observed)))
        elif observed.former and self._wish.rejoin_by != COPY and not (observed.former.fork and observed.former.fork.lost):
            groups.append((REPLICATION, self._unneeded([name for name in self._wish.former if name in observed.former.slots])))
        return self._plan_of(groups)

    def _ground(self, observed: Observed) -> List[Change]:
        """Packages, and the disk."""
        seen, found = observed.cluster, self._repository(observed)
        for package in seen.missing:
            found.append(Change(Ref("", "Packages", observed.place.package), (package,), ABSENT, "installed", "the server, and what makes its file system"))
        if seen.drop_in != layout.DROP_IN_TEXT:
            before = ABSENT if seen.drop_in is None else "another text"
            found.append(
                Change(Ref("", "File", layout.DROP_IN), ("content",), before, "no cluster comes with a package", "a package makes a cluster by itself")
            )
        return found + (disk_changes(observed.disk, self._wish.data_filesystem) if observed.disk is not None else [])

    def _repository(self, observed: Observed) -> List[Change]:
        """Where the server's packages come from."""
        wanted, seen = self._wish.repository, observed.repository
        if wanted is None or seen is None:
            return []
        if seen.foreign:
            hint = f"Let apt replace it in a maintenance window: apt-get install {observed.place.package}."
            self._remark(SERVER, f"{observed.place.package} {seen.foreign} is not that of {wanted.url}.", hint)
        found = []
        if seen.key is None:
            name = repository.KEY_PACKAGE
            found.append(Change(Ref("", "Packages", name), (name,), ABSENT, "installed", "it brings the key of the project"))
        for path, after, why in repository.differences(wanted, seen, observed.place):
            found.append(Change(Ref("", "Repository", path), ("content",), "not as wanted", after, why))
        return found

    def _secrets(self, observed: Observed) -> List[Change]:
        return [Change(Ref("", "File", path), ("content",), "not as given", "as given", "what a standby logs in with") for path in observed.lacking]

    def _cluster(self, observed: Observed) -> List[Change]:
        seen, place = observed.cluster, observed.place
        for other in seen.others:
            hint = f"If nobody uses it: pg_dropcluster --stop {other.major} {other.name}. Its data is never touched here."
            self._remark(SERVER, f"There is a second cluster, {other}.", hint)
        if not seen.exists:
            made = f"a copy of {self._wish.primary.name}" if self._wish.primary else "made, with checksums"
            return [Change(Ref("", "Cluster", f"{place.major}/{layout.NAME}"), ("cluster",), ABSENT, made, "there is none")]
        rejoins = host_postgres_rejoin.changes(self._wish, seen, observed.former, place)
        if rejoins:
            return rejoins
        if seen.has_data and seen.control and not seen.checksums:
            hint = f"In a maintenance window: stop it, and run {place.program('pg_checksums')} --enable --pgdata {place.data}."
            self._remark(SERVER, "The cluster has no checksums: damage of a disk goes unseen.", hint)
        return self._checkpoint(observed)

    def _checkpoint(self, observed: Observed) -> List[Change]:
        """A host that is rewound reads in the files of its primary on which timeline that is, and finds it there after a checkpoint only."""
        there = observed.cluster.control.get(former.TIMELINE, "")
        if not observed.live or not self._wish.rewinding or there == str(observed.live.timeline):
            return []
        ref, why = Ref("", "Cluster", f"{observed.place.major}/{layout.NAME}"), "a host that is rewound reads it in the files"
        # Which one is there now changes by itself, as checkpoints in the background end.
        return [Change(ref, ("timeline of the checkpoint",), "an earlier one", str(observed.live.timeline), why)]

    def _certificates(self, observed: Observed) -> List[Change]:
        found, told = certificate_changes(self._wish.tls, observed.tls, Renewal(self._wish.names, self._wish.renew_before, observed.moment))
        for text, hint in told:
            self._remark(TLS, text, hint)
        return found

    def _settings(self, observed: Observed) -> List[Change]:
        seen, place = observed.cluster, observed.place
        wanted = self._wanted
        ours, main = Ref("", "Settings", place.settings_file), Ref("", "File", place.main_file)
        found = [] if seen.included or not seen.exists else [Change(main, ("include_dir",), ABSENT, "conf.d", "our settings are not read without it")]
        if observed.live is None:
            if seen.settings.text is None:
                return found + [Change(ours, (name,), ABSENT, value, "new") for name, value in wanted.items()]
            spoilt = seen.settings.text != settings.render(wanted)
            return found + ([Change(ours, ("content",), "another text", "the settings of the inventory", "changed by hand")] if spoilt else [])
        differ = settings.differences(wanted, place, seen.include_number, observed.live, self._wish.may_restart)
        found += [Change(ours, (name,), before, after, why) for name, before, after, why in differ.fields]
        for entry in differ.lines:
            found.append(Change(Ref("", "File", entry.file), (f"line {entry.number}",), f"{entry.name} = {entry.value}", "a comment", "overrides ours"))
        if not differ.fields and seen.settings.text != settings.render(wanted):
            found.append(Change(ours, ("content",), "another text", "the settings of the inventory", "changed by hand"))
        found += self._guarded(ours, seen.settings, cluster.CONFIG_MODE) + self._guarded(main, seen.main, cluster.CONFIG_MODE)
        for mistake in observed.live.mistakes:
            self._remark(SETTINGS, f"The server does not understand {mistake}.", "It would not start with that: mend it by hand.")
        foreign = [name for name in observed.live.pending if name not in wanted]
        for name in [*differ.waiting, *foreign]:
            self._remark(
                SETTINGS, f"{name} waits for a restart.", "Run with restart: allowed." if name in differ.waiting else "It is not ours: restart it by hand."
            )
        return found

    def _guarded(self, ref: Ref, kept: files.Kept, mode: int) -> List[Change]:
        why = "who can write it rules the server"
        found = [Change(ref, ("mode",), f"{kept.mode:04o}", f"{mode:04o}", why)] if kept.text is not None and kept.mode & ~mode else []
        return found + (
            [Change(ref, ("owner",), kept.owner, layout.ACCOUNT, why)] if kept.text is not None and kept.owner not in (layout.ACCOUNT, "root") else []
        )

    def _access(self, observed: Observed) -> List[Change]:
        ref, seen = Ref("", "File", observed.place.access_file), observed.cluster.access
        wanted = access.lines_of(self._wish.entries)
        if not observed.cluster.exists:
            return [Change(ref, (line,), ABSENT, line, "the inventory says so") for line in wanted]
        differ = access.differences(seen.text or "", wanted)
        found = [Change(ref, (line,), before, after, "no entry says so" if after is ABSENT else "the inventory says so") for line, before, after in differ]
        return found + self._guarded(ref, seen, cluster.ACCESS_MODE)

    def _process(self, observed: Observed, before: Sequence[Change]) -> List[Change]:
        """What becomes of the server's process, from what else changes."""
        seen, place, running = observed.cluster, observed.place, observed.live
        unit, found = Ref("", "Unit", place.unit), []
        if seen.exists and not (seen.start == "auto" and seen.enabled):
            state = f"start.conf says {seen.start}" if seen.start != "auto" else "disabled"
            found.append(Change(unit, ("at boot",), state, "started", "so that it is there after a reboot"))
        if running is None:
            return [*found, Change(unit, ("running",), False, True, "it does not answer")]
        late = settings.differences(self._wanted, place, seen.include_number, running, self._wish.may_restart).restart
        if late:
            return [*found, Change(unit, ("restarted",), f"runs with other values of {', '.join(late)}", "restarted", "these need it")]
        # What is only a matter of modes needs none.
        read = [change for change in before if change.ref.kind in ("Settings", "Certificate", "File") and change.field not in ("mode", "owner")]
        changed = [change for change in read if change.ref.name not in (layout.DROP_IN, standby.PASSWORD_FILE)]
        if changed or seen.newest > running.loaded:
            found.append(Change(unit, ("reloaded",), "has not read its files since they changed", "has read them", "so that it is in force"))
        return found

    def _accounts(self, observed: Observed) -> List[Change]:
        running, wish = observed.live, self._wish
        if wish.primary:
            # They come from the primary.
            return []
        known = running.accounts if running else {}
        there = running.databases if running else {}
        found = []
        for role in wish.roles:
            for field, before, after in accounts.role_differences(role, known.get(role.name)):
                found.append(Change(Ref("", "Role", role.name), (field,), before, after, "no more and no less"))
        for base in wish.databases:
            for field, before, after in accounts.database_differences(base, there.get(base.name)):
                found.append(Change(Ref("", "Database", base.name), (field,), before, after, "no more and no less"))
            place = there.get(base.name)
            if place and place.encoding != base.encoding:
                self._remark(ROLES, f"The database {base.name} is in {place.encoding}, not {base.encoding}.", "Dump it, and restore it into a new one.")
        for text, hint in accounts.strangers(known, wish.roles):
            self._remark(ROLES, text, hint)
        return found

    def _slots(self, observed: Observed) -> List[Change]:
        running, wish = observed.live, self._wish
        there = running.slots if running else {}
        if not wish.primary:
            for name, (kind, active, _state) in sorted(there.items()):
                if kind == "physical" and not active and name not in wish.slots:
                    hint = f"If its standby is gone for good: SELECT pg_drop_replication_slot({literal(name)})."
                    self._remark(REPLICATION, f"The slot {name} keeps the log for nobody.", hint)
        for name, (_kind, _active, state) in sorted(there.items()):
            if state == "lost" and name in wish.slots:
                self._remark(REPLICATION, f"The standby of slot {name} is too far behind.", "Make it anew: drop its cluster and the slot, and run again.")
        # A standby keeps no log for those that it fed when it was the primary.
        former = [name for name in wish.former if name in there and not there[name][1]]
        return self._unneeded(former) + [
            Change(Ref("", "Slot", name), ("slot",), ABSENT, "made", "its standby may be away") for name in wish.slots if name not in there
        ]

    def _unneeded(self, names: Sequence[str]) -> List[Change]:
        return [Change(Ref("", "Slot", name), ("slot",), "inactive", ABSENT, "this is no primary any more") for name in names]
