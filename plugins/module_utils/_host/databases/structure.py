# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a database is built: the definition and the owner of everything in it that a user made, as text that is the same on every version.

PostgreSQL writes some expressions otherwise from one major version to the next (a view on one table names it before each column up to version 15). So there are
two texts of a definition: the exact one, and one without qualifications, parentheses and white space, which is what two major versions have in common.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, NamedTuple, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Session
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.content import MINE, SCHEMAS

# A text is kept as it is; a name with a dot behind it and another name after that goes, as do blanks and parentheses.
_LOOSENED = re.compile(r"""('(?:[^']|'')*')|(?:"(?:[^"]|"")+"|\b[^\W\d][\w$]*)\.(?=["\w*])|[\s()]+""")
_ANY = (0, 10**9)

_Question = Tuple[Tuple[int, int], str]


class Definition(NamedTuple):
    """One thing in a database: what kind it is, its name, its definition, and the role that owns it (empty: it has no owner of its own)."""

    kind: str
    name: str
    text: str
    owner: str

    @property
    def loose(self) -> str:
        """The definition without what major versions write differently."""
        text = self.text.replace("EXECUTE PROCEDURE", "EXECUTE FUNCTION")
        return _LOOSENED.sub(lambda found: found.group(1) or "", text)


def _member(alias: str, catalogue: str) -> str:
    return MINE.format(alias, catalogue)


# The functions that come with a type of ranges belong to whoever made the server.
_WRITTEN = "NOT EXISTS (SELECT FROM pg_depend i WHERE i.classid = 'pg_proc'::regclass AND i.objid = f.oid AND i.deptype = 'i')"
_NAMED = "format('%I.%I', n.nspname, c.relname)"
_OF_RELATION = f"JOIN pg_class c ON c.oid = {{0}} JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {SCHEMAS} AND {_member('c', 'pg_class')}"

# Since version 18 every NOT NULL is a constraint, too; the column has it. Constraint triggers are with the triggers.
_CONSTRAINTS = f"""SELECT 'constraint', {_NAMED} || format('.%I', k.conname), format('%s valid %s', pg_get_constraintdef(k.oid), k.convalidated), ''
FROM pg_constraint k {_OF_RELATION.format("k.conrelid")} AND k.contype NOT IN ('n', 't')"""

