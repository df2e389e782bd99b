# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""There is a recovery point, young enough and restored once; points that nobody needs any more go. The verb of workflow_backup."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import ARGUMENTS as BUCKETS_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import Buckets
from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue, Damaged, Listing, Writer
from ansible_collections.paas.hardening.plugins.module_utils._backup.continuity import etcd_problems, log_problems
from ansible_collections.paas.hardening.plugins.module_utils._backup.coverage import uncovered
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.kind import ARGUMENTS as SECRETS_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.kind import Custody
from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.kind import ARGUMENTS as ETCD_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.kind import Etcd
from ansible_collections.paas.hardening.plugins.module_utils._backup.kind import Kind, Taken
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest, StoredFile, moment
from ansible_collections.paas.hardening.plugins.module_utils._backup.needs import REPORTED, REQUIRED, refuse_incomplete, unmet
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.kind import ARGUMENTS as OBJECTS_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.kind import PlatformObjects
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import ENGINE as ARCHIVE
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.kind import Archived
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import ARGUMENTS as POSTGRES_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import Postgres
from ansible_collections.paas.hardening.plugins.module_utils._backup.retention import SKEW, Decision, Held, Policy, decide
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing, read_keys
from ansible_collections.paas.hardening.plugins.module_utils._backup.site import ARGUMENTS as SITE_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.site import Site, secrets_in
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.kind import ARGUMENTS as VOLUMES_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.kind import Volumes, folders_of
from ansible_collections.paas.hardening.plugins.module_utils._core.arguments import merge
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Forbidden, Invalid, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Finding, Proof, Source, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import so_far
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb

REPOSITORY_ARGUMENTS: Dict[str, Any] = {
    "repository": {"type": "path", "required": True},
    "signing_key_file": {"type": "path", "required": True, "no_log": False},
    "older_key_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
}
# In the order in which they are taken: what a row of the database names has to be in the buckets, so these come last.
KINDS = ("etcd", "postgres", "objects", "secrets", "volumes", "buckets")
_RULES = ("last", "daily", "weekly", "monthly", "yearly")
RETENTION_ARGUMENT: Dict[str, Any] = {
    "type": "dict",
    "options": {
        **{name: {"type": "int", "default": 0} for name in _RULES},
        "within": {"type": "str"},
        "holds": {"type": "list", "elements": "str", "default": []},
    },
    "apply_defaults": True,
}
ARGUMENTS: Dict[str, Any] = merge(
    REPOSITORY_ARGUMENTS,
    {
        "kinds": {"type": "list", "elements": "str", "choices": sorted(KINDS), "required": True},
        "max_age": {"type": "str", "default": "24h"},
        "proof": {"type": "str", "choices": ["restored"], "default": "restored"},
        "custody": {"type": "str", "choices": [REQUIRED, REPORTED], "default": REQUIRED},
        "buckets": {"type": "dict", "options": BUCKETS_ARGUMENTS, "apply_defaults": True},
        "cluster": {"type": "dict", "options": SITE_ARGUMENTS, "apply_defaults": True},
        "etcd": {"type": "dict", "options": ETCD_ARGUMENTS, "apply_defaults": True},
        "objects": {"type": "dict", "options": OBJECTS_ARGUMENTS, "apply_defaults": True},
        "postgres": {"type": "dict", "options": POSTGRES_ARGUMENTS, "apply_defaults": True},
        "secrets": {"type": "dict", "options": SECRETS_ARGUMENTS, "apply_defaults": True, "no_log": False},
        "volumes": {"type": "dict", "options": VOLUMES_ARGUMENTS, "apply_defaults": True},
        "retention": RETENTION_ARGUMENT,
        "lock_timeout": {"type": "int", "default": 600},
    },
)
SOURCE = Source(
    "Kubernetes documentation, Operating etcd clusters for Kubernetes",
    "Backing up an etcd cluster",
    "Periodically backing up the etcd cluster data is important to recover Kubernetes clusters under disaster scenarios, "
    "such as losing all control plane nodes.",
)
_CONTROL, _TITLE = "recovery-point", "There is a recovery point, young enough and proved by a restore"
_API, _POINT, _LEFTOVER = "paas.hardening/v1", "RecoveryPoint", "Leftover"
# A point that is not there yet, as retention sees it.
_COMING = "(new)"


@dataclass(frozen=True)
class Observed:
    """The repository at one moment: ``now`` in seconds since 1970, and ``satisfied``, the point that is as asked, if there is one."""

    now: float
    listing: Listing
    satisfied: Optional[Manifest]


