# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of a PostgreSQL server is on another host as soon as it is written, so that no acknowledged commit goes with the server's disk."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner, HostServer, Writer
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Refused, RolloutFailed
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, families, files, packages, units
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import receiver
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import client_for, majors_with
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.receiver import ARGUMENTS, Seen, Wish, wish_of

SOURCE = Source(
    "OpenG2P, Production Deployment",
    "Standalone PostgreSQL",
    "separate machine, primary/standby, backups critical, DBA decides tuning",
)
RECEIVER = Area("host-postgres-receiver", "The log is received as it is written, by a service that can do nothing else", "critical")
CREDENTIALS = Area("host-postgres-receiver-credentials", "The receiver has an account and a password of its own, and knows its server", "high")
SPACE = Area("host-postgres-receiver-space", "What is received has room, and goes when it is old", "high")
_AREAS = (RECEIVER, CREDENTIALS, SPACE)
_AREA_OF = {receiver.UNIT_FILE: RECEIVER, receiver.PRUNE_FILE: SPACE, receiver.TIMER_FILE: SPACE}
_LOG = files.Folder(True, receiver.FOLDER_MODE, receiver.ACCOUNT)
_OURS = files.Folder(True, receiver.OURS_MODE, "root")
# Seconds until it has something after it began (a log-in, and the first record that the server sends), and when it only comes back.
_PATIENCE, _MOMENT = 60.0, 5.0
_PAUSE = 0.2
_HINT = "Does the server let this host in (role postgres_server, receivers), and has it the name that is in its certificate?"


class Planner(AreaPlanner):
    """Plans from one observation. Pure."""

    def __init__(self, wish: Wish, seen: Seen) -> None:
        super().__init__()
        self._wish = wish
        self._seen = seen

    def plan(self) -> Plan:
        """Return what has to change, in the order in which it can."""
        written = [(path, self._file(path, wanted)) for path, wanted in self._wish.files().items()]
        log = self._folder(self._wish.folder, self._seen.folder, _LOG, "who reads the log reads every row")
        ours = self._folder(receiver.OURS, self._seen.ours, _OURS, "the receiver gets at its files, and changes none")
        groups: List[Tuple[Area, Sequence[Change]]] = [(RECEIVER, self._program()), (CREDENTIALS, self._account()), (SPACE, log), (CREDENTIALS, ours)]
        groups += [(_AREA_OF.get(path, CREDENTIALS), found) for path, found in written]
        # What a process has read already does not come to it by itself.
        stale = [path for path, found in written if path not in (receiver.PRUNE_FILE, receiver.TIMER_FILE) and any(one.field == "content" for one in found)]
        groups += [(RECEIVER, self._process(stale)), (SPACE, self._timer(dict(written)))]
        self._remarks()
        return self._plan_of(groups)

    def _program(self) -> List[Change]:
        package = self._wish.package
        return [] if self._seen.program else [Change(Ref("", "Packages", package), (package,), ABSENT, "installed", "it has pg_receivewal")]

    def _account(self) -> List[Change]:
        account, ref = self._seen.account, Ref("", "Account", receiver.ACCOUNT)
        if account is None:
            return [Change(ref, ("account",), ABSENT, "made", "the receiver is nobody else")]
        return [] if account.harmless else [Change(ref, ("shell",), account.shell, "none", "nobody logs in as a service")]

    def _folder(self, path: str, there: files.Folder, wanted: files.Folder, why: str) -> List[Change]:
        ref, text = Ref("", "Folder", path), f"{wanted.mode:04o} of {wanted.owner}"
        if not there.exists:
            return [Change(ref, ("folder",), ABSENT, text, why)]
        return [] if there == wanted else [Change(ref, ("mode",), f"{there.mode:04o} of {there.owner}", text, why)]

    def _file(self, path: str, wanted: files.Kept) -> List[Change]:
        kept, ref = self._seen.kept[path], Ref("", "File", path)
        if kept.text != wanted.text:
            before = ABSENT if kept.text is None else "another text"
            return [Change(ref, ("content",), before, "as wanted", "what runs, and when" if path in _AREA_OF else "what it logs in with")]
        if (kept.mode, kept.owner) != (wanted.mode, wanted.owner):
            return [Change(ref, ("mode",), f"{kept.mode:04o} of {kept.owner}", f"{wanted.mode:04o} of {wanted.owner}", "who can write it rules the receiver")]
        return []

    def _process(self, stale: Sequence[str]) -> List[Change]:
        seen, ref, found = self._seen, Ref("", "Unit", receiver.UNIT), []
        if not seen.at_boot:
            found.append(Change(ref, ("at boot",), "not started", "started", "so that it is there after a reboot"))
        if not seen.runs:
            found.append(Change(ref, ("running",), False, True, "it does not run"))
        elif stale or (seen.words and seen.words != self._wish.words):
            before = "another command line" if seen.words != self._wish.words else "has read other files"
            found.append(Change(ref, ("restarted",), before, "restarted", "so that it is in force"))
        return found

    def _timer(self, written: Mapping[str, Sequence[Change]]) -> List[Change]:
        seen, ref, found = self._seen.timer, Ref("", "Unit", receiver.TIMER), []
        if not seen.enabled:
            found.append(Change(ref, ("at boot",), "not started", "started", "so that it is there after a reboot"))
        if not seen.active or written[receiver.TIMER_FILE]:
            found.append(Change(ref, ("running",), seen.active, "with its file of now", "or the folder grows for ever"))
        return found

    def _remarks(self) -> None:
        wish, seen = self._wish, self._seen
        for path in seen.drop_ins:
            self._remark(RECEIVER, f"{path} changes the unit.", "Take it away: what it says is not known here.")
        if seen.free < wish.free_percent:
            hint = f"Enlarge it, or keep less (postgres_receiver_keep_days is {wish.keep_days}). When it is full, nothing is received any more."
            self._remark(SPACE, f"The file system of {wish.folder} is free to {seen.free}%, not to {wish.free_percent}%.", hint)
        if wish.own_file_system and not seen.own_file_system:
            self._remark(SPACE, f"{wish.folder} is on the file system of the root.", "Mount one of its own there, before the receiver writes to it.")


