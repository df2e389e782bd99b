# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change on a host so that its S3 server is what the inventory says, and what is wrong but left to a person. Pure."""

from __future__ import annotations

import datetime
from typing import FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

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
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, disk, units
from ansible_collections.paas.hardening.plugins.module_utils._host.files import Kept
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server import buckets, identities, plain, policies, pool, service, xfs
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import ACCOUNT, ENVIRONMENT_FILE, TLS_FOLDER, UNIT, UNIT_FILE
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import ALL, GROUND, MEMBER, POOL, Wish

SERVER = Area("host-object-store-server", "The store is a known program, under an account of its own, shut in by systemd", "high")
STORAGE = Area("host-object-store-storage", "Objects lie on file systems of their own, which tell errors at once", "high")
CAPACITY = Area("host-object-store-capacity", "There is room left", "medium")
TLS = Area("host-object-store-tls", "The store's certificate is valid, and its private part is the store's alone", "high")
CREDENTIALS = Area("host-object-store-credentials", "The root credential is one's own, in force, and readable by root alone", "critical")
MEMBERS = Area("host-object-store-pool", "The pool can be read and written, and has all of its members", "high")
BUCKETS = Area("host-object-store-buckets", "Buckets keep what is overwritten, and let in nobody who is not named", "critical")
PLAIN = Area("host-object-store-plain", "Nobody speaks to the store without TLS", "medium")
IDENTITIES = Area("host-object-store-identities", "Each component has an identity of its own, which can do no more than it must", "high")


class Live(NamedTuple):
    """What the server says: the declared buckets that there are, others whose policy lets everybody in, its identities, and in words what is not well."""

    buckets: Mapping[str, buckets.Seen]
    public: Tuple[str, ...]
    directory: identities.Directory
    illness: str


class Observed(NamedTuple):
    """Everything that was seen. ``served`` tells whether the server shows the certificate that is in the file. ``full`` is in percent."""

    service: service.Seen
    disks: Tuple[disk.Seen, ...]
    xfs: xfs.Seen
    tls: certificates.Seen
    served: bool
    live: Optional[Live]
    full: Tuple[Tuple[str, int], ...]
    unit_time: float
    moment: datetime.datetime
    plain: plain.Seen = plain.NOTHING
    trust: Kept = Kept(None, 0, "")
    trust_time: float = 0.0
    pool: Optional[pool.Seen] = None
    formats: Tuple[pool.Format, ...] = ()

    @property
    def bare(self) -> bool:
        """There has never been a server."""
        return self.service.process is None and not self.service.used and all(found.empty for found in self.disks)

    @property
    def silent(self) -> bool:
        """There is, or was, a server, but it does not tell what it has."""
        return self.live is None and not self.bare


