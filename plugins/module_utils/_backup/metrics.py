# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus is told of recovery points, as a file that node_exporter reads. Moments, not ages: a file that nobody writes any more gets old by itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Listing
from ansible_collections.paas.hardening.plugins.module_utils._backup.continuity import etcd_problems, log_problems
from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import told
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.files import replace as replace_file

MODE = 0o644
_HELP = {
    "paas_backup_metrics_timestamp_seconds": "When these numbers were written. When this gets old, nothing below can be believed.",
    "paas_backup_interval_seconds": "How old the newest point may be.",
    "paas_backup_point_timestamp_seconds": "The moment whose data the newest proved point of a kind holds at least.",
    "paas_backup_point_restore_seconds": "How long the proof of the newest point of a kind took to have its data back.",
    "paas_backup_points": "Proved points in the repository.",
    "paas_backup_points_bytes": "Bytes of all proved points.",
    "paas_backup_problems": "Damaged points, holes and contradictions in the repository.",
    "paas_backup_run_timestamp_seconds": "When the last run of the schedule ended.",
    "paas_backup_run_success": "Whether the last run of the schedule succeeded.",
    "paas_backup_run_success_timestamp_seconds": "When a run of the schedule last succeeded, 0 for never.",
    "paas_backup_drill_timestamp_seconds": "When a point was last restored for a try.",
    "paas_backup_drill_success": "Whether that came out as promised.",
    "paas_backup_drill_point_timestamp_seconds": "The moment of the point that was tried, 0 when it could not be read.",
    "paas_backup_drill_restore_seconds": "How long it took to have a kind back.",
    "paas_backup_copy_timestamp_seconds": "When a run last looked at the copy in another place.",
    "paas_backup_copy_success": "Whether that run came to its end.",
    "paas_backup_copy_interval_seconds": "How old the newest copied point may be.",
    "paas_backup_copy_missing": "Points that are not there, or not whole, and objects there that are not what was stored.",
    "paas_backup_copy_point_timestamp_seconds": "The moment whose data the newest whole copy holds at least, 0 when there is none.",
    "paas_backup_copy_locked_until_timestamp_seconds": "Until when nobody can delete the newest copy, 0 when anybody can.",
}


@dataclass(frozen=True)
class Ran:
    """A run of a schedule: when it ended, whether it succeeded, and when one last did, in seconds since 1970; and the age of points that was asked for."""

    ended: float
    succeeded: bool
    last_success: float
    interval: float


@dataclass(frozen=True)
class Copies:
    """What a copy in another place lacks, the moment of its newest whole point and until when that is locked, in seconds since 1970, 0 for neither."""

    missing: int
    newest: float
    locked_until: float


@dataclass
class _Text:
    """Lines of the exposition format, those of one name together."""

    repository: str
    lines: Dict[str, List[str]] = field(default_factory=dict)

    def add(self, name: str, value: float, kind: str = "") -> None:
        labels = {"repository": self.repository, **({"kind": kind} if kind else {})}
        written = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        self.lines.setdefault(name, [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge"]).append(f"{name}{{{written}}} {value!r}")

    def __str__(self) -> str:
        return "".join(f"{line}\n" for lines in self.lines.values() for line in lines)


def of_repository(folder: str, listing: Listing, now: float, ran: Ran) -> str:
    """Return what a repository holds, and how its schedule ran. Pure."""
    text = _Text(folder)
    text.add("paas_backup_metrics_timestamp_seconds", now)
    text.add("paas_backup_interval_seconds", ran.interval)
    newest: Dict[str, Tuple[float, float]] = {}
    for point in listing.points:
        for kind in point.kinds:
            newest[kind] = (point.instant, float((point.proofs.get(kind) or {}).get("restored_in", 0.0)))
    for kind, (instant, restored_in) in sorted(newest.items()):
        text.add("paas_backup_point_timestamp_seconds", instant, kind)
        text.add("paas_backup_point_restore_seconds", restored_in, kind)
    text.add("paas_backup_points", len(listing.points))
    text.add("paas_backup_points_bytes", sum(point.size for point in listing.points))
    text.add("paas_backup_problems", len(listing.damaged) + len(etcd_problems(listing.points)) + len(log_problems(listing.points)))
    text.add("paas_backup_run_timestamp_seconds", ran.ended)
    text.add("paas_backup_run_success", int(ran.succeeded))
    text.add("paas_backup_run_success_timestamp_seconds", ran.last_success)
    return str(text)


def of_drill(folder: str, now: float, instant: Optional[float], seconds: Mapping[str, float], succeeded: bool) -> str:
    """Return how a drill came out. Pure."""
    text = _Text(folder)
    text.add("paas_backup_drill_timestamp_seconds", now)
    text.add("paas_backup_drill_success", int(succeeded))
    text.add("paas_backup_drill_point_timestamp_seconds", instant or 0.0)
    for kind, took in sorted(seconds.items()):
        text.add("paas_backup_drill_restore_seconds", took, kind)
    return str(text)


def of_copy(folder: str, now: float, interval: float, seen: Optional[Copies]) -> str:
    """Return how far a repository is copied to another place; only that the run failed when nothing was ``seen``. Pure."""
    text = _Text(folder)
    text.add("paas_backup_copy_timestamp_seconds", now)
    text.add("paas_backup_copy_success", int(seen is not None))
    text.add("paas_backup_copy_interval_seconds", interval)
    if seen is not None:
        text.add("paas_backup_copy_missing", seen.missing)
        text.add("paas_backup_copy_point_timestamp_seconds", seen.newest)
        text.add("paas_backup_copy_locked_until_timestamp_seconds", seen.locked_until)
    return str(text)


def check_path(path: str, option: str) -> None:
    """Raises Invalid for a file that node_exporter would not read."""
    if not os.path.isabs(path) or not path.endswith(".prom"):
        raise Invalid(f"{option} is {path!r}.", "Give the whole path of a file *.prom in the folder of node_exporter's textfile collector.", option)


def write(path: str, text: str) -> None:
    """Write a file of metrics in one step: a reader sees the old one or the new one. Raises Unavailable, Forbidden."""
    with told("written", path):
        replace_file(path, text, MODE)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
