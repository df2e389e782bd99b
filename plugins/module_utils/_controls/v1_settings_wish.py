# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a platform whose settings are keys of etcd: each option checked, and written as the platform's code reads it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
import os
import re
import ssl
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import read_file
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import secret_name
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.keys import Entrance, check_endpoint
from ansible_collections.paas.hardening.plugins.module_utils._platforms.deis_v1 import (
    BIT,
    BY_OPTION,
    BY_PATH,
    COMMAS,
    FLAG,
    FORBIDDEN_PORTS,
    NUMBER,
    PEM,
    ROOT,
    SETTINGS,
    SWITCH,
    WORDS,
    Setting,
)

_WRITTEN = {FLAG: ("false", "true"), SWITCH: ("off", "on"), BIT: ("0", "1")}
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)+")
# The label stands behind a comment sign in nginx's configuration.
_LABEL = re.compile(r"[A-Za-z0-9_. -]*")
_WEAK_CIPHER = re.compile(r"(?:^|(?<=[:+]))(?![!-])[A-Za-z0-9-]*(?:RC4|DES|NULL|EXP|MD5|ADH|AECDH)[A-Za-z0-9-]*")
_GROUP = re.compile(r"-----BEGIN DH PARAMETERS-----(.*?)-----END DH PARAMETERS-----", re.DOTALL)
_LEAST_GROUP_BITS = 2048
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def _argument(setting: Setting) -> Dict[str, Any]:
    found: Dict[str, Any] = {"type": "str", "no_log": setting.secret}
    if setting.kind in _WRITTEN:
        found["type"] = "bool"
    elif setting.kind == NUMBER:
        found["type"] = "int"
    elif setting.kind in (WORDS, COMMAS):
        found.update(type="list", elements="str")
    return {**found, "choices": list(setting.choices)} if setting.choices else found


ARGUMENTS: Dict[str, Any] = {
    "endpoints": {"type": "list", "elements": "str", "required": True},
    "ca_file": {"type": "path"},
    "client_certificate_file": {"type": "path"},
    "client_key_file": {"type": "path", "no_log": False},
    "etcd_user": {"type": "str"},
    "etcd_password_file": {"type": "path", "no_log": False},
    "timeout": {"type": "int", "default": 10},
    **{setting.option: _argument(setting) for setting in SETTINGS},
    **{f"{setting.option}_file": {"type": "path", "no_log": False} for setting in SETTINGS if setting.kind == PEM},
    "keys": {"type": "dict", "no_log": False},
    "absent": {"type": "list", "elements": "str", "choices": [setting.option for setting in SETTINGS], "default": []},
    "administrator_exists": {"type": "bool", "default": False},
    "administrator_token_file": {"type": "path", "no_log": False},
    "tls_ended_before": {"type": "bool", "default": False},
    "allow_lockout": {"type": "bool", "default": False},
    "backup_folder": {"type": "path"},
    "controller_url": {"type": "str"},
    "controller_ca_file": {"type": "path"},
    "router_address": {"type": "str"},
    "router_http_port": {"type": "int", "default": 80},
    "router_https_port": {"type": "int", "default": 443},
    "closed_hosts": {"type": "list", "elements": "str", "default": []},
    "closed_ports": {"type": "list", "elements": "int", "default": list(FORBIDDEN_PORTS)},
    "wait_timeout": {"type": "int", "default": 60},
    "on_refusal": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}


class Outside(NamedTuple):
    """Where the effect is looked at, as far as that is asked for; ``patience`` is in seconds."""

    controller_url: str
    controller_ca_file: str
    token: str
    router_address: str
    http_port: int
    https_port: int
    hosts: Tuple[str, ...]
    ports: Tuple[int, ...]
    patience: float


class Wish(NamedTuple):
    """What is wanted: the value of each key that is asked for, None where it has to go. Keys that no table knows are secret ones."""

    endpoints: Tuple[str, ...]
    entrance: Entrance
    values: Mapping[str, Optional[str]]
    administrator_exists: bool
    tls_ended_before: bool
    allow_lockout: bool
    backup_folder: str
    outside: Outside

    def __repr__(self) -> str:
        return f"Wish({', '.join(sorted(self.values))})"

    def asks_for(self, option: str) -> bool:
        return BY_OPTION[option].key in self.values


