"""A reverse proxy that lies: a stand-in for faults that a real server cannot be made to show. What it does not lie about it passes on unchanged."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ERROR_BODY = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>'

# What may happen to an answer: its name, or None for the truth. Asked once for each request, with method, path and query.
Rule = Callable[[str, str], "str | None"]


class Liar:
    """Listens on a port of its own before the server on ``port``. ``told`` counts the lies by name."""

    def __init__(self, port: int, rule: Rule) -> None:
        self.upstream = port
        self.rule = rule
        self.told: dict[str, int] = {}
        self.requests = 0
        self.stale: dict[str, tuple[int, Any, bytes]] = {}
        self.lock = threading.Lock()

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Yield its URL."""
        liar = self

        class Handler(_Handler):
            pass

        Handler.liar = liar
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()

    def change(self, content: bytes) -> bytes:
        """What becomes of the content of a true answer."""
        return content

    def answer(self) -> bytes | None:
        """What is said without asking the server; None: it is asked."""
        return None

    def choose(self, method: str, path: str) -> str | None:
        with self.lock:
            self.requests += 1
            lie = self.rule(method, path)
            if lie:
                self.told[lie] = self.told.get(lie, 0) + 1
            return lie


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    liar: Liar

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lie = self.liar.choose(self.command, self.path)
        if lie and lie.isdigit():
            self._answer(int(lie), [("Content-Type", "application/xml")], ERROR_BODY)
            return
        if lie == "error body":
            self._answer(200, [("Content-Type", "application/xml")], ERROR_BODY)
            return
        if lie == "stale" and self.path in self.liar.stale:
            self._answer(*self.liar.stale[self.path])
            return
        made_up = self.liar.answer()
        if made_up is not None:
            self._answer(200, [("Content-Type", "application/json")], made_up)
            return
        status, headers, content = self._ask(body)
        content = self.liar.change(content)
        with self.liar.lock:
            self.liar.stale.setdefault(self.path, (status, headers, content))
        if lie == "flipped" and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if lie == "short" and content:
            content = content[: len(content) // 2]
        announced = len(content)
        if lie == "cut" and content:
            content = content[: len(content) // 2]
        self._answer(status, headers, content, announced)
        if lie == "cut":
            self.close_connection = True

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.liar.upstream, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in ("connection", "transfer-encoding")]
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Any, content: bytes, announced: int | None = None) -> None:
        self.send_response_only(status)
        length = len(content) if announced is None else announced
        for name, value in headers:
            if name.lower() == "content-length":
                length = length if self.command != "HEAD" else int(value)
            else:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """The tests count for themselves."""


def sometimes(lie: str, chance: float, seed: int, method: str = "GET", about: str = "") -> Rule:
    """A rule that lies with this chance about requests of this method whose path holds ``about``."""
    dice = random.Random(seed)
    return lambda asked, path: lie if asked == method and about in path and dice.random() < chance else None
