# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory wants of a PostgreSQL server, judged before anything is looked at."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, disk
from ansible_collections.paas.hardening.plugins.module_utils._host.addresses import address_of
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import access, accounts, repository, settings, standby
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import PORT, TLS
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.repository import DISTRIBUTION, PGDG
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.repository import OPTIONS as REPOSITORY_OPTIONS

# All of it; or, of a standby that there is, what has to come before its primary gets more.
WHOLE, AHEAD = "whole", "ahead"
# How a former primary gives up what nobody else has.
NOTHING, REWIND, COPY = "nothing", "rewind", "copy"
ARGUMENTS: Dict[str, Any] = {
    "version": {"type": "int"},
    "source": {"type": "str", "choices": [DISTRIBUTION, PGDG], "default": DISTRIBUTION},
    "repository": {"type": "dict", "apply_defaults": True, "options": REPOSITORY_OPTIONS},
    "data_disk": {"type": "str", "default": ""},
    "data_filesystem": {"type": "str", "choices": sorted(disk.PROGRAMS, reverse=True), "default": "xfs"},
    "addresses": {"type": "list", "elements": "str", "required": True},
    "names": {"type": "list", "elements": "str", "default": []},
    "tls_certificate": {"type": "str", "default": ""},
    "tls_key": {"type": "str", "default": "", "no_log": False},
    "tls_authority": {"type": "str", "default": ""},
    "renew_before": {"type": "int", "default": 30},
    "access": {"type": "list", "elements": "dict", "default": [], "options": access.ACCESS_OPTIONS},
    "roles": {"type": "list", "elements": "dict", "default": [], "options": accounts.ROLE_OPTIONS},
    "databases": {"type": "list", "elements": "dict", "default": [], "options": accounts.DATABASE_OPTIONS},
    "connections": {"type": "int", "default": 200},
    "settings": {"type": "dict", "default": {}},
    "archive_stanza": {"type": "str", "default": ""},
    "restart": {"type": "str", "choices": ["allowed", "never"], "default": "allowed"},
    "primary": {"type": "dict", "options": standby.PRIMARY_OPTIONS},
    "peers": {"type": "list", "elements": "dict", "default": [], "options": standby.PEER_OPTIONS},
    "replication_role": {"type": "str", "default": "replicator"},
    "replication_password": {"type": "str", "default": "", "no_log": True},
    "receivers": {"type": "list", "elements": "dict", "default": [], "options": standby.RECEIVER_OPTIONS},
    "receiver_role": {"type": "str", "default": "receiver"},
    "receiver_password": {"type": "str", "default": "", "no_log": True},
    "rejoin": {"type": "bool", "default": False},
    "rejoin_by": {"type": "str", "choices": [NOTHING, REWIND, COPY], "default": NOTHING},
    "synchronous": {"type": "bool", "default": False},
    "step": {"type": "str", "choices": [WHOLE, AHEAD], "default": WHOLE},
    "on_refusal": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}


class Wish(NamedTuple):
    """What there has to be on one host.

    ``names`` are the names and addresses in the certificate, the first being the host's own. ``slots`` are for the standbys of a primary and for those who
    receive its log; ``former`` are those that a standby had when it was the primary. ``rejoin`` lets a former primary that has nothing of its own become a
    standby, ``rejoin_by`` also one that has.
    """

    version: Optional[int]
    data_disk: str
    data_filesystem: str
    addresses: Tuple[str, ...]
    names: Tuple[str, ...]
    tls: certificates.Places
    renew_before: int
    entries: Tuple[access.Entry, ...]
    roles: Tuple[accounts.Role, ...]
    databases: Tuple[accounts.Database, ...]
    connections: int
    settings: Dict[str, str]
    may_restart: bool
    primary: Optional[standby.Primary]
    rejoin: bool
    rejoin_by: str
    slots: Tuple[str, ...]
    former: Tuple[str, ...]
    rewinding: bool = False
    repository: Optional[repository.Repository] = None

    def __repr__(self) -> str:
        return f"Wish(addresses={self.addresses!r})"

    @property
    def replicated(self) -> bool:
        return self.primary is not None or bool(self.slots)


