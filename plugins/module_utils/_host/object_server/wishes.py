# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory wants of an S3 server, judged before anything is looked at."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, disk, files, program
from ansible_collections.paas.hardening.plugins.module_utils._host.addresses import address_of
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import (
    ACCOUNT,
    BACKENDS,
    DATA,
    OURS,
    POOLS,
    Backend,
    Places,
    outlives_a_host,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.policies import READ, WRITE
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

GOVERNANCE, COMPLIANCE = "governance", "compliance"
BUCKET_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "versioning": {"type": "bool", "default": True},
    "object_lock": {"type": "bool", "default": False},
    "retention_days": {"type": "int", "default": 0},
    "retention_mode": {"type": "str", "choices": [GOVERNANCE, COMPLIANCE], "default": GOVERNANCE},
}
IDENTITY_OPTIONS: Dict[str, Any] = {
    "access_key": {"type": "str", "required": True, "no_log": False},
    "secret_key": {"type": "str", "required": True, "no_log": True},
    "buckets": {"type": "list", "elements": "str", "required": True},
    "rights": {"type": "str", "choices": [READ, WRITE], "default": WRITE},
}
# Every host of a pool goes through these, in this order; a host alone does all at once.
ALL, GROUND, MEMBER, POOL = "all", "ground", "member", "pool"
MEMBER_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "authority": {"type": "str", "default": ""},
}
ARGUMENTS: Dict[str, Any] = {
    "backend": {"type": "str", "choices": sorted(BACKENDS), "default": "minio"},
    "binary": {"type": "path", "default": ""},
    "binary_sha256": {"type": "str", "required": True},
    "remote_src": {"type": "bool", "default": False},
    "address": {"type": "str", "required": True},
    "listen_port": {"type": "int", "default": 9000},
    "plain_port": {"type": "int", "default": 0},
    "names": {"type": "list", "elements": "str", "default": []},
    "region": {"type": "str", "default": "us-east-1"},
    "root_access_key": {"type": "str", "required": True, "no_log": False},
    "root_secret_key": {"type": "str", "default": "", "no_log": True},
    "root_secret_key_file": {"type": "path", "default": "", "no_log": False},
    "settings": {"type": "dict", "default": {}},
    "tls_certificate": {"type": "str", "default": ""},
    "tls_key": {"type": "str", "default": "", "no_log": False},
    "tls_authority": {"type": "str", "default": ""},
    "renew_before": {"type": "int", "default": 30},
    "data_disks": {"type": "list", "elements": "str", "default": []},
    "buckets": {"type": "list", "elements": "dict", "default": [], "options": BUCKET_OPTIONS},
    "identities": {"type": "list", "elements": "dict", "default": [], "options": IDENTITY_OPTIONS},
    "capacity_warning": {"type": "int", "default": 70},
    "restart": {"type": "str", "choices": ["allowed", "never"], "default": "allowed"},
    "step": {"type": "str", "choices": [ALL, GROUND, MEMBER, POOL], "default": ALL},
    "members": {"type": "list", "elements": "dict", "default": [], "options": MEMBER_OPTIONS},
    "together": {"type": "bool", "default": False},
    "lead": {"type": "bool", "default": True},
    "on_refusal": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}
# Credentials that are in documentation, images and word lists. Whoever scans for stores tries these first.
_KNOWN = ("minioadmin", "minio123", "minio", "admin", "password", "changeme", "secret", "test", "user", "example", "wjalrxutnfemi/k7mdeng/bpxrficyexamplekey")
_ACCESS_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}")
# What an environment file, a header and every client take as it is.
_SECRET_KEY = re.compile(r"[A-Za-z0-9!%()*+,./:;<>?@^_{|}~-]{16,128}")
_SECRET_HINT = "Give 16 to 128 letters, digits and signs other than quotes, =, &, $, # and backslash: openssl rand -hex 24."
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_VALUE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")


class Bucket(NamedTuple):
    """A bucket: whether it keeps versions and may lock objects, and for how many days it does by itself (0: not)."""

    name: str
    versioning: bool
    lock: bool
    days: int
    mode: str


class Identity(NamedTuple):
    """Who may read, or read and write, in these buckets, and nothing else. The secret is never shown."""

    access: str
    secret: str
    buckets: Tuple[str, ...]
    rights: str

    def __repr__(self) -> str:
        return f"Identity({self.access!r})"


class Wish(NamedTuple):
    """What there has to be on one host. ``names`` are the names and addresses in the certificate, the first being the host's own.

    ``plain_port`` is that of a door without TLS; 0: there is none. Of a pool ``authorities`` are those of its members, in their order, empty where one is not
    known; ``together`` tells that all are restarted at once, and ``lead`` that this host is the one that manages buckets and identities.
    """

    backend: Backend
    program: program.Wanted
    places: Places
    disks: Tuple[Tuple[disk.Place, str], ...]
    names: Tuple[str, ...]
    variables: Mapping[str, str]
    root: Tuple[str, str]
    tls: certificates.Places
    renew_before: int
    buckets: Tuple[Bucket, ...]
    identities: Tuple[Identity, ...]
    capacity: int
    may_restart: bool
    plain_port: int = 0
    step: str = ALL
    authorities: Tuple[str, ...] = ()
    together: bool = False
    lead: bool = True

    def __repr__(self) -> str:
        return f"Wish({self.backend.name!r}, {self.places.address!r})"


