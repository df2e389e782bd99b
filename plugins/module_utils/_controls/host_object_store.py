# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An S3 server is what its inventory says: a known program, shut in, on disks of its own, by TLS only, with buckets that let in nobody who is not named."""

from __future__ import annotations

import datetime
import os
import ssl
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_object_store_plan import (
    BUCKETS,
    CAPACITY,
    CREDENTIALS,
    IDENTITIES,
    MEMBERS,
    PLAIN,
    SERVER,
    STORAGE,
    TLS,
    Live,
    Observed,
    Planner,
    apart_from_others,
    policies_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner, HostServer, Writer
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotProven, Refused, RolloutFailed
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, certificates, disk, files, packages, program, units
from ansible_collections.paas.hardening.plugins.module_utils._host.addresses import require_own
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server import buckets, identities, plain, policies, pool, service, xfs
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import ACCOUNT, DATA, IAM, UNIT, UNIT_FILE
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import ALL, ARGUMENTS, GROUND, MEMBER, POOL, secrets_of, wish_of
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.signed import Client, Door, Keys, in_plain_text, shown_certificate

SOURCE = Source(
    "OpenG2P, Production Deployment",
    "Standalone object store",
    "MinIO on a machine of its own, with disks of its own; never on NFS",
)
_AREAS = (SERVER, STORAGE, CAPACITY, TLS, CREDENTIALS, BUCKETS, IDENTITIES)
# What each step of a pool's member is judged by.
_OF_STEP = {ALL: _AREAS, GROUND: (STORAGE, CAPACITY, TLS), MEMBER: (SERVER, CREDENTIALS), POOL: (MEMBERS, BUCKETS, IDENTITIES)}
# What only the server can tell.
_OF_THE_SERVER = (BUCKETS, IDENTITIES)
_PATIENCE = 5.0
# Seconds until a pool that was begun is well, or until it can spare a member, and between two looks.
_POOL_PATIENCE, _PAUSE = 120.0, 0.5


class ObjectStore(HostServer[Observed]):
    """The S3 server of the host that we are on."""

    main = SERVER
    source = SOURCE

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._wish = wish_of(params)
        # It is brought here when it is needed.
        self._bringable = bool(params["binary"]) and not params["remote_src"]
        self._before: Optional[service.Before] = None

    # Looking

    def _look(self) -> Observed:
        wish = self._wish
        require_own(wish.places.address, "address", "object_store_server_address")
        storages = [found for place, device in wish.disks for found in [disk.look(place, device)] if found is not None]
        for storage in storages:
            if not storage.mounted:
                disk.refuse(storage)
        needed = [disk.PROGRAMS["xfs"]] if any(storage.empty for storage in storages) else []
        seen = service.look(wish, [*needed, (plain.PROGRAM, plain.PACKAGE)] if wish.plain_port else needed)
        if not self._bringable and wish.step in (ALL, GROUND):
            program.require(wish.program, seen.binary.digest)
        tls = certificates.look(wish.tls)
        process = seen.process
        shown = shown_certificate(wish.places.address, wish.places.port) if process else b""
        members = self._members() if process and wish.step == POOL else None
        asked = process and wish.step in (ALL, POOL) and not (members and members.illness)
        return Observed(
            seen,
            tuple(storages),
            xfs.look(wish.places.volumes if wish.disks else ()),
            tls,
            bool(shown) and shown == _encoded(tls.certificate),
            self._ask() if asked else None,
            tuple(xfs.fullness(wish.places.volumes)),
            service.unit_time(),
            datetime.datetime.now(datetime.timezone.utc),
            plain.look(wish),
            files.look(pool.TRUST),
            service.written(pool.TRUST),
            members,
            pool.formats(wish.places.volumes) if wish.backend.identities == IAM else (),
        )

    def _require(self, observed: Observed) -> None:
        pool.require_same(observed.formats, self._wish.places.drives)

    def _members(self) -> pool.Seen:
        """Ask the member on this host how its pool is."""
        with self._client() as client:
            try:
                return pool.look(client, service.illness(client, self._wish.backend.health))
            except Failure as failure:
                return pool.Seen(failure.message, ())

    def _ask(self) -> Optional[Live]:
        """Ask the server; None when it does not answer, or does not know us."""
        wish = self._wish
        try:
            with self._client() as client:
                ill = service.illness(client, wish.backend.health)
                if not wish.lead:
                    # Buckets and identities are those of the whole pool: one of its hosts looks after them.
                    return Live({}, (), identities.nobody(wish.backend), ill)
                names = buckets.listed(client)
                wanted = [bucket.name for bucket in wish.buckets]
                others = [name for name in names if name not in wanted]
                public = tuple(name for name in others if policies.lets_everybody_in(buckets.policy_of(client, name)))
                there = {name: buckets.look(client, name) for name in wanted if name in names}
                return Live(there, public, identities.look(wish.backend, client), ill)
        except Failure:
            return None

    def _client(self, keys: Optional[Keys] = None, anonymous: bool = False) -> Client:
        """Return a client of the server on this host, as root unless others are given. Whatever its certificate's end, it has to be the one that is here."""
        wish = self._wish
        tls = files.look(wish.tls.certificate).text
        door = Door(wish.names[0], wish.places.address, wish.places.port, files.look(wish.tls.authority).text or "", wish.places.region, _encoded(tls))
        return Client(door, None if anonymous else keys or Keys(*wish.root))

    def settle(self, observed: Optional[Observed], plan: Plan) -> float:
        """Wait until a pool is well whose members have just begun. Raises RolloutFailed."""
        if self._wish.step != POOL or self._seen is None or self._seen.service.process is None:
            return 0.0
        deadline = Deadline(_POOL_PATIENCE)
        with self._client(anonymous=True) as client:
            unwell = service.illness(client, self._wish.backend.health)
            # What was seen of one that was ill is history, however short that was.
            waited = bool(unwell or (self._seen.pool and self._seen.pool.illness))
            while unwell and deadline.pause(_PAUSE):
                unwell = service.illness(client, self._wish.backend.health)
        if unwell:
            hint = f"Are enough of its hosts up, and do they reach each other? Ask each: journalctl -u {UNIT}"
            raise RolloutFailed(f"The pool does not come up ({unwell}): {units.journal(UNIT)}", hint, subject=UNIT)
        program.forget_former()
        return deadline.passed if waited else 0.0

    def _planned(self, observed: Observed) -> Tuple[AreaPlanner, Plan]:
        planner = Planner(self._wish)
        return planner, planner.plan(observed)

    def _subject(self) -> str:
        return f"{self._wish.backend.title} on {self._wish.names[0]}"

    # Doing

    def _writers(self) -> Mapping[str, Writer[Observed]]:
        return {
            "Program": self._apply_program,
            "Packages": self._apply_packages,
            "Account": self._apply_account,
            "Disk": self._apply_disk,
            "Mount": self._apply_mount,
            "Folder": self._apply_folder,
            "XFS": self._apply_xfs,
            "Authority": self._apply_authority,
            "Certificate": self._apply_certificate,
            "Private part": self._apply_key,
            "Trust": self._apply_trust,
            "Link": self._apply_link,
            "Environment": self._apply_environment,
            "File": self._apply_file,
            "Unit": self._apply_unit,
            "Plain door": self._apply_door,
            "Bucket": self._apply_bucket,
            "Identity": self._apply_identity,
            "Bucket policy": self._apply_policy,
        }

    def _keep(self, observed: Observed) -> None:
        """Remember what runs, so that it can come back."""
        if self._before is None and observed.service.process is not None:
            self._before = service.Before(observed.service.environment.text, observed.service.unit.text)

    def _apply_program(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        self._keep(observed)
        program.put(self._wish.program)

    def _apply_packages(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        packages.install([ref.name], "Can this host reach its package mirrors?")

    def _apply_account(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        accounts.make(ACCOUNT, DATA)

    def _device(self, ref: Ref) -> Tuple[disk.Place, str]:
        """Return the disk that a change is about, by its folder or its device."""
        by_name = {name: entry for entry, storage in zip(self._wish.disks, self._seen.disks if self._seen else ()) for name in (storage.device, entry[0].where)}
        return by_name[ref.name]

    def _apply_disk(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        disk.make_on(*self._device(ref), "xfs")

    def _apply_mount(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        disk.mount(*self._device(ref))
        xfs.after_mount(ref.name)

    def _apply_folder(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        files.make_folder(ref.name, service.folders_of(self._wish)[ref.name], ACCOUNT)

    def _apply_xfs(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        xfs.set_now([ref.name])

    def _apply_authority(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        certificates.make_authority(self._wish.tls, self._wish.names[0])

    def _apply_certificate(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        certificates.make_certificate(self._wish.tls, self._wish.names)

    def _apply_key(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        certificates.guard_key(ref.name, ACCOUNT if ref.name == self._wish.tls.key else "root")

    def _apply_link(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        name = os.path.basename(ref.name)
        service.link(name, service.links_of(self._wish)[name])

    def _apply_environment(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        self._keep(observed)
        service.write_environment(service.environment_text(self._wish.variables))

    def _apply_file(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        if ref.name == UNIT_FILE:
            self._keep(observed)
            units.write(UNIT_FILE, service.unit_text(self._wish))
        else:
            xfs.write(self._wish.places.volumes)
            # Beginning the server would do it, which a pool's member does in another step.
            for folder in self._wish.places.volumes:
                xfs.after_mount(folder)

    def _apply_unit(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        fields = [change.field for change in changes]
        if "at boot" in fields:
            units.let_start(UNIT)
        if self._wish.step == MEMBER:
            if fields != ["at boot"]:
                self._set_off("restart" if "restarted" in fields else "start")
        elif "running" in fields or "restarted" in fields:
            self._await_turn()
            self._begin("restart" if "restarted" in fields else "start")
        elif "reloaded" in fields:
            service.reload(_encoded(files.look(self._wish.tls.certificate).text), self._wish.places)

    def _apply_trust(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        pool.write_trust(pool.trust_text(self._wish.authorities, observed.trust.text or ""))

    def _set_off(self, verb: str) -> None:
        """Let a member of a pool begin, and wait for nothing: it is well when enough of the others are there. Raises RolloutFailed."""
        if units.begin(UNIT, verb, service.STOP).status:
            raise RolloutFailed(f"The server does not start: {units.journal(UNIT)}", f"Ask: journalctl -u {UNIT}", subject=UNIT)

    def _await_turn(self) -> None:
        """Wait until the pool can spare this member, if it is one. Raises Refused."""
        if self._wish.step != POOL:
            return
        deadline = Deadline(_POOL_PATIENCE)
        with self._client(anonymous=True) as client:
            while not pool.may_go(client):
                if not deadline.pause(_PAUSE):
                    message = "Without this member the pool could not be written, so it is not restarted."
                    raise Refused(message, "See to the members and drives that are missing first.", subject=UNIT)

    def _apply_door(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        if self._wish.plain_port:
            plain.open_door(self._wish, self._wish.names[0])
        else:
            plain.shut()

    def _begin(self, verb: str) -> None:
        """Start or restart the server; when it is not well as it is to be now, it becomes what it was."""
        paths = self._wish.backend.health
        with self._client(anonymous=True) as client:
            try:
                service.start(client, paths, verb)
            except RolloutFailed as failure:
                if self._before is None:
                    raise
                service.put_back(self._before, self._wish.backend.program)
                service.start(client, paths, "restart")
                failure.hint = f"It runs again, as it was before. {failure.hint}"
                raise

    def _apply_bucket(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        with self._client() as client:
            for wanted in self._wish.buckets:
                if wanted.name == ref.name:
                    buckets.enforce(client, wanted)

    def _apply_identity(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        with self._client() as client:
            directory = observed.live.directory if observed.live else identities.nobody(self._wish.backend)
            for wanted in self._wish.identities:
                if wanted.access == ref.name:
                    directory.enforce(client, wanted)

    def _apply_policy(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        _before, after = policies_of(self._wish, ref.name, observed.live)
        with self._client() as client:
            buckets.write_policy(client, ref.name, after)

    # Telling

    def conclude(self, first: Optional[Observed], last: Optional[Observed], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Try what everybody, and each identity, reaches, and put the result together. Raises NotProven when it is not as it should be."""
        seen = last is not None and (last.live is not None or self._wish.step == GROUND) and not self._refusal
        # Of an audit that found something to do, what does not hold yet is told by the plan.
        proofs = self._probed() if seen and (enforced or not self._first) else {}
        wrong = [f"{check.what}: {check.observed}" for proof in proofs.values() for check in proof.checks if check.verdict == FAIL]
        if enforced and wrong:
            told = "; ".join(wrong)
            raise NotProven(f"The configuration is right, but the effect is not seen: {told}.", "Look at the server's log.", subject=self._wish.names[0])
        silent = {*_OF_THE_SERVER} if last is not None and last.silent else set()
        if last is not None and last.pool is None:
            silent.add(MEMBERS)
        shown = _OF_STEP[self._wish.step]
        if not self._wish.lead:
            shown = tuple(area for area in shown if area not in _OF_THE_SERVER)
        more = {*self._areas.values(), *([PLAIN] if self._wish.plain_port and self._wish.step in (ALL, POOL) else ())}
        areas = (*shown, *sorted(more.difference(shown)))
        findings = [self._finding(area, plan, proofs.get(area, Proof()), enforced, area in silent) for area in areas]
        result = {"findings": [finding.as_data() for finding in findings], "store": self._store(last), "warnings": self._warnings()}
        return {**result, "member": self._member(last)} if self._wish.step != ALL else result

    def _member(self, observed: Optional[Observed]) -> Dict[str, Any]:
        """Return what the other members of a pool have to know."""
        return {
            "name": self._wish.names[0],
            "address": self._wish.places.address,
            "authority": (observed.tls.authority or "") if observed else "",
            "apart": bool(observed and apart_from_others(self._wish, observed)),
        }

    def _store(self, observed: Optional[Observed]) -> Dict[str, Any]:
        """Return what clients have to know."""
        wish = self._wish
        host = f"[{wish.places.address}]" if ":" in wish.places.address else wish.places.address
        return {
            "name": wish.names[0],
            "address": wish.places.address,
            "port": wish.places.port,
            "endpoint": f"https://{wish.names[0]}:{wish.places.port}",
            "region": wish.places.region,
            "backend": wish.backend.name,
            "authority": (observed.tls.authority or "") if observed else "",
            "buckets": [bucket.name for bucket in wish.buckets],
            "plain_endpoint": f"http://{host}:{wish.plain_port}" if wish.plain_port else "",
            "ready": observed is not None and self._ready(observed),
        }

    def _ready(self, observed: Observed) -> bool:
        """Tell whether clients find everything that is declared."""
        live, wish = observed.live, self._wish
        if live is None or (wish.plain_port and not observed.plain.active):
            return False
        if not wish.lead:
            return not live.illness
        return all(bucket.name in live.buckets for bucket in wish.buckets) and not any(live.directory.differences(one) for one in wish.identities)

    def _probed(self) -> Dict[Area, Proof]:
        """Come as somebody without credentials, and as each identity, and only look."""
        wish = self._wish
        # Containers do not see it: then it is not known.
        hidden = [one.folder for one in (self._seen.xfs.disks if self._seen else ()) if not one.retries]
        unseen = tuple(Check(f"what XFS on {folder} does when the disk errs", "it tells at once", "not to be seen here", UNKNOWN) for folder in hidden)
        if wish.step == GROUND:
            return {STORAGE: Proof(unseen)}
        everybody: List[Check] = []
        with self._client(anonymous=True) as client:
            for what, path in [("the list of buckets", "/"), *((f"bucket {bucket.name}", f"/{bucket.name}") for bucket in wish.buckets)]:
                everybody.append(_check(f"{what}, without credentials", 403, client.ask("GET", path).status))
        door = Door(wish.names[0], wish.places.address, wish.places.port, "", wish.places.region)
        status = in_plain_text(door, _PATIENCE)
        everybody.append(
            Check("a request without TLS", "refused", "refused" if status in (None, 400) else f"HTTP {status}", PASS if status in (None, 400) else FAIL)
        )
        if wish.plain_port:
            everybody.append(_check("the list of buckets, without credentials and without TLS", 403, plain.answer(wish, wish.names[0])))
        named: List[Check] = []
        for one in wish.identities:
            with self._client(Keys(one.access, one.secret)) as client:
                foreign = [bucket.name for bucket in wish.buckets if bucket.name not in one.buckets][:1]
                for bucket, wanted in [*((bucket, 200) for bucket in one.buckets), *((bucket, 403) for bucket in foreign)]:
                    answer = client.ask("GET", f"/{bucket}", {"list-type": "2", "max-keys": "1"})
                    named.append(_check(f"bucket {bucket}, as {one.access}", wanted, answer.status))
        pooled = self._seen.pool if self._seen else None
        told = pooled.illness or "it can" if pooled else ""
        together = (Check("the pool can be read and written", "it can", told, PASS if told == "it can" else FAIL),) if told else ()
        return {MEMBERS: Proof(together), BUCKETS: Proof(tuple(everybody)), IDENTITIES: Proof(tuple(named)), STORAGE: Proof(unseen)}


def _check(what: str, expected: int, status: int) -> Check:
    return Check(what, f"HTTP {expected}", f"HTTP {status}", PASS if status == expected else FAIL)


def _encoded(text: Optional[str]) -> bytes:
    """Return the first certificate of a PEM file as DER; nothing when it holds none."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if not text or begin not in text or end not in text:
        return b""
    try:
        return ssl.PEM_cert_to_DER_cert(begin + text.partition(begin)[2].partition(end)[0] + end)
    except ValueError:
        return b""


VERB = Verb(ARGUMENTS, ObjectStore, secrets_of)
