# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind postgres on a host of its own: a backup by pgBackRest, a promised position in an archive without a hole, and both restored and read back."""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Listing
from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import write_file
from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.kind import Clock, Scratch, Taken
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.needs import file_on_host
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import (
    DIFFERENTIAL,
    ENGINE,
    FULL,
    INCREMENTAL,
    Backup,
    Engine,
    Stanza,
    find,
)
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.proof import (
    NAME,
    Promised,
    Target,
    gaps,
    judge_for,
    promised_of,
    require_room,
    require_whole,
    restored,
)
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.server import LiveServer, Promise, State, table_name
from ansible_collections.paas.hardening.plugins.module_utils._backup.wal import Position
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import so_far
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import private_folder
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import lsn_of

# The segments that a restore of a point reads, one name a line; a drill wants each of them, with the checksum that pgBackRest has put in its name.
SEGMENTS = "segments"


class Archived:
    """The server of this host at work. ``read`` returns the catalogue as it is now; options are those of the kind postgres."""

    name = "postgres"

    def __init__(self, options: Mapping[str, Any], repository: str, read: Callable[[], Listing]) -> None:
        self._options = options
        self._read = read
        self._purpose = f"pgbackrest of {os.path.abspath(repository)}"
        self._full, self._differential = (seconds_of(options[name], f"postgres.{name}") for name in ("full_age", "diff_age"))
        self._rows: Dict[str, Dict[str, int]] = {}
        for database, tables in options["rows"].items():
            if not isinstance(tables, Mapping) or not all(isinstance(least, int) and table_name(str(table)) for table, least in tables.items()):
                raise Invalid(f"postgres.rows has {tables!r} for {database}.", "Give tables and their least number of rows.", "postgres.rows")
            self._rows[str(database)] = {str(table): int(least) for table, least in tables.items()}

    def _engine(self) -> Engine:
        return find(self._options["pgbackrest"] or "", self._options["config"], self._options["stanza"])

    def look(self, repository: str) -> None:
        """See that the server archives to a repository that is encrypted and its own, and that there is room for the proof. Writes nothing."""
        engine, server = self._engine(), LiveServer()
        self._looked(engine, server, Deadline(self._options["timeout"]))

    def _looked(self, engine: Engine, server: LiveServer, deadline: Deadline) -> Tuple[State, Stanza]:
        state, stanza = server.look(engine.stanza), engine.read(deadline)
        if stanza.system != state.system:
            raise Refused(
                f"The stanza {engine.stanza} is of another system: {stanza.system}, not {state.system}.",
                "Two servers to one archive destroy both. Give this one a stanza of its own; or run stanza-upgrade after a major upgrade.",
                "postgres.stanza",
            )
        if not stanza.encrypted:
            raise Refused(
                f"The repository of {engine.stanza} is not encrypted.",
                "Set repo1-cipher-type and repo1-cipher-pass before stanza-create (role postgres_archive).",
                "postgres.config",
            )
        server.tables(self._rows)
        judge_for(state.version, self._options["server_folder"] or "", self._options["client_folder"] or "")
        require_room(self._options["scratch_folder"], state.bytes)
        return state, stanza

    def take(self, folder: str, scratch: Scratch) -> Taken:
        deadline = Deadline(self._options["timeout"])
        steps: Dict[str, float] = {}
        clock = Clock(steps)
        engine, server = self._engine(), LiveServer()
        state, stanza = self._looked(engine, server, deadline)
        engine.check(deadline)
        listing = self._read()
        stanza = self._tidied(engine, stanza, listing, deadline)
        clock.done("look")
        mark = f"{listing.identity[:12]}-{secrets.token_hex(6)}"
        so_far("pgBackRest makes a backup")
        made = self._backed_up(engine, stanza, mark, deadline)
        clock.done("backup")
        promise = server.promise(mark, deadline)
        clock.done("archive")
        promised = _promised(made, promise, state, stanza, self._rows)
        so_far("the log is looked for in the archive")
        names, holes = self._archive(engine, promised, engine.read(deadline), deadline)
        write_file(os.path.join(folder, SEGMENTS), "".join(f"{name}\n" for name in names).encode())
        clock.done("continuity")
        so_far("pgBackRest restores, and every page and index is read")
        proof, seconds, ended = self._proved(engine, promised, names, deadline)
        clock.done("prove")
        if proof.verdict != PASS:
            wrong = "; ".join(f"{check.what}: {check.observed}, not {check.expected}" for check in proof.checks if check.verdict != PASS)
            raise NotProven(f"What was restored is not what was promised: {wrong}.", "The point is not published; look at repository and disks.", "postgres")
        about = {"engine": ENGINE, "stanza": engine.stanza, "kind": made.kind, "ended": ended, "holes": holes, **promised.as_about()}
        tools = {"pgbackrest": engine.version_text, "postgres": f"{state.version // 10000}.{state.version % 10000}"}
        needs, parents = (file_on_host(engine.config),), parents_of(made.chain, listing.points)
        return Taken(about, tools, promise.instant, proof, seconds, steps, needs=needs, parents=parents)

    def _backed_up(self, engine: Engine, stanza: Stanza, mark: str, deadline: Deadline) -> Backup:
        """Make a backup, and return what the repository says of it. Raises NotProven when it says nothing, or found damaged pages."""
        engine.back_up(due(stanza.backups, self._full, self._differential, time.time()), mark, deadline)
        made = next((backup for backup in reversed(engine.read(deadline).backups) if backup.mark == mark), None)
        if made is None:
            raise NotProven("pgBackRest made no backup, and said nothing.", "Look at the repository.", "postgres")
        if made.damaged:
            raise NotProven(
                f"The server's own files have pages with wrong checksums: {made.label}.", "Look at its disk now: pg_checksums, amcheck.", made.label
            )
        return made

    def _archive(self, engine: Engine, promised: Promised, stanza: Stanza, deadline: Deadline) -> Tuple[List[str], List[str]]:
        """Return the segments that this point needs, and what is missing between the oldest backup and it. Raises NotProven when a needed one is missing."""
        names = engine.names(promised.archive, deadline)
        histories = engine.histories(promised.archive, names, deadline)
        require_whole(gaps(names, histories, promised.since, promised.through, promised.segment))
        oldest = min(stanza.backups, key=lambda backup: backup.ended)
        since = Position(int(oldest.first[:8], 16), lsn_of(oldest.start))
        return needed(names, promised), gaps(names, histories, since, promised.through, promised.segment)

    def _proved(self, engine: Engine, promised: Promised, names: Sequence[str], deadline: Deadline) -> Tuple[Proof, float, str]:
        judge = judge_for(promised.version, self._options["server_folder"] or "", self._options["client_folder"] or "")
        with private_folder(self._options["scratch_folder"], self._purpose) as place:
            return restored(engine, judge, promised, Target(NAME, promised.name, promised.timeline), place, deadline, segments=names)

    def tidy(self) -> None:
        """Remove the backups that we made and that no point of the catalogue needs any more, with the log before the oldest that stays."""
        engine, deadline = self._engine(), Deadline(self._options["timeout"])
        self._tidied(engine, engine.read(deadline), self._read(), deadline)

    def _tidied(self, engine: Engine, stanza: Stanza, listing: Listing, deadline: Deadline) -> Stanza:
        for label in superfluous(stanza.backups, listing):
            engine.expire(label, sum(backup.kind == FULL and backup.label != label for backup in stanza.backups), deadline)
            stanza = engine.read(deadline)
        return stanza


