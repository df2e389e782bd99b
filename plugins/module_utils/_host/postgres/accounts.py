# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and databases: what an inventory wants, what the server has instead, and the statements between the two. No right that is not needed."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.password import verifier
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import identifier, literal, names

ROLE_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "password": {"type": "str", "no_log": True},
    "connection_limit": {"type": "int", "default": -1},
    "member_of": {"type": "list", "elements": "str", "default": []},
}
DATABASE_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "owner": {"type": "str", "required": True},
    "encoding": {"type": "str", "default": "UTF8"},
    "locale": {"type": "str", "default": "C.UTF-8"},
    "connect": {"type": "list", "elements": "str", "default": []},
    "extensions": {"type": "list", "elements": "str", "default": []},
}
_RIGHTS = {
    "rolsuper": "SUPERUSER",
    "rolcreatedb": "CREATEDB",
    "rolcreaterole": "CREATEROLE",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$-]{0,62}")
_TAKEN = ("postgres", "public", "none", "template0", "template1", "replication", "all")
_SHORTEST_PASSWORD = 12
# What people put there for the time being.
_GUESSED = ("postgres", "password", "changeme", "secret", "admin", "123456")
# By which pg_rewind reads the files of a primary, and what it is called when a role may do that.
REWIND_FUNCTIONS = (
    "pg_ls_dir(text,boolean,boolean)",
    "pg_stat_file(text,boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text,bigint,bigint,boolean)",
)
_READS = "may read the server's files"
# Each takes some milliseconds, and a server may have thousands of roles.
_GUESSED_ROLES = 50

Field = Tuple[str, Any, Any]


class Role(NamedTuple):
    """A role that may log in and no more, beside what it is a member of. Without a password its password is not ours.

    ``rewinds``: a former primary is rewound by it, which takes reading the primary's files. It may copy all of them anyway, but is given no more than it needs.
    """

    name: str
    password: str
    connection_limit: int = -1
    member_of: Tuple[str, ...] = ()
    replication: bool = False
    rewinds: bool = False

    def __repr__(self) -> str:
        return f"Role({self.name!r})"


class Database(NamedTuple):
    """A database that its owner, and who is named in ``connect``, may enter."""

    name: str
    owner: str
    encoding: str = "UTF8"
    locale: str = "C.UTF-8"
    connect: Tuple[str, ...] = ()
    extensions: Tuple[str, ...] = ()


class Account(NamedTuple):
    """A role as the server has it. ``stored`` is what it keeps of the password, ``functions`` of how many of the files' functions it has been given."""

    rights: Tuple[str, ...]
    login: bool
    connection_limit: int
    stored: str
    member_of: Tuple[str, ...]
    functions: int = 0

    def __repr__(self) -> str:
        return f"Account(rights={self.rights!r})"


class Place(NamedTuple):
    """A database as the server has it: ``rights`` are (who, what), public being everybody; ``extensions`` are known of wanted databases only."""

    owner: str
    encoding: str
    rights: Tuple[Tuple[str, str], ...]
    extensions: Tuple[str, ...] = ()
    open_schema: bool = False


def roles_of(given: Sequence[Mapping[str, Any]]) -> Tuple[Role, ...]:
    """Return the roles of an inventory. Raises Invalid, which shows no password."""
    found = [Role(_named(one, "roles"), one.get("password") or "", one["connection_limit"], tuple(one["member_of"])) for one in given]
    for role in found:
        weak_hint = f"Give {_SHORTEST_PASSWORD} characters or more, made by a program: openssl rand -hex 24."
        if role.password and (len(role.password) < _SHORTEST_PASSWORD or role.password in (role.name, *_GUESSED)):
            raise Invalid(f"roles: the password of {role.name} can be guessed.", weak_hint, "roles.password")
        if any(character in role.password for character in "\r\n\0"):
            raise Invalid(f"roles: the password of {role.name} has a line break in it.", "It often stands at the end of a file: remove it.", "roles.password")
        if any(right.startswith("pg_") and right not in ("pg_monitor", "pg_read_all_stats", "pg_read_all_settings") for right in role.member_of):
            raise Invalid(
                f"roles: {role.name} would be a member of {', '.join(role.member_of)}.",
                "Of the server's own roles only those that look at statistics and settings are given (pg_monitor).",
                "roles.member_of",
            )
    _once([role.name for role in found], "roles")
    return tuple(found)


