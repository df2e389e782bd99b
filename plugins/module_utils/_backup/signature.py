# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs what the catalogue says, so that nobody without the key can make a point look proved."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from dataclasses import dataclass, field
from typing import Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused

# Bytes. Below this a key can be tried out.
SHORTEST_KEY = 32
_LONGEST_FILE = 4096
_HINT = "Make one with: (umask 077; openssl rand -hex 32 > FILE). Keep a copy of it outside of the machine: without it no point can be told from a forgery."
_FIRST_LINE = re.compile(rb"paas\.hardening hmac-sha256 ([0-9a-f]{16}) ([0-9a-f]{64})")
# Another text under the same key tells nothing about this one.
_NAMING = b"paas.hardening: name of a key"


@dataclass(frozen=True)
class SigningKey:
    """A secret that signs and verifies. ``name`` may be shown: it tells keys apart and does not lead back to them."""

    secret: bytes = field(repr=False)

    @property
    def name(self) -> str:
        return hmac.new(self.secret, _NAMING, hashlib.sha256).hexdigest()[:16]

    def sign(self, body: bytes) -> bytes:
        """Return the signed document: a line with the signature, then the body as it is."""
        value = hmac.new(self.secret, body, hashlib.sha256).hexdigest()
        return f"paas.hardening hmac-sha256 {self.name} {value}\n".encode("ascii") + body


@dataclass(frozen=True)
class KeyRing:
    """The key that signs, and older ones that are still believed."""

    current: SigningKey
    older: Tuple[SigningKey, ...] = ()

    def opened(self, document: bytes, what: str) -> bytes:
        """Return the body of a signed document. ``what`` names it in errors. Raises NotProven, saying which signature fails and why."""
        line, _end, body = document.partition(b"\n")
        found = _FIRST_LINE.fullmatch(line)
        if not found:
            raise NotProven(f"{what} carries no signature.", "It was cut off, or it is not from this collection.", what)
        name = found.group(1).decode("ascii")
        key = next((key for key in (self.current, *self.older) if key.name == name), None)
        if key is None:
            raise NotProven(f"{what} is signed by the key {name}, which is not among the keys given.", "Give the file of that key, too.", what)
        if not hmac.compare_digest(key.sign(body), document):
            raise NotProven(f"{what} is not what the key {name} signed.", "It was changed afterwards: do not restore from it.", what)
        return body


def read_key(path: str, option: str, outside: str = "") -> SigningKey:
    """Read a key from a file of which nobody else knows the content.

    Raises Invalid when it cannot be read or is too short, and Refused when others may read it or it lies in the folder ``outside``, beside what it protects.
    """
    place = os.path.realpath(path)
    if outside and (place + os.sep).startswith(os.path.realpath(outside) + os.sep):
        raise Refused(f"{option} {path} lies in the repository.", "Whoever can change a point there could sign it: keep the key in another place.", option)
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise Invalid(f"{option} {path} cannot be read: {error.strerror}.", _HINT, option) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Refused(f"{option} {path} is open to other users.", f"Make it yours alone: chmod 600 {path}", option)
    secret = content[:-1] if content.endswith(b"\n") else content
    if not SHORTEST_KEY <= len(secret) <= _LONGEST_FILE:
        raise Invalid(f"{option} {path} holds {len(secret)} bytes, not {SHORTEST_KEY} to {_LONGEST_FILE}.", _HINT, option)
    return SigningKey(secret)


def read_keys(current: str, older: Sequence[str], outside: str) -> KeyRing:
    """Read the key that signs (option ``signing_key_file``) and those that are still believed (``older_key_files``). Raises as read_key does."""
    return KeyRing(read_key(current, "signing_key_file", outside), tuple(read_key(path, "older_key_files", outside) for path in older))