# Each gives kind, name, text and owner; with the versions (from, before) that it is meant for.
_QUESTIONS: Tuple[_Question, ...] = (
    (
        _ANY,  # The schema "public" is there from the beginning, and belongs to another role since version 15.
        f"""SELECT 'schema', format('%I', n.nspname), '', pg_get_userbyid(n.nspowner) FROM pg_namespace n
WHERE {SCHEMAS} AND n.nspname <> 'public' AND {_member("n", "pg_namespace")}""",
    ),
    (
        _ANY,
        f"""SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
    WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'composite type' ELSE c.relkind::text END, {_NAMED},
    format('%s %s %s %s', c.relpersistence, c.reloptions, CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, c.relispopulated),
    pg_get_userbyid(c.relowner)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND c.relpersistence <> 't' AND {SCHEMAS} AND {_member("c", "pg_class")}""",
    ),
    (
        _ANY,
        f"""SELECT 'column', {_NAMED} || format('.%I', a.attname), format('%s %s default %s collate %s', format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attnotnull THEN 'not null' END, pg_get_expr(d.adbin, d.adrelid), CASE WHEN l.oid >= 100 THEN l.collname END), ''
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.collname <> 'default'
{_OF_RELATION.format("a.attrelid")} AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND c.relpersistence <> 't'""",
    ),
    (
        (100000, 120000),  # Since version 17 partitions have their parent's identity.
        (
            f"SELECT 'identity', {_NAMED} || format('.%I', a.attname), a.attidentity::text, '' FROM pg_attribute a "
            f"{_OF_RELATION.format('a.attrelid')} AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity <> '' AND NOT c.relispartition"
        ),
    ),
    (
        (120000, _ANY[1]),
        (
            f"SELECT CASE a.attidentity WHEN '' THEN 'generated column' ELSE 'identity' END, {_NAMED} || format('.%I', a.attname), "
            f"a.attidentity::text || a.attgenerated::text, '' FROM pg_attribute a "
            f"{_OF_RELATION.format('a.attrelid')} AND a.attnum > 0 AND NOT a.attisdropped AND NOT c.relispartition "
            "AND (a.attidentity <> '' OR a.attgenerated <> '')"
        ),
    ),
    (
        (100000, _ANY[1]),
        (
            f"SELECT 'partitioning', {_NAMED}, concat(pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid)), '' FROM pg_class c "
            f"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE (c.relkind = 'p' OR c.relispartition) AND c.relkind IN ('r', 'p') "
            f"AND {SCHEMAS} AND {_member('c', 'pg_class')}"
        ),
    ),
    (
        _ANY,
        (
            f"SELECT 'inheritance', {_NAMED} || ' of ' || i.inhparent::regclass::text, '', '' FROM pg_inherits i {_OF_RELATION.format('i.inhrelid')} "
            "AND c.relkind IN ('r', 'p', 'f')"
        ),
    ),
    (
        _ANY,
        f"""SELECT 'index', format('%I.%I', n.nspname, x.relname), format('%s valid %s clustered %s identity %s', pg_get_indexdef(x.oid), i.indisvalid,
    i.indisclustered, i.indisreplident), '' FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid {_OF_RELATION.format("i.indrelid")}""",
    ),
    ((0, 110000), _CONSTRAINTS),
    ((110000, _ANY[1]), f"{_CONSTRAINTS} AND NOT (k.contype = 'f' AND k.conparentid <> 0)"),  # The foreign keys of partitions have names of the server's own.
    (
        _ANY,
        f"""SELECT 'trigger', {_NAMED} || format('.%I', t.tgname), format('%s enabled %s', pg_get_triggerdef(t.oid), t.tgenabled), ''
FROM pg_trigger t {_OF_RELATION.format("t.tgrelid")} AND NOT t.tgisinternal""",
    ),
    (
        _ANY,
        f"""SELECT 'rule', {_NAMED} || format('.%I', r.rulename), format('%s enabled %s', pg_get_ruledef(r.oid), r.ev_enabled), ''
FROM pg_rewrite r {_OF_RELATION.format("r.ev_class")} AND r.rulename <> '_RETURN'""",
    ),
    (
        (90500, _ANY[1]),
        f"""SELECT 'policy', {_NAMED} || format('.%I', p.polname), format('%s using %s check %s', p.polcmd, pg_get_expr(p.polqual, p.polrelid),
    pg_get_expr(p.polwithcheck, p.polrelid)), '' FROM pg_policy p {_OF_RELATION.format("p.polrelid")}""",
    ),
    (
        (90500, _ANY[1]),
        (
            f"SELECT 'row security', {_NAMED}, format('forced %s', c.relforcerowsecurity), '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE c.relrowsecurity AND {SCHEMAS} AND {_member('c', 'pg_class')}"
        ),
    ),
    (
        (100000, _ANY[1]),
        f"""SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid), pg_get_userbyid(s.stxowner)
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE {SCHEMAS} AND {_member("s", "pg_statistic_ext")}""",
    ),
    (
        _ANY,  # pg_get_functiondef knows no aggregates, and is not the same on every version.
        f"""SELECT 'function', format('%I.%I(%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid)),
    format('%s %s %s %s %s %s strict %s definer %s leakproof %s cost %s rows %s with %s as %s %s', l.lanname, pg_get_function_arguments(f.oid),
        pg_get_function_result(f.oid), f.provolatile, g.aggtransfn::regproc, g.aggfinalfn::regproc, f.proisstrict, f.prosecdef, f.proleakproof, f.procost,
        f.prorows, f.proconfig, f.prosrc, f.probin), pg_get_userbyid(f.proowner)
FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace JOIN pg_language l ON l.oid = f.prolang LEFT JOIN pg_aggregate g ON g.aggfnoid = f.oid
WHERE {_WRITTEN} AND {SCHEMAS} AND {_member("f", "pg_proc")}""",
    ),
    (
        (140000, _ANY[1]),
        f"""SELECT 'body of function', format('%I.%I(%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid)), pg_get_function_sqlbody(f.oid), ''
FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace WHERE f.prosqlbody IS NOT NULL AND {SCHEMAS} AND {_member("f", "pg_proc")}""",
    ),
    (
        _ANY,  # Enumerations, domains and ranges. The others are made with something that is here, too.
        f"""SELECT 'type', format('%I.%I', n.nspname, t.typname), format('%s %s %s default %s values %s subtype %s', t.typtype, CASE WHEN t.typtype = 'd'
    THEN format_type(t.typbasetype, t.typtypmod) END, CASE WHEN t.typnotnull THEN 'not null' END, t.typdefault,
    (SELECT json_agg(v.enumlabel ORDER BY v.enumsortorder) FROM pg_enum v WHERE v.enumtypid = t.oid),
    (SELECT r.rngsubtype::regtype FROM pg_range r WHERE r.rngtypid = t.oid)), pg_get_userbyid(t.typowner)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype IN ('e', 'd', 'r') AND {SCHEMAS} AND {_member("t", "pg_type")}""",
    ),
    (
        _ANY,
        f"""SELECT 'constraint of domain', format('%I.%I.%I', n.nspname, t.typname, k.conname), format('%s valid %s', pg_get_constraintdef(k.oid),
    k.convalidated), '' FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE k.contype <> 'n' AND {SCHEMAS} AND {_member("t", "pg_type")}""",
    ),
    (
        _ANY,
        """SELECT 'event trigger', format('%I', t.evtname), format('%s %s %s %s', t.evtevent, t.evtfoid::regproc, t.evttags, t.evtenabled),
    pg_get_userbyid(t.evtowner) FROM pg_event_trigger t""",
    ),
)
# Of these rare things the name is compared.
_RARE = (
    "pg_operator",
    "pg_opclass",
    "pg_opfamily",
    "pg_cast",
    "pg_collation",
    "pg_conversion",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_language",
    "pg_transform",
    "pg_publication",
)
_YOUNG = {"pg_transform": 90500, "pg_publication": 100000}
_COMMENTS = """SELECT 'comment', i.type || ' ' || i.identity, d.description, '' FROM pg_description d,
    pg_identify_object(d.classoid, d.objoid, d.objsubid) i WHERE d.objoid >= 16384 AND i.type <> 'extension'
AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classoid AND e.objid = d.objoid AND e.deptype = 'e')
AND (i.schema IS NULL OR i.schema !~ '^pg_') AND d.classoid <> 'pg_largeobject'::regclass"""


