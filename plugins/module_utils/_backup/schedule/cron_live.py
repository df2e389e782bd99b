# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A schedule of a cluster as it is: its Secret, its CronJob, its Jobs, and what the last of them said; and what is wrong with that."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.continuity import TOLERANCE, Problem, hours
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import moment
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_objects import Names
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.history import FAILED, RUNNING, SUCCEEDED
from ansible_collections.paas.hardening.plugins.module_utils._cluster import readiness
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._cluster.pods import pods_of_job
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import readiness_of
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub

_LONGEST = 1000


@dataclass(frozen=True)
class CronLive:
    """A schedule as it is; None where an object is not there. ``jobs`` are its runs, the newest last, and ``message`` says why that one failed."""

    secret: Optional[Mapping[str, Any]]
    cronjob: Optional[Mapping[str, Any]]
    jobs: Tuple[Mapping[str, Any], ...] = ()
    message: str = ""

    @property
    def suspended(self) -> bool:
        return self.cronjob is not None and bool((self.cronjob.get("spec") or {}).get("suspend"))

    @property
    def running(self) -> bool:
        return any(_outcome(job) == RUNNING for job in self.jobs)

    @property
    def outcome(self) -> str:
        """How the newest run ended, or that it runs; empty when there is none."""
        return _outcome(self.jobs[-1]) if self.jobs else ""

    def instant(self, name: str) -> float:
        """Return a time of the CronJob's status, in seconds since 1970, 0 for never."""
        return instant((self.cronjob or {}).get("status") or {}, name)

    @property
    def succeeded(self) -> float:
        """When a run last succeeded, those that somebody started by hand among them."""
        ended = [instant(job.get("status") or {}, "completionTime") for job in self.jobs if _outcome(job) == SUCCEEDED]
        return max([self.instant("lastSuccessfulTime"), *ended])


def look(objects: Objects, names: Names, namespace: str) -> CronLive:
    """Read all of it. Raises like Connection.request()."""
    secret = objects.find(KINDS["Secret"], names.secret, namespace)
    cronjob = objects.find(KINDS["CronJob"], names.cronjob, namespace)
    jobs = sorted(objects.list(KINDS["Job"], namespace, labels=names.selector()), key=lambda job: (str(job["metadata"]["creationTimestamp"]), _name(job)))
    message = last_words(objects, jobs[-1]) if jobs and _outcome(jobs[-1]) == FAILED else ""
    return CronLive(secret, cronjob, tuple(jobs), message)


def last_words(objects: Objects, job: Mapping[str, Any]) -> str:
    """Return what the pod of a Job said when it ended, or why it did not run, without what looks like a secret."""
    for pod in pods_of_job(objects, job["metadata"]["namespace"], job["metadata"]["uid"]):
        for status in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = (status.get("state") or {}).get("terminated") or {}
            said = " ".join(str(ended.get("message") or "").split())
            if said:
                return scrub(said)[-_LONGEST:]
            if ended:
                return f"{ended.get('reason') or 'ended'} (exit code {ended.get('exitCode')})"
        return str(readiness_of(pod).reason)
    return str(readiness_of(job).reason)


def problems_of(names: Names, live: CronLive, longest: float, now: float) -> List[Problem]:
    """Say what is wrong. ``longest`` is the longest time between two runs, in seconds."""
    if live.cronjob is None or live.secret is None:
        return [Problem(names.cronjob, "there is no such schedule in this cluster")]
    problems = [Problem(names.cronjob, "the CronJob is suspended")] if live.suspended else []
    if live.outcome == FAILED:
        began = instant(live.jobs[-1]["metadata"], "creationTimestamp")
        problems.append(Problem(names.cronjob, f"the run that began at {moment(began)} failed: {live.message}"))
    succeeded = live.succeeded
    silent = now - (succeeded or instant(live.cronjob["metadata"], "creationTimestamp"))
    if silent > longest * (1 + TOLERANCE):
        what = f"the last run that succeeded ended {hours(silent)} ago" if succeeded else f"no run has succeeded for {hours(silent)}"
        problems.append(Problem(names.cronjob, what))
    return problems


def as_data(names: Names, namespace: str, live: CronLive) -> Dict[str, Any]:
    """Return a schedule as the result of a module has it: times in UTC, empty for never."""
    return {
        "cronjob": names.cronjob,
        "namespace": namespace,
        "on_calendar": str(((live.cronjob or {}).get("spec") or {}).get("schedule") or ""),
        "enabled": live.cronjob is not None and not live.suspended,
        "running": live.running,
        "scheduled": _told(live.instant("lastScheduleTime")),
        "succeeded": _told(live.succeeded),
        "outcome": live.outcome,
        "message": live.message,
    }


def instant(fields: Mapping[str, Any], name: str) -> float:
    """Return a time that the API writes as text, in seconds since 1970; 0 for none."""
    try:
        return datetime.datetime.strptime(str(fields.get(name))[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc).timestamp()
    except ValueError:
        return 0.0


def _outcome(job: Mapping[str, Any]) -> str:
    return {readiness.READY: SUCCEEDED, readiness.FAILED: FAILED}.get(readiness_of(job).state, RUNNING)


def _name(document: Mapping[str, Any]) -> str:
    return str(document["metadata"]["name"])


def _told(when: float) -> str:
    return moment(when) if when else ""
