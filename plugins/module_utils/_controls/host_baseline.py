# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts beside the cluster keep time, take security updates, have files enough to open, keep a journal that is bounded, and do not swap."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area, Judged, Remark
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import NOT_APPLICABLE, Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host import baseline, files, packages

SOURCE = Source("OpenG2P, Production Deployment", "Machines beside the cluster", "time sync; limits; security updates; no swap")
TIME = Area("host-baseline-time", "The clock is kept by servers of time", "high")
UPDATES = Area("host-baseline-updates", "Security updates come by themselves, or are refused on purpose", "high")
LIMITS = Area("host-baseline-limits", "Services may open files enough", "medium")
JOURNAL = Area("host-baseline-journal", "The journal outlives a reboot, and does not fill the disk", "medium")
SWAP = Area("host-baseline-swap", "Memory is not swapped to a disk", "medium")
_AREA_OF = {
    baseline.TIME: TIME,
    baseline.UPDATES: UPDATES,
    baseline.LIMITS: LIMITS,
    baseline.LOGINS: LIMITS,
    baseline.JOURNAL: JOURNAL,
}
_WHY = {
    TIME: "signatures and certificates hang on it",
    UPDATES: "known holes are closed",
    LIMITS: "or connections are refused",
    JOURNAL: "what happened is known",
}


class Planner:
    """Plans from one observation. ``remarks`` and ``areas`` are filled while it does. Pure."""

    def __init__(self, wish: baseline.Wish) -> None:
        self._wish = wish
        self.remarks: List[Remark] = []
        self.areas: Dict[Tuple[Ref, str], Area] = {}

    def plan(self, seen: baseline.Seen) -> Plan:
        """Return what has to change."""
        groups: List[Tuple[Area, List[Change]]] = [
            (_AREA_OF[path], self._file(path, seen)) for path in baseline.settings_of(self._wish) if path != baseline.TIME or not seen.container
        ]
        packages = [(UPDATES if name == "unattended-upgrades" else TIME, self._package(name)) for name in seen.missing]
        groups = [*packages, *groups, (TIME, self._time(seen)), (UPDATES, self._updates(seen)), (SWAP, self._swap(seen))]
        self.areas = {(change.ref, change.field): area for area, found in groups for change in found}
        return Plan(tuple(change for _area, found in groups for change in found))

    def _package(self, name: str) -> List[Change]:
        return [Change(Ref("", "Packages", name), (name,), ABSENT, "installed", "it is not part of every system")]

    def _file(self, path: str, seen: baseline.Seen) -> List[Change]:
        area, ref, kept = _AREA_OF[path], Ref("", "File", path), seen.kept[path]
        wanted = baseline.settings_of(self._wish)[path]
        found = []
        if kept.text != baseline.text_of(path, wanted):
            before = ABSENT if kept.text is None else "another text"
            found.append(Change(ref, ("content",), before, ", ".join(f"{name} {value}" for name, value in wanted.items()), _WHY[area]))
        elif kept.mode != baseline.MODE or kept.owner != "root":
            found.append(Change(ref, ("mode",), f"{kept.mode:04o} of {kept.owner}", f"{baseline.MODE:04o} of root", "who can write it rules the host"))
        for name, counts, value in seen.overridden.get(path, ()):
            self.remarks.append(Remark(area, f"{name} is {counts}, not {value}.", f"A file that is read after {path} says otherwise: take it away there."))
        stale = {baseline.JOURNAL: baseline.JOURNALD, baseline.TIME: baseline.TIMESYNCD}.get(path, "")
        if stale in seen.stale and not found:
            found.append(Change(Ref("", "Unit", stale), ("restarted",), "has not read its files since they changed", "restarted", "so that it is in force"))
        return found

    def _time(self, seen: baseline.Seen) -> List[Change]:
        if not self._wish.time_sync or seen.container:
            return []
        if not seen.synchronized:
            hint = f"Ask: timedatectl timesync-status, or the program that keeps it ({seen.keeper or baseline.TIMESYNCD}). Right after a boot it takes a while."
            self.remarks.append(Remark(TIME, "The clock is not synchronized.", hint))
        return [] if seen.keeper else self._unit(baseline.TIMESYNCD, seen)

    def _unit(self, name: str, seen: baseline.Seen) -> List[Change]:
        ref, state, found = Ref("", "Unit", name), seen.states[name], []
        if not state.enabled:
            found.append(Change(ref, ("at boot",), "disabled", "started", "so that it is there after a reboot"))
        if not state.active:
            found.append(Change(ref, ("running",), False, True, "it does not run"))
        return found

    def _updates(self, seen: baseline.Seen) -> List[Change]:
        if self._wish.security_updates != baseline.ENABLED:
            return []
        if not seen.missing and not seen.security:
            self.remarks.append(
                Remark(
                    UPDATES,
                    "No origin of security updates is allowed.",
                    "Look at Unattended-Upgrade::Origins-Pattern in /etc/apt/apt.conf.d/50unattended-upgrades.",
                )
            )
        return [change for name in baseline.TIMERS for change in self._unit(name, seen)]

    def _swap(self, seen: baseline.Seen) -> List[Change]:
        if not self._wish.no_swap:
            return []
        why, found = "what is in memory is secret, and a swapping server answers too late", []
        for number, line in seen.swap_lines:
            found.append(Change(Ref("", "File", baseline.FSTAB), (f"line {number}",), line, "a comment", why))
        # A container shows those of its machine.
        for device in () if seen.container else seen.swaps:
            found.append(Change(Ref("", "Swap", device), ("in use",), True, False, why))
        return found


