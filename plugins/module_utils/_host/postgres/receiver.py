# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_receivewal as a service on another host than the server's: what it has to be, and what is there."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, files, program, units
from ansible_collections.paas.hardening.plugins.module_utils._host.addresses import address_of
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import NEWEST, OLDEST, PORT, Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.standby import slot_name

ACCOUNT = "paas-receiver"
OURS = "/etc/paas-hardening/postgres-receiver"
PASSWORD_FILE, AUTHORITY_FILE = f"{OURS}/password", f"{OURS}/authority.crt"
UNIT = "paas-hardening-receiver.service"
PRUNE, TIMER = "paas-hardening-receiver-prune.service", "paas-hardening-receiver-prune.timer"
UNIT_FILE, PRUNE_FILE, TIMER_FILE = (f"{units.FOLDER}/{name}" for name in (UNIT, PRUNE, TIMER))
FOLDER_MODE, OURS_MODE = 0o700, 0o755
ARGUMENTS: Dict[str, Any] = {
    "me": {"type": "str", "required": True},
    "server": {
        "type": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": PORT},
            "authority": {"type": "str", "required": True},
            "version": {"type": "int", "required": True},
        },
    },
    "role": {"type": "str", "default": "receiver"},
    "password": {"type": "str", "required": True, "no_log": True},
    "folder": {"type": "path", "default": "/var/lib/paas-receiver"},
    "own_file_system": {"type": "bool", "default": False},
    "keep_days": {"type": "int", "default": 14},
    "free_percent": {"type": "int", "default": 20},
    "on_refusal": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ROLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_FOLDER = re.compile(r"/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+")
_SEGMENT = re.compile(r"[0-9A-F]{24}(\.partial)?(\.gz|\.lz4)?(\.tmp)?|[0-9A-F]{8}\.history(\.tmp)?")
_SHORTEST_PASSWORD = 12
_SHOWN = 3
_HEADER = "# Managed by paas.hardening.postgres_receiver.\n"
_FENCES = f"""UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
{units.FENCES}"""
_SERVICE = (
    _HEADER
    + """[Unit]
Description=Receive the log of the PostgreSQL server {name}
Wants=network-online.target
After=network-online.target
RequiresMountsFor={folder}
# It never gives up: while it is away, commits may wait for it.
StartLimitIntervalSec=0

[Service]
User={account}
ExecStart={command}
Restart=always
RestartSec=1
# By this it ends with everything that it has on the disk.
KillSignal=SIGINT
ReadWritePaths={folder}
{fences}
[Install]
WantedBy=multi-user.target
"""
)
_PRUNE = (
    _HEADER
    + """[Unit]
Description=Remove what was received of a log, and is older than {days} days
RequiresMountsFor={folder}

[Service]
Type=oneshot
User={account}
# Whole segments only: neither the one that is being written, nor what tells where a timeline began.
ExecStart=/usr/bin/find {folder} -maxdepth 1 -type f -regextype posix-extended -regex ".*/[0-9A-F]{{24}}" -mmin +{minutes} -delete
ReadWritePaths={folder}
{fences}"""
)
_TIMER = (
    _HEADER
    + """[Unit]
Description=When to remove what was received of a log, and is old

[Timer]
OnCalendar=hourly
RandomizedDelaySec=10m
Persistent=true

[Install]
WantedBy=timers.target
"""
)


