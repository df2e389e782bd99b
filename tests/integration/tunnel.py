"""A small HTTP proxy on loopback that makes tunnels (CONNECT) for who knows the password."""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import threading


class TunnelProxy:
    """``tunnels`` holds the addresses that were asked for, ``refused`` how often the password was wrong."""

    def __init__(self, user: str, password: str) -> None:
        self.tunnels: list[str] = []
        self.refused = 0
        self._login = b"Basic " + base64.b64encode(f"{user}:{password}".encode())
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._listen, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> TunnelProxy:
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
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return
            head += data
        lines = head.split(b"\r\n")
        headers = {name.strip().lower(): value.strip() for name, _colon, value in (line.partition(b":") for line in lines[1:])}
        if headers.get(b"proxy-authorization") != self._login:
            self.refused += 1
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            client.close()
            return
        host, _colon, port = lines[0].split()[1].decode().rpartition(":")
        self.tunnels.append(f"{host}:{port}")
        with client, socket.create_connection((host, int(port))) as server, contextlib.suppress(OSError):
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._pump(client, server)

    @staticmethod
    def _pump(client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _events in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    key.data.sendall(data)
