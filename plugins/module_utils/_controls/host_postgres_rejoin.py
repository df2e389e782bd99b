# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a former primary becomes a standby: what is lost by it, who has to say so, and when it is refused. Pure."""

from __future__ import annotations

from typing import List, Optional

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Ref
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import cluster, former, layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.former import Former
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import lsn_text, segment_name
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.standby import Primary
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.wishes import COPY, NOTHING, REWIND, Wish

_ANEW = "Make it anew, with its data moved aside: name it (postgres_server_rejoin_host), with postgres_server_rejoin_by=copy."
_GIVE_UP = (
    "If these may be given up for good, name this host (postgres_server_rejoin_host): it is rewound by pg_rewind, and a copy of that log is kept aside."
    " With postgres_server_rejoin_by=copy its whole data is moved aside instead, and copied anew from the primary."
)


def is_candidate(seen: cluster.Seen, runs: bool) -> bool:
    """Tell whether there is data that a primary wrote, and no server that runs on it."""
    return seen.exists and seen.has_data and not seen.signal and not seen.missing and not runs


def refusal(wish: Wish, seen: cluster.Seen, found: Optional[Former], place: layout.Layout) -> Optional[Refused]:
    """Return why the data on this host may not become that of a standby, or None when it may, or is none that a primary wrote."""
    primary = wish.primary
    if seen.rewinding and not (primary and wish.rejoin_by == COPY):
        return Refused(f"A rewind of {place.data} has begun and not ended: it is neither what it was nor what the primary has.", _ANEW, place.data)
    if not primary or seen.rewinding or seen.signal or wish.rejoin_by == COPY:
        return None
    if found is None or not primary.past:
        return _by_state(wish, primary, seen, place)
    if found.past.identifier != primary.past.identifier:
        return Refused(f"The data of this host is that of another cluster than that of {primary.name}.", f"Look whose it is. {_ANEW}", "primary")
    if found.unread:
        return Refused(f"This host was a primary, and where its log ends cannot be told: {found.unread}", _ANEW, "primary")
    if found.fork is None or found.fork.same:
        told = f"This host was a primary, and {primary.name} was never promoted since: both write the same timeline."
        return Refused(told, f"Which of them is the primary? {_ANEW}", "primary")
    told = f"This host was a primary, and is wanted as a standby of {primary.name}:"
    if not found.fork.lost:
        return _behind(wish, primary, found, told)
    if wish.rejoin_by != REWIND:
        return Refused(f"{told} {found.told}.", _GIVE_UP, "primary")
    if found.obstacle:
        return Refused(f"{told} {found.told}. It cannot be rewound: {found.obstacle}.", _ANEW, "primary")
    return _gone(primary, found, found.fork.at, told)


def _by_state(wish: Wish, primary: Primary, seen: cluster.Seen, place: layout.Layout) -> Optional[Refused]:
    """Judge by how it ended alone: its primary told nothing of its past."""
    if seen.control.get(former.STATE) != "shut down":
        hint = f"What it wrote last may be on no other host. Look, save it, then make it anew: pg_dropcluster --stop {place.major} {layout.NAME}."
        return Refused(f"This host was a primary and did not end in good order; it is wanted as a standby of {primary.name}.", hint, "primary")
    if not wish.rejoin:
        hint = "Switch over by paas.hardening.postgres_switchover, or allow it (postgres_server_rejoin) when it was stopped before the other was promoted."
        return Refused(f"This host was a primary, and is wanted as a standby of {primary.name}.", hint, "primary")
    return None


def _behind(wish: Wish, primary: Primary, found: Former, told: str) -> Optional[Refused]:
    """It has nothing that the primary lacks."""
    end = found.fork.end if found.fork else 0
    if not wish.rejoin and wish.rejoin_by == NOTHING:
        hint = "Nothing is lost by it: name this host (postgres_server_rejoin_host), or allow it (postgres_server_rejoin)."
        return Refused(f"{told} its log ends at {lsn_text(end)}, and {primary.name} has all of it.", hint, "primary")
    return _gone(primary, found, end, told)


def _gone(primary: Primary, found: Former, needed: int, told: str) -> Optional[Refused]:
    """It has to find at the primary what comes after its own log."""
    oldest = primary.past.oldest if primary.past else 0
    if needed // found.segment_size >= oldest // found.segment_size:
        return None
    name = segment_name(found.fork.timeline if found.fork else 1, needed // found.segment_size, found.segment_size)
    return Refused(f"{told} the primary has its log from {lsn_text(oldest)} on only, and it would need {name}.", _ANEW, "primary")


def changes(wish: Wish, seen: cluster.Seen, found: Optional[Former], place: layout.Layout) -> List[Change]:
    """Return what becomes of the data of a former primary; nothing when there is none, or when it is one already."""
    primary, ref = wish.primary, Ref("", "Cluster", f"{place.major}/{layout.NAME}")
    if not primary or (seen.signal and not seen.rewinding):
        return []
    if not seen.has_data:
        return [Change(ref, ("data",), ABSENT, f"the copy of {primary.name} that was verified", "a run before came that far")] if seen.incoming else []
    if wish.rejoin_by == COPY:
        lost = found.told if found and found.fork and found.fork.lost else "it was a primary"
        aside = former.free(f"{found.aside if found else former.nameless(place)}.data")
        moved = Change(ref, ("former data",), place.data, aside, "nothing of it is deleted")
        return [Change(ref, ("data",), "that of a former primary", f"a copy of {primary.name}", lost), moved]
    follows = Change(ref, ("standby",), False, True, f"it follows {primary.name}")
    if not found or not found.fork or not found.fork.lost:
        return [follows]
    fork = found.fork
    back = Change(ref, ("rewound",), f"{lsn_text(fork.end)} of timeline {found.past.timeline}", f"{lsn_text(fork.at)} of timeline {fork.timeline}", found.told)
    return [back, Change(ref, ("given up log",), ABSENT, found.aside, "a copy is kept"), follows]
