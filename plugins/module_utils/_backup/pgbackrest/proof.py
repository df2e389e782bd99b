# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves a backup and the log behind it: restored to a new place, recovered by a server of our own to the promised position, and read back.

That a server starts and answers says nothing: where the log ends, it ends without a word. So the position at which it really stopped is read from the history
that it wrote itself, a row that was written last has to be there, and every index and every page is held against its table and its checksum.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import free_bytes, told
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import Engine
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.server import HEARTBEAT, table_name
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.proof import amcheck
from ansible_collections.paas.hardening.plugins.module_utils._backup.wal import Position, prove_wal
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, NotProven, Refused, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import programs
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import find as find_client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import BESIDE, ServerPrograms, account_of, find_server, recovering_server
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server, version_major, version_name
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import lsn_of
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.settings import FLOORS

NAME, TIME, LSN = "name", "time", "lsn"
# What a server that only proves needs not; its own settings come back with its files, and are overruled.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "archive_mode": "off",
    "archive_command": "",
    "autovacuum": "off",
    "hot_standby": "off",
    "logging_collector": "off",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "primary_conninfo": "",
    "recovery_init_sync_method": "syncfs",
    "session_preload_libraries": "",
    "shared_buffers": "64MB",
    "shared_preload_libraries": "",
    "ssl": "off",
    # In megabytes: what was recovered from stays, so that what no archive has can still come there.
    "wal_keep_size": "1000000",
    "synchronous_commit": "local",
    "synchronous_standby_names": "",
}
_SYNC_METHOD_SINCE = 140000
_SWITCH = re.compile(r"(\d+)\t([0-9A-F]+/[0-9A-F]+)\t(.*)")
_SHOWN = 3
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Target:
    """Where a recovery ends: at a name, a time with its zone, or the record at a position, on the way to a timeline, 0 for the last one."""

    kind: str
    value: str
    timeline: int

    def as_options(self) -> Dict[str, str]:
        return {"kind": self.kind, "value": self.value, "timeline": str(self.timeline or "latest")}


@dataclass(frozen=True)
class Promised:
    """What a point says of itself: the backup, what lies behind its target, and the least that has to be in its tables, by database and table."""

    label: str
    chain: Tuple[str, ...]
    archive: str
    system: str
    version: int
    segment: int
    checksums: bool
    start: str
    first: str
    stop: str
    name: str
    timeline: int
    lsn: str
    instant: float
    backed_up: float
    bytes: int
    databases: Tuple[str, ...]
    rows: Mapping[str, Mapping[str, int]]

    @property
    def since(self) -> Position:
        """Where a recovery begins to read the log."""
        return Position(int(self.first[:8], 16), lsn_of(self.start))

    @property
    def through(self) -> Position:
        return Position(self.timeline, lsn_of(self.lsn))

    def as_about(self) -> Dict[str, Any]:
        """Return what the manifest keeps of it."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "chain": list(self.chain),
            "databases": list(self.databases),
            "rows": {database: dict(tables) for database, tables in self.rows.items()},
        }


def promised_of(about: Mapping[str, Any]) -> Promised:
    """Read back what ``as_about`` returned. Raises NotProven for what another version wrote."""
    try:
        values = {name: about[name] for name in Promised.__dataclass_fields__}
        return Promised(**{**values, "chain": tuple(values["chain"]), "databases": tuple(values["databases"])})
    except (KeyError, TypeError):
        raise NotProven("The point does not say what its backup holds.", "A newer collection made it: use that one.", "postgres") from None


def gaps(names: Iterable[str], histories: Mapping[str, str], since: Position, through: Position, segment: int) -> List[str]:
    """Return in words what is missing or doubtful in an archive between two positions; nothing when it is whole. Pure."""
    found = prove_wal(names, histories, since, through, segment)
    return [*(str(hole) for hole in found.holes), *found.problems]


def require_whole(found: List[str]) -> None:
    """Raises NotProven when something is missing in the log that a restore reads."""
    if found:
        more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise NotProven(
            f"The archive of the log is not whole: {'; '.join(found[:_SHOWN])}{more}.",
            "Nothing after that can be restored from backups before it: take another point, and find out what removed it.",
            "archive",
        )


@dataclass(frozen=True)
class Judge:
    """The programs by which restored files are judged."""

    server: ServerPrograms
    client: Client


def judge_for(version: int, server_folder: str, client_folder: str) -> Judge:
    """Find PostgreSQL's programs of the very major version that wrote the files. Raises MissingDependency, Refused."""
    there = find_server(server_folder, version)
    if version_major(there.version) != version_major(version):
        raise Refused(
            f"The server programs in {there.folder} are of PostgreSQL {version_name(there.version)}, the backup of {version_name(version)}.",
            f"Install postgresql-{version_name(version)} here; none of its clusters has to run.",
            "server_folder",
        )
    client = find_client(client_folder, there.version)
    client.require(there.version)
    return Judge(there, client)


