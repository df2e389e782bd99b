# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's certificate: what is wrong with it, one of an authority of the host's own, the ciphers to serve it by. Private keys stay where they are made."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import tempfile
from typing import List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, MissingDependency
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask

_AUTHORITY_DAYS = 3650
# What browsers and libraries accept of a server's at most.
DAYS = 397
# The intermediate profile of Mozilla's recommendations for TLS 1.2, in OpenSSL's words: forward secrecy and authenticated encryption only.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_CURVE = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
_AUTHORITY_CONFIG = """[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = {name}
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
_SERVER_CONFIG = """[req]
distinguished_name = name
prompt = no
[name]
{subject} = {name}
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
# What a certificate is for: a server, a client, or a server that is the client of others of its kind.
SERVER, CLIENT, BOTH = "serverAuth", "clientAuth", "serverAuth, clientAuth"
# A common name has 64 letters.
_LONGEST = 40


class Places(NamedTuple):
    """Where certificate, private key and authority are, and which account of the system the server runs as.

    ``title`` is what the authority is called by. ``made`` tells whether they are ours to make. ``usage`` is what the certificate is for, and ``subject`` the
    field of its subject that holds its first name: to some servers a common name is the name of a user.
    """

    certificate: str
    key: str
    authority: str
    account: str
    title: str
    made: bool = True
    usage: str = SERVER
    subject: str = "CN"

    @property
    def authority_key(self) -> str:
        return f"{os.path.dirname(self.authority)}/ca.key"


def chosen(ours: Places, certificate: str, key: str, authority: str) -> Places:
    """Return the places of one's own certificate, or ours when none is given. Raises Invalid."""
    given = [certificate, key, authority]
    if not any(given):
        return ours
    if not all(path.startswith("/") for path in given):
        raise Invalid(
            "Of tls_certificate, tls_key and tls_authority one is missing, or is no whole path.",
            "Give the paths of all three files on the host, or none: then the host makes an authority of its own.",
            "tls_certificate",
        )
    return ours._replace(certificate=certificate, key=key, authority=authority, made=False)


class Seen(NamedTuple):
    """What is there: the authority's text, its end, the certificate's end, the names that it is good for, and what does not fit."""

    authority: Optional[str]
    authority_ends: Optional[datetime.datetime]
    certificate: Optional[str]
    ends: Optional[datetime.datetime]
    names: Tuple[str, ...]
    fits_key: bool
    fits_authority: bool
    key: files.Kept
    authority_key: files.Kept


def look(places: Places) -> Seen:
    """Read all of it. What cannot be read as a certificate does not fit, and has no end."""
    authority, certificate = files.look(places.authority).text, files.look(places.certificate).text
    key = files.look(places.key)
    known = _verified(places) if authority and certificate else False
    return Seen(
        authority,
        end_of(places.authority) if authority else None,
        certificate,
        end_of(places.certificate) if certificate else None,
        names_of(places.certificate) if certificate else (),
        bool(certificate and key.text) and belongs(places.certificate, places.key),
        known,
        # Of keys nothing is kept in memory longer than needed.
        key._replace(text=None if key.text is None else ""),
        files.look(places.authority_key)._replace(text="") if os.path.exists(places.authority_key) else files.Kept(None, 0, ""),
    )


def _verified(places: Places) -> bool:
    """Tell whether the authority vouches for the certificate, by those between them that are in its file; when it ends is another question."""
    words = ["openssl", "verify", "-no_check_time", "-CAfile", places.authority, "-untrusted", places.certificate, places.certificate]
    return ask(words).status == 0


def belongs(certificate: str, key: str) -> bool:
    """Tell whether a private key is that of a certificate."""
    mine = _told(["x509", "-noout", "-pubkey", "-in", certificate])
    return bool(mine) and mine == _told(["pkey", "-pubout", "-in", key])


def end_of(path: str) -> Optional[datetime.datetime]:
    """Return until when a certificate is good; None when it cannot be read."""
    text = _told(["x509", "-noout", "-enddate", "-in", path]).strip().partition("=")[2]
    try:
        return datetime.datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None


def names_of(path: str) -> Tuple[str, ...]:
    """Return the names and addresses that a certificate is good for."""
    found = []
    for part in _told(["x509", "-noout", "-ext", "subjectAltName", "-in", path]).replace("\n", ",").split(","):
        kind, _colon, value = part.strip().partition(":")
        if kind == "DNS":
            found.append(value)
        elif kind == "IP Address":
            try:
                found.append(str(ipaddress.ip_address(value)))
            except ValueError:
                found.append(value)
    return tuple(found)


