# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery points are made by a timer, or no more. What workflow_backup does with state scheduled or absent; it never touches a point."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import sys
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import told
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import moment
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import ARGUMENTS, SOURCE
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import live, runner, watch
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.live import Live
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.units import File, Places, Wish, places_of, refuse_late, wish_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Finding, Proof, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._host.archive import archive
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask, do
from ansible_collections.paas.hardening.plugins.module_utils._host.files import replace_bytes
from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied

_API, _FILE, _TIMER = "paas.hardening/v1", "File", "Timer"
_CONTROL, _TITLE = "recovery-point-schedule", "Recovery points are made by a timer that runs"
_ON, _OFF, _GONE = "on, also after a reboot", "off", "gone"


@dataclass(frozen=True)
class Observed:
    """A schedule as it is at one moment, in seconds since 1970, and its files as they have to be: none when it has to go."""

    now: float
    live: Live
    wanted: Tuple[File, ...]


class Schedule:
    """One schedule of this host at work."""

    def __init__(self, params: Mapping[str, Any], wanted: bool) -> None:
        self._places: Places = places_of(params["schedule"])
        self._wish: Optional[Wish] = wish_of(params, ARGUMENTS, os.path.abspath(sys.executable)) if wanted else None
        self._repository = str(params["repository"])
        self._files: Tuple[File, ...] = ()

    def observe(self) -> Observed:
        """Look at files and units. Raises Invalid for a time that systemd does not know, and for an account that is not there."""
        if self._wish is not None and not self._files:
            refuse_late(str(self._wish.options["max_age"]), live.periods(self._wish.calendar)[0], self._wish.delay, "the timer goes off")
            self._files = self._wish.files(archive(runner.__name__), live.home_of(self._wish.account))
        return Observed(time.time(), live.look(self._places), self._files)

    def plan(self, observed: Observed) -> Plan:
        return _planned(self._places, observed) if observed.wanted else _removal(self._places, observed)

    def apply(self, plan: Plan) -> None:
        """Do one piece of the plan. Raises Failure when systemd does not take it."""
        live.require_root()
        ref = plan.changes[0].ref
        if ref.kind == _TIMER:
            self._switch()
        elif self._files:
            self._write(next(file for file in self._files if file.path == ref.name))
        else:
            self._delete(ref.name)

    def settle(self, observed: Observed, plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return ""

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        wanted = bool(last.wanted)
        proof = self._proof(last) if wanted and not (plan and not enforced) else Proof()
        problems = watch.problems_of(self._places, last.live, 0.0, last.now) if wanted and self._whole(last) else []
        finding = Finding(
            control=_CONTROL,
            title=_TITLE if wanted else "Recovery points are made by no timer of this name",
            severity="high",
            source=SOURCE,
            subject=self._repository,
            status=status_of(bool(plan), enforced, proof, wanted),
            expected=f"{self._places.timer} {_ON}" if wanted else f"{self._places.timer} {_GONE}",
            observed=f"{self._places.timer} {_state(first.live)}",
            after=f"{self._places.timer} {_state(last.live)}",
            reasons=tuple(problem.what for problem in problems),
            proof=proof,
        )
        return {
            "schedule": watch.as_data(self._places, last.live),
            "problems": [problem.what for problem in problems],
            "findings": [finding.as_data()],
            "proof": proof.as_data(),
            "warnings": [problem.what for problem in problems],
        }

    @staticmethod
    def _whole(observed: Observed) -> bool:
        return all(file.path in observed.live.files for file in observed.wanted)

    def _proof(self, last: Observed) -> Proof:
        """See that the timer has a next time, and that the program starts as its account, reads the options, and can use the keys."""
        wish = self._wish
        if wish is None:
            return Proof()
        due = last.live.next > last.now - 1 or last.live.running
        checks = [Check(f"the next run of {self._places.timer}", "comes", moment(last.live.next) if last.live.next else "never", PASS if due else FAIL)]
        account = pwd.getpwnam(wish.account)
        words = [*wish.command()[:-1], runner.LOOK, wish.command()[-1]]
        said = ask(tied(words, account=(account.pw_uid, account.pw_gid)))
        answer = (said.output.strip() or said.complaint.strip()[-500:] or f"status {said.status}").replace("\n", " ")
        checks.append(Check(f"the program as {wish.account}", "ready", answer, PASS if said.status == 0 and answer == "ready" else FAIL))
        return Proof(tuple(checks))

    def _write(self, file: File) -> None:
        folder = os.path.dirname(file.path)
        with told("made", folder):
            os.makedirs(folder, mode=0o755, exist_ok=True)
        with told("written", file.path):
            replace_bytes(file.path, file.content, file.mode, file.owner)

    def _delete(self, path: str) -> None:
        with told("removed", path):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        if path in (self._places.timer_file, self._places.service_file):
            do(["systemctl", "daemon-reload"])

    def _switch(self) -> None:
        """Let systemd have the timer as its file says, or no more."""
        places = self._places
        if not self._files:
            do(["systemctl", "stop", places.timer])
            if os.path.lexists(places.timer_file):
                do(["systemctl", "disable", "--quiet", places.timer])
            return
        do(["systemctl", "daemon-reload"])
        do(["systemctl", "enable", "--quiet", places.timer])
        do(["systemctl", "restart", places.timer], hint=f"Ask: journalctl -u {places.timer}")


def _planned(places: Places, observed: Observed) -> Plan:
    """Compare what is there with what has to be."""
    changes: List[Change] = []
    units_change = observed.live.stale
    for file in observed.wanted:
        ref, seen = Ref(_API, _FILE, file.path), observed.live.files.get(file.path)
        fields: List[Tuple[str, Any, Any]] = [("content", _text(seen.content) if seen else ABSENT, _text(file.content))]
        fields += [("mode", f"{seen.mode:04o}" if seen else ABSENT, f"{file.mode:04o}"), ("owner", seen.owner if seen else ABSENT, file.owner)]
        differing = [(name, before, after) for name, before, after in fields if before != after]
        changes += [Change(ref, (name,), before, after, _why(places, file.path)) for name, before, after in differing]
        units_change |= bool(differing) and file.path in (places.timer_file, places.service_file)
    state = _state(observed.live)
    if state != _ON or units_change:
        why = "systemd has to read the units anew" if state == _ON else "a timer that is off makes nothing"
        changes.append(Change(Ref(_API, _TIMER, places.timer), ("state",), f"{state}, of another file" if state == _ON else state, _ON, why))
    return Plan(tuple(changes))


def _removal(places: Places, observed: Observed) -> Plan:
    """Take away the timer first, then its files, and what systemd and the runs noted. Raises Refused while a run is at work."""
    seen = observed.live
    if seen.running:
        raise Refused(f"{places.service} is at work.", f"Let it end, or stop it: systemctl stop {places.service}", places.service)
    changes: List[Change] = []
    why = "there is to be no such schedule"
    if seen.active or seen.enabled:
        changes.append(Change(Ref(_API, _TIMER, places.timer), ("state",), _state(seen), ABSENT, why))
    for path in (*(path for path in reversed(places.files()) if path in seen.files), *seen.left):
        changes.append(Change(Ref(_API, _FILE, path), ("state",), "there", ABSENT, why))
    return Plan(tuple(changes))


def _state(seen: Live) -> str:
    if seen.active and seen.enabled:
        return _ON
    if seen.active:
        return "on, but off after a reboot"
    return _OFF if seen.files else _GONE


def _text(content: bytes) -> str:
    """Return what a diff shows of a file: text as it is, a program by its digest."""
    if content.startswith(b"PK"):
        return f"SHA-256 {hashlib.sha256(content).hexdigest()}"
    return content.decode("utf-8", "backslashreplace")


def _why(places: Places, path: str) -> str:
    return {
        places.program: "the run needs its program, of the collection's present release",
        places.options_file: "the run does what these options say",
        places.service_file: "systemd has to know how to run it",
        places.timer_file: "systemd has to know when to run it",
    }[path]
