# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server and one of its databases are, as far as a decision about a move needs it. Reads the catalogue only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, Session
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.content import MINE, SCHEMAS, fix_settings, tables
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import APPLICATION, Server
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.structure import definitions


@dataclass(frozen=True)
class Sessions:
    """How many sessions a role has from one address (empty: from the server itself) in the database looked at."""

    role: str
    address: str
    count: int


@dataclass(frozen=True)
class Database:
    """A database and its server. Sizes are in bytes, ``estimated_rows`` are the server's own guess (the exact number is in proof.Fingerprint).

    ``collation_changed`` tells that the system sorts texts otherwise than when the database was made (its indexes may be wrong), None that the server does not
    know. ``free_disk`` is None: no server tells it to its clients. ``superuser`` is whether the role that looked is one. ``connections`` are those of the whole
    server, now.
    """

    version: int
    name: str
    owner: str
    bytes: int
    encoding: str
    collation: str
    collation_changed: Optional[bool]
    extensions: Dict[str, str]
    owners: Tuple[str, ...]
    tables: int
    estimated_rows: int
    sequences: int
    large_objects: int
    large_object_owners: Tuple[str, ...]
    sessions: Tuple[Sessions, ...]
    connections: int
    max_connections: int
    reserved_connections: int
    in_recovery: bool
    read_only: bool
    encrypted: bool
    superuser: bool
    free_disk: Optional[int] = None


def look(client: Client, server: Server) -> Database:
    """Return what a database and its server are. Raises what Client.session raises. What the role may not see of other roles' sessions is counted as hidden."""
    with client.session(server) as session:
        fix_settings(session)
        # 15 keeps the version of a database's collation, 16 the connections that it reserves for a role of its own.
        collation = "datcollversion <> pg_database_collation_actual_version(oid)" if session.version >= 150000 else "NULL::boolean"
        reserved = " + current_setting('reserved_connections')::int" if session.version >= 160000 else ""
        encrypted = "(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())" if session.version >= 90500 else "NULL::boolean"
        row = session.query(
            f"""SELECT datname AS name, pg_get_userbyid(datdba) AS owner, pg_database_size(oid) AS bytes, pg_encoding_to_char(encoding) AS encoding,
    datcollate || ' ' || datctype AS collation, {collation} AS collation_changed, current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int{reserved} AS reserved_connections, pg_is_in_recovery() AS in_recovery,
    current_setting('transaction_read_only') = 'on' AS read_only, coalesce({encrypted}, false) AS encrypted,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
    (SELECT sum(numbackends) FROM pg_stat_database) AS connections,
    (SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND {SCHEMAS} AND {MINE.format("c", "pg_class")}) AS estimated_rows
FROM pg_database WHERE datname = current_database()"""
        )[0]
        extensions = {entry["extname"]: entry["extversion"] for entry in session.query("SELECT extname, extversion FROM pg_extension")}
        large = session.query("SELECT pg_get_userbyid(lomowner) AS owner, count(*) AS count FROM pg_largeobject_metadata GROUP BY 1 ORDER BY 1")
        inside = session.query(
            """SELECT coalesce(usename, '(hidden)') AS role, coalesce(host(client_addr), '') AS address, count(*) AS count FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1, 2 ORDER BY 1, 2"""
        )
        defined = definitions(session)
        return Database(
            **row,
            version=session.version,
            extensions=extensions,
            owners=tuple(sorted({entry.owner for entry in defined} - {""})),
            tables=len(tables(session)),
            sequences=sum(entry.kind == "sequence" for entry in defined),
            large_objects=sum(entry["count"] for entry in large),
            large_object_owners=tuple(entry["owner"] for entry in large),
            sessions=tuple(Sessions(**entry) for entry in inside),
        )


@dataclass(frozen=True)
class Room:
    """The connections of a server: all, those kept for superusers, and those that others have now."""

    max_connections: int
    reserved: int
    others: int


def room(client: Client, server: Server, ours: Sequence[str]) -> Room:
    """Return how many connections a server has. Those to the databases ``ours`` are not counted as others', nor is that of the question itself.

    Raises what Client.session raises.
    """
    with client.session(server) as session:
        reserved = " + current_setting('reserved_connections')::int" if session.version >= 160000 else ""
        row = session.query(
            f"""SELECT current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int{reserved} AS reserved,
    (SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
     AND datname NOT IN (SELECT json_array_elements_text(:'ours'))) AS others""",
            {"ours": json.dumps(list(ours))},
        )[0]
    return Room(row["max_connections"], row["reserved"], row["others"])


@dataclass(frozen=True)
class Visits:
    """Who uses a database: sessions of others now, and all that there ever were; 0 where the server does not count them (before version 14)."""

    now: int
    ever: int


def visits(session: Session) -> Visits:
    """Return the visits of the session's own database. Our own sessions are not among those of now."""
    ever = "sessions" if session.version >= 140000 else "0"
    row = session.query(
        f"""SELECT {ever} AS ever, (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.datid AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
    AND application_name IS DISTINCT FROM :'application') AS now FROM pg_stat_database d WHERE datname = current_database()""",
        {"application": APPLICATION},
    )[0]
    return Visits(row["now"], row["ever"])


@dataclass(frozen=True)
class Connections:
    """How many connections a platform may need at most, how many there are for it, and whether that is enough, in words."""

    needed: int
    available: int
    reason: str

    @property
    def enough(self) -> bool:
        return self.needed <= self.available


def workers_of(cores: int) -> int:
    """Return the worker processes that gunicorn starts on Deis and Hephy in a pod whose node has so many cores."""
    return cores * 4 + 1


def connections_needed(
    workers: List[int], max_connections: int, reserved_connections: int, threads: int = 1, databases: int = 1, others: int = 0, spare: int = 5
) -> Connections:
    """Compare what a platform may need with what a server has.

    ``workers`` has the number of worker processes of each pod that may run at the same time (during a rollout old and new ones do). Django keeps one connection
    for each thread of a worker and each database that it knows. ``others`` are connections that somebody else needs, ``spare`` are for migrations and people.
    """
    pools = sum(workers) * threads * databases
    needed, available = pools + others + spare, max_connections - reserved_connections
    sum_of = f"{sum(workers)} workers in {len(workers)} pods x {threads} threads x {databases} databases + {others} others + {spare} spare = {needed}"
    have = f"max_connections {max_connections} - {reserved_connections} reserved = {available}"
    if needed <= available:
        return Connections(needed, available, f"{sum_of} connections at most; {have}: enough.")
    return Connections(
        needed, available, f"{sum_of} connections at most; {have}: {needed - available} too few. Raise max_connections to {needed + reserved_connections}."
    )
