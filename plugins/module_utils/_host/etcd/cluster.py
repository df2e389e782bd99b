# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of etcd: who is in it, how each member is, and how many of them may be away without a lost quorum."""

from __future__ import annotations

import time
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.api import Client, Said

NOSPACE, CORRUPT = "NOSPACE", "CORRUPT"
# How a cluster is about log-ins: nobody has to, everybody has to, or it does not take our password.
OPEN, SHUT, UNKNOWN = "open", "shut", "unknown"
# What finds whom to ask for the member that its peers reach at a URL.
Finder = Callable[[str], Optional[Client]]
# Seconds in which those who joined last come to count.
_SETTLES, _PAUSE = 60.0, 1.0
# How often a member that is not well is looked at before it is called so.
_GLANCES = 3
# A key that nobody has; asking for it needs a quorum.
_NOWHERE = "AA=="


class Member(NamedTuple):
    """One member as the cluster knows it. ``name`` is empty for one that never began; ``urls`` are where peers reach it."""

    number: str
    name: str
    urls: Tuple[str, ...]
    learner: bool


class Status(NamedTuple):
    """What a member says of itself: its number, its version, who leads, bytes of its database on the disk and in use, and whether it reads with a quorum."""

    number: str
    version: str
    leader: str
    size: int
    in_use: int
    learner: bool
    serves: bool


class Cluster(NamedTuple):
    """Everything that is known of a cluster. ``statuses`` are by the members' numbers; who does not answer is not in it."""

    members: Tuple[Member, ...]
    statuses: Mapping[str, Status]
    alarms: Tuple[Tuple[str, str], ...]
    login: str
    users: Mapping[str, Tuple[str, ...]]
    roles: Mapping[str, Tuple[Tuple[str, str, str], ...]]

    @property
    def voters(self) -> List[Member]:
        return [member for member in self.members if not member.learner]

    def well(self, member: Member) -> bool:
        """A member that has begun, answers and knows a leader."""
        status = self.statuses.get(member.number)
        return bool(member.name) and status is not None and (status.serves or (status.learner and status.leader != "0"))

    def named(self, name: str, url: str) -> Optional[Member]:
        """Return the member of this name, or the one that is to be reached at this URL, or None."""
        found = [member for member in self.members if member.name == name] or [member for member in self.members if url in member.urls]
        return found[0] if found else None

    @property
    def leader(self) -> str:
        """The number of the leader; empty when nobody knows one."""
        return next((status.leader for status in self.statuses.values() if status.leader != "0"), "")


def needed(voters: int) -> int:
    """Return how many voters a quorum of so many has."""
    return voters // 2 + 1


def forbids_absence(cluster: Cluster, number: str) -> str:
    """Say why a member must not be away for a moment, or nothing. Of one or two voters none is ever spare: there a pause cannot be avoided."""
    voters = cluster.voters
    if number not in {member.number for member in voters}:
        return ""
    others = [member for member in voters if member.number != number and cluster.well(member)]
    if len(voters) >= 3 and len(others) < needed(len(voters)):
        return f"of {len(voters)} voters {needed(len(voters))} are needed, and without this one {len(others)} would be there"
    if len(voters) == 2 and not others:
        return "the other of the two voters is not well"
    return ""


def forbids_removal(cluster: Cluster, member: Member) -> str:
    """Say why a member must not be removed, or nothing."""
    if cluster.well(member):
        return "it is well; stop it first when it is to go"
    voters = cluster.voters
    left = [one for one in voters if one.number != member.number]
    there = [one for one in left if cluster.well(one)]
    if member.learner:
        return ""
    if not left:
        return "it is the only voter"
    if len(there) < needed(len(voters)):
        return f"of {len(voters)} voters {needed(len(voters))} are needed to agree, and {len(there)} are well"
    return ""


def forbids_growth(cluster: Cluster) -> str:
    """Say why no member may be added now, or nothing."""
    ill = [member.name or member.urls[0] for member in cluster.voters if not cluster.well(member)]
    return f"{', '.join(ill)} of {len(cluster.voters)} voters is not well" if ill else ""


# Asking


def status_of(client: Client) -> Status:
    """Ask one member how it is. Raises Unavailable, Unauthorized and Said."""
    told = client.ask("maintenance/status")
    learner = bool(told.get("isLearner"))
    return Status(
        str(told["header"]["member_id"]),
        str(told.get("version", "")),
        str(told.get("leader", "0")),
        int(told.get("dbSize", 0)),
        int(told.get("dbSizeInUse", 0)),
        learner,
        not learner and _serves(client),
    )


def _serves(client: Client) -> bool:
    try:
        client.ask("kv/range", {"key": _NOWHERE, "limit": "1"})
    except Said as failure:
        # Who may not read was told so with a quorum: it knows its users.
        return "permission denied" in failure.said or "user name" in failure.said
    except Failure:
        return False
    return True


def look(clients: Sequence[Client], client_for: Finder, password: str) -> Optional[Cluster]:
    """Ask the first of these members that answers for the cluster, and then each of its members; None when nobody answers.

    ``client_for`` returns who to ask for the member with this URL of peers. ``password`` is that of root; nothing when there is none.
    """
    for client in clients:
        try:
            return _told(client, client_for, password)
        except Failure:
            client.token = ""
    return None


