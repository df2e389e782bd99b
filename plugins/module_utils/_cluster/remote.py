# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program in a container that we follow as if it ran here, and that ends when we are not heard any more.

What it is told, its variables and its files go through standard input, since the command of a request stands in the audit log. That connection is its lifeline
as well: a byte every few seconds. When none comes, or the connection ends, the program is killed by the shell that started it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import socket
import threading
import time
from typing import IO, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Union

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import CommandSocket
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Unavailable

# Seconds without a byte of ours after which the program is killed; seconds between two of these bytes.
SILENCE, _PULSE = 20, 3.0
# Seconds without a word of the program, or for one message, after which the connection counts as lost.
_PATIENCE = 60.0
# Seconds that the program may take to end by itself.
_TO_END = 5.0
_POLL = 0.2
_CHUNK = 1 << 16
_ALIVE, _END = b".", b"t"
_NOT_HANDED_OVER = 125
# The container's own variables hold what is run in it, and the folder that it may write to.
PROGRAM_VARIABLE, FOLDER_VARIABLE = "PAAS_PROGRAM", "PAAS_FOLDER"
COMMAND = ("sh", "-c", f'eval "${PROGRAM_VARIABLE}"')
TOOLS = ("dd", "env", "mktemp", "rm", "sed", "sleep", "timeout", "wc")
# dd reads exactly what it is told to, and leaves the rest of the input to whoever comes next. The variables are those of the program alone; such of rclone
# that an image sets would be obeyed.
PROGRAM = f"""
take() {{
  [ "$1" -lt 65536 ] || dd bs=65536 count="$(($1 / 65536))" iflag=fullblock 2>/dev/null
  [ "$(($1 % 65536))" -eq 0 ] || dd bs="$(($1 % 65536))" count=1 iflag=fullblock 2>/dev/null
}}
umask 077
place=$(mktemp -d "${FOLDER_VARIABLE}/run.XXXXXX") && cd "$place" || exit {_NOT_HANDED_OVER}
trap 'rm -rf "$place"' EXIT
IFS=' ' read -r script files || exit {_NOT_HANDED_OVER}
handed=$(take "$script")
number=0
for size in $files; do
  number=$((number + 1))
  take "$size" >"$number"
  [ "$(wc -c <"$number")" -eq "$size" ] || exit {_NOT_HANDED_OVER}
done
exec 3<&0
(
  for name in $(env | sed -n 's/^\\(RCLONE_[A-Za-z0-9_]*\\)=.*/\\1/p'); do unset "$name"; done
  whole=
  eval "$handed"
  [ "$whole" = yes ] || exit {_NOT_HANDED_OVER}
  exec "$@"
) <1 3<&- &
program=$!
{{
  while :; do
    case $(timeout {SILENCE} dd bs=1 count=1 <&3 2>/dev/null) in
      .) : >"${FOLDER_VARIABLE}/alive" ;;
      t) kill -TERM "$program" ;;
      *) break ;;
    esac
  done
  kill -KILL "$program"
}} >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait "$program"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
"""


class Attached(NamedTuple):
    """A word that ends in the path of a file that goes along: ``before``, then the path."""

    before: str
    path: str


class Lost(Unavailable):
    """The connection to a program was lost, or the program could not be given what it needs."""


