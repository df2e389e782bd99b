# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of etcd by its second API: read as one tree, and written one by one, each on condition that nobody wrote it since."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import quote, urlencode, urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, Forbidden, Invalid, Refused, Unauthorized, Unavailable

# Bytes. A platform with a thousand applications stays far below.
_LARGEST = 1 << 26
_KEYS = "/v2/keys"
# etcd's own numbers for what went wrong.
_NO_KEY, _CHANGED, _FOLDER, _NO_FOLDER, _EXISTS, _READ_ONLY, _NO_RIGHT = 100, 101, 102, 104, 105, 107, 110
_NO_QUORUM = (300, 301)
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Node(NamedTuple):
    """One key: its value, the index of its last write, and whether it goes by itself after a while."""

    value: str
    written: int
    fleeting: bool


class Tree(NamedTuple):
    """All keys below one, and the folders among them. ``counter`` grows with each write that etcd takes."""

    nodes: Mapping[str, Node]
    folders: FrozenSet[str]
    counter: int

    def value(self, key: str) -> Optional[str]:
        node = self.nodes.get(key)
        return node.value if node else None

    def children(self, folder: str) -> List[str]:
        """Return the names right below a folder."""
        start = f"{folder}/"
        return sorted({key[len(start) :].partition("/")[0] for key in (*self.nodes, *self.folders) if key.startswith(start)})


