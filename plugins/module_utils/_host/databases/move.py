# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves a database: a dump that is whole or not there, and a restore that is begun anew when it was interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from dataclasses import asdict, dataclass
from functools import partial
from typing import List, Mapping, Sequence, Set, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import counted
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import programs, target
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, Session
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.failures import translate
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import Progress
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.settings import READ_ONLY, own_settings

# Seconds for a whole dump or restore.
PATIENCE = 24 * 3600.0
_FOLDER = "dump"
_CONTENT = "content"
_MANIFEST = "dump.json"
_CHUNK = 1 << 20
# Settings that are lists of names, each quoted by itself where it has to be.
_LISTS = ("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries")
_NAMES = re.compile(r'(?:"(?:[^"]|"")*"|[\w$]+)(?:, (?:"(?:[^"]|"")*"|[\w$]+))*')
_ENTRY = re.compile(r"\A(\d+; \d+ \d+) (COMMENT - )?(EXTENSION|SCHEMA) (- )?(.*)\Z")


@dataclass(frozen=True)
class Dump:
    """A whole dump in a folder. ``id`` is its own, ``bytes`` and ``sha256`` are of its content, ``version`` is the source's.

    ``tables`` is the number of tables whose rows are in it, ``settings`` what is stored with the database and is no part of what pg_dump writes.
    ``extensions`` are those of the source, each with its schema; in the target the administrator makes them (prepare.py) unless its owner may.
    """

    folder: str
    id: str
    bytes: int
    sha256: str
    version: int
    database: str
    encoding: str
    tables: int
    settings: Mapping[str, str]
    extensions: Mapping[str, str]

    @property
    def content(self) -> str:
        return os.path.join(self.folder, _CONTENT)


def dump(client: Client, source: Server, folder: str, progress: Progress = counted, jobs: int = 1, moment: str = "", patience: float = PATIENCE) -> Dump:
    """Dump a database into a folder of our own (0700), at one moment: that of a ``proof.snapshot`` if its name is given, or that of its start.

    Neither owners nor privileges are dumped: in the target everything belongs to the one role that the platform logs in as, and the roles that had been granted
    something need not exist there. A dump of several jobs is a folder of files, else it is one file. What an interrupted dump left is removed. ``patience`` is
    in seconds. Raises Refused (no room, client too old), TimedOut, and what Client.session raises.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    whole, partial = os.path.join(folder, _FOLDER), os.path.join(folder, f"{_FOLDER}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with client.session(source) as session:
        client.require(source=session.version)
        facts = session.query(
            """SELECT pg_database_size(current_database()) AS bytes, pg_encoding_to_char(encoding) AS encoding, pg_is_in_recovery() AS standby,
    (SELECT json_object_agg(extname, nspname)::text FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname <> 'plpgsql') AS extensions
