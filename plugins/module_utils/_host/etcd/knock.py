# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a member of etcd answers to somebody without a certificate, and without TLS. Needs no secret."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import NamedTuple

from ansible_collections.paas.hardening.plugins.module_utils._host.etcd import api

REFUSED, LET_IN, SILENT = "refused", "let in", "not reached"
# What belongs to etcd alone, and changes nothing.
_PATH = "/v3/cluster/member/list"


class Answer(NamedTuple):
    """What came of a knock: refused, let in or not reached, and the reason in words. ``trusted`` tells whether its own certificate was good."""

    kind: str
    reason: str
    trusted: bool = True

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


def knock(address: str, port: int, name: str, authority: str, seconds: float) -> Answer:
    """Come by TLS as somebody without a certificate. With an authority, in PEM, the member's own certificate is verified, for this name."""
    context = ssl.create_default_context(cadata=authority) if authority else _anybody()
    try:
        plain = socket.create_connection((address, port), timeout=seconds)
    except OSError as error:
        return Answer(SILENT, error.strerror or type(error).__name__)
    try:
        with plain, context.wrap_socket(plain, server_hostname=name) as tunnel:
            connection = http.client.HTTPConnection(address, port, timeout=seconds)
            connection.sock = tunnel
            connection.request("POST", _PATH, "{}", {"Content-Type": "application/json"})
            # Whoever gets an answer of HTTP came in, whatever it says.
            return Answer(LET_IN, f"HTTP {connection.getresponse().status}")
    except ssl.SSLCertVerificationError as error:
        return Answer(REFUSED, f"its certificate is not good: {error.verify_message}", trusted=False)
    except (OSError, http.client.HTTPException):
        return Answer(REFUSED, "")


def knock_plainly(address: str, port: int, seconds: float) -> Answer:
    """Come without TLS."""
    answer = api.plainly(address, port, "/version", seconds)
    if answer is None or answer[0] == 400:
        return Answer(REFUSED, "")
    return Answer(LET_IN, f"HTTP {answer[0]}")


def _anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
