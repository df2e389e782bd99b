# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server of this host, as a recovery point sees it: whether it archives, and the moment at which everything that it has acknowledged is in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import account_ids
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.command import Ended, ask
from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.cluster import majors
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import Database, identifier, literal

# Where the row is that a restore has to bring back: in the database that every server has.
HEARTBEAT = "paas_hardening.heartbeat"
# So many of its rows stay: enough to tell how far a recovery to some other moment came.
_BEATS = 1000
_LOOK = 0.1
_STATE = """SELECT json_build_object(
'version', current_setting('server_version_num')::int, 'recovery', pg_is_in_recovery(),
'mode', current_setting('archive_mode'), 'command', current_setting('archive_command'),
'segment', (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
'system', (SELECT system_identifier::text FROM pg_control_system()),
'checksums', current_setting('data_checksums') = 'on',
'failing', (SELECT last_failed_time IS NOT NULL AND last_failed_time > coalesce(last_archived_time, '-infinity') FROM pg_stat_archiver),
'bytes', (SELECT sum(pg_database_size(oid))::bigint FROM pg_database),
'databases', (SELECT json_agg(datname ORDER BY datname) FROM pg_database WHERE datallowconn));
"""
_BEAT = """CREATE SCHEMA IF NOT EXISTS paas_hardening;
CREATE TABLE IF NOT EXISTS paas_hardening.heartbeat (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mark text NOT NULL, at timestamptz NOT NULL);
INSERT INTO paas_hardening.heartbeat (mark, at) VALUES ({mark}, clock_timestamp());
DELETE FROM paas_hardening.heartbeat WHERE number <= (SELECT max(number) FROM paas_hardening.heartbeat) - {beats};
"""
_PROMISE = """SELECT json_build_object('instant', extract(epoch FROM clock_timestamp()), 'lsn', lsn::text, 'segment', pg_walfile_name(lsn))
FROM pg_create_restore_point({name}) AS lsn;
"""


@dataclass(frozen=True)
class State:
    """What a server says of itself: its version as a number, the bytes of its segments and of its databases, and which databases can be entered."""

    version: int
    segment: int
    system: str
    checksums: bool
    bytes: int
    databases: Tuple[str, ...]


@dataclass(frozen=True)
class Promise:
    """A place in the log behind which nothing is missing: its name there, timeline and position, its segment, and the moment, in seconds since 1970."""

    name: str
    timeline: int
    lsn: str
    segment: str
    instant: float


class LiveServer:
    """The one server of this host. Raises Invalid when there is none, or several."""

    def __init__(self) -> None:
        found = sorted(majors())
        if len(found) != 1:
            there = ", ".join(map(str, found)) or "none"
            raise Invalid(f"This host has to have one cluster called main, and has: {there}.", "Run it where role postgres_server made one.", "postgres.engine")
        self.layout = Layout(found[0])
        self._database = Database(self.layout, start=_as_account)

    def look(self, stanza: str) -> State:
        """See that it is a primary that archives to the stanza. Raises Refused."""
        said: Dict[str, Any] = self._database.ask(_STATE)
        if said["recovery"]:
            raise Refused("This server is a standby.", "Points are made on the primary.", "postgres.engine")
        words = said["command"].split()
        if said["mode"] != "on" or "archive-push" not in words or f"--stanza={stanza}" not in words:
            raise Refused(
                f"The server does not archive its log to the stanza {stanza}: archive_mode is {said['mode']}.",
                f"Set postgres_server_archive_stanza: {stanza}, and run the role postgres_server.",
                "archive_command",
            )
        if said["failing"]:
            raise Refused("The server's last attempt to archive its log failed.", "See its log: what it could not archive is on its disk alone.", "archive")
        return State(int(said["version"]), int(said["segment"]), said["system"], said["checksums"], int(said["bytes"]), tuple(said["databases"]))

    def promise(self, mark: str, deadline: Deadline) -> Promise:
        """Write a row, name the place behind it, and wait until the server says that it is archived. Raises NotProven when that does not happen."""
        self._database.run(_BEAT.format(mark=literal(mark), beats=_BEATS))
        said: Dict[str, Any] = self._database.ask(_PROMISE.format(name=literal(mark)))
        made = Promise(mark, int(said["segment"][:8], 16), said["lsn"], said["segment"], float(said["instant"]))
        self._database.run("SELECT pg_switch_wal();\n")
        # Names of one timeline are in the order of the log.
        question = f"SELECT to_json(coalesce((SELECT last_archived_wal >= {literal(made.segment)} FROM pg_stat_archiver), false));\n"
        while not self._database.ask(question):
            if not deadline.pause(_LOOK):
                raise NotProven(f"The segment {made.segment} was not archived in time.", "See the server's log and pg_stat_archiver.", made.segment)
        return made

    def tables(self, rows: Dict[str, Dict[str, int]]) -> None:
        """Raises Invalid for a table that was named and is not there."""
        for database, wanted in rows.items():
            lacking = Database(self.layout, database, _as_account).ask(absent(list(wanted)))
            if lacking:
                raise Invalid(f"The database {database} has no table {lacking[0]}.", "Name it with its schema, as public.users.", "postgres.rows")


def _as_account(words: Sequence[str], stdin: str, seconds: float) -> Ended:
    """Run a program as the server's account, by the means of a process that a timer's unit has confined: setpriv wants more capabilities than it needs."""
    return ask(tied(["/usr/bin/env", "--chdir=/", "HOME=/nonexistent", *words], account=account_ids()), stdin, seconds)


def absent(tables: List[str]) -> str:
    """Return the question which of some tables are not there."""
    values = ", ".join(f"({literal(name)})" for name in tables)
    return f"SELECT coalesce(json_agg(name), '[]') FROM (VALUES {values}) AS wanted(name) WHERE to_regclass(name) IS NULL;\n"


def table_name(name: str) -> str:
    """Quote a table that was named with its schema. Raises Invalid."""
    schema, dot, table = name.partition(".")
    if not dot or not schema or not table:
        raise Invalid(f"postgres.rows has {name!r}.", "Name a table with its schema, as public.users.", "postgres.rows")
    return f"{identifier(schema)}.{identifier(table)}"