class Planner(AreaPlanner):
    """Plans from one observation."""

    def __init__(self, wish: Wish) -> None:
        super().__init__()
        self._wish = wish
        self._identities = {one.access: one for one in wish.identities}

    def plan(self, observed: Observed) -> Plan:
        """Return what has to change, in the order in which it can. A member of a pool comes to it in steps."""
        step, groups = self._wish.step, []
        if step in (ALL, GROUND):
            groups += [(SERVER, self._program(observed)), (STORAGE, self._storage(observed)), (TLS, self._certificates(observed))]
        if step in (ALL, MEMBER):
            groups += [(TLS, self._trust(observed)), (CREDENTIALS, self._environment(observed)), (SERVER, self._unit(observed))]
        before = [change for _area, found in groups for change in found]
        if step == ALL:
            groups.append((SERVER, self._process(observed, before)))
        elif step == MEMBER:
            groups.append((SERVER, self._begun(observed)))
        elif step == POOL:
            groups.append((SERVER, self._turned(observed)))
            self._companions(observed)
        if step in (ALL, POOL):
            groups.append((PLAIN, self._door(observed, before)))
        if step in (ALL, POOL) and self._wish.lead and not observed.silent:
            groups += [(BUCKETS, self._buckets(observed)), (IDENTITIES, self._of_identities(observed)), (BUCKETS, self._policies(observed))]
        if step in (ALL, GROUND):
            self._room(observed)
        return self._plan_of(groups)

    def _room(self, observed: Observed) -> None:
        for folder, percent in observed.full:
            if percent >= self._wish.capacity:
                self._remark(CAPACITY, f"{folder} is full by {percent} %.", "Add disks, or clear old versions away: a store that is full refuses all writes.")

    def _program(self, observed: Observed) -> List[Change]:
        """The program first: without it nothing is begun."""
        seen, wish, found = observed.service, self._wish, []
        found += program_changes(wish.program.path, wish.program.digest, seen.binary, "store")
        for package in seen.missing:
            found.append(Change(Ref("", "Packages", package), (package,), ABSENT, "installed", "for certificates and file systems"))
        return found + account_changes(ACCOUNT, seen.account, "store")

    def _storage(self, observed: Observed) -> List[Change]:
        found = [change for storage in observed.disks for change in disk_changes(storage, "xfs")]
        late = {storage.place.where for storage in observed.disks if not storage.mounted}
        for path, mode in service.folders_of(self._wish).items():
            if path not in late:
                found += folder_changes(path, mode, ACCOUNT, observed.service.folders[path], "who can read it needs no credential")
        if observed.disks:
            found += self._errors(observed)
        return found

    def _errors(self, observed: Observed) -> List[Change]:
        """What XFS does when a disk errs."""
        seen, found, why = observed.xfs, [], "at once and at every boot"
        for path, kept, text in (
            (xfs.SCRIPT, seen.script, xfs.script_text()),
            (xfs.XFS_UNIT_FILE, seen.unit, xfs.unit_text(self._wish.places.volumes)),
        ):
            found += content_changes(Ref("", "File", path), kept, text, "lets disks tell errors", why)
        if not seen.enabled:
            found.append(Change(Ref("", "File", xfs.XFS_UNIT_FILE), ("at boot",), "disabled", "started", why))
        for one in seen.disks:
            wrong = {kind: value for kind, value in one.retries.items() if value != "0"}
            if wrong and one.settable:
                found += [
                    Change(Ref("", "XFS", one.folder), (f"retries after {kind}",), value, "0", "or the store hangs on a bad disk")
                    for kind, value in wrong.items()
                ]
            elif wrong:
                hint = "This host is a container: set max_retries to 0 on the machine, below /sys/fs/xfs."
                self._remark(STORAGE, f"XFS on {one.folder} tries errors again for ever, and that cannot be set here.", hint)
        return found

    def _certificates(self, observed: Observed) -> List[Change]:
        wish = self._wish
        found, told = certificate_changes(wish.tls, observed.tls, Renewal(wish.names, wish.renew_before, observed.moment))
        for text, hint in told:
            self._remark(TLS, text, hint)
        for name, target in service.links_of(wish).items():
            now = observed.service.links[name]
            if now != target:
                found.append(Change(Ref("", "Link", f"{TLS_FOLDER}/{name}"), ("target",), now or ABSENT, target, "where the store looks for it"))
        return found

    def _environment(self, observed: Observed) -> List[Change]:
        kept, ref, wanted = observed.service.environment, Ref("", "Environment", ENVIRONMENT_FILE), self._wish.variables
        known = service.environment_of(kept.text or "")
        found = [
            Change(ref, (name,), known.get(name, ABSENT), wanted.get(name, ABSENT), "the inventory says so")
            for name in sorted({*known, *wanted})
            if known.get(name) != wanted.get(name)
        ]
        if not found and kept.text is not None and kept.text != service.environment_text(wanted):
            found.append(Change(ref, ("content",), "another text", "the variables of the inventory", "changed by hand"))
        return found + guarded_changes(ref, kept, service.ENVIRONMENT_MODE, "who can read it is root of the store")

    def _unit(self, observed: Observed) -> List[Change]:
        seen, ref = observed.service, Ref("", "File", UNIT_FILE)
        for path in seen.drop_ins:
            self._remark(SERVER, f"{path} overrides our unit.", f"Take it away, or say in the variables of the role what it is for: rm {path}.")
        return content_changes(ref, seen.unit, service.unit_text(self._wish), "shuts the store in", "it can reach nothing but its data") + guarded_changes(
            ref, seen.unit, units.MODE, "who can write it is root"
        )

    def _process(self, observed: Observed, before: Sequence[Change]) -> List[Change]:
        """What becomes of the server's process, from what else changes."""
        seen, unit, found = observed.service, Ref("", "Unit", UNIT), []
        if not seen.enabled:
            found.append(Change(unit, ("at boot",), "disabled", "started", "so that it is there after a reboot"))
        if seen.process is None:
            return [*found, Change(unit, ("running",), False, True, "it does not run")]
        if observed.live is not None and observed.live.illness:
            self._remark(SERVER, f"The store says that it is not well: {observed.live.illness}.", f"Look at its disks, and ask: journalctl -u {UNIT}")
        kinds = {change.ref.kind for change in before if change.field not in ("mode", "owner")}
        reasons = service.stale(self._wish, seen, observed.unit_time)
        reasons += ["another program"] if any(change.field == "sha256" for change in before) and "another program" not in reasons else []
        reasons += ["an older unit"] if any(change.ref.name == UNIT_FILE and change.field == "content" for change in before) else []
        reasons += ["no disk"] if any(change.field == "mounted" for change in before) else []
        reasons = list(dict.fromkeys(reasons))
        if reasons and not self._wish.may_restart:
            self._remark(SERVER, f"The store runs with {', '.join(reasons)}, and waits for a restart.", "Run with restart: allowed.")
        elif reasons:
            return [*found, Change(unit, ("restarted",), f"runs with {', '.join(reasons)}", "restarted", "so that it is in force")]
        if kinds & {"Authority", "Certificate", "Link"} or not observed.served:
            found.append(Change(unit, ("reloaded",), "shows another certificate", "shows the one that is there", "so that it is in force"))
        return found

    # A pool

    def _trust(self, observed: Observed) -> List[Change]:
        """The authorities that a member trusts when it speaks to the others."""
        if not self._wish.authorities:
            return []
        text = pool.trust_text(self._wish.authorities, observed.trust.text or "")
        ref = Ref("", "Trust", pool.TRUST)
        return content_changes(ref, observed.trust, text, "the authorities of all members", "they prove to each other who they are")

    def _begun(self, observed: Observed) -> List[Change]:
        """What runs is begun on all members before anybody waits for it: one alone does not come up. So is what none takes from the others."""
        seen, unit, found = observed.service, Ref("", "Unit", UNIT), []
        if not seen.enabled:
            found.append(Change(unit, ("at boot",), "disabled", "started", "so that it is there after a reboot"))
        if seen.process is None:
            return [*found, Change(unit, ("running",), False, True, "it does not run")]
        apart = apart_from_others(self._wish, observed)
        if apart and self._wish.together and self._wish.may_restart:
            why = "members of other settings do not take each other: all begin at once"
            found.append(Change(unit, ("restarted",), f"runs with {', '.join(apart)}", "restarted", why))
        return found

    def _turned(self, observed: Observed) -> List[Change]:
        """What is restarted one host after the other, while the others are a quorum."""
        seen, wish, unit = observed.service, self._wish, Ref("", "Unit", UNIT)
        if seen.process is None:
            return []
        reasons = apart_from_others(self._wish, observed)
        if reasons and wish.together and wish.may_restart:
            # That was done by the step before, or would be.
            return []
        if not reasons:
            older = observed.unit_time > seen.process.since or seen.unit.text != service.unit_text(wish)
            reasons += ["an older unit"] if older else []
            reasons += ["older authorities"] if observed.trust_time > seen.process.since or self._trust(observed) else []
        if reasons and not wish.may_restart:
            self._remark(SERVER, f"The store runs with {', '.join(reasons)}, and waits for a restart.", "Run with restart: allowed.")
        elif reasons:
            return [Change(unit, ("restarted",), f"runs with {', '.join(reasons)}", "restarted", "so that it is in force")]
        if observed.pool is None or observed.pool.illness:
            # One that begins still would take a signal for its end.
            return []
        certificate, _told = certificate_changes(wish.tls, observed.tls, Renewal(wish.names, wish.renew_before, observed.moment))
        if not observed.served or any(change.ref.kind == "Certificate" for change in certificate):
            return [Change(unit, ("reloaded",), "shows another certificate", "shows the one that is there", "so that it is in force")]
        return []

    def _companions(self, observed: Observed) -> None:
        seen = observed.pool
        if seen is None:
            return
        if seen.illness:
            hint = f"Are enough of its hosts up, and do they reach each other? Ask each: journalctl -u {UNIT}"
            self._remark(MEMBERS, f"The pool cannot be used: {seen.illness}.", hint)
        for text in seen.missing:
            self._remark(MEMBERS, text, "The pool lives on the others, and heals what comes back; until then it may lose no more than its parity.")

    def _door(self, observed: Observed, before: Sequence[Change]) -> List[Change]:
        """The door without TLS: as it is wanted, and told as long as there is one."""
        wish, ref = self._wish, Ref("", "Plain door", plain.PLAIN_UNIT)
        if wish.plain_port:
            hint = "Let nobody in but the nodes of the cluster, in a network of their own, and leave plain_port out once no client needs it."
            self._remark(PLAIN, f"Port {wish.plain_port} of {wish.places.address} takes requests without TLS: what is sent there can be read.", hint)
        for path in observed.plain.drop_ins:
            self._remark(PLAIN, f"{path} overrides our unit.", f"Take it away: rm {path}.")
        why = "for clients that speak no TLS" if wish.plain_port else "nobody may speak to the store without TLS"
        renewed = any(change.ref.kind == "Authority" for change in before)
        return [Change(ref, (field,), _or_absent(now), _or_absent(then), why) for field, now, then in plain.differences(wish, observed.plain, renewed)]

    def _buckets(self, observed: Observed) -> List[Change]:
        there, found = observed.live.buckets if observed.live else {}, []
        for wanted in self._wish.buckets:
            seen, ref = there.get(wanted.name), Ref("", "Bucket", wanted.name)
            for field, before, after in buckets.differences(wanted, seen):
                found.append(Change(ref, (field,), _or_absent(before), _or_absent(after), "the inventory says so"))
            if seen and wanted.lock and not seen.lock:
                self._remark(BUCKETS, f"The bucket {wanted.name} was made without object lock.", "Make another one with it, and move the objects there.")
        for name in observed.live.public if observed.live else ():
            self._remark(BUCKETS, f"The bucket {name} is not declared, and lets everybody in.", "Declare it, then its policy is mended; or delete it.")
        return found

    def _of_identities(self, observed: Observed) -> List[Change]:
        directory = observed.live.directory if observed.live else identities.nobody(self._wish.backend)
        found = []
        for name, wanted in self._identities.items():
            for field, before, after in directory.differences(wanted):
                found.append(Change(Ref("", "Identity", name), (field,), _or_absent(before), _or_absent(after), "no more and no less"))
        for stranger in directory.strangers(self._identities):
            self._remark(IDENTITIES, stranger.text, stranger.hint)
        return found

    def _policies(self, observed: Observed) -> List[Change]:
        found = []
        for bucket in self._wish.buckets:
            before, after = policies_of(self._wish, bucket.name, observed.live)
            if before != after:
                ref, why = Ref("", "Bucket policy", bucket.name), "nobody is let in who is not named"
                found.append(Change(ref, ("statements",), policies.words_of(before) or ABSENT, policies.words_of(after) or ABSENT, why))
        return found


def apart_from_others(wish: Wish, observed: Observed) -> List[str]:
    """Return why the process of a pool's member is another one than the inventory wants on all of them; nothing when it is not, or when there is none."""
    reasons = [reason for reason in service.stale(wish, observed.service, 0.0) if reason != "an older unit"]
    if observed.service.process is not None and observed.service.binary.digest != wish.program.digest and "another program" not in reasons:
        reasons.append("another program")
    return reasons


def policies_of(wish: Wish, bucket: str, live: Optional[Live]) -> Tuple[FrozenSet[policies.Statement], FrozenSet[policies.Statement]]:
    """Return whom the policy of a bucket lets in, and whom it has to let in."""
    seen = live.buckets.get(bucket) if live else None
    before = seen.statements if seen else frozenset()
    return before, policies.shut(before, identities.statements_for(wish.backend, bucket, {one.access: one for one in wish.identities}))


def _or_absent(value: object) -> object:
    return ABSENT if value is None else value