@dataclass(frozen=True)
class Entrance:
    """How one comes in: files of the authority and of a client's certificate, and an account. ``timeout`` is in seconds; no secret is in its repr."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 10.0

    def anonymous(self) -> Entrance:
        """Return the entrance of somebody who has no certificate and no account."""
        return Entrance(self.ca_file, timeout=self.timeout)


class _Answer(NamedTuple):
    status: int
    counter: int
    document: Mapping[str, Any]

    @property
    def code(self) -> int:
        return int(self.document.get("errorCode", 0)) if str(self.document.get("errorCode", 0)).isdigit() else 0


class Keys:
    """The keys of one cluster, asked at the first of its members that answers."""

    def __init__(self, endpoints: Sequence[str], entrance: Entrance) -> None:
        self._endpoints = list(endpoints)
        self._entrance = entrance
        self._context: Optional[ssl.SSLContext] = None
        self.endpoint = self._endpoints[0]

    @property
    def encrypted(self) -> bool:
        return self.endpoint.startswith("https:")

    def read(self, folder: str) -> Optional[Tree]:
        """Return all keys below a folder as a quorum knows them, or None when there is no such folder.

        Raises Unavailable, Unauthorized, Forbidden and Invalid.
        """
        answer = self._ask_any("GET", _path(folder), {"recursive": "true", "quorum": "true"})
        if answer.code == _NO_KEY:
            return None
        self._expect(answer, folder, 200)
        return _tree(answer)

    def put(self, key: str, value: str, index: Optional[int]) -> None:
        """Write a key that was last written at this index; without one, a key that is not there.

        Raises Conflict when that is not so any more, Refused when the key is a folder, and Unavailable when it was not written.
        """
        condition = {"prevExist": "false"} if index is None else {"prevIndex": str(index)}
        self._write("PUT", key, {"value": value}, condition, value, index)

    def remove(self, key: str, index: int) -> None:
        """Take a key away that was last written at this index. Raises as ``put`` does."""
        self._write("DELETE", key, {}, {"prevIndex": str(index)}, None, index)

    def _write(self, method: str, key: str, body: Mapping[str, str], condition: Mapping[str, str], wanted: Optional[str], index: Optional[int]) -> None:
        try:
            answer = self._ask(self.endpoint, method, _path(key), condition, body)
            if answer.code not in _NO_QUORUM:
                self._expect_written(answer, key)
                return
        except Unavailable:
            pass
        # It may have been written all the same: only etcd knows.
        found = self._now(key)
        if (found.value if found else None) == wanted and (wanted is None or (found is not None and found.written != index)):
            return
        if (found.written if found else None) != index:
            raise Conflict(f"{key} is no longer as it was observed.", "Somebody else changes it; run again.", key)
        raise Unavailable(f"etcd at {self.endpoint} did not write {key}.", "Look at its members, and run again.", key)

    def _now(self, key: str) -> Optional[Node]:
        try:
            answer = self._ask_any("GET", _path(key), {"quorum": "true"})
        except Unavailable as failure:
            hint = "Bring etcd back, and run again: it looks at what is there first."
            raise Unavailable(f"Whether {key} was written is not known: {failure.message}", hint, key) from None
        if answer.code == _NO_KEY:
            return None
        self._expect(answer, key, 200)
        return _tree(answer).nodes.get(key)

    def _expect_written(self, answer: _Answer, key: str) -> None:
        if answer.code in (_CHANGED, _EXISTS, _NO_KEY):
            raise Conflict(f"{key} is no longer as it was observed.", "Somebody else changes it; run again.", key)
        self._expect(answer, key, 200, 201)

    def lets_anybody_in(self, folder: str) -> Optional[bool]:
        """Tell whether somebody without certificate and account may read a folder; None when that cannot be said."""
        stranger = Keys([self.endpoint], self._entrance.anonymous())
        try:
            answer = stranger._ask(self.endpoint, "GET", _path(folder), {})
        except Unauthorized:
            return False
        except Failure:
            return None
        return answer.status == 200 if answer.status in (200, 401, 403) else None

    def release(self) -> str:
        """Return what etcd calls itself, or nothing. Its first releases answer with a text."""
        try:
            told = self._ask(self.endpoint, "GET", "/version", {}).document
        except Failure:
            return ""
        return str(told.get("etcdserver") or told.get("releaseVersion") or "")

    def members(self) -> Optional[int]:
        """Return how many members the cluster has, or None when it does not tell us."""
        try:
            told = self._ask(self.endpoint, "GET", "/v2/members", {}).document.get("members")
        except Failure:
            return None
        return len(told) if isinstance(told, list) else None

    # Asking

    def _ask_any(self, method: str, path: str, query: Mapping[str, str]) -> _Answer:
        """Ask the members one after the other for what may be asked twice, and stay with the one that answers."""
        failure: Optional[Failure] = None
        for endpoint in [self.endpoint, *(other for other in self._endpoints if other != self.endpoint)]:
            try:
                answer = self._ask(endpoint, method, path, query)
            except (Unavailable, Unauthorized) as error:
                failure = failure or error
                continue
            if answer.code in _NO_QUORUM:
                hint = "Most of its members have to be up: look at each of them."
                failure = Unavailable(f"etcd at {endpoint} has no quorum, or is choosing a leader.", hint, endpoint, answer.status)
                continue
            self.endpoint = endpoint
            return answer
        raise failure or Unavailable("There is no member of etcd to ask.", "Name one in endpoints.", "endpoints")

    def _ask(self, endpoint: str, method: str, path: str, query: Mapping[str, str], body: Optional[Mapping[str, str]] = None) -> _Answer:
        parts = urlsplit(endpoint)
        host, entrance = str(parts.hostname), self._entrance
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self._context = self._context or self._tls()
            connection = http.client.HTTPSConnection(host, parts.port, timeout=entrance.timeout, context=self._context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=entrance.timeout)
        headers = dict(_FORM) if body else {}
        if entrance.user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{entrance.user}:{entrance.password}".encode()).decode()
        try:
            connection.request(method, f"{path}?{urlencode(query)}" if query else path, urlencode(body) if body else None, headers)
            answer = connection.getresponse()
            content = answer.read(_LARGEST)
            return _Answer(answer.status, _number(answer.getheader("X-Etcd-Index")), _object(content))
        except ssl.SSLError as error:
            raise _untrusted(endpoint, error) from None
        except (http.client.HTTPException, OSError) as error:
            if parts.scheme == "https" and isinstance(error, ConnectionError):
                self._shake_hands(endpoint)
            said = getattr(error, "strerror", None) or type(error).__name__
            raise Unavailable(f"etcd at {endpoint} does not answer: {said}.", "Does it run, and can it be reached from here?", endpoint) from None
        finally:
            connection.close()

    def _shake_hands(self, endpoint: str) -> None:
        """Raise Unauthorized when a member breaks off because of certificates: with TLS 1.3 it may do so before one can read why, with 1.2 it cannot."""
        parts, context = urlsplit(endpoint), self._tls()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with contextlib.suppress(ConnectionError, socket.timeout):
            try:
                with socket.create_connection((str(parts.hostname), parts.port or 443), timeout=self._entrance.timeout) as plain:
                    context.wrap_socket(plain, server_hostname=str(parts.hostname)).close()
            except ssl.SSLError as error:
                raise _untrusted(endpoint, error) from None

    def _tls(self) -> ssl.SSLContext:
        entrance, option = self._entrance, "ca_file"
        try:
            context = ssl.create_default_context(cafile=entrance.ca_file or None)
            if entrance.certificate_file:
                option = "client_certificate_file"
                context.load_cert_chain(entrance.certificate_file, entrance.key_file)
        except (OSError, ssl.SSLError) as error:
            missing = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
            said = error.strerror if missing else "it holds no certificate in PEM, or one that does not fit its private part"
            raise Invalid(f"{option} cannot be used: {said}.", "Name a file in PEM.", option) from None
        return context

    def _expect(self, answer: _Answer, key: str, *good: int) -> None:
        """Raise what an answer of another status means. Its own words are never passed on: they can hold values."""
        where, status = self.endpoint, answer.status
        if status in good and "node" in answer.document:
            return
        if answer.code == _NO_RIGHT or status == 401:
            who = self._entrance.user or "nobody"
            hint = "Give etcd_user and etcd_password_file of an account whose role has the rights on what is read and written."
            raise Unauthorized(f"etcd at {where} does not take {who} for {key}.", hint, "etcd_user", status)
        if answer.code == _FOLDER:
            raise Refused(f"{key} is a folder in etcd, and cannot hold a value.", f"Look at what is in it: etcdctl ls --recursive {key}", key, status)
        if answer.code == _NO_FOLDER:
            raise Refused(
                f"Something above {key} is a value in etcd, and no folder.", "Look at it with etcdctl, and take it away if nobody needs it.", key, status
            )
        if answer.code == _READ_ONLY or status == 403:
            raise Forbidden(f"etcd at {where} does not let us write {key}.", "Look at the rights of the account.", key, status)
        if status in (307, 308):
            raise Refused(f"etcd at {where} sends us to another member.", "It is etcd 0.4: name the URL of its leader first in endpoints.", "endpoints", status)
        if status == 404 and not answer.code:
            hint = "etcd 3.4 and 3.5 need --enable-v2, and 3.6 has no such API any more. Is it the etcd of this platform?"
            raise Invalid(f"{where} does not speak the second API of etcd.", hint, "endpoints")
        if status >= 500:
            raise Unavailable(f"etcd at {where} answers {status} for {key}.", "Look at its members and their logs.", where, status)
        raise Invalid(
            f"{where} answers {status} for {key}, and not as etcd does.", "Is it the address of a member of etcd, with its port for clients?", "endpoints"
        )


def _untrusted(endpoint: str, error: ssl.SSLError) -> Unauthorized:
    said = getattr(error, "verify_message", "") or error.reason or "no TLS"
    hint = "Look at ca_file, at client_certificate_file, and at the names in the member's certificate."
    return Unauthorized(f"etcd at {endpoint} is not trusted, or does not trust us: {said}.", hint, endpoint)


def _path(key: str) -> str:
    return _KEYS + quote(key if key != "/" else "")


def _number(text: Optional[str]) -> int:
    return int(text) if text and text.isdigit() else 0


def _object(content: bytes) -> Dict[str, Any]:
    try:
        told = json.loads(content)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _tree(answer: _Answer) -> Tree:
    nodes: Dict[str, Node] = {}
    folders: List[str] = []
    waiting: List[Tuple[Mapping[str, Any], bool]] = [(answer.document["node"], False)]
    while waiting:
        entry, fleeting = waiting.pop()
        # What is in a folder that goes, goes with it.
        fleeting = fleeting or "ttl" in entry
        if entry.get("dir"):
            folders.append(str(entry.get("key", "")))
            waiting += [(inner, fleeting) for inner in entry.get("nodes") or ()]
        else:
            nodes[str(entry["key"])] = Node(str(entry.get("value", "")), int(entry["modifiedIndex"]), fleeting)
    return Tree(nodes, frozenset(folder for folder in folders if folder), answer.counter)


def check_endpoint(url: str) -> str:
    """Return the URL of a member without the slash at its end. Raises Invalid."""
    hint = "Give a scheme, a host and a port, like http://10.21.1.10:2379"
    if "@" in url:
        raise Invalid("endpoints has a user or a password in a URL, which is seen in results.", "Give them in etcd_user and etcd_password_file.", "endpoints")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/") and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise Invalid(f"endpoints has {url!r}, which is no URL of a member.", hint, "endpoints")
    return url.rstrip("/")
