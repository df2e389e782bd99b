# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change so that a member of etcd, and its cluster, are what the inventory says, and what is wrong but left to a person. Pure."""

from __future__ import annotations

import datetime
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_ground import (
    Renewal,
    account_changes,
    certificate_changes,
    content_changes,
    disk_changes,
    folder_changes,
    guarded_changes,
    program_changes,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, disk, units
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd import access, cluster, places, service
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.wishes import CLUSTER, GROUND, MEMBER, Wish

SERVER = Area("host-etcd-server", "etcd is a known program, under an account of its own", "high")
STORAGE = Area("host-etcd-storage", "The data is on a disk of its own, which nobody else reads, and which writes fast enough", "high")
TLS = Area("host-etcd-tls", "The member's certificate is valid, and its private part is the member's alone", "high")
RUNNING = Area("host-etcd-member", "The member runs as the inventory says, takes clients and peers by certificate only, and is in its cluster", "critical")
UPKEEP = Area("host-etcd-upkeep", "Room that is not used is given back: one member at a time, the leader last", "medium")
QUORUM = Area("host-etcd-quorum", "The members are those of the inventory, and all of them are well", "critical")
ACCESS = Area("host-etcd-access", "Who has a certificate may do no more than he must", "critical")
SPACE = Area("host-etcd-space", "There is room for writes", "high")
AREAS = {GROUND: (SERVER, STORAGE, TLS), MEMBER: (RUNNING, UPKEEP), CLUSTER: (QUORUM, ACCESS, SPACE)}

_MEMBER_UNIT, _TIMER = Ref("", "Unit", places.UNIT), Ref("", "Unit", places.UPKEEP_TIMER)
_UNIT_FILE, _TRUST, _SECRET = (Ref("", "File", path) for path in (places.UNIT_FILE, places.TRUST, places.SECRET))
_WANTED = "as the inventory says"
_JOURNAL = f"Ask: journalctl -u {places.UNIT}"


class Observed(NamedTuple):
    """Everything that was seen. ``wanted_trust`` is None while an authority is still to be made; ``archive`` is the program of the upkeep."""

    seen: service.Seen
    disk: Optional[disk.Seen]
    tls: certificates.Seen
    cluster: Optional[cluster.Cluster]
    wanted_trust: Optional[str]
    archive: bytes
    moment: datetime.datetime

    def bare(self, wish: Wish) -> bool:
        """Nobody has ever been a member of this cluster."""
        return self.cluster is None and not self.seen.data and not any(peer.data for peer in wish.peers)

    def over(self, wish: Wish) -> bool:
        """The data here is of a membership that is over, or is named as lost."""
        if not self.seen.data or self.cluster is None:
            return False
        mine = self.cluster.named(wish.way.name, wish.way.peer_url)
        return mine is None or not mine.name or (wish.way.name in wish.lost and not self.cluster.well(mine))


def refusal_of(wish: Wish, observed: Observed) -> Optional[Refused]:
    """Return why nothing may be done on this host, or None."""
    if wish.step != MEMBER:
        return None
    seen, known, name = observed.seen, observed.cluster, wish.way.name
    if known is None and not seen.data and not any(peer.data for peer in wish.peers):
        absent = [peer.name for peer in wish.peers if not peer.present]
        if absent:
            hint = "A cluster is begun only when it is known that there is none: run the play for all hosts of the group."
            return Refused(f"Whether {', '.join(absent)} has data of a cluster is not known, and nobody answers.", hint, "peers")
    if known is None:
        return None
    if observed.over(wish) and name not in wish.lost:
        hint = f"If that membership is over for good: etcd_server_lost: [{name}]. Its data is then moved aside, and it joins anew."
        return Refused(f"There is data of a member here, and the cluster has no such member {name}.", hint, "lost")
    mine = known.named(name, wish.way.peer_url)
    if not seen.data and mine is not None and mine.name and (name not in wish.lost or known.well(mine)):
        hint = f"If its data is lost for good: etcd_server_lost: [{mine.name}]; then it is removed, and joins anew."
        return Refused(f"The cluster has a member {mine.name} at {wish.way.peer_url}, and its data is not here.", hint, "lost")
    for member in _removable(wish, known):
        why = cluster.forbids_removal(known, member)
        if why:
            return Refused(f"{member.name or member.urls[0]} is not removed: {why}.", "Bring the other members back first.", "lost")
    if mine is not None and known.well(mine) and wish.may_restart and restart_reasons(wish, observed):
        why = cluster.forbids_absence(known, mine.number)
        if why:
            return Refused(f"{name} has to be restarted, and must not be away: {why}.", "Bring the other members back first.", places.UNIT)
    return None


def _removable(wish: Wish, known: cluster.Cluster) -> List[cluster.Member]:
    """Return the members that are named as lost, and are not well. Who is named and is well has come back since: he stays."""
    return [member for member in known.members if wish.lead and member.name in wish.lost and not known.well(member)]


def restart_reasons(wish: Wish, observed: Observed) -> List[str]:
    """Return why the process has to be restarted, now and by what else changes; nothing when it has not."""
    if observed.seen.process is None:
        return []
    reasons = service.stale(wish, observed.seen)
    if observed.seen.unit.text != wish.unit or _trust_differs(observed):
        reasons.append("an older unit, or other authorities")
    return list(dict.fromkeys(reasons))


def _trust_differs(observed: Observed) -> bool:
    return observed.wanted_trust is None or observed.seen.trust.text != observed.wanted_trust


class Planner(AreaPlanner):
    """Plans from one observation."""

    def __init__(self, wish: Wish, observed: Observed) -> None:
        super().__init__()
        self._wish = wish
        self._there = observed
        self._seen = observed.seen

    def plan(self) -> Plan:
        """Return what has to change, in the order in which it can."""
        steps = {GROUND: self._ground, MEMBER: self._member, CLUSTER: self._cluster}
        return self._plan_of(steps[self._wish.step]())

    # This host alone

    def _ground(self) -> List[Tuple[Area, Sequence[Change]]]:
        return [(SERVER, self._program()), (STORAGE, self._storage()), (TLS, self._certificates())]

    def _program(self) -> List[Change]:
        seen, wish, found = self._seen, self._wish, []
        if wish.program is None:
            if not seen.packaged.masked:
                why = "it would begin a cluster of its own"
                found.append(Change(Ref("", "Unit", places.PACKAGED_UNIT), ("masked",), False, True, why))
        else:
            found += program_changes(wish.program.path, wish.program.digest, seen.binary, "member")
            if seen.packaged.active:
                self._remark(
                    SERVER, f"There is another etcd on this host: {places.PACKAGED_UNIT}.", "Stop it if nobody uses it; its data is never touched here."
                )
        for package in seen.missing:
            found.append(Change(Ref("", "Packages", package), (package,), ABSENT, "installed", "for the member, its certificate or its disk"))
        return found + account_changes(places.ACCOUNT, seen.account, "member")

    def _storage(self) -> List[Change]:
        storage, seen = self._there.disk, self._seen
        found = disk_changes(storage, self._wish.filesystem) if storage is not None else []
        late = storage is not None and not storage.mounted
        for path, folder in seen.folders.items():
            if (late and path == places.HOME) or (path == places.DATA and not folder.exists):
                continue
            found += folder_changes(path, places.HOME_MODE, places.ACCOUNT, folder, "who can read it needs no certificate")
        if seen.full >= self._wish.capacity:
            self._remark(STORAGE, f"{places.HOME} is full by {seen.full} %.", "Give the data a larger disk: a member that cannot write ends.")
        if seen.latency is not None and seen.latency * 1000 > self._wish.latency:
            hint = "Give it a disk of its own that flushes fast, or the cluster loses its leader under load."
            text = f"One of a hundred writes to the log takes longer than {self._wish.latency} ms: up to {seen.latency * 1000:.0f} ms."
            self._remark(STORAGE, text, hint)
        return found

    def _certificates(self) -> List[Change]:
        wish = self._wish
        found, told = certificate_changes(wish.tls, self._there.tls, Renewal(wish.names, wish.renew_before, self._there.moment))
        anew = any(change.ref.kind == "Authority" for change in found)
        for text, hint in told:
            self._remark(TLS, text, hint)
        for one, seen in zip(wish.clients, self._seen.names):
            renewal = Renewal((client_name(one),), wish.renew_before, self._there.moment)
            # The authority is the same, and was judged already.
            mine = [change for change in certificate_changes(one, seen, renewal)[0] if change.ref.name in (one.certificate, one.key)]
            if anew and not any(change.field in ("issuer", "certificate") for change in mine):
                mine.append(Change(Ref("", "Certificate", one.certificate), ("issuer",), "the former authority", "the new one", "clients verify it"))
            found += mine
        return found

    # The member

    def _member(self) -> List[Tuple[Area, Sequence[Change]]]:
        files_of_member = [*self._lost(), *self._trust(), *self._unit()]
        return [(RUNNING, files_of_member), (UPKEEP, self._upkeep()), (RUNNING, self._begin())]

    def _lost(self) -> List[Change]:
        known = self._there.cluster
        gone = _removable(self._wish, known) if known is not None else []
        return [Change(Ref("", "Member", member.name), ("membership",), "lost", ABSENT, "it is named in lost, and does not answer") for member in gone]

    def _trust(self) -> List[Change]:
        kept = self._seen.trust
        if _trust_differs(self._there):
            before = ABSENT if kept.text is None else "other authorities"
            return [Change(_TRUST, ("content",), before, "the authorities of all members", "peers and clients are verified with them")]
        return guarded_changes(_TRUST, kept, service.TRUST_MODE, "who can write it says who is let in")

    def _unit(self) -> List[Change]:
        for path in self._seen.drop_ins:
            self._remark(RUNNING, f"{path} overrides our unit.", f"Take it away, or say in the variables of the role what it is for: rm {path}.")
        return content_changes(_UNIT_FILE, self._seen.unit, self._wish.unit, _WANTED, "one that shuts the member in") + guarded_changes(
            _UNIT_FILE, self._seen.unit, units.MODE, "who can write it is root"
        )

    def _begin(self) -> List[Change]:
        """What becomes of the process and of the membership."""
        seen, wish, there = self._seen, self._wish, self._there
        ref, found = Ref("", "Member", wish.way.name), []
        over = there.over(wish)
        if over:
            found.append(Change(Ref("", "Data", places.DATA), ("place",), "of a former membership", "moved aside", "it is named in lost"))
        if not seen.state.enabled:
            found.append(Change(_MEMBER_UNIT, ("at boot",), "masked" if seen.state.masked else "disabled", "started", "so that it is there after a reboot"))
        if over or not seen.data:
            after = "begins the cluster" if there.bare(wish) and wish.lead else "joins, as a learner first"
            return [*found, Change(ref, ("membership",), ABSENT, after, "it has no data of this cluster")]
        if seen.process is None:
            found.append(Change(_MEMBER_UNIT, ("running",), False, True, "it does not run"))
        else:
            reasons = restart_reasons(wish, there)
            if reasons and not wish.may_restart:
                self._remark(RUNNING, f"The member runs with {', '.join(reasons)}, and waits for a restart.", "Run with restart: allowed.")
            elif reasons:
                found.append(Change(_MEMBER_UNIT, ("restarted",), f"runs with {', '.join(reasons)}", "restarted", "so that it is in force"))
        mine = there.cluster.named(wish.way.name, wish.way.peer_url) if there.cluster else None
        if mine is not None and mine.learner:
            found.append(Change(ref, ("vote",), False, True, "a learner keeps nothing alive"))
        if mine is not None and mine.name and mine.name != wish.way.name:
            self._remark(RUNNING, f"The cluster knows this member as {mine.name}.", "Call the host so, or replace the member.")
        return found

    def _upkeep(self) -> List[Change]:
        seen, wish = self._seen, self._wish
        found: List[Change] = []
        for path, (text, mode) in service.upkeep_files(wish, self._there.archive).items():
            ref, why = Ref("", "File", path), "room that nobody uses is given back"
            found += content_changes(ref, seen.upkeep[path], text, _WANTED, why) + guarded_changes(ref, seen.upkeep[path], mode, "who can write it is root")
        if wish.defragment:
            if not seen.timer.enabled:
                found.append(Change(_TIMER, ("at boot",), "masked" if seen.timer.masked else "disabled", "started", "so that it is there after a reboot"))
            if not seen.timer.active:
                found.append(Change(_TIMER, ("running",), False, True, "it does not run"))
            elif any(change.ref.name.endswith(places.UPKEEP_TIMER) and change.field == "content" for change in found):
                found.append(Change(_TIMER, ("restarted",), "has another time", "restarted", "so that it is in force"))
        elif seen.timer.enabled or seen.timer.active:
            found.append(Change(_TIMER, ("stopped",), False, True, "none is wanted"))
        if wish.shut:
            kept = seen.secret
            if kept.text is None or kept.text.rstrip("\n") != wish.password:
                found.append(Change(_SECRET, ("content",), ABSENT if kept.text is None else "another one", "as given", "the upkeep logs in with it"))
            found += guarded_changes(_SECRET, kept, service.SECRET_MODE, "who can read it is root of the cluster")
        return found

    # The cluster

    def _cluster(self) -> List[Tuple[Area, Sequence[Change]]]:
        known = self._there.cluster
        if known is None and not self._there.bare(self._wish):
            self._remark(QUORUM, "No member of the cluster answers, or none trusts this host.", f"Look at each: journalctl -u {places.UNIT}")
            return []
        # Of a cluster that there is not yet, all is to be made.
        now = known if known is not None else cluster.Cluster((), {}, (), cluster.OPEN, {}, {})
        if known is not None:
            self._judge(known)
        return [(ACCESS, self._access(now)), (SPACE, self._space(now))]

    def _judge(self, known: cluster.Cluster) -> None:
        wish = self._wish
        wanted = {wish.way.name, *(peer.name for peer in wish.peers)}
        for member in known.members:
            told = member.name or member.urls[0]
            if member.name not in wanted:
                kind = "a learner" if member.learner else "a member"
                hint = f"If it is to go: stop it, and name it in etcd_server_lost: [{told}]; a member without a name: etcdctl member remove."
                self._remark(QUORUM, f"The cluster has {kind} {told} that the inventory does not name.", hint)
            elif not known.well(member):
                self._remark(QUORUM, f"{told} is not well.", f"Look at it ({_JOURNAL[5:]}); if it is lost for good: etcd_server_lost: [{told}].")
        voters = len(known.voters)
        if voters and voters % 2 == 0:
            text = f"{voters} voters bear the loss of {voters - cluster.needed(voters)}, which {voters - 1} would, too."
            self._remark(QUORUM, text, "Have an odd number of members.")
        versions = sorted({status.version for status in known.statuses.values()})
        if len(versions) > 1:
            self._remark(QUORUM, f"The members are of several versions: {', '.join(versions)}.", "Give all of them the same program.")

    def _access(self, known: cluster.Cluster) -> List[Change]:
        wish = self._wish
        if known.login == cluster.UNKNOWN:
            hint = "Give root_password (etcd_server_root_password); a lost one cannot be set without it."
            self._remark(ACCESS, "The cluster wants a password, and does not take ours.", hint)
            return []
        if not wish.shut:
            if known.login == cluster.SHUT:
                self._remark(ACCESS, "The cluster wants log-ins, and the inventory does not.", "Set etcd_server_authentication: true.")
            return []
        found: List[Change] = []
        for user in wish.users:
            for field, before, after in access.differences(user, known):
                found.append(Change(Ref("", "User", user.name), (field,), _or_absent(before), after, "no more and no less"))
        for stranger in access.strangers(wish.users, known):
            self._remark(ACCESS, f"There is a user {stranger} that is not declared.", f"If nobody uses it: etcdctl user delete {stranger}.")
        if known.login == cluster.OPEN:
            found.append(Change(Ref("", "Authentication", "etcd"), ("enabled",), False, True, "or who has a certificate may do everything"))
        return found

    def _space(self, known: cluster.Cluster) -> List[Change]:
        wish, names = self._wish, {member.number: member.name for member in known.members}
        found = []
        full = sorted({names.get(number, number) for number, kind in known.alarms if kind == cluster.NOSPACE})
        if full:
            found.append(Change(Ref("", "Alarm", cluster.NOSPACE), ("raised",), ", ".join(full), ABSENT, "nobody can write"))
        for number, kind in known.alarms:
            if kind == cluster.CORRUPT:
                hint = "Stop it, compare it with the others (etcdctl endpoint hashkv), and replace it; this alarm is never taken back here."
                self._remark(SPACE, f"{names.get(number, number)} says that its data is damaged.", hint)
        for number, status in sorted(known.statuses.items()):
            percent = round(100 * status.in_use / wish.way.quota)
            if percent >= wish.capacity and not full:
                hint = "Delete what nobody needs, or raise etcd_server_quota_backend_bytes."
                self._remark(SPACE, f"{names.get(number, number)} uses {percent} % of its quota.", hint)
        return found


def client_name(one: certificates.Places) -> str:
    """Return the common name of a client's certificate."""
    return one.certificate.rpartition("/")[2].rpartition(".")[0]


def _or_absent(value: Any) -> Any:
    return ABSENT if value is None else value