def wish_of(params: Mapping[str, Any]) -> Wish:
    """Return the wish. Raises Invalid, which names the option, its value unless that is secret, and what to write instead."""
    address = address_of(params["address"], "address")
    pool = tuple(address_of(member["address"], "members.address") for member in params["members"])
    backend = _backend(params, pool, address)
    names = _names(params["names"], address)
    user, secret = params["root_access_key"], _root_secret(params)
    _check_keys(user, secret, "root_access_key", "root_secret_key")
    for name, least, most in (("listen_port", 1, 65535), ("plain_port", 0, 65535), ("renew_before", 1, certificates.DAYS - 1), ("capacity_warning", 1, 99)):
        if not least <= params[name] <= most:
            raise Invalid(f"{name} is {params[name]}.", f"Give {least} to {most}.", name)
    if params["plain_port"] == params["listen_port"]:
        raise Invalid("plain_port is the same as listen_port.", "The server listens there by TLS: give another port.", "plain_port")
    if not re.fullmatch(r"[a-z0-9-]{1,32}", params["region"]):
        raise Invalid(f"region is {params['region']!r}.", "Give letters, digits and hyphens, like us-east-1.", "region")
    digest = program.digest_given(params["binary_sha256"])
    disks = _disks(params["data_disks"], backend)
    volumes = tuple(place.where for place, _device in disks) or (f"{DATA}/disk1",)
    buckets = _buckets(params["buckets"])
    ours = certificates.Places(f"{OURS}/server.crt", f"{OURS}/server.key", f"{OURS}/ca.crt", ACCOUNT, "Object store")
    return Wish(
        backend,
        program.Wanted(backend.program, digest, params["binary"] if params["remote_src"] else "", backend.title, "object_store_server"),
        Places(address, params["listen_port"], params["region"], volumes, pool),
        disks,
        names,
        backend.variables(user, secret, params["region"], _settings(params["settings"], backend)),
        (user, secret),
        certificates.chosen(ours, params["tls_certificate"], params["tls_key"], params["tls_authority"]),
        params["renew_before"],
        buckets,
        _identities(params["identities"], buckets, user),
        params["capacity_warning"],
        params["restart"] == "allowed",
        params["plain_port"],
        params["step"],
        tuple(member["authority"] for member in params["members"]),
        params["together"],
        params["lead"],
    )


def _backend(params: Mapping[str, Any], pool: Sequence[str], address: str) -> Backend:
    """Return the row of the table, that of a pool where there are members. Raises Invalid for a pool that could not be, or that would die with a host."""
    name, disks = params["backend"], len(params["data_disks"])
    if bool(pool) != (params["step"] != ALL):
        raise Invalid(f"step is {params['step']}, and members names {len(pool)}.", "The steps ground, member and pool are those of a pool.", "step")
    if not pool:
        return BACKENDS[name]
    if name not in POOLS:
        raise Invalid(f"{BACKENDS[name].title} is no store over several hosts.", f"Take {' or '.join(sorted(POOLS))}, or hosts that stand alone.", "backend")
    if address not in pool or len(set(pool)) != len(pool):
        raise Invalid("members has an address twice, or not that of this host.", "Give every host of the pool once, in the same order everywhere.", "members")
    if not disks:
        raise Invalid("data_disks is empty.", "A pool takes drives of its own: a system's file system is refused by it.", "data_disks")
    if len(pool) * disks > POOLS[name].most:
        told = f"{len(pool)} hosts with {disks} disks are {len(pool) * disks} drives"
        raise Invalid(f"{told}, and one set has {POOLS[name].most} at most.", "Give fewer, or make several stores of them.", "data_disks")
    if not outlives_a_host(len(pool), disks):
        told = f"A pool of {len(pool)} host{'s' if len(pool) > 1 else ''} with {disks} disk{'s' if disks > 1 else ''} each"
        raise Invalid(f"{told} cannot be written any more without one of them.", "Take three or more hosts, of up to four disks.", "members")
    return POOLS[name]


def _names(given: Sequence[str], address: str) -> Tuple[str, ...]:
    names = tuple(dict.fromkeys([*(given or [os.uname().nodename]), address]))
    for name in names:
        if not name or any(not (character.isalnum() or character in ".-_:*") for character in name):
            raise Invalid(f"names: {name!r} is no name of a host.", "Give the names under which clients know this server.", "names")
    return names


def _root_secret(params: Mapping[str, Any]) -> str:
    given, path = params["root_secret_key"], params["root_secret_key_file"]
    if bool(given) == bool(path):
        raise Invalid(
            "Of root_secret_key and root_secret_key_file one has to be given, and one only.",
            "Give the secret from a vault, or the path of a file on the host that holds it.",
            "root_secret_key",
        )
    if given:
        return str(given)
    text = files.look(path).text
    if text is None:
        raise Invalid(f"root_secret_key_file is {path}, and there is no such file on the host.", "Give the path of a file on the host.", "root_secret_key_file")
    return text.rstrip("\n")