def wish_of(params: Mapping[str, Any]) -> Wish:
    """Return the wish. Raises Invalid, which names the option and never a secret value."""
    if not params["endpoints"]:
        raise Invalid("endpoints is empty.", "Name at least one member of etcd.", "endpoints")
    if bool(params["client_certificate_file"]) != bool(params["client_key_file"]):
        raise Invalid("Of client_certificate_file and client_key_file one is missing.", "Give both, or none.", "client_certificate_file")
    if bool(params["etcd_user"]) != bool(params["etcd_password_file"]):
        raise Invalid("Of etcd_user and etcd_password_file one is missing.", "Give both, or none.", "etcd_user")
    for option, least, most in (("timeout", 1, 600), ("wait_timeout", 0, 3600), ("router_http_port", 1, 65535), ("router_https_port", 1, 65535)):
        if not least <= params[option] <= most:
            raise Invalid(f"{option} is {params[option]}.", f"Give {least} to {most}.", option)
    entrance = Entrance(
        params["ca_file"] or "",
        params["client_certificate_file"] or "",
        params["client_key_file"] or "",
        params["etcd_user"] or "",
        read_file(params, "etcd_password"),
        params["timeout"],
    )
    return Wish(
        tuple(check_endpoint(url) for url in params["endpoints"]),
        entrance,
        _values(params),
        params["administrator_exists"],
        params["tls_ended_before"],
        params["allow_lockout"],
        _folder(params["backup_folder"]),
        _outside(params),
    )


def secrets_of(params: Mapping[str, Any]) -> List[str]:
    """Return the secret values among the options that are not marked so. What cannot be read is for the run itself to tell."""
    found = [str(value) for path, value in (params.get("keys") or {}).items() if value is not None and secret_name(str(path).rpartition("/")[2])]
    for name in ("etcd_password", "administrator_token", "tls_key"):
        with contextlib.suppress(Invalid):
            found.append(read_file(params, name))
    return [value for value in found if value]


def _values(params: Mapping[str, Any]) -> Dict[str, Optional[str]]:
    values: Dict[str, Optional[str]] = {}
    for setting in SETTINGS:
        given = (read_file(params, setting.option) or None) if setting.kind == PEM else params[setting.option]
        if setting.option in params["absent"]:
            if given is not None:
                raise Invalid(f"{setting.option} is given, and in absent, too.", "Take it out of one of them.", "absent")
            values[setting.key] = None
        elif given is not None:
            values[setting.key] = written(setting, given)
    key, certificate = BY_OPTION["tls_key"], BY_OPTION["tls_certificate"]
    if (key.key in values) != (certificate.key in values) or (values.get(key.key) is None) != (values.get(certificate.key) is None):
        raise Invalid("Of tls_key and tls_certificate one is missing.", "They belong together: give both, or name both in absent.", "tls_certificate")
    _require_pair(values.get(certificate.key), values.get(key.key))
    return {**values, **_others(params["keys"] or {})}


def written(setting: Setting, given: Any) -> str:
    """Return a value as the platform's code reads it. Raises Invalid."""
    option = setting.option
    if setting.kind in _WRITTEN:
        return _WRITTEN[setting.kind][bool(given)]
    if setting.kind == NUMBER:
        if not setting.least <= given <= setting.most:
            raise Invalid(f"{option} is {given}.", f"Give {setting.least} to {setting.most}.", option)
        return str(given)
    if setting.kind == WORDS:
        if not given:
            raise Invalid(f"{option} is empty.", f"Give some of {', '.join(setting.choices)}.", option)
        return " ".join(word for word in setting.choices if word in given)
    if setting.kind == COMMAS:
        return ",".join(_network(option, entry) for entry in _some(option, given))
    text = str(given)
    if setting.kind == PEM:
        return _pem(setting, text)
    if setting.pattern and not re.fullmatch(setting.pattern, text):
        raise Invalid(f"{option} is {text!r}, which the platform cannot read.", f"It has to match {setting.pattern}.", option)
    weak = _WEAK_CIPHER.search(text) if option == "tls_ciphers" else None
    if weak:
        raise Invalid(f"tls_ciphers lets in {weak[0]!r}.", "Leave it out, or put ! before it.", option)
    if option == "proxy_real_ip_cidr":
        _require_network(option, text)
    return text


def _some(option: str, given: List[str]) -> List[str]:
    if not given:
        raise Invalid(f"{option} is empty: that would let in nobody.", "Name networks, or name the option in absent.", option)
    return given


def _network(option: str, entry: str) -> str:
    """Return an entry of a list of networks, with its label."""
    address, _colon, label = entry.strip().partition(":")
    _require_network(option, address)
    if not _LABEL.fullmatch(label):
        raise Invalid(f"{option} has {entry!r}, whose label nginx would read as something else.", "Use letters, digits, dots and hyphens.", option)
    return f"{address}:{label}" if label else address


