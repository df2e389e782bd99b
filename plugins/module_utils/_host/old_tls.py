# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers a server one release of TLS and nothing newer, whatever the library of this host still can do."""

from __future__ import annotations

import os
import socket
import struct
from typing import Optional

TLS_1_0, TLS_1_1, TLS_1_2 = 0x0301, 0x0302, 0x0303
_HANDSHAKE = 22
_TOLD = 11
# With SHA-1 for the old releases; what TLS 1.2 alone knows stands before them.
_OLD_SUITES = (0xC013, 0xC014, 0xC009, 0xC00A, 0x002F, 0x0035)
_NEW_SUITES = (0xC02F, 0xC030, 0xC02B, 0xC02C, 0x009C, 0x009D)
# RSA and ECDSA with SHA-256, SHA-384 and SHA-1.
_SIGNATURES = (0x0401, 0x0403, 0x0501, 0x0503, 0x0201, 0x0203, 0x0804)


def takes(address: str, port: int, version: int, server_name: str, seconds: float) -> Optional[bool]:
    """Tell whether a server goes on with this release of TLS, or None when it is not reached, or says nothing."""
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            connection.settimeout(seconds)
            connection.sendall(_hello(version, server_name))
            answer = b""
            while len(answer) < _TOLD:
                piece = connection.recv(_TOLD - len(answer))
                answer += piece
                # After an alert nothing more comes.
                if not piece or answer[0] != _HANDSHAKE:
                    break
    except socket.timeout:
        return None
    except ConnectionResetError:
        return False
    except OSError:
        return None
    # Behind the headers of the record and of the message stands the release that the server has chosen.
    return len(answer) == _TOLD and answer[0] == _HANDSHAKE and struct.unpack("!H", answer[-2:])[0] == version


def _hello(version: int, server_name: str) -> bytes:
    """Return the first message of a client that knows this release at most."""
    chosen = (*_NEW_SUITES, *_OLD_SUITES) if version >= TLS_1_2 else _OLD_SUITES
    suites = struct.pack(f"!{len(chosen)}H", *chosen)
    extensions = b""
    if server_name:
        name = server_name.encode("idna")
        extensions += struct.pack("!HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    # The curves P-256 and P-384, and uncompressed points: without them a server may find nothing to choose.
    extensions += struct.pack("!HHHHH", 10, 6, 4, 23, 24) + struct.pack("!HHBB", 11, 2, 1, 0)
    if version >= TLS_1_2:
        extensions += struct.pack(f"!HHH{len(_SIGNATURES)}H", 13, 2 * len(_SIGNATURES) + 2, 2 * len(_SIGNATURES), *_SIGNATURES)
    body = struct.pack("!H", version) + os.urandom(32) + b"\0" + struct.pack("!H", len(suites)) + suites + b"\x01\0"
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return struct.pack("!BHH", _HANDSHAKE, 0x0301, len(message)) + message
