# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's own client programs: which are there, whether they fit the servers, and sessions of psql in which questions are asked."""

from __future__ import annotations

import glob
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, MissingDependency, Refused, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import programs
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.failures import translate
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server, version_major, version_name

PROGRAMS = ("psql", "pg_dump", "pg_restore")
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
# Debian's programs of these names in /usr/bin choose a server's version by files of their own.
_WRAPPER = "pg_wrapper"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)\.?(\d*)(?:\.(\d+))?")
_INSTALL = "Install the client programs of PostgreSQL (Debian: postgresql-client-{0}, Red Hat: postgresql{0}), or give the folder that holds them."
# From this version on pg_restore sets a parameter that older servers do not know, and stops at it.
_NEW_PARAMETER = [17]

# Seconds: of a question about the catalogue, and of a wait for somebody else's lock.
PATIENCE = 60.0
_LOCK_PATIENCE = 20
_CHUNK = 65536

Values = Mapping[str, str]
Row = Dict[str, Any]


@dataclass(frozen=True)
class Client:
    """The client programs of one folder. ``version`` is a number as servers give theirs: 150018 is 15.18."""

    folder: str
    version: int

    def program(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def connection(self) -> str:
        """Return the connection's options that no environment variable can give: a peer that is gone is noticed within a minute or so."""
        words = "keepalives_idle=30 keepalives_interval=10 keepalives_count=3"
        return f"{words} tcp_user_timeout=60000" if self.version >= 120000 else words

    def require(self, target: int = 0, source: int = 0) -> None:
        """Refuse servers that these programs cannot serve. ``target`` and ``source`` are versions as numbers, 0 when there is none. Raises Refused."""
        mine, wanted = version_name(self.version), version_name(target or source)
        for what, version in (("target", target), ("source", source)):
            if version and version_major(self.version) < version_major(version):
                raise Refused(
                    f"The client programs in {self.folder} are of PostgreSQL {mine}, the {what} is {version_name(version)}: a client has to be as new.",
                    _INSTALL.format(wanted),
                    what,
                )
        if source and target and version_major(target) < version_major(source):
            raise Refused(
                f"The target is PostgreSQL {wanted}, the source {version_name(source)}: data is not moved to an older server.",
                f"Give a target of version {version_name(source)} or newer.",
                "target",
            )
        if target and version_major(self.version) >= _NEW_PARAMETER > version_major(target):
            raise Refused(
                f"pg_restore of PostgreSQL {mine} sets a parameter that the target, {wanted}, does not know.",
                _INSTALL.format(wanted),
                "target",
            )

    @contextmanager
    def session(self, server: Server, patience: float = PATIENCE, lock_patience: int = _LOCK_PATIENCE) -> Iterator[Session]:
        """Open a session, whose statements may take ``patience`` seconds each, and close it. Raises what failures.translate and Session.query raise."""
        with programs.entrance(server) as inside, tempfile.TemporaryFile() as complaint:
            command = [self.program("psql"), "-XAtqw", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d", self.connection()]
            # Only here: a dump keeps the bytes of its database, whatever they mean.
            process = programs.start(command, inside._replace(environment={**inside.environment, "PGCLIENTENCODING": "UTF8"}), complaint)
            try:
                yield Session(server, process, complaint, patience, lock_patience)
            finally:
                programs.end(process)

    def query(self, server: Server, sql: str, values: Optional[Values] = None, patience: float = PATIENCE) -> List[Row]:
        """Ask one question in a session of its own. See Session.query."""
        with self.session(server, patience) as session:
            return session.query(sql, values)


class Session:
    """One psql with its connection. A failure ends it: what was not committed is undone by the server."""

    def __init__(self, server: Server, process: subprocess.Popen[bytes], complaint: IO[bytes], patience: float, lock_patience: int) -> None:
        self.server = server
        self._process = process
        self._complaint = complaint
        self._patience = patience
        # One second more than we wait ourselves, so that the server does not go on with what nobody waits for.
        limits = f"SET statement_timeout = {int((patience + 1) * 1000)}; SET lock_timeout = {lock_patience * 1000};"
        self._tell(f"{limits} SET client_min_messages = error; SET search_path = pg_catalog; SET standard_conforming_strings = on;", "logging in", connect=True)
        self.version = int(self.query("SELECT current_setting('server_version_num') AS number")[0]["number"])

    def query(self, sql: str, values: Optional[Values] = None) -> List[Row]:
        """Return the rows of one SELECT as dictionaries. ``:'name'`` in it is a value as a literal, ``:"name"`` as an identifier.

        Values are quoted by psql itself and travel through its input. Raises the failures of failures.translate, TimedOut, or Invalid for a value that
        PostgreSQL cannot hold.
        """
        lines = self._tell(f"{assignments(values)}SELECT pg_catalog.row_to_json(answer_) FROM (\n{sql}\n) answer_;", "reading")
        return [json.loads(line) for line in lines]

    def execute(self, sql: str, values: Optional[Values] = None, doing: str = "writing") -> None:
        """Run statements whose results nobody needs. Values as in query; ``doing`` completes "while ..." in an error."""
        self._tell(f"{assignments(values)}{sql};", doing)

    def _tell(self, script: str, doing: str, connect: bool = False) -> List[str]:
        """Hand a script to psql and return the lines that it prints, once it is through with it."""
        deadline = Deadline(self._patience + (self.server.connect_timeout if connect else 0))
        mark = uuid.uuid4().hex
        process, server = self._process, self.server
        stdin, stdout = programs.pipes_of(process)
        if stdin.closed:
            raise Unavailable(f"The session with PostgreSQL at {server.address} has ended.", "See the failure before this one.", str(server))
        try:
            stdin.write(f"{script}\n\\echo {mark}\n".encode("utf-8", "surrogateescape"))
        except BrokenPipeError:
            # It is gone and has said why.
            stdin.close()
        end = f"{mark}\n".encode()
        output = bytearray()
        while not output.endswith(end):
            readable, _write, _error = select.select([stdout], [], [], deadline.left)
            if not readable:
                programs.end(process)
                raise TimedOut(
                    f"PostgreSQL at {server.address} did not answer within {deadline.seconds:.0f} s, while {doing}.",
                    "Somebody holds a lock, the server is overloaded, or the network is cut.",
                    str(server),
                )
            data = os.read(stdout.fileno(), _CHUNK)
            if not data:
                process.wait()
                raise translate(programs.said(self._complaint), server, doing)
            output += data
        return bytes(output[: -len(end)]).decode("utf-8", "surrogateescape").split("\n")[:-1]


def assignments(values: Optional[Values]) -> str:
    """Return the meta-commands that hand values to psql. They stand on its input, and psql quotes them where they are used."""
    text = ""
    for name, value in (values or {}).items():
        if "\0" in value:
            raise Invalid("A value has a null character in it, which PostgreSQL cannot hold.", "Remove it.", name)
        quoted = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\r", "\\r")
        text += f"\\set {name} '{quoted}'\n"
    return text


def folders(given: str) -> List[str]:
    """Return where PostgreSQL's programs may be: the given folder; else those of PATH, and where Debian and Red Hat put them."""
    if given:
        return [given]
    of_path = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    return of_path + [folder for pattern in _PLACES for folder in glob.glob(pattern)]


def _look(folder: str) -> Optional[Client]:
    """Return the client of a folder that holds all the programs; None for others."""
    paths = [shutil.which(name, path=folder) for name in PROGRAMS]
    if not all(paths) or any(os.path.basename(os.path.realpath(str(path))) == _WRAPPER for path in paths):
        return None
    try:
        ended = programs.run([os.path.join(folder, "pg_restore"), "--version"], programs.Entrance({**os.environ, "LC_ALL": "C"}), Deadline(20))
    except Failure:
        return None
    version = version_said(ended.output)
    return None if ended.status or version is None else Client(folder, version)


def version_said(text: str) -> Optional[int]:
    """Return the version that a program of PostgreSQL says of itself, as a number; None when it says none."""
    found = _VERSION.search(text)
    if found is None:
        return None
    first, second, third = (int(part or 0) for part in found.groups())
    return first * 10000 + (second if first >= 10 else second * 100 + third)


def find(given: str = "", target: int = 0) -> Client:
    """Return the client programs to use: those of the given folder; else, of all that are found, those of the target's major version, or the newest.

    Looks into PATH and where Debian and Red Hat put them. Raises MissingDependency.
    """
    found: Dict[str, Client] = {}
    for folder in folders(given):
        place = os.path.realpath(folder)
        client = None if place in found else _look(folder)
        if client is not None:
            found[place] = client
    if not found:
        where = given or "PATH, nor under " + ", ".join(_PLACES)
        version = version_name(target) if target else "VERSION"
        raise MissingDependency(f"psql, pg_dump and pg_restore are not in {where}.", _INSTALL.format(version), "client_folder")

    def rank(client: Client) -> Tuple[bool, int]:
        return bool(target) and version_major(client.version) == version_major(target), client.version

    return max(found.values(), key=rank)
