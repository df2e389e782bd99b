"""slug.py FILE PORT: answers every request with the SHA-256 of a file, as it was at the start."""

import hashlib
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

with open(sys.argv[1], "rb") as slug:
    DIGEST = hashlib.file_digest(slug, "sha256").hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(DIGEST) + 1))
        self.end_headers()
        self.wfile.write(f"{DIGEST}\n".encode())

    def log_message(self, format, *args):
        """Probes are not worth a line."""


# the first process of a container gets no default for this signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("", int(sys.argv[2])), Handler).serve_forever()