def common_name_of(path: str) -> str:
    """Return the common name in a certificate's subject; empty when it has none."""
    found = re.search(r"(?:^|,)CN=([^,\n]*)", _told(["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", path]).partition("=")[2].strip())
    return found.group(1) if found else ""


def _told(words: List[str]) -> str:
    """Return what openssl says, or nothing: a host may not have it yet, and is asked again when it has."""
    try:
        ended = ask(["openssl", *words])
    except MissingDependency:
        return ""
    return ended.output if ended.status == 0 else ""


def is_address(name: str) -> bool:
    """Tell an address from a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def problems(seen: Seen, names: Sequence[str], renew_before: int, now: datetime.datetime) -> List[Tuple[str, str, str]]:
    """Return (field, what is, what is wanted) of everything that is wrong with the certificate. ``renew_before`` is in days. Pure."""
    if seen.certificate is None:
        return [("certificate", "absent", "made")]
    if seen.ends is None:
        return [("certificate", "cannot be read", "made")]
    found = []
    left = (seen.ends - now).total_seconds() / 86400
    if left < renew_before:
        state = f"expired on {seen.ends:%Y-%m-%d}" if left <= 0 else f"expires on {seen.ends:%Y-%m-%d}"
        found.append(("valid until", state, f"{renew_before} days from now or later"))
    missing = [name for name in names if name not in seen.names]
    if missing:
        found.append(("names", ", ".join(seen.names) or "none", f"also {', '.join(missing)}"))
    if not seen.fits_key:
        found.append(("public part", "of another private one", "that of the file beside it"))
    if not seen.fits_authority:
        found.append(("issuer", "another authority", "the authority beside it"))
    return found


def authority_problems(seen: Seen, renew_before: int, now: datetime.datetime) -> List[Tuple[str, str, str]]:
    """Return (field, what is, what is wanted) of everything that is wrong with the authority's own certificate. Pure."""
    if seen.authority is None or seen.authority_key.text is None:
        return [("certificate", "absent" if seen.authority is None else "without its private part", "made")]
    if seen.authority_ends is None or (seen.authority_ends - now).total_seconds() / 86400 < renew_before:
        return [("certificate", "expired, or soon" if seen.authority_ends else "cannot be read", "made")]
    return []


def make_authority(places: Places, name: str) -> None:
    """Make a new authority, and its private key. Raises Failure."""
    with tempfile.TemporaryDirectory() as folder:
        key = _make_key(folder)
        config = _write(folder, "authority.cnf", _AUTHORITY_CONFIG.format(name=f"{places.title} of {name[:_LONGEST]}"))
        request = ["req", "-new", "-x509", "-config", config, "-key", key, "-sha256", "-days", str(_AUTHORITY_DAYS), "-set_serial", _serial()]
        text = _openssl(request)
        _folder(places)
        files.replace(places.authority_key, _read(key), 0o600, "root")
        files.replace(places.authority, text, 0o644, "root")


def make_certificate(places: Places, names: Sequence[str]) -> None:
    """Make a new private key and a certificate for it. Raises Failure."""
    entries = ", ".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)
    with tempfile.TemporaryDirectory() as folder:
        key = _make_key(folder)
        config = _write(folder, "server.cnf", _SERVER_CONFIG.format(name=names[0][:_LONGEST], names=entries, usage=places.usage, subject=places.subject))
        request = _write(folder, "server.csr", _openssl(["req", "-new", "-config", config, "-key", key, "-sha256"]))
        signing = ["-CA", places.authority, "-CAkey", places.authority_key, "-set_serial", _serial(), "-days", str(DAYS), "-sha256"]
        text = _openssl(["x509", "-req", "-in", request, *signing, "-extfile", config, "-extensions", "extensions"])
        _folder(places)
        files.replace(places.key, _read(key), 0o600, places.account)
        files.replace(places.certificate, text, 0o644, "root")


def guard_key(path: str, owner: str) -> None:
    """Give a private key to its owner alone."""
    files.guard(path, 0o600, owner)


def _folder(places: Places) -> None:
    os.makedirs(os.path.dirname(places.certificate), mode=0o755, exist_ok=True)


def _make_key(folder: str) -> str:
    path = os.path.join(folder, "key.pem")
    _openssl(["genpkey", *_CURVE, "-out", path])
    return path


def _serial() -> str:
    # 127 bits: always positive.
    return f"0x{int.from_bytes(os.urandom(16), 'big') >> 1:x}"


def _write(folder: str, name: str, text: str) -> str:
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _openssl(words: List[str]) -> str:
    ended = ask(["openssl", *words])
    if ended.status:
        raise Failure(f"openssl {words[0]} failed: {ended.complaint.strip()[-500:]}", "Are the names valid?", "openssl")
    return ended.output