def databases_of(given: Sequence[Mapping[str, Any]], roles: Sequence[Role]) -> Tuple[Database, ...]:
    """Return the databases of an inventory. Raises Invalid."""
    known = {role.name for role in roles}
    found = []
    for one in given:
        database = Database(_named(one, "databases"), one["owner"], one["encoding"], one["locale"], tuple(one["connect"]), tuple(one["extensions"]))
        for name in (database.owner, *database.connect):
            if name not in known:
                raise Invalid(f"databases: {database.name} names the role {name}, which is not in roles.", "Add it to roles.", "databases.owner")
        found.append(database)
    _once([database.name for database in found], "databases")
    return tuple(found)


def _named(one: Mapping[str, Any], option: str) -> str:
    name = str(one["name"])
    if not _NAME.fullmatch(name) or name.startswith("pg_") or name in _TAKEN:
        hint = "Give letters, digits, _ and -, a letter first, and none of the server's own names."
        raise Invalid(f"{option}: name is {name!r}.", hint, f"{option}.name")
    return name


def _once(given: Sequence[str], option: str) -> None:
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise Invalid(f"{option}: {', '.join(twice)} is named twice.", "Name it once.", f"{option}.name")


def matches(role: str, password: str, stored: str) -> bool:
    """Tell whether this is the password, from what the server keeps of it by SCRAM."""
    match = re.fullmatch(r"SCRAM-SHA-256\$4096:([A-Za-z0-9+/=]+)\$.*", stored)
    try:
        return bool(match) and stored == verifier(role, password, salt=base64.b64decode(match[1] if match else "", validate=True))
    except (binascii.Error, Invalid):
        return False


def role_differences(role: Role, there: Optional[Account]) -> List[Field]:
    """Return (field, before, after) of a role. Pure but for the hashing."""
    if there is None:
        found: List[Field] = [("role", ABSENT, "may log in, and nothing else" if not role.replication else "may log in and replicate")]
        found += [("password", ABSENT, "as given")] if role.password else []
        found += [(_READS, False, True)] if role.rewinds else []
        return found + ([("member of", "nothing", _listed(role.member_of))] if role.member_of else [])
    found = []
    wanted = ("REPLICATION",) if role.replication else ()
    if set(there.rights) != set(wanted):
        found.append(("rights", _listed(there.rights), _listed(wanted)))
    if not there.login:
        found.append(("login", False, True))
    if there.connection_limit != role.connection_limit:
        found.append(("connection limit", there.connection_limit, role.connection_limit))
    if role.password and not matches(role.name, role.password, there.stored):
        found.append(("password", "another one" if there.stored else ABSENT, "as given"))
    if set(there.member_of) != set(role.member_of):
        found.append(("member of", _listed(there.member_of), _listed(role.member_of)))
    if there.functions != _functions(role):
        found.append((_READS, bool(there.functions), role.rewinds))
    return found


def _functions(role: Role) -> int:
    return len(REWIND_FUNCTIONS) if role.rewinds else 0


def role_statements(role: Role, there: Optional[Account]) -> List[str]:
    """Return the statements that make the role what it has to be. One of them may hold a verifier, none a password."""
    here, rights = identifier(role.name), [right for right in _RIGHTS.values() if not (role.replication and right == "REPLICATION")]
    attributes = ["LOGIN", *(f"NO{right}" for right in rights), *(["REPLICATION"] if role.replication else []), f"CONNECTION LIMIT {role.connection_limit}"]
    if role.password and (there is None or not matches(role.name, role.password, there.stored)):
        attributes.append(f"PASSWORD {literal(verifier(role.name, role.password))}")
    before = set(there.member_of) if there else set()
    found = [f"{'ALTER' if there else 'CREATE'} ROLE {here} {' '.join(attributes)}"]
    found += [f"REVOKE {identifier(group)} FROM {here}" for group in sorted(before - set(role.member_of))]
    found += [f"GRANT {identifier(group)} TO {here}" for group in sorted(set(role.member_of) - before)]
    if (there.functions if there else 0) != _functions(role):
        functions = ", ".join(f"pg_catalog.{name}" for name in REWIND_FUNCTIONS)
        found.append(f"GRANT EXECUTE ON FUNCTION {functions} TO {here}" if role.rewinds else f"REVOKE EXECUTE ON FUNCTION {functions} FROM {here}")
    return found