def _check_keys(access: str, secret: str, access_option: str, secret_option: str) -> None:
    """Refuse credentials that cannot be, and those that everybody knows."""
    if not _ACCESS_KEY.fullmatch(access):
        raise Invalid(f"{access_option} is {access!r}.", "Give 3 to 64 letters, digits, dots, hyphens and underscores.", access_option)
    for option, value in ((access_option, access), (secret_option, secret)):
        if value.lower() in _KNOWN:
            raise Invalid(f"{option} is a known default.", f"Everybody tries that one first: take one of your own ({_SECRET_HINT})", option)
    if not _SECRET_KEY.fullmatch(secret):
        raise Invalid(f"{secret_option} is too short, too long, or has signs that not every client takes.", _SECRET_HINT, secret_option)
    if secret == access:
        raise Invalid(f"{secret_option} is the same as {access_option}.", _SECRET_HINT, secret_option)


def _settings(given: Mapping[str, Any], backend: Backend) -> Dict[str, str]:
    """Return further variables of the server's environment."""
    own = {backend.user: "root_access_key", backend.secret: "root_secret_key", **dict.fromkeys(backend.environment, "another option")}
    found = {}
    for name, value in sorted(given.items()):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if name in own:
            raise Invalid(f"settings: {name} is set by {own[name]}.", "Leave it out of settings.", "settings")
        if not _VARIABLE.fullmatch(name) or not _VALUE.fullmatch(text):
            raise Invalid(f"settings: {name} has a name or a value that cannot be in an environment file.", "Give printable signs without quotes.", "settings")
        found[name] = text
    return found


def _disks(given: Sequence[str], backend: Backend) -> Tuple[Tuple[disk.Place, str], ...]:
    if len(given) > backend.most:
        raise Invalid(f"data_disks has {len(given)} disks, and {backend.title} takes {backend.most}.", "Give fewer, or take another backend.", "data_disks")
    if len(set(given)) != len(given):
        raise Invalid("data_disks names a disk twice.", "Give each disk once.", "data_disks")
    places = [
        disk.Place(f"{DATA}/disk{number}", f"objects-{number}", ACCOUNT, 0o750, ("*", ".[!.]*"), "the object store", "object_store_server", "data_disks")
        for number in range(1, len(given) + 1)
    ]
    return tuple(zip(places, given))


def _buckets(given: Sequence[Mapping[str, Any]]) -> Tuple[Bucket, ...]:
    found: List[Bucket] = []
    for one in sorted(given, key=lambda bucket: str(bucket["name"])):
        name = one["name"]
        Store("s3").check_bucket(name, "buckets.name")
        if found and found[-1].name == name:
            raise Invalid(f"buckets names {name} twice.", "Give each bucket once.", "buckets.name")
        if one["object_lock"] and not one["versioning"]:
            raise Invalid(f"buckets: {name} has object_lock without versioning.", "Locks are on versions: leave versioning on.", "buckets.object_lock")
        if one["retention_days"] and not one["object_lock"]:
            raise Invalid(f"buckets: {name} has retention_days without object_lock.", "Set object_lock, too.", "buckets.retention_days")
        if one["retention_days"] < 0:
            raise Invalid(f"buckets: {name} has retention_days {one['retention_days']}.", "Give days, or 0 for none.", "buckets.retention_days")
        found.append(Bucket(name, one["versioning"], one["object_lock"], one["retention_days"], one["retention_mode"].upper()))
    return tuple(found)


def _identities(given: Sequence[Mapping[str, Any]], buckets: Sequence[Bucket], root: str) -> Tuple[Identity, ...]:
    known, found = {bucket.name for bucket in buckets}, []
    taken = {root}
    for one in sorted(given, key=lambda identity: str(identity["access_key"])):
        access = one["access_key"]
        _check_keys(access, one["secret_key"], "identities.access_key", "identities.secret_key")
        if access in taken:
            raise Invalid(f"identities: {access} is named twice, or is the root's.", "Each component has an identity of its own.", "identities.access_key")
        taken.add(access)
        strange = sorted(set(one["buckets"]) - known)
        if strange or not one["buckets"]:
            told = f"names {', '.join(strange)}, which buckets does not" if strange else "has no bucket"
            raise Invalid(f"identities: {access} {told}.", "Name each bucket in buckets, too.", "identities.buckets")
        found.append(Identity(access, one["secret_key"], tuple(sorted(set(one["buckets"]))), one["rights"]))
    return tuple(found)


def secrets_of(params: Mapping[str, Any]) -> List[str]:
    """Return the secret values among the options."""
    found: List[Optional[str]] = [one.get("secret_key") for one in params.get("identities") or () if isinstance(one, Mapping)]
    path = params.get("root_secret_key_file")
    found.append((files.look(path).text or "").rstrip("\n") if path else params.get("root_secret_key"))
    return [value for value in found if value]
