# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd's own programs: found, held against the versions that can be trusted, and run so that they never outlive us."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import Dict, Generator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import (
    Conflict,
    Failure,
    MissingDependency,
    NotFound,
    Refused,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied

Version = Tuple[int, int, int]
NAMES = ("etcd", "etcdctl", "etcdutl")
# Before these a restored etcd cannot be given a higher revision, so that it runs back in time for whoever watches it.
_OLDEST: Version = (3, 5, 10)
# These lose or corrupt data without a word.
_CORRUPTING = (((3, 5, 0), (3, 5, 3)),)
_INSTALL = "Take them from the release of etcd that the cluster runs, and give their folder in etcd.programs."
_VERSION = re.compile(r"version:\s*v?(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)
# Of what a program complains about no more than this is kept.
_LONGEST_COMPLAINT = 4096
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Programs:
    """The paths of etcd, etcdctl and etcdutl, and the version that all of them have in its first two numbers."""

    paths: Mapping[str, str]
    versions: Mapping[str, Version]

    def tools(self) -> Dict[str, str]:
        """The versions as a manifest names them."""
        return {name: text(version) for name, version in self.versions.items()}


def text(version: Version) -> str:
    """Write a version as people do."""
    return ".".join(map(str, version))


def read_version(said: str, of: str) -> Version:
    """Find a version in what a program or server says of itself. Raises MissingDependency."""
    found = _VERSION.search(said) or _VERSION.search(f"version: {said}")
    if not found:
        raise MissingDependency(f"{of} does not say which version it is.", _INSTALL, of)
    major, minor, patch = (int(number) for number in found.groups())
    return major, minor, patch


def find(folder: Optional[str], deadline: Deadline) -> Programs:
    """Find the three programs in a folder, or in PATH. Raises MissingDependency, and Refused for versions that cannot be trusted."""
    paths: Dict[str, str] = {}
    for name in NAMES:
        path = shutil.which(name, path=folder)
        if path is None:
            raise MissingDependency(
                f"{name} is not in {folder or 'PATH'}.", f"A restore is proved by etcd, etcdctl and etcdutl, 3.5 or newer. {_INSTALL}", name
            )
        paths[name] = path
    versions = {name: read_version(_said(paths[name], name, deadline), name) for name in NAMES}
    for name, version in versions.items():
        if version < _OLDEST:
            raise Refused(
                f"{name} is {text(version)}; {text(_OLDEST)} is the oldest that can restore with a higher revision.",
                "Without that, whoever watches the cluster sees time run back. Take a newer one.",
                name,
            )
    if len({version[:2] for version in versions.values()}) > 1:
        raise Refused(f"The programs are of several releases: {_named(versions)}.", _INSTALL, "etcd.programs")
    return Programs(paths, versions)


def check_server(programs: Programs, server: Version) -> None:
    """Refuse a server whose data cannot be trusted, or that the programs are not made for. Raises Refused."""
    if any(first <= server < end for first, end in _CORRUPTING):
        raise Refused(f"The server is etcd {text(server)}, which corrupts data silently.", "Upgrade it; a backup would keep the damage.", "etcd")
    if server[:2] != programs.versions["etcdutl"][:2]:
        raise Refused(f"The server is etcd {text(server)}, the programs are {_named(programs.versions)}.", f"Others may not read it. {_INSTALL}", "etcd")


def _named(versions: Mapping[str, Version]) -> str:
    return ", ".join(f"{name} {text(version)}" for name, version in versions.items())


def _said(path: str, name: str, deadline: Deadline) -> str:
    return run([path, "--version" if name == "etcd" else "version"], deadline).decode("utf-8", "replace")


def environment() -> Dict[str, str]:
    """What the programs see: none of the variables that would change what they do."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ETCD", "GODEBUG", "GRPC_"))}


def start(command: Sequence[str], folder: str, log: int) -> subprocess.Popen[bytes]:
    """Start a program that stays, with its output in the descriptor ``log``. It ends when we do. Raises MissingDependency."""
    return _start(command, folder, log, log)


def _start(command: Sequence[str], folder: str, output: int, complaint: int) -> subprocess.Popen[bytes]:
    if not os.access(command[0], os.X_OK):
        raise MissingDependency(f"{command[0]} cannot be started.", _INSTALL, command[0])
    try:
        return subprocess.Popen(
            tied(command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaint,
            env=environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise MissingDependency(f"{command[0]} cannot be started: {error.strerror}.", _INSTALL, command[0]) from None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program at once, and wait for it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    process.wait()


def run(command: Sequence[str], deadline: Deadline, folder: str = "/") -> bytes:
    """Run a program to its end and return what it printed. Raises a failure that says why it did not succeed, and TimedOut at the deadline."""
    return b"".join(printed(command, deadline, folder))


def printed(command: Sequence[str], deadline: Deadline, folder: str = "/") -> Generator[bytes, None, None]:
    """Run a program and yield what it prints as it comes; it is ended when nobody wants more. Raises as ``run`` does, the failure behind the last piece."""
    process = _start(command, folder, subprocess.PIPE, subprocess.PIPE)
    late = TimedOut(f"{_title(command)} did not end within {deadline.seconds:.0f} s.", "Give it more time with etcd.timeout.", command[0])
    complaint = b""
    try:
        with selectors.DefaultSelector() as selector:
            for pipe in filter(None, (process.stdout, process.stderr)):
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(deadline.left, 0.1))
                if not ready or deadline.left <= 0:
                    raise late
                for key, _events in ready:
                    piece = os.read(key.fd, _CHUNK)
                    if not piece:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        complaint = (complaint + piece)[-_LONGEST_COMPLAINT:]
                    else:
                        yield piece
        process.wait(max(deadline.left, 0.1))
    except subprocess.TimeoutExpired:
        raise late from None
    finally:
        end(process)
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()
    if process.returncode != 0:
        raise complaint_of(command, process.returncode, complaint.decode("utf-8", "replace"))


def _title(command: Sequence[str]) -> str:
    """Name a command without what it was given: keys of a cluster are nobody's business."""
    words: List[str] = []
    for word in command[1:]:
        if word.startswith(("-", "/")) or len(words) == 2:
            break
        words.append(word)
    return " ".join([os.path.basename(command[0]), *words])


def complaint_of(command: Sequence[str], status: int, complaint: str) -> Failure:
    """Turn what a program complained about into a failure with a cause that can be acted upon."""
    title, low = _title(command), complaint.lower()
    if "required revision has been compacted" in low:
        return Conflict(f"{title}: the revision was compacted meanwhile.", "Run again.", "etcd")
    if "certificate" in low or "tls:" in low or "authentication" in low or "permission denied" in low or "invalid auth" in low:
        return Unauthorized(f"{title}: etcd does not let us in.", "Give etcd.ca_file, etcd.client_cert and etcd.client_key of the member.", "etcd")
    if "deadline exceeded" in low or "connection refused" in low or "unavailable" in low or "unhealthy" in low or "no such host" in low:
        return Unavailable(f"{title}: etcd does not answer.", "Look whether the member runs, and at etcd.endpoints.", "etcd")
    if "no such file" in low:
        return NotFound(f"{title}: a file is not there: {_last_line(complaint)}", "Look at the files that were given.", "etcd")
    ended = f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"
    return Failure(f"{title} {ended}: {_last_line(complaint)}", "Run it by hand to see more.", "etcd")


def _last_line(complaint: str) -> str:
    lines = [line for line in complaint.splitlines() if line.strip()]
    return scrub(lines[-1][-300:]) if lines else "it said nothing"
