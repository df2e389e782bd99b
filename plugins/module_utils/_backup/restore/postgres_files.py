# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole PostgreSQL comes back from its backup and its log, at the point, at a moment, or with all that was received, in a folder beside the one in use."""

from __future__ import annotations

import contextlib
import os
import re
import time
from datetime import datetime
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import flush_tree, remove_tree, told
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest, moment
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import CONFIG, find
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.proof import (
    LSN,
    NAME,
    TIME,
    Judge,
    Target,
    control_of,
    judge_for,
    promised_of,
    require_room,
    restored,
)
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.received import take_over
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.place import Found, Place, changes_of, outcome_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.restorer import Outcome
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.volumes import busy
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import account_of, private_folder

ARGUMENTS: Dict[str, Any] = {
    "data_folder": {"type": "path"},
    "target_time": {"type": "str"},
    "received": {"type": "path"},
    "pgbackrest": {"type": "path"},
    "pgbackrest_config": {"type": "path", "default": CONFIG},
    "server_folder": {"type": "path"},
    "scratch_folder": {"type": "path", "default": "/var/tmp"},
}
# What tells a server to recover, and not to archive; none of it is wanted of one that goes into use.
_OF_RECOVERY = re.compile(r"\s*(restore_command|recovery_target\w*|archive_mode)\s*=")
_SEGMENT = re.compile(r"[0-9A-F]{24}")
_AUTO = "postgresql.auto.conf"


class PostgresFilesRestore:
    """The data folder of a point's server. ``folder`` is where the point has what it says of the log."""

    name, swaps = "postgres", True

    def __init__(self, options: Mapping[str, Any], point: Manifest, keys: KeyRing) -> None:
        live = options["data_folder"] or ""
        if not os.path.isabs(live) or os.path.normpath(live) == "/":
            raise Invalid(f"postgres.data_folder is {live!r}.", "Give the server's whole data folder, as /var/lib/postgresql/17/main.", "postgres.data_folder")
        self._promised = promised_of(point.kinds["postgres"])
        self._stanza = str(point.kinds["postgres"]["stanza"])
        self._options, self._point = options, point
        self._time = _target_time(options["target_time"] or "", self._promised.backed_up)
        self._received = options["received"] or ""
        if self._time and self._received:
            raise Invalid(
                "postgres.target_time and postgres.received contradict each other.", "One ends at a moment, the other at the end.", "postgres.received"
            )
        self._place = Place(os.path.normpath(live), point.identifier, keys)
        self._found = Found(None, False, False, False, False, False, {})

    def look(self) -> None:
        self._found = self._place.look(busy)

    def changes(self, swap: bool) -> List[Change]:
        return changes_of(self._place, self._found, "Restored PostgreSQL", f"it is restored to a new place, recovered to {self._aim()}, and read back", swap)

    def _aim(self) -> str:
        return self._time or ("the last record that was received" if self._received else moment(self._promised.instant))

    def restore(self, change: Change, deadline: Deadline) -> None:
        place, promised, options, account = self._place, self._promised, self._options, account_of()
        engine = find(options["pgbackrest"] or "", options["pgbackrest_config"], self._stanza)
        judge = judge_for(promised.version, options["server_folder"] or "", options["client_folder"] or "")
        require_room(os.path.dirname(place.live), promised.bytes)
        work = f"{place.fresh}.unproved"
        with place.alone(), contextlib.ExitStack() as ends:
            place.clear(self._found)
            remove_tree(work)
            ends.callback(remove_tree, work)
            with told("made", work):
                os.mkdir(work, 0o700)
                account.own(work)
            data = os.path.join(work, "data")
            above = ends.enter_context(private_folder(options["scratch_folder"], f"pgbackrest restore of {place.fresh}"))
            target, fetch = self._target(judge, work)
            if fetch:
                # What the archive has was complete; what was received goes on where it ends.
                fetch = f'{engine.fetching(data, os.path.join(above, "locks"))} || cp {fetch}/%f "%p"'
            proof, seconds, ended = restored(engine, judge, promised, target, above, deadline, fetch, data)
            if proof.verdict != PASS:
                wrong = "; ".join(f"{check.what}: {check.observed}, not {check.expected}" for check in proof.checks if check.verdict != PASS)
                raise NotProven(f"What was restored is not what was promised: {wrong}.", f"It ended {ended}. Take an older point.", place.fresh)
            _ready_for_use(data, _unarchived(judge, data, bool(fetch)))
            flush_tree(data)
            place.publish(data, proof, seconds)

    def _target(self, judge: Judge, work: str) -> Tuple[Target, str]:
        """Return where recovery has to end, and the folder of what was received, if anything was."""
        promised = self._promised
        if self._time:
            return Target(TIME, self._time, 0), ""
        if not self._received:
            return Target(NAME, promised.name, promised.timeline), ""
        into = os.path.join(work, "received")
        found = take_over(self._received, promised.first, into, judge.server.program("pg_waldump"), account_of())
        return Target(LSN, found.lsn, found.timeline), into

    def swap(self, change: Change) -> None:
        self._place.swap(busy)

    def outcome(self) -> Outcome:
        place, found = self._place, self._found
        todo = [
            "Start the server, and make a full backup at once: its log goes on on a new timeline.",
            "Make its standbys anew: they are of the old timeline.",
        ]
        if not found.swapped:
            todo.insert(0, f"Stop the server, and run again with state=swapped; or start another one on {place.fresh}, with archive_mode off.")
        return outcome_of(place, found, todo)


