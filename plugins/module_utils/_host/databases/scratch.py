# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server of our own for the length of a block: in a new folder, behind a socket that nobody else can reach, gone afterwards with all it held."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import (
    Failure,
    Invalid,
    MissingDependency,
    NotProven,
    Refused,
    TimedOut,
    Unavailable,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import programs
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, folders, version_said
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server, version_major, version_name
from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied, ties

PROGRAMS = ("initdb", "postgres")
SUPERUSER = "postgres"
# SCRAM came with it.
_OLDEST = 100000
_INSTALL = "Install PostgreSQL's server programs (Debian: postgresql-{0}; its own cluster need not run), or give the folder that holds them."
# What a server needs not that is thrown away: it loses everything when the power fails, and nobody follows it.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "archive_mode": "off",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "max_connections": "20",
    "shared_buffers": "64MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
}
# Accounts of the system that the server may run as when we are root, whom PostgreSQL refuses: its own one, or that without any right.
_ACCOUNTS = ("postgres", "nobody")
_LOOK = 0.05
_TOO_SMALL = "Look at the memory and the limits of this machine."
# Seconds for a server to give back its shared memory after it was told to go.
_END_SECONDS = 10.0
_LONGEST_COMPLAINT = 300
# Bytes of a path that leave room for the socket's name: the system takes 107.
_LONGEST_FOLDER = 90
# Bytes that a new server takes by itself.
BESIDE = 256 << 20


