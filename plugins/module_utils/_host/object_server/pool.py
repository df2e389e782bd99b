# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of several hosts that are one store: how many drives it lives without, whom its members trust, and what each of them says of the others."""

from __future__ import annotations

import json
import os
import re
from typing import Any, List, Mapping, NamedTuple, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import TLS_FOLDER
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.buckets import failure_of
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.signed import Client

# The certificates of all members' authorities, where the server looks for those that it trusts.
TRUST_FOLDER = f"{TLS_FOLDER}/CAs"
TRUST = f"{TRUST_FOLDER}/pool.crt"
# Written by the server on each drive when the pool is made.
_FORMAT = ".minio.sys/format.json"
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_TURN = ("/minio/health/cluster", {"maintenance": "true"})
_WELL = "ok"


class Seen(NamedTuple):
    """What this member says: in words what is not well with the pool, nothing when it can be read and written, and which members or drives it lives without."""

    illness: str
    missing: Tuple[str, ...]


class Format(NamedTuple):
    """What a drive belongs to: the store's own number, and how many drives that has."""

    folder: str
    store: str
    drives: int


def formats(volumes: Sequence[str]) -> Tuple[Format, ...]:
    """Return what the drives of this host belong to; one that belongs to nothing yet is left out. Raises Refused for one that cannot be understood."""
    found = []
    for folder in volumes:
        text = files.look(f"{folder}/{_FORMAT}").text
        if text is None:
            continue
        try:
            known = json.loads(text)
            found.append(Format(folder, str(known["id"]), sum(map(len, known["xl"]["sets"]))))
        except (ValueError, KeyError, TypeError):
            hint = "Look at it: the server would not start with it. Another drive of the pool heals an empty one."
            raise Refused(f"{folder}/{_FORMAT} is not what MinIO writes there.", hint, subject="data_disks") from None
    return tuple(found)


def require_same(found: Sequence[Format], drives: int) -> None:
    """Refuse drives that belong to a store of another size, or to several: how many there are is said once, when it is made. Pure. Raises Refused."""
    hint = "Give the hosts and disks that it was made with, or make another store beside it (a group of its own), and move the buckets there."
    for one in found:
        if one.drives != drives:
            raise Refused(
                f"{one.folder} belongs to a store of {one.drives} drive{'s' if one.drives > 1 else ''}, and the inventory has {drives}: that never changes.",
                hint,
                subject="data_disks",
            )
    if len({one.store for one in found}) > 1:
        told = " and ".join(sorted(one.folder for one in found))
        raise Refused(f"{told} belong to different stores.", "Give each host the disks of one store.", subject="data_disks")


def trust_text(authorities: Sequence[str], kept: str) -> str:
    """Return the certificates that a member has to trust. Those that are there stay while the authority of a member (empty) is not known. Pure."""
    known = list(dict.fromkeys(block for text in authorities for block in _BLOCK.findall(text)))
    if not all(authorities):
        there = _BLOCK.findall(kept)
        known = there + [block for block in known if block not in there]
    return "".join(f"{block}\n" for block in known)


def write_trust(text: str) -> None:
    """Write them, for everybody to read."""
    os.makedirs(TRUST_FOLDER, mode=0o755, exist_ok=True)
    files.replace(TRUST, text, 0o644, "root")


def look(client: Client, illness: str) -> Seen:
    """Ask this member, as root, how the others are; one that is ill itself is not asked. Raises Failure."""
    if illness:
        return Seen(illness, ())
    answer = client.ask("GET", "/minio/admin/v3/info")
    if not answer.good:
        raise failure_of(answer, "members of the pool")
    return Seen("", tuple(_missing(json.loads(answer.body).get("servers") or ())))


def _missing(servers: Sequence[Mapping[str, Any]]) -> List[str]:
    found = []
    for server in sorted(servers, key=lambda one: str(one.get("endpoint"))):
        name, drives = server.get("endpoint"), server.get("drives") or ()
        if server.get("state") != "online":
            found.append(f"The member {name} is {server.get('state') or 'not known'}.")
            continue
        for drive in drives:
            if drive.get("healing"):
                found.append(f"{drive.get('path')} of {name} is being healed.")
            elif drive.get("state") != _WELL:
                found.append(f"{drive.get('path')} of {name} is {drive.get('state') or 'not known'}.")
    return found


def may_go(client: Client) -> bool:
    """Tell whether the pool can be written without this member. One that is not well has nothing to lose."""
    try:
        return client.ask_once("GET", *_TURN).status != 412
    except Failure:
        return True
