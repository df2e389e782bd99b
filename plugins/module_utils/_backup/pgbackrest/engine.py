# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pgBackRest as our engine: found, held against the version that can be trusted, and run as the server's account with a configuration that only it can read.

What is secret (the repository's pass phrase, the keys of a store) stands in that file alone: nothing of it passes through here.
"""

from __future__ import annotations

import configparser
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import (
    Failure,
    Invalid,
    MissingDependency,
    NotFound,
    NotProven,
    Refused,
    TimedOut,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied

# Older ones restore what they copied block by block wrongly, and expire by time what is still needed.
OLDEST = (2, 55)
ENGINE = "pgbackrest"
CONFIG, STANZA, ACCOUNT = "/etc/pgbackrest.conf", "main", "postgres"
FULL, DIFFERENTIAL, INCREMENTAL = "full", "diff", "incr"
ARGUMENTS: Dict[str, Any] = {
    "config": {"type": "path", "default": CONFIG},
    "pgbackrest": {"type": "path"},
    "stanza": {"type": "str", "default": STANZA},
    "full_age": {"type": "str", "default": "7d"},
    "diff_age": {"type": "str", "default": "24h"},
    "rows": {"type": "dict", "default": {}},
}
_INSTALL = "Install pgBackRest 2.55 or newer (Debian 13 has it), or give its path with postgres.pgbackrest."
_VERSION = re.compile(r"pgBackRest (\d+)\.(\d+)\.?(\d*)")
_LABEL = re.compile(r"\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?")
# With so many nothing is ever removed by count: what goes is said by our planner, and the log before the oldest backup goes with it.
_KEEP = ("--repo1-retention-full=9999999", "--repo1-retention-full-type=count")
_QUIET = ("--log-level-console=warn", "--log-level-stderr=off", "--log-level-file=off")
# Drops segments while it reports success, so that a hole is no error of anybody's.
_DROPS = "archive-push-queue-max"
# Of a store: whoever stands between would have its keys.
_BLIND = re.compile(r"repo\d*-(storage|s3)-verify-(tls|ssl)")
_LONGEST_COMPLAINT = 500
# As pgbackrest info says it of a repository that is there and no use to it.
_UNREADABLE = 99


@dataclass(frozen=True)
class Backup:
    """One backup in the repository. ``chain`` are the labels of all that a restore of it reads, itself last; positions are as PostgreSQL writes them."""

    label: str
    kind: str
    chain: Tuple[str, ...]
    start: str
    stop: str
    first: str
    ended: float
    mark: str
    damaged: bool
    archive: str


@dataclass(frozen=True)
class Stanza:
    """What pgBackRest says of one cluster: the identifier of its newest system, the name of its archive there, its backups in their order."""

    system: str
    archive: str
    encrypted: bool
    backups: Tuple[Backup, ...]


@dataclass(frozen=True)
class Engine:
    """A pgBackRest that is new enough, with its configuration and the stanza (pgBackRest's name of a cluster and its backups) that it is about."""

    path: str
    version: Tuple[int, ...]
    config: str
    stanza: str

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))

    def read(self, deadline: Deadline) -> Stanza:
        """Ask what the repository holds. Raises NotFound when there is no such stanza yet, NotProven when it cannot be read."""
        # What it says of an error has line breaks in it, which JSON does not allow.
        return stanza_of(json.loads(self._run("info", ["--output=json", "--repo=1"], deadline), strict=False), self.stanza)

    def check(self, deadline: Deadline) -> None:
        """Let the server archive a segment, and wait for it. Raises a failure that says what is wrong with configuration or archive."""
        self._run("check", [], deadline)

    def back_up(self, kind: str, mark: str, deadline: Deadline) -> None:
        """Make one backup, with our mark on it. Removes nothing."""
        words = [f"--type={kind}", "--repo=1", "--start-fast", "--no-expire-auto", f"--annotation={MARK}={mark}", *_KEEP]
        self._run("backup", words, deadline)

    def expire(self, label: str, fulls: int, deadline: Deadline) -> None:
        """Remove one backup, those that need it, and the log before the oldest of the full backups that stay, of which there are so many."""
        words = [f"--set={label}", "--repo=1", *_KEEP, f"--repo1-retention-archive={max(fulls, 1)}", "--repo1-retention-archive-type=full"]
        self._run("expire", words, deadline)

    def names(self, archive: str, deadline: Deadline) -> List[str]:
        """Return the names of all files in an archive, as the repository itself lists them."""
        said: Mapping[str, Any] = json.loads(self._run("repo-ls", ["--repo=1", "--recurse", "--output=json", f"archive/{self.stanza}/{archive}"], deadline))
        return sorted(path.rpartition("/")[2] for path, about in said.items() if about["type"] == "file")

    def histories(self, archive: str, names: Sequence[str], deadline: Deadline) -> Dict[str, str]:
        """Return the history files among the names of an archive, with their content."""
        wanted = [name for name in names if name.endswith(".history")]
        return {name: self._run("repo-get", ["--repo=1", f"archive/{self.stanza}/{archive}/{name}"], deadline) for name in wanted}

    def restore(self, label: str, data: str, links: str, target: Mapping[str, str], locks: str, deadline: Deadline, fetch: str = "") -> None:
        """Write a backup into an empty folder of the account, ready to recover to a target, of which it says kind, value and timeline.

        Tablespaces go below ``links``. A server that is started there archives nothing. ``fetch`` is a command that brings segments instead of pgBackRest's.
        """
        words = [f"--set={label}", "--repo=1", f"--pg1-path={data}", f"--tablespace-map-all={links}", "--archive-mode=off", f"--lock-path={locks}"]
        words += [f"--type={target['kind']}", f"--target={target['value']}", f"--target-timeline={target['timeline']}", "--target-action=promote"]
        self._run("restore", words + ([f"--recovery-option=restore_command={fetch}"] if fetch else []), deadline)

    def fetch(self, segment: str, into: str, data: str, locks: str, deadline: Deadline) -> None:
        """Write a segment of the archive into a file, for the server to whose folder ``data`` it belongs. Raises NotProven when it cannot be had."""
        self._run("archive-get", [segment, into, "--repo=1", f"--pg1-path={data}", f"--lock-path={locks}"], deadline)

    def fetching(self, data: str, locks: str) -> str:
        """Return the command by which a server that recovers gets a segment (%f) from the archive."""
        words = [
            self.path,
            f"--config={self.config}",
            f"--stanza={self.stanza}",
            "--repo=1",
            f"--pg1-path={data}",
            f"--lock-path={locks}",
            "--log-level-file=off",
        ]
        return " ".join([*words, "archive-get", "%f", '"%p"'])

    def _run(self, what: str, words: Sequence[str], deadline: Deadline) -> str:
        account = account_ids()
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        command = tied([self.path, what, f"--config={self.config}", f"--stanza={self.stanza}", *_QUIET, *words], signal.SIGTERM, account)
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, env=environment, cwd="/", timeout=max(deadline.left, 0.1), check=False
            )
        except subprocess.TimeoutExpired:
            raise TimedOut(f"pgbackrest {what} did not end within {deadline.seconds:.0f} s.", "Give it more time with postgres.timeout.", what) from None
        except OSError as error:
            raise MissingDependency(f"{self.path} cannot be started: {error.strerror}.", _INSTALL, "postgres.pgbackrest") from None
        if done.returncode:
            raise _complaint(what, done.returncode, done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode("utf-8", "replace")


# The annotation by which our backups are told apart from those that somebody made by hand.
MARK = "paas-hardening"


def stanza_of(said: Any, name: str) -> Stanza:
    """Read the answer of pgbackrest info. Pure. Raises NotFound, NotProven."""
    try:
        entry = next((one for one in said if one["name"] == name), None)
        if entry is not None and entry.get("status", {}).get("code") == _UNREADABLE:
            raise NotProven(f"The repository of {name} cannot be read: {_why(entry)}", "Is it the right pass phrase, and the right place?", "postgres.config")
        if entry is None or not entry["db"]:
            raise NotFound(
                f"pgBackRest has no stanza {name}.", f"Make it: pgbackrest --stanza={name} stanza-create (role postgres_archive does).", "postgres.stanza"
            )
        newest = max(entry["db"], key=lambda one: int(one["id"]))
        archive = next((one["id"] for one in entry["archive"] if one["database"]["id"] == newest["id"]), "")
        version = str(newest["version"])
        backups = tuple(_backup(one) for one in entry["backup"] if one["database"]["id"] == newest["id"])
        return Stanza(str(newest["system-id"]), archive or f"{version}-{newest['id']}", entry["cipher"] != "none", backups)
    except (KeyError, TypeError, ValueError):
        raise NotProven("What pgbackrest info says is not understood.", "Its version may be newer than what this collection knows.", name) from None


def _why(entry: Mapping[str, Any]) -> str:
    """Return why a repository cannot be read: it says so itself, in its first line, where the stanza says "other"."""
    statuses = [one["status"] for one in entry.get("repo", ()) if one.get("status", {}).get("code")]
    said = str((statuses or [entry["status"]])[0].get("message", "")).strip().partition("\n")[0]
    return scrub(said)[:_LONGEST_COMPLAINT].rstrip(":.")


def _backup(one: Mapping[str, Any]) -> Backup:
    label = str(one["label"])
    # pgBackRest names in a full backup's place nothing, else all that it refers to.
    chain = tuple(sorted({*(one.get("reference") or ()), label}))
    if not all(_LABEL.fullmatch(part) for part in chain):
        raise ValueError(label)
    marks = one.get("annotation") or {}
    return Backup(
        label,
        str(one["type"]),
        chain,
        str(one["lsn"]["start"]),
        str(one["lsn"]["stop"]),
        str(one["archive"]["start"]),
        float(one["timestamp"]["stop"]),
        str(marks.get(MARK, "")),
        bool(one.get("error")),
        str(one["archive"]["stop"]),
    )


def _complaint(what: str, status: int, said: str) -> Failure:
    lines = [line for line in said.splitlines() if "ERROR:" in line] or [line for line in said.splitlines() if line.strip()]
    text = scrub(lines[-1].partition("ERROR:")[2].strip() or lines[-1] if lines else "it said nothing")[:_LONGEST_COMPLAINT]
    # What cannot be read back is no backup, whatever it says of the reason.
    kind = Failure if what in ("check", "backup", "expire") else NotProven
    return kind(f"pgbackrest {what} ended with status {status}: {text}", "Look at the repository, its room, and the server's log.", "pgbackrest")


def account_ids() -> Tuple[int, int]:
    """Return the user and the group that the server has, and that pgBackRest therefore runs as. Raises Invalid, Refused."""
    if os.geteuid() != 0:
        raise Refused("Only root can work as the server's account and keep what is restored from it.", "Run the task with become.", "become")
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise Invalid(f"There is no account {ACCOUNT}.", "Is this the host of the server?", "postgres.engine") from None
    return entry.pw_uid, entry.pw_gid


def find(given: str, config: str, stanza: str) -> Engine:
    """Return the pgBackRest to use: the given path, or the one in PATH. Raises MissingDependency, Invalid, and Refused for what cannot be trusted."""
    path = given or shutil.which("pgbackrest", path=f"{os.environ.get('PATH', os.defpath)}:/usr/bin")
    if not path:
        raise MissingDependency("pgBackRest is not installed.", _INSTALL, "postgres.pgbackrest")
    if not re.fullmatch(r"[\w.-]{1,60}", stanza):
        raise Invalid(f"postgres.stanza is {stanza!r}.", "Give letters, digits, points and dashes.", "postgres.stanza")
    try:
        said = subprocess.run([path, "version"], capture_output=True, timeout=30, check=False, env={"LC_ALL": "C"}).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = b""
    found = _VERSION.search(said.decode("utf-8", "replace"))
    if not found:
        raise Invalid(f"{path} does not say that it is pgBackRest.", _INSTALL, "postgres.pgbackrest")
    version = tuple(int(part or 0) for part in found.groups())
    if version < OLDEST:
        raise Refused(f"{path} is pgBackRest {'.'.join(map(str, version))}, older than {'.'.join(map(str, OLDEST))}.", _INSTALL, "postgres.pgbackrest")
    judge(config, stanza)
    return Engine(os.path.abspath(path), version, os.path.abspath(config), stanza)


def working_folders(config: str) -> List[str]:
    """Return the folders of this host in which pgBackRest writes: its repository when that lies here, its locks, its logs. Raises Invalid."""
    parsed, found = _parsed(config), []
    for name, usual in (("repo1-path", "/var/lib/pgbackrest"), ("lock-path", "/tmp/pgbackrest"), ("log-path", "/var/log/pgbackrest")):
        remote = name == "repo1-path" and parsed.get("global", "repo1-type", fallback="posix") != "posix"
        folder = parsed.get("global", name, fallback=usual)
        if not remote and os.path.isdir(folder):
            found.append(folder)
    return found


def judge(config: str, stanza: str) -> None:
    """Look at the configuration: it holds the pass phrase, and may not drop what it is to keep. Raises Invalid, Refused."""
    parsed = _parsed(config)
    if os.stat(config).st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise Refused(f"{config} is open to other users: it holds the repository's pass phrase.", f"chmod 640 {config}", "postgres.config")
    if not parsed.has_section(stanza):
        raise Invalid(f"{config} has no section [{stanza}].", "Name the stanza as it stands there, with pg1-path.", "postgres.stanza")
    for section in parsed.sections():
        if parsed.has_option(section, _DROPS):
            raise Refused(
                f"{config} has {_DROPS} in [{section}]: segments are then dropped and reported as archived.",
                "Take it out; watch the disk of the server instead.",
                "postgres.config",
            )
        for name, value in parsed.items(section):
            if _BLIND.fullmatch(name) and value.strip().lower() != "y":
                raise Refused(
                    f"{config} has {name}={value.strip()} in [{section}]: whoever stands between could take the store's place, and has its keys.",
                    "Take it out, and name the store's authority: repo1-storage-ca-file (postgres_archive_s3.ca_file).",
                    "postgres.config",
                )


def _parsed(config: str) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None, strict=False, comment_prefixes=("#",))
    try:
        with open(config, encoding="utf-8") as file:
            parsed.read_file(file)
    except (OSError, UnicodeDecodeError):
        raise Invalid(
            f"{config} cannot be read.", "Give pgBackRest's configuration with postgres.config (role postgres_archive makes it).", "postgres.config"
        ) from None
    except configparser.Error:
        # Not its words: they repeat the line.
        raise Invalid(f"{config} is no configuration of pgBackRest.", "See its sections and lines.", "postgres.config") from None
    return parsed
