# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the timer of a member runs: the leader lets one member after the other give back room, itself last. Needs Python, and no Ansible."""

from __future__ import annotations

import json
import re
import sys
from typing import Optional, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd import api, cluster, places


def main(arguments: Sequence[str]) -> int:
    """Do it, with the options of a file; 0 when it was done, or is for another member to do."""
    with open(arguments[0], encoding="utf-8") as file:
        options = json.load(file)
    password = (files.look(places.SECRET).text or "").rstrip("\n")
    identity = api.Identity(options["certificate"], options["key"], places.TRUST)

    def client_for(url: str) -> Optional[api.Client]:
        address = re.fullmatch(r"https://\[?([0-9A-Fa-f:.]+)\]?:\d+", url)
        return api.Client(address.group(1), options["port"], identity) if address else None

    try:
        return _once(api.Client(options["address"], options["port"], identity), client_for, password)
    except Failure as failure:
        return _say(str(failure), 1)


def _once(mine: api.Client, client_for: cluster.Finder, password: str) -> int:
    seen = cluster.look([mine], client_for, password)
    if seen is None or seen.login == cluster.UNKNOWN:
        return _say("The member of this host does not answer, or does not know us.", 1)
    me = cluster.status_of(mine)
    if me.leader != me.number:
        return _say("Another member leads: this is for it to do.", 0)
    ill = [member.name or member.urls[0] for member in seen.members if not seen.well(member)]
    if ill:
        return _say(f"Not now: {', '.join(ill)} is not well.", 1)
    for client in cluster.leader_last(seen, client_for, mine.token):
        if client.address != mine.address and cluster.status_of(mine).leader != me.number:
            return _say("Another member leads now: the rest is for it to do.", 0)
        before = cluster.status_of(client).size
        cluster.defragment(client)
        _say(f"{client.address}: {before} bytes became {cluster.status_of(client).size}.", 0)
    return 0


def _say(text: str, status: int) -> int:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return status