FROM pg_database WHERE datname = current_database()"""
        )[0]
        settings, version = own_settings(session), session.version
    _refuse_full(folder, facts["bytes"])
    os.mkdir(partial, 0o700)
    content = os.path.join(partial, _CONTENT)
    command = [client.program("pg_dump"), "--no-password", "--no-owner", "--no-privileges", "--compress=1", "--lock-wait-timeout=60s", f"--file={content}"]
    command += ["--format=directory", f"--jobs={jobs}"] if jobs > 1 else ["--format=custom"]
    # Deferrable waits for a moment that some serial order of the transactions would have had. A given snapshot has chosen its moment, a standby cannot.
    command += [f"--snapshot={moment}"] if moment else [] if facts["standby"] else ["--serializable-deferrable"]
    with programs.entrance(source) as inside:
        ended = programs.run(
            [*command, "--dbname", client.connection()], inside, Deadline(patience), lambda: progress("bytes dumped", size_of(content), facts["bytes"])
        )
    if ended.status:
        raise translate(ended.complaint, source, "dumping")
    entries = listing(client, content)
    _sync(content)
    size, digest = _digest(content)
    made = Dump(
        folder=whole,
        id=uuid.uuid4().hex,
        bytes=size,
        sha256=digest,
        version=version,
        database=source.database,
        encoding=facts["encoding"],
        tables=sum(" TABLE DATA " in entry for entry in entries),
        settings=settings,
        extensions=json.loads(facts["extensions"] or "{}"),
    )
    _write_manifest(partial, made)
    shutil.rmtree(whole, ignore_errors=True)
    os.rename(partial, whole)
    _sync_folder(folder)
    progress("bytes dumped", size, size)
    return made


def load(folder: str) -> Dump:
    """Return the dump that stands in a folder since an earlier run, unread. Raises NotFound when there is no whole one."""
    whole = os.path.join(folder, _FOLDER)
    try:
        with open(os.path.join(whole, _MANIFEST), encoding="utf-8") as file:
            data = json.load(file)
        return Dump(**{**data, "folder": whole})
    except (OSError, ValueError, TypeError, KeyError):
        raise NotFound(f"There is no whole dump in {folder}.", "Dump the database first.", folder) from None


def discard(folder: str) -> None:
    """Remove the dump of a folder, whole or not: it holds everything that the database holds."""
    for name in (_FOLDER, f"{_FOLDER}.partial"):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def verify(made: Dump) -> None:
    """Read a dump and compare it with what it was when it was made. Raises Invalid."""
    try:
        found = _digest(made.content)
    except OSError:
        found = (0, "")
    if found != (made.bytes, made.sha256):
        raise Invalid("The dump is not what was written: its bytes have changed.", "Look at the disk, remove the folder, and dump again.", made.folder)


def listing(client: Client, content: str) -> List[str]:
    """Return the table of contents of a dump, one line an entry, comments left out. Raises Invalid when pg_restore cannot read it."""
    with programs.entrance(Server("localhost", "nobody", "nothing")) as inside:
        ended = programs.run([client.program("pg_restore"), "--list", content], inside, Deadline(600))
    if ended.status:
        raise Invalid("pg_restore cannot read the dump.", "Look at the disk and at the version of the client programs, then dump again.", content)
    return [line for line in ended.output.split("\n") if line and not line.startswith(";")]


def wanted_entries(entries: Sequence[str], extensions: Set[str], schemas: Set[str]) -> List[str]:
    """Return the entries to restore: without the extensions and schemas that the target has already, whose owner need not be us."""
    wanted = []
    for entry in entries:
        found = _ENTRY.match(entry)
        # The owner stands behind the name, and is empty for an extension. Any part may have blanks in it.
        there = extensions if found and found.group(3) == "EXTENSION" else schemas
        if not found or not any(found.group(5) == name or found.group(5).startswith(f"{name} ") for name in there):
            wanted.append(entry)
    return wanted


def restore(client: Client, made: Dump, into: Server, owner: str = "", jobs: int = 2, progress: Progress = counted, patience: float = PATIENCE) -> bool:
    """Restore a dump into an empty database, and gather its statistics. False when this very dump had been restored there already.

    ``into`` enters as the database's owner, or as a member of ``owner``, to whom everything will belong. What our own interrupted restore left is removed
    first: that is known by the database's comment (target.py). Raises Refused (something else is in the database, it is older than the source, it is not the
    owner's), Conflict (another run is at it), Invalid (the dump has changed), and what Client.session raises. ``patience`` is in seconds.
    """
    owner = owner or into.user
    with target.alone(client, into, patience) as session:
        client.require(session.version, made.version)
        found = target.look(session)
        if found.kind == target.RESTORED and found.detail == made.id:
            return False
        if found.kind in (target.FOREIGN, target.RESTORED):
            what = "another dump" if found.kind == target.RESTORED else found.detail
            raise Refused(
                f"The target database {into.database} is not empty: it holds {what}.", "Give an empty database, or empty this one yourself.", into.database
            )
        target.refuse_stranger(session, into.database, owner)
        verify(made)
        target.mark(session, into.database, target.RESTORING, made.id, found.comment)
        if found.kind == target.RESTORING:
            target.remove_remains(session, into.database)
        # Before the long work, since an owner may not set everything. What would keep us from writing comes last.
        _set(session, into.database, {name: value for name, value in made.settings.items() if name != READ_ONLY})
        _fill(client, session, made, into, owner, jobs, progress, patience)
        _set(session, into.database, made.settings)
        session.execute("ANALYZE", doing="gathering statistics")
        target.mark(session, into.database, target.RESTORED, made.id, found.comment)
        return True


def _fill(client: Client, session: Session, made: Dump, into: Server, owner: str, jobs: int, progress: Progress, patience: float) -> None:
    """Let pg_restore write the dump into an empty database."""
    entries = wanted_entries(listing(client, made.content), set(target.installed_extensions(session)), set(target.schemas(session)))
    command = [client.program("pg_restore"), "--no-password", "--exit-on-error", "--no-owner", "--no-privileges", "--role", owner, f"--jobs={jobs}"]

    def watch() -> None:
        progress("bytes in the target", session.query("SELECT pg_database_size(current_database()) AS bytes")[0]["bytes"], 0)

    with programs.entrance(into) as inside, tempfile.NamedTemporaryFile() as chosen:
        chosen.write("".join(f"{entry}\n" for entry in entries).encode("utf-8", "surrogateescape"))
        chosen.flush()
        inside = inside._replace(environment={**inside.environment, "PGAPPNAME": target.RESTORER})
        ended = programs.run([*command, f"--use-list={chosen.name}", "--dbname", client.connection(), made.content], inside, Deadline(patience), watch)
    if ended.status:
        raise translate(ended.complaint, into, "restoring")


def _set(session: Session, database: str, settings: Mapping[str, str]) -> None:
    """Store settings with the target; what is there already may be an administrator's work, whose right we do not have."""
    there = own_settings(session)
    for name, value in sorted(settings.items()):
        if there.get(name) != value:
            values = {"database": database, "name": name, "value": value}
            session.execute(f'ALTER DATABASE :"database" SET :"name" = {setting_value(name, value)}', values, f"setting {name} of the database")


