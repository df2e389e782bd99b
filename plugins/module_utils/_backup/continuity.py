# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a row of recovery points hangs together: a revision that ran back, another cluster, a schedule that was missed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Mapping, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest, moment
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import lsn_of

# How much longer than its interval a schedule may take before that counts as missed: timers have jitter, and the work takes its time.
TOLERANCE = 0.25


@dataclass(frozen=True)
class Problem:
    """Something that a person has to know of: ``subject`` is the point after which, or at which, it shows."""

    subject: str
    what: str

    def as_data(self) -> Mapping[str, str]:
        return {"subject": self.subject, "what": self.what}


def etcd_problems(points: Sequence[Manifest]) -> List[Problem]:
    """Find where the history of an etcd breaks: its revision ran back (it was restored without a bump), or the cluster is another one."""
    problems: List[Problem] = []
    held = [point for point in points if "etcd" in point.kinds]
    for before, point in zip(held, held[1:]):
        was, now = before.kinds["etcd"], point.kinds["etcd"]
        if was["cluster"] != now["cluster"]:
            problems.append(Problem(point.identifier, f"another etcd cluster than in {before.identifier}: {now['cluster']}, not {was['cluster']}"))
        elif now["revision"] < was["revision"]:
            what = f"the revision ran back from {was['revision']} to {now['revision']}: etcd was restored without a bump, and what watches it may be stale"
            problems.append(Problem(point.identifier, what))
    return problems


def log_problems(points: Sequence[Manifest]) -> List[Problem]:
    """Find holes in the archive of a server's log, as the newest point saw them, and where another system, or an older timeline, took its place."""
    problems: List[Problem] = []
    held = [point for point in points if "system" in point.kinds.get("postgres", {})]
    for before, point in zip(held, held[1:]):
        was, now = before.kinds["postgres"], point.kinds["postgres"]
        if was["system"] != now["system"]:
            problems.append(Problem(point.identifier, f"another PostgreSQL than in {before.identifier}: {now['system']}, not {was['system']}"))
        elif (now["timeline"], lsn_of(now["lsn"])) < (was["timeline"], lsn_of(was["lsn"])):
            problems.append(Problem(point.identifier, f"the log ran back from {was['lsn']} to {now['lsn']}: an older copy of the server is at work"))
    for hole in held[-1].kinds["postgres"]["holes"] if held else ():
        problems.append(Problem(held[-1].identifier, f"the archive of the log: {hole}. No moment behind that can be restored from a backup before it"))
    return problems


def schedule_problems(points: Sequence[Manifest], interval: float, now: float, tolerance: float = TOLERANCE) -> List[Problem]:
    """Find where no point was made for longer than ``interval`` seconds, between points and since the last one."""
    longest = interval * (1 + tolerance)
    problems: List[Problem] = []
    for before, point in zip(points, points[1:]):
        gap = point.instant - before.instant
        if gap > longest:
            problems.append(Problem(before.identifier, f"{hours(gap)} without a point, until {moment(point.instant)}"))
        elif gap < 0:
            problems.append(Problem(point.identifier, f"its time lies {hours(-gap)} before that of {before.identifier}, the one before it: a clock jumped"))
    if points and now - points[-1].instant > longest:
        problems.append(Problem(points[-1].identifier, f"{hours(now - points[-1].instant)} without a point, until now"))
    return problems


def hours(seconds: float) -> str:
    """Write a length of time as people say it."""
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"