def require_room(folder: str, size: int) -> None:
    """Raises Refused when there is no room for restored files."""
    free = free_bytes(folder)
    if free < size + BESIDE:
        raise Refused(
            f"{folder} has {free >> 20} MiB free; the restored server takes {(size + BESIDE) >> 20} MiB.", "Make room, or give another folder.", folder
        )


def restored(
    engine: Engine,
    judge: Judge,
    promised: Promised,
    target: Target,
    folder: str,
    deadline: Deadline,
    fetch: str = "",
    data: str = "",
    segments: Sequence[str] = (),
) -> Tuple[Proof, float, str]:
    """Restore a backup below a folder from private_folder (or to ``data``), recover it to a target, and read it back. ``segments`` are read whole, too.

    Return the proof, the seconds until it answered, and where the recovery ended, in PostgreSQL's own words. Raises NotProven when it comes to no end.
    """
    account = account_of()
    kept, data = bool(data), data or os.path.join(folder, "data")
    links, locks = f"{data}.tablespaces", os.path.join(folder, "locks")
    for path in (data, locks, links):
        os.mkdir(path, 0o700)
        account.own(path)
    begun = time.monotonic()
    engine.restore(promised.label, data, links, target.as_options(), locks, deadline, fetch)
    if kept and os.listdir(links):
        raise Refused("The cluster has tablespaces, whose places nobody has named.", "Restore it by pgbackrest itself, with --tablespace-map.", data)
    settings = {**_SETTINGS, **_floors(judge, data), **({} if kept else {"fsync": "off"})}
    if promised.version < _SYNC_METHOD_SINCE:
        del settings["recovery_init_sync_method"]
    with ThreadPoolExecutor(1) as beside:
        with recovering_server(judge.server, judge.client, folder, data, settings, deadline) as server:
            seconds = time.monotonic() - begun
            reading = beside.submit(_segments, engine, segments, data, locks, deadline)
            checks, ended = _read_back(judge.client, server, promised, target, deadline)
        checks += reading.result() + _pages(judge, data, promised, deadline)
    return Proof(tuple(checks)), seconds, ended


def _segments(engine: Engine, names: Sequence[str], data: str, locks: str, deadline: Deadline) -> List[Check]:
    """Hold segments against the SHA-1 that pgBackRest has put behind their names: recovery reads each only as far as it needs, and its own records tell."""
    wrong, path = [], os.path.join(locks, "segment")
    for name in names:
        engine.fetch(name[:24], path, data, locks, deadline)
        summed = hashlib.sha1(usedforsecurity=False)
        with told("read", path), open(path, "rb") as file:
            for piece in iter(lambda: file.read(_CHUNK), b""):
                summed.update(piece)
        os.unlink(path)
        if summed.hexdigest() != name[25:65]:
            wrong.append(name[:24])
    return [Check.equal("segments that are not what was archived", "none", ", ".join(wrong) or "none")] if names else []


def _floors(judge: Judge, data: str) -> Dict[str, str]:
    """Return the settings that have to be as high as they were where the files come from."""
    said = control_of(judge, data)
    return {name: said[row] for name, row in FLOORS.items() if said.get(row, "").isdigit()}


def control_of(judge: Judge, data: str) -> Dict[str, str]:
    """Return what pg_controldata says of a data folder."""
    ended = programs.run([judge.server.program("pg_controldata"), data], programs.Entrance({"LC_ALL": "C"}), Deadline(60))
    pairs = (line.partition(":") for line in ended.output.splitlines())
    return {name: value.strip() for name, _colon, value in pairs}


