# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image registry, by its HTTP API: who we are there, manifests, and blobs as streams. Bodies of errors are never passed on."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import ssl
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union
from urllib.parse import quote, urlencode, urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Invalid, NotFound, NotProven, Unauthorized, Unavailable

DOCKER_HUB = "docker.io"
# Where the hub's API is, which its images do not say.
_HUB_API = "registry-1.docker.io"
_REDIRECTS = 5
_REDIRECTED = (301, 302, 303, 307, 308)
_LARGEST_TEXT = 8 * 1024 * 1024
_CHUNK = 64 * 1024
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_SERVER = re.compile(r"(?=[^/]*[.:]|localhost(?:$|:))[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")


class Reply(NamedTuple):
    """An answer: its status, its headers by lower-case names, and its body as far as it was asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Exchange(NamedTuple):
    """A request that was answered: the body is still to be read, and the connection to be closed."""

    connection: http.client.HTTPConnection
    answer: http.client.HTTPResponse

    def reply(self, body: bytes = b"") -> Reply:
        return Reply(self.answer.status, {name.lower(): value for name, value in self.answer.getheaders()}, body)

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@dataclass(frozen=True)
class Account:
    """Who asks. The password is in no text of it; without a name nobody in particular does."""

    name: str = ""
    password: str = field(default="", repr=False)


class Registry:
    """A registry, and the account that asks it.

    ``server`` is the host, with its port where it has one, as names of images begin with it. ``address`` is where it really is reached, when that is
    another place (a forwarded port). ``ca_file`` holds the certificates to verify it by; without it those of the system do.
    """

    def __init__(self, server: str, account: Account, scheme: str = "https", ca_file: str = "", address: str = "", timeout: float = 60) -> None:
        check_server(server)
        self.server = server
        self.account = account
        self.scheme = scheme
        self._timeout = timeout
        self._address = address or (_HUB_API if server == DOCKER_HUB else server)
        self._context = _context(ca_file) if scheme == "https" else None
        self._tokens: Dict[str, str] = {}
        self._basic = ""

    def __repr__(self) -> str:
        return f"Registry({self.scheme}://{self.server})"

    @property
    def where(self) -> str:
        """Its address, for messages."""
        return f"{self.scheme}://{self.server}"

    # Who we are

    def log_in(self) -> None:
        """Ask whether it takes the account. Raises Unauthorized, Unavailable, or Invalid when it is no registry."""
        reply = self.ask("GET", "/v2/")
        if reply.status == 404:
            raise Invalid(f"{self.where} answers, but it is no image registry: /v2/ is not there.", "Is the name right, and the port?", "server")
        self.expect(reply, "its log-in", 200)

    def try_push(self, repository: str) -> None:
        """Begin an upload and give it up: nothing is left of it. Raises Forbidden or Unauthorized when images may not be pushed there."""
        reply = self.ask("POST", f"/v2/{_quoted(repository)}/blobs/uploads/", scope=_scope(repository, "pull,push"))
        self.expect(reply, f"an upload to {repository}", 202)
        # A registry that cannot give up an upload forgets it by itself.
        self.ask("DELETE", self._path_of(reply.headers.get("location", "")), scope=_scope(repository, "pull,push"))

    # Manifests and blobs

    def manifest(self, repository: str, reference: str, accept: str, method: str = "GET") -> Reply:
        """Return a manifest by tag or digest; status 404 when it is not there. Raises a Failure for every other answer than 200."""
        path = f"/v2/{_quoted(repository)}/manifests/{quote(reference, safe=':')}"
        reply = self.ask(method, path, headers={"Accept": accept}, scope=_scope(repository, "pull"))
        return reply if reply.status == 404 else self.expect(reply, f"the manifest of {repository}:{reference}", 200)

    def put_manifest(self, repository: str, reference: str, kind: str, body: bytes) -> None:
        """Store a manifest. Raises a Failure that says why not."""
        path = f"/v2/{_quoted(repository)}/manifests/{quote(reference, safe=':')}"
        reply = self.ask("PUT", path, body, {"Content-Type": kind}, _scope(repository, "pull,push"))
        self.expect(reply, f"the manifest of {repository}:{reference}", 201)

    def blob_size(self, repository: str, digest: str) -> Optional[int]:
        """Return the number of bytes of a blob, None when it is not there."""
        reply = self.ask("HEAD", f"/v2/{_quoted(repository)}/blobs/{digest}", scope=_scope(repository, "pull"))
        if reply.status == 404:
            return None
        length = self.expect(reply, f"the blob {digest}", 200).headers.get("content-length", "")
        return int(length) if length.isdigit() else None

    @contextlib.contextmanager
    def blob(self, repository: str, digest: str) -> Iterator[Iterator[bytes]]:
        """Yield the bytes of a blob, piece by piece. Raises NotFound, or a Failure that says why not; a stream that breaks off raises Unavailable."""
        exchange = self._open("GET", f"/v2/{_quoted(repository)}/blobs/{digest}", None, {}, _scope(repository, "pull"))
        try:
            self.expect(exchange.reply(), f"the blob {digest}", 200)
            yield self._pieces(exchange.answer, digest)
        finally:
            exchange.close()

    def put_blob(self, repository: str, digest: str, size: int, pieces: Iterator[bytes]) -> None:
        """Store a blob of ``size`` bytes out of a stream. The registry compares its digest. Raises a Failure that says why not."""
        scope = _scope(repository, "pull,push")
        begun = self.expect(self.ask("POST", f"/v2/{_quoted(repository)}/blobs/uploads/", scope=scope), f"an upload to {repository}", 202)
        path = self._path_of(begun.headers.get("location", ""))
        path += ("&" if "?" in path else "?") + urlencode({"digest": digest})
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        with contextlib.closing(self._send(self.scheme, self._address, "PUT", path, {**headers, **self._authorization(scope)}, pieces)) as exchange:
            self.expect(exchange.reply(), f"the blob {digest}", 201)

    # Requests

    def ask(self, method: str, path: str, body: Optional[bytes] = None, headers: Optional[Mapping[str, str]] = None, scope: str = "") -> Reply:
        """Send one request and return the answer, whatever its status. Raises Unavailable when there is none."""
        with contextlib.closing(self._open(method, path, body, headers or {}, scope)) as exchange:
            text = self._read(exchange)
            if len(text) > _LARGEST_TEXT:
                raise NotProven(
                    f"{self.where} answers {method} {path.partition('?')[0]} with more than {_LARGEST_TEXT} bytes.", "That is no registry's answer."
                )
            return exchange.reply(text)

    def expect(self, reply: Reply, what: str, status: int) -> Reply:
        """Return the reply when it has that status; raise what another one means."""
        if reply.status == status:
            return reply
        message = f"{self.where} answers {reply.status} for {what}."
        if reply.status == 401:
            raise Unauthorized(message, f"Is the account {self.account.name or '(none)'} right, and its password?", self.server, 401)
        if reply.status in (403, 405):
            raise Forbidden(message, f"The account {self.account.name or '(none)'} needs the right to pull and push there.", self.server, reply.status)
        if reply.status == 404:
            raise NotFound(message, "Does the organization exist there, and may the account see it?", self.server, 404)
        if reply.status in (408, 429) or reply.status >= 500:
            raise Unavailable(message, "Try again later, or look at the registry's log.", self.server, reply.status)
        raise Failure(message, "Look at the registry's log.", self.server, reply.status)

    def _open(self, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str], scope: str) -> _Exchange:
        """Send a request, after logging in and following redirects, as far as it takes that."""
        exchange = self._send(self.scheme, self._address, method, path, {**headers, **self._authorization(scope)}, body)
        if exchange.answer.status == 401:
            try:
                again = self._take_challenge(exchange.answer.getheader("WWW-Authenticate") or "", scope)
            except BaseException:
                exchange.close()
                raise
            if again:
                exchange.close()
                exchange = self._send(self.scheme, self._address, method, path, {**headers, **self._authorization(scope)}, body)
        left = _REDIRECTS
        while exchange.answer.status in _REDIRECTED and method in ("GET", "HEAD"):
            location = exchange.answer.getheader("Location") or ""
            exchange.close()
            exchange = self._follow(method, location, headers, left)
            left -= 1
        return exchange

    def _follow(self, method: str, location: str, headers: Mapping[str, str], left: int) -> _Exchange:
        """Follow a redirect, without our credentials: it leads to the store behind the registry, which has others in the address itself."""
        parts = urlsplit(location)
        scheme, address = parts.scheme or self.scheme, parts.netloc or self._address
        if not left or scheme not in ("http", "https") or (self.scheme == "https" and scheme == "http"):
            raise Unavailable(f"{self.where} redirects a request to where it cannot be followed.", "Turn redirects off in its settings.", self.server)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return self._send(scheme, address, method, path, dict(headers), None)

    def _send(
        self, scheme: str, address: str, method: str, path: str, headers: Mapping[str, str], body: Union[bytes, Iterator[bytes], None] = None
    ) -> _Exchange:
        """Send one request over a connection of its own. Raises Unavailable when no answer comes."""
        if scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(address, timeout=self._timeout, context=self._context or _context(""))
        else:
            connection = http.client.HTTPConnection(address, timeout=self._timeout)
        # http.client sends no length of its own accord when there is no body to a POST.
        lengths = {} if "Content-Length" in headers or method in ("GET", "HEAD") else {"Content-Length": str(len(body) if isinstance(body, bytes) else 0)}
        try:
            connection.request(method, path, body, {"User-Agent": "paas.hardening", **lengths, **headers})
            return _Exchange(connection, connection.getresponse())
        except ssl.SSLCertVerificationError as error:
            connection.close()
            message = f"The certificate of {scheme}://{address} cannot be verified: {error.verify_message}."
            raise Unavailable(message, "Name the file with its authority's certificate in ca_file.", self.server) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = getattr(error, "strerror", None) or type(error).__name__
            hint = "Can it be reached from here, and does it speak this scheme?"
            raise Unavailable(f"{scheme}://{address} does not answer: {reason}.", hint, self.server) from None
        except BaseException:
            # What is sent comes out of a stream, which may end it.
            connection.close()
            raise

    def _read(self, exchange: _Exchange) -> bytes:
        try:
            return exchange.answer.read(_LARGEST_TEXT + 1)
        except (OSError, http.client.HTTPException):
            raise Unavailable(f"{self.where} broke off in the middle of an answer.", "Run again.", self.server) from None

    def _pieces(self, answer: http.client.HTTPResponse, digest: str) -> Iterator[bytes]:
        while True:
            try:
                piece = answer.read(_CHUNK)
            except (OSError, http.client.HTTPException):
                raise Unavailable(f"{self.where} broke off in the middle of the blob {digest}.", "Run again.", self.server) from None
            if not piece:
                return
            yield piece

    def _path_of(self, location: str) -> str:
        """Return the path of an upload. Raises NotProven when it leads to another host, which must not see our credentials."""
        parts = urlsplit(location)
        known = [address.partition(":")[0] for address in (self._address, self.server)]
        if not parts.path.startswith("/") or (parts.netloc and parts.netloc.partition(":")[0] not in known):
            raise NotProven(f"{self.where} wants an upload to go elsewhere.", "Look at the registry's setting for its own address.", self.server)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _authorization(self, scope: str) -> Dict[str, str]:
        if scope in self._tokens:
            return {"Authorization": f"Bearer {self._tokens[scope]}"}
        return {"Authorization": self._basic} if self._basic else {}

    def _take_challenge(self, challenge: str, scope: str) -> bool:
        """Get ready to answer what the registry asks for; False when that is of no use."""
        kind, _space, rest = challenge.partition(" ")
        if kind.lower() == "basic" and self.account.name and not self._basic:
            self._basic = _basic(self.account)
            return True
        if kind.lower() != "bearer":
            return False
        parameters = dict(_PARAMETER.findall(rest))
        realm = urlsplit(parameters.get("realm", ""))
        if realm.scheme not in ("http", "https") or (self.scheme == "https" and realm.scheme == "http"):
            return False
        query: List[Tuple[str, str]] = [("service", parameters.get("service", ""))]
        wanted = scope or parameters.get("scope", "")
        query += [("scope", wanted)] if wanted else []
        headers = {"Authorization": _basic(self.account)} if self.account.name else {}
        path = f"{realm.path or '/'}?{f'{realm.query}&' if realm.query else ''}{urlencode(query)}"
        with contextlib.closing(self._send(realm.scheme, realm.netloc, "GET", path, headers)) as exchange:
            if exchange.answer.status != 200:
                return False
            document = _json(self._read(exchange))
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token:
            return False
        self._tokens[scope] = token
        return True


def check_server(server: str) -> None:
    """Raise Invalid when this is no host as names of images begin with it."""
    if not _SERVER.fullmatch(server):
        hint = "Give its host, with the port where it is not the usual one: registry.example.com:5000."
        raise Invalid(f"server is {server!r}, which is no registry's name.", hint, "server")


def check_path(path: str, option: str) -> None:
    """Raise Invalid when this cannot stand in a name of an image."""
    if not _PATH.fullmatch(path):
        raise Invalid(f"{option} is {path!r}, which cannot stand in the name of an image.", "Use lower-case letters, digits, dots, dashes and slashes.", option)


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else "it holds no certificate"
        raise Invalid(f"ca_file {ca_file} cannot be used: {reason}.", "Name a file with certificates in PEM.", "ca_file") from None


def _basic(account: Account) -> str:
    return "Basic " + base64.b64encode(f"{account.name}:{account.password}".encode()).decode()


def _scope(repository: str, actions: str) -> str:
    return f"repository:{repository}:{actions}"


def _quoted(repository: str) -> str:
    return quote(repository, safe="/")


def _json(text: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
