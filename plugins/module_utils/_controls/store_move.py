# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out the move of a platform's object storage, stage by stage, and takes the platform back to the old store when it cannot be finished."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, TypeVar

from ansible_collections.paas.hardening.plugins.module_utils._cluster.forward import forwarded
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import execute, http_through
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import (
    SWITCH,
    Settings,
    in_base64,
    present,
    text_in,
    touched,
    workload_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FREEZE
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard import Guard
from ansible_collections.paas.hardening.plugins.module_utils._controls.old_store import DELETE, Copy
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import patiently, ready_pods
from ansible_collections.paas.hardening.plugins.module_utils._controls.stages import Stages
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_job import StoreJob
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_source import Former
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_target import Target
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, MissingDependency, NotFound, NotProven, Refused, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change, Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.access import check_access
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.kept import keep, recall, remains
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import SHOWN, Entry, Listing, differences, list_bucket, peek
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine, find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.transfer import transfer

Answer = TypeVar("Answer")

PREPARE, COPY, BACK_UP, COPY_REST = "prepare", "copy", "back up", "copy the rest"
# Stages between which the platform stands still: a failure there leads back.
_STANDING_STILL = (FREEZE, BACK_UP, COPY_REST, SWITCH)
_ROWS = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in ('pg_catalog', 'information_schema') order by 1;\n"
_MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


class Pair(NamedTuple):
    """A bucket of the store that is left, the one that takes its place, and what it lacks. ``objects`` and ``size`` (bytes) are those of the source."""

    role: str
    source: str
    target: str
    place: str
    exists: bool
    objects: int
    size: int
    missing: int
    # What moves the bytes, where that is not we.
    mover: str = ""

    def wanted(self, stage: str) -> List[Wanted]:
        document = {"apiVersion": "", "kind": "Bucket", "metadata": {"name": f"{self.place}/{self.target}"}}
        everything = f"{self.objects} objects, {self.size} bytes"
        if stage == PREPARE:
            how = "exists" if self.exists else "missing"
            return [
                Wanted(
                    document,
                    ("state",),
                    "can be listed, written and emptied",
                    "rights are tried before anything is touched",
                    stage=stage,
                    step=True,
                    standing=how,
                )
            ]
        if stage == COPY:
            found = f"{self.objects - self.missing} of {everything}"
            why = f"takes the place of the bucket {self.source}, which goes on working meanwhile{self.mover}"
            return [Wanted(document, ("objects",), f"{everything}, proved byte by byte", why, stage=stage, step=True, standing=found)]
        why = "what was written since the first copy"
        return [Wanted(document, ("objects",), "the same keys and bytes as the source", why, stage=stage, step=True, standing="as of the first copy")]


class Side(NamedTuple):
    """One of the two stores: a name for people, its buckets by role, and how to reach it for a while."""

    place: str
    buckets: Mapping[str, str]
    reach: Callable[[], ContextManager[Store]]


class Move:
    """The move of one platform in one run. It remembers listings, what was written since the platform stands still, and what the database held then."""

    def __init__(self, site: Site, params: Mapping[str, Any], target: Target) -> None:
        self._site = site
        self._params = params
        self._target = target
        self._facts = site.platform.object_storage
        self._back = params["state"] == "reverted"
        self._engine: Optional[Engine] = None
        self._job = StoreJob(site, params) if params["job_image"] else None
        # Whether the stores are spoken to from within the cluster.
        self._within = False
        self._pairs: Optional[Tuple[Pair, ...]] = None
        self._tried = False
        self._credentials: Mapping[str, Any] = {}
        self._bundled: Optional[Mapping[str, Any]] = None
        self._former: Optional[Former] = None
        self.stages = Stages(site, params, _STANDING_STILL, Guard(site, params, touched(self._facts), () if self._back else target.addresses))
        self._rows: Optional[Mapping[str, int]] = None

    @property
    def _origin(self) -> Side:
        if self._back:
            return self._outside
        former = self._former
        return Side(former.store.name, former.buckets, lambda: contextlib.nullcontext(former.store)) if former else self._inside

    @property
    def _destination(self) -> Side:
        return self._inside if self._back else self._outside

    @property
    def _outside(self) -> Side:
        store = self._target.store
        return Side(store.name, self._target.buckets, lambda: contextlib.nullcontext(store))

    @property
    def _inside(self) -> Side:
        buckets = {user.role: user.bucket for user in self._facts.users if user.role}
        return Side(self._facts.bundled.workload.name, buckets, self._bundled_store)

    def pairs(self, bundled: Optional[Mapping[str, Any]], credentials: Optional[Mapping[str, Any]], former: Optional[Former] = None) -> Tuple[Pair, ...]:
        """Return what there is to move, out of the bundled store or a former one, from one listing of each bucket on both sides."""
        if former is None and (bundled is None or credentials is None):
            raise Refused(
                f"The bundled store {self._facts.bundled.workload.name} is not there, but the move needs it.",
                "Bring it back first (helm rollback, or scale it up).",
                subject=self._facts.bundled.workload.name,
            )
        self._bundled, self._credentials, self._former = bundled, credentials or {}, former
        if self._pairs is None:
            self.stages.check_rights()
            if self._job is not None:
                self._job.check_rights()
            self._pairs = self._look(self._compare)
        return self._pairs

    def _compare(self) -> Tuple[Pair, ...]:
        with self._origin.reach() as source, self._destination.reach() as target:
            return tuple(self._pair(source, target, role) for role in self._origin.buckets)

    def _look(self, ask: Callable[[], Answer]) -> Answer:
        """Ask the stores from where we are. Where there is no rclone, or no way to them, they are asked from within the cluster, if a Job may be made."""
        if self._job is None or self._within:
            return ask()
        try:
            return ask()
        except (MissingDependency, TimedOut, Unavailable):
            self._within = True
        return ask()

    def leave(self) -> None:
        """Take away what works for us in the cluster."""
        if self._job is not None:
            self._job.leave()

    def try_credentials(self) -> None:
        """List a page of each bucket outside, as far as that has not been done. Raises Invalid, Forbidden or NotFound when the platform could not, either."""
        if not self._tried:
            for name in self._target.buckets.values():
                self._look(functools.partial(self._first, name))
            self._tried = True

    def _first(self, bucket: str) -> Tuple[List[Entry], bool]:
        """Return the first object of a bucket outside, if there is one."""
        return peek(self._rclone(), self._target.store, bucket, 1)

    def _pair(self, source: Store, target: Store, role: str) -> Pair:
        bucket, name = self._origin.buckets[role], self._destination.buckets[role]
        mover = f", moved by a Job with the image {self._job.image}" if self._job else ""
        held, there = self._listed(source, bucket, "origin"), self._listed(target, name, "destination")
        if held is None:
            return Pair(role, bucket, name, self._destination.place, there is not None, 0, 0, 0, mover)
        missing = held.objects
        if there is not None:
            changed: List[str] = []
            missing = 0
            for difference in differences(held, there):
                missing += difference.kind != "extra"
                if difference.kind not in ("extra", "missing") and len(changed) < SHOWN:
                    changed.append(difference.key)
            # On the way back the bundled store holds what was there when it was left: that is older by nature, as is what we began to copy before.
            if changed and not self._back and not self._params["overwrite"] and not os.path.exists(self._begun(role)):
                raise Refused(
                    f"The bucket {name} holds other contents under the same keys as the bucket {bucket}: {', '.join(changed)}.",
                    "Is it the right bucket? Take an empty one, or set overwrite to true.",
                    subject=f"buckets.{role}",
                )
        return Pair(role, bucket, name, self._destination.place, there is not None, held.objects, held.bytes, missing, mover)

    def _begun(self, role: str) -> str:
        """The file that tells the next run that a bucket of this target was filled by us."""
        return os.path.join(self._folder("begun"), f"{role}-{hashlib.sha256(self._target.store.name.encode()).hexdigest()[:16]}")

    def _record(self, role: str) -> Tuple[str, str]:
        """The file in which the proof of a bucket's copy is kept, and that of the objects that it is about."""
        folder, name = self._folder("copied"), f"{role}-{hashlib.sha256(self._destination.place.encode()).hexdigest()[:16]}"
        return os.path.join(folder, f"{name}.json"), os.path.join(folder, f"{name}.proved")

    def forget(self) -> None:
        """Forget what was proved of the bundled store, since the platform goes on writing there."""
        folder = self._folder("copied")
        for name in os.listdir(folder) if self._former is None else ():
            os.unlink(os.path.join(folder, name))

    def copies(self, bundled: Mapping[str, Any]) -> Tuple[Copy, ...]:
        """Return the proved copies of the bundled store's buckets, and what one listing of each shows of them now.

        Raises NotFound where no proof is kept of one, NotProven where it cannot be believed or is about another bucket, and what listing a bucket raises.
        """
        self._bundled = bundled
        found = []
        for role, bucket in sorted(self._inside.buckets.items()):
            record, proved = self._record(role)
            kept = recall(record, proved)
            name, store = self._target.buckets[role], self._target.store
            if (kept.source, kept.store, kept.bucket) != (f"{self._inside.place}/{bucket}", store.name, name):
                raise NotProven(
                    f"What was proved of {role} is a copy of {kept.source} in {kept.store}/{kept.bucket}, and not in {store.name}/{name}.",
                    "Only the move out of the bundled store proves that it can go.",
                    subject=f"buckets.{role}",
                )
            listing = self._look(functools.partial(self._listed, store, name, "destination"))
            if listing is None:
                raise NotFound(f"The bucket {name} does not exist any more.", "Look at the new store.", subject=f"buckets.{role}")
            found.append(Copy(role, kept, remains(proved, listing)))
        return tuple(found)

    def _listed(self, store: Store, bucket: str, side: str) -> Optional[Listing]:
        """List a bucket; None when it does not exist."""
        try:
            return list_bucket(self._rclone(), store, bucket, self._folder("listings"), f"{side}-{bucket}")
        except NotFound:
            return None

    def _folder(self, *parts: str) -> str:
        uid = str((self._bundled or {}).get("metadata", {}).get("uid", "none"))
        folder = os.path.join(os.path.expanduser(self._params["work_folder"]), uid, *parts)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return folder

    def _rclone(self) -> Engine:
        if self._within and self._job is not None:
            return self._job.engine(self._bundled)
        if self._engine is None:
            self._engine = find(self._params["rclone"])
        return self._engine

    @contextlib.contextmanager
    def _bundled_store(self) -> Iterator[Store]:
        """Yield the bundled store as it can be reached: from here through a port of its pod, from within the cluster by its Service."""
        facts, bundled = self._facts.bundled, self._bundled
        keys = [text_in(self._credentials, key) for key in (facts.access_key, facts.secret_key)]

        def store(address: str) -> Store:
            return Store("s3", address, "us-east-1", keys[0] or "", keys[1] or "", title=f"{facts.workload.name} in {self._site.namespace}")

        if self._within:
            service = self._site.objects.get(KINDS["Service"], facts.workload.name, self._site.namespace)
            host = str(service["spec"]["clusterIP"])
            yield store(f"http://{f'[{host}]' if ':' in host else host}:{facts.port}")
            return

        def pod() -> str:
            pods = ready_pods(self._site.objects, bundled) if bundled else []
            if not pods:
                raise NotFound(f"No pod of {facts.workload.name} is ready.", "The bundled store has to run until its data are moved.", facts.workload.name)
            return str(pods[0]["metadata"]["name"])

        with forwarded(self._site.connection, self._site.namespace, pod, facts.port) as forward:
            yield store(f"http://127.0.0.1:{forward.port}")

    def carry_out(self, piece: Plan) -> None:
        """Do one piece."""
        change = piece.changes[0]
        self.stages.begin(change.stage)
        # Whatever looked at the stores before: they are worked on from where it was asked for.
        self._within = self._within or (self._job is not None and change.stage == PREPARE)
        if change.stage == PREPARE:
            self._prepare(change)
        elif change.stage == COPY:
            self._copy(change, exact=False)
        elif change.stage == BACK_UP:
            self._back_up()
        elif change.stage == COPY_REST:
            self._copy(change, exact=True)
        elif change.stage == DELETE:
            self._site.objects.apply_plan(piece)
        else:
            ref = self.stages.write(change.stage, piece)
            if change.stage == SWITCH and ref.kind != "Secret":
                self._compare_rows(ref.name)

    def _pair_of(self, change: Change) -> Pair:
        return next(pair for pair in self._pairs or () if change.ref.name == f"{pair.place}/{pair.target}")

    def _prepare(self, change: Change) -> None:
        pair = self._pair_of(change)
        with self._destination.reach() as target:
            if self._job is None:
                check_access(self._rclone(), target, pair.target, create=self._params["create_buckets"])
                return
            with self._job.reaching(target.name):
                check_access(self._rclone(), target, pair.target, create=self._params["create_buckets"])
        # Nobody has looked at the source from there yet. A bucket that nothing was written to need not be there.
        with self._origin.reach() as source, self._job.reaching(source.name), contextlib.suppress(NotFound):
            peek(self._rclone(), source, pair.source, 1)

    def _copy(self, change: Change, exact: bool) -> None:
        pair = self._pair_of(change)
        if not exact:
            self.forget()
        with self._origin.reach() as source, self._destination.reach() as target:
            record, proved = self._record(pair.role)
            names = (record, proved, f"{self._origin.place}/{pair.source}", target.name, pair.target)
            if pair.objects == 0 and self._listed(source, pair.source, "origin") is None:
                if exact and not self._back:
                    keep(*names, 0, 0)
                return
            with open(self._begun(pair.role), "ab"):
                # Its being there is all that it says.
                pass
            # On the way back objects that were deleted meanwhile may still lie in the bundled store: they harm nobody.
            done = transfer(
                self._rclone(),
                source,
                pair.source,
                target,
                pair.target,
                self._folder("proved"),
                progress=lambda _step: self.stages.begin(change.stage),
                exact=exact and not self._back,
                live=not exact,
                proved_list=proved if exact and not self._back else None,
            )
            if exact and not self._back:
                keep(*names, done.proved_objects, done.bytes)
        self._pairs = tuple(entry._replace(exists=True, missing=0) if entry is pair else entry for entry in self._pairs or ())

    def _back_up(self) -> None:
        """Let the database make a whole backup, and note how many rows it holds: it has to hold as many when it comes back from the new store."""
        if self._facts.backup is None:
            return
        workload, command = self._facts.backup
        database = self._site.objects.get(KINDS[workload.kind], workload.name, self._site.namespace)
        self._rows = self._count_rows(database)
        pod = self._ready_pod(database)
        ended = execute(self._site.connection, self._site.namespace, pod, command, workload.container, timeout=self.stages.left)
        if ended.code != 0:
            raise NotProven(
                f"{' '.join(command)} in {workload.name} ended with status {ended.code}: there is no new backup.",
                "Look at the log of the database.",
                workload.name,
            )

    def _ready_pod(self, workload: Mapping[str, Any]) -> str:
        pods = patiently(lambda: ready_pods(self._site.objects, workload), bool, Deadline(self._params["wait_timeout"]))
        if not pods:
            raise NotFound(f"No pod of {workload['metadata']['name']} is ready.", "Look at its pods.", str(workload["metadata"]["name"]))
        return str(pods[0]["metadata"]["name"])

    def _count_rows(self, database: Mapping[str, Any]) -> Mapping[str, int]:
        """Return the number of rows of each table of the platform's database."""
        accounts = self._site.platform.registration.accounts
        pod = self._ready_pod(database)

        def ask(statement: str) -> List[str]:
            answer = execute(self._site.connection, self._site.namespace, pod, list(accounts.command), accounts.workload.container, statement, timeout=120)
            if answer.code != 0:
                raise NotProven(f"The rows of {accounts.workload.name} could not be counted: psql ended with status {answer.code}.", "Look at its log.")
            return answer.stdout.splitlines()

        tables = [line for line in ask(_ROWS) if line]
        counts = ask("".join(f"select count(*) from {table};\n" for table in tables)) if tables else []
        return dict(zip(tables, map(int, counts)))

    def _compare_rows(self, name: str) -> None:
        if self._rows is None or self._facts.backup is None or name != self._facts.backup[0].name:
            return
        workload = self._facts.backup[0]
        found = self._count_rows(self._site.objects.get(KINDS[workload.kind], workload.name, self._site.namespace))
        fewer = sorted(table for table, rows in self._rows.items() if found.get(table, -1) != rows)
        if fewer:
            table = fewer[0]
            raise NotProven(
                f"The database came back from the new store with other contents: {table} has {found.get(table, 'no')} rows, and had {self._rows[table]}.",
                "Look at the backups in the database bucket.",
                subject=name,
            )

    def probe(self, settings: Settings) -> Proof:
        """Look into each bucket, and read an image through the registry."""
        checks = [self._peeked(role, name) for role, name in sorted(self._target.buckets.items())]
        return Proof((*checks, *self._pulled(settings)))

    def _peeked(self, role: str, name: str) -> Check:
        what = f"bucket {self._target.store.name}/{name}"
        try:
            found, _more = self._look(functools.partial(self._first, name))
        except NotFound:
            return Check(what, "can be listed", "does not exist", FAIL)
        except Failure as failure:
            return Check(what, "can be listed", failure.message, UNKNOWN)
        return Check(what, "can be listed", f"listed, {'holds objects' if found else 'empty'}", PASS)

    def _pulled(self, settings: Settings) -> Iterator[Check]:
        """Read one image's manifest and first layer through the platform's registry, as whom it asks for a password."""
        user = next((user for user in present(self._facts, settings) if user.role == "registry"), None)
        if user is None:
            return
        document = workload_of(settings, user.workloads[0])
        what = f"an image read through {user.workloads[0].name}"
        entrance: Dict[str, str] = {}
        if self._facts.registry_login:
            secret, *keys = self._facts.registry_login
            words = ":".join(text_in(settings.secrets[secret], key) or "" for key in keys)
            entrance["Authorization"] = f"Basic {in_base64(words)}"
        try:
            pod = self._ready_pod(document)
            yield self._image(pod, what, entrance)
        except Failure as failure:
            yield Check(what, "can be read", failure.message, UNKNOWN)

    def _image(self, pod: str, what: str, entrance: Mapping[str, str]) -> Check:
        def get(path: str, accept: str = "*/*") -> Tuple[int, Dict[str, Any]]:
            answer = http_through(self._site.connection, self._site.namespace, pod, 5000, "GET", path, {"Accept": accept, **entrance}, timeout=30)
            try:
                body = json.loads(answer.text)
            except ValueError:
                body = {}
            return answer.status, body if isinstance(body, dict) else {}

        status, catalogue = get("/v2/_catalog?n=1")
        if status != 200:
            return Check(what, "can be read", f"the catalogue answers {status}", FAIL)
        if not catalogue.get("repositories"):
            return Check(what, "can be read", "the registry answers and holds no image", PASS)
        name = catalogue["repositories"][0]
        _status, tags = get(f"/v2/{name}/tags/list")
        if not tags.get("tags"):
            return Check(what, "can be read", f"{name} has no tag", PASS)
        tag = tags["tags"][0]
        status, manifest = get(
            f"/v2/{name}/manifests/{tag}", "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
        )
        if status != 200:
            return Check(what, "can be read", f"the manifest of {name}:{tag} answers {status}", FAIL)
        digest = (manifest.get("config") or {}).get("digest")
        if digest:
            status = http_through(self._site.connection, self._site.namespace, pod, 5000, "HEAD", f"/v2/{name}/blobs/{digest}", entrance, timeout=30).status
        return Check(what, "can be read", f"{name}:{tag} answers {status}", PASS if status == 200 else FAIL)
