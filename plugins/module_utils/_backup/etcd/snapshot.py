# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot of etcd as a file: whole or refused, and restored only where nothing is yet."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from typing import Any, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import move, remove_tree, told
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs, run
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

# etcd's database has pages of at least this size; behind them stands the SHA-256 of all of it.
_PAGE, _SUM = 512, 32
_CHUNK = 1 << 20
# etcd's own advice: what a cluster with 1500 writes a second does in a week.
LEAST_BUMP = 1_000_000_000
_TOKEN = "--initial-cluster-token"
# The writes a second that a bump is reckoned with: more than a disk lets etcd do.
_FASTEST = 20_000


@dataclass(frozen=True)
class Snapshot:
    """A file that is a whole snapshot: its size in bytes, and its SHA-256."""

    path: str
    size: int
    sha256: str


def read_snapshot(path: str, sha256: str = "") -> Snapshot:
    """Read a snapshot and hold it against the sum at its end, and against ``sha256`` where that is known. Raises NotProven."""
    whole, before = hashlib.sha256(), hashlib.sha256()
    with told("read", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            left = size - _SUM
            while left > 0:
                data = file.read(min(_CHUNK, left))
                if not data:
                    break
                whole.update(data)
                before.update(data)
                left -= len(data)
            end = file.read()
            whole.update(end)
    if size <= _SUM or size % _PAGE != _SUM or end != before.digest():
        raise NotProven(
            f"{path} is no whole snapshot: the sum at its end is not that of its content.", "It was cut off, changed, or copied from a data folder.", path
        )
    if sha256 and whole.hexdigest() != sha256:
        raise NotProven(f"{path} is a whole snapshot, but not the one that was stored.", "Somebody put it there: do not restore from it.", path)
    return Snapshot(path, size, whole.hexdigest())


def revision_of(programs: Programs, snapshot: Snapshot, deadline: Deadline) -> int:
    """Return the last revision in a snapshot."""
    output = run([programs.paths["etcdutl"], "--write-out=json", "snapshot", "status", snapshot.path], deadline)
    status: Any = json.loads(output)
    return int(status["revision"])


def bump_for(age: float) -> int:
    """Return by how much the revision has to go up, so that it lies above everything that was committed in ``age`` seconds since the snapshot. Pure."""
    return max(LEAST_BUMP, int(max(0.0, age) * _FASTEST))


def restore(programs: Programs, path: str, sha256: str, target: str, bump: int, deadline: Deadline, member: Sequence[str] = ()) -> None:
    """Restore a snapshot into a data folder that is not there yet, with a higher revision. ``member`` are the flags that say whose folder it is to be.

    The file is read whole before anything is made. What etcdutl leaves of a restore that fails is removed. Raises Refused when the target exists,
    NotProven for a snapshot that is torn or changed.
    """
    if os.path.lexists(target):
        raise Refused(f"{target} is there already.", "A restore goes to a new place: a live data folder is never written to.", target)
    snapshot = read_snapshot(path, sha256)
    unfinished = f"{target}.{secrets.token_hex(4)}"
    try:
        run(
            [
                programs.paths["etcdutl"],
                "snapshot",
                "restore",
                snapshot.path,
                f"--data-dir={unfinished}",
                f"--bump-revision={bump}",
                "--mark-compacted",
                # It must never find members of the cluster that it comes from.
                *(() if any(flag.startswith(_TOKEN) for flag in member) else (f"{_TOKEN}={secrets.token_hex(8)}",)),
                *member,
            ],
            deadline,
        )
        move(unfinished, target)
    finally:
        remove_tree(unfinished)
