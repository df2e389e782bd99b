# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running server says of itself, in one question, and one for each database that is wanted."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.accounts import REWIND_FUNCTIONS, Account, Place
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import Database, array

_QUESTION = """SELECT json_build_object(
'version', current_setting('server_version'),
'recovery', pg_is_in_recovery(),
'timeline', CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
'loaded', extract(epoch FROM pg_conf_load_time()),
'settings', (SELECT json_object_agg(name, json_build_array(reset_val, unit, vartype, context, source)) FROM pg_settings WHERE name = ANY ({names})),
'pending', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart),
'files', (SELECT coalesce(json_agg(json_build_array(sourcefile, sourceline, name, setting, error) ORDER BY seqno), '[]') FROM pg_file_settings),
'access', (SELECT coalesce(json_agg(json_build_array(line_number, error)), '[]') FROM pg_hba_file_rules WHERE error IS NOT NULL),
'roles', (SELECT json_object_agg(rolname, json_build_array(rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin, rolconnlimit,
    coalesce(rolpassword, ''), (SELECT coalesce(json_agg(DISTINCT g.rolname), '[]') FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
    WHERE m.member = a.oid), (SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) WHERE grantee = a.oid AND p.oid = ANY ({functions}::regprocedure[]))))
    FROM pg_authid a WHERE rolname !~ '^pg_'),
'databases', (SELECT json_object_agg(datname, json_build_array(pg_get_userbyid(datdba), pg_encoding_to_char(encoding),
    (SELECT coalesce(json_agg(json_build_array(CASE grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(grantee) END, privilege_type)), '[]')
    FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))))) FROM pg_database WHERE NOT datistemplate AND datallowconn),
'slots', (SELECT coalesce(json_object_agg(slot_name, json_build_array(slot_type, active, wal_status)), '{{}}') FROM pg_replication_slots),
'standbys', (SELECT coalesce(json_agg(json_build_array(application_name, state, sync_state)), '[]') FROM pg_stat_replication),
'receiver', (SELECT status FROM pg_stat_wal_receiver)
);
"""
_INSIDE = """SELECT json_build_array(
(SELECT coalesce(json_agg(extname), '[]') FROM pg_extension),
EXISTS (SELECT FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
    WHERE nspname = 'public' AND grantee = 0 AND privilege_type = 'CREATE')
);
"""
_RIGHTS = ("SUPERUSER", "CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS")
# What a changed setting that needs a restart looks like there; it is no mistake in a file.
_WAITS = "setting could not be applied"


class Setting(NamedTuple):
    """A setting that is in force: pg_settings' own words."""

    value: str
    unit: Optional[str]
    kind: str
    context: str
    source: str


class Line(NamedTuple):
    """One line of a configuration file that sets something, in the order in which the server reads them."""

    file: str
    number: int
    name: str
    value: str


class Live(NamedTuple):
    """The running server. ``loaded`` is when it last read its files, in seconds since 1970; ``mistakes`` are lines that it does not understand.

    ``timeline`` is the one that a primary writes, and 0 on a standby.
    """

    version: str
    recovery: bool
    loaded: float
    settings: Mapping[str, Setting]
    pending: Tuple[str, ...]
    lines: Tuple[Line, ...]
    mistakes: Tuple[str, ...]
    accounts: Mapping[str, Account]
    databases: Mapping[str, Place]
    slots: Mapping[str, Tuple[str, bool, str]]
    standbys: Tuple[Tuple[str, str, str], ...]
    receiver: str
    timeline: int = 0

    def __repr__(self) -> str:
        return f"Live(version={self.version!r})"


def look(layout: Layout, names: Sequence[str], databases: Sequence[str]) -> Optional[Live]:
    """Ask the server; None when it does not answer. Raises Failure."""
    try:
        told = Database(layout).ask(_QUESTION.format(names=array(list(names)), functions=array(REWIND_FUNCTIONS)))
    except Unavailable:
        return None
    places = {name: Place(owner, encoding, tuple(sorted((who, what) for who, what in rights))) for name, (owner, encoding, rights) in told["databases"].items()}
    for name in databases:
        if name in places:
            extensions, open_schema = Database(layout, name).ask(_INSIDE)
            places[name] = places[name]._replace(extensions=tuple(extensions), open_schema=bool(open_schema))
    return Live(
        told["version"],
        told["recovery"],
        float(told["loaded"]),
        {name: Setting(*fields) for name, fields in (told["settings"] or {}).items()},
        tuple(told["pending"]),
        tuple(Line(file, number, name, value) for file, number, name, value, _error in told["files"] if name is not None and value is not None),
        tuple(_mistakes(told["files"], told["access"])),
        {name: _account(fields) for name, fields in told["roles"].items()},
        places,
        {name: (kind, active, state or "") for name, (kind, active, state) in told["slots"].items()},
        tuple((name, state, sync) for name, state, sync in told["standbys"]),
        told["receiver"] or "",
        int(told["timeline"]),
    )


def _account(fields: List[Any]) -> Account:
    rights = tuple(right for right, has in zip(_RIGHTS, fields) if has)
    login, limit, stored, groups, functions = fields[len(_RIGHTS) :]
    return Account(rights, login, limit, stored, tuple(groups), int(functions))


def _mistakes(lines: Sequence[Sequence[Any]], access: Sequence[Sequence[Any]]) -> List[str]:
    found = [f"{file} line {number}: {error}" for file, number, _name, _value, error in lines if error and error != _WAITS]
    return found + [f"pg_hba.conf line {number}: {error}" for number, error in access]


def load_time(layout: Layout) -> float:
    """Return when the server last read its files. Raises Failure."""
    answer: Dict[str, Any] = Database(layout).ask("SELECT json_build_object('loaded', extract(epoch FROM pg_conf_load_time()));\n")
    return float(answer["loaded"])