def setting_value(name: str, value: str) -> str:
    """Return how a stored setting is written: a list of names (search_path) as it was stored, all else as a text that psql quotes."""
    return value if name in _LISTS and _NAMES.fullmatch(value) else ":'value'"


def _refuse_full(folder: str, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise Refused(f"{folder} has {free >> 20} MiB free, the database {wanted >> 20} MiB.", "A dump may become as large: make room there.", folder)


def _files(content: str) -> List[str]:
    if os.path.isdir(content):
        return sorted(os.path.join(content, name) for name in os.listdir(content))
    return [content]


def size_of(content: str) -> int:
    """Return the bytes that were written so far."""
    try:
        return sum(os.path.getsize(path) for path in _files(content))
    except OSError:
        return 0


def _digest(content: str) -> Tuple[int, str]:
    """Return the size of a dump in bytes and the SHA-256 of its files with their names and sizes. Raises OSError."""
    total, digest = 0, hashlib.sha256()
    for path in _files(content):
        size = os.path.getsize(path)
        total += size
        digest.update(f"{os.path.basename(path)}\0{size}\0".encode())
        with open(path, "rb") as file:
            for piece in iter(partial(file.read, _CHUNK), b""):
                digest.update(piece)
    return total, digest.hexdigest()


def _sync(content: str) -> None:
    """Have every byte of a dump on the disk before it gets its name."""
    for path in _files(content):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    _sync_folder(content if os.path.isdir(content) else os.path.dirname(content))


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_manifest(folder: str, made: Dump) -> None:
    with open(os.path.join(folder, _MANIFEST), "w", encoding="utf-8") as file:
        json.dump({name: value for name, value in asdict(made).items() if name != "folder"}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)
