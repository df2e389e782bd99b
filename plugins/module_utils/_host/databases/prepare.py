# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the role and the database that data is moved into, with no more rights than needed, or finds that what exists is just that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, NotFound, Refused, Unauthorized
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, Row, Session
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.password import verifier
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server, version_name
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.target import acts_as

# SCRAM came with it.
_OLDEST = 100000
# Seconds: copying the template takes a while on a busy server.
_PATIENCE = 300.0
_TOO_MUCH = {"rolsuper": "SUPERUSER", "rolcreatedb": "CREATEDB", "rolcreaterole": "CREATEROLE", "rolreplication": "REPLICATION", "rolbypassrls": "BYPASSRLS"}


@dataclass(frozen=True)
class Wish:
    """What there has to be. ``method`` is how the password is kept (see password.py); ``collation`` empty is the server's own, as is ``encoding``.

    ``extensions`` (each with its schema) are made by the administrator, because most may not be made by the role.
    """

    database: str
    role: str
    password: str
    method: str = "scram-sha-256"
    encoding: str = ""
    collation: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Wish(database={self.database!r}, role={self.role!r})"


@dataclass(frozen=True)
class Missing:
    """What is not there yet; ``extensions`` are those that the database lacks. ``remarks`` say what could be better about what exists."""

    role: bool
    database: bool
    extensions: Tuple[str, ...] = ()
    remarks: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.role or self.database or bool(self.extensions)


def missing(client: Client, admin: Server, wish: Wish) -> Missing:
    """Return what ``prepare`` would make. Writes nothing. ``admin`` names a database that exists, usually postgres.

    What exists with other settings is never touched: Refused, naming it.
    """
    with client.session(admin) as session:
        if session.version < _OLDEST:
            raise Refused(
                f"The target is PostgreSQL {version_name(session.version)}, which keeps passwords as MD5 only and gets no more fixes.",
                f"Give a server of version {version_name(_OLDEST)} or newer.",
                "target",
            )
        roles = session.query(f"SELECT rolcanlogin, {', '.join(_TOO_MUCH)} FROM pg_roles WHERE rolname = :'role'", {"role": wish.role})
        databases = session.query(
            """SELECT pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding, datcollate, datallowconn, datistemplate,
    EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0 AND privilege_type = 'CONNECT') AS open
FROM pg_database WHERE datname = :'database'""",
            {"database": wish.database},
        )
        _refuse_unknown_extensions(session, tuple(wish.extensions))
    entered = replace(admin, user=wish.role, password=wish.password)
    if roles:
        _refuse_other_role(roles[0], wish)
        _refuse_other_password(client, entered if not databases else replace(entered, database=wish.database))
    if not databases:
        return Missing(not roles, True, tuple(wish.extensions))
    _refuse_other_database(databases[0], wish)
    remarks = (f"Everybody may connect to database {wish.database}: revoke CONNECT from PUBLIC.",) if databases[0]["open"] else ()
    return Missing(not roles, False, _lacking(client, replace(admin, database=wish.database), tuple(wish.extensions)), remarks)


def prepare(client: Client, admin: Server, wish: Wish) -> Missing:
    """Make what is missing, and return what that was. Raises as ``missing`` does; Forbidden when the administrator lacks CREATEROLE or CREATEDB."""
    lacking = missing(client, admin, wish)
    if lacking.role or lacking.database:
        with client.session(admin, _PATIENCE) as session:
            _make(session, wish, lacking)
    if lacking.extensions:
        with client.session(replace(admin, database=wish.database), _PATIENCE) as session:
            for name in lacking.extensions:
                values = {"name": name, "schema": wish.extensions[name]}
                session.execute('CREATE EXTENSION IF NOT EXISTS :"name" SCHEMA :"schema"', values, f"making the extension {name}")
    _refuse_other_password(client, replace(admin, database=wish.database, user=wish.role, password=wish.password))
    return lacking


def _make(session: Session, wish: Wish, lacking: Missing) -> None:
    names = {"role": wish.role, "database": wish.database, "encoding": wish.encoding, "collation": wish.collation}
    if lacking.role:
        kept = verifier(wish.role, wish.password, wish.method)
        session.execute("CREATE ROLE :\"role\" LOGIN PASSWORD :'kept'", {**names, "kept": kept}, "making the role")
    if lacking.database:
        chief = session.query(f"SELECT rolsuper OR {acts_as(session)} AS enough FROM pg_roles WHERE rolname = current_user", names)[0]["enough"]
        if not chief:
            # Who is no superuser can only give a database to a role that it is a member of.
            session.execute('GRANT :"role" TO CURRENT_USER', names, "becoming a member of the role")
        like = " ENCODING :'encoding'" if wish.encoding else ""
        like += " LC_COLLATE :'collation' LC_CTYPE :'collation'" if wish.collation else ""
        # template0 holds nothing that could be in the way of what is restored, and can have any encoding.
        session.execute(f'CREATE DATABASE :"database" OWNER :"role" TEMPLATE template0{like}', names, "making the database")
        session.execute('REVOKE ALL ON DATABASE :"database" FROM PUBLIC', names, "closing the database to others")
        if not chief:
            session.execute('REVOKE :"role" FROM CURRENT_USER', names, "leaving the role")


def _refuse_other_role(found: Row, wish: Wish) -> None:
    subject = f"role {wish.role}"
    rights = [word for column, word in _TOO_MUCH.items() if found[column]]
    if rights:
        raise Refused(f"The role {wish.role} exists and is {', '.join(rights)}.", "Give another role, or take that from it (ALTER ROLE).", subject)
    if not found["rolcanlogin"]:
        raise Refused(f"The role {wish.role} exists and may not log in.", "Give another role, or allow it (ALTER ROLE .. LOGIN).", subject)


def _refuse_other_database(found: Row, wish: Wish) -> None:
    subject = f"database {wish.database}"
    if found["owner"] != wish.role:
        raise Refused(
            f"The database {wish.database} exists and belongs to {found['owner']}, not to {wish.role}.", "Give another database, or change its owner.", subject
        )
    if found["datistemplate"] or not found["datallowconn"]:
        raise Refused(f"The database {wish.database} exists as a template, or lets nobody in.", "Give another database.", subject)
    for what, wanted, there in (("encoding", wish.encoding, found["encoding"]), ("collation", wish.collation, found["datcollate"])):
        if wanted and wanted != there:
            raise Refused(f"The database {wish.database} exists with {what} {there}, not {wanted}.", "Give another database.", subject)


def _refuse_other_password(client: Client, server: Server) -> None:
    try:
        client.query(server, "SELECT 1 AS one")
    except Unauthorized:
        raise Refused(
            f"The role {server.user} does not get in with the given password.",
            "It has another one, or pg_hba.conf asks for something else: give the right password, or change it (ALTER ROLE).",
            f"role {server.user}",
        ) from None
    except (Forbidden, NotFound):
        # Not let into this database, but the password was not the reason.
        return


def _refuse_unknown_extensions(session: Session, names: Sequence[str]) -> None:
    known = {row["name"] for row in session.query("SELECT name FROM pg_available_extensions")} if names else set()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Refused(f"The target server does not have the extensions {', '.join(unknown)}.", "Install their packages there.", "target")


def _lacking(client: Client, server: Server, names: Tuple[str, ...]) -> Tuple[str, ...]:
    there = {row["extname"] for row in client.query(server, "SELECT extname FROM pg_extension")} if names else set()
    return tuple(name for name in names if name not in there)