@dataclass(frozen=True)
class ServerPrograms:
    """The server programs of one folder. ``version`` is a number as servers give theirs: 150018 is 15.18."""

    folder: str
    version: int

    def program(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def require(self, source: int) -> None:
        """Refuse to restore what a newer server wrote. Raises Refused."""
        refuse_older("server programs", self.folder, self.version, source, "server_folder")


def refuse_older(what: str, folder: str, version: int, source: int, option: str) -> None:
    """Refuse programs older than the server whose data they are for. Raises Refused.

    A later minor release may store what an earlier one of the same major version does not know (15.20 notes pg_attver at columns; 15.18 stops at it).
    """
    same = version_major(version) == version_major(source)
    if version_major(version) < version_major(source) or (same and version < source):
        mine, its = (_release(number) if same else version_name(number) for number in (version, source))
        hint = f"Install those of {its} or newer (Debian: postgresql-{version_name(source)}; its own cluster need not run), or give the folder that holds them."
        raise Refused(f"The {what} in {folder} are of PostgreSQL {mine}, the database of {its}: too old.", hint, option)


def _release(version: int) -> str:
    """Return the whole version as people write it: 15.18 for 150018."""
    return f"{version // 10000}.{version % 10000}" if version >= 100000 else f"{version_name(version)}.{version % 100}"


def find_server(given: str = "", source: int = 0) -> ServerPrograms:
    """Return the server programs to use: those of the given folder; else, of all that are found, those of the source's major version, or the newest.

    Raises MissingDependency when there are none, Refused when they are older than ``source``, or older than 10.
    """
    found: Dict[str, ServerPrograms] = {}
    for folder in folders(given):
        place = os.path.realpath(folder)
        if place in found or not all(os.access(os.path.join(folder, name), os.X_OK) for name in PROGRAMS):
            continue
        version = _version(folder)
        if version:
            found[place] = ServerPrograms(folder, version)
    if not found:
        wanted = version_name(source) if source else "VERSION"
        raise MissingDependency(
            f"initdb and postgres are not in {given or 'PATH, nor where distributions put them'}.", _INSTALL.format(wanted), "server_folder"
        )
    best = max(found.values(), key=lambda entry: (bool(source) and version_major(entry.version) == version_major(source), entry.version))
    if best.version < _OLDEST:
        raise Refused(
            f"The server programs in {best.folder} are of PostgreSQL {version_name(best.version)}, older than 10.", _INSTALL.format(10), "server_folder"
        )
    if source:
        best.require(source)
    return best


def _version(folder: str) -> int:
    try:
        ended = programs.run([os.path.join(folder, "postgres"), "--version"], programs.Entrance(_environment()), Deadline(20))
    except Failure:
        return 0
    return 0 if ended.status else version_said(ended.output) or 0


def _environment() -> Dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Account:
    """Whom the server runs as. Without a name that is us."""

    name: str
    uid: int
    gid: int

    def own(self, path: str) -> None:
        os.chown(path, self.uid, self.gid)


def account_of(given: str = "") -> Account:
    """Return the account for the server: ours, or, when we are root, the given one, else PostgreSQL's own or nobody. Raises Invalid."""
    if os.geteuid() != 0:
        if given:
            raise Invalid(f"server_account is {given}, but only root can run programs as somebody else.", "Leave it out, or run as root.", "server_account")
        return Account("", os.geteuid(), os.getegid())
    for name in [given] if given else _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise Invalid(f"There is no account {given or ' or '.join(_ACCOUNTS)} that is not root's.", "Name one with server_account.", "server_account")


@contextlib.contextmanager
def private_folder(above: str, purpose: str) -> Iterator[str]:
    """Make a folder in ``above`` that is always called the same for one purpose, empty it of what a killed run left, and remove it at the end.

    It can be entered, but not listed, by the account of a server. Raises Refused when somebody else has made it, Unavailable when it cannot be made.
    """
    name = hashlib.sha256(f"{os.geteuid()} {purpose}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
    path = os.path.join(os.path.abspath(above), f"paas.hardening-{name}")
    try:
        _remove(path)
        os.mkdir(path, 0o700)
        os.chmod(path, 0o711)
    except OSError as error:
        raise Unavailable(f"{path} cannot be made: {error.strerror}.", "Give another scratch_folder.", "scratch_folder") from None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _remove(path: str) -> None:
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return
    if about.st_uid != os.geteuid() or not stat.S_ISDIR(about.st_mode):
        raise Refused(f"{path} is there already, and not ours.", "Find out who made it, remove it, or give another scratch_folder.", "scratch_folder")
    deadline = Deadline(_END_SECONDS)
    while True:
        # A server whose run was killed a moment ago still writes and removes files while it ends.
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return
        if not deadline.pause(0.5):
            raise Refused(f"{path} cannot be removed.", "Somebody works in it, or it is mounted: look there.", "scratch_folder")


@contextlib.contextmanager
def scratch_server(there: ServerPrograms, client: Client, folder: str, account: Account, deadline: Deadline) -> Iterator[Server]:
    """Yield a new, empty server as its superuser enters it. ``folder`` is from private_folder. It is ended and its data are removed at the end.

    Raises NotProven when it does not start, TimedOut, Invalid when the path is too long for a socket.
    """
    data, sockets, passfile = (os.path.join(folder, name) for name in ("data", "socket", "password"))
    if len(os.fsencode(sockets)) > _LONGEST_FOLDER:
        raise Invalid(f"scratch_folder {os.path.dirname(folder)} has too long a path for a socket.", "Give one nearer to the root.", "scratch_folder")
    password = secrets.token_urlsafe(24)
    for path in (data, sockets):
        os.mkdir(path, 0o700)
        account.own(path)
    with open(os.open(passfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(password)
    account.own(passfile)
    made = [there.program("initdb"), f"--pgdata={data}", f"--username={SUPERUSER}", f"--pwfile={passfile}", "--auth=scram-sha-256"]
    with open(os.open(os.path.join(folder, "log"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+b") as log:
        _finish(_start([*made, "--encoding=UTF8", "--locale=C", "--no-sync"], folder, account, log), log, deadline)
        os.unlink(passfile)
        settings = [f"--{name}={value}" for name, value in {**_SETTINGS, "unix_socket_directories": sockets}.items()]
        process = _start([there.program("postgres"), "-D", data, *settings], folder, account, log)
        try:
            server = Server(sockets, SUPERUSER, "postgres", password)
            _wait(process, client, server, log, deadline)
            yield server
        finally:
            _end(process)
            for path in (data, sockets):
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def recovering_server(there: ServerPrograms, client: Client, folder: str, data: str, settings: Mapping[str, str], deadline: Deadline) -> Iterator[Server]:
    """Start a server on restored files, wait until its recovery has come to its end, and yield it as its superuser enters it: root alone can do so.

    ``data`` belongs to the account of the server. ``folder`` is from private_folder; socket, access and log are there. At the end it is shut down in good
    order, so that its files can be looked at. Raises NotProven when it does not come up or does not end well.
    """
    account, sockets = account_of(), os.path.join(folder, "socket")
    if len(os.fsencode(sockets)) > _LONGEST_FOLDER:
        raise Invalid(f"scratch_folder {os.path.dirname(folder)} has too long a path for a socket.", "Give one nearer to the root.", "scratch_folder")
    os.mkdir(sockets, 0o700)
    account.own(sockets)
    written = {"hba": "local all all peer map=us\n", "ident": f"us root {SUPERUSER}\n", "config": ""}
    for name, text in written.items():
        path = os.path.join(folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
        account.own(path)
    places = {f"{name}_file": os.path.join(folder, name) for name in written}
    words = [f"--{name}={value}" for name, value in {**settings, **places, "unix_socket_directories": sockets}.items()]
    with open(os.open(os.path.join(folder, "log"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+b") as log:
        process = _start([there.program("postgres"), "-D", data, *words], folder, account, log)
        try:
            server = Server(sockets, SUPERUSER, "postgres")
            _wait(process, client, server, log, deadline, "The backup or its log is damaged, or ends before that place.")
            yield server
            process.send_signal(signal.SIGINT)
            try:
                status = process.wait(max(deadline.left, _END_SECONDS))
            except subprocess.TimeoutExpired:
                raise TimedOut(f"The restored server did not end within {deadline.seconds:.0f} s.", "Give it more time with timeout.", "postgres") from None
            if status:
                raise NotProven(f"The restored server did not end well: {_last_line(log)}.", "Look at the memory and the disk of this machine.", "postgres")
        finally:
            _end(process)


def _start(command: Sequence[str], folder: str, account: Account, log: Any) -> subprocess.Popen[bytes]:
    ids = (account.uid, account.gid) if account.name else (-1, -1)
    others: Dict[str, Any] = {} if ties() or not account.name else {"user": account.uid, "group": account.gid, "extra_groups": [account.gid]}
    try:
        # It ends when we do, and in order: killed, it would leave its shared memory behind where it cannot have its own.
        ordered = tied(command, signal.SIGQUIT, ids, apart=True)
        return subprocess.Popen(ordered, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), start_new_session=True, **others)
    except OSError as error:
        raise MissingDependency(f"{command[0]} cannot be started: {error.strerror}.", _INSTALL.format("VERSION"), "server_folder") from None


def _finish(process: subprocess.Popen[bytes], log: Any, deadline: Deadline) -> None:
    try:
        status = process.wait(timeout=max(deadline.left, 0.1))
    except subprocess.TimeoutExpired:
        raise TimedOut(f"initdb did not end within {deadline.seconds:.0f} s.", "Give it more time with timeout.", "initdb") from None
    finally:
        _end(process)
    if status:
        raise NotProven(f"initdb made no server: {_last_line(log)}.", "See that the account may read the programs and the scratch folder.", "initdb")


def _wait(process: subprocess.Popen[bytes], client: Client, server: Server, log: Any, deadline: Deadline, hint: str = _TOO_SMALL) -> None:
    while True:
        if process.poll() is not None:
            raise NotProven(f"The scratch server does not start: {_last_line(log)}.", hint, "postgres")
        # A client that comes too early takes longer to fail than to look.
        if os.path.exists(os.path.join(server.host, ".s.PGSQL.5432")):
            try:
                client.query(server, "SELECT 1 AS up", patience=max(1.0, min(20.0, deadline.left)))
                return
            except Unavailable:
                if deadline.left <= 0:
                    raise
        if not deadline.pause(_LOOK):
            raise TimedOut(f"The scratch server did not answer within {deadline.seconds:.0f} s.", "Give it more time with timeout.", "postgres")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it at once. It is asked first, since killed it would leave its shared memory behind."""
    if process.poll() is None:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: Any) -> str:
    log.seek(0)
    lines: List[str] = [line for line in log.read()[-65536:].decode("utf-8", "replace").splitlines() if line.strip()]
    return scrub(lines[-1].strip())[-_LONGEST_COMPLAINT:].rstrip(".") if lines else "it said nothing"