def database_differences(database: Database, there: Optional[Place]) -> List[Field]:
    """Return (field, before, after) of a database. Pure."""
    extensions: List[Field] = [(f"extension {name}", ABSENT, "made") for name in database.extensions if there is None or name not in there.extensions]
    if there is None:
        return [("database", ABSENT, f"owned by {database.owner}"), ("may enter", ABSENT, _entering(database)), *extensions]
    found: List[Field] = []
    if there.owner != database.owner:
        found.append(("owner", there.owner, database.owner))
    foreign = _foreign(database, there)
    lacking = _lacking(database, there)
    if foreign or lacking:
        before = sorted({f"{who} ({what})" for who, what in there.rights if who != there.owner})
        found.append(("may enter", _listed(before), _entering(database)))
    if there.open_schema:
        found.append(("schema public", "everybody may make tables in it", "its owner only"))
    return found + extensions


def _entering(database: Database) -> str:
    return _listed(sorted(f"{who} (CONNECT)" for who in database.connect)) if database.connect else "its owner only"


def _foreign(database: Database, there: Place) -> List[Tuple[str, str]]:
    """Return the rights that nobody was meant to have; those of the owner are his."""
    meant = {(who, "CONNECT") for who in database.connect}
    return [right for right in there.rights if right not in meant and right[0] not in (there.owner, database.owner)]


def _lacking(database: Database, there: Place) -> List[str]:
    return [who for who in database.connect if (who, "CONNECT") not in there.rights and who != database.owner]


def create_statement(database: Database) -> str:
    """Return the statement that makes it; it runs by itself, outside of a transaction."""
    settings = f"ENCODING {literal(database.encoding)} LC_COLLATE {literal(database.locale)} LC_CTYPE {literal(database.locale)}"
    return f"CREATE DATABASE {identifier(database.name)} OWNER {identifier(database.owner)} TEMPLATE template0 {settings}"


def right_statements(database: Database, there: Place) -> List[str]:
    """Return the statements that give the database its owner, and nobody else a right that was not meant."""
    here = identifier(database.name)
    found = [f"ALTER DATABASE {here} OWNER TO {identifier(database.owner)}"] if there.owner != database.owner else []
    for who, what in _foreign(database, there):
        found.append(f"REVOKE {what} ON DATABASE {here} FROM {'PUBLIC' if who == 'public' else identifier(who)}")
    lacking = _lacking(database, there)
    return found + ([f"GRANT CONNECT ON DATABASE {here} TO {names(lacking)}"] if lacking else [])


def inner_statements(database: Database, there: Place) -> List[str]:
    """Return the statements that run inside of the database."""
    found = ["REVOKE CREATE ON SCHEMA public FROM PUBLIC"] if there.open_schema else []
    return found + [f"CREATE EXTENSION IF NOT EXISTS {identifier(name)}" for name in database.extensions if name not in there.extensions]


def strangers(accounts: Mapping[str, Account], wanted: Sequence[Role]) -> List[Tuple[str, str]]:
    """Return (what is wrong, what to do) of roles that nobody declared: such as are too powerful, or whose password can be guessed."""
    mine = {role.name for role in wanted} | {"postgres"}
    found = []
    for name, account in sorted(accounts.items()):
        if name in mine:
            continue
        if account.rights:
            hint = f"Declare it in roles, or take its rights away: ALTER ROLE {identifier(name)} NO{' NO'.join(account.rights)}."
            found.append((f"The role {name} is not declared, and has {', '.join(account.rights)}.", hint))
        if account.login and account.stored.startswith("md5"):
            found.append(
                (f"The password of the role {name} is kept as MD5.", f"Declare it in roles with its password, or drop it: DROP ROLE {identifier(name)}.")
            )
    for name in sorted(set(accounts) - mine)[:_GUESSED_ROLES]:
        account = accounts[name]
        if account.login and any(matches(name, guess, account.stored) for guess in (name, *_GUESSED)):
            found.append((f"The password of the role {name} can be guessed.", "Declare it in roles with a password that cannot."))
    return found


def _listed(values: Sequence[str]) -> str:
    return ", ".join(sorted(values)) or "nothing"
