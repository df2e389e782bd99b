# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restic as our engine: found, held against the version that can be trusted, and run on a repository that lies inside of a point.

Nothing in such a repository is ever changed: what the next point needs of it is linked there, and restic only adds and removes names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import FOLDER_MODE, files_below, told
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, MissingDependency, NotProven, Refused, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied

# Older ones restore holes as zeros, pass over errors of metadata, or lose what they should keep.
OLDEST = (0, 18)
_INSTALL = "Install restic 0.18 or newer (Debian 13 has it), or give its path with volumes.restic."
_VERSION = re.compile(r"restic (\d+)\.(\d+)\.?(\d*)")
# A point is not encrypted, so its repository needs no pass phrase, which somebody would lose. No cache: a point is all there is.
_FLAGS = ("--insecure-no-password", "--no-cache", "--quiet", "--json")
_INCOMPLETE = 3
_LONGEST_COMPLAINT = 500
# Of what no file needs any more, this part may stay in packs that others need.
_UNUSED = "20%"


@dataclass(frozen=True)
class Engine:
    """A restic that is new enough."""

    path: str
    version: Tuple[int, ...]

    def prepare(self, folder: str, earlier: str, deadline: Deadline) -> List[str]:
        """Make a repository in a new folder: an empty one, or with all that an earlier one has. Return the snapshots that are in it."""
        if not earlier:
            self._run(folder, ["init"], deadline)
            return []
        with told("linked", earlier):
            os.mkdir(folder, FOLDER_MODE)
            for path, _size in files_below(earlier):
                os.makedirs(os.path.dirname(os.path.join(folder, path)), mode=FOLDER_MODE, exist_ok=True)
                if not path.startswith("locks/"):
                    os.link(os.path.join(earlier, path), os.path.join(folder, path))
        return [str(entry["id"]) for entry in json.loads(self._run(folder, ["snapshots", "--no-lock"], deadline) or "[]")]

    def keep(self, folder: str, source: str, deadline: Deadline) -> Tuple[str, int]:
        """Add a snapshot of a folder; return its name, and the bytes that it added. Raises NotProven when something could not be read."""
        said = self._run(folder, ["backup", "--no-scan", "--one-file-system", "--host=point", "--", source], deadline)
        for line in reversed(said.splitlines()):
            told_us: Any = json.loads(line)
            if told_us.get("message_type") == "summary":
                return str(told_us["snapshot_id"]), int(told_us.get("data_added_packed", told_us.get("data_added", 0)))
        raise NotProven(f"restic says nothing of {source}.", "Its version may be another than it says.", source)

    def forget(self, folder: str, snapshots: Sequence[str], deadline: Deadline) -> None:
        """Drop snapshots of earlier points, and what nothing else needs. Those points keep their own names of it."""
        if snapshots:
            self._run(folder, ["forget", "--prune", f"--max-unused={_UNUSED}", *snapshots], deadline)

    def restore(self, folder: str, snapshot: str, source: str, target: str, deadline: Deadline) -> None:
        """Write what a snapshot holds of a folder into an empty one. Of that folder itself, mode and owner are not set."""
        self._run(folder, ["restore", f"{snapshot}:{source}", f"--target={target}", "--sparse", "--no-lock"], deadline)

    def _run(self, folder: str, words: Sequence[str], deadline: Deadline) -> str:
        environment: Dict[str, str] = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/nonexistent", "TMPDIR": os.path.dirname(folder)}
        command = tied([self.path, f"--repo={folder}", *_FLAGS, *words])
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, env=environment, cwd="/", timeout=max(deadline.left, 0.1), check=False
            )
        except subprocess.TimeoutExpired:
            raise TimedOut(f"restic {words[0]} did not end within {deadline.seconds:.0f} s.", "Give it more time with volumes.timeout.", "restic") from None
        except OSError as error:
            raise MissingDependency(f"{self.path} cannot be started: {error.strerror}.", _INSTALL, "volumes.restic") from None
        if done.returncode:
            raise _complaint(words[0], done.returncode, done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode("utf-8", "replace")


def _complaint(what: str, status: int, said: str) -> Failure:
    lines = [line for line in said.splitlines() if line.strip()]
    text = scrub(lines[0] if lines else "it said nothing")[:_LONGEST_COMPLAINT]
    if what == "backup" and status == _INCOMPLETE:
        return NotProven(f"restic could not read all of it: {text}", "A point that lacks a file is none: see who may read it.", "volumes")
    return Failure(f"restic {what} ended with status {status}: {text}", "Look at the disks, at its room, and at what it says.", "restic")


def find(given: str) -> Engine:
    """Return the restic to use: the given path, or the one in PATH. Raises MissingDependency, Invalid, and Refused for one that is too old."""
    path = given or shutil.which("restic")
    if not path:
        raise MissingDependency("restic is not installed.", _INSTALL, "volumes.restic")
    if not os.access(path, os.X_OK):
        raise Invalid(f"{path} is not a program.", _INSTALL, "volumes.restic")
    try:
        said = subprocess.run([path, "version"], capture_output=True, timeout=30, check=False, env={"LC_ALL": "C", "HOME": "/nonexistent"}).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = b""
    found = _VERSION.search(said.decode("utf-8", "replace"))
    if not found:
        raise Invalid(f"{path} does not say that it is restic.", _INSTALL, "volumes.restic")
    version = tuple(int(part or 0) for part in found.groups())
    if version < OLDEST:
        raise Refused(f"{path} is restic {'.'.join(map(str, version))}, older than {'.'.join(map(str, OLDEST))}.", _INSTALL, "volumes.restic")
    return Engine(os.path.abspath(path), version)