def due(backups: Sequence[Backup], full_age: float, diff_age: float, now: float) -> str:
    """Return which kind of backup is made next: by the age, in seconds, of the last full one, and of the last one that stands on a full one alone. Pure."""
    fulls = [backup.ended for backup in backups if backup.kind == FULL]
    if not fulls or not 0 <= now - max(fulls) < full_age:
        return FULL
    bases = [backup.ended for backup in backups if backup.kind in (FULL, DIFFERENTIAL)]
    return INCREMENTAL if 0 <= now - max(bases) < diff_age else DIFFERENTIAL


def superfluous(backups: Sequence[Backup], listing: Listing) -> List[str]:
    """Return the labels of ours that no point needs, the last first, so that nothing goes with another one. Pure.

    With anything damaged in the catalogue nothing goes: it may be that what cannot be read needs it. What somebody made by hand is not ours, and what that
    needs stays with it. The last full backup that there is never goes.
    """
    if listing.damaged or not listing.identity:
        return []
    kept: Set[str] = set()
    for point in listing.points:
        kept.update((point.kinds.get("postgres") or {}).get("chain") or ())
    for backup in backups:
        if not backup.mark.startswith(f"{listing.identity[:12]}-"):
            kept.update(backup.chain)
    fulls = [backup.label for backup in backups if backup.kind == FULL]
    gone = [backup.label for backup in reversed(backups) if backup.label not in kept and backup.label not in fulls[-1:]]
    needs: Dict[str, Set[str]] = {backup.label: {other.label for other in backups if backup.label in other.chain} - {backup.label} for backup in backups}
    # What another one that stays stands on has to stay, whatever the catalogue says.
    return [label for label in gone if needs[label] <= set(gone)]


