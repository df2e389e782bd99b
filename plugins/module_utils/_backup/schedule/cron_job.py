# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery points are made by a CronJob, or no more. What workflow_backup does with schedule.image; it never touches a point, nor the claim that holds them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import ARGUMENTS, SOURCE
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import cron_live, cron_trial, pod
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_live import CronLive
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_objects import (
    PROVED,
    CronWish,
    Documents,
    Names,
    cron_wish_of,
    files_of,
    names_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_plan import planned, removal
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.pod_places import READY
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import read_key
from ansible_collections.paas.hardening.plugins.module_utils._backup.site import Site
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Finding, Proof, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Plan
from ansible_collections.paas.hardening.plugins.module_utils._host.archive import archive

_CONTROL, _TITLE = "recovery-point-schedule", "Recovery points are made by a CronJob that runs"
_ON, _OFF, _GONE = "on", "suspended", "gone"
# The first that knows a CronJob's time zone without being asked to.
_OLDEST = (1, 25)


@dataclass(frozen=True)
class Observed:
    """A schedule as it is at one moment, in seconds since 1970, and its objects as they have to be: none when it has to go."""

    now: float
    live: CronLive
    wanted: Optional[Documents]


class CronSchedule:
    """One schedule of a cluster at work."""

    def __init__(self, params: Mapping[str, Any], wanted: bool) -> None:
        self._names: Names = names_of(params["schedule"])
        self._wish: Optional[CronWish] = cron_wish_of(params, ARGUMENTS, _files(params)) if wanted else None
        self._site = Site(params["cluster"])
        self._repository = str(params["repository"])
        self._documents: Optional[Documents] = None
        self._tried: Tuple[Check, ...] = ()
        # What was written of the Secret, as long as it is not known that a run works with it.
        self._untried = Plan()

    def observe(self) -> Observed:
        """Look at the objects. Raises NotFound without the claim or the service account, and Refused for a server that is too old."""
        namespace = self._site.namespace
        if self._wish is not None and self._documents is None:
            self._check_ground(self._wish, namespace)
            self._documents = self._wish.documents(archive(pod.__name__), namespace, self._site.platform.name)
        return Observed(time.time(), cron_live.look(self._site.objects, self._names, namespace), self._documents)

    def _check_ground(self, wish: CronWish, namespace: str) -> None:
        told: Mapping[str, Any] = self._site.connection.request("GET", "/version").data
        numbers = tuple(int("".join(re.findall(r"\d", str(told.get(part)))) or 0) for part in ("major", "minor"))
        if numbers < _OLDEST:
            release = ".".join(map(str, numbers))
            raise Refused(f"The API server is of {release}: its CronJobs know no time zone.", "Let a timer of systemd make the points.", "schedule.image")
        if self._site.objects.find(KINDS["PersistentVolumeClaim"], wish.claim, namespace) is None:
            raise NotFound(
                f"There is no claim {wish.claim} in the namespace {namespace}.",
                "Make it first, on storage that outlives this cluster: it holds the repository.",
                "schedule.volume_claim",
            )
        if self._site.objects.find(KINDS["ServiceAccount"], wish.account, namespace) is None:
            raise NotFound(
                f"There is no service account {wish.account} in the namespace {namespace}.",
                f"docs/rbac-backup-cronjob.yml makes it: sed s/NAMESPACE/{namespace}/g docs/rbac-backup-cronjob.yml | kubectl apply -f -",
                "schedule.service_account",
            )

    def plan(self, observed: Observed) -> Plan:
        """Compare. Raises Refused when it has to go while a run is at work, and for objects of somebody else."""
        live = observed.live
        if observed.wanted is not None:
            return planned(observed.wanted, live.secret, live.cronjob)
        if live.running:
            name = next(str(job["metadata"]["name"]) for job in reversed(live.jobs))
            raise Refused(f"A run of {self._names.cronjob} is at work.", f"Let it end, or stop it: kubectl delete job {name}", self._names.cronjob)
        return removal(self._names.refs(self._site.namespace), (live.secret, live.cronjob))

    def apply(self, plan: Plan) -> None:
        """Write one object: the CronJob only after a run could do its work in the pod that it will start. Raises NotProven when none could."""
        change = plan.changes[0]
        if change.ref.kind == "CronJob" and change.after is not ABSENT:
            self._try()
        self._site.objects.apply_plan(plan)
        self._untried = plan if change.ref.kind == "Secret" and self._documents is not None and not self._tried else Plan()

    def settle(self, observed: Observed, plan: Plan) -> float:
        """See that a run works with a Secret that was mended, too."""
        if plan and observed.wanted is not None:
            self._try()
            self._untried = Plan()
        return 0.0

    def abandon(self) -> str:
        """Give the runs that there are the Secret back that they work with, when none could work with the new one."""
        if not self._untried:
            return ""
        before = Plan(tuple(change.undone() for change in self._untried.changes))
        self._untried = Plan()
        try:
            self._site.objects.apply_plan(before)
        except Failure as failure:
            return f"The Secret {self._names.secret} could not be brought back to what it was: {failure.message}"
        return "The Secret is as it was before."

    def _try(self) -> None:
        if self._documents is not None and not self._tried:
            self._tried = (cron_trial.prove(self._site.objects, self._documents.trial(self._names)),)

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        wish, name = self._wish, self._names.cronjob
        proof = self._proof(last) if wish is not None and not (plan and not enforced) else Proof()
        found = cron_live.problems_of(self._names, last.live, wish.cron.longest, last.now) if wish is not None and last.live.cronjob is not None else []
        problems = [problem.what for problem in found]
        finding = Finding(
            control=_CONTROL,
            title=_TITLE if wish is not None else "Recovery points are made by no CronJob of this name",
            severity="high",
            source=SOURCE,
            subject=self._repository,
            status=status_of(bool(plan), enforced, proof, wish is not None),
            expected=f"{name} {_ON if wish is not None else _GONE}",
            observed=f"{name} {_state(first.live)}",
            after=f"{name} {_state(last.live)}",
            reasons=tuple(problems),
            proof=proof,
        )
        return {
            "schedule": cron_live.as_data(self._names, self._site.namespace, last.live),
            "problems": problems,
            "findings": [finding.as_data()],
            "proof": proof.as_data(),
            "warnings": problems,
        }

    def _proof(self, last: Observed) -> Proof:
        """What was tried now, or, where nothing had to be written, what the CronJob says was tried before it was."""
        metadata: Mapping[str, Any] = (last.live.cronjob or {}).get("metadata") or {}
        checks = self._tried
        if not checks and PROVED in (metadata.get("annotations") or {}):
            checks = (Check("a run in its pod, before it was written", READY, READY, PASS),)
        return Proof((Check.equal(f"CronJob {self._names.cronjob}", _ON, _state(last.live)), *checks))


def _files(params: Mapping[str, Any]) -> Dict[str, bytes]:
    """Read what the pod gets. Raises Invalid and Refused for files that cannot be used."""
    # Whoever reads a key takes the end of its line away.
    signing = read_key(params["signing_key_file"], "signing_key_file").secret + b"\n"
    older = [read_key(path, "older_key_files").secret + b"\n" for path in params["older_key_files"]]
    return files_of(signing, older)


def _state(live: CronLive) -> str:
    if live.cronjob is None:
        return _GONE
    return _OFF if live.suspended else _ON