class RemoteProgram:
    """One program in one container. ``code`` is its exit status, negative for a signal, None as long as it is not known."""

    stdout: IO[bytes]
    stderr: IO[bytes]

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        pod: str,
        container: str,
        words: Sequence[Union[str, Attached]],
        variables: Mapping[str, str],
        content: bytes = b"",
        talks: bool = True,
    ) -> None:
        """Start it, in a container that has PROGRAM in its variables. ``content`` is its standard input.

        ``talks`` says that it writes something at least once a minute. Raises Lost, whatever the reason.
        """
        self.code: Optional[int] = None
        self._place = f"{namespace}/{pod}"
        self._quiet = _PATIENCE if talks else None
        self._lost: Optional[Lost] = None
        try:
            self._socket = CommandSocket(connection, namespace, pod, list(COMMAND), container, _PATIENCE)
        except Failure as failure:
            raise self._loss(failure) from None
        readers, self._writers = zip(*(os.pipe() for _stream in range(2)))
        self.stdout, self.stderr = self._readers = tuple(os.fdopen(reader, "rb", buffering=0) for reader in readers)
        for writer in self._writers:
            os.set_blocking(writer, False)
        self._asked, self._left, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(_handed_over(words, variables, content),), daemon=True)
        self._thread.start()

    def poll(self) -> Optional[int]:
        """Return its exit status when it has ended, else None. Raises Lost."""
        if not self._ended.is_set():
            return None
        if self._lost is not None:
            raise self._lost
        return self.code

    def end(self) -> None:
        """See that it is gone: asked first, killed by the end of the connection if need be."""
        if not self._ended.is_set():
            self._asked.set()
            self._ended.wait(_TO_END)
        self._left.set()
        if not self._ended.wait(2 * _POLL):
            # It hangs in a message. The method of the plain socket: that of TLS would take the ground from under the thread that uses it.
            with contextlib.suppress(OSError, TypeError):
                socket.socket.shutdown(self._socket.handle, socket.SHUT_RDWR)
        self._thread.join(_PATIENCE)
        for reader in self._readers:
            reader.close()

    def _loss(self, failure: Failure) -> Lost:
        return Lost(f"The connection to the pod {self._place} is lost: {failure.message}", "Start again: what is done is kept.", self._place, failure.status)

    def _follow(self, given: Iterator[bytes]) -> None:
        try:
            for chunk in given:
                if self._asked.is_set():
                    return
                self._socket.send(chunk)
            self._pump()
            self.code = self._status()
        except Failure as failure:
            self._lost = failure if isinstance(failure, Lost) else self._loss(failure)
        except (OSError, ValueError) as error:
            self._lost = self._loss(Failure(f"{type(error).__name__}."))
        finally:
            self._socket.close()
            for writer in self._writers:
                os.close(writer)
            self._ended.set()

    def _status(self) -> Optional[int]:
        if self._left.is_set():
            return None
        code = self._socket.code()
        if code == _NOT_HANDED_OVER:
            raise Lost(f"The pod {self._place} could not take what it was given.", "Its memory may be too small for the list of objects.", self._place)
        return 128 - code if code > 128 else code

    def _pump(self) -> None:
        """Pass on what it writes, and give signs of life meanwhile, whether what it writes is read or not."""
        waiting: Dict[int, bytes] = {}
        beat = heard = time.monotonic()
        asked = False
        while not self._left.is_set():
            now = time.monotonic()
            if now - beat >= _PULSE:
                self._socket.send(_ALIVE)
                beat = now
            if self._asked.is_set():
                # Nobody reads it any more.
                waiting.clear()
                if not asked:
                    self._socket.send(_END)
                    asked = True
            if waiting:
                _pass_on(waiting)
                heard = now
            elif self._socket.pending() or select.select([self._socket.handle], [], [], _POLL)[0]:
                frame = self._socket.receive()
                if frame is None:
                    return
                heard = now
                if frame[1]:
                    waiting[self._writers[frame[0]]] = frame[1]
            elif self._quiet is not None and now - heard > self._quiet:
                raise Unavailable(f"nothing was heard for {self._quiet:g} s.")


def _pass_on(waiting: Dict[int, bytes]) -> None:
    for writer in select.select([], list(waiting), [], _POLL)[1]:
        data = waiting.pop(writer)
        rest = data[os.write(writer, data) :]
        if rest:
            waiting[writer] = rest


def _handed_over(words: Sequence[Union[str, Attached]], variables: Mapping[str, str], content: bytes) -> Iterator[bytes]:
    """Yield what the shell reads: the sizes in bytes of all that follows, a script that sets variables and words, standard input, the files."""
    sizes: List[int] = [len(content)]
    paths: List[str] = []
    told: List[str] = []
    for word in words:
        if isinstance(word, Attached):
            paths.append(word.path)
            sizes.append(os.path.getsize(word.path))
            told.append(f"{word.before}{len(sizes)}")
        else:
            told.append(word)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    script = "\n".join([*lines, f"set -- {' '.join(map(shlex.quote, told))}", "whole=yes"]).encode()
    yield " ".join(map(str, [len(script), *sizes])).encode() + b"\n" + script + content
    for path, size in zip(paths, sizes[1:]):
        yield from _exactly(path, size)


def _exactly(path: str, size: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while size:
            chunk = file.read(min(size, _CHUNK))
            if not chunk:
                raise Unavailable(f"{path} has become shorter.")
            size -= len(chunk)
            yield chunk
