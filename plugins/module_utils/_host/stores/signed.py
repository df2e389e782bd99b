# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to an S3 server by Python alone, signed (version 4) or without credentials, over one connection whose certificate is verified in full.

For hosts, where neither rclone nor botocore is; what moves data, or talks to other providers, takes those.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import http.client
import re
import socket
import ssl
import time
from typing import Dict, Mapping, NamedTuple, Optional
from urllib.parse import quote

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Unavailable

_UNRESERVED = "-_.~"
# A server that has just begun says for a while that it is not ready. Attempts, and seconds between two of them.
_ATTEMPTS, _PAUSE = 40, 0.25
_LARGEST = 64 << 20
_CODE = re.compile(rb"<Code>([\w.]{1,80})</Code>|\"Code\":\s*\"([\w.]{1,80})\"")


class Untrusted(Failure):
    """The server's certificate is not good for its name, or of another authority."""

    reason = "Untrusted"


class Door(NamedTuple):
    """A server as a client knows it: the name that its certificate has to have, its address, and the authorities (PEM) that vouch for it.

    ``pin`` is the certificate itself (DER), where it is known: then it needs nobody to vouch for it, and may have expired.
    """

    name: str
    address: str
    port: int
    authority: str
    region: str
    pin: bytes = b""

    @property
    def endpoint(self) -> str:
        return f"https://{self.name}:{self.port}"


class Keys(NamedTuple):
    """As whom one goes there. The secret is never shown."""

    access: str
    secret: str

    def __repr__(self) -> str:
        return f"Keys({self.access!r})"


class Answer(NamedTuple):
    """The HTTP status, the server's word for what went wrong (empty: nothing, or none), and what it sent."""

    status: int
    code: str
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.code!r})"

    def __str__(self) -> str:
        return f"HTTP {self.status} {self.code}".strip()

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


class Client:
    """A connection to one server. ``keys``: without them requests say nothing of who asks. ``seconds``: how long one answer may take."""

    def __init__(self, door: Door, keys: Optional[Keys] = None, seconds: float = 15.0) -> None:
        self._door, self._keys, self._seconds = door, keys, seconds
        self._connection: Optional[http.client.HTTPConnection] = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_about: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, method: str, path: str, query: Optional[Mapping[str, str]] = None, body: bytes = b"", headers: Optional[Mapping[str, str]] = None) -> Answer:
        """Send one request, again while the server says that it cannot answer yet. Raises Unavailable and Untrusted."""
        answer = self.ask_once(method, path, query, body, headers)
        for _attempt in range(_ATTEMPTS):
            if answer.status != 503:
                break
            time.sleep(_PAUSE)
            answer = self.ask_once(method, path, query, body, headers)
        return answer

    def ask_once(
        self, method: str, path: str, query: Optional[Mapping[str, str]] = None, body: bytes = b"", headers: Optional[Mapping[str, str]] = None
    ) -> Answer:
        """Send one request and return what the server says, whatever it is. Raises Unavailable and Untrusted."""
        where = quote(path, safe="/" + _UNRESERVED)
        asked = "&".join(f"{quote(name, safe=_UNRESERVED)}={quote(value, safe=_UNRESERVED)}" for name, value in sorted((query or {}).items()))
        sent = dict(headers or {})
        if body:
            sent["content-md5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        sent["host"] = f"{self._door.name}:{self._door.port}"
        if self._keys is not None:
            sent = signed(self._keys, self._door.region, Request(method, where, asked, body), sent, datetime.datetime.now(datetime.timezone.utc))
        target = f"{where}?{asked}" if asked else where
        fresh = self._connection is None
        try:
            return self._exchange(method, target, body, sent)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            if isinstance(error, ssl.SSLError):
                raise self._untrusted(error) from None
            if fresh:
                raise self._unreachable(error) from None
        # The server has closed a connection that had nothing to do for a while.
        try:
            return self._exchange(method, target, body, sent)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise self._unreachable(error) from None

    def _exchange(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = self._connection or self._connected()
        self._connection = connection
        connection.request(method, target, body or None, dict(headers))
        answer = connection.getresponse()
        content = answer.read(_LARGEST)
        found = _CODE.search(content) if answer.status >= 300 else None
        code = next((group.decode() for group in found.groups() if group), "") if found else ""
        return Answer(answer.status, code, content)

    def _connected(self) -> http.client.HTTPConnection:
        """Connect to the address, and verify that it is the name which answers there."""
        door = self._door
        tunnel = self._tunnel(_anybody()) if door.pin else None
        if tunnel is None or tunnel.getpeercert(binary_form=True) != door.pin:
            if tunnel is not None:
                tunnel.close()
            tunnel = self._tunnel(ssl.create_default_context(cadata=door.authority or None))
        connection = http.client.HTTPConnection(door.name, door.port, timeout=self._seconds)
        connection.sock = tunnel
        return connection

    def _tunnel(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        plain = socket.create_connection((self._door.address, self._door.port), timeout=self._seconds)
        try:
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            return context.wrap_socket(plain, server_hostname=self._door.name)
        except BaseException:
            plain.close()
            raise

    def _untrusted(self, error: ssl.SSLError) -> Untrusted:
        said = getattr(error, "verify_message", "") or error.reason or "no TLS"
        return Untrusted(
            f"{self._door.endpoint} ({self._door.address}) is not trusted: {said}.",
            "Is the certificate good for this name, and of this authority?",
            self._door.name,
        )

    def _unreachable(self, error: Exception) -> Unavailable:
        said = getattr(error, "strerror", None) or type(error).__name__
        return Unavailable(
            f"{self._door.endpoint} ({self._door.address}) does not answer: {said}.", "See that it runs and can be reached from here.", self._door.name
        )


def _anybody() -> ssl.SSLContext:
    """A context that takes every certificate: it is looked at afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shown_certificate(address: str, port: int, seconds: float = 5.0) -> bytes:
    """Return the certificate (DER) that a server shows, without judging it; empty when it shows none."""
    try:
        with socket.create_connection((address, port), timeout=seconds) as plain, _anybody().wrap_socket(plain) as tunnel:
            return tunnel.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def in_plain_text(door: Door, seconds: float) -> Optional[int]:
    """Return the HTTP status that the server answers without TLS; None when it says nothing that is HTTP. Raises Unavailable when it is not reached."""
    connection = http.client.HTTPConnection(door.address, door.port, timeout=seconds)
    try:
        connection.connect()
    except OSError as error:
        raise Unavailable(f"{door.endpoint} ({door.address}) does not answer: {error.strerror or type(error).__name__}.", "Does it run?", door.name) from None
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except (http.client.HTTPException, OSError):
        return None
    finally:
        connection.close()


class Request(NamedTuple):
    """What of a request is signed beside its headers; path and query are encoded already."""

    method: str
    path: str
    query: str
    body: bytes


def signed(keys: Keys, region: str, request: Request, headers: Mapping[str, str], moment: datetime.datetime) -> Dict[str, str]:
    """Return the headers, in small letters, with a signature of version 4 over all of them and the body. Pure."""
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    digest = hashlib.sha256(request.body).hexdigest()
    found = {**headers, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(found))
    lines = "".join(f"{name}:{found[name].strip()}\n" for name in sorted(found))
    canonical = f"{request.method}\n{request.path}\n{request.query}\n{lines}\n{names}\n{digest}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + keys.secret.encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return {**found, "authorization": f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"}
