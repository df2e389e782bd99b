# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target of a restore: what it holds, the mark that says so, and how the remains of an interrupted restore are removed."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, Session
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.content import MINE, SCHEMAS
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import APPLICATION, Server

# States of a target.
EMPTY = "empty"
RESTORING = "restoring"
RESTORED = "restored"
FOREIGN = "foreign"

# The comment on the database says which dump is being restored, or was; what stood there before follows it.
_MARK = re.compile(r"\Apaas\.hardening: (restoring|restored) dump ([0-9a-f]{32})(?:\n(.*))?\Z", re.DOTALL)
# The name of pg_restore's sessions. Those that wait for their turn have another: only what an interrupted restore left running is ended.
RESTORER = f"{APPLICATION} restore"
# One restore at a time: any number will do, as long as nobody else takes it.
_LOCK = 7012022115
_LOCK_PATIENCE = 15.0
_PAUSE = 0.3
# What can stand in a schema, or beside all of them, by its catalogue; what contains others comes first. The conditions leave out what goes with something else.
_CATALOGUES = (
    ("pg_namespace", "o.nspname <> 'public'"),
    ("pg_class", "o.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')"),
    ("pg_proc", "true"),
    ("pg_type", "o.typtype IN ('c', 'd', 'e', 'r') AND (o.typrelid = 0 OR (SELECT k.relkind FROM pg_class k WHERE k.oid = o.typrelid) = 'c')"),
    ("pg_operator", "true"),
    ("pg_opclass", "true"),
    ("pg_opfamily", "true"),
    ("pg_collation", "true"),
    ("pg_conversion", "true"),
    ("pg_ts_config", "true"),
    ("pg_ts_dict", "true"),
    ("pg_ts_parser", "true"),
    ("pg_ts_template", "true"),
    ("pg_foreign_data_wrapper", "true"),
    ("pg_foreign_server", "true"),
    ("pg_cast", "true"),
    ("pg_language", "true"),
    ("pg_event_trigger", "true"),
    ("pg_publication", "true"),
)
# Something internal to another thing (the sequence of an identity) goes with that; a partitioned table is internal to itself.
_THINGS = " UNION ALL ".join(
    f"SELECT {number}, i.type, i.identity FROM {catalogue} o, pg_identify_object('{catalogue}'::regclass, o.oid, 0) i "
    f"WHERE {condition} AND {MINE.format('o', catalogue)} AND (i.schema IS NULL OR i.schema !~ '^pg_') "
    f"AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalogue}'::regclass AND e.objid = o.oid AND e.deptype = 'i' AND e.refobjid <> o.oid)"
    for number, (catalogue, condition) in enumerate(_CATALOGUES)
)


class State(NamedTuple):
    """What a target holds: nothing, the remains of the restore of a dump, a dump (``detail`` is its id), or something foreign (``detail`` names it).

    ``comment`` is the database's comment without our mark.
    """

    kind: str
    detail: str
    comment: str


def state(client: Client, target: Server) -> State:
    """Return what a target holds. Raises what Client.session raises."""
    with client.session(target) as session:
        return look(session)


def look(session: Session) -> State:
    """Return what the database of a session holds."""
    row = session.query(
        f"""SELECT shobj_description(oid, 'pg_database') AS comment,
    (SELECT min(t.kind || ' ' || t.identity) FROM ({_THINGS}) t (rank, kind, identity)) AS thing,
    (SELECT min(oid)::text FROM pg_largeobject_metadata) AS large FROM pg_database WHERE datname = current_database()"""
    )[0]
    found = _MARK.match(row["comment"] or "")
    comment = (found.group(3) if found else row["comment"]) or ""
    thing = row["thing"] or (f"large object {row['large']}" if row["large"] else "")
    if not thing:
        # Somebody may have emptied it by hand, and left our mark.
        return State(EMPTY, "", comment)
    return State(found.group(1), found.group(2), comment) if found else State(FOREIGN, thing, comment)


