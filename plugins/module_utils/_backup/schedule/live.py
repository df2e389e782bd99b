# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A schedule as it is on this host: its files, what systemd says of its units, and what became of its last run."""

from __future__ import annotations

import datetime
import os
import pwd
import re
import stat
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import told
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import history
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.history import History
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.units import Places
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, MissingDependency
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask, do
from ansible_collections.paas.hardening.plugins.module_utils._host.files import owner_name

# Bytes. A program of ours has less than one million.
_LARGEST = 16 << 20
# How many of the next runs are looked at: workdays and weekends are among them, and the months of a year.
_ITERATIONS = 14
_ELAPSE = re.compile(r"(?:Next elapse|Iter\S* #\d+): \w+ ([\d-]+ [\d:]+)")
_UTC = re.compile(r"\(in UTC\): \w+ ([\d-]+ [\d:]+)")
_PROPERTIES = "ActiveState,UnitFileState,NeedDaemonReload,Result,NextElapseUSecRealtime,LastTriggerUSec"


@dataclass(frozen=True)
class Seen:
    """A file as it is. ``written`` is the time of its last change in seconds since 1970."""

    content: bytes
    mode: int
    owner: str
    written: float


@dataclass(frozen=True)
class Live:
    """A schedule as it is. ``next`` and ``triggered`` are in seconds since 1970, 0 for never; ``period`` is the longest time between runs, in seconds."""

    files: Mapping[str, Seen]
    enabled: bool
    active: bool
    stale: bool
    running: bool
    result: str
    next: float
    triggered: float
    left: Tuple[str, ...]
    last: Optional[History]
    period: float = 0.0


def look(places: Places) -> Live:
    """Read all of it. Raises MissingDependency on a host without systemd, Forbidden without the right to read the options."""
    if not os.path.isdir("/run/systemd/system"):
        raise MissingDependency("This host does not run systemd.", "A schedule is a timer of systemd.", subject="systemd")
    timer, service = _shown(places.timer), _shown(places.service)
    files = {path: seen for path, seen in ((path, _seen(path)) for path in places.files()) if seen is not None}
    return Live(
        files=files,
        enabled=timer.get("UnitFileState") == "enabled",
        active=timer.get("ActiveState") == "active",
        stale="yes" in (timer.get("NeedDaemonReload"), service.get("NeedDaemonReload")),
        running=service.get("ActiveState") in ("activating", "active", "deactivating"),
        result=service.get("Result", ""),
        next=_instant(timer.get("NextElapseUSecRealtime", "")),
        triggered=_instant(timer.get("LastTriggerUSec", "")),
        left=tuple(path for path in (places.state, places.stamp) if os.path.lexists(path)),
        last=history.read(places.state),
        period=_period(files.get(places.timer_file)),
    )


def _period(timer: Optional[Seen]) -> float:
    try:
        return periods(calendar_of(timer.content))[1] if timer is not None else 0.0
    except Invalid:
        # Somebody wrote nonsense into it: then systemd has no next run, which is said.
        return 0.0


def _shown(unit: str) -> Dict[str, str]:
    said = ask(["systemctl", "show", "--timestamp=unix", f"--property={_PROPERTIES}", unit])
    # systemd before 247 knows no --timestamp.
    output = said.output if not said.status else do(["systemctl", "show", f"--property={_PROPERTIES}", unit])
    return {name: value for name, _equals, value in (line.partition("=") for line in output.splitlines())}


def _instant(text: str) -> float:
    """Return the seconds since 1970 of a time as systemctl writes it; 0 for none."""
    if text.startswith("@"):
        return float(text[1:])
    words = text.split()
    try:
        # Sun 2026-11-22 04:30:00 UTC, in the zone of this host.
        return datetime.datetime.strptime(" ".join(words[1:3]), "%Y-%m-%d %H:%M:%S").timestamp()
    except ValueError:
        return 0.0


def _seen(path: str) -> Optional[Seen]:
    with told("read", path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(file.fileno())
            content = file.read(_LARGEST)
    return Seen(content, stat.S_IMODE(about.st_mode), owner_name(about.st_uid), about.st_mtime)


def home_of(account: str) -> str:
    """Return the home folder of an account. Raises Invalid when there is no such account."""
    try:
        return pwd.getpwnam(account).pw_dir
    except KeyError:
        raise Invalid(f"There is no account {account} on this host.", "Make it first, or leave schedule.account out.", "schedule.account") from None


def periods(calendar: str) -> Tuple[float, float]:
    """Return the shortest and the longest time between the next runs, in seconds, as systemd reckons; 0 for a time that comes but once. Raises Invalid."""
    said = ask(["systemd-analyze", "calendar", f"--iterations={_ITERATIONS}", calendar])
    comes = _UTC.findall(said.output) or _ELAPSE.findall(said.output)
    if said.status or not comes:
        raise Invalid(
            f"schedule.on_calendar is {calendar!r}, which systemd does not understand, or which never comes.",
            "Ask: systemd-analyze calendar EXPRESSION.",
            "schedule.on_calendar",
        )
    instants = [datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S") for text in comes]
    between = [(later - earlier).total_seconds() for earlier, later in zip(instants, instants[1:])]
    return min(between, default=0.0), max(between, default=0.0)


def calendar_of(timer: bytes) -> str:
    """Return when a timer's file says that it goes off."""
    found = re.search(rb"^OnCalendar=(.*)$", timer, re.MULTILINE)
    return found.group(1).decode("utf-8", "replace") if found else ""


def require_root() -> None:
    """Raises Forbidden for who cannot write units of systemd."""
    if os.geteuid() != 0:
        raise Forbidden("Only root can make a schedule.", "Run the task with become; schedule.account says as whom the runs themselves run.", "schedule")
