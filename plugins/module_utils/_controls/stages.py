# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in stages during some of which the platform stands still: within a time, and taken back when it cannot be finished."""

from __future__ import annotations

import time
from typing import Any, List, Mapping, Optional, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import wait_ready
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FREEZE, THAW, thaw, wait_gone
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan, Ref, look, same
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

_UNDO_ATTEMPTS, _UNDO_PAUSE = 10, 1.0
_WORKLOADS = ("Deployment", "StatefulSet")


class Stages:
    """The writes of one run to one platform. ``still`` are the stages in which the platform stands still, at most ``freeze_timeout`` seconds."""

    def __init__(self, site: Site, params: Mapping[str, Any], still: Sequence[str]) -> None:
        self._site = site
        self._params = params
        self._still = still
        self._done: List[Plan] = []
        self._patience: Optional[Deadline] = None
        self._adopted = False

    @property
    def left(self) -> float:
        """Seconds for which the platform may stand still from now on."""
        return self._patience.left if self._patience else float(self._params["freeze_timeout"])

    @property
    def pending(self) -> bool:
        """Whether there is anything to take back."""
        return bool(self._done)

    def adopt(self, frozen: Sequence[Mapping[str, Any]]) -> None:
        """Take over workloads that an earlier run, which was killed, left standing still: they go on when this run fails, too."""
        if self._adopted or self._done:
            return
        self._adopted = True
        for document in frozen:
            changes = plan_of(thaw(document, "")).changes
            self._done.append(Plan(tuple(change.undone() for change in changes)))

    def begin(self, stage: str) -> None:
        """Raise TimedOut when the platform has stood still for too long to begin this stage."""
        if stage not in self._still:
            return
        self._patience = self._patience or Deadline(self._params["freeze_timeout"])
        if not self._patience.left:
            raise TimedOut(
                f"The platform stood still for {self._patience.seconds:g} s, and the move had come no further than the stage {stage}.",
                "Run again: what was copied stays copied. Allow more with freeze_timeout, or choose a quieter hour.",
            )

    def write(self, stage: str, piece: Plan) -> Ref:
        """Write one object and wait until that has taken effect. Raises Conflict when it is no longer as planned."""
        ref = piece.changes[0].ref
        document = self._site.objects.get(KINDS[ref.kind], ref.name, ref.namespace)
        if not all(same(look(document, change.path), change.before) for change in piece.changes):
            raise Conflict(f"{ref} is no longer as it was planned.", "Somebody else changes it; run again.", str(ref))
        if stage in self._still:
            # Before it is sent: of a write whose answer is lost nobody knows whether it arrived, and taking it back does no harm.
            self._done.append(piece)
        try:
            self._site.objects.apply_plan(Plan(piece.changes, {ref: document["metadata"]["resourceVersion"]}))
        except Conflict:
            self._done = [other for other in self._done if other is not piece]
            raise
        if stage == THAW:
            # From here on people write to the new place: there is no way back any more, but what still stands still goes on in any case.
            self._done = [other for other in self._done if other.changes[0].stage in (FREEZE, THAW) and other.changes[0].ref != ref]
            self._patience = None
        deadline = Deadline(self._params["wait_timeout"])
        if stage == FREEZE:
            wait_gone(self._site.objects, document, deadline)
        elif stage != THAW and ref.kind in _WORKLOADS and ref.namespace == self._site.namespace:
            wait_ready(self._site.objects, [ref], deadline)
        return ref

    def take_back(self) -> str:
        """Undo everything since the platform stands still, the newest first; what cannot be undone does not keep the rest from it."""
        done, self._done, self._patience = self._done, [], None
        left = [piece.changes[0].ref for piece in reversed(done) if not self._undo(piece)]
        if left:
            return f"Not everything could be taken back ({', '.join(map(str, left))}): run again."
        return "What was changed since the platform stood still was taken back, and what stood still goes on." if done else ""

    def _undo(self, piece: Plan) -> bool:
        ref = piece.changes[0].ref
        changes = tuple(change.undone() for change in piece.changes)
        for _attempt in range(_UNDO_ATTEMPTS):
            try:
                document = self._site.objects.get(KINDS[ref.kind], ref.name, ref.namespace)
                self._site.objects.apply_plan(Plan(changes, {ref: document["metadata"]["resourceVersion"]}))
                return True
            except Failure:
                time.sleep(_UNDO_PAUSE)
        return False
