# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves a dump the only way there is: restored into a server of our own, and compared with what the snapshot held, table by table."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass, replace
from typing import Any, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, NotProven, Refused, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, Session
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import Dump, restore
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import Fingerprint, compare, fingerprint, remarks
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server

_SHOWN = 5
_SEQUENCE = re.compile(r"last value (-?\d+), handed out ([a-z]+), (.*)")
# Valid B-tree indexes of tables that stay. Unlogged and temporary ones hold nothing after a restore.
# The function gives nothing back, and raises an error for an index that is wrong.
_INDEXES = """SELECT count(*) AS indexes, count(*) FILTER (WHERE bt_index_check(index => c.oid, heapallindexed => true)::text IS NOT NULL) AS checked
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisready AND i.indisvalid"""
_HEAPS = """SELECT count(*) AS damages FROM pg_class c, LATERAL verify_heapam(relation => c.oid)
WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p'"""
_AMCHECK_FULL = 110000
_AMCHECK_HEAP = 140000

Sequences = Mapping[str, str]


@dataclass(frozen=True)
class Expected:
    """What the restored database has to hold: the fingerprint at the snapshot.

    Sequences have no past, so they are known as they were before the dump and after it: what the dump holds lies between.
    """

    fingerprint: Fingerprint
    before: Sequences
    after: Sequences


@dataclass(frozen=True)
class Proved:
    """What a restore showed: ``seconds`` from the files to a database that answers, ``held`` is what it holds, ``remarks`` what differs and may."""

    proof: Proof
    seconds: float
    held: Fingerprint
    remarks: Tuple[str, ...]


def prove(client: Client, made: Dump, expected: Expected, server: Server, role: str, deadline: Deadline) -> Proved:
    """Restore a dump into a new database of a scratch server, and compare. Raises NotProven when it cannot be restored; ``role`` names it in the checks."""
    into = replace(server, database=f"restored {role}")
    make_database(client, into, made.encoding, expected.fingerprint.collation)
    proved = fill_and_compare(client, made, expected, into, role, deadline)
    checks = (*proved.proof.checks, *amcheck(client, into, role, deadline))
    return replace(proved, proof=Proof(checks))


def fill_and_compare(client: Client, made: Dump, expected: Expected, into: Server, role: str, deadline: Deadline) -> Proved:
    """Restore a dump into an empty database, and compare. Raises NotProven when it cannot be restored."""
    begun = time.monotonic()
    try:
        restore(client, made, into, patience=max(deadline.left, 1.0))
    except TimedOut:
        raise
    except Failure as failure:
        raise NotProven(f"The dump of {role} cannot be restored: {failure.message}", failure.hint, role) from None
    seconds = time.monotonic() - begun
    held = fingerprint(client, into)
    wanted = replace(expected.fingerprint, sequences=_acceptable(expected, held.sequences))
    differences = compare(wanted, held, owner=into.user)
    checks = (
        Check.equal(f"tables of {role} in the restored database", str(len(wanted.tables)), str(len(held.tables))),
        Check.equal(f"rows of {role}", str(wanted.rows), str(held.rows)),
        Check.equal(f"SHA-256 over the checksum of every table of {role}", digest_of(wanted), digest_of(held)),
        Check.equal(f"differences between {role} in the snapshot and restored", "none", _said(differences)),
    )
    return Proved(Proof(checks), seconds, held, tuple(remarks(wanted, held)))


def make_database(client: Client, into: Server, encoding: str, collation: str) -> None:
    """Make the database that ``into`` names, sorted as the source where that system can do so. We enter by the database postgres."""
    server, name = replace(into, database="postgres"), into.database
    sorts = dict(zip(("collate", "ctype"), collation.split(" ")))
    with_collation = "CREATE DATABASE :\"name\" TEMPLATE template0 ENCODING :'encoding' LC_COLLATE :'collate' LC_CTYPE :'ctype'"
    try:
        with client.session(server, 120) as session:
            session.execute(with_collation, {"name": name, "encoding": encoding, **sorts}, f"making the database {name}")
    except Failure:
        with client.session(server, 120) as session:
            session.execute(
                "CREATE DATABASE :\"name\" TEMPLATE template0 ENCODING :'encoding'", {"name": name, "encoding": encoding}, f"making the database {name}"
            )


def digest_of(held: Fingerprint) -> str:
    """Return one number for the rows of all tables and for all large objects."""
    content = {
        "tables": {name: list(table) for name, table in held.tables.items()},
        "large objects": {number: [entry.bytes, entry.checksum] for number, entry in held.large_objects.items()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _acceptable(expected: Expected, found: Sequences) -> Sequences:
    """Return the sequences that the restored database has to have: what was found where it lies between before and after, else what was before. Pure."""
    return {
        name: found[name] if name in found and between(before, expected.after.get(name, before), found[name]) else before
        for name, before in expected.before.items()
    }


def between(before: str, after: str, found: str) -> bool:
    """Tell whether a sequence stands where it can have stood while the dump was made: exactly there when nobody used it meanwhile. Pure."""
    if before == after:
        return found == before
    parts = [_SEQUENCE.fullmatch(text) for text in (before, after, found)]
    if not all(parts):
        return False
    (low, _h1, same), (high, _h2, also), (value, _h3, its) = (part.groups() for part in parts if part)
    return same == also == its and min(int(low), int(high)) <= int(value) <= max(int(low), int(high))


def _said(differences: List[str]) -> str:
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return "; ".join(differences[:_SHOWN]) + more or "none"


def amcheck(client: Client, into: Server, role: str, deadline: Deadline) -> List[Check]:
    """Hold every B-tree index against its table, and look at every table's pages, where the server has the extension for it."""
    with client.session(into, max(deadline.left, 1.0)) as session:
        if not amcheck_available(session):
            return []
        # Not committed: what was restored for use stays as it was.
        session.execute(
            "BEGIN; CREATE SCHEMA amcheck_; CREATE EXTENSION amcheck SCHEMA amcheck_; SET search_path = amcheck_, pg_catalog", doing="making amcheck"
        )
        try:
            row = session.query(_INDEXES)[0]
            found = [Check.equal(f"B-tree indexes of {role} that agree with their table", str(row["indexes"]), str(row["checked"]))]
            if session.version >= _AMCHECK_HEAP:
                damages = session.query(_HEAPS)[0]["damages"]
                found.append(Check.equal(f"damages in the pages of {role}", "0", str(damages)))
        except (TimedOut, Invalid):
            raise
        except Failure as failure:
            return [Check(f"B-tree indexes of {role} that agree with their table", "all", failure.message, FAIL)]
    return found


def amcheck_available(session: Session) -> bool:
    """Tell whether the server can compare an index with its table."""
    if session.version < _AMCHECK_FULL:
        return False
    return bool(session.query("SELECT count(*) AS there FROM pg_available_extensions WHERE name = 'amcheck'")[0]["there"])


def read_fingerprint(path: str) -> Fingerprint:
    """Read what was written by ``write_fingerprint``. Raises Refused when it is something else."""
    try:
        with open(path, encoding="utf-8") as file:
            return Fingerprint.from_data(json.load(file))
    except (OSError, ValueError, KeyError, TypeError):
        raise Refused(f"{path} does not say what the dump holds.", "The point is torn, or of another version of this collection.", path) from None


def fingerprint_text(held: Fingerprint) -> bytes:
    """Return a fingerprint as a file keeps it, in one spelling."""
    data: Any = held.as_data()
    return json.dumps(data, sort_keys=True, indent=1).encode("utf-8") + b"\n"
