"""Brings Debian packages to hosts, which have no way out: a relay on this machine's end of their cable to the mirrors of its own apt, and to nothing else.

Runs alone, outside the package: ``python -I relay.py ADDRESS PORT CACHE SITE...``. Packages are kept by their address, which names their version; indexes
are asked for anew each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import os
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import ClassVar

_PASSED_ON = ("If-Modified-Since", "Cache-Control", "User-Agent")
_PASSED_BACK = ("Content-Type", "Content-Length", "Last-Modified", "ETag")
_SECONDS = 60


class Relay(http.server.BaseHTTPRequestHandler):
    """Answers as a proxy does: the request names the whole address."""

    protocol_version = "HTTP/1.1"
    cache: ClassVar[Path]
    sites: ClassVar[tuple[str, ...]]

    def do_GET(self) -> None:
        address = self.path
        # "/../" would leave the site
        if not address.startswith(self.sites) or "/.." in urllib.parse.unquote(address):
            self.send_error(403, "not a mirror of this machine")
            return
        constant = address.endswith((".deb", ".udeb")) or "/by-hash/" in address
        kept = self.cache / hashlib.sha256(address.encode()).hexdigest()
        if constant and kept.exists():
            with kept.open("rb") as stream:
                self.send_response(200)
                self.send_header("Content-Length", str(kept.stat().st_size))
                self.end_headers()
                shutil.copyfileobj(stream, self.wfile)
            return
        try:
            headers = {name: self.headers[name] for name in _PASSED_ON if self.headers[name]}
            with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=_SECONDS) as answer:
                self._pass_back(answer, kept if constant else None)
        except urllib.error.HTTPError as error:
            self.send_response(error.code)
            self.send_header("Content-Length", "0")
            self.end_headers()
        except (OSError, ValueError) as error:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.send_error(502, type(error).__name__)

    def _pass_back(self, answer: http.client.HTTPResponse, kept: Path | None) -> None:
        self.send_response(answer.status)
        for name in _PASSED_BACK:
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        if not answer.headers["Content-Length"]:
            self.send_header("Connection", "close")
        self.end_headers()
        if kept is None:
            shutil.copyfileobj(answer, self.wfile)
            return
        fresh = kept.with_suffix(f".{os.getpid()}.{id(self)}")
        with fresh.open("wb") as copy:
            while piece := answer.read(1 << 16):
                copy.write(piece)
                self.wfile.write(piece)
        if str(fresh.stat().st_size) == answer.headers["Content-Length"]:
            fresh.replace(kept)
        else:
            fresh.unlink()

    def log_message(self, format: str, *args: object) -> None:
        print(f"{self.address_string()} {format % args}", flush=True)


if __name__ == "__main__":
    Relay.cache, Relay.sites = Path(sys.argv[3]), tuple(sys.argv[4:])
    http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Relay).serve_forever()
