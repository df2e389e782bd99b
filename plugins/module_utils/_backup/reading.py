# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository of recovery points holds, and what is wrong with it and with what fills it. The verb of workflow_backup_info: it reads only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Listing
from ansible_collections.paas.hardening.plugins.module_utils._backup.continuity import Problem, etcd_problems, log_problems, schedule_problems
from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import REPOSITORY_ARGUMENTS, damage_of, repository, without
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import live, watch
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.live import Live
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.units import Places, places_of
from ansible_collections.paas.hardening.plugins.module_utils._core.arguments import merge
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Look, Verb

ARGUMENTS: Dict[str, Any] = merge(
    REPOSITORY_ARGUMENTS,
    {
        "verify": {"type": "str", "choices": ["none", "newest", "all"], "default": "newest"},
        "interval": {"type": "str"},
        "schedule": {"type": "str"},
    },
)


@dataclass(frozen=True)
class Observed:
    """The repository at one moment, in seconds since 1970, and the schedule that was asked for."""

    now: float
    listing: Listing
    schedule: Optional[Live] = None


class Reading(Look):
    """One repository, read."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._catalogue = repository(params)
        self._verify = params["verify"]
        self._interval = seconds_of(params["interval"], "interval") if params["interval"] else 0.0
        self._places: Optional[Places] = places_of({"name": params["schedule"]}) if params["schedule"] else None

    def observe(self) -> Observed:
        listing = self._catalogue.read()
        points = listing.points if self._verify == "all" else listing.points[-1:] if self._verify == "newest" else ()
        for point in points:
            reason = damage_of(self._catalogue, point)
            if reason:
                listing = without(listing, point, reason)
        return Observed(time.time(), listing, live.look(self._places) if self._places else None)

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        listing, newest = first.listing, first.listing.newest
        problems: List[Problem] = [*etcd_problems(listing.points), *log_problems(listing.points)]
        problems += [Problem(entry.name, entry.reason) for entry in listing.damaged]
        if self._interval:
            problems += schedule_problems(listing.points, self._interval, first.now)
            if newest is None:
                problems.append(Problem(self._catalogue.folder, "there is no proved point"))
        schedule: Dict[str, Any] = {}
        if self._places is not None and first.schedule is not None:
            problems += watch.problems_of(self._places, first.schedule, self._interval, first.now)
            schedule = watch.as_data(self._places, first.schedule)
        return {
            "repository": {"folder": self._catalogue.folder, "identity": listing.identity, "size": sum(point.size for point in listing.points)},
            "newest": newest.as_data() if newest else {},
            "points": [point.as_data() for point in listing.points],
            "rpo_seconds": round(first.now - newest.instant) if newest else -1,
            "leftovers": list(listing.leftovers),
            "schedule": schedule,
            "problems": [problem.as_data() for problem in problems],
        }


VERB = Verb(ARGUMENTS, Reading)
