"""What has to be in custody: needs that are met or not, recipients that are none, files that are not what age writes."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.age import check_recipients, look_at, readable
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.content import check_files, encryption_keys
from ansible_collections.paas.hardening.plugins.module_utils._backup.needs import encryption_key, refuse_incomplete, secrets_of, unmet
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import fitting
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused
from tests.unit.backup.points import make

ONE, OTHER = "age1" + "q" * 58, "age1" + "p" * 58
SSH = "ssh-ed25519 " + "A" * 68


def test_two_recipients_of_any_kind_are_taken() -> None:
    check_recipients([ONE, OTHER])
    check_recipients([ONE, f"{SSH} paper@safe", OTHER])


@pytest.mark.parametrize(
    ("recipients", "complaint"),
    [
        ([], "has 0, fewer than 2"),
        ([ONE], "has 1, fewer than 2"),
        ([ONE, ONE], "one key twice"),
        ([SSH, f"{SSH} another name"], "one key twice"),
        ([ONE, "AGE-SECRET-KEY-1QQQQ"], "Number 2 of secrets.recipients is secret"),
        ([ONE, "-----BEGIN OPENSSH PRIVATE KEY-----"], "Number 2 of secrets.recipients is secret"),
        ([ONE, "--output=/etc/passwd"], "Number 2 of secrets.recipients is no recipient"),
        ([ONE, "/etc/passwd"], "no recipient"),
    ],
)
def test_recipients_that_would_lose_everything_are_refused(recipients: list[str], complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint) as caught:
        check_recipients(recipients)
    assert "QQQQ" not in str(caught.value)


def encrypted(recipients: int, content: int) -> bytes:
    """A file of the form that age writes: what it holds cannot be told from noise."""
    stanzas = b"".join(b"-> X25519 %s\n%s\n" % (base64.b64encode(os.urandom(32)).rstrip(b"="), b"A" * 43) for _number in range(recipients))
    pieces = max(1, -(-content // 65536))
    return b"age-encryption.org/v1\n" + stanzas + b"--- " + b"B" * 43 + b"\n" + os.urandom(16 + content + 16 * pieces)


@pytest.mark.parametrize("content", [0, 1, 65535, 65536, 65537, 200_000])
def test_a_file_says_for_how_many_it_is_and_how_much_it_holds(tmp_path: Path, content: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(encrypted(3, content))
    seen = look_at(str(path))
    assert (seen.recipients, seen.content) == (3, content)


def test_every_cut_of_a_file_shows(tmp_path: Path) -> None:
    whole, path = encrypted(2, 70_000), tmp_path / "file"
    for left in [*range(0, 400, 7), 65_000, 65_600, 65_800, 65_830, len(whole) - 17, len(whole) - 1]:
        path.write_bytes(whole[:left])
        try:
            assert look_at(str(path)).content != 70_000, left
        except NotProven:
            continue


@pytest.mark.parametrize("content", [b"", b"age-encryption.org/v1\n", b"age-encryption.org/v2\n--- x\n" + bytes(99), b"plain text\n" * 99])
def test_what_age_did_not_write_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(NotProven, match="no whole file of age"):
        look_at(str(path))


def test_values_that_can_be_read_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(encrypted(2, 100) + b"a very secret word")
    assert (readable(str(path), [b"a very secret word", b"another word of it"]), readable(str(path), [])) == (1, 0)


CONFIGURATION = """
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - aescbc: {keys: [{name: key7, secret: aGFsbG8=}, {name: key6, secret: aGFsbG8=}]}
      - secretbox: {keys: [{name: box, secret: aGFsbG8=}]}
      - kms: {apiVersion: v2, name: outside, endpoint: "unix:///run/kms.sock"}
      - identity: {}
"""


def test_keys_of_a_configuration_are_those_that_stand_in_it() -> None:
    assert list(encryption_keys(CONFIGURATION.encode(), "file")) == ["aescbc/key7", "aescbc/key6", "secretbox/box"]
    assert list(encryption_keys(b"a token of RKE2", "file")) == []


@pytest.mark.parametrize(
    "text", ["kind: EncryptionConfiguration", "kind: EncryptionConfiguration\nresources: [{providers: 7}]", "{kind: EncryptionConfiguration"]
)
def test_a_configuration_that_is_torn_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is no EncryptionConfiguration"):
        list(encryption_keys(text.encode(), "file"))


def test_files_are_looked_at_before_anything_is_taken(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a token")
    (tmp_path / "empty").write_text("")
    check_files([str(tmp_path / "token")])
    for name, complaint in {"missing": "cannot be read", "empty": "is empty", ".": "cannot be read|is no file"}.items():
        with pytest.raises(Invalid, match=complaint):
            check_files([str(tmp_path / name)])


def test_a_point_is_complete_when_every_need_is_met() -> None:
    needs = {"etcd": (encryption_key("aescbc/key7"),), "postgres": (secrets_of("deis"),), "secrets": ()}
    assert unmet(needs, [secrets_of("deis"), encryption_key("aescbc/key7")]) == {"etcd": (), "postgres": (), "secrets": ()}
    lacking = unmet(needs, [secrets_of("deis")])
    assert lacking == {"etcd": (encryption_key("aescbc/key7"),), "postgres": (), "secrets": ()}
    with pytest.raises(Refused, match="not complete, since a restore also takes the EncryptionConfiguration with the key aescbc/key7"):
        refuse_incomplete(lacking)
    refuse_incomplete(unmet(needs, [encryption_key("aescbc/key7"), secrets_of("deis")]))


def test_a_point_that_lacks_something_is_none_that_was_asked_for(tmp_path: Path) -> None:
    (point,) = make(tmp_path / "repository").read().points
    kinds, now = frozenset(["etcd"]), point.instant + 10
    assert fitting([point], kinds, 0.0, now, complete=True) == point
    point.kinds["etcd"]["needs"].append(encryption_key("aescbc/key7"))
    assert fitting([point], kinds, 0.0, now, complete=True) is None
    assert fitting([point], kinds, 0.0, now) == point