@contextmanager
def alone(client: Client, target: Server, patience: float) -> Iterator[Session]:
    """Open a session that keeps other restores away from its database, and end what an interrupted one left running there. Raises Conflict."""
    with client.session(target, patience) as session:
        deadline = Deadline(_LOCK_PATIENCE)
        while not session.query(f"SELECT pg_try_advisory_lock({_LOCK}) AS mine")[0]["mine"]:
            # The server notices within moments that a client was killed.
            if not deadline.pause(_PAUSE):
                raise Conflict(f"Another run restores into database {target.database}.", "Wait until it is through.", target.database)
        if session.version >= 140000:
            session.execute("SET idle_session_timeout = 0", doing="waiting without an end")
        if session.version >= 170000:
            session.execute("SET transaction_timeout = 0", doing="waiting without an end")
        while _end_leftovers(session):
            if not deadline.pause(_PAUSE):
                raise Conflict(f"Sessions of an interrupted restore into database {target.database} do not end.", "See pg_stat_activity.", target.database)
        yield session


def _end_leftovers(session: Session) -> int:
    rows = session.query(
        """SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user
    AND pid <> pg_backend_pid() AND application_name = :'application'""",
        {"application": RESTORER},
    )
    return len(rows)


def mark(session: Session, database: str, kind: str, dump: str, comment: str) -> None:
    """Write into the database's comment what it holds from now on; what stood there before stays behind it."""
    text = f"paas.hardening: {kind} dump {dump}" + (f"\n{comment}" if comment else "")
    session.execute("COMMENT ON DATABASE :\"database\" IS :'text'", {"database": database, "text": text}, "marking the database")


def unmark(client: Client, target: Server) -> None:
    """Take our mark from a database's comment, once it is in use: what it holds is no longer what was restored."""
    with client.session(target) as session:
        found = look(session)
        if found.kind in (RESTORING, RESTORED):
            # An empty text removes a comment.
            values = {"database": target.database, "text": found.comment}
            session.execute("COMMENT ON DATABASE :\"database\" IS :'text'", values, "removing the mark")


def acts_as(session: Session) -> str:
    """Return the expression that tells whether the session can act as :'role'. Since version 16 a member need not be able to."""
    return f"pg_has_role(:'role', '{'SET' if session.version >= 160000 else 'MEMBER'}')"


def refuse_stranger(session: Session, database: str, owner: str) -> None:
    """Refuse a target that does not belong to ``owner``, or where we cannot act as that role."""
    row = session.query(
        "SELECT pg_get_userbyid(datdba) AS owner, current_user AS me FROM pg_database WHERE datname = current_database()",
    )[0]
    if row["owner"] != owner:
        raise Refused(f"The target database {database} belongs to {row['owner']}, not to {owner}.", "Change its owner, or give the right role.", database)
    if not session.query(f"SELECT {acts_as(session)} AS acts", {"role": owner})[0]["acts"]:
        raise Refused(f"The role {row['me']} cannot act as {owner}, to whom the data will belong.", f"Come as {owner}, or as a member of it.", owner)


def remove_remains(session: Session, database: str) -> None:
    """Remove everything that a restore made in the database. Raises Refused when something is left that it did not make, Forbidden when it is not ours."""
    things = session.query(f"SELECT * FROM ({_THINGS}) t (rank, kind, identity) ORDER BY rank")
    commands = [f"DROP {thing['kind'].replace('-', ' ').upper()} IF EXISTS {thing['identity']} CASCADE" for thing in things]
    for command in commands:
        session.execute(command, doing="removing what an interrupted restore left")
    # Each holds a lock until its statement is through, and a server has not that many.
    while session.query("SELECT count(lo_unlink(oid)) AS gone FROM (SELECT oid FROM pg_largeobject_metadata LIMIT 1000) part")[0]["gone"]:
        continue
    left = session.query(f"SELECT kind || ' ' || identity AS thing FROM ({_THINGS}) t (rank, kind, identity) LIMIT 1")
    if left:
        raise Refused(f"{left[0]['thing']} in database {database} cannot be removed.", "Empty the database yourself, then run again.", database)


def installed_extensions(session: Session) -> List[str]:
    """Return the names of the extensions that the database has."""
    return [row["extname"] for row in session.query("SELECT extname FROM pg_extension")]


def schemas(session: Session) -> List[str]:
    """Return the names of the schemas that the database has."""
    return [row["nspname"] for row in session.query(f"SELECT nspname FROM pg_namespace n WHERE {SCHEMAS}")]
