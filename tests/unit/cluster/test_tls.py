"""Certificates and keys: used from memory, judged by their dates."""

from __future__ import annotations

import base64
import pathlib
import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.tls import Identity, client_context, validity
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from tests.unit.cluster.conftest import Certificates


def pem(path: str) -> bytes:
    return pathlib.Path(path).read_bytes()


def test_validity_is_what_openssl_says(certificates: Certificates) -> None:
    for name in ("client", "expired", "ca", "server"):
        dates = validity(pem(certificates.crt(name)))
        assert dates is not None
        said = subprocess.run(["openssl", "x509", "-in", certificates.crt(name), "-noout", "-dates"], check=True, capture_output=True, text=True).stdout
        for date, line in zip(dates, said.splitlines(), strict=True):
            moment = datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC)
            assert date == moment


def test_dates_after_2049_are_written_otherwise(certificates: Certificates) -> None:
    certificates.make("century", "-days", "20000")
    dates = validity(pem(certificates.crt("century")))
    assert dates is not None
    assert dates[1] - datetime.now(UTC) > timedelta(days=19990)


def der(tag: int, *content: bytes) -> bytes:
    data = b"".join(content)
    return bytes([tag, len(data)]) + data


@pytest.mark.parametrize(
    ("tag", "text", "year"), [(0x17, b"720101000000Z", 1972), (0x17, b"490101000000Z", 2049), (0x17, b"500101000000Z", 1950), (0x18, b"20500101000000Z", 2050)]
)
def test_years_of_two_and_of_four_digits(tag: int, text: bytes, year: int) -> None:
    """No tool makes certificates that are so old, hence one by hand: without the version field, as the oldest have it."""
    dates = der(0x30, der(tag, text), der(tag, text))
    certificate = der(0x30, der(0x30, der(0x02, b"\x01"), der(0x30), der(0x30), dates))
    found = validity(b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(certificate) + b"\n-----END CERTIFICATE-----")
    assert found is not None
    assert {moment.year for moment in found} == {year}


@pytest.mark.parametrize("data", ["MAA=", "!", "", "MIIB"])
def test_no_certificate_no_dates(data: str) -> None:
    assert validity(f"-----BEGIN CERTIFICATE-----\n{data}\n-----END CERTIFICATE-----".encode()) is None
    assert validity(data.encode()) is None


def test_names_are_compared_unless_somebody_else_does() -> None:
    strict, lenient, off = client_context(Identity()), client_context(Identity(), match_name=False), client_context(Identity(), verify=False)
    assert [context.check_hostname for context in (strict, lenient, off)] == [True, False, False]
    assert [context.verify_mode for context in (strict, lenient, off)] == [ssl.CERT_REQUIRED, ssl.CERT_REQUIRED, ssl.CERT_NONE]


def test_what_cannot_be_used_is_named(certificates: Certificates) -> None:
    good, key, other = pem(certificates.crt("client")), pem(certificates.key("client")), pem(certificates.key("server"))
    with pytest.raises(Invalid, match="do not belong together"):
        client_context(Identity(None, good, other))
    with pytest.raises(Invalid, match="are not PEM data"):
        client_context(Identity(None, b"x", key))
    with pytest.raises(Invalid, match="needs its key"):
        client_context(Identity(None, good, None))
    with pytest.raises(Invalid, match="CA certificate"):
        client_context(Identity(b"x"))


def test_an_encrypted_key_asks_nobody(certificates: Certificates, tmp_path: pathlib.Path) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", certificates.key("client"), "-aes256", "-passout", "stdin", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True, input=b"a passphrase\n")
    with pytest.raises(Invalid, match="encrypted"):
        client_context(Identity(None, pem(certificates.crt("client")), locked.read_bytes()))


def test_an_identity_does_not_show_itself(certificates: Certificates) -> None:
    assert "BEGIN" not in repr(Identity(b"-----BEGIN", b"-----BEGIN", b"-----BEGIN"))
