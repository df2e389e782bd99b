"""Certificates that vouch for a server are given as a file or as text, and never both."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import authority_file
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("certificate")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ca", "-days", "2"]
    subprocess.run([*words, "-keyout", str(folder / "key"), "-out", str(folder / "crt")], check=True, capture_output=True)
    return (folder / "crt").read_text()


def test_a_file_is_taken_as_it_is_and_nothing_is_nothing(tmp_path: Path) -> None:
    assert authority_file({"ca_file": "/etc/ca.pem", "work_folder": str(tmp_path)}) == "/etc/ca.pem"
    assert authority_file({"ca_file": None, "ca_certificates": None, "work_folder": str(tmp_path)}) == ""
    assert list(tmp_path.iterdir()) == []


def test_text_is_kept_once_for_its_owner_only(tmp_path: Path, certificate: str) -> None:
    params = {"ca_certificates": certificate, "work_folder": str(tmp_path / "work")}
    path = Path(authority_file(params))
    assert path.read_text() == certificate
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.stat().st_ino
    assert authority_file(params) == str(path)
    assert path.stat().st_ino == before


@pytest.mark.parametrize("text", ["nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused_and_not_kept(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid, match="holds no certificate in PEM") as caught:
        authority_file({"ca_certificates": text, "work_folder": str(tmp_path)})
    assert caught.value.subject == "ca_certificates"
    assert list(tmp_path.iterdir()) == []


def test_both_are_refused(tmp_path: Path, certificate: str) -> None:
    with pytest.raises(Invalid, match="are both given"):
        authority_file({"ca_file": "/etc/ca.pem", "ca_certificates": certificate, "work_folder": str(tmp_path)})
