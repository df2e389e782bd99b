"""A repository of packages: its key is known before apt trusts it, and nothing else comes from it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.openpgp import fingerprints
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import repository
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import Layout

# Two public keys that gpg made; nobody has their private parts any more.
ELLIPTIC = "A900AA7F80F24B3E94E0F17D0886E87175B01129"
ELLIPTIC_KEY = """-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawLQPxYJKwYBBAHaRw8BAQdA7M2+tujW5uoiv/VglZsWXlmIAMzGh8PsdXW+
FzJrXIK0A29uZYiQBBMWCAA4FiEEqQCqf4DySz6U4PF9CIbocXWwESkFAmsC0D8C
GwMFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AACgkQCIbocXWwESkOUQD+L4xL4E4s
i40fqqkS9CG8xkx4oDlKKPETjWjQQxyD0DYA/0ugdrhtVezfkyJP0yU/oEDGINh+
T6WD0o/kmvCxQhII
=JEMt
-----END PGP PUBLIC KEY BLOCK-----"""
RSA = "79DC596C35C19ED0116C580D35590273E3AEF9A6"
RSA_KEY = """-----BEGIN PGP PUBLIC KEY BLOCK-----

mQENBGsC0EABCADWWRXE/1bgHjQjLz0993N8dCjRgpYIoC1TAjC6qElF1hAc5g1z
Ab193cRoVMviJ8EfxZpKdALR8OBpfc0Z3kV8h5/MREiWZXzZ9dLPg7toDEzrhsgY
g1EvQ3L/DpZrWV3D3yIBS4+z2itBuYsGafQS1Wiw9CHZoT5HFmolPddpHAQL5hLW
v8+z18UPqyVY5L1KO4sbIE0sdnSNrCFbP54ZMdH/Ux0L7EtrtP9OZ+iaExW/6DW8
fnZjU6HO/c9wlyQv7HreGm6r6Ee04kkkEdZhoXuH8JCDs2BbWEYqlJk9To7Rhs3r
pVpk0gBK9Q4IqRQttmxZdEt4PYlsSW2S34VnABEBAAG0A3R3b4kBTgQTAQoAOBYh
BHncWWw1wZ7QEWxYDTVZAnPjrvmmBQJrAtBAAhsDBQsJCAcCBhUKCQgLAgQWAgMB
Ah4BAheAAAoJEDVZAnPjrvmmEQgIAJatcrd3v8cg5vJmyszgShX6hMeY1fsrvXP3
+6WK8EM9jGukE+DY++oIggGPHE7aadse64/lIzJFvGZ3l6Afrx3HgzIVs/jQ2UTw
hgpQKXnnw+wHsezcmoqcNnLlE4CvjpRG89FB289nfp+vN7TVMB/mhishHZesY181
IFOyrGEJEMa+VFUlqsHhQZL2ELvfgvmRK/xDIFg2d4UnvXLOOOBwOrpCyAd733Wo
M5nyDYvcdcgwFQH+l84bKAHniUXf5iG/4dVWXd/M0SVtXf4fiJ3Ohnvptevh474Q
GCEw0F0e12ptKLoLuCcNRG2z0dYNLqy2LAmWu3PCcZ8l6VA3hq8=
=iQqA
-----END PGP PUBLIC KEY BLOCK-----"""
NO_FILE = files.Kept(None, 0, "")
DEFAULTS = {name: option["default"] for name, option in repository.OPTIONS.items()}


def wanted(version: int | None = 17, **given: str) -> Any:
    return repository.repository_of("pgdg", {**DEFAULTS, "key": ELLIPTIC_KEY, "fingerprint": ELLIPTIC, **given}, version)


def test_fingerprints_are_those_that_gpg_prints() -> None:
    assert fingerprints(ELLIPTIC_KEY) == [ELLIPTIC]
    assert fingerprints(f"Comment before\n{RSA_KEY}\n{ELLIPTIC_KEY}\n") == [RSA, ELLIPTIC]
    with_header = RSA_KEY.replace("BLOCK-----\n\n", "BLOCK-----\nVersion: GnuPG v2\nComment: of old\n\n", 1)
    assert fingerprints(with_header) == [RSA]
    assert fingerprints("") == []


@pytest.mark.parametrize("content", [b"\x99\xff\xffshort", b"\x98\x03\x05ab", b"plain text", b"\xc6\xe1part"])
def test_what_is_no_key_is_told(content: bytes) -> None:
    armored = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{base64.b64encode(content).decode()}\n-----END PGP PUBLIC KEY BLOCK-----\n"
    with pytest.raises(Invalid):
        fingerprints(armored)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fingerprint": RSA}, f"is {ELLIPTIC}, not {RSA}"),
        ({"key": f"{ELLIPTIC_KEY}\n{RSA_KEY}"}, f"is {ELLIPTIC}, {RSA}, not"),
        ({"key": "nothing"}, "of no key at all"),
        ({"key": ELLIPTIC_KEY.replace("mDME", "!DME")}, "no armored text"),
        ({"fingerprint": "0886E87175B01129"}, "repository.fingerprint is"),
        ({"url": "file:///srv"}, "repository.url is"),
        ({"url": "http://mirror/a b"}, "repository.url is"),
        ({"suite": "a\nTrusted: yes"}, "repository.suite is"),
    ],
)
def test_what_cannot_be_trusted_is_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(Failure) as refused:
        wanted(**given)
    assert words in refused.value.message
    assert refused.value.hint


def test_a_major_has_to_be_named_and_a_fingerprint_may_be_written_as_gpg_does() -> None:
    with pytest.raises(Invalid, match="version is not given"):
        wanted(version=None)
    assert wanted(fingerprint="a900 aa7f 80f2 4b3e 94e0  f17d 0886 e871 75b0 1129").fingerprint == ELLIPTIC
    assert repository.repository_of("distribution", DEFAULTS, None) is None


def test_the_source_trusts_one_key_and_the_pins_let_in_the_server_only() -> None:
    found = wanted(url="https://mirror.example/pgdg/")
    assert repository.source_text(found, "trixie-pgdg").splitlines()[1:] == [
        "Types: deb",
        "URIs: https://mirror.example/pgdg",
        "Suites: trixie-pgdg",
        "Components: main",
        f"Signed-By: {repository.KEY_FILE}",
    ]
    wanted_pin, never = repository.pins_text("trixie-pgdg", Layout(17)).split("\n\n")
    assert "postgresql-17 postgresql-17-* postgresql-client-17 postgresql-common postgresql-client-common libpq5\n" in wanted_pin
    assert never.splitlines() == ["Package: *", "Pin: release n=trixie-pgdg", "Pin-Priority: -1"]


def test_the_pins_come_before_the_source_and_what_a_hand_changed_is_seen() -> None:
    found, layout, suite = wanted(), Layout(17), "trixie-pgdg"
    bare = repository.Seen(suite, f"{ELLIPTIC_KEY}\n", NO_FILE, NO_FILE, NO_FILE, "")
    assert [path for path, _after, _why in repository.differences(found, bare, layout)] == [repository.KEY_FILE, repository.PIN_FILE, repository.SOURCE_FILE]
    texts = (f"{ELLIPTIC_KEY}\n", repository.source_text(found, suite), repository.pins_text(suite, layout))
    kept = [files.Kept(text, 0o644, "root") for text in texts]
    done = bare._replace(trusted=kept[0], source=kept[1], pins=kept[2])
    assert repository.differences(found, done, layout) == []
    spoilt = done._replace(trusted=kept[0]._replace(mode=0o666), source=kept[1]._replace(text="Trusted: yes"))
    assert [path for path, _after, _why in repository.differences(found, spoilt, layout)] == [repository.KEY_FILE, repository.SOURCE_FILE]


def test_the_projects_key_comes_with_a_package_and_another_has_to_be_there() -> None:
    release = {"VERSION_CODENAME": "bookworm"}
    with pytest.raises(Invalid, match="there is no such file"):
        repository.look(wanted(key="", key_file="/nonexistent/key.asc"), release, Layout(17))
    with pytest.raises(Refused):
        repository.look(wanted(key=ELLIPTIC_KEY)._replace(fingerprint=RSA), release, Layout(17))
    assert repository.look(wanted(), release, Layout(17)).suite == "bookworm-pgdg"
