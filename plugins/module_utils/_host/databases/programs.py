# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a client program so that it never outlives us, never asks anybody, and never shows a password."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from typing import IO, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple, cast

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import MissingDependency, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import NOWHERE, Server
from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied

# Of a complaint no more than this is kept: an error can repeat a whole row.
_LONGEST_COMPLAINT = 65536
_CHUNK = 65536
# Seconds between two looks at a program that says nothing.
_LOOK = 1.0


class Ended(NamedTuple):
    """How a program ended: its exit status (negative: the signal that ended it), what it printed, and what it complained about."""

    status: int
    output: str
    complaint: str


class Entrance(NamedTuple):
    """What a client program is given to get in: its environment, and the descriptors that it inherits."""

    environment: Dict[str, str]
    descriptors: Sequence[int] = ()


@contextmanager
def entrance(server: Server) -> Iterator[Entrance]:
    """Let client programs in. The password never is in an argument or a variable: see _passfile."""
    # LC_ALL and LANGUAGE: messages are told apart by their English text. HOME: psql and libpq have files there that change what they do.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PG") and name not in ("LANGUAGE", "LANG")}
    plain.update({"LC_ALL": "C", "HOME": NOWHERE})
    with ExitStack() as stack:
        path, descriptors = _passfile(stack, server.passfile_line().encode("utf-8", "surrogateescape"))
        yield Entrance({**plain, **server.environment(path)}, descriptors)


def _passfile(stack: ExitStack, line: bytes) -> Tuple[str, Sequence[int]]:
    """Return the path of a password file that lasts as long as the stack, and the descriptors that a program must inherit to read it.

    On Linux it is memory, which is gone with us however we end; elsewhere a file of ours (0600), removed at the end. libpq refuses one that others may read.
    """
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("pgpass", os.MFD_CLOEXEC)
        memory = stack.enter_context(os.fdopen(descriptor, "wb", buffering=0))
        os.fchmod(descriptor, 0o600)
        memory.write(line)
        return f"/proc/self/fd/{descriptor}", [descriptor]
    handle, path = tempfile.mkstemp()
    stack.callback(os.unlink, path)
    with os.fdopen(handle, "wb") as file:
        file.write(line)
    return path, []


def start(command: Sequence[str], inside: Entrance, complaint: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a program with pipes for its input and output. It ends when we do, and has a process group of its own. Raises MissingDependency."""
    if not os.access(command[0], os.X_OK):
        raise MissingDependency(f"{command[0]} cannot be started.", "Install PostgreSQL's client programs, or give their folder.", command[0])
    try:
        return subprocess.Popen(
            tied(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaint,
            env=inside.environment,
            pass_fds=inside.descriptors,
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise MissingDependency(
            f"{command[0]} cannot be started: {error.strerror}.", "Install PostgreSQL's client programs, or give their folder.", command[0]
        ) from None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and the workers that it started, and wait for it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue
    process.wait()


def said(complaint: IO[bytes]) -> str:
    """Return what a program wrote to its error output."""
    complaint.seek(0, os.SEEK_END)
    complaint.seek(max(0, complaint.tell() - _LONGEST_COMPLAINT))
    return complaint.read().decode("utf-8", "replace")


def pipes_of(process: subprocess.Popen[bytes]) -> Tuple[IO[bytes], IO[bytes]]:
    """Return the pipes to and from a program that ``start`` started."""
    return cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)


def run(command: Sequence[str], inside: Entrance, deadline: Deadline, watch: Callable[[], None] = lambda: None) -> Ended:
    """Run a program to its end, calling ``watch`` about once a second. Raises TimedOut (the program is ended), MissingDependency, or what ``watch`` raises."""
    with tempfile.TemporaryFile() as complaint:
        process = start(command, inside, complaint)
        try:
            stdin, stdout = pipes_of(process)
            stdin.close()
            output: List[bytes] = []
            while True:
                readable, _write, _error = select.select([stdout], [], [], min(_LOOK, deadline.left))
                if readable:
                    data = os.read(stdout.fileno(), _CHUNK)
                    if not data:
                        break
                    output.append(data)
                elif deadline.left <= 0:
                    raise TimedOut(f"{os.path.basename(command[0])} did not end within {deadline.seconds:.0f} s.", "Give it more time.", command[0])
                else:
                    watch()
            status = process.wait()
        finally:
            end(process)
        return Ended(status, b"".join(output).decode("utf-8", "surrogateescape"), said(complaint))
