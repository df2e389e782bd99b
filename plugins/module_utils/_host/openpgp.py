# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprints of OpenPGP public keys, so that a key is known before apt trusts it, on hosts that have no gpg. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Iterator, List, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

_BLOCK = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
_PUBLIC_KEY = 6
_HINT = "Give an armored public key: gpg --export --armor FINGERPRINT."


def fingerprints(text: str) -> List[str]:
    """Return the fingerprints of the primary keys in armored text, in capitals. Raises Invalid for what is no such text."""
    found = []
    for block in _BLOCK.findall(text):
        for tag, body in _packets(_unarmored(block)):
            if tag == _PUBLIC_KEY:
                if body[:1] != b"\x04":
                    raise Invalid("The key is not of version 4.", _HINT, "key")
                # RFC 4880 12.2 names this hash; it is a name here, and nobody's secret.
                digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
                found.append(digest.hexdigest().upper())
    return found


def _unarmored(block: str) -> bytes:
    """Return the bytes of a block, whose headers end with an empty line, and whose checksum begins with an equals sign."""
    lines = [line.strip() for line in block.splitlines()]
    begin = lines.index("") + 1 if "" in lines and ":" in lines[0] else 0
    try:
        return base64.b64decode("".join(line for line in lines[begin:] if not line.startswith("=")), validate=True)
    except binascii.Error:
        raise Invalid("The key is no armored text.", _HINT, "key") from None


def _packets(content: bytes) -> Iterator[Tuple[int, bytes]]:
    """Yield the tag and the body of each packet. Raises Invalid when it does not add up."""
    at = 0
    while at < len(content):
        first = content[at]
        new, tag = first & 0x40, first & 0x3F if first & 0x40 else (first >> 2) & 0x0F
        size, length = _length(content, at + 1, first, bool(new))
        begin = at + 1 + size
        if not first & 0x80 or length < 0 or begin + length > len(content):
            raise Invalid("The key is damaged.", _HINT, "key")
        yield tag, content[begin : begin + length]
        at = begin + length


def _length(content: bytes, at: int, first: int, new: bool) -> Tuple[int, int]:
    """Return how many bytes tell the length, and the length; -1 for one that a key does not have."""
    if not new:
        kind = first & 0x03
        size = (1, 2, 4, 0)[kind]
        return size, int.from_bytes(content[at : at + size], "big") if size else -1
    lead = content[at] if at < len(content) else 255
    if lead < 192:
        return 1, lead
    if lead < 224:
        return 2, ((lead - 192) << 8) + int.from_bytes(content[at + 1 : at + 2], "big") + 192
    return 5, int.from_bytes(content[at + 1 : at + 5], "big") if lead == 255 else -1
