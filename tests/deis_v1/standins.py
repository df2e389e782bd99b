"""Stand-ins for the controller and the routers, whose images are not to be had any more: they read the keys of a real etcd, and answer as the code was read."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

from tests.deis_v1.servers import Etcd

_VERSIONS = {"TLSv1": ssl.OP_NO_TLSv1, "TLSv1.1": ssl.OP_NO_TLSv1_1, "TLSv1.2": ssl.OP_NO_TLSv1_2}
_DEFAULT = "TLSv1 TLSv1.1 TLSv1.2"
# Those of OpenSSL 1.0.1, which the routers have: newer ones refuse the old releases at their own level of security.
_OLD_CIPHERS = "ALL:@SECLEVEL=0"


class _Secure(http.server.ThreadingHTTPServer):
    """Shakes hands as the keys say at that moment."""

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = self.socket.accept()
        connection.settimeout(5)
        try:
            return cast(type[_Handler], self.RequestHandlerClass).platform.context().wrap_socket(connection, server_side=True), peer
        except OSError:
            connection.close()
            raise


class Platform:
    """A router and the controller behind it. ``lag`` is for how many seconds they go by what they read before; ``deaf`` are keys that they never look at."""

    def __init__(self, etcd: Etcd, folder: Path, lag: float = 0.0, token: str = "", deaf: tuple[str, ...] = ()) -> None:
        self._etcd, self._folder, self._lag, self._token, self._deaf = etcd, folder, lag, token, deaf
        self._read: dict[str, str] = {}
        self._since = 0.0
        self._lock = threading.Lock()
        self.http_port = self.https_port = 0
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def key(self, path: str) -> str:
        with self._lock:
            if not self._since or time.monotonic() - self._since >= self._lag:
                self._read, self._since = self._etcd.values("/deis"), time.monotonic()
            return "" if path in self._deaf else self._read.get(f"/deis/{path}", "")

    @contextlib.contextmanager
    def running(self) -> Iterator[Platform]:
        servers = [kind(("127.0.0.1", 0), self._handler(kind is _Secure)) for kind in (http.server.ThreadingHTTPServer, _Secure)]
        self.http_port, self.https_port = (int(server.server_address[1]) for server in servers)
        threads = [threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True) for server in servers]
        for thread in threads:
            thread.start()
        self.key("platform/domain")
        try:
            yield self
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()

    def context(self) -> ssl.SSLContext:
        """As the router's template has it: nothing listens in TLS without a certificate."""
        certificate, private = self.key("router/sslCert"), self.key("router/sslKey")
        if not certificate:
            raise OSError("nobody listens")
        for name, text in (("crt", certificate), ("key", private)):
            (self._folder / name).write_text(f"{text}\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(self.key("router/sslCiphers") or _OLD_CIPHERS)
        words = (self.key("router/sslProtocols") or _DEFAULT).split()
        for version, without in _VERSIONS.items():
            if version not in words:
                context.options |= without
        context.load_cert_chain(self._folder / "crt", self._folder / "key")
        return context

    def _handler(self, encrypted: bool) -> type[_Handler]:
        return type("Handler", (_Handler,), {"platform": self, "encrypted": encrypted})

    def controller(self, method: str, path: str, authorization: str) -> tuple[int, str]:
        """What the controller answers."""
        if (method, path) == ("POST", "/v1/auth/register"):
            # An empty account is none: 400, and nothing is made.
            mode = self.key("controller/registrationMode") or "enabled"
            return {"enabled": 400, "disabled": 403, "admin_only": 403}.get(mode, 500), "{}"
        if path == "/v1/admin/perms":
            known = bool(self._token) and authorization == f"token {self._token}"
            return (200, json.dumps({"count": 1, "results": [{"username": "first", "is_superuser": True}]})) if known else (403, "{}")
        return 200, "{}"


class _Handler(http.server.BaseHTTPRequestHandler):
    platform: ClassVar[Platform]
    encrypted: ClassVar[bool]

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        strict = self.platform.key("router/hsts/enabled") == "true"
        enforced = self.platform.key("router/enforceHTTPS") or ("true" if strict else "")
        if enforced == "true" and not self.encrypted and self.headers.get("X-Forwarded-Proto") != "https":
            self._say(301, "", {"Location": f"https://{self.headers.get('Host')}{self.path}"})
            return
        age = self.platform.key("router/hsts/maxAge") or "10886400"
        headers = {"Strict-Transport-Security": f"max-age={age}"} if strict and self.encrypted else {}
        self._say(*self.platform.controller(self.command, self.path, self.headers.get("Authorization", "")), headers)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def _say(self, status: int, text: str, more: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**more, "Content-Type": "application/json", "Content-Length": str(len(text)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())