def _require_network(option: str, address: str) -> None:
    try:
        ipaddress.IPv4Network(address, strict=False)
    except ValueError:
        # The router cuts entries at each colon, so there is no way to write IPv6.
        hint = "Give an IPv4 address or network, like 192.0.2.0/24; the router reads no IPv6."
        raise Invalid(f"{option} has {address!r}, which is no IPv4 address or network.", hint, option) from None


def _pem(setting: Setting, text: str) -> str:
    text = text.strip()
    if setting.option == "tls_dhparam":
        bits = group_bits(text)
        if bits < _LEAST_GROUP_BITS:
            said = f"has {bits} bits" if bits else "is no group in PEM"
            raise Invalid(f"tls_dhparam {said}.", f"Make one: openssl dhparam {_LEAST_GROUP_BITS}", setting.option)
    return text


def group_bits(text: str) -> int:
    """Return how many bits the prime of a Diffie-Hellman group in PEM has, 0 when it is none. Pure."""
    found = _GROUP.search(text)
    try:
        content = base64.b64decode("".join(found[1].split()), validate=True) if found else b""
        # A sequence that begins with the prime, as ASN.1 writes it.
        prime = _inner(_inner(content, 0x30), 0x02)
    except (binascii.Error, IndexError, ValueError):
        return 0
    return int.from_bytes(prime, "big").bit_length()


def _inner(content: bytes, kind: int) -> bytes:
    if content[0] != kind:
        raise ValueError("another kind of content")
    length, start = content[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(content[2:start], "big")
    if len(content) < start + length:
        raise ValueError("cut off")
    return content[start : start + length]


def _require_pair(certificate: Optional[str], key: Optional[str]) -> None:
    """Raise Invalid when a private part is not that of the certificate. It is shown to OpenSSL in memory, and in no file."""
    if certificate is None or key is None:
        return
    if _CERTIFICATE not in certificate:
        raise Invalid("tls_certificate holds no certificate in PEM.", "Give the certificate, those between it and its authority behind it.", "tls_certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with _in_memory(certificate) as shown, _in_memory(key) as hidden:
            # An empty word keeps OpenSSL from asking for one.
            context.load_cert_chain(shown, hidden, password="")
    except (ssl.SSLError, ValueError):
        hint = "Give the private part in PEM, without a passphrase, and the certificate that was made for it."
        raise Invalid("tls_key is not the private part of tls_certificate.", hint, "tls_key") from None


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """Give the path of a file that is on no disk."""
    handle = os.memfd_create("pem")
    try:
        os.write(handle, f"{text}\n".encode())
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _others(given: Mapping[str, Any]) -> Dict[str, Optional[str]]:
    """Return the keys that have no option of their own."""
    values: Dict[str, Optional[str]] = {}
    for path, value in given.items():
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise Invalid(f"keys has {path!r}, which is no path below {ROOT}.", "Give paths like registry/s3bucket.", "keys")
        if path in BY_PATH:
            raise Invalid(f"keys has {path}.", f"It has an option of its own: {BY_PATH[path].option}.", "keys")
        if isinstance(value, (dict, list)) or value == "":
            raise Invalid(f"keys: the value of {path} is empty, or no text.", "Give a text, or null for no key at all.", "keys")
        if isinstance(value, bool):
            value = str(value).lower()
        values[f"{ROOT}/{path}"] = None if value is None else str(value)
    return values


def _folder(path: Optional[str]) -> str:
    if path and not os.path.isdir(path):
        raise Invalid(f"backup_folder is {path}, and there is no such folder.", "Make it, for one's own eyes only (mode 0700).", "backup_folder")
    return path or ""


def _outside(params: Mapping[str, Any]) -> Outside:
    url = (params["controller_url"] or "").rstrip("/")
    if url:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in url:
            raise Invalid(f"controller_url is {url!r}.", "Give it like https://deis.example.com, without a user.", "controller_url")
    if params["administrator_token_file"] and not url:
        raise Invalid("administrator_token_file is given without controller_url.", "Say where the controller is that is to be asked.", "controller_url")
    for port in params["closed_ports"]:
        if not 1 <= port <= 65535:
            raise Invalid(f"closed_ports has {port}.", "Give ports from 1 to 65535.", "closed_ports")
    return Outside(
        url,
        params["controller_ca_file"] or "",
        read_file(params, "administrator_token"),
        params["router_address"] or "",
        params["router_http_port"],
        params["router_https_port"],
        tuple(params["closed_hosts"]),
        tuple(params["closed_ports"]),
        params["wait_timeout"],
    )
