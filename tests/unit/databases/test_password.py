"""What a server keeps of a password, against the numbers of the standard."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.password import prepared, verifier

# RFC 7677, section 3: password "pencil".
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SPOKEN = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={NONCE},s={SALT},i=4096,c=biws,r={NONCE}"
CLIENT_PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def signed(key: bytes) -> bytes:
    return hmac.new(key, SPOKEN.encode(), hashlib.sha256).digest()


def test_scram_is_what_the_standard_computes() -> None:
    method, rest = verifier("user", "pencil", salt=base64.b64decode(SALT)).split("$", 1)
    start, keys = rest.split("$")
    stored, server = (base64.b64decode(key) for key in keys.split(":"))
    assert (method, start) == ("SCRAM-SHA-256", f"4096:{SALT}")
    assert base64.b64encode(signed(server)).decode() == SERVER_SIGNATURE
    client = bytes(one ^ other for one, other in zip(base64.b64decode(CLIENT_PROOF), signed(stored), strict=True))
    assert hashlib.sha256(client).digest() == stored


def test_no_two_verifiers_are_the_same() -> None:
    assert verifier("user", "pencil") != verifier("user", "pencil")
    assert "pencil" not in verifier("user", "pencil")


def test_md5_is_salted_with_the_role() -> None:
    assert verifier("user", "pencil", "md5") == "md5" + hashlib.md5(b"penciluser").hexdigest()


@pytest.mark.parametrize(("password", "method"), [("", "scram-sha-256"), ("x", "plain")])
def test_what_cannot_be_kept_is_refused(password: str, method: str) -> None:
    with pytest.raises(Invalid):
        verifier("user", password, method)


@pytest.mark.parametrize(
    ("password", "form"),
    [
        # The examples of RFC 4013, section 3.
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # What is forbidden there is taken as it is, as PostgreSQL does.
        ("\u0007", "\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("\u0627a\u0627", "\u0627a\u0627"),
        ("a\u00a0b", "a b"),
        ("\u00ad", "\u00ad"),
        ("\u0221", "\u0221"),
    ],
)
def test_passwords_have_one_form(password: str, form: str) -> None:
    assert prepared(password) == form
