# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knocks at a PostgreSQL server as a client does, up to the point where a password would be asked for: what it lets in is seen without knowing one."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import NamedTuple, Tuple

_TLS_REQUEST = struct.pack("!ii", 8, 80877103)
_PROTOCOL = 196608
_LARGEST = 1 << 16

# How the server answers.
UNREACHED = "not reached"
UNTRUSTED = "its certificate is not trusted"
PLAIN = "no TLS"
ASKS_SCRAM = "asks for the password by SCRAM"
ASKS_OTHERWISE = "asks for the password in a weaker way"
LET_IN = "lets in without a password"
REFUSED = "refuses"
FAILED = "does not answer as PostgreSQL does"
_WAYS = {0: LET_IN, 10: ASKS_SCRAM}
# invalid_authorization_specification: no line of pg_hba.conf
_NO_LINE = "28000"


class Answer(NamedTuple):
    """How the server answered, and what it said."""

    kind: str
    detail: str
    source: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


class Door(NamedTuple):
    """A server as a client knows it: the name that its certificate has to have, its address, and the authorities (PEM) that vouch for it."""

    name: str
    address: str
    port: int
    authority: str


def knock(door: Door, role: str, database: str, encrypted: bool, seconds: float) -> Answer:
    """Try to log in, with TLS as sslmode=verify-full does it or without any, and stop when the server asks for a password."""
    try:
        connection = socket.create_connection((door.address, door.port), timeout=seconds)
    except OSError as error:
        return Answer(UNREACHED, error.strerror or type(error).__name__, "")
    with connection:
        connection.settimeout(seconds)
        source = str(connection.getsockname()[0])
        try:
            kind, detail = _log_in(connection, door, role, database, encrypted)
        except ssl.SSLError as error:
            return Answer(UNTRUSTED, getattr(error, "verify_message", "") or error.reason or "", source)
        except (OSError, EOFError, struct.error) as error:
            return Answer(FAILED, str(error) or type(error).__name__, source)
    return Answer(kind, detail, source)


def _log_in(connection: socket.socket, door: Door, role: str, database: str, encrypted: bool) -> Tuple[str, str]:
    if not encrypted:
        return _start(connection, role, database)
    connection.sendall(_TLS_REQUEST)
    if connection.recv(1) != b"S":
        return PLAIN, ""
    context = ssl.create_default_context(cadata=door.authority)
    with context.wrap_socket(connection, server_hostname=door.name) as tunnel:
        kind, detail = _start(tunnel, role, database)
        return kind, detail or str(tunnel.version())


def _start(connection: socket.socket, role: str, database: str) -> Tuple[str, str]:
    words = b"".join(word.encode() + b"\0" for word in ("user", role, "database", database, "application_name", "paas.hardening", ""))
    connection.sendall(struct.pack("!ii", len(words) + 8, _PROTOCOL) + words)
    kind = _exactly(connection, 1)
    (size,) = struct.unpack("!i", _exactly(connection, 4))
    if not 4 <= size <= _LARGEST:
        return FAILED, ""
    body = _exactly(connection, size - 4)
    if kind == b"R":
        return _WAYS.get(struct.unpack("!i", body[:4])[0], ASKS_OTHERWISE), ""
    if kind == b"E":
        fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
        code = fields.get(b"C", "")
        return (REFUSED if code == _NO_LINE else FAILED), code if code == _NO_LINE else f"{code} {fields.get(b'M', '')}".strip()
    return FAILED, ""


def _exactly(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = connection.recv(size - len(got))
        if not piece:
            raise EOFError("the connection ended")
        got += piece
    return got
