# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database holds, as the server itself computes it: rows and checksum of each table, sequences, large objects.

A checksum is the sum of the MD5 of every row, in two halves of 64 bits: it does not depend on the order of rows, and counts a row as often as it is there.
The text of a row is the same on every version from 9.4 on, given the settings below. What has no such text, or not all of its bits in it, is taken in its
binary form: floating point numbers would lose their last digits, and large values of bytea would grow beyond what the server can put together.
"""

from __future__ import annotations

import json
from typing import Dict, List, Mapping, NamedTuple, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Session

# Everything that changes how a value is written.
SETTINGS = {
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "extra_float_digits": "0",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "lc_numeric": "C",
    # Another path would leave out schemas in the text of regclass and its like.
    "search_path": "pg_catalog",
}
# An index that is damaged must not hide a row.
_PLAIN_READING = {"enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_bitmapscan": "off"}
_SEQUENCES_AT_ONCE = 200
# Bytes of a large object that the server has in memory at once.
_PIECE = 1 << 20

# What a user made: PostgreSQL's own objects have lower numbers.
USER_MADE = 16384
MINE = "{0}.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{1}'::regclass AND e.objid = {0}.oid AND e.deptype = 'e')"
SCHEMAS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


class Table(NamedTuple):
    """A table whose rows are compared. ``name`` is quoted, ``where`` limits an extension's table to what users put there."""

    name: str
    bytes: int
    columns: Sequence[Mapping[str, str]]
    where: str


class Content(NamedTuple):
    """What a table holds: the number of its rows, and their checksum."""

    rows: int
    checksum: str


def fix_settings(session: Session) -> None:
    """Make the session write values in the one way that all versions share."""
    settings = dict(SETTINGS)
    # A policy would hide rows without a word; with this off the server refuses instead.
    settings.update({"row_security": "off"} if session.version >= 90500 else {})
    # The one who holds the snapshot is idle for as long as the longest table takes.
    settings.update({"idle_in_transaction_session_timeout": "0"} if session.version >= 90600 else {})
    settings.update({"transaction_timeout": "0"} if session.version >= 170000 else {})
    _set(session, settings)


def read_plainly(session: Session) -> None:
    """Make the session read tables as they lie there."""
    _set(session, _PLAIN_READING)


def _set(session: Session, settings: Mapping[str, str]) -> None:
    session.execute("; ".join(f"SET {name} = '{value}'" for name, value in sorted(settings.items())), doing="setting how values are read and written")


def tables(session: Session) -> List[Table]:
    """Return all tables with rows of their own (partitions and heirs each by themselves), the largest first. Materialised views are not among them."""
    rows = session.query(f"""
WITH RECURSIVE based (oid, base) AS (
    SELECT oid, oid FROM pg_type WHERE typtype <> 'd'
    UNION ALL SELECT d.oid, b.base FROM pg_type d JOIN based b ON d.typtype = 'd' AND d.typbasetype = b.oid
), chosen (oid, condition) AS (
    SELECT c.oid, '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {SCHEMAS} AND {MINE.format("c", "pg_class")}
    UNION ALL SELECT unnest(extconfig), unnest(extcondition) FROM pg_extension
)
SELECT format('%I.%I', n.nspname, c.relname) AS name, pg_table_size(c.oid) AS bytes, k.condition AS "where",
    (SELECT json_agg(json_build_object('name', format('%I', a.attname), 'type', b.base::regtype::text) ORDER BY a.attname::text COLLATE "C")::text
     FROM pg_attribute a JOIN based b ON b.oid = a.atttypid WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM chosen k JOIN pg_class c ON c.oid = k.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' ORDER BY 2 DESC, 1""")
    return [Table(row["name"], row["bytes"], json.loads(row["columns"] or "[]"), row["where"]) for row in rows]


def _written(column: Mapping[str, str]) -> str:
    """Return the expression that stands for a column in the checksum."""
    name, kind = column["name"], column["type"]
    if kind in ("double precision", "real"):
        # Not a number has several binary forms.
        return f"CASE WHEN {name} = 'NaN' THEN '\\x'::bytea ELSE float{8 if kind == 'double precision' else 4}send({name}) END"
    if kind in ("double precision[]", "real[]"):
        return f"array_send({name})"
    return f"md5({name}::bytea)" if kind == "bytea" else name


def content(session: Session, table: Table) -> Content:
    """Count the rows of a table and compute their checksum, in one statement on the server. The session needs fix_settings and read_plainly."""
    # OFFSET 0 keeps the server from computing the MD5 once for each half.
    row = session.query(f"""
SELECT count(*) AS rows, coalesce(sum(('x' || left(digest, 16))::bit(64)::bigint), 0)::text AS one,
    coalesce(sum(('x' || right(digest, 16))::bit(64)::bigint), 0)::text AS two
FROM (SELECT md5(ROW({", ".join(map(_written, table.columns))})::text) AS digest FROM ONLY {table.name} {table.where} OFFSET 0) digests""")[0]
    return Content(row["rows"], f"{row['one']}:{row['two']}")


def sequences(session: Session) -> Dict[str, str]:
    """Return each sequence with its last value, whether that was handed out, and its settings, as one text."""
    names = [
        row["name"]
        for row in session.query(f"""
SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {SCHEMAS} AND {MINE.format("c", "pg_class")} ORDER BY 1""")
    ]
    found: Dict[str, str] = {}
    for at in range(0, len(names), _SEQUENCES_AT_ONCE):
        parts = [_sequence(session, name, number) for number, name in enumerate(names[at : at + _SEQUENCES_AT_ONCE], at)]
        for row in session.query(" UNION ALL ".join(parts)):
            found[names[row["number"]]] = row["state"]
    return found


def _sequence(session: Session, name: str, number: int) -> str:
    """Return the question about one sequence. Since version 10 its settings are in the catalogue, before they were in the sequence."""
    if session.version >= 100000:
        settings, source = "seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle", f"{name} s, pg_sequence p WHERE p.seqrelid = s.tableoid"
    else:
        settings, source = "start_value, increment_by, min_value, max_value, cache_value, is_cycled", f"{name} s"
    form = "last value %s, handed out %s, start %s, step %s, from %s to %s, cache %s, cycle %s"
    return f"SELECT {number} AS number, format('{form}', s.last_value, s.is_called, {settings}) AS state FROM {source}"


class LargeObject(NamedTuple):
    """A large object: who owns it, how many bytes it has, and the MD5 of the MD5s of its pieces of 1 MiB."""

    owner: str
    bytes: int
    checksum: str


def large_objects(session: Session) -> Dict[str, LargeObject]:
    """Return all large objects by their number. Read in pieces: one as a whole can be larger than the server's memory."""
    rows = session.query(f"""
SELECT sized.oid::text AS oid, sized.owner, sized.bytes, (
    SELECT coalesce(md5(string_agg(md5(lo_get(sized.oid, piece * {_PIECE}, {_PIECE})), '' ORDER BY piece)), '')
    FROM generate_series(0, (sized.bytes - 1) / {_PIECE}) AS piece WHERE sized.bytes > 0) AS checksum
FROM (SELECT opened.oid, opened.owner, lo_lseek64(opened.descriptor, 0, 2) AS bytes, lo_close(opened.descriptor) AS closed
      FROM (SELECT m.oid, pg_get_userbyid(m.lomowner) AS owner, lo_open(m.oid, 262144) AS descriptor FROM pg_largeobject_metadata m
            ORDER BY m.oid OFFSET 0) opened OFFSET 0) sized""")
    return {row["oid"]: LargeObject(row["owner"], row["bytes"], row["checksum"]) for row in rows}
