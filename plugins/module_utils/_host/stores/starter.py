# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How rclone is started and ended: as a process of ours, or wherever else somebody can start it. Whoever reads what it says need not know which."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO, Dict, List, Mapping, NamedTuple, Optional, Protocol, Tuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied

# What the caller's environment keeps: how the network is reached. Everything else could change what rclone does, or leak into it.
_KEPT = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
# Where a machine's role comes from, for stores without keys.
_OF_ROLE = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
)
# No home: nothing is read from there, nothing written.
PLAIN = {"HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
SECONDS_TO_END = 5.0
# Linux' F_SETPIPE_SZ, which the module fcntl knows from Python 3.10 on, and what anybody may ask for: a page of a listing, so that rclone need not wait for us.
_SET_PIPE_SIZE, _PIPE_BYTES = 1031, 1 << 20


class File(NamedTuple):
    """A word that ends in the path of a file of this machine: ``before``, then the path."""

    before: str
    path: str


Word = Union[str, File]


@dataclass(frozen=True)
class Order:
    """One run that is wanted: what rclone is told, the variables that define its remotes (secrets among them), and its standard input.

    ``role`` says that it may use the role of the machine that it runs on.
    """

    words: Tuple[Word, ...]
    variables: Mapping[str, str]
    content: bytes = b""
    role: bool = False

    def __repr__(self) -> str:
        return f"Order({self.words!r})"


class Running(Protocol):
    """An rclone that was started. What it writes is read from two pipes; ``code`` is its exit status, negative for a signal, None when it is not known."""

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe of its standard output."""

    @property
    def stderr(self) -> IO[bytes]:
        """The pipe of its log."""

    @property
    def code(self) -> Optional[int]:
        """How it ended."""

    def poll(self) -> Optional[int]:
        """Return ``code`` when it has ended, else None. Raises Unavailable when nobody can say any more."""

    def end(self) -> None:
        """See that it is gone: asked first, so that it can clean up what it had begun."""


class Starter(Protocol):
    """Who starts rclone."""

    @property
    def path(self) -> str:
        """Where the program is, in words."""

    def start(self, order: Order) -> Running:
        """Start it. Raises Unavailable when that cannot be done now."""


@dataclass(frozen=True)
class Here:
    """Starts the rclone of this machine, at this path."""

    path: str

    def start(self, order: Order) -> Running:
        """Start a process that does not outlive us."""
        words = [f"{word.before}{word.path}" if isinstance(word, File) else word for word in order.words]
        with tempfile.TemporaryFile() as given:
            given.write(order.content)
            given.seek(0)
            # Its own session: Ctrl-C is ours to pass on.
            process = subprocess.Popen(
                tied([self.path, *words]),
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(order.variables, order.role),
                start_new_session=True,
            )
        return _Process(process)


class _Process:
    """A process of this machine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None or process.stderr is None:
            raise ValueError("the process has no pipes")
        self.stdout, self.stderr = process.stdout, process.stderr
        self._process = process
        for pipe in (self.stdout, self.stderr):
            with contextlib.suppress(OSError):  # an account may have used up its share of pipes: then it is slower
                fcntl.fcntl(pipe, _SET_PIPE_SIZE, _PIPE_BYTES)

    @property
    def code(self) -> Optional[int]:
        return self._process.returncode

    def poll(self) -> Optional[int]:
        return self._process.poll()

    def end(self) -> None:
        process = self._process
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(SECONDS_TO_END)
                except subprocess.TimeoutExpired:
                    process.kill()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (self.stdout, self.stderr):
                pipe.close()


def environment(variables: Mapping[str, str], role: bool = False) -> Dict[str, str]:
    """Return the whole environment of an rclone of this machine."""
    kept: List[str] = [*_KEPT, *(_OF_ROLE if role else ())]
    found = {name: value for name, value in os.environ.items() if name.upper() in kept}
    return {**found, **variables, **PLAIN, "PATH": os.defpath}