def repository(params: Mapping[str, Any]) -> Catalogue:
    """Return the catalogue that the options name. Raises Invalid and Refused for keys that cannot be."""
    keys: KeyRing = read_keys(params["signing_key_file"], params["older_key_files"], params["repository"])
    return Catalogue(params["repository"], keys)


def damage_of(catalogue: Catalogue, point: Manifest) -> str:
    """Read a point whole, and say what is wrong with it, or nothing."""
    try:
        catalogue.verify(point)
    except NotProven as failure:
        return failure.message
    return ""


def without(listing: Listing, point: Manifest, reason: str) -> Listing:
    """Return a listing with one point among the damaged ones."""
    left = tuple(other for other in listing.points if other.identifier != point.identifier)
    return replace(listing, points=left, damaged=(*listing.damaged, Damaged(point.identifier, reason)))


def fitting(points: Sequence[Manifest], kinds: FrozenSet[str], oldest: float, now: float, complete: bool = False) -> Optional[Manifest]:
    """Return the newest point that has all kinds and is not older than ``oldest``; one from the future is a clock that jumped, and counts for nothing. Pure.

    With ``complete``, one that lacks what a restore also takes counts for nothing, either.
    """
    fits = (point for point in reversed(points) if kinds <= set(point.kinds) and oldest <= point.instant <= now + SKEW)
    return next((point for point in fits if not (complete and _needs(point))), None)


