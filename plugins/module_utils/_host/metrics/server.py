# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that keeps metrics, asked over HTTP: whether it takes us, and whether anything arrives there. Bodies of errors are never passed on."""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, NamedTuple, Optional
from urllib.parse import urlencode, urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Invalid, NotFound, Unauthorized, Unavailable

_LARGEST_ANSWER = 1 << 20
# What is seen of the last minutes counts as arriving.
RECENT_MINUTES = 5
# Marks that mean something in the TOML, the JSON or the shell into which the platforms put an address.
_PLAIN_URL = re.compile(r"[A-Za-z0-9:/.\[\]_~%-]+")
# An empty list of series: the one byte says in Snappy that nothing follows.
_NO_SERIES = b"\0"
_REMOTE_WRITE = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}


class Answer(NamedTuple):
    """Status, headers by lower-case names, and the JSON object that it holds (empty when it is none)."""

    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Server:
    """Where a store of metrics is and who asks. ``url`` may have a path, ``ca_file`` holds the certificates to verify it by; no secret is in its repr."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    timeout: float = 30.0

    def ask(self, method: str, path: str, query: Optional[Mapping[str, str]] = None, body: bytes = b"", headers: Optional[Mapping[str, str]] = None) -> Answer:
        """Send one request below the URL. Raises Unavailable when no answer comes, Invalid for a file of certificates that is none."""
        parts = urlsplit(self.url)
        host, port = str(parts.hostname), parts.port
        if parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=self.timeout, context=self._context())
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
        entrance = {"Authorization": "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()} if self.user else {}
        target = parts.path.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        try:
            connection.request(method, target or "/", body or None, {"User-Agent": "paas.hardening", **entrance, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read(_LARGEST_ANSWER)
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, _object(text))
        except ssl.SSLCertVerificationError as error:
            message = f"The certificate of {self.url} cannot be verified: {error.verify_message}."
            raise Unavailable(message, "Name the file with its authority's certificate in ca_file.", self.url) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise Unavailable(f"{self.url} does not answer: {reason}.", "Can it be reached from here, and does it speak this scheme?", self.url) from None
        finally:
            connection.close()

    def expect(self, answer: Answer, what: str, *good: int) -> Answer:
        """Return an answer of one of these statuses; raise what another one means."""
        if answer.status in good:
            return answer
        message = f"{self.url} answers {answer.status} for {what}."
        who = self.user or "(nobody)"
        if answer.status == 401:
            raise Unauthorized(message, f"Is the account {who} right, and its password?", self.url, 401)
        if answer.status == 403:
            raise Forbidden(message, f"The account {who} needs the right to read and write there.", self.url, 403)
        if answer.status in (400, 404, 405):
            raise Invalid(message, "Is it the address of such a store, with its path?", "url")
        if answer.status in (408, 429) or answer.status >= 500:
            raise Unavailable(message, "Try again later, or look at its log.", self.url, answer.status)
        raise Failure(message, "Look at its log.", self.url, answer.status)

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else "it holds no certificate"
            raise Invalid(f"ca_file {self.ca_file} cannot be used: {reason}.", "Name a file with certificates in PEM.", "ca_file") from None


def check_url(option: str, url: str) -> str:
    """Return a URL that every configuration of a platform can carry, without the slash at its end. Raises Invalid that names the option."""
    hint = "Give a scheme, a host and a port, like https://metrics.example.com:8086"
    if "@" in url:
        raise Invalid(f"{option} has a user or a password in it, which everybody could read in the pods' settings.", "Leave them out of the address.", option)
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not _PLAIN_URL.fullmatch(url):
        raise Invalid(f"{option} {url!r} cannot be the address of a store.", hint, option)
    return url.rstrip("/")


class InfluxDB:
    """A server that speaks InfluxDB's first protocol, and the database in it."""

    def __init__(self, server: Server, database: str) -> None:
        self.server = server
        self.database = database

    def check(self) -> None:
        """See that it is one, that it takes the user, and that the user may read and write the database; nothing is written.

        Raises Unauthorized, Forbidden, NotFound, Invalid or Unavailable.
        """
        ping = self.server.expect(self.server.ask("GET", "/ping"), "a ping", 200, 204)
        if "x-influxdb-version" not in ping.headers:
            raise Invalid(f"{self.server.url} answers, but it is no InfluxDB.", "Is the address right, and the port?", "url")
        known = self._rows("SHOW DATABASES")
        if known is not None and [self.database] not in known:
            raise NotFound(
                f"{self.server.url} has no database {self.database} that the account {self.server.user or '(nobody)'} may see.",
                f"Make it there: CREATE DATABASE {self.database}, and grant the account everything on it.",
                "database",
            )
        # Who may write is asked before what is written; nothing is.
        written = self.server.ask("POST", "/write", {"db": self.database})
        if written.status == 404:
            raise NotFound(f"{self.server.url} has no database {self.database}.", f"Make it there: CREATE DATABASE {self.database}.", "database")
        if written.status != 400:
            self.server.expect(written, f"a write to {self.database}", 200, 204)

    def receives(self) -> bool:
        """Tell whether anything was written in the last minutes."""
        return bool(self._rows(f"SELECT * FROM /.*/ WHERE time > now() - {RECENT_MINUTES}m LIMIT 1"))

    def _rows(self, statement: str) -> Any:
        answer = self.server.expect(self.server.ask("GET", "/query", {"db": self.database, "q": statement}), f"a query of {self.database}", 200)
        results = answer.document.get("results") or [{}]
        if not isinstance(results[0], Mapping) or "error" in results[0]:
            raise Forbidden(f"{self.server.url} refuses a query of {self.database}.", "The account needs the right to read and write there.", "database")
        series = results[0].get("series") or []
        return [row for entry in series for row in entry.get("values") or ()]


class Prometheus:
    """A server that is asked as Prometheus is, and the place that takes what an agent sends."""

    def __init__(self, reading: Server, writing: Optional[Server]) -> None:
        self.reading = reading
        self.writing = writing

    def check(self) -> None:
        """See that both take us; nothing is written. Raises Unauthorized, Forbidden, Invalid or Unavailable."""
        answer = self._query("1")
        if answer.document.get("status") != "success":
            raise Invalid(f"{self.reading.url} answers, but not as Prometheus does.", "Give the address to which /api/v1/query is added.", "url")
        if self.writing:
            sent = self.writing.ask("POST", "", None, _NO_SERIES, _REMOTE_WRITE)
            if sent.status in (400, 404, 405):
                raise Invalid(f"{self.writing.url} answers {sent.status} to what an agent sends.", "Give the whole address, with its path.", "write_url")
            self.writing.expect(sent, "an empty list of series", 200, 202, 204)

    def receives(self) -> bool:
        """Tell whether anything was scraped in the last minutes, by the series that every agent makes of it."""
        data = self._query(f"count(last_over_time(up[{RECENT_MINUTES}m]))").document.get("data") or {}
        return bool(data.get("result"))

    def _query(self, expression: str) -> Answer:
        return self.reading.expect(self.reading.ask("GET", "/api/v1/query", {"query": expression}), "a query", 200)


def _object(text: bytes) -> Dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
