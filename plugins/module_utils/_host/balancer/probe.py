# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comes to a listener as its clients do, and tells whether a backend answered, whatever stands between."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.wishes import ANY, BANNER, HTTP, TLS, WEB
from ansible_collections.paas.hardening.plugins.module_utils._host.old_tls import TLS_1_1, takes

# How it went.
UNREACHED = "nobody accepts connections"
SILENT = "accepted, but no backend answers"
ANSWERED = "a backend answers"
OLD_TLS_REFUSED, OLD_TLS_ACCEPTED = "refuses TLS 1.1", "accepts TLS 1.1"
# Seconds for which a connection has to stay where nothing more is known of the backend; nginx lets go of it when it finds none.
_STAYS = 1.0
# What nginx itself says when no backend answers.
_OF_NGINX = ("502", "504")


class Door(NamedTuple):
    """A listener as its clients see it. ``answers`` is what its backends answer with; ``patience`` is in seconds."""

    name: str
    address: str
    port: int
    mode: str
    answers: str
    encrypted: bool
    redirect: bool
    server_name: str
    patience: float


class Answer(NamedTuple):
    """How it went, and what was said."""

    kind: str
    detail: str = ""
    strict: bool = False

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


def knock(door: Door) -> Answer:
    """Come to a listener and wait for its backend. ``strict`` of the answer tells whether the browser was told to come by TLS only."""
    try:
        connection = socket.create_connection((door.address, door.port), timeout=door.patience)
    except OSError as error:
        return Answer(UNREACHED, error.strerror or type(error).__name__)
    with connection:
        connection.settimeout(door.patience)
        try:
            if door.mode == HTTP:
                return _speak_http(connection, door)
            return _passed_on(connection, door)
        except ssl.SSLEOFError:
            return Answer(SILENT, "closed")
        except ssl.SSLError as error:
            # What nginx only passes on is the backend's word.
            return Answer(ANSWERED if door.mode != HTTP else SILENT, error.reason or "TLS")
        except (OSError, EOFError) as error:
            return Answer(SILENT, str(error) or type(error).__name__)


def _passed_on(connection: socket.socket, door: Door) -> Answer:
    if door.answers == BANNER:
        return _answered(connection.recv(64))
    if door.answers == TLS:
        with _trusting().wrap_socket(connection, server_hostname=door.server_name or None) as tunnel:
            return Answer(ANSWERED, str(tunnel.version()))
    if door.answers == WEB:
        status, _strict, _location = _ask(connection, door)
        return Answer(ANSWERED, f"HTTP {status}")
    connection.settimeout(_STAYS)
    try:
        return _answered(connection.recv(64)) if door.answers == ANY else Answer(SILENT)
    except socket.timeout:
        return Answer(ANSWERED, "the connection stays")


def _answered(first: bytes) -> Answer:
    return Answer(ANSWERED, "".join(chr(one) for one in first if 32 <= one < 127)[:40]) if first else Answer(SILENT, "closed")


def _trusting() -> ssl.SSLContext:
    # Whether the certificate is to be trusted is judged where it lies; here it is about who answers.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _speak_http(connection: socket.socket, door: Door) -> Answer:
    if not door.encrypted:
        status, strict, location = _ask(connection, door)
        if door.redirect:
            return Answer(ANSWERED, f"HTTP {status}") if status == "301" and location.startswith("https://") else Answer(SILENT, f"HTTP {status}")
        return Answer(SILENT if status in _OF_NGINX else ANSWERED, f"HTTP {status}", strict)
    with _trusting().wrap_socket(connection, server_hostname=door.server_name or None) as tunnel:
        status, strict, _location = _ask(tunnel, door)
        return Answer(SILENT if status in _OF_NGINX else ANSWERED, f"{tunnel.version()}, HTTP {status}", strict)


def _ask(connection: socket.socket, door: Door) -> Tuple[str, bool, str]:
    """Send one request; return the status, whether there is a header of strict transport security, and where it sends us."""
    host = door.server_name or door.address
    connection.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: paas.hardening\r\n\r\n".encode())
    text = b""
    while b"\r\n\r\n" not in text and len(text) < 65536:
        piece = connection.recv(4096)
        if not piece:
            break
        text += piece
    if not text.startswith(b"HTTP/"):
        raise EOFError("closed without an answer" if not text else "no answer in HTTP")
    lines = text.decode(errors="replace").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines[1:])}
    return lines[0].split(" ")[1] if " " in lines[0] else "", "max-age=" in fields.get("strict-transport-security", ""), fields.get("location", "")


def old_tls(door: Door) -> str:
    """Offer TLS 1.1 and nothing newer: OLD_TLS_REFUSED, OLD_TLS_ACCEPTED or UNREACHED."""
    taken = takes(door.address, door.port, TLS_1_1, door.server_name, door.patience)
    return UNREACHED if taken is None else OLD_TLS_ACCEPTED if taken else OLD_TLS_REFUSED
