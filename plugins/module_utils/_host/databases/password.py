# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role's password looks like on a server: computed here, so that the server and its log never see the password itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

METHODS = ("scram-sha-256", "md5")
# PostgreSQL's own numbers.
_ITERATIONS = 4096
_SALT = 16
# What RFC 4013 forbids in a password.
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def verifier(role: str, password: str, method: str = "scram-sha-256", salt: bytes = b"") -> str:
    """Return what ``CREATE ROLE .. PASSWORD`` takes instead of the password.

    SCRAM needs a client with libpq 10 or newer; older ones (psycopg2 on systems from before 2018) can only do ``md5``. Raises Invalid.
    """
    if not password:
        raise Invalid("The password of the role is empty.", "Give one: PostgreSQL lets nobody in with an empty password.", "password")
    if method == "md5":
        return "md5" + hashlib.md5((password + role).encode()).hexdigest()
    if method not in METHODS:
        raise Invalid(f"The way to keep a password is {method}.", f"Give one of: {', '.join(METHODS)}.", "password_method")
    salt = salt or os.urandom(_SALT)
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password).encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(_keyed(salted, b"Client Key")).digest()
    parts = [base64.b64encode(part).decode("ascii") for part in (salt, stored, _keyed(salted, b"Server Key"))]
    return f"SCRAM-SHA-256${_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


def _keyed(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def prepared(password: str) -> str:
    """Return the password in the form of RFC 4013 (SASLprep), or as it is when it has none, as PostgreSQL does."""
    mapped = "".join(" " if stringprep.in_table_c12(character) else character for character in password if not stringprep.in_table_b1(character))
    normal = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not normal or any(forbidden(character) for character in normal for forbidden in _PROHIBITED):
        return password
    right_to_left = [stringprep.in_table_d1(character) for character in normal]
    if any(right_to_left) and (not (right_to_left[0] and right_to_left[-1]) or any(map(stringprep.in_table_d2, normal))):
        return password
    return normal
