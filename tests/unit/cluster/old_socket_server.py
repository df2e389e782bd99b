"""A web socket server as Kubernetes had it before 1.29: it knows channel protocol 4 only, and refuses everybody who offers nothing but 5."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import struct
import threading
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SUCCESS: dict[str, Any] = {"kind": "Status", "status": "Success"}


class OldSocketServer:
    """Runs no command: it reads the input that is announced in the command itself, gives it back on standard output, and ends with the result.

    ``commands`` holds what was asked for, ``authorizations`` who asked. With ``cut`` the connection breaks before the result.
    """

    def __init__(self, result: Any = None, cut: bool = False) -> None:
        self.commands: list[list[str]] = []
        self.authorizations: list[bytes] = []
        self.refused = 0
        self._result = json.dumps(_SUCCESS if result is None else result).encode()
        self._cut = cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._listen, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> OldSocketServer:
        self._thread.start()
        return self

    def __exit__(self, *_args: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                with client, contextlib.suppress(OSError, EOFError):
                    self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        file = client.makefile("rb")
        line = file.readline().split()[1].decode()
        headers: dict[bytes, bytes] = {}
        while (header := file.readline().strip()) != b"":
            name, _colon, value = header.partition(b":")
            headers[name.strip().lower()] = value.strip()
        self.authorizations.append(headers.get(b"authorization", b""))
        if b"v4.channel.k8s.io" not in headers[b"sec-websocket-protocol"]:
            self.refused += 1
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        key = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _MAGIC, usedforsecurity=False).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n"
        client.sendall(head + b"Sec-WebSocket-Accept: " + key + b"\r\n\r\n")
        command = [value for name, value in parse_qsl(urlsplit(line).query) if name == "command"]
        self.commands.append(command)
        self._work(client, file, line)

    def _work(self, client: socket.socket, file: Any, line: str) -> None:
        """Do what was asked for."""
        command, given = self.commands[-1], b""
        while "stdin=true" in line and len(given) < int(command[4]):
            given += self._frame(file)[1:]
        self._send(client, b"\x01" + given)
        if not self._cut:
            self._send(client, b"\x03" + self._result)
            client.sendall(b"\x88\x00")

    def _frame(self, file: Any) -> bytes:
        """Read one masked message of a client."""
        first = file.read(2)
        if len(first) < 2:
            raise EOFError
        size = first[1] & 0x7F
        if size == 126:
            size = struct.unpack(">H", file.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", file.read(8))[0]
        mask = file.read(4)
        return bytes(byte ^ mask[index % 4] for index, byte in enumerate(file.read(size)))

    @staticmethod
    def _send(client: socket.socket, data: bytes) -> None:
        size = struct.pack(">BB", 0x82, len(data)) if len(data) < 126 else struct.pack(">BBQ", 0x82, 127, len(data))
        client.sendall(size + data)