def parents_of(chain: Sequence[str], points: Sequence[Manifest]) -> Tuple[str, ...]:
    """Return the points that have the other backups of a chain. Pure."""
    return tuple(point.identifier for point in points if (point.kinds.get("postgres") or {}).get("label") in chain[:-1])


def needed(names: Sequence[str], promised: Promised) -> List[str]:
    """Return the names of the segments that a restore of a point reads, on whichever timeline they lie. Pure."""
    per_log = (1 << 32) // promised.segment
    first, last = promised.since.lsn // promised.segment, (promised.through.lsn - 1) // promised.segment
    found = []
    for name in names:
        line, number = name[:8], name[8:24]
        if len(number) == 16 and name[24:25] in ("-", "") and all(letter in "0123456789ABCDEF" for letter in line + number):
            place = int(number[:8], 16) * per_log + int(number[8:], 16)
            if first <= place <= last and int(line, 16) <= promised.timeline:
                found.append(name)
    return found


def drilled(options: Mapping[str, Any], about: Mapping[str, Any], folder: str, repository: str, deadline: Deadline) -> Tuple[Tuple[Check, ...], float]:
    """Restore what a point promised once more, out of the repository as it is now. Return the checks, and the seconds until it answered. Raises NotProven."""
    promised = promised_of(about)
    engine = find(options["pgbackrest"] or "", options["pgbackrest_config"], str(about["stanza"]))
    names, checks = _still_there(engine, promised, folder, deadline)
    judge = judge_for(promised.version, options["server_folder"] or "", options["client_folder"] or "")
    require_room(options["scratch_folder"], promised.bytes)
    with private_folder(options["scratch_folder"], f"pgbackrest drill of {repository}") as place:
        proof, seconds, _ended = restored(engine, judge, promised, Target(NAME, promised.name, promised.timeline), place, deadline, segments=names)
    return (*checks, *proof.checks), seconds


def _still_there(engine: Engine, promised: Promised, folder: str, deadline: Deadline) -> Tuple[List[str], List[Check]]:
    """See that backup and log are those of the point, and return the names of its segments. Raises NotProven when one is missing."""
    with open(os.path.join(folder, SEGMENTS), encoding="ascii") as file:
        wanted = set(file.read().split())
    stanza = engine.read(deadline)
    there = next((backup for backup in stanza.backups if backup.label == promised.label), None)
    if there is None:
        raise NotProven(f"The backup {promised.label} is not in the repository any more.", "Something else than this collection removed it.", promised.label)
    names = engine.names(promised.archive, deadline)
    require_whole(gaps(names, engine.histories(promised.archive, names, deadline), promised.since, promised.through, promised.segment))
    found = set(needed(names, promised))
    observed = json.dumps(sorted(wanted - found)[:3]) if wanted - found else "none"
    checks = [
        Check("segments that are not those of then", "none", observed, PASS if wanted <= found else "fail"),
        Check("the chain of the backup", ", ".join(promised.chain), ", ".join(there.chain), PASS if promised.chain == there.chain else "fail"),
    ]
    return sorted(wanted), checks


def _promised(made: Backup, promise: Promise, state: State, stanza: Stanza, rows: Mapping[str, Mapping[str, int]]) -> Promised:
    return Promised(
        label=made.label,
        chain=made.chain,
        archive=stanza.archive,
        system=state.system,
        version=state.version,
        segment=state.segment,
        checksums=state.checksums,
        start=made.start,
        first=made.first,
        stop=made.stop,
        name=promise.name,
        timeline=promise.timeline,
        lsn=promise.lsn,
        instant=promise.instant,
        backed_up=made.ended,
        bytes=state.bytes,
        databases=state.databases,
        rows=rows,
    )


def is_archived(about: Optional[Mapping[str, Any]]) -> bool:
    """Tell whether what a point says of its databases is about a backup of this kind."""
    return bool(about) and (about or {}).get("engine") == ENGINE
