# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a database as it is: closed to writers until it is opened again. Both can be repeated, and go on where they were interrupted.

What this can and cannot do. Sessions begin read-only, and every session of others is ended. Roles that are no superusers do not get in at all. A superuser
does get in, and can write when it says so itself (SET default_transaction_read_only = off); Deis and Hephy log in as one. An application that does not know
of it gets an error at its first write, so it cannot write by mistake; the proof of the move (proof.py) shows whether somebody did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, Row, Session, assignments
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import APPLICATION, Server
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.settings import READ_ONLY, Before, closing, stored_settings

_PAUSE = 0.2


@dataclass(frozen=True)
class Writer:
    """A session that could write: its process on the server, role, client address (empty: local), what it calls itself, whether it has written just now."""

    pid: int
    role: str
    address: str
    application: str
    state: str
    writing: bool

    def __str__(self) -> str:
        role, address = self.role or "a role that is hidden from us", self.address or "the server itself"
        return f"{role} at {address} ({self.application or 'no name'}, {self.state or 'state hidden'})"


@dataclass(frozen=True)
class Closed:
    """What closing did: whether it had been closed before, and the sessions that were ended."""

    before: bool
    ended: List[Writer]


def closed(client: Client, admin: Server, database: str) -> bool:
    """Tell whether a database is closed by us."""
    with client.session(admin) as session:
        return closing(session, database)[0] is not None


def writers(client: Client, server: Server, database: str = "") -> List[Writer]:
    """Return the sessions of others in a database (that of the server value, if none is named): each of them could write. Our own are known by their name."""
    with client.session(server) as session:
        return _writers(session, database)


def close_to_writers(client: Client, admin: Server, database: str, keep_out: bool = True, timeout: float = 30) -> Closed:
    """Close a database: new sessions are read-only, others are ended, and with ``keep_out`` only superusers get in.

    ``admin`` is a superuser; it may enter another database. Without ``keep_out`` the database's owner will do. Raises NotFound, Forbidden, Refused (a prepared
    transaction waits, which could still be committed; or we would lock ourselves out), TimedOut when a session does not end within ``timeout`` seconds.
    """
    with client.session(admin) as session:
        already, comment = closing(session, database)
        found = _facts(session, database)
        if keep_out and not found["chief"]:
            raise Refused(
                f"The role {admin.user} is no superuser: it would lock itself out of database {database}.",
                "Come as a superuser, or do without keeping others out.",
                f"role {admin.user}",
            )
        _refuse_prepared(found, database)
        before = already or _before(session, database, found)
        commands = ["COMMENT ON DATABASE :\"database\" IS :'mark'", f'ALTER DATABASE :"database" SET {READ_ONLY} = on']
        if keep_out:
            commands += ['ALTER DATABASE :"database" CONNECTION LIMIT 0', 'REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC']
        _together(session, commands, {"database": database, "mark": before.mark(comment)}, f"closing database {database} to writers")
        ended = _end_all(session, database, Deadline(timeout))
        # The last of them may have left one.
        _refuse_prepared(_facts(session, database), database)
        return Closed(already is not None, ended)


def reopen(client: Client, admin: Server, database: str) -> bool:
    """Give a database back what ``close_to_writers`` took, and tell whether there was anything to do. Raises NotFound, Forbidden, or Refused (settings.py).

    Sessions that began in between would stay read-only for as long as they last, ten minutes with Django: they are ended.
    """
    with client.session(admin) as session:
        before, comment = closing(session, database)
        if before is None:
            return False
        _together(session, *_opening(before, database, comment), f"opening database {database} again")
        for reader in _writers(session, database):
            _end(session, reader)
        return True


def reopening(client: Client, admin: Server, database: str) -> str:
    """Return what psql has to be told to do what ``reopen`` does, before or after the database is closed: for somebody who has nothing but psql."""
    with client.session(admin) as session:
        before, comment = closing(session, database)
        commands, values = _opening(before or _before(session, database, _facts(session, database)), database, comment)
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :'database' AND pid <> pg_backend_pid();"
    return f"{assignments(values)}BEGIN READ WRITE; {'; '.join(commands)}; COMMIT;\n{end}\n"