def _read_back(client: Client, server: Server, promised: Promised, target: Target, deadline: Deadline) -> Tuple[List[Check], str]:
    with client.session(server, max(deadline.left, 1.0)) as session:
        said = session.query(
            "SELECT pg_is_in_recovery() AS recovering, (SELECT system_identifier::text FROM pg_control_system()) AS system,"
            " substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS line"
        )[0]
        history = session.query("SELECT pg_read_file('pg_wal/' || :'line' || '.history', true) AS text", {"line": str(said["line"])})[0]["text"] or ""
        there = {str(row["name"]) for row in session.query("SELECT datname AS name FROM pg_database WHERE datallowconn")}
        beat = session.query(f"SELECT count(*) AS rows FROM {HEARTBEAT} WHERE mark = :'mark'", {"mark": promised.name})[0]["rows"] if target.kind != TIME else 0
        late = _later(session, target) if target.kind == TIME else None
    left = _SWITCH.findall(history)
    timeline, lsn, why = (int(left[-1][0]), left[-1][1], left[-1][2].strip()) if left else (0, "0/0", "nowhere")
    # What was received goes beyond the promise; a moment may lie before it.
    wanted = {NAME: promised.lsn, TIME: promised.stop}.get(target.kind) or max(promised.lsn, target.value, key=lsn_of)
    checks = [
        Check.equal("the recovery has come to its end", "yes", "no" if said["recovering"] else "yes"),
        Check.equal("the system that it is", promised.system, str(said["system"])),
        _timeline(promised, target, timeline),
        Check("the position that was reached", f"{wanted} or later", lsn, PASS if lsn_of(lsn) >= lsn_of(wanted) else FAIL),
        Check.equal("databases that are not there", "none", ", ".join(sorted(set(promised.databases) - there)) or "none"),
    ]
    if target.kind == NAME:
        checks.append(Check.equal("where the recovery stopped", f'at restore point "{promised.name}"', why))
    if target.kind != TIME:
        checks.append(Check.equal("rows that were written last before the promise", "1", str(beat)))
    if late is not None:
        checks.append(Check.equal("rows of the heartbeat that are later than the target", "0", str(late)))
    for database in sorted(set(promised.databases) & there):
        entered = Server(server.host, server.user, database)
        checks += _rows(client, entered, promised.rows.get(database, {}), deadline)
        checks += amcheck(client, entered, database, deadline)
    return checks, f"{why}, {lsn} on timeline {timeline}"


def _timeline(promised: Promised, target: Target, left: int) -> Check:
    what = "the timeline that was left"
    if target.timeline:
        return Check.equal(what, str(target.timeline), str(left))
    return Check(what, f"{promised.timeline} or later", str(left), PASS if left >= promised.timeline else FAIL)


def _later(session: Any, target: Target) -> int:
    rows = session.query(f"SELECT count(*) AS rows FROM {HEARTBEAT} WHERE at > :'at'::timestamptz", {"at": target.value})
    return int(rows[0]["rows"])


def _rows(client: Client, server: Server, wanted: Mapping[str, int], deadline: Deadline) -> List[Check]:
    checks: List[Check] = []
    with client.session(server, max(deadline.left, 1.0)) as session:
        for table, least in sorted(wanted.items()):
            what = f"rows of {table} in {server.database}"
            try:
                found: Optional[int] = int(session.query(f"SELECT count(*) AS rows FROM {table_name(table)}")[0]["rows"])
            except (TimedOut, Invalid):
                raise
            except Failure as failure:
                return [*checks, Check(what, f"{least} or more", failure.message, FAIL)]
            checks.append(Check(what, f"{least} or more", str(found), PASS if found is not None and found >= least else FAIL))
    return checks


def _pages(judge: Judge, data: str, promised: Promised, deadline: Deadline) -> List[Check]:
    """Hold every page against its checksum, now that the server has ended."""
    if not promised.checksums:
        return []
    words = [judge.server.program("pg_checksums"), "--check", f"--pgdata={data}"]
    ended = programs.run(words, programs.Entrance({"LC_ALL": "C"}), deadline)
    bad = re.search(r"Bad checksums:\s*(\d+)", ended.output)
    observed = bad.group(1) if bad else ended.complaint.strip().splitlines()[-1] if ended.complaint.strip() else f"status {ended.status}"
    return [Check.equal("pages with a wrong checksum", "0", observed)]
