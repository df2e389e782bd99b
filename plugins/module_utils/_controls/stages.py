# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in stages during some of which the platform stands still: within a time, and taken back when it cannot be finished."""

from __future__ import annotations

import time
from typing import Any, Callable, List, Mapping, Optional, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import wait_ready
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site, Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FREEZE, THAW, thaw, wait_gone
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard import Guard
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard_program import ARMED, COMMITTED
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan, Ref, look, same
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

_UNDO_ATTEMPTS, _UNDO_PAUSE = 10, 1.0
_WORKLOADS = ("Deployment", "StatefulSet")
TAKE_BACK = "take back"


def interrupted(phase: str) -> Wanted:
    """Return the one piece that is planned while there is left what another run, which was killed, had begun; ``phase`` is how far that came."""
    document = {"apiVersion": "", "kind": "Move", "metadata": {"name": "of an earlier run"}}
    found = {ARMED: "broken off", COMMITTED: "broken off when it was through"}.get(phase, "taken back by the guard in the cluster")
    why = "it was killed; what is still to do is planned once the platform is whole again"
    return Wanted(document, ("state",), "ended", why, stage=TAKE_BACK, step=True, standing=found)


class Stages:
    """The writes of one run to one platform. ``still`` are the stages after which there is a way back; the platform stands still in them.

    That is at most ``freeze_timeout`` seconds. The first stage after them closes the way back. Without a ``guard`` nobody but this run takes anything back.
    """

    def __init__(self, site: Site, params: Mapping[str, Any], still: Sequence[str], guard: Optional[Guard] = None) -> None:
        self._site = site
        self._params = params
        self._still = still
        self._guard = guard
        self._done: List[Plan] = []
        self._patience: Optional[Deadline] = None
        self._adopted = False
        self._through = False

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
        if stage == FREEZE and self._guard and not self._guard.armed:
            self._guard.arm()
        self._patience = self._patience or Deadline(self._params["freeze_timeout"])
        if not self._patience.left:
            raise TimedOut(
                f"The platform stood still for {self._patience.seconds:g} s, and the move had come no further than the stage {stage}.",
                "Run again: what was copied stays copied. Allow more with freeze_timeout, or choose a quieter hour.",
            )

    def write(self, stage: str, piece: Plan) -> Ref:
        """Write one object and wait until that has taken effect. Raises Conflict when it is no longer as planned, Lost when the guard has taken over."""
        ref = piece.changes[0].ref
        document = self._site.objects.get(KINDS[ref.kind], ref.name, ref.namespace)
        if not all(same(look(document, change.path), change.before) for change in piece.changes):
            raise Conflict(f"{ref} is no longer as it was planned.", "Somebody else changes it; run again.", str(ref))
        if stage in self._still:
            if self._guard:
                self._guard.note(piece)
            # Before it is sent: of a write whose answer is lost nobody knows whether it arrived, and taking it back does no harm.
            self._done.append(piece)
        elif self._done:
            self._close_way_back()
        try:
            self._site.objects.apply_plan(Plan(piece.changes, {ref: document["metadata"]["resourceVersion"]}))
        except Conflict:
            self._done = [other for other in self._done if other is not piece]
            raise
        if stage == THAW:
            self._done = [other for other in self._done if other.changes[0].ref != ref]
            if not self._done:
                self._release()
        deadline = Deadline(self._params["wait_timeout"])
        if stage == FREEZE:
            # Pods that were let go on meanwhile would be waited for in vain.
            wait_gone(self._site.objects, document, deadline, self._guard.hold if self._guard else lambda: None)
        elif stage != THAW and ref.kind in _WORKLOADS and ref.namespace == self._site.namespace:
            wait_ready(self._site.objects, [ref], deadline)
        return ref

    def _close_way_back(self) -> None:
        """From here on people write to the new place, and nothing is taken back; but what stands still goes on in any case."""
        if self._guard:
            self._guard.commit()
        self._done = _standing(self._done)
        self._through, self._patience = True, None

    def take_back(self, reopen: Callable[[], None] = lambda: None) -> str:
        """Undo everything since the platform stands still, the newest first; what cannot be undone does not keep the rest from it.

        ``reopen`` undoes what was done beside the cluster's objects, where there is a way back.
        """
        done, self._done, self._patience = self._done, [], None
        if not done:
            self._release()
            return ""
        phase = self._phase()
        if not phase:
            return "The guard in the cluster takes back what was changed since the platform stood still, or has done so."
        trouble = []
        if phase == ARMED:
            try:
                reopen()
            except Failure as failure:
                trouble.append(failure.message)
        else:
            done = _standing(done)
        trouble += [str(piece.changes[0].ref) for piece in reversed(done) if not self._undo(piece)]
        if trouble:
            if self._guard:
                self._guard.let_go()
            return f"Not everything could be taken back ({', '.join(trouble)}): run again."
        self._release()
        return "What was changed since the platform stood still was taken back, and what stood still goes on."

    def _phase(self) -> str:
        """Return how far the move is, nothing when somebody took it over."""
        known = COMMITTED if self._through else ARMED
        if self._guard is None or not self._guard.armed:
            return known
        try:
            return self._guard.phase()
        except Failure:
            return known

    def _release(self) -> None:
        """Nothing stands still any more: the guard goes."""
        if self._guard:
            self._guard.release()

    # What is done with what a run before left behind

    def left_behind(self) -> str:
        """Return how far a run came that was killed, nothing when there is none. Raises Refused when it is at work."""
        if self._guard is None:
            return ""
        return self._guard.left_behind()

    def check_rights(self) -> None:
        """Raise Refused when the guard could not be made."""
        if self._guard:
            self._guard.check_rights()

    def take_over(self, reopen: Callable[[str, str], None] = lambda _role, _password: None) -> None:
        """Take back what a run left behind. ``reopen`` opens the old database again as this role, with this password."""
        if self._guard:
            self._guard.take_over(reopen)

    def note_statements(self, statements: str, user: str, password: str, database: str) -> None:
        """Note down how the old database is opened again, before it is closed."""
        if self._guard:
            self._guard.note_statements(statements, user, password, database)

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


def _standing(done: Sequence[Plan]) -> List[Plan]:
    """Return those writes that made something stand still."""
    return [piece for piece in done if piece.changes[0].stage in (FREEZE, THAW)]