def _told(client: Client, client_for: Finder, password: str) -> Cluster:
    logged = client.log_in(password or "-")
    login = {True: SHUT, False: OPEN, None: UNKNOWN}[logged]
    members = tuple(members_of(client))
    found = Cluster(members, {}, (), login, {}, {})
    for glance in range(_GLANCES):
        ill = [member for member in members if not found.well(member)]
        if glance and ill:
            # An election, or a machine that is busy for a moment, is no illness.
            time.sleep(_PAUSE)
        fresh = {member.number: status for member in ill for status in [_status_at(member, client_for, client.token)] if status is not None}
        found = found._replace(statuses={**found.statuses, **fresh})
    alarms = tuple((str(one.get("memberID", "")), str(one.get("alarm", ""))) for one in client.ask("maintenance/alarm", {"action": "GET"}).get("alarms", ()))
    users, roles = _accounts(client) if login != UNKNOWN else ({}, {})
    return found._replace(alarms=alarms, users=users, roles=roles)


def _status_at(member: Member, client_for: Finder, token: str) -> Optional[Status]:
    """Ask a member how it is; None when it does not answer, or another one does."""
    asked = client_for(member.urls[0]) if member.urls else None
    if asked is None:
        return None
    asked.token = token
    try:
        status = status_of(asked)
    except Failure:
        return None
    return status if status.number == member.number else None


def members_of(client: Client) -> List[Member]:
    """Ask a member who is in the cluster. Raises Unavailable, Unauthorized and Said."""
    found = []
    for one in client.ask("cluster/member/list").get("members", ()):
        found.append(Member(str(one["ID"]), str(one.get("name", "")), tuple(map(str, one.get("peerURLs", ()))), bool(one.get("isLearner"))))
    return sorted(found)


def _accounts(client: Client) -> Tuple[Dict[str, Tuple[str, ...]], Dict[str, Tuple[Tuple[str, str, str], ...]]]:
    users = {name: tuple(sorted(client.ask("auth/user/get", {"name": name}).get("roles", ()))) for name in client.ask("auth/user/list").get("users", ())}
    roles = {}
    for name in client.ask("auth/role/list").get("roles", ()):
        entries = client.ask("auth/role/get", {"role": name}).get("perm", ())
        roles[name] = tuple(sorted((str(one.get("permType", "READ")), str(one.get("key", "")), str(one.get("range_end", ""))) for one in entries))
    return users, roles


# Doing


def add(client: Client, url: str) -> None:
    """Add a member, as a learner, unless it was added before. Raises Failure."""
    deadline = time.monotonic() + _SETTLES
    while all(url not in member.urls for member in members_of(client)):
        try:
            client.ask("cluster/member/add", {"peerURLs": [url], "isLearner": True}, seconds=20)
        except Said as failure:
            # A member that joined a moment ago counts only when it was connected for a while.
            if ("unhealthy" not in failure.said and "not enough started" not in failure.said) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def promote(client: Client, number: str) -> bool:
    """Let a learner vote; tell whether it does, or has to catch up first. Raises Failure."""
    try:
        client.ask("cluster/member/promote", {"ID": number}, seconds=20)
    except Said as failure:
        if "in sync" in failure.said:
            return False
        raise
    return True


def remove(client: Client, number: str) -> None:
    """Remove a member. Raises Failure."""
    client.ask("cluster/member/remove", {"ID": number}, seconds=20)


def relieve(ordered: Sequence[Client], quota: int) -> None:
    """Forget history, give the room back on one member after the other, and let writes in again, when there is room for them. Raises Failure."""
    revision = str(ordered[0].ask("kv/range", {"key": _NOWHERE, "limit": "1"})["header"]["revision"])
    try:
        ordered[0].ask("kv/compaction", {"revision": revision, "physical": True}, seconds=120)
    except Said as failure:
        if "compacted" not in failure.said:
            raise
    for client in ordered:
        defragment(client)
        size = status_of(client).size
        if size >= 0.9 * quota:
            raise Failure(
                f"{client.address} has {size} bytes of {quota} still, when history is gone and its room is given back.",
                "Delete what nobody needs, or raise quota_backend_bytes (etcd_server_quota_backend_bytes); then run again.",
                NOSPACE,
            )
    for entry in ordered[0].ask("maintenance/alarm", {"action": "GET"}).get("alarms", ()):
        if entry.get("alarm") == NOSPACE:
            ordered[0].ask("maintenance/alarm", {"action": "DEACTIVATE", "memberID": entry["memberID"], "alarm": NOSPACE})


def defragment(client: Client) -> None:
    """Let a member give back the room that it does not use, and see that it is well afterwards. It answers nobody meanwhile. Raises Failure."""
    client.ask("maintenance/defragment", seconds=600)
    if not status_of(client).serves:
        raise Unavailable(f"etcd on {client.address} is not well after it gave room back.", "Look at its log.", client.address)


def leader_last(cluster: Cluster, client_for: Finder, token: str) -> List[Client]:
    """Return whom to ask of all voters that are well, the leader last."""
    ordered = sorted((member for member in cluster.voters if cluster.well(member)), key=lambda member: member.number == cluster.leader)
    found = [client for member in ordered for client in [client_for(member.urls[0])] if client is not None]
    for client in found:
        client.token = token
    return found