def _opening(before: Before, database: str, comment: str) -> Tuple[List[str], Dict[str, str]]:
    """Return the commands that open a database, and the values in them."""
    values = {"database": database, "read_only": before.read_only or "", "limit": str(before.limit), "comment": comment}
    commands = [
        f'ALTER DATABASE :"database" RESET {READ_ONLY}' if before.read_only is None else f"ALTER DATABASE :\"database\" SET {READ_ONLY} = :'read_only'",
        'ALTER DATABASE :"database" CONNECTION LIMIT :limit',
        *(['GRANT CONNECT ON DATABASE :"database" TO PUBLIC'] if before.public else []),
        "COMMENT ON DATABASE :\"database\" IS :'comment'",
    ]
    return commands, values


def _before(session: Session, database: str, found: Row) -> Before:
    return Before(stored_settings(session, database).get(READ_ONLY), found["datconnlimit"], found["public"])


def _together(session: Session, commands: List[str], values: Dict[str, str], doing: str) -> None:
    """Do all or nothing, so that the mark never speaks of what did not happen. The session may be read-only by what we did before."""
    session.execute(f"BEGIN READ WRITE; {'; '.join(commands)}; COMMIT", values, doing)


def _facts(session: Session, database: str) -> Row:
    return session.query(
        """SELECT datconnlimit, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS chief,
    (SELECT count(*) FROM pg_prepared_xacts p WHERE p.database = datname) AS prepared,
    EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0 AND privilege_type = 'CONNECT') AS public
FROM pg_database WHERE datname = :'database'""",
        {"database": database},
    )[0]


def _refuse_prepared(found: Row, database: str) -> None:
    if found["prepared"]:
        raise Refused(
            f"{found['prepared']} prepared transactions wait in database {database}; they could still be committed.",
            "Commit or roll them back (pg_prepared_xacts).",
            f"database {database}",
        )


def _writers(session: Session, database: str) -> List[Writer]:
    rows = session.query(
        f"""SELECT pid, coalesce(usename, '') AS role, coalesce(host(client_addr), '') AS address, coalesce(application_name, '') AS application,
    coalesce(state, '') AS state, backend_xid IS NOT NULL AS writing
FROM pg_stat_activity WHERE datname = coalesce(nullif(:'database', ''), current_database()) AND pid <> pg_backend_pid()
    AND application_name IS DISTINCT FROM :'application'{" AND backend_type = 'client backend'" if session.version >= 100000 else ""} ORDER BY pid""",
        {"database": database, "application": APPLICATION},
    )
    return [Writer(**row) for row in rows]


def _end_all(session: Session, database: str, deadline: Deadline) -> List[Writer]:
    """End the sessions of others, and wait until they are gone: one that ends still holds what it wrote last."""
    ended: Dict[int, Writer] = {}
    while True:
        # First those that are just coming in: they may have read the settings before us, and are seen among the sessions only when they are through.
        coming = session.query(
            """SELECT count(*) AS count FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND pid <> pg_backend_pid()
    AND objid = (SELECT oid FROM pg_database WHERE datname = :'database')""",
            {"database": database},
        )[0]["count"]
        left = _writers(session, database)
        if not left and not coming:
            return list(ended.values())
        for writer in left:
            _end(session, writer)
            ended[writer.pid] = writer
        if not deadline.pause(_PAUSE):
            who = str(left[0]) if left else "one that is just logging in"
            raise TimedOut(
                f"A session in database {database} did not end within {deadline.seconds:.0f} s: {who}.", "Stop that client, then run again.", database
            )


def _end(session: Session, writer: Writer) -> None:
    session.query("SELECT pg_terminate_backend(:pid) AS done", {"pid": str(writer.pid)})
