"""A small HTTP server on loopback that does what a test tells it to: for faults that a real API server cannot be made to show."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection, connect


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, list[str]]
    body: Any


@dataclass
class Reply:
    """What to answer. ``cut`` closes the connection with a reset after that many bytes of the body, ``delay`` waits first (seconds)."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    delay: float = 0

    def payload(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body if self.body is not None else {}).encode()


Script = list[Reply] | Callable[[Request], Reply]


def status(code: int, reason: str, message: str, **details: Any) -> Reply:
    """A refusal in the form of the API server."""
    return Reply(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message, "details": details})


class ScriptedServer:
    """Answers each request with the next reply of the script, or with what the script's function says; the last reply of a list is given again and again."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.requests: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                parts = urlsplit(self.path)
                headers = {name.lower(): self.headers.get_all(name) or [] for name in self.headers}
                request = Request(self.command, parts.path, dict(parse_qsl(parts.query)), headers, json.loads(raw) if raw[:1] == b"{" else raw.decode() or None)
                outer.requests.append(request)
                reply = outer.script(request) if callable(outer.script) else outer.script[min(len(outer.requests), len(outer.script)) - 1]
                time.sleep(reply.delay)
                payload = reply.payload()
                try:
                    self.send_response(reply.status)
                    self.send_header("Content-Length", str(len(payload)))
                    for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(payload if reply.cut is None else payload[: reply.cut])
                    if reply.cut is not None:
                        self.wfile.flush()
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        self.connection.close()
                        self.close_connection = True
                except OSError:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_args: Any) -> None:
                """A client that breaks off is part of the play."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def connect(self, **params: Any) -> Connection:
        return connect({"host": self.url, "api_key": "a-token", "retry_timeout": 3, **params})
