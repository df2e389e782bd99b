# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a schedule: gone, off, failing, or silent for too long. Pure."""

from __future__ import annotations

from typing import Any, Dict, List

from ansible_collections.paas.hardening.plugins.module_utils._backup.continuity import TOLERANCE, Problem, hours
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import moment
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.history import FAILED, RUNNING
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.live import Live
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.units import Places


def problems_of(places: Places, live: Live, interval: float, now: float) -> List[Problem]:
    """Say what is wrong. ``interval`` is the longest time between two runs that succeed, in seconds; 0 takes that between two runs of its timer."""
    lacking = [path for path in places.files() if path not in live.files]
    if lacking:
        return [Problem(places.timer, f"there is no such schedule on this host: {lacking[0]} is not there")]
    problems: List[Problem] = []
    if not live.active or not live.enabled:
        problems.append(Problem(places.timer, "the timer is off" if not live.active else "the timer is not enabled: it is off after the next reboot"))
    elif not live.next and not live.running:
        problems.append(Problem(places.timer, "the timer never goes off again"))
    last = live.last
    if last is not None and last.outcome == FAILED:
        problems.append(Problem(places.service, f"the run that began at {moment(last.began)} failed: {last.message}"))
    elif last is not None and last.outcome == RUNNING and not live.running:
        problems.append(Problem(places.service, f"the run that began at {moment(last.began)} never came to its end"))
    elif live.result not in ("", "success") and not live.running:
        problems.append(Problem(places.service, f"the last run ended with {live.result}: see journalctl -u {places.service}"))
    longest = (interval or live.period) * (1 + TOLERANCE)
    succeeded = last.succeeded if last is not None else 0.0
    silent = now - (succeeded or live.files[places.timer_file].written)
    if longest and silent > longest:
        what = f"the last run that succeeded ended {hours(silent)} ago" if succeeded else f"no run has succeeded for {hours(silent)}"
        problems.append(Problem(places.service, what))
    return problems


def as_data(places: Places, live: Live) -> Dict[str, Any]:
    """Return a schedule as the result of a module has it: times in UTC, empty for never."""
    last = live.last
    return {
        "timer": places.timer,
        "service": places.service,
        "enabled": live.enabled,
        "active": live.active,
        "running": live.running,
        "next": _told(live.next),
        "began": _told(last.began if last else 0.0),
        "ended": _told(last.ended if last else 0.0),
        "succeeded": _told(last.succeeded if last else 0.0),
        "outcome": last.outcome if last else "",
        "point": last.point if last else "",
        "message": last.message if last else "",
    }


def _told(instant: float) -> str:
    return moment(instant) if instant else ""
