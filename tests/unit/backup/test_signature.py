"""Keys: read from files that nobody else reads, never shown."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing, SigningKey, read_key
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, NotProven, Refused


@pytest.fixture
def secret() -> str:
    return secrets.token_hex(32)


def write(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_key_is_never_shown(secret: str) -> None:
    key = SigningKey(secret.encode())
    assert secret not in repr(key)
    assert secret not in repr(KeyRing(key))
    assert key.name not in secret
    assert secret.encode() not in key.sign(b"body")


def test_an_editors_line_end_makes_no_other_key(tmp_path: Path, secret: str) -> None:
    assert read_key(write(tmp_path / "a", secret), "o").name == read_key(write(tmp_path / "b", secret + "\n"), "o").name


@pytest.mark.parametrize(
    ("text", "mode", "kind"),
    [
        ("short", 0o600, Invalid),
        ("", 0o600, Invalid),
        ("x" * 5000, 0o600, Invalid),
        ("x" * 64, 0o640, Refused),
        ("x" * 64, 0o604, Refused),
    ],
)
def test_bad_key_is_refused_without_its_content(tmp_path: Path, text: str, mode: int, kind: type[Failure]) -> None:
    path = write(tmp_path / "key", text, mode)
    with pytest.raises(kind) as caught:
        read_key(path, "signing_key_file")
    assert caught.value.subject == "signing_key_file"
    assert not text or text not in str(caught.value)


def test_key_beside_what_it_protects_is_refused(tmp_path: Path, secret: str) -> None:
    (tmp_path / "repository").mkdir()
    path = write(tmp_path / "repository/key", secret)
    with pytest.raises(Refused, match="lies in the repository"):
        read_key(path, "signing_key_file", str(tmp_path / "repository"))
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(Refused, match="lies in the repository"):
        read_key(str(tmp_path / "link"), "signing_key_file", str(tmp_path / "repository"))


def test_every_bit_of_a_signed_document_counts(secret: str) -> None:
    ring = KeyRing(SigningKey(secret.encode()))
    document = ring.current.sign(b'{"a": 1}\n')
    assert ring.opened(document, "it") == b'{"a": 1}\n'
    for place in range(len(document) * 8):
        changed = bytearray(document)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(NotProven):
            ring.opened(bytes(changed), "it")
    for length in range(len(document)):
        with pytest.raises(NotProven):
            ring.opened(document[:length], "it")
