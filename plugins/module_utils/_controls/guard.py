# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard in the cluster while a platform stands still: when the run is killed, or cannot reach the cluster any more, it takes back what the run noted down.

Run and guard speak to each other in one Secret. Every write of the run is noted there before it is made. Who holds the move stands there too, and changes only
under the version that was read: so either the run says that the move is through, and nothing is taken back any more, or somebody takes it over, and the run
finds out before its next write.
"""

from __future__ import annotations

import json
import secrets
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.access import Right, missing_rights
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects, deletion
from ansible_collections.paas.hardening.plugins.module_utils._cluster.patches import MERGE, STRATEGIC, strategic_patch
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import in_base64, text_in
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FREEZE, FROZEN
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard_objects import Cast, Source, members_of, secret_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard_program import (
    ARMED,
    BEAT,
    COMMITTED,
    DONE,
    GUARD,
    HOLDER,
    PHASE,
    STATEMENTS,
    UNDO,
    WATCH,
    WATCHING,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, NotFound, Refused, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Workload

NAME = "paas-hardening-guard"
# Seconds between two signs of life; after how many without one the guard acts, and after how many another run takes a run for dead.
_PULSE, SILENCE, _DEAD = 4.0, 60.0, 14.0
# Beyond its time a run may need this to take back what it did.
_MARGIN = 60.0
_POLL = 0.5
_ATTEMPTS = 20
_WAY = (
    "Nothing stands still yet. Does its firewall let in the network of the pods, beside that of the nodes? Do its answers find the way back? Do the cluster's "
    "name servers know its name? Does no network policy forbid it?"
)
_ARGUMENT = "The option guard: false does without the guard: then only the next run takes back what a killed one left."


class Lost(TimedOut):
    """The move is no longer ours: the guard has taken it back, or another run."""


class Guard:
    """The guard of one move.

    ``touched`` are kind and name of what the move may change, ``ways`` where pods will have to connect to (host:port), ``database`` the bundled database when
    it is closed meanwhile.
    """

    def __init__(
        self, site: Site, params: Mapping[str, Any], touched: Sequence[Tuple[str, str]], ways: Sequence[str], database: Optional[Workload] = None
    ) -> None:
        self._site = site
        self._params = params
        self._touched = touched
        self._ways = ways
        self._database = database
        self._holder = ""
        self._noted: List[Dict[str, Any]] = []
        self._statements = ""
        self._enough = threading.Event()
        self._left: Optional[Mapping[str, str]] = None
        self._permitted = False

    @property
    def armed(self) -> bool:
        """Whether this run holds the move."""
        return bool(self._holder)

    def check_rights(self) -> None:
        """Raise Refused, before anything is touched, when a right is missing that the guard needs."""
        if self._permitted:
            return
        place = self._site.namespace
        wanted = [Right(verb, "", "secrets", place) for verb in ("create", "delete")]
        if self._params["guard"]:
            wanted += [
                Right("create", "", "serviceaccounts", place),
                *(Right("create", "rbac.authorization.k8s.io", resource, place) for resource in ("roles", "rolebindings")),
                Right("create", "batch", "jobs", place),
            ]
        missing = missing_rights(self._site.connection, wanted)
        if missing:
            hint = f"They are in docs/rbac-moves.yml. {_ARGUMENT if self._params['guard'] else ''}".strip()
            raise Refused(f"Rights for the guard are missing: {', '.join(map(str, missing))}.", hint, "guard")
        self._permitted = True

    # What a run before left behind

    def left_behind(self) -> str:
        """Return how far a run came that has ended and left its guard: a word of guard_program, or nothing. Raises Refused when that run is at work."""
        if self._holder:
            return ""
        if self._left is None:
            left = self._read() or {}
            beat, deadline = left.get(BEAT), Deadline(SILENCE if left.get(HOLDER) == GUARD else _DEAD)
            # Somebody who is at work gives a sign of life, or, if it is the guard, ends.
            while left and left[PHASE] != DONE and deadline.pause(1):
                left = self._read() or {}
                if left and left[BEAT] != beat:
                    raise Refused(f"Another run moves something of this platform (Secret {NAME}).", "Wait until it has ended.", subject=NAME)
                if not left:
                    # What was looked at before it ended is old.
                    raise Refused("Another run has just moved something of this platform.", "Run again: what it changed is to be looked at anew.", subject=NAME)
            if left.get(PHASE) == ARMED and STATEMENTS in left and self._database is None:
                raise Refused(
                    "A move of the database was broken off, and the old database is closed.",
                    "Run workflow_database again, which takes that back first, or wait for the guard in the cluster.",
                    subject=NAME,
                )
            self._left = left
        return self._left.get(PHASE, "")

    def take_over(self, reopen: Callable[[str, str], None]) -> None:
        """Take back what a run left that has ended, as the guard would. ``reopen`` opens the old database as that role, with that password.

        Raises Refused, before anything is touched, when a right is missing that the guard needs: without it its Secret would stay.
        """
        self.check_rights()
        secret, holder = self._site.objects.get(KINDS["Secret"], NAME, self._site.namespace), secrets.token_hex(8)
        self._patch(self._site.objects, {HOLDER: holder, BEAT: "0"}, secret["metadata"]["resourceVersion"])
        self._holder = holder
        found = _texts(secret)
        try:
            self._live()
            if found[PHASE] == ARMED and STATEMENTS in found:
                reopen(found["user"], found["password"])
            for entry in reversed(json.loads(found[UNDO])) if found[PHASE] != DONE else ():
                if entry["note"] or found[PHASE] == ARMED:
                    self._undo(entry)
        except BaseException:
            self.let_go()
            raise
        self.release()

    def _undo(self, entry: Mapping[str, Any]) -> None:
        request = self._site.connection.request
        try:
            if entry["note"] and entry["note"] not in (request("GET", entry["path"]).data["metadata"].get("annotations") or {}):
                return
            request("PATCH", entry["path"], body=entry["body"], content_type=entry["type"])
        except NotFound:
            return

    # What this run does

    def arm(self) -> None:
        """Leave the guard in the cluster and wait until it is on watch. Raises Refused when it does not come up, Conflict when another move is at work."""
        holder = secrets.token_hex(8)
        fields = {HOLDER: holder, PHASE: ARMED, BEAT: "0", UNDO: "[]"}
        document = secret_of(self._site.namespace, NAME, {key: in_base64(text) for key, text in fields.items()})
        # Whose it is, should it be there already, is to be looked at anew.
        self._noted, self._statements, self._left = [], "", None
        made = self._site.connection.request("POST", KINDS["Secret"].path(self._site.namespace), body=document).data
        self._holder = holder
        try:
            self._live()
            if self._params["guard"]:
                self._set_up(str(made["metadata"]["uid"]))
        except BaseException:
            self.release()
            raise

    def _set_up(self, uid: str) -> None:
        place = self._site.namespace
        api = self._site.platform.components["api"]
        database = [self._source(self._database)] if self._database else []
        name = f"{NAME}-{secrets.token_hex(3)}"
        cast = Cast(place, NAME, name, self._site.platform.start, SILENCE, self._source(api), self._ways, database)
        for document in members_of(cast, uid, self._touched):
            self._site.connection.request("POST", KINDS[document["kind"]].path(place), body=document)
        deadline = Deadline(self._params["wait_timeout"])
        while WATCH not in (found := self._read() or {}):
            if not deadline.pause(_POLL):
                trouble = self._trouble(name)
                raise Refused(f"The guard is not on watch after {deadline.seconds:g} s: {trouble}.", f"Nothing stands still yet. {_ARGUMENT}", "guard")
        if found[WATCH] != WATCHING:
            raise Refused(f"From a pod there is no way to {found[WATCH]}.", f"{_WAY} {_ARGUMENT}", "guard")

    def _source(self, workload: Workload) -> Source:
        return Source(workload, self._site.objects.get(KINDS[workload.kind], workload.name, self._site.namespace))

    def _trouble(self, name: str) -> str:
        """Say in words what the guard's pods wait for."""
        told = []
        for pod in self._site.objects.list(KINDS["Pod"], namespace=self._site.namespace, labels=f"job-name={name}"):
            status = pod.get("status") or {}
            states = [entry.get("state") or {} for group in ("initContainerStatuses", "containerStatuses") for entry in status.get(group) or ()]
            told += [str(state[how]["reason"]) for state in states for how in ("waiting", "terminated") if (state.get(how) or {}).get("reason")]
            told.append(f"its pod is {status.get('phase', 'not seen yet')}")
        return ", ".join(dict.fromkeys(told)) or "it has no pod"

    def note(self, piece: Plan) -> None:
        """Note down how a write is taken back, before it is made. Raises Lost when the move is no longer ours."""
        if not self._holder:
            return
        ref = piece.changes[0].ref
        body = strategic_patch(ref.kind, tuple(change.undone() for change in piece.changes))
        note = FROZEN if piece.changes[0].stage == FREEZE else ""
        self._noted.append({"path": KINDS[ref.kind].path(ref.namespace, ref.name), "type": STRATEGIC, "body": body, "note": note})
        self._change(self._site.objects, **{UNDO: json.dumps(self._noted)})

    def note_statements(self, statements: str, user: str, password: str, database: str) -> None:
        """Note down how a database of the bundled server is opened again, before it is closed, and as whom. Raises Lost."""
        if self._holder:
            self._statements += statements
            self._change(self._site.objects, **{STATEMENTS: self._statements, "user": user, "password": password, "database": database})

    def commit(self) -> None:
        """Say that the move is through: from now on nothing is taken back, and what stands still goes on. Raises Lost when somebody took it back already."""
        if self._holder:
            self._change(self._site.objects, **{PHASE: COMMITTED})

    def hold(self) -> None:
        """Raise Lost when the move is no longer ours."""
        if self._holder and not self.phase():
            raise _lost()

    def phase(self) -> str:
        """Return how far the move is that we hold, nothing when it is no longer ours. Raises Failure while the server is away."""
        found = self._read() or {}
        return found.get(PHASE, "") if found.get(HOLDER) == self._holder else ""

    def release(self) -> None:
        """Take the guard away, with all that belongs to it: nothing stands still any more. Where that fails it has nothing to do, and the next run does it."""
        if not self._holder:
            return
        self._enough.set()
        self._left = None
        try:
            if self.phase():
                path = KINDS["Secret"].path(self._site.namespace, NAME)
                self._site.connection.request("DELETE", path, body=deletion())
        except Failure:
            return
        finally:
            self._holder = ""

    def let_go(self) -> None:
        """Give no sign of life any more: the guard goes on with what we cannot take back."""
        self._enough.set()
        self._holder = ""

    # The Secret

    def _read(self) -> Optional[Dict[str, str]]:
        found = self._site.objects.find(KINDS["Secret"], NAME, self._site.namespace)
        return None if found is None else _texts(found)

    def _change(self, objects: Objects, **fields: str) -> None:
        """Write into the Secret while it is ours. Raises Lost."""
        for _attempt in range(_ATTEMPTS):
            secret = objects.find(KINDS["Secret"], NAME, self._site.namespace)
            if secret is None or text_in(secret, HOLDER) != self._holder:
                raise _lost()
            try:
                self._patch(objects, fields, secret["metadata"]["resourceVersion"])
                return
            except Conflict:
                # Our own sign of life came in between.
                continue
        raise Conflict(f"Secret {NAME} changes all the time.", "Is another run at work? Run again.", NAME)

    def _patch(self, objects: Objects, fields: Mapping[str, str], version: str) -> None:
        body = {"metadata": {"resourceVersion": version}, "data": {key: in_base64(text) for key, text in fields.items()}}
        objects.connection.request("PATCH", KINDS["Secret"].path(self._site.namespace, NAME), body=body, content_type=MERGE)

    def _live(self) -> None:
        """Give signs of life from now on, over a connection of their own, for no longer than the platform may stand still."""
        objects, self._enough = Objects(connect(self._params)), threading.Event()
        deadline = Deadline(self._params["freeze_timeout"] + self._params["wait_timeout"] * 2 + _MARGIN)
        threading.Thread(target=self._beat, args=(objects, deadline, self._enough), daemon=True).start()

    def _beat(self, objects: Objects, deadline: Deadline, enough: threading.Event) -> None:
        while deadline.left and not enough.wait(_PULSE):
            try:
                self._change(objects, **{BEAT: f"{deadline.passed:.1f}"})
            except Lost:
                return
            except Failure:
                continue


def _lost() -> Lost:
    return Lost(
        "This run was not heard of for so long that the platform was taken back without it.",
        "Look at the network between this machine and the cluster, then run again.",
        NAME,
    )


def _texts(secret: Mapping[str, Any]) -> Dict[str, str]:
    return {key: text_in(secret, key) or "" for key in secret.get("data") or {}}
