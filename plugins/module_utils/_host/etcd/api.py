# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One member of etcd, asked in JSON over TLS, with a certificate of one's own. Needs no program of etcd."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Unauthorized, Unavailable

# Bytes. Nothing that is asked for has more.
_LARGEST = 1 << 24
# How etcd says that nobody has to log in, that a log-in failed, and that a learner does not answer that.
_NO_LOGIN = "authentication is not enabled"
_BAD_LOGIN = "authentication failed"
_LEARNER = "not supported for learner"


class Identity(NamedTuple):
    """Who asks: files of a certificate, its private part, and the authorities that members are verified with."""

    certificate: str
    key: str
    trust: str


class Said(Failure):
    """etcd answered, and said no. ``code`` is its own number for why."""

    reason = "Refused"

    def __init__(self, message: str, where: str, code: int = 0) -> None:
        super().__init__(f"etcd on {where} says: {message}.", "Look at the members: all of them, and their logs.", where)
        self.said = message
        self.code = code

    @property
    def learner(self) -> bool:
        """The member is a learner, which answers only little."""
        return _LEARNER in self.said


class Client:
    """Requests to one member, each over a connection of its own."""

    def __init__(self, address: str, port: int, identity: Identity, seconds: float = 5.0) -> None:
        self.address = address
        self._port = port
        self._identity = identity
        self._seconds = seconds
        self.token = ""

    def ask(self, path: str, body: Optional[Mapping[str, Any]] = None, seconds: float = 0.0) -> Dict[str, Any]:
        """Send one request and return the answer. Raises Unavailable, Unauthorized, and Said when the member says no."""
        context = self._context()
        headers = {"Content-Type": "application/json", **({"Authorization": self.token} if self.token else {})}
        connection = http.client.HTTPSConnection(self.address, self._port, timeout=seconds or self._seconds, context=context)
        try:
            connection.request("POST", f"/v3/{path}", json.dumps(dict(body or {})), headers)
            answer = connection.getresponse()
            content = answer.read(_LARGEST)
        except ssl.SSLError as error:
            said = getattr(error, "verify_message", "") or error.reason or "no TLS"
            raise Unauthorized(f"etcd on {self.address} is not trusted, or does not trust us: {said}.", "Look at the certificates.", self.address) from None
        except (http.client.HTTPException, OSError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise Unavailable(f"etcd on {self.address} does not answer: {said}.", "Does it run, and is the port open?", self.address) from None
        finally:
            connection.close()
        return self._read(answer.status, content)

    def _read(self, status: int, content: bytes) -> Dict[str, Any]:
        try:
            told = json.loads(content)
        except ValueError:
            told = {}
        if status == 200 and isinstance(told, dict):
            return told
        said = told.get("message") or told.get("error") if isinstance(told, dict) else ""
        code = told.get("code", 0) if isinstance(told, dict) else 0
        raise Said(str(said or f"HTTP {status}")[:300].rstrip("."), self.address, code)

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._identity.trust)
            context.load_cert_chain(self._identity.certificate, self._identity.key)
        except (OSError, ssl.SSLError):
            raise Unavailable("The certificates for etcd are not there, or cannot be read.", "They are made before.", self._identity.certificate) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def log_in(self, password: str) -> Optional[bool]:
        """Log in as root. Return True when that was so, False when nobody has to, None when etcd does not take the password. Raises Unavailable and Said."""
        try:
            answer = self.ask("auth/authenticate", {"name": "root", "password": password})
        except Said as failure:
            if _NO_LOGIN in failure.said:
                return False
            if _BAD_LOGIN in failure.said:
                return None
            raise
        self.token = str(answer.get("token", ""))
        return True


def packed(text: str) -> str:
    """Return bytes as JSON holds them."""
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def plainly(address: str, port: int, path: str, seconds: float) -> Optional[Tuple[int, bytes]]:
    """Ask without TLS and return the HTTP status and what came, or None when that is no HTTP."""
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_LARGEST)
    except (http.client.HTTPException, OSError):
        return None
    finally:
        connection.close()
