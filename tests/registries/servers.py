"""Real registries on loopback, and a door before one that asks for tokens, redirects, or lies."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab import processes, registries
from lab.pki import Authority
from lab.seed.registry import Registry as Seeder

ACCOUNT = "robot"


class ImageServer:
    """A docker-registry on a free port. The kernel ends it when the test process dies, however that happens."""

    def __init__(self, folder: Path, closed: bool = True, tls: Authority | None = None) -> None:
        self.folder = folder
        self.password = secrets.token_hex(12)
        self.closed = closed
        self.authority = tls
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def seeder(self) -> Seeder:
        return Seeder(self.server, ACCOUNT, self.password) if self.closed else Seeder(self.server)

    @contextlib.contextmanager
    def running(self) -> Iterator[ImageServer]:
        self.folder.mkdir(parents=True)
        accounts = self.folder / "htpasswd" if self.closed else None
        if accounts:
            accounts.write_text(f"{ACCOUNT}:{registries.hashed(self.password)}\n")
        pair = self.authority.ensure_server("registry", ["IP:127.0.0.1"]) if self.authority else None
        configuration = self.folder / "registry.yml"
        configuration.write_text(registries.settings(self.folder / "data", self.server, accounts, pair))
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", str(registries.program()), "serve", str(configuration)],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                assert processes.wait_until(self._listens, 15), (self.folder / "log").read_text()
                yield self
            finally:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


class Door:
    """A port before a registry that lets everybody in. What it does to requests is set by its attributes; what came is kept in ``requests``."""

    def __init__(self, upstream: ImageServer) -> None:
        self.upstream = upstream
        # The account that gets tokens; nobody is asked for one without it.
        self.account: tuple[str, str] | None = None
        self.token_service: dict[str, Any] = {}
        # Where GET of blobs is led; nowhere when empty.
        self.redirect = ""
        # What becomes of the bytes of a blob that is read.
        self.damage: str = ""
        # The form in which it claims manifests to be.
        self.manifest_kind = ""
        # Answers given without asking the registry, by method: (how often, status).
        self.refuse: dict[str, list[int]] = {}
        self.requests: list[tuple[str, str, Mapping[str, str]]] = []
        self._tokens: dict[str, str] = {}

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        """Yield its address."""
        door = self

        class Handler(_Handler):
            pass

        Handler.door = door
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield f"127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()

    def grant(self, authorization: str, scope: str) -> str | None:
        """A new token for who proves to be the account, None for everybody else."""
        assert self.account is not None
        if authorization != "Basic " + base64.b64encode(":".join(self.account).encode()).decode():
            return None
        token = secrets.token_hex(8)
        self._tokens[token] = scope
        return token

    def lets_in(self, authorization: str, path: str, writes: bool) -> bool:
        scope = self._tokens.get(authorization.partition(" ")[2])
        if scope is None:
            return False
        repository = path.partition("/v2/")[2].partition("/manifests")[0].partition("/blobs")[0]
        return not repository or (scope.startswith(f"repository:{repository}:") and (not writes or scope.endswith("push")))


class _Handler(BaseHTTPRequestHandler):
    door: Door
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        door = self.door
        door.requests.append((self.command, self.path, dict(self.headers)))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/token"):
            scope = self.path.partition("scope=")[2].replace("%3A", ":").replace("%2F", "/").replace("%2C", ",")
            token = door.grant(self.headers.get("Authorization", ""), scope)
            self._say(200 if token else 401, json.dumps({"token": token}).encode() if token else b"{}")
            return
        given = door.refuse.get(self.command)
        if given and given[0]:
            given[0] -= 1
            self._say(given[1], b'{"errors": [{"message": "canary of an error"}]}')
            return
        if door.account and not door.lets_in(self.headers.get("Authorization", ""), self.path, self.command in ("POST", "PUT", "PATCH", "DELETE")):
            host = self.headers["Host"]
            self._say(401, b"", {"WWW-Authenticate": f'Bearer realm="http://{host}/token",service="door"'})
            return
        if door.redirect and self.command == "GET" and "/blobs/sha256:" in self.path:
            self._say(307, b"", {"Location": f"http://{door.redirect}{self.path}"})
            return
        self._pass_on(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _pass_on(self, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.door.upstream.server, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name not in ("Authorization", "Content-Length")}
            connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if self.door.damage and self.command == "GET" and "/blobs/sha256:" in self.path:
            content = b"\0" + content[1:] if self.door.damage == "change" else content[: len(content) // 2]
        kept = {name: value for name, value in answer.getheaders() if name in ("Location", "Docker-Content-Digest", "Content-Type")}
        if self.door.manifest_kind and "/manifests/" in self.path:
            kept["Content-Type"] = self.door.manifest_kind
        length = answer.getheader("Content-Length") if self.command == "HEAD" or self.door.damage == "cut" else None
        self._say(answer.status, content, kept, length)

    def _say(self, status: int, content: bytes, headers: Mapping[str, str] | None = None, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.close_connection = True

    def log_message(self, *_arguments: Any) -> None:
        """Keep the terminal quiet."""