def wish_of(params: Mapping[str, Any]) -> Wish:
    """Return the wish. Raises Invalid, which names the option, its value and what to write instead."""
    addresses = _addresses(params["addresses"])
    names = tuple(dict.fromkeys([*(params["names"] or [os.uname().nodename]), *addresses]))
    for name in names:
        if not name or any(not (character.isalnum() or character in ".-_:*") for character in name):
            raise Invalid(f"names: {name!r} is no name of a host.", "Give the names under which clients know this server.", "names")
    if params["renew_before"] < 1 or params["renew_before"] >= certificates.DAYS:
        raise Invalid(f"renew_before is {params['renew_before']}.", f"Give 1 to {certificates.DAYS - 1} days.", "renew_before")
    if params["connections"] < 10:
        raise Invalid(f"connections is {params['connections']}.", "Give 10 or more: some are kept for replication and for administrators.", "connections")
    roles = accounts.roles_of(params["roles"])
    databases = accounts.databases_of(params["databases"], roles)
    # In one order, whatever that of the inventory is: lines and lists are made of them.
    primary, peers = params["primary"], sorted(params["peers"], key=lambda one: str(one["name"]))
    role, password = params["replication_role"], params["replication_password"]
    if (primary or peers) and not password and params["step"] == WHOLE:
        raise Invalid("replication_password is empty.", "Give one (postgres_server_replication_password): openssl rand -hex 24.", "replication_password")
    entries = access.entries_of(params["access"])
    followers = access.entries_of([{"database": access.REPLICATION, "role": role, "network": one["address"]} for one in peers])
    rewinding = [one for one in peers if one.get("rewinds")]
    # pg_rewind comes as to a database of its own, beside the replication that it comes back for.
    followers += access.entries_of([{"database": "postgres", "role": role, "network": one["address"]} for one in rewinding])
    if peers and password:
        # After a switchover the roles of the hosts are the other way round; then the same lines are needed on each.
        roles = (*roles, _replicator(role, password)._replace(rewinds=bool(rewinding)))
    receivers = sorted(params["receivers"], key=lambda one: str(one["name"]))
    if receivers:
        followers += access.entries_of([{"database": access.REPLICATION, "role": params["receiver_role"], "network": one["address"]} for one in receivers])
        roles = (*roles, *_receiver(params, peers, receivers))
    given = settings.given_settings(params["settings"])
    if params["archive_stanza"]:
        given = {**settings.archiving(params["archive_stanza"], given), **given}
    given["synchronous_standby_names"] = _synchronous([*peers, *receivers]) if params["synchronous"] else ""
    slots = tuple(standby.slot_name(one["name"]) for one in [*peers, *receivers])
    found = standby.primary_of(primary, role, password, names[0], PORT)
    return Wish(
        params["version"],
        params["data_disk"],
        params["data_filesystem"],
        addresses,
        names,
        certificates.chosen(TLS, params["tls_certificate"], params["tls_key"], params["tls_authority"]),
        params["renew_before"],
        (*entries, *followers),
        roles,
        databases,
        params["connections"],
        {**given, **(found.settings() if found else {})},
        params["restart"] == "allowed",
        found,
        params["rejoin"],
        params["rejoin_by"],
        slots if not primary else (),
        slots if primary else (),
        bool(rewinding),
        repository.repository_of(params["source"], params["repository"], params["version"]),
    )


def _replicator(name: str, password: str) -> accounts.Role:
    """A role that may log in and replicate, and nothing else."""
    return accounts.roles_of([{"name": name, "password": password, "connection_limit": -1, "member_of": []}])[0]._replace(replication=True)


def _receiver(params: Mapping[str, Any], peers: Sequence[Mapping[str, Any]], receivers: Sequence[Mapping[str, Any]]) -> List[accounts.Role]:
    """Return the role of those who receive the log, which is not that of the standbys: who has one password has not the other. Raises Invalid."""
    name, password = params["receiver_role"], params["receiver_password"]
    twice = sorted({standby.slot_name(one["name"]) for one in peers} & {standby.slot_name(one["name"]) for one in receivers})
    if twice:
        raise Invalid(f"receivers: {', '.join(twice)} is a standby, too.", "Name it once: a standby needs no receiver, it has the log.", "receivers.name")
    if name == params["replication_role"]:
        raise Invalid(f"receiver_role is {name}, the role of the standbys.", "Give a name of its own (postgres_server_receiver_role).", "receiver_role")
    if not password and params["step"] == WHOLE:
        raise Invalid("receiver_password is empty.", "Give one (postgres_server_receiver_password): openssl rand -hex 24.", "receiver_password")
    return [_replicator(name, password)] if password else []


def _addresses(given: Sequence[str]) -> Tuple[str, ...]:
    if not given:
        raise Invalid("addresses is empty.", "Give the addresses of this host that clients connect to.", "addresses")
    return tuple(address_of(value, "addresses") for value in given)


def _synchronous(others: Sequence[Mapping[str, Any]]) -> str:
    """Any one of the others has to have a commit before it counts."""
    return f"ANY 1 ({', '.join(standby.slot_name(one['name']) for one in others)})" if others else ""


def secrets_of(params: Mapping[str, Any]) -> List[str]:
    """Return the secret values among the options."""
    passwords = [one.get("password") or "" for one in params.get("roles") or () if isinstance(one, Mapping)]
    return [value for value in passwords if value]
