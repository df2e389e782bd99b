# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port of a pod as a port of this machine, for programs that speak to it by themselves. Loopback only, gone with the block that asked for it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Any, Callable, Iterator, List, Optional

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import PortSocket
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure

_CHUNK = 64 * 1024
# Seconds between two looks whether the block has ended.
_POLL = 0.5


class Forward:
    """A listener on loopback. ``port`` is its number, ``failure`` the last reason for which a connection could not be passed on."""

    def __init__(self, open_socket: Callable[[], PortSocket]) -> None:
        self._open = open_socket
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._ended = threading.Event()
        self._threads: List[threading.Thread] = []
        self.failure: Optional[Failure] = None
        self.port: int = self._listener.getsockname()[1]

    def start(self) -> None:
        self._begin(self._accept)

    def stop(self) -> None:
        """Close the listener and every connection, and wait until their threads have ended."""
        self._ended.set()
        self._listener.close()
        for thread in list(self._threads):
            thread.join()

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                ready, _w, _x = select.select([self._listener], [], [], _POLL)
                if ready:
                    self._begin(self._pass_on, self._listener.accept()[0])
            except (OSError, ValueError):
                # The listener was closed.
                return

    def _pass_on(self, client: socket.socket) -> None:
        with client:
            try:
                far = self._open()
            except Failure as failure:
                self.failure = failure
                return
            try:
                self._pump(client, far)
            except Failure as failure:
                self.failure = failure
            except OSError:
                # One of the two sides went away: the program that uses the port sees that by itself.
                return
            finally:
                far.close()

    def _pump(self, client: socket.socket, far: PortSocket) -> None:
        while not self._ended.is_set():
            # TLS may hold what has come already: then the system has nothing to tell.
            ready: List[Any] = [far.handle] if far.pending() else select.select([client, far.handle], [], [], _POLL)[0]
            if far.handle in ready:
                data = far.receive()
                if data is None:
                    return
                if data:
                    client.sendall(data)
            if client in ready:
                data = client.recv(_CHUNK)
                if not data:
                    return
                far.send(data)


@contextlib.contextmanager
def forwarded(connection: Connection, namespace: str, pod: Callable[[], str], port: int) -> Iterator[Forward]:
    """Yield a Forward whose connections reach the port of the pod that ``pod`` names at that moment, so that a pod may be replaced meanwhile."""
    forward = Forward(lambda: PortSocket(connection, namespace, pod(), port))
    forward.start()
    try:
        yield forward
    finally:
        forward.stop()
