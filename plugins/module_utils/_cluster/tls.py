# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS towards the API server. A private key that came as data stays in memory: it never becomes a file on a disk."""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Iterator, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Identity:
    """What proves who is who: the CA that vouches for the server, and our client certificate with its key, all as PEM data."""

    ca: Optional[bytes] = None
    certificate: Optional[bytes] = None
    key: Optional[bytes] = None

    def __repr__(self) -> str:
        return f"Identity(ca={bool(self.ca)}, certificate={bool(self.certificate)}, key={bool(self.key)})"


@contextmanager
def _readable(data: bytes) -> Iterator[str]:
    """Give a path under which the TLS library can read the data: memory on Linux, elsewhere a file of our own that is removed at once."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as memory:
            memory.write(data)
            memory.flush()
            yield f"/proc/self/fd/{descriptor}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name


def _no_passphrase() -> str:
    raise Invalid("The client key is encrypted.", "Give a key without a passphrase: nobody is there to type it.", "client_key")


def client_context(identity: Identity, verify: bool = True, match_name: bool = True) -> ssl.SSLContext:
    """Return the TLS settings for one server. Raises Invalid when a certificate or key cannot be used.

    Without ``match_name`` the caller has to compare the server's name with its certificate.
    """
    # Not create_default_context: since Python 3.13 it demands extensions that the CAs of older clusters do not have, and that no other client asks for.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000)
    context.check_hostname = verify and match_name
    if not verify:
        context.verify_mode = ssl.CERT_NONE
    elif identity.ca:
        try:
            context.load_verify_locations(cadata=identity.ca.decode("ascii", "replace"))
        except ssl.SSLError:
            raise Invalid("The CA certificate is not PEM data.", "Give the file of the cluster's CA.", "ca_cert") from None
    else:
        context.load_default_certs()
    if identity.certificate and identity.key:
        try:
            with _readable(identity.certificate.rstrip() + b"\n" + identity.key) as path:
                context.load_cert_chain(path, password=_no_passphrase)
        except ssl.SSLError as error:
            mismatch = "MISMATCH" in (error.reason or "")
            what = "do not belong together" if mismatch else "are not PEM data of a certificate and a key"
            raise Invalid(f"The client certificate and the client key {what}.", "Check client_cert and client_key, or the kubeconfig.", "client_cert") from None
    elif identity.certificate or identity.key:
        raise Invalid("A client certificate needs its key, and a key its certificate.", "Give both client_cert and client_key.", "client_cert")
    return context


def _element(data: bytes, at: int) -> Tuple[int, int, int]:
    """Read one DER element: its tag, where its content starts, and where it ends."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    return tag, start, start + length


def _moment(tag: int, text: str) -> datetime:
    if tag == 0x17:  # UTCTime has a year of two digits; 50 to 99 are of the last century (RFC 5280, 4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)


def validity(certificate: bytes) -> Optional[Tuple[datetime, datetime]]:
    """Return from when until when the first certificate of PEM data is valid (UTC); None when it cannot be read.

    The standard library shows no certificate of our own side, so the few fields up to the dates are walked here.
    """
    found = _PEM.search(certificate)
    if found is None:
        return None
    try:
        data = base64.b64decode(b"".join(found.group(1).split()), validate=True)
        _tag, at, _end = _element(data, 0)  # Certificate
        _tag, at, _end = _element(data, at)  # TBSCertificate
        tag, _start, end = _element(data, at)
        if tag == 0xA0:  # the version, which is optional
            at = end
        for _field in ("serial number", "signature algorithm", "issuer"):
            _tag, _start, at = _element(data, at)
        _tag, at, _end = _element(data, at)  # Validity
        first, start, end = _element(data, at)
        begins = _moment(first, data[start:end].decode("ascii"))
        last, start, end = _element(data, end)
        return begins, _moment(last, data[start:end].decode("ascii"))
    except (IndexError, ValueError, binascii.Error):
        return None
