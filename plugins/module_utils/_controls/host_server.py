# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of a host that is kept as its inventory says: looked at, planned area by area, written kind by kind, and told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Callable, Dict, Generic, List, Mapping, Optional, Sequence, Tuple, TypeVar

from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area, Judged, Remark
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change, Plan, Ref

Seen = TypeVar("Seen")
# What writes the changes of one object.
Writer = Callable[[Seen, Ref, Sequence[Change]], None]


class AreaPlanner:
    """Plans from one observation. ``remarks`` and ``areas`` are filled while it does."""

    def __init__(self) -> None:
        self.remarks: List[Remark] = []
        self.areas: Dict[Tuple[Ref, str], Area] = {}

    def _remark(self, area: Area, text: str, hint: str) -> None:
        self.remarks.append(Remark(area, text, hint))

    def _plan_of(self, groups: Sequence[Tuple[Area, Sequence[Change]]]) -> Plan:
        """Return the plan of all areas, and remember which change is about which."""
        self.areas = {(change.ref, change.field): area for area, found in groups for change in found}
        return Plan(tuple(change for _area, found in groups for change in found))


class HostServer(ABC, Generic[Seen]):
    """What the control of a server has in common with others. A subclass says how it looks, what it plans, and what writes each kind of object.

    ``main`` is the area that a refusal is told in, ``source`` where the recommendation comes from.
    """

    main: Area
    source: Source

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._report_only = params["on_refusal"] == "report"
        self._refusal: Optional[Failure] = None
        self._remarks: List[Remark] = []
        self._areas: Dict[Tuple[Ref, str], Area] = {}
        self._first: Optional[Plan] = None
        self._seen: Optional[Seen] = None

    @abstractmethod
    def _look(self) -> Seen:
        """Look at all of it. Raises Failure."""

    @abstractmethod
    def _planned(self, observed: Seen) -> Tuple[AreaPlanner, Plan]:
        """Return what has to change, and who planned it. Pure."""

    @abstractmethod
    def _writers(self) -> Mapping[str, Writer[Seen]]:
        """Return what writes each kind of object."""

    @abstractmethod
    def _subject(self) -> str:
        """Return what findings are about."""

    def _require(self, observed: Seen) -> None:
        """Raise Refused when nothing may be done on this host. Pure."""

    # What a run asks for.

    def observe(self) -> Optional[Seen]:
        """Look at all of it; None when a precondition of looking does not hold, and that is only to be reported. Raises Failure."""
        try:
            return self._look()
        except Failure as failure:
            if not self._report_only:
                raise
            self._refusal = failure
            return None

    def plan(self, observed: Optional[Seen]) -> Plan:
        self._seen, self._remarks = observed, []
        if observed is None:
            return Plan()
        try:
            self._require(observed)
        except Refused as refusal:
            if not self._report_only:
                raise
            self._refusal = refusal
            return Plan()
        planner, plan = self._planned(observed)
        self._remarks = planner.remarks
        self._areas.update(planner.areas)
        self._first = plan if self._first is None else self._first
        return plan

    def apply(self, plan: Plan) -> None:
        ref, observed = plan.changes[0].ref, self._seen
        if observed is not None:
            self._writers()[ref.kind](observed, ref, plan.changes)

    def settle(self, observed: Optional[Seen], plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return ""

    # Telling

    def _finding(self, area: Area, plan: Plan, proof: Proof, enforced: bool, unseen: bool = False) -> Finding:
        """Return the finding about an area. ``unseen``: it could not be looked at; after a refusal that is so for every area but the main one."""
        remarks = [remark for remark in self._remarks if remark.area == area]
        if self._refusal and area == self.main:
            remarks = [Remark(area, self._refusal.message, self._refusal.hint)]
        mine, done = (
            [change for change in changes if self._areas.get((change.ref, change.field)) == area] for changes in ((self._first or Plan()).changes, plan.changes)
        )
        hidden = unseen or (self._refusal is not None and area != self.main)
        return Judged(area, mine, done, remarks, proof, hidden).finding(self.source, self._subject(), enforced)

    def _warnings(self) -> List[str]:
        return [f"{remark.text} {remark.hint}" for remark in self._remarks]