def _questions(version: int) -> Iterator[str]:
    for (since, before), sql in _QUESTIONS:
        if since <= version < before:
            yield sql
    for catalogue in _RARE:
        if version >= _YOUNG.get(catalogue, 0):
            # What is internal to something else was made with that: a type of ranges brings a cast since version 14.
            yield f"""SELECT i.type, i.identity, '', '' FROM {catalogue} o, pg_identify_object('{catalogue}'::regclass, o.oid, 0) i
WHERE {_member("o", catalogue)}
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{catalogue}'::regclass AND d.objid = o.oid AND d.deptype = 'i')"""
    yield _COMMENTS


def definitions(session: Session) -> List[Definition]:
    """Return everything that a user made in the database. The session needs content.fix_settings, or names are not qualified."""
    found: List[Definition] = []
    for sql in _questions(session.version):
        rows = session.query(f"SELECT q.kind, q.name, q.text, q.owner FROM ({sql}) q (kind, name, text, owner)")
        found += [Definition(row["kind"], row["name"], row["text"] or "", row["owner"] or "") for row in rows]
    return found


def privileges(session: Session) -> Dict[str, str]:
    """Return who was granted what on things in the database, and by default on things to come."""
    grants = f"""
SELECT {_NAMED} AS name, c.relacl::text AS acl FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relacl IS NOT NULL AND {SCHEMAS} AND {_member("c", "pg_class")}
UNION ALL SELECT format('schema %I', n.nspname), n.nspacl::text FROM pg_namespace n
WHERE n.nspacl IS NOT NULL AND n.nspname <> 'public' AND {SCHEMAS} AND {_member("n", "pg_namespace")}
UNION ALL SELECT format('function %s', f.oid::regprocedure), f.proacl::text FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
WHERE f.proacl IS NOT NULL AND {SCHEMAS} AND {_member("f", "pg_proc")}
UNION ALL SELECT format('default of %I for %s in %s', pg_get_userbyid(d.defaclrole), d.defaclobjtype, coalesce(n.nspname, 'any schema')), d.defaclacl::text
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace"""
    return {row["name"]: row["acl"] for row in session.query(grants)}
