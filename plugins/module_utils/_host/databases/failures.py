# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns what PostgreSQL and its client programs complain about into the failures of this collection, without passing on data or passwords."""

from __future__ import annotations

import re
from typing import List, Optional, Tuple, Type

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import (
    Conflict,
    Failure,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server

# An error of the server in psql's verbose form: severity, SQLSTATE, message.
_CODED = re.compile(r"(?:ERROR|FATAL|PANIC):  ([0-9A-Z]{5}): (.*)")
_MESSAGE = re.compile(r"(?:ERROR|FATAL|PANIC|error|detail):\s+(.*)")
_LONGEST_MESSAGE = 300

_Kind = Tuple[Type[Failure], str, str]
_LOGIN: _Kind = (Unauthorized, "does not accept the password", "Check user and password; pg_hba.conf decides which way of logging in is asked for.")
_DOOR: _Kind = (Forbidden, "does not let this role in from here", "Allow role, database and address of this machine in pg_hba.conf (hostssl for TLS).")
_NO_DATABASE: _Kind = (NotFound, "does not have this database", "Check the name, or let the database be made.")
_NO_RIGHT: _Kind = (Forbidden, "denies this to the role", "Give the role the right, or come as a role that has it.")
_FULL: _Kind = (Refused, "has no space left", "Make room, then run again.")
_MANY: _Kind = (Unavailable, "has no connection left", "Raise max_connections, or let fewer clients connect.")
_AWAY: _Kind = (Unavailable, "cannot be reached", "Check host, port, firewall and that PostgreSQL runs.")
_BUSY: _Kind = (Unavailable, "starts, stops or recovers", "Wait until it is up, then run again.")
_LOST: _Kind = (Unavailable, "broke the connection off", "Look into its log: it was stopped, it crashed, or the session was ended by an administrator.")
_TLS: _Kind = (Invalid, "and we do not agree on TLS", "Check sslmode and ca_file, and that host is a name in the server's certificate.")
_LATE: _Kind = (TimedOut, "did not answer in time", "Check host, port and firewall, or give more time.")
_LOCKED: _Kind = (TimedOut, "did not do it in time", "Somebody holds a lock, or it needs more time: see pg_stat_activity.")
_THERE: _Kind = (Conflict, "has it already", "Somebody made it meanwhile: run again.")
_READ_ONLY: _Kind = (Refused, "is read-only", "It is a standby, or was closed to writers: go to the primary, or open it again.")
_FIPS: _Kind = (Refused, "has MD5 switched off (FIPS)", "The content of tables cannot be compared there.")

# Classes of SQLSTATE, the longer prefix first.
_CODES: Tuple[Tuple[str, _Kind], ...] = (
    ("28P01", _LOGIN),
    ("28", _DOOR),
    ("3D000", _NO_DATABASE),
    ("42501", _NO_RIGHT),
    ("53100", _FULL),
    ("53300", _MANY),
    ("53400", _FULL),
    ("53", (Unavailable, "lacks memory or other resources", "Look into its log.")),
    ("57014", _LOCKED),
    ("55P03", _LOCKED),
    ("57P03", _BUSY),
    ("57P", _LOST),
    ("08", _LOST),
    ("25006", _READ_ONLY),
    ("42P04", _THERE),
    ("42710", _THERE),
    ("40", (Conflict, "gave up in favour of another session", "Run again.")),
    ("XX001", (Refused, "has damaged data", "Its own files are broken: restore from a backup before anything is moved.")),
    ("XX002", (Refused, "has a damaged index", "REINDEX it before anything is moved.")),
)
# Texts of libpq, of pg_dump and pg_restore, and of servers whose code is not shown; the first that is found decides.
_TEXTS: Tuple[Tuple[str, _Kind], ...] = (
    (r"could not compute MD5|disabled for FIPS", _FIPS),
    (r"password authentication failed|no password supplied|authentication method 10 not supported", _LOGIN),
    (r"server does not support SSL|SSL error|certificate verify failed|does not match host name|root certificate file|sslmode|SSL is not enabled", _TLS),
    (r"no pg_hba.conf entry|pg_hba.conf rejects|authentication failed|is not permitted to log in", _DOOR),
    (r'database "[^\n]*" does not exist', _NO_DATABASE),
    (r'role "[^\n]*" does not exist', _LOGIN),
    (r"permission denied|must be owner|must be superuser|must be a superuser|User does not have CONNECT", _NO_RIGHT),
    (r"No space left on device|Disk quota exceeded", _FULL),
    (r"too many connections|too many clients|remaining connection slots", _MANY),
    (r"the database system is|in recovery mode", _BUSY),
    (r"timeout expired|timed out", _LATE),
    (r"canceling statement due to|lock timeout", _LOCKED),
    (r"read-only transaction", _READ_ONLY),
    (r"Connection refused|could not translate host name|Network is unreachable|No route to host|No such file or directory", _AWAY),
    (r"closed the connection|connection to server was lost|terminating connection|Connection reset|SSL SYSCALL|no connection to the server", _LOST),
)


def translate(complaint: str, server: Server, doing: str) -> Failure:
    """Return the failure that a complaint stands for. ``doing`` completes the sentence "while ..."."""
    subject = str(server)
    coded = _CODED.search(complaint)
    kind = _by_code(coded.group(1)) if coded else None
    if kind is None or kind is _DOOR:
        kind = _by_text(complaint) or kind
    message = _shown(complaint, server)
    if kind is None:
        return Failure(f"PostgreSQL at {server.address} failed while {doing}{message}.", "Look into its log.", subject)
    failure, what, hint = kind
    return failure(f"PostgreSQL at {server.address} {what}, while {doing}{message}.", hint, subject)


def _by_code(code: str) -> Optional[_Kind]:
    return next((kind for prefix, kind in _CODES if code.startswith(prefix)), None)


def _by_text(complaint: str) -> Optional[_Kind]:
    return next((kind for pattern, kind in _TEXTS if re.search(pattern, complaint)), None)


def _shown(complaint: str, server: Server) -> str:
    """Return the part of a complaint that holds no data: code and first line of the message, never DETAIL, CONTEXT or the statement."""
    coded = _CODED.search(complaint)
    if coded:
        # Class 22 repeats values of rows in its message.
        return f": {coded.group(1)}" if coded.group(1).startswith("22") else f": {coded.group(1)} {_clean(coded.group(2), server)}"
    lines: List[str] = _MESSAGE.findall(complaint)
    meant = next((line for line in lines if "invalid input" not in line and "out of range" not in line), "")
    return f": {_clean(meant, server)}" if meant else ""


def _clean(message: str, server: Server) -> str:
    return scrub(message.strip(), [server.password])[:_LONGEST_MESSAGE].rstrip(". ")