def _target_time(given: str, backed_up: float) -> str:
    """Return a moment as it was given. Raises Invalid for one without a zone, Refused for one before the backup ended, or to come."""
    if not given:
        return ""
    try:
        wanted = datetime.fromisoformat(re.sub(r"(\s*UTC|Z)$", "+00:00", given.strip()))
    except ValueError:
        wanted = None
    if wanted is None or wanted.tzinfo is None:
        raise Invalid(
            f"postgres.target_time is {given!r}.",
            "Give it with its zone, as 2026-11-22 08:30:00+00:00: without one two hosts mean two moments.",
            "postgres.target_time",
        )
    if wanted.timestamp() <= backed_up:
        raise Refused(
            f"{given} lies before the end of this point's backup, {moment(backed_up)}.", "Name an older point: no log leads back.", "postgres.target_time"
        )
    if wanted.timestamp() > time.time():
        raise Refused(f"{given} is still to come.", "Leave target_time out for the point itself.", "postgres.target_time")
    return wanted.isoformat(" ")


def _unarchived(judge: Judge, data: str, received: bool) -> List[str]:
    """Return what the server has to archive when it is started: the history of its timeline, without which nothing of that can ever be restored, and whole
    segments of it; and those before, when they were received and the archive may not have them.
    """
    control = control_of(judge, data)
    current = control["Latest checkpoint's REDO WAL file"]
    with told("listed", data):
        there = os.listdir(os.path.join(data, "pg_wal"))
    own = [name for name in there if _SEGMENT.fullmatch(name) and name[:8] == current[:8] and name < current]
    # What the new timeline begins in, it holds itself.
    first = min(own, default=current)
    before = [name for name in there if _SEGMENT.fullmatch(name) and name[:8] < current[:8] and name[8:] < first[8:]]
    return [f"{current[:8]}.history", *own, *(before if received else [])]


def _ready_for_use(data: str, unarchived: List[str]) -> None:
    """Take what told the server to recover, and not to archive, out of its files, and note what it has to archive: the next start is one like any other."""
    status = os.path.join(data, "pg_wal", "archive_status")
    for name in unarchived:
        ready, done = (os.path.join(status, f"{name}.{state}") for state in ("ready", "done"))
        with told("written", ready):
            if os.path.lexists(done):
                os.unlink(done)
            with open(os.open(ready, os.O_WRONLY | os.O_CREAT, 0o600), "wb"):
                account_of().own(ready)
    path = os.path.join(data, _AUTO)
    with told("written", path):
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file if not _OF_RECOVERY.match(line)]
        # In its place: owner and mode stay.
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(lines)
