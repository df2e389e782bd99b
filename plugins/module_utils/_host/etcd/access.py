# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and roles of etcd: who has a certificate with their name may do no more than the inventory says."""

from __future__ import annotations

from typing import Iterator, List, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.api import Client, packed
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.cluster import Cluster
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.wishes import WRITE, User

_ROOT = "root"


def end_of(prefix: str) -> str:
    """Return the first key behind all that begin with a prefix, as etcd wants it. Pure."""
    kept = prefix.encode("utf-8", "surrogateescape")
    while kept and kept[-1] == 0xFF:
        kept = kept[:-1]
    return (kept[:-1] + bytes([kept[-1] + 1])).decode("utf-8", "surrogateescape") if kept else "\0"


def rights_of(user: User) -> Tuple[str, str, str]:
    """Return what its role has to say: the kind of right, and the first key and the end of what it is on. Pure."""
    return ("READWRITE" if user.rights == WRITE else "READ", packed(user.prefix), packed(end_of(user.prefix)))


def differences(user: User, seen: Cluster) -> Iterator[Tuple[str, object, str]]:
    """Yield (field, what is, what is wanted) of everything that is wrong with a user. Pure."""
    roles = seen.users.get(user.name)
    if roles is None:
        yield "user", None, "made, without a password"
    if (roles or ()) != (user.name,):
        yield "roles", ", ".join(roles) if roles else None, user.name
    if seen.roles.get(user.name, ()) != (rights_of(user),):
        yield "rights", "others" if user.name in seen.roles else None, f"{user.rights} {user.prefix}"


def strangers(users: Sequence[User], seen: Cluster) -> List[str]:
    """Return the users that nobody declared. Pure."""
    return sorted(set(seen.users) - {_ROOT} - {user.name for user in users})


def enforce(client: Client, user: User, seen: Cluster) -> None:
    """Make a user what it has to be. Raises Failure."""
    if user.name not in seen.roles:
        client.ask("auth/role/add", {"name": user.name})
    wanted = rights_of(user)
    for right in seen.roles.get(user.name, ()):
        if right != wanted:
            client.ask("auth/role/revoke", {"role": user.name, "key": right[1], "range_end": right[2]})
    if wanted not in seen.roles.get(user.name, ()):
        client.ask("auth/role/grant", {"name": user.name, "perm": {"permType": wanted[0], "key": wanted[1], "range_end": wanted[2]}})
    if user.name not in seen.users:
        client.ask("auth/user/add", {"name": user.name, "options": {"no_password": True}})
    for role in seen.users.get(user.name, ()):
        if role != user.name:
            client.ask("auth/user/revoke", {"name": user.name, "role": role})
    if user.name not in seen.users.get(user.name, ()):
        client.ask("auth/user/grant", {"user": user.name, "role": user.name})


def shut(client: Client, password: str, seen: Cluster) -> None:
    """Let nobody in any more who is no user: root gets this password, and log-ins are wanted. Raises Failure."""
    if _ROOT not in seen.users:
        client.ask("auth/user/add", {"name": _ROOT, "password": password})
    else:
        client.ask("auth/user/changepw", {"name": _ROOT, "password": password})
    if _ROOT not in seen.roles:
        client.ask("auth/role/add", {"name": _ROOT})
    if _ROOT not in seen.users.get(_ROOT, ()):
        client.ask("auth/user/grant", {"user": _ROOT, "role": _ROOT})
    client.ask("auth/enable")