class Baseline:
    """The settings of the host that we are on."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._wish = baseline.wish_of(params)
        self._remarks: List[Remark] = []
        self._areas: Dict[Tuple[Ref, str], Area] = {}
        self._first: Optional[Plan] = None

    def observe(self) -> baseline.Seen:
        return baseline.look(self._wish)

    def plan(self, observed: baseline.Seen) -> Plan:
        planner = Planner(self._wish)
        plan = planner.plan(observed)
        self._remarks = planner.remarks
        self._areas.update(planner.areas)
        self._first = plan if self._first is None else self._first
        return plan

    def apply(self, plan: Plan) -> None:
        ref, fields = plan.changes[0].ref, [change.field for change in plan.changes]
        if ref.kind == "Packages":
            packages.install([ref.name], "Can this host reach its package mirrors?")
        elif ref.kind == "Unit":
            self._apply_unit(ref.name, fields)
        elif ref.kind == "Swap":
            baseline.no_swap(ref.name)
        elif ref.name == baseline.FSTAB:
            baseline.no_swap(None)
        else:
            baseline.write(ref.name, baseline.text_of(ref.name, baseline.settings_of(self._wish)[ref.name]))
            baseline.take_effect(ref.name)

    def _apply_unit(self, name: str, fields: Sequence[str]) -> None:
        if "restarted" in fields:
            baseline.take_effect(baseline.JOURNAL if name == baseline.JOURNALD else baseline.TIME)
        baseline.begin(name, "at boot" in fields, "running" in fields)

    def settle(self, observed: baseline.Seen, plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return ""

    def conclude(self, first: baseline.Seen, last: baseline.Seen, plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Put the result together."""
        name = (files.look("/etc/hostname").text or "").strip() or "this host"
        found = [self._finding(area, name, plan, enforced, last) for area in (TIME, UPDATES, LIMITS, JOURNAL, SWAP)]
        return {"findings": [finding.as_data() for finding in found], "warnings": [f"{remark.text} {remark.hint}" for remark in self._remarks]}

    def _finding(self, area: Area, subject: str, plan: Plan, enforced: bool, last: baseline.Seen) -> Finding:
        planned = self._first or Plan()
        mine = [change for change in planned.changes if self._areas.get((change.ref, change.field)) == area]
        done = [change for change in plan.changes if self._areas.get((change.ref, change.field)) == area]
        remarks = [remark for remark in self._remarks if remark.area == area]
        why = self._left_out(area, last)
        if why:
            return Finding(area.control, area.title, area.severity, SOURCE, subject, NOT_APPLICABLE, why, why, reasons=(why,))
        return Judged(area, mine, done, remarks, Proof(), False).finding(SOURCE, subject, enforced)

    def _left_out(self, area: Area, seen: baseline.Seen) -> str:
        """Return why an area is none of ours here, or nothing."""
        if area == TIME and seen.container:
            return "a container has the clock of its machine"
        managed = {TIME: self._wish.time_sync, UPDATES: self._wish.security_updates != baseline.UNMANAGED, SWAP: self._wish.no_swap}
        return "" if managed.get(area, True) else "left to others, as asked"


VERB = Verb(baseline.ARGUMENTS, Baseline)
