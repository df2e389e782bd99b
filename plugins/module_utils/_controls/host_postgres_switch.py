# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a switchover: a primary stops in good order, and a standby that has everything of it becomes the primary. No commit is lost in between."""

from __future__ import annotations

import time
from typing import Any, Dict, Mapping, NamedTuple, Optional

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host import families
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import cluster, layout, live, standby
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import Database, literal

STOPPED, PROMOTED, STARTED = "stopped", "promoted", "started"
ARGUMENTS: Dict[str, Any] = {
    "state": {"type": "str", "choices": [STOPPED, PROMOTED, STARTED], "required": True},
    "version": {"type": "int"},
    "other": {"type": "str", "required": True},
    "location": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 60},
}
_PAUSE = 0.1
# Seconds: a large server has much to write.
_CHECKPOINT = 1800.0
# Log that a standby may lack before the primary is stopped for it, in bytes: what is left then is sent while it stops.
_BEHIND = 16 << 20
_MARGIN = 30.0
_LOCATION = "Latest checkpoint location"


class Observed(NamedTuple):
    """The cluster's files, and the server when it runs."""

    place: layout.Layout
    seen: cluster.Seen
    live: Optional[live.Live]


class Switch:
    """One step, on the host that we are on."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._state = params["state"]
        self._other = standby.slot_name(params["other"])
        if self._state == PROMOTED and not params["location"]:
            raise Invalid("location is empty.", "Give the location that the step stopped told of the former primary.", "location")

    def observe(self) -> Observed:
        place = layout.chosen(self._params["version"], cluster.majors(), families.release())
        seen = cluster.look(place)
        return Observed(place, seen, live.look(place, (), ()) if seen.has_data and not seen.missing else None)

    def plan(self, observed: Observed) -> Plan:
        unit, running = Ref("", "Unit", observed.place.unit), observed.live
        if self._state == STARTED:
            return Plan() if running else Plan((Change(unit, ("running",), False, True, "the switchover did not come to its end"),))
        if self._state == STOPPED:
            if running is None:
                return Plan()
            self._require_follower(observed.place, running)
            return Plan((Change(unit, ("running",), True, False, f"{self._params['other']} becomes the primary"),))
        if running is None:
            raise Refused("The standby does not answer.", "Nothing was promoted. Look at its log.", observed.place.unit)
        if not running.recovery:
            return Plan()
        why = f"it has everything of {self._params['other']}"
        return Plan((Change(Ref("", "Cluster", f"{observed.place.major}/{layout.NAME}"), ("primary",), False, True, why),))

    def _require_follower(self, place: layout.Layout, running: live.Live) -> None:
        """Refuse to stop a primary for a standby that could not take over. Raises Refused."""
        if running.recovery:
            raise Refused("This host is a standby, not the primary.", "Name the host that is the primary now.", "other")
        states = [state for name, state, _sync in running.standbys if name == self._other]
        if states != ["streaming"]:
            state = ", ".join(states) or "away"
            raise Refused(f"{self._params['other']} does not follow this host; it is {state}.", "Mend it first: run the playbook hosts.", "other")
        behind = Database(place).ask(
            "SELECT json_build_array(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication"
            f" WHERE application_name = {literal(self._other)};\n"
        )[0]
        if behind is None or float(behind) > _BEHIND:
            raise Refused(f"{self._params['other']} is {behind} bytes behind.", "Wait until it has caught up, and run again.", "other")

    def apply(self, plan: Plan) -> None:
        observed = self.observe()
        if self._state == STARTED:
            cluster.start(observed.place)
        elif self._state == STOPPED:
            # Most is written before, so that clients wait the shorter.
            Database(observed.place).run("CHECKPOINT;\n", _CHECKPOINT)
            cluster.stop(observed.place)
        else:
            self._await(observed.place)
            Database(observed.place).run(f"SELECT pg_promote(true, {int(self._params['timeout'])});\n", self._params["timeout"] + _MARGIN)

    def _await(self, place: layout.Layout) -> None:
        """Wait until the standby has replayed the last that the former primary wrote. Raises Refused: then nothing was promoted."""
        deadline = time.monotonic() + self._params["timeout"]
        question = f"SELECT json_build_array(coalesce(pg_last_wal_replay_lsn() > {literal(self._params['location'])}::pg_lsn, false));\n"
        while not Database(place).ask(question)[0]:
            if time.monotonic() > deadline:
                raise Refused(
                    f"The standby has not got everything up to {self._params['location']}.", "Nothing was promoted: start the former primary again.", "location"
                )
            time.sleep(_PAUSE)

    def settle(self, observed: Observed, plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return ""

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Tell where the log ends. Raises NotProven when the server is not in the state that it was brought to."""
        state = last.seen.control.get("Database cluster state", "")
        if enforced and self._state == STOPPED and (state != "shut down" or _active(last.place)):
            raise NotProven(f"The primary did not stop in good order: {state or 'no state'}.", "Start it again, and look at its log.", last.place.unit)
        if enforced and self._state == PROMOTED and (last.live is None or last.live.recovery):
            raise NotProven("The standby was told to become the primary, and is none yet.", "Look at its log.", last.place.unit)
        return {"location": last.seen.control.get(_LOCATION, ""), "recovery": last.live.recovery if last.live else None}


def _active(place: layout.Layout) -> bool:
    return ask(["systemctl", "is-active", "--quiet", place.unit]).status == 0


VERB = Verb(ARGUMENTS, Switch)
