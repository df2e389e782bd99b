"""A container behind a web socket: what is asked for runs here, in a real shell, fed by the messages that come."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._cluster.remote import FOLDER_VARIABLE, PROGRAM, PROGRAM_VARIABLE, SILENCE
from tests.unit.cluster.old_socket_server import OldSocketServer


class ShellServer(OldSocketServer):
    """Runs each command in the folder, one after the other. ``variables`` are those of the image, ``silence`` the seconds after which it ends a program."""

    def __init__(self, folder: str, silence: float = SILENCE, **variables: str) -> None:
        super().__init__()
        program = PROGRAM.replace(f"timeout {SILENCE} ", f"timeout {silence:g} ")
        self._environment = {**variables, "PATH": os.defpath, PROGRAM_VARIABLE: program, FOLDER_VARIABLE: folder}
        self.lines: list[str] = []
        self.running: subprocess.Popen[bytes] | None = None
        self._sending = threading.Lock()

    def cut(self) -> None:
        """Break the connection of the command that runs, as the end of an API server would."""
        self._client.shutdown(socket.SHUT_RDWR)

    def _work(self, client: socket.socket, file: Any, line: str) -> None:
        self.lines.append(line)
        self._client = client
        pipe = subprocess.PIPE
        with subprocess.Popen(self.commands[-1], stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment, start_new_session=True) as process:
            self.running = process
            feeder = threading.Thread(target=self._feed, args=(file, process), daemon=True)
            readers = [
                threading.Thread(target=self._tell, args=(client, channel, stream), daemon=True)
                for channel, stream in ((b"\x01", process.stdout), (b"\x02", process.stderr))
            ]
            for thread in (feeder, *readers):
                thread.start()
            for thread in readers:
                thread.join()
            code = process.wait()
        status: dict[str, Any] = {"status": "Success"}
        if code:
            status = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]}}
        self._send(client, b"\x03" + json.dumps(status).encode())
        client.sendall(b"\x88\x00")

    def _feed(self, file: Any, process: subprocess.Popen[bytes]) -> None:
        """Hand over what comes; the end of the connection is the end of its input."""
        assert process.stdin is not None
        try:
            while True:
                os.write(process.stdin.fileno(), self._frame(file)[1:])
        except (EOFError, OSError, ValueError):
            pass
        finally:
            process.stdin.close()

    def _tell(self, client: socket.socket, channel: bytes, stream: Any) -> None:
        while data := stream.read1(1 << 16):
            with self._sending:
                try:
                    self._send(client, channel + data)
                except OSError:
                    return