class Wish(NamedTuple):
    """Whose log is received, as whom, into which folder, and for how long it is kept there.

    ``slot`` is the name of the slot on the server, and of the connection.
    """

    name: str
    address: str
    port: int
    authority: str
    layout: Layout
    role: str
    password: str
    slot: str
    folder: str
    own_file_system: bool
    keep_days: int
    free_percent: int

    def __repr__(self) -> str:
        return f"Wish({self.name!r})"

    @property
    def package(self) -> str:
        return f"postgresql-client-{self.layout.major}"

    @property
    def words(self) -> Tuple[str, ...]:
        """The command line of the receiver. What is secret is in a file."""
        login = {"host": self.name, "hostaddr": self.address, "port": self.port, "user": self.role, "application_name": self.slot}
        login.update({"passfile": PASSWORD_FILE, "sslmode": "verify-full", "sslrootcert": AUTHORITY_FILE, "connect_timeout": 10})
        login.update({"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3})
        options = ["--synchronous", "--no-loop", "--no-password", f"--slot={self.slot}", f"--directory={self.folder}"]
        return (self.layout.program("pg_receivewal"), *options, "--dbname=" + " ".join(f"{name}={value}" for name, value in login.items()))

    def texts(self) -> Dict[str, str]:
        """Return the units, by their paths."""
        command = " ".join(f'"{word}"' if " " in word else word for word in self.words)
        fences = _FENCES.rstrip("\n") + "\n"
        return {
            UNIT_FILE: _SERVICE.format(name=self.name, folder=self.folder, account=ACCOUNT, command=command, fences=fences),
            PRUNE_FILE: _PRUNE.format(days=self.keep_days, minutes=self.keep_days * 1440, folder=self.folder, account=ACCOUNT, fences=fences),
            TIMER_FILE: _TIMER,
        }

    def password_line(self) -> str:
        """Return the line of the password file."""
        return "*:*:*:" + ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in (self.role, self.password)) + "\n"

    def files(self) -> Dict[str, files.Kept]:
        """Return what the receiver reads, by path, as it has to be."""
        return {
            PASSWORD_FILE: files.Kept(self.password_line(), 0o600, ACCOUNT),
            AUTHORITY_FILE: files.Kept(self.authority.strip() + "\n", 0o644, "root"),
            **{path: files.Kept(text, units.MODE, "root") for path, text in self.texts().items()},
        }


class Seen(NamedTuple):
    """What is there. ``ours`` is the folder of what the receiver reads, ``folder`` that of the log; ``strange`` are files there that are no log, ``free`` is
    how much of its file system is free, in percent.

    ``activity`` is what systemd calls the state of the receiver, ``words`` the command line of its process, ``segment`` what that is writing.
    """

    program: bool
    account: Optional[accounts.Account]
    ours: files.Folder
    folder: files.Folder
    strange: Tuple[str, ...]
    free: int
    own_file_system: bool
    kept: Mapping[str, files.Kept]
    activity: str
    at_boot: bool
    timer: units.State
    words: Tuple[str, ...]
    segment: str
    drop_ins: Tuple[str, ...]

    @property
    def runs(self) -> bool:
        """It is there, or about to come back by itself."""
        return self.activity in ("active", "activating", "reloading")


def wish_of(params: Mapping[str, Any]) -> Wish:
    """Return the wish. Raises Invalid, which names the option, its value and what to write instead."""
    server = params["server"]
    if not _HOST.fullmatch(server["name"]):
        raise Invalid(f"server: name is {server['name']!r}.", "Give the name that is in the server's certificate.", "server.name")
    if "-----BEGIN CERTIFICATE-----" not in server["authority"]:
        hint = "Give the authority's certificate in PEM, as host_postgres tells it (server.authority)."
        raise Invalid("server: authority is no certificate.", hint, "server.authority")
    if not OLDEST <= server["version"] <= NEWEST:
        raise Invalid(f"server: version is {server['version']}.", f"Give its major version, {OLDEST} to {NEWEST}.", "server.version")
    if not 1 <= server["port"] <= 65535:
        raise Invalid(f"server: port is {server['port']}.", "Give 1 to 65535.", "server.port")
    if not _ROLE.fullmatch(params["role"]):
        hint = "Give letters, digits and underscores (postgres_receiver_role)."
        raise Invalid(f"role is {params['role']!r}.", hint, "role")
    password = params["password"]
    if len(password) < _SHORTEST_PASSWORD or any(character in password for character in "\r\n\0"):
        hint = f"Give one line of {_SHORTEST_PASSWORD} characters or more (postgres_receiver_password): openssl rand -hex 24."
        raise Invalid("password is too short, or has a line break in it.", hint, "password")
    folder = os.path.normpath(params["folder"])
    if not _FOLDER.fullmatch(folder):
        hint = "Give a whole path below a folder of the system, of letters, digits, points and dashes."
        raise Invalid(f"folder is {params['folder']!r}.", hint, "folder")
    for name, least, most in (("keep_days", 1, 3650), ("free_percent", 0, 90)):
        if not least <= params[name] <= most:
            raise Invalid(f"{name} is {params[name]}.", f"Give {least} to {most} (postgres_receiver_{name}).", name)
    return Wish(
        server["name"],
        address_of(server["address"], "server.address"),
        server["port"],
        server["authority"],
        Layout(server["version"]),
        params["role"],
        password,
        slot_name(params["me"]),
        folder,
        params["own_file_system"],
        params["keep_days"],
        params["free_percent"],
    )


def look(wish: Wish) -> Seen:
    """Look at all of it."""
    shown = units.shown(UNIT, ["ActiveState", "MainPID", "UnitFileState", "DropInPaths"])
    number = int(shown.get("MainPID") or 0)
    process = program.process_of(UNIT, number, wish.words[0])
    words = process.words if process else ()
    free, own = _room(wish.folder)
    return Seen(
        os.path.exists(wish.words[0]),
        accounts.look(ACCOUNT),
        files.look_at_folder(OURS),
        files.look_at_folder(wish.folder),
        _strange(wish.folder),
        free,
        own,
        {path: files.look(path) for path in wish.files()},
        shown.get("ActiveState", ""),
        shown.get("UnitFileState") == "enabled",
        units.state(TIMER),
        words,
        open_segment(number, wish.folder) if words else "",
        units.drop_ins(shown.get("DropInPaths", "")),
    )


def complaint() -> str:
    """Return the last that the receiver itself said, for a message; systemd says of it only that it ended."""
    said = ask(["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=2", f"--unit={UNIT}", "--identifier=pg_receivewal"]).output
    return " / ".join(scrub(said).splitlines())[-800:] or "it said nothing"


def receiving(folder: str) -> str:
    """Return the segment that the receiver is writing, or nothing."""
    return open_segment(int(units.shown(UNIT, ["MainPID"]).get("MainPID") or 0), folder)


def open_segment(number: int, folder: str) -> str:
    """Return the segment of the log that a process has open in this folder: it has none before the server sends it some. Nothing when there is none."""
    try:
        handles = [os.path.join(f"/proc/{number}/fd", name) for name in os.listdir(f"/proc/{number}/fd")]
    except OSError:
        # It ended meanwhile.
        return ""
    for handle in handles:
        try:
            path = os.readlink(handle)
        except OSError:
            continue
        if path.startswith(f"{os.path.realpath(folder)}/") and _SEGMENT.fullmatch(os.path.basename(path)):
            return os.path.basename(path)
    return ""


def _strange(folder: str) -> Tuple[str, ...]:
    names: List[str] = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return tuple(name for name in names if not _SEGMENT.fullmatch(name) and name != "lost+found")[:_SHOWN]


def _room(folder: str) -> Tuple[int, bool]:
    """Return how much of a folder's file system is free, in percent, and whether that is not the root's. What is not made yet is judged by what is above."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    about = os.statvfs(folder)
    return about.f_bavail * 100 // max(about.f_blocks, 1), os.stat(folder).st_dev != os.stat("/").st_dev
