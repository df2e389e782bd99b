"""The HTTP side of the stand-in: a threading server that hands each request to a service and writes its answer."""

from __future__ import annotations

import json
import socketserver
import sys
import traceback
import urllib.parse
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, HTTPServer

ERROR_PAGE = """
<!doctype html>
<html lang="en">
<head>
  <title>{title}</title>
</head>
<body>
  <h1>{title}</h1><p></p>
</body>
</html>
"""


class Request:
    """One request: method, path without query, headers, cookies, body and, where the body is a form or JSON object, its fields."""

    def __init__(self, method, path, headers, body):
        self.method = method
        self.path = urllib.parse.urlsplit(path).path
        self.headers = headers
        self.body = body
        self.cookies = {name: morsel.value for name, morsel in SimpleCookie(headers.get("Cookie", "")).items()}

    def fields(self):
        """The fields of a JSON object or a form. Raises ValueError when the body is not what its type says."""
        kind = self.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            return {name: values[-1] for name, values in urllib.parse.parse_qs(self.body.decode(), keep_blank_values=True).items()}
        data = json.loads(self.body or b"{}")
        if not isinstance(data, dict):
            raise ValueError(f"Invalid data. Expected a dictionary, but got {type(data).__name__}.")
        return data


class Answer:
    """What to send back."""

    def __init__(self, status, body, kind="text/html; charset=utf-8", headers=()):
        self.status, self.body, self.kind, self.headers = status, body.encode(), kind, list(headers)


def in_json(status, data, headers=()):
    """A JSON answer, written as the real services write theirs: without blanks."""
    return Answer(status, json.dumps(data, separators=(",", ":")), "application/json", headers)


def page(status, title):
    """An HTML page that says its title and no more."""
    return Answer(status, ERROR_PAGE.format(title=title))


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that hangs up, or a probe without TLS, is not worth a traceback."""


def serve(address, service, tls=None):
    """Serves until the process ends. `service` has .answer(request) and .headers, which go with every answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                answer = service.answer(Request(self.command, self.path, self.headers, body))
            except Exception:
                # the log of the pod is the place for the reason, as with the real services
                traceback.print_exc()
                answer = service.failed(self.path)
            self.send_response(answer.status)
            for name, value in [*service.headers, *answer.headers, ("Content-Type", answer.kind), ("Content-Length", str(len(answer.body)))]:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

        def log_message(self, format, *args):
            if not self.path.startswith(("/healthz", "/readiness")):
                sys.stderr.write(f"{self.address_string()} {format % args}\n")

    server = _Server(address, Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
