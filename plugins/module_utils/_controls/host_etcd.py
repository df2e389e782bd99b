# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member of etcd is what its inventory says: known, shut in, by certificate only, one of a cluster that never loses its quorum by our hand."""

from __future__ import annotations

import datetime
import os
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_etcd_plan import (
    AREAS,
    QUORUM,
    RUNNING,
    SERVER,
    Observed,
    Planner,
    client_name,
    refusal_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner, HostServer, Writer
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Refused, RolloutFailed
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, certificates, disk, files, packages, program, units
from ansible_collections.paas.hardening.plugins.module_utils._host.addresses import require_own
from ansible_collections.paas.hardening.plugins.module_utils._host.archive import archive
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd import access, cluster, knock, places, service, upkeep
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.wishes import ARGUMENTS, CLUSTER, GROUND, MEMBER, secrets_of, wish_of

SOURCE = Source("Deis v1, Isolating etcd", "Isolating the planes", "etcd on hosts of its own, three or five full members")
_MAIN = {GROUND: SERVER, MEMBER: RUNNING, CLUSTER: QUORUM}
_PATIENCE = 5.0


class Before(NamedTuple):
    """What there was before a change that did not work out."""

    unit: Optional[str]
    trust: Optional[str]


class Etcd(HostServer[Observed]):
    """The member of the host that we are on."""

    source = SOURCE

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._wish = wish_of(params)
        self.main = _MAIN[self._wish.step]
        # It is brought here when it is needed.
        self._bringable = bool(params["binary"]) and not params["remote_src"]
        self._before: Optional[Before] = None

    # Looking

    def _look(self) -> Observed:
        wish = self._wish
        require_own(wish.way.address, "address", "etcd_server_address")
        storage = service.disk_of(wish)
        if storage is not None and not storage.mounted:
            disk.refuse(storage)
        if wish.shut and not wish.tls.made and certificates.common_name_of(wish.tls.certificate):
            hint = "etcd takes it for the name of a user, and then answers nobody who has it. Have one made without it, its name in the alternative names."
            raise Refused(f"{wish.tls.certificate} has a common name, and authentication is wanted.", hint, "tls_certificate")
        seen = service.look(wish, [disk.PROGRAMS[wish.filesystem]] if storage is not None and storage.empty else [])
        if storage is not None and storage.ours and not storage.mounted:
            # It comes with the disk.
            seen = seen._replace(data=True)
        if wish.step == GROUND and wish.program is not None and not self._bringable:
            program.require(wish.program, seen.binary.digest)
        known = None if wish.step == GROUND else service.look_at_cluster(wish)
        return Observed(
            seen, storage, certificates.look(wish.tls), known, self._trust_wanted(seen), archive(upkeep.__name__), datetime.datetime.now(datetime.timezone.utc)
        )

    def _trust_wanted(self, seen: service.Seen) -> Optional[str]:
        """Return the text of the file of authorities, or None while one of them is still to be made. Raises Refused."""
        wish = self._wish
        more = ""
        if wish.client_authority:
            more = files.look(wish.client_authority).text or ""
            if not service.certificates_in(more):
                hint = "Bring the certificate of the clients' authority to the host first."
                raise Refused(f"client_authority: there is no certificate in {wish.client_authority}.", hint, "client_authority")
        text, known = service.trust_wanted(files.look(wish.tls.authority).text or "", more, wish.peers, seen.trust.text or "")
        return text if known else None

    def _require(self, observed: Observed) -> None:
        refusal = refusal_of(self._wish, observed)
        if refusal:
            raise refusal

    def _planned(self, observed: Observed) -> Tuple[AreaPlanner, Plan]:
        planner = Planner(self._wish, observed)
        return planner, planner.plan()

    def _subject(self) -> str:
        return f"etcd on {self._wish.way.name}"

    # Doing

    def _writers(self) -> Mapping[str, Writer[Observed]]:
        return {
            "Program": self._apply_program,
            "Packages": self._apply_packages,
            "Account": self._apply_account,
            "Disk": self._apply_disk,
            "Mount": self._apply_mount,
            "Folder": self._apply_folder,
            "Authority": self._apply_authority,
            "Certificate": self._apply_certificate,
            "Private part": self._apply_key,
            "File": self._apply_file,
            "Unit": self._apply_unit,
            "Data": self._apply_data,
            "Member": self._apply_member,
            "User": self._apply_user,
            "Authentication": self._apply_authentication,
            "Alarm": self._apply_alarm,
        }

    def _apply_program(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        if self._wish.program is not None:
            program.put(self._wish.program)

    def _apply_packages(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        packages.install([ref.name], "Can this host reach its package mirrors?")

    def _apply_account(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        accounts.make(places.ACCOUNT, places.HOME)

    def _apply_disk(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        disk.make_on(places.DISK, self._wish.disk, self._wish.filesystem)

    def _apply_mount(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        disk.mount(places.DISK, self._wish.disk)

    def _apply_folder(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        files.make_folder(ref.name, places.HOME_MODE, places.ACCOUNT)

    def _apply_authority(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        certificates.make_authority(self._wish.tls, self._wish.names[0])

    def _apply_certificate(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        for one in self._wish.clients:
            if one.certificate == ref.name:
                certificates.make_certificate(one, [client_name(one)])
        if ref.name == self._wish.tls.certificate:
            certificates.make_certificate(self._wish.tls, self._wish.names)

    def _apply_key(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        certificates.guard_key(ref.name, places.ACCOUNT if ref.name == self._wish.tls.key else "root")

    def _apply_file(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        if self._before is None and observed.seen.process is not None:
            self._before = Before(observed.seen.unit.text, observed.seen.trust.text)
        if "content" not in {change.field for change in changes}:
            # Only whose it is, and who may write it: that needs no restart.
            modes = {places.TRUST: service.TRUST_MODE, places.SECRET: service.SECRET_MODE, places.UPKEEP: program.MODE}
            files.guard(ref.name, modes.get(ref.name, units.MODE), "root")
        elif ref.name == places.UNIT_FILE:
            units.write(ref.name, self._wish.unit)
        elif ref.name == places.TRUST:
            service.write_trust(self._trust_now(observed))
        elif ref.name == places.SECRET:
            files.replace(ref.name, f"{self._wish.password}\n", service.SECRET_MODE, "root")
        else:
            service.write_upkeep(self._wish, observed.archive, ref.name)

    def _trust_now(self, observed: Observed) -> str:
        text = self._trust_wanted(observed.seen)
        if text is None:
            absent = [peer.name for peer in self._wish.peers if peer.present and not peer.authority]
            hint = "Each host makes its authority in the step `ground`: run that on all of them first."
            raise Refused(f"{', '.join(absent) or 'This host'} has no authority yet.", hint, "peers.authority")
        return text

    def _apply_unit(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        fields = [change.field for change in changes]
        if "masked" in fields:
            units.mask(ref.name)
        if "stopped" in fields:
            units.forget(ref.name)
        if "at boot" in fields:
            units.let_start(ref.name)
        if ref.name == places.UPKEEP_TIMER and {"running", "restarted"} & set(fields):
            units.restart(ref.name)
        elif "running" in fields:
            # When nobody answers and there are others, a quorum comes only with them.
            service.start(self._wish, alone=observed.cluster is None and any(peer.data for peer in self._wish.peers))
        elif "restarted" in fields:
            self._restart(observed)

    def _restart(self, observed: Observed) -> None:
        """Restart the member when its cluster can do without it; when it does not come back with what is new, it comes back with what was."""
        known = service.look_at_cluster(self._wish)
        mine = known.named(self._wish.way.name, self._wish.way.peer_url) if known is not None else None
        others = any(peer.data for peer in self._wish.peers)
        why = cluster.forbids_absence(known, mine.number) if known is not None and mine is not None and known.well(mine) else ""
        if known is None and others and service.well():
            why = "how the others are cannot be seen from here: is the password right?"
        if why:
            raise Refused(f"{self._wish.way.name} must not be away now: {why}.", "Bring the other members back first.", places.UNIT)
        alone = known is None and others
        try:
            service.start(self._wish, "restart", alone=alone)
        except RolloutFailed as failure:
            before = self._before or Before(None, None)
            program.put_back(self._wish.path)
            if before.unit is not None:
                units.write(places.UNIT_FILE, before.unit)
            if before.trust is not None:
                service.write_trust(before.trust)
            service.start(self._wish, "restart", alone=alone)
            failure.hint = f"It runs again, as it was before. {failure.hint}"
            raise

    def _apply_data(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        # Looked at anew: who has come back meanwhile stays.
        now = observed._replace(cluster=service.look_at_cluster(self._wish))
        if not now.over(self._wish):
            raise Refused("The membership of this host is not over any more.", "Look at the members, and run again.", ref.name)
        service.set_aside()

    def _apply_member(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        wish, change = self._wish, changes[0]
        known = service.look_at_cluster(wish)
        if ref.name != wish.way.name or str(change.before) == "lost":
            self._remove(ref.name, known)
        elif change.field == "vote" and known is not None:
            service.promote(wish, known)
        elif known is not None:
            self._join(known)
        elif observed.bare(wish) and wish.lead:
            service.begin_cluster(wish)
        else:
            hint = "It begins, or joins, when it is known what there is. Look at the other members, and run again."
            raise Refused("No member of the cluster answers, and this host has no data of it.", hint, wish.way.name)

    def _join(self, known: cluster.Cluster) -> None:
        wish = self._wish
        mine = known.named(wish.way.name, wish.way.peer_url)
        if mine is not None and mine.name:
            hint = f"If its data is lost for good: etcd_server_lost: [{mine.name}]; then it is removed, and joins anew."
            raise Refused(f"The cluster has a member {mine.name} at {wish.way.peer_url}, and its data is not here.", hint, "lost")
        why = cluster.forbids_growth(known)
        if why:
            raise Refused(f"{wish.way.name} cannot join now: {why}.", "Bring all members back, or name who is lost (etcd_server_lost).", "peers")
        service.join(wish, known)

    def _remove(self, name: str, known: Optional[cluster.Cluster]) -> None:
        gone = known.named(name, "") if known is not None else None
        if known is None or gone is None:
            return
        why = cluster.forbids_removal(known, gone)
        if why:
            raise Refused(f"{name} is not removed: {why}.", "Bring the other members back first.", "lost")
        cluster.remove(service.speaker(self._wish, known), gone.number)

    def _now(self) -> cluster.Cluster:
        known = service.look_at_cluster(self._wish)
        if known is None:
            raise Refused("No member of the cluster answers.", f"Look at each: journalctl -u {places.UNIT}", places.UNIT)
        return known

    def _apply_user(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        known = self._now()
        for user in self._wish.users:
            if user.name == ref.name:
                access.enforce(service.speaker(self._wish, known), user, known)

    def _apply_authentication(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        known = self._now()
        access.shut(service.speaker(self._wish, known), self._wish.password, known)

    def _apply_alarm(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        known = self._now()
        token = service.speaker(self._wish, known).token
        cluster.relieve(cluster.leader_last(known, service.finder(self._wish), token), self._wish.way.quota)

    # Telling

    def conclude(self, first: Optional[Observed], last: Optional[Observed], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Knock at the member, and put the result together. Raises NotProven when it is not seen from outside what was made."""
        wish = self._wish
        proofs = self._proofs(last) if last is not None and not self._refusal and (enforced or not self._first) else {}
        for area, proof in proofs.items():
            # Another member that is not well is told, and is for a person.
            if enforced and area != QUORUM and proof.verdict == FAIL:
                raise NotProven(f"The configuration is right, but the effect is not seen: {proof}.", f"Ask: journalctl -u {places.UNIT}", wish.way.name)
        silent = wish.step == CLUSTER and last is not None and last.cluster is None and not last.bare(wish)
        findings = [self._finding(area, plan, proofs.get(area, Proof()), enforced, silent and area != QUORUM) for area in AREAS[wish.step]]
        return {"findings": [finding.as_data() for finding in findings], "member": self._told(last), "warnings": self._warnings()}

    def _proofs(self, observed: Observed) -> Dict[Area, Proof]:
        wish = self._wish
        if wish.step == MEMBER and observed.seen.process is not None:
            checks = []
            for port in (wish.way.client_port, wish.way.peer_port):
                for what, answer in (
                    ("by TLS, without a certificate", knock.knock(wish.way.address, port, wish.way.address, "", _PATIENCE)),
                    ("without TLS", knock.knock_plainly(wish.way.address, port, _PATIENCE)),
                ):
                    checks.append(Check(f"{what}, on port {port}", knock.REFUSED, str(answer), PASS if answer.kind == knock.REFUSED else FAIL))
            well = service.well()
            # A quorum is a matter of the others, too.
            checks.append(Check("reads with a quorum", "yes", "yes" if well else "no", PASS if well else UNKNOWN))
            return {RUNNING: Proof(tuple(checks))}
        if wish.step == CLUSTER and observed.cluster is not None:
            return {QUORUM: Proof(tuple(_member_check(observed.cluster, member) for member in observed.cluster.members))}
        return {}

    def _told(self, observed: Optional[Observed]) -> Dict[str, Any]:
        """Return what clients, and the other members, have to know."""
        way = self._wish.way
        return {
            "name": way.name,
            "address": way.address,
            "client_port": way.client_port,
            "peer_port": way.peer_port,
            "endpoint": way.client_url,
            "authority": (observed.tls.authority or "") if observed else "",
            "data": service.has_data() or (observed is not None and observed.seen.data and observed.disk is not None and not observed.disk.mounted),
            "answers": os.path.isdir("/run/systemd/system") and service.well(),
            "version": observed.seen.version if observed else "",
        }


def _member_check(known: cluster.Cluster, member: cluster.Member) -> Check:
    well = known.well(member)
    return Check(f"member {member.name or member.urls[0]}", "well", "well" if well else "not well", PASS if well else FAIL)


VERB = Verb(ARGUMENTS, Etcd, secrets_of)