class Receiver(HostServer[Seen]):
    """The receiver of the host that we are on."""

    main = RECEIVER
    source = SOURCE

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        wish = wish_of(params)
        self._wish = wish._replace(layout=client_for(wish.layout.major, majors_with("pg_receivewal"), families.release()))

    def _look(self) -> Seen:
        units.require("The receiver is a service of systemd.")
        families.require(families.POSTGRES, families.release())
        return receiver.look(self._wish)

    def _require(self, observed: Seen) -> None:
        folder = self._wish.folder
        if observed.strange and observed.folder.owner != receiver.ACCOUNT:
            hint = "Give a folder of its own (postgres_receiver_folder): it becomes the receiver's alone."
            raise Refused(f"{folder} has files that are no log: {', '.join(observed.strange)}.", hint, "folder")
        if observed.account is not None and observed.account.number == 0:
            raise Refused(f"The account {receiver.ACCOUNT} is root by another name.", "Find out who made it, and remove it.", receiver.ACCOUNT)

    def _planned(self, observed: Seen) -> Tuple[AreaPlanner, Plan]:
        planner = Planner(self._wish, observed)
        return planner, planner.plan()

    def _subject(self) -> str:
        return f"the log of {self._wish.name} at {self._wish.slot}"

    # Doing

    def _writers(self) -> Mapping[str, Writer[Seen]]:
        return {
            "Packages": self._apply_packages,
            "Account": self._apply_account,
            "Folder": self._apply_folder,
            "File": self._apply_file,
            "Unit": self._apply_unit,
        }

    def _apply_packages(self, observed: Seen, ref: Ref, changes: Sequence[Change]) -> None:
        hint = f"The programs have to be as new as the server, or newer: add a source that has {ref.name}, such as the repository of the PostgreSQL project."
        packages.install([ref.name], hint)

    def _apply_account(self, observed: Seen, ref: Ref, changes: Sequence[Change]) -> None:
        accounts.make(ref.name)

    def _apply_folder(self, observed: Seen, ref: Ref, changes: Sequence[Change]) -> None:
        wanted = _OURS if ref.name == receiver.OURS else _LOG
        files.make_way(ref.name)
        files.guard(ref.name, wanted.mode, wanted.owner)

    def _apply_file(self, observed: Seen, ref: Ref, changes: Sequence[Change]) -> None:
        wanted = self._wish.files()[ref.name]
        files.replace(ref.name, wanted.text or "", wanted.mode, wanted.owner)
        if ref.name.startswith(f"{units.FOLDER}/"):
            units.read_files()

    def _apply_unit(self, observed: Seen, ref: Ref, changes: Sequence[Change]) -> None:
        fields = {change.field for change in changes}
        if "at boot" in fields:
            units.let_start(ref.name)
        if fields & {"running", "restarted"}:
            ended = units.begin(ref.name, "restart")
            if ended.status:
                raise RolloutFailed(f"{ref.name} does not start: {scrub(units.journal(ref.name))}", f"Ask: journalctl -u {ref.name}", ref.name)

    def settle(self, observed: Optional[Seen], plan: Plan) -> float:
        """Wait until the server sends its log. Raises RolloutFailed when it does not."""
        if not any(change.ref.name == receiver.UNIT for change in plan.changes):
            return 0.0
        deadline = Deadline(_PATIENCE)
        if not self._received(deadline):
            raise RolloutFailed(f"The server sends nothing: {receiver.complaint()}", _HINT, receiver.UNIT)
        return deadline.passed

    def _received(self, deadline: Deadline) -> str:
        """Return the segment that is being written, once there is one; nothing when there is none until then."""
        while True:
            segment = receiver.receiving(self._wish.folder)
            if segment or not deadline.pause(_PAUSE):
                return segment

    # Telling

    def conclude(self, first: Optional[Seen], last: Optional[Seen], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Say what is received. Raises NotProven when nothing is."""
        wish, proof, segment = self._wish, Proof(), last.segment if last else ""
        if last is not None and not self._refusal and (enforced or not self._first):
            # It may be on its way back this moment.
            segment = segment or self._received(Deadline(_MOMENT))
            proof = Proof((Check("the segment that is being written", "one", segment or "none", PASS if segment else FAIL),))
            if enforced and proof.verdict == FAIL:
                said = receiver.complaint()
                raise NotProven(f"The receiver is as wanted, and has nothing from {wish.name}: {said}", _HINT, receiver.UNIT)
        findings = [self._finding(area, plan, proof if area == RECEIVER else Proof(), enforced) for area in _AREAS]
        told = {"name": wish.slot, "folder": wish.folder, "segment": segment, "free_percent": last.free if last else 0}
        return {"findings": [finding.as_data() for finding in findings], "receiver": told, "warnings": self._warnings()}


VERB = Verb(ARGUMENTS, Receiver)
