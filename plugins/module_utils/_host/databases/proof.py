# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that two databases hold the same: a fingerprint of each, computed by its server, and the differences in words."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.progress import counted
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, Session
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.content import (
    Content,
    LargeObject,
    Table,
    content,
    fix_settings,
    large_objects,
    read_plainly,
    sequences,
    tables,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server, version_major, version_name
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.settings import own_settings
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.structure import Definition, definitions, privileges

# What is going on, how much of it is done, and how much there is; 0 when that is not known.
Progress = Callable[[str, int, int], None]
# Seconds for one table or all large objects.
_PATIENCE = 6 * 3600.0
_ONE_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@dataclass(frozen=True)
class Fingerprint:
    """What a database holds and how it is built. Kept as plain data by ``as_data`` and ``from_data``.

    ``definitions`` has, for each (kind, name), a digest of the exact definition, one of its loose form (see structure.py), and the owner.
    """

    version: int
    encoding: str
    collation: str
    extensions: Mapping[str, str]
    settings: Mapping[str, str]
    tables: Mapping[str, Content]
    sequences: Mapping[str, str]
    large_objects: Mapping[str, LargeObject]
    definitions: Mapping[Tuple[str, str], Tuple[str, str, str]]
    privileges: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows in all tables together."""
        return sum(table.rows for table in self.tables.values())

    def as_data(self) -> Dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if isinstance(value, (int, str))}
        nested = {name: {key: list(entry) for key, entry in getattr(self, name).items()} for name in ("tables", "large_objects")}
        flat = {name: dict(getattr(self, name)) for name in ("extensions", "settings", "sequences", "privileges")}
        return {**plain, **flat, **nested, "definitions": [[*key, *value] for key, value in self.definitions.items()]}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Fingerprint:
        """Return the fingerprint that ``as_data`` wrote. Raises KeyError or TypeError when it is something else."""
        return cls(
            **{
                **data,
                "tables": {name: Content(*entry) for name, entry in data["tables"].items()},
                "large_objects": {name: LargeObject(*entry) for name, entry in data["large_objects"].items()},
                "definitions": {(kind, name): (exact, loose, owner) for kind, name, exact, loose, owner in data["definitions"]},
            }
        )


@contextmanager
def snapshot(client: Client, server: Server) -> Iterator[str]:
    """Hold one moment of a database, and give its name: a dump and a fingerprint that are both given it see the very same rows, writers or not."""
    with client.session(server) as session:
        fix_settings(session)
        session.execute(_ONE_MOMENT, doing="holding a snapshot")
        yield str(session.query("SELECT pg_export_snapshot() AS name")[0]["name"])


def fingerprint(client: Client, server: Server, jobs: int = 2, moment: str = "", progress: Progress = counted) -> Fingerprint:
    """Compute the fingerprint of a database at one moment: that of a ``snapshot`` if its name is given, or now. Reads every row, ``jobs`` tables at a time.

    The role needs the right to read everything. Sequences and definitions have no past: they are as they are now. Raises what Client.session raises.
    """
    if not moment:
        with snapshot(client, server) as held:
            return fingerprint(client, server, jobs, held, progress)
    with _reader(client, server, moment) as session:
        known = session.query(
            "SELECT pg_encoding_to_char(encoding) AS encoding, datcollate || ' ' || datctype AS collation FROM pg_database WHERE datname = current_database()"
        )[0]
        extensions = {row["extname"]: row["extversion"] for row in session.query("SELECT extname, extversion FROM pg_extension")}
        everything = tables(session)
        defined = definitions(session)
        found = Fingerprint(
            version=session.version,
            encoding=known["encoding"],
            collation=known["collation"],
            extensions=extensions,
            settings=own_settings(session),
            tables=_contents(client, server, moment, everything, jobs, progress),
            sequences=sequences(session),
            large_objects=large_objects(session),
            definitions={(entry.kind, entry.name): _digests(entry) for entry in defined},
            privileges=privileges(session),
        )
        session.execute("COMMIT", doing="ending the snapshot")
        return found


@contextmanager
def _reader(client: Client, server: Server, moment: str) -> Iterator[Session]:
    with client.session(server, _PATIENCE) as session:
        fix_settings(session)
        session.execute(f"{_ONE_MOMENT}; SET TRANSACTION SNAPSHOT :'moment'", {"moment": moment}, "joining a snapshot")
        yield session


def _digests(entry: Definition) -> Tuple[str, str, str]:
    exact, loose = (hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32] for text in (entry.text, entry.loose))
    return exact, loose, entry.owner


def _contents(client: Client, server: Server, moment: str, everything: Sequence[Table], jobs: int, progress: Progress) -> Dict[str, Content]:
    """Read the tables, the largest first, in as many sessions as there are jobs."""
    left = list(reversed(everything))
    taking = threading.Lock()
    found: Dict[str, Content] = {}

    def work() -> None:
        with _reader(client, server, moment) as session:
            read_plainly(session)
            while True:
                with taking:
                    if not left:
                        return
                    table = left.pop()
                read = content(session, table)
                with taking:
                    found[table.name] = read
                    progress("tables compared", len(found), len(everything))

    with ThreadPoolExecutor(max(1, min(jobs, len(everything)))) as pool:
        workers = [pool.submit(work) for _number in range(max(1, min(jobs, len(everything))))]
        try:
            for worker in as_completed(workers):
                worker.result()
        finally:
            # One that failed must not let the others read on for hours: they stop after their table.
            with taking:
                left.clear()
    return dict(sorted(found.items()))


def compare(one: Fingerprint, other: Fingerprint, owner: str = "", same_privileges: bool = False) -> List[str]:
    """Return each difference as a sentence; an empty list when both hold the same. ``one`` is the source, ``other`` the target.

    With ``owner`` everything in the target has to belong to that role, else to the role of the same name as in the source. What is granted to whom is compared
    only when asked for: a move without privileges leaves that behind. What may differ is in ``remarks``.
    """
    found = [f"encoding: {one.encoding} in the source, {other.encoding} in the target"] if one.encoding != other.encoding else []
    found += [f"extension {name}: not in the target" for name in sorted(set(one.extensions) - set(other.extensions))]
    found += [f"extension {name}: only in the target" for name in sorted(set(other.extensions) - set(one.extensions))]
    found += _differences("setting", one.settings, other.settings, lambda mine, its: f"{mine} in the source, {its} in the target")
    found += _differences("table", one.tables, other.tables, _other_content)
    found += _differences("sequence", one.sequences, other.sequences, lambda mine, its: f"{mine} in the source; {its} in the target")
    found += _differences(
        "large object", _bodies(one), _bodies(other), lambda mine, its: f"{mine[0]} bytes in the source, {its[0]} in the target, other content"
    )
    exact = version_major(one.version) == version_major(other.version)
    for kind in sorted({kind for kind, _name in [*one.definitions, *other.definitions]}):
        mine, its = (_of_kind(fingerprint, kind, exact) for fingerprint in (one, other))
        found += _differences(kind, mine, its, lambda _mine, _its: "its definition differs")
    found += _other_owners(one, other, owner)
    if same_privileges:
        found += _differences("privileges on", one.privileges, other.privileges, lambda mine, its: f"{mine} in the source, {its} in the target")
    return found


def remarks(one: Fingerprint, other: Fingerprint) -> List[str]:
    """Return, as sentences, what differs and may: it is no loss of data, but somebody should know."""
    found: List[str] = []
    if version_major(one.version) != version_major(other.version):
        names = f"{version_name(one.version)} and {version_name(other.version)}"
        found.append(f"The servers are of versions {names}: definitions were compared without qualifications, parentheses and white space.")
    if one.collation != other.collation:
        found.append(f"Texts are sorted by {one.collation} in the source and by {other.collation} in the target.")
    for name in sorted(set(one.extensions) & set(other.extensions)):
        if one.extensions[name] != other.extensions[name]:
            found.append(f"Extension {name} is of version {one.extensions[name]} in the source and {other.extensions[name]} in the target.")
    missing = sorted(name for name, acl in one.privileges.items() if other.privileges.get(name) != acl)
    if missing:
        found.append(f"Privileges are not as they were on {len(missing)} things: {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}.")
    return found


def _differences(what: str, mine: Mapping[str, Any], its: Mapping[str, Any], differ: Callable[[Any, Any], str]) -> List[str]:
    found = []
    for name in sorted(set(mine) | set(its)):
        if name not in its:
            found.append(f"{what} {name}: not in the target")
        elif name not in mine:
            found.append(f"{what} {name}: only in the target")
        elif mine[name] != its[name]:
            found.append(f"{what} {name}: {differ(mine[name], its[name])}")
    return found


def _other_content(mine: Content, its: Content) -> str:
    if mine.rows != its.rows:
        return f"{mine.rows} rows in the source, {its.rows} in the target"
    return f"{mine.rows} rows in both, but their content differs"


def _bodies(fingerprint: Fingerprint) -> Dict[str, Tuple[int, str]]:
    return {name: (entry.bytes, entry.checksum) for name, entry in fingerprint.large_objects.items()}


def _of_kind(fingerprint: Fingerprint, kind: str, exact: bool) -> Dict[str, str]:
    return {name: digests[0 if exact else 1] for (its_kind, name), digests in fingerprint.definitions.items() if its_kind == kind}


def _other_owners(one: Fingerprint, other: Fingerprint, owner: str) -> List[str]:
    mine, its = (
        {
            **{f"{kind} {name}": digests[2] for (kind, name), digests in entry.definitions.items()},
            **{f"large object {name}": item.owner for name, item in entry.large_objects.items()},
        }
        for entry in (one, other)
    )
    return [
        f"{name}: belongs to {its[name]}, not to {owner or mine[name]}"
        for name in sorted(set(mine) & set(its))
        if its[name] != (owner if owner and mine[name] else mine[name])
    ]