class RecoveryPoint:
    """One repository at work."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._catalogue = repository(params)
        self._max_age = seconds_of(params["max_age"], "max_age")
        self._policy = policy_of(params["retention"])
        self._lock_timeout = params["lock_timeout"]
        if not params["kinds"]:
            raise Invalid("kinds is empty.", "Name what is to be kept, for example [etcd].", "kinds")
        if self._lock_timeout < 0:
            raise Invalid(f"lock_timeout is {self._lock_timeout}.", "Give seconds, 0 or more.", "lock_timeout")
        self._wanted = frozenset(params["kinds"])
        self._complete = params["custody"] == REQUIRED
        self._site = Site(params["cluster"])
        self._kinds: Dict[str, Kind] = {name: self._kind(name, params) for name in sorted(self._wanted)}
        self._ready = False
        # The point that this run has published: it is what was asked for, however long its proof took.
        self._made = ""

    def _kind(self, name: str, params: Mapping[str, Any]) -> Kind:
        """Make one kind. What it needs it looks for when it is asked to, not before."""
        if name == "etcd":
            return Etcd(params["etcd"])
        if name == "postgres" and params["postgres"]["engine"] == ARCHIVE:
            return Archived(params["postgres"], params["repository"], self._catalogue.read)
        if name == "postgres":
            return Postgres(params["postgres"], self._site, params["repository"])
        if name == "objects":
            return PlatformObjects(params["objects"], self._site)
        if name == "secrets":
            return Custody(params["secrets"], self._site)
        if name == "volumes":
            return Volumes(params["volumes"], self._earlier_volumes)
        return Buckets(params["buckets"], self._site, self._earlier_buckets)

    def _earlier_buckets(self, store: str) -> str:
        """Return where the newest point has the buckets of a store, or nothing."""
        points = [point for point in self._catalogue.read().points if (point.kinds.get("buckets") or {}).get("store") == store]
        return os.path.join(self._catalogue.folder_of(points[-1]), "buckets") if points else ""

    def _earlier_volumes(self, host: str, folders: Sequence[str]) -> str:
        """Return where the newest point has these folders of a host, or nothing."""
        held = [(point, point.kinds["volumes"]) for point in self._catalogue.read().points if "volumes" in point.kinds]
        alike = [point for point, about in held if about["host"] == host and folders_of(about) == tuple(folders)]
        return os.path.join(self._catalogue.folder_of(alike[-1]), "volumes") if alike else ""

    def look_around(self) -> None:
        """See that a run could do its work here: that the repository can be written, and that each kind has its programs and its rights. Writes nothing."""
        above = os.path.dirname(self._catalogue.folder)
        if not os.access(self._catalogue.folder if os.path.isdir(self._catalogue.folder) else above, os.W_OK | os.X_OK):
            raise Forbidden(f"{self._catalogue.folder} cannot be written by user {os.geteuid()}.", "Let that user, or its group, write there.", "repository")
        self._catalogue.read()
        for name in sorted(self._wanted):
            self._kinds[name].look(self._catalogue.folder)

    def observe(self) -> Observed:
        """Read the catalogue, and the newest fitting point whole. Only when there is none, the sources are looked at."""
        now = time.time()
        listing = self._catalogue.read()
        satisfied = next((point for point in listing.points if point.identifier == self._made), None)
        satisfied = satisfied or fitting(listing.points, self._wanted, now - self._max_age, now, self._complete)
        if satisfied is not None:
            reason = damage_of(self._catalogue, satisfied)
            if reason:
                listing, satisfied = without(listing, satisfied, reason), None
        if satisfied is None and not self._ready:
            for name in sorted(self._wanted):
                self._kinds[name].look(self._catalogue.folder)
            self._ready = True
        return Observed(now, listing, satisfied)

    def plan(self, observed: Observed) -> Plan:
        changes: List[Change] = []
        if observed.satisfied is None:
            newest = fitting(observed.listing.points, self._wanted, 0.0, observed.now)
            before: Any = moment(newest.instant) if newest else ABSENT
            why = f"the newest proved point is older than {_age(self._max_age)}" if newest else "there is no proved point"
            for name in sorted(self._wanted):
                changes.append(Change(self._ref(_POINT, _COMING), ("kinds", name, "state"), before, "restored and compared", why))
        for name in observed.listing.leftovers:
            changes.append(Change(self._ref(_LEFTOVER, name), ("state",), "left behind", ABSENT, "an interrupted run did not come to its end"))
        for decision in reversed(self._decisions(observed)):
            if not decision.kept:
                changes.append(Change(self._ref(_POINT, decision.identifier), ("state",), "proved", ABSENT, "no rule of retention keeps it"))
        return Plan(tuple(changes))

    def apply(self, plan: Plan) -> None:
        """Do one piece of the plan under the lock. Raises Conflict when another run has changed the repository meanwhile."""
        ref = plan.changes[0].ref
        with self._catalogue.writing(Deadline(self._lock_timeout)) as writer:
            # To enter is to clear away what was left behind.
            if ref.kind == _LEFTOVER:
                return
            listing = self._catalogue.read()
            if ref.name == _COMING:
                self._take(writer, listing)
            else:
                self._remove(writer, listing, ref.name)

    def settle(self, observed: Observed, plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return ""

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        point = last.satisfied
        newest = point or fitting(last.listing.points, self._wanted, 0.0, last.now)
        damaged = {entry.name: entry for entry in (*first.listing.damaged, *last.listing.damaged)}
        problems = [problem.what for problem in (*etcd_problems(last.listing.points), *log_problems(last.listing.points))]
        problems += [f"{entry.name}: {entry.reason}" for entry in damaged.values()]
        decisions = self._decisions(last)
        problems += [f"{entry.identifier} is kept: {', '.join(entry.reasons)}" for entry in decisions if entry.undecided and entry.identifier not in damaged]
        return {
            "point": newest.as_data() if newest else {},
            "points": len(last.listing.points),
            "rpo_seconds": round(time.time() - newest.instant) if newest else -1,
            "rto_seconds": _restored_in(newest) if newest else -1.0,
            "retention": [{"identifier": entry.identifier, "kept": entry.kept, "reasons": list(entry.reasons)} for entry in decisions],
            "uncovered": uncovered(newest.kinds, KINDS) if newest else [],
            "problems": problems,
            "findings": [self._finding(first, point, newest, plan, enforced).as_data()],
            "proof": _proof_of(newest, self._wanted).as_data() if newest else Proof().as_data(),
            "warnings": problems + [f"The point alone is not enough: a restore also takes {need}." for need in _needs(newest)],
        }

    def _finding(self, first: Observed, point: Optional[Manifest], newest: Optional[Manifest], plan: Plan, enforced: bool) -> Finding:
        proof = _proof_of(newest, self._wanted) if newest else Proof()
        planned = first.satisfied is None
        return Finding(
            control=_CONTROL,
            title=_TITLE,
            severity="critical",
            source=SOURCE,
            subject=self._catalogue.folder,
            status=status_of(planned, enforced, proof, True) if planned or point else FAIL,
            expected=f"a point with {', '.join(sorted(self._wanted))}, not older than {_age(self._max_age)}, restored and compared",
            observed=_described(first.satisfied or fitting(first.listing.points, self._wanted, 0.0, first.now)),
            after=_described(newest),
            reasons=tuple(f"a restore also takes {need}" for need in _needs(newest)),
            proof=proof,
        )

    def _ref(self, kind: str, name: str) -> Ref:
        return Ref(_API, kind, name, self._catalogue.folder)

    def _decisions(self, observed: Observed) -> List[Decision]:
        """What becomes of each point, the coming one counted in."""
        held = [held_of(point) for point in observed.listing.points]
        if observed.satisfied is None:
            number = max((point.sequence for point in held), default=0) + 1
            held.append(Held(_COMING, number, observed.now, self._wanted))
        return [decision for decision in decide(held, self._policy, observed.now) if decision.identifier != _COMING]

    def _take(self, writer: Writer, listing: Listing) -> None:
        """Take, prove and publish one point. Raises Conflict when another run did so while we waited for the lock."""
        began = time.time()
        young = fitting(listing.points, self._wanted, began - self._max_age, began, self._complete)
        if young and not damage_of(self._catalogue, young):
            raise Conflict("Another run has made a point meanwhile.", "Run again.", self._catalogue.folder)
        self._site.forget()
        with writer.stage() as stage:
            taken: Dict[str, Taken] = {}
            for number, name in enumerate((kind for kind in KINDS if kind in self._wanted), 1):
                so_far(f"{name} is taken, and restored for its proof: {number} of {len(self._wanted)}")
                folder = os.path.join(stage.folder, name)
                os.mkdir(folder, 0o700)
                taken[name] = self._kinds[name].take(folder, writer.scratch)
            lacking = unmet({name: entry.needs for name, entry in taken.items()}, (offer for entry in taken.values() for offer in entry.offers))
            if self._complete:
                refuse_incomplete(lacking)
            files: Tuple[StoredFile, ...] = stage.stored_files()
            writer.publish(
                stage,
                Manifest(
                    identifier=stage.identifier,
                    repository=self._catalogue.read().identity,
                    began=began,
                    instant=min(entry.instant for entry in taken.values()),
                    ended=time.time(),
                    kinds={name: {**entry.about, "needs": list(lacking[name])} for name, entry in taken.items()},
                    files=files,
                    tools={tool: version for entry in taken.values() for tool, version in entry.tools.items()},
                    keys={"signature": self._catalogue.keys.current.name},
                    proofs={name: entry.proof_data() for name, entry in taken.items()},
                    parents=tuple(dict.fromkeys(parent for entry in taken.values() for parent in entry.parents)),
                ),
            )
        self._made = stage.identifier

    def _remove(self, writer: Writer, listing: Listing, identifier: str) -> None:
        """Remove a point of which the same is still true under the lock; and nothing goes unless the newest point is whole."""
        now = time.time()
        decisions = decide([held_of(point) for point in listing.points], self._policy, now)
        gone = {decision.identifier for decision in decisions if not decision.kept}
        point = next((point for point in listing.points if point.identifier == identifier), None)
        newest = fitting(listing.points, self._wanted, 0.0, now)
        if point is None or identifier not in gone or newest is None or damage_of(self._catalogue, newest):
            raise Conflict(f"The point {identifier} is no longer one that may go.", "Run again.", identifier)
        writer.remove(point)
        archived = self._kinds.get("postgres")
        if isinstance(archived, Archived):
            archived.tidy()


def held_of(point: Manifest) -> Held:
    """Return a point as retention sees it."""
    return Held(point.identifier, point.sequence, point.instant, frozenset(point.kinds), True, point.parents)


def policy_of(options: Mapping[str, Any]) -> Policy:
    """Return the policy that the option retention asks for. Raises Invalid."""
    within = seconds_of(options["within"], "retention.within") if options["within"] else 0.0
    return Policy(within=within, holds=frozenset(options["holds"]), **{name: options[name] for name in _RULES})


def _proof_of(point: Manifest, kinds: FrozenSet[str]) -> Proof:
    checks = [check for kind in sorted(kinds) for check in (point.proofs.get(kind) or {}).get("checks", [])]
    return Proof(tuple(Check(str(one["what"]), str(one["expected"]), str(one["observed"]), str(one["verdict"])) for one in checks))


def _restored_in(point: Manifest) -> float:
    return round(sum(float(proof.get("restored_in", 0.0)) for proof in point.proofs.values()), 3)


def _needs(point: Optional[Manifest]) -> List[str]:
    return [str(need) for about in point.kinds.values() for need in about.get("needs", [])] if point else []


def _described(point: Optional[Manifest]) -> str:
    return f"the point {point.identifier} of {moment(point.instant)}, {PASS}" if point else "no proved point"


def _age(seconds: float) -> str:
    return f"{seconds / 3600:g} h"


VERB = Verb(ARGUMENTS, RecoveryPoint, secrets_in)
