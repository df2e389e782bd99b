# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves a snapshot the only way there is: restored, started where nobody else can reach it, and read back key by key."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Iterator, List, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.content import Content
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.member import Member
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs, end, start
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.snapshot import Snapshot, restore
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, NotProven, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

# Sockets in a folder of ours, not ports: for the time of the proof this etcd hands every Secret to whoever reaches it. Relative, since a path of a socket
# may have 107 bytes only.
_CLIENT, _PEER = "unix://client.sock:0", "unix://peer.sock:0"
_SOCKET = "client.sock:0"
# Bytes that the restored database may have; etcd's own limit of 2 GiB is lower than what clusters are run with.
_QUOTA = 64 << 30
# Seconds between two looks whether it has started.
_LOOK = 0.05


@dataclass(frozen=True)
class Expected:
    """What the restored etcd has to hold: the content of the live one at ``revision``, under a revision above ``above``."""

    content: Content
    revision: int
    above: int


@dataclass(frozen=True)
class Proved:
    """What a restore showed. ``seconds`` is the time from the file to an etcd that answers, the live one being read beside it; ``content`` is what that has."""

    proof: Proof
    seconds: float
    content: Content


def prove(programs: Programs, snapshot: Snapshot, expectation: Callable[[], Expected], bump: int, scratch: str, deadline: Deadline) -> Proved:
    """Restore a snapshot into the empty folder ``scratch``, start etcd there, and compare with what ``expectation`` finds out meanwhile.

    Raises NotProven when it cannot be restored or does not start, and what ``expectation`` raises.
    """
    begun = time.monotonic()
    data = os.path.join(scratch, "data")
    # At once: an API server has the revision of the snapshot compacted within minutes, and a large restore takes some.
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(expectation)
        restore(programs, snapshot.path, snapshot.sha256, data, bump, deadline)
        with started(programs, data, scratch, deadline) as member:
            revision = member.agreed_revision(deadline)
            seconds = time.monotonic() - begun
            content = member.content(deadline)
            proof = compared(member, content, waiting.result(), revision, deadline)
    return Proved(proof, seconds, content)


def compared(member: Member, content: Content, expected: Expected, revision: int, deadline: Deadline) -> Proof:
    """Hold a restored etcd, which began at ``revision`` and has this content, against what it has to be."""
    checks = [
        Check("keys in the restored etcd", str(expected.content.keys), str(content.keys), _verdict(content.keys == expected.content.keys)),
        Check("SHA-256 of every key, value and revision", expected.content.digest, content.digest, _verdict(content.digest == expected.content.digest)),
        Check("its revision", f"above {expected.above}", str(revision), _verdict(revision > expected.above)),
        _history(member, expected.revision, deadline),
    ]
    return Proof(tuple(checks))


def _verdict(holds: bool) -> str:
    return PASS if holds else FAIL


def _history(member: Member, revision: int, deadline: Deadline) -> Check:
    """Who watched the old etcd must be told to read anew, or it goes on from a past that is no longer true."""
    what, wanted = "a watcher of the old etcd", "told to read anew"
    try:
        member.answers_at(revision, deadline)
    except Conflict:
        return Check(what, wanted, wanted, PASS)
    return Check(what, wanted, "not told", FAIL)


@contextmanager
def started(programs: Programs, data: str, folder: str, deadline: Deadline, more: Sequence[str] = ()) -> Iterator[Member]:
    """Run etcd on a restored data folder, with more flags, reachable through a socket in ``folder`` only. Raises NotProven when it does not start."""
    log = os.path.join(folder, "log")
    command: List[str] = [
        programs.paths["etcd"],
        "--name=default",
        f"--data-dir={data}",
        f"--listen-client-urls={_CLIENT}",
        f"--advertise-client-urls={_CLIENT}",
        f"--listen-peer-urls={_PEER}",
        f"--quota-backend-bytes={_QUOTA}",
        "--log-level=error",
        *more,
    ]
    with open(log, "wb") as output:
        process = start(command, folder, output.fileno())
    try:
        member = Member(programs, _CLIENT, folder=folder)
        _wait(process, member, folder, deadline)
        yield member
    finally:
        end(process)


def _wait(process: subprocess.Popen[bytes], member: Member, folder: str, deadline: Deadline) -> None:
    while True:
        if process.poll() is not None:
            raise NotProven(f"etcd does not start on the restored data: it ended with status {process.returncode}.", "The snapshot is worthless.", "etcd")
        if os.path.exists(os.path.join(folder, _SOCKET)):
            try:
                member.agreed_revision(deadline)
                return
            except Unavailable:
                if deadline.left <= 0:
                    raise
        if not deadline.pause(_LOOK):
            raise TimedOut(f"etcd did not answer on the restored data within {deadline.seconds:.0f} s.", "Give it more time with etcd.timeout.", "etcd")
