# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory wants of a member of etcd and of its cluster, judged before anything is looked at."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, disk, files, program
from ansible_collections.paas.hardening.plugins.module_utils._host.addresses import address_of
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd import places

# What a run is about: what concerns this host alone, its member, or the cluster as a whole.
GROUND, MEMBER, CLUSTER = "ground", "member", "cluster"
READ, WRITE = "read", "write"
PEER_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "authority": {"type": "str", "default": ""},
    "present": {"type": "bool", "default": True},
    "data": {"type": "bool", "default": False},
}
USER_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "prefix": {"type": "str", "required": True},
    "rights": {"type": "str", "choices": [READ, WRITE], "default": WRITE},
}
ARGUMENTS: Dict[str, Any] = {
    "step": {"type": "str", "choices": [GROUND, MEMBER, CLUSTER], "required": True},
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "client_port": {"type": "int", "default": 2379},
    "peer_port": {"type": "int", "default": 2380},
    "binary": {"type": "path", "default": ""},
    "binary_sha256": {"type": "str", "default": ""},
    "remote_src": {"type": "bool", "default": False},
    "names": {"type": "list", "elements": "str", "default": []},
    "tls_certificate": {"type": "str", "default": ""},
    "tls_key": {"type": "str", "default": "", "no_log": False},
    "tls_authority": {"type": "str", "default": ""},
    "renew_before": {"type": "int", "default": 30},
    "client_authority": {"type": "str", "default": ""},
    "clients": {"type": "list", "elements": "str", "default": []},
    "data_disk": {"type": "str", "default": ""},
    "data_filesystem": {"type": "str", "choices": sorted(disk.PROGRAMS), "default": "ext4"},
    "quota_backend_bytes": {"type": "int", "default": 2147483648},
    "auto_compaction_retention": {"type": "str", "default": "1h"},
    "heartbeat_interval": {"type": "int", "default": 100},
    "election_timeout": {"type": "int", "default": 1000},
    "defragment": {"type": "str", "default": "Sun 03:30"},
    "disk_latency": {"type": "int", "default": 10},
    "capacity_warning": {"type": "int", "default": 70},
    "authentication": {"type": "bool", "default": False},
    "root_password": {"type": "str", "default": "", "no_log": True},
    "root_password_file": {"type": "path", "default": "", "no_log": False},
    "users": {"type": "list", "elements": "dict", "default": [], "options": USER_OPTIONS},
    "peers": {"type": "list", "elements": "dict", "default": [], "options": PEER_OPTIONS},
    "lead": {"type": "bool", "default": False},
    "lost": {"type": "list", "elements": "str", "default": []},
    "restart": {"type": "str", "choices": ["allowed", "never"], "default": "allowed"},
    "on_refusal": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RETENTION = re.compile(r"[1-9][0-9]{0,4}[hms]|0")
_CALENDAR = re.compile(r"[A-Za-z0-9 :*,./~-]{1,64}")
_PASSWORD = re.compile(r"[\x21-\x7e]{16,128}")
_PASSWORD_HINT = "Give 16 to 128 printable signs without blanks: openssl rand -hex 24."


class Peer(NamedTuple):
    """Another host of the group. ``authority`` is empty when it has none yet, ``present`` when it is in this play, ``data`` when it has data of a member."""

    name: str
    address: str
    authority: str
    present: bool
    data: bool


class User(NamedTuple):
    """Who logs in by the common name of a client's certificate, with rights on the keys that begin with this."""

    name: str
    prefix: str
    rights: str


class Wish(NamedTuple):
    """What there has to be. ``names`` are those in the certificate; ``certificates`` are those made for clients, by their common name."""

    step: str
    way: places.Way
    program: Optional[program.Wanted]
    names: Tuple[str, ...]
    tls: certificates.Places
    renew_before: int
    client_authority: str
    clients: Tuple[certificates.Places, ...]
    disk: str
    filesystem: str
    defragment: str
    latency: int
    capacity: int
    shut: bool
    password: str
    users: Tuple[User, ...]
    peers: Tuple[Peer, ...]
    lead: bool
    lost: Tuple[str, ...]
    may_restart: bool

    def __repr__(self) -> str:
        return f"Wish({self.way.name!r}, {self.step!r})"

    @property
    def path(self) -> str:
        """The program."""
        return self.program.path if self.program else places.PACKAGED

    @property
    def command(self) -> List[str]:
        return places.command(self.path, self.way, self.tls.certificate, self.tls.key)

    @property
    def unit(self) -> str:
        return places.unit_text(self.way.name, self.command, bool(self.disk))


def wish_of(params: Mapping[str, Any]) -> Wish:
    """Return the wish. Raises Invalid, which names the option, its value unless that is secret, and what to write instead."""
    address = address_of(params["address"], "address")
    for option, least, most in (
        ("client_port", 1024, 65535),
        ("peer_port", 1024, 65535),
        ("renew_before", 1, certificates.DAYS - 1),
        ("quota_backend_bytes", 1 << 24, 8 << 30),
        ("heartbeat_interval", 10, 5000),
        ("election_timeout", 100, 50000),
        ("disk_latency", 1, 60000),
        ("capacity_warning", 1, 99),
    ):
        if not least <= params[option] <= most:
            raise Invalid(f"{option} is {params[option]}.", f"Give {least} to {most}.", option)
    if params["client_port"] == params["peer_port"] or places.METRICS_PORT in (params["client_port"], params["peer_port"]):
        raise Invalid("client_port and peer_port have to differ, and to leave 2381 free.", "Give others.", "client_port")
    if params["election_timeout"] < 5 * params["heartbeat_interval"]:
        raise Invalid("election_timeout is less than five times heartbeat_interval.", "etcd refuses that: give ten times as much.", "election_timeout")
    _matching(params["name"], _NAME, "name", "Give letters, digits, dots, hyphens and underscores.")
    _matching(params["auto_compaction_retention"], _RETENTION, "auto_compaction_retention", "Give a period like 1h or 30m, or 0 for none.")
    if params["defragment"]:
        _matching(params["defragment"], _CALENDAR, "defragment", "Give a time as systemd writes it (systemd-analyze calendar), or nothing.")
    peers = _peers(params["peers"], params["name"], address)
    password = _password(params)
    ours = certificates.Places(
        f"{places.OURS}/server.crt", f"{places.OURS}/server.key", f"{places.OURS}/ca.crt", places.ACCOUNT, places.TITLE, usage=certificates.BOTH, subject="O"
    )
    tls = certificates.chosen(ours, params["tls_certificate"], params["tls_key"], params["tls_authority"])
    return Wish(
        params["step"],
        places.Way(
            params["name"],
            address,
            params["client_port"],
            params["peer_port"],
            params["quota_backend_bytes"],
            params["auto_compaction_retention"],
            params["heartbeat_interval"],
            params["election_timeout"],
        ),
        _program(params),
        _names([*(params["names"] or [params["name"]]), address]),
        tls,
        params["renew_before"],
        params["client_authority"],
        _clients(params["clients"], ours, tls),
        params["data_disk"],
        params["data_filesystem"],
        params["defragment"],
        params["disk_latency"],
        params["capacity_warning"],
        params["authentication"],
        password,
        _users(params["users"], params["authentication"]),
        peers,
        params["lead"],
        tuple(sorted(set(params["lost"]))),
        params["restart"] == "allowed",
    )


def _matching(value: str, pattern: re.Pattern[str], option: str, hint: str) -> None:
    if not pattern.fullmatch(value):
        raise Invalid(f"{option} is {value!r}.", hint, option)


def _program(params: Mapping[str, Any]) -> Optional[program.Wanted]:
    """Return the program that the user names, or None when it is that of the distribution."""
    if not params["binary_sha256"]:
        if params["binary"]:
            raise Invalid("binary is given without binary_sha256.", "Give the checksum of the program that you trust.", "binary_sha256")
        return None
    given = params["binary"] if params["remote_src"] else ""
    return program.Wanted(places.OWN, program.digest_given(params["binary_sha256"]), given, places.TITLE, places.ROLE)


def _names(given: Sequence[str]) -> Tuple[str, ...]:
    names = tuple(dict.fromkeys(given))
    for name in names:
        if not name or any(not (character.isalnum() or character in ".-_:*") for character in name):
            raise Invalid(f"names: {name!r} is no name of a host.", "Give the names under which clients know this member.", "names")
    return names


def _peers(given: Sequence[Mapping[str, Any]], name: str, address: str) -> Tuple[Peer, ...]:
    found: List[Peer] = []
    for one in given:
        peer = Peer(one["name"], address_of(one["address"], "peers.address"), one["authority"].strip(), one["present"], one["data"])
        if peer.name == name or peer.address == address or peer.address in {other.address for other in found}:
            raise Invalid(f"peers: {peer.name} has the name or the address of another member.", "Each member has its own.", "peers")
        found.append(peer)
    return tuple(found)


def _clients(given: Sequence[str], ours: certificates.Places, tls: certificates.Places) -> Tuple[certificates.Places, ...]:
    if given and not tls.made:
        raise Invalid("clients is given, and the certificates are your own.", "Let your authority make those of the clients, too.", "clients")
    found = []
    for name in sorted(set(given)):
        _matching(name, _NAME, "clients", "Give common names of letters, digits, dots, hyphens and underscores.")
        if name == "root":
            raise Invalid("clients has root.", "Whoever has that certificate rules the cluster: give clients names and rights of their own.", "clients")
        path = f"{places.CLIENTS}/{name}"
        found.append(ours._replace(certificate=f"{path}.crt", key=f"{path}.key", account="root", usage=certificates.CLIENT, subject="CN"))
    return tuple(found)


def _password(params: Mapping[str, Any]) -> str:
    given, path = params["root_password"], params["root_password_file"]
    if given and path:
        raise Invalid("root_password and root_password_file are given.", "Give one of them.", "root_password")
    if path:
        text = files.look(path).text
        if text is None:
            raise Invalid(f"root_password_file is {path}, and there is no such file on the host.", "Give the path of a file on the host.", "root_password_file")
        given = text.rstrip("\n")
    if params["authentication"] and not given:
        raise Invalid("authentication needs a password of root.", f"{_PASSWORD_HINT} It goes into root_password, from a vault.", "root_password")
    if given and not _PASSWORD.fullmatch(given):
        raise Invalid("root_password is too short, too long, or has blanks.", _PASSWORD_HINT, "root_password")
    return str(given)


def _users(given: Sequence[Mapping[str, Any]], shut: bool) -> Tuple[User, ...]:
    if given and not shut:
        raise Invalid("users is given without authentication.", "Without it everybody who has a certificate may do everything: set authentication.", "users")
    found: List[User] = []
    for one in sorted(given, key=lambda user: str(user["name"])):
        _matching(one["name"], _NAME, "users.name", "Give the common name of a client's certificate.")
        if one["name"] == "root" or one["name"] in {user.name for user in found}:
            raise Invalid(f"users: {one['name']} is root, or named twice.", "Each client has a user of its own.", "users.name")
        if not one["prefix"]:
            raise Invalid(f"users: {one['name']} has no prefix.", "Give what its keys begin with, like /registry/.", "users.prefix")
        found.append(User(one["name"], one["prefix"], one["rights"]))
    return tuple(found)


def secrets_of(params: Mapping[str, Any]) -> List[str]:
    """Return the secret values among the options."""
    path = params.get("root_password_file")
    value = (files.look(path).text or "").rstrip("\n") if path else params.get("root_password")
    return [value] if value else []
