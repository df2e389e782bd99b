# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out the move of a platform's database: dump, restore, proof, switch; and takes the platform back when it cannot be finished."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Any, Iterator, Mapping, Optional

from ansible_collections.paas.hardening.plugins.module_utils._cluster.forward import forwarded
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import http_through
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import SWITCH, Settings, text_in, touched, workload_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import read_file
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FREEZE, THAW
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard import Guard
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import patiently, ready_pods
from ansible_collections.paas.hardening.plugins.module_utils._controls.stages import Stages
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotFound, NotProven, Unauthorized
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import target as marks
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, find
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.freeze import close_to_writers, closed, reopen, reopening, writers
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import Database as Seen
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import look
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import Dump, dump, load, restore
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.prepare import Wish, missing, prepare
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import compare, fingerprint
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Database

PREPARE, MOVE, CLOSE = "prepare", "move", "close the old database"
_STANDING_STILL = (FREEZE, MOVE, SWITCH)
_SHOWN = 5


class DatabaseMove:
    """The move of one platform's database in one run."""

    def __init__(self, site: Site, params: Mapping[str, Any], facts: Database, target: Server, secret: Mapping[str, Any]) -> None:
        self._site = site
        self._params = params
        self._facts = facts
        self._target = target
        # As of the first look: after the switch the Secret speaks of the new server.
        self._user, self._password = text_in(secret, facts.user_key) or "", text_in(secret, facts.password_key) or ""
        self._bundled: Optional[Mapping[str, Any]] = None
        self._client: Optional[Client] = None
        self._inside: Optional[Seen] = None
        self._outside = ""
        self.stages = Stages(site, params, _STANDING_STILL, Guard(site, params, touched(facts), facts.bundled))

    def try_credentials(self) -> None:
        """Log in to the target as the platform would, before that is written anywhere. Raises Unauthorized, NotFound or Unavailable."""
        self._programs().query(self._target, "SELECT 1")

    def look_inside(self, bundled: Mapping[str, Any]) -> Seen:
        """Return what the bundled database holds, as it was at the first look of this run."""
        self._bundled = bundled
        if self._inside is None:
            with self._source() as source:
                self._inside = look(self._programs(), source)
        return self._inside

    def look_outside(self) -> str:
        """Return in words what there is of the target, as it was at the first look. Writes nothing. Raises Refused when it cannot become ours."""
        if not self._outside:
            admin = self._admin()
            if admin is not None:
                lacking = missing(self._programs(), admin, self._wish())
                self._outside = " and ".join(name for name, lacks in (("role", lacking.role), ("database", lacking.database)) if lacks)
                self._outside = f"{self._outside} missing" if self._outside else "role and database exist"
            else:
                self._outside = f"exists, {marks.state(self._programs(), self._target).kind}"
        return self._outside

    def _wish(self) -> Wish:
        return Wish(self._target.database, self._target.user, self._target.password)

    def _admin(self) -> Optional[Server]:
        user = self._params.get("admin_role")
        if not user:
            return None
        password, where = read_file(self._params, "admin_password"), self._target
        return Server(where.host, user, self._params["admin_database"], password, where.port, where.sslmode, where.ca_file)

    def _programs(self) -> Client:
        if self._client is None:
            self._client = find(self._params.get("client_folder") or "")
        return self._client

    @contextlib.contextmanager
    def _source(self) -> Iterator[Server]:
        """Yield the bundled database as it can be reached from here: through a port of its pod."""
        name = self._facts.bundled.name

        def pod() -> str:
            pods = ready_pods(self._site.objects, self._bundled) if self._bundled else []
            if not pods:
                raise NotFound(f"No pod of {name} is ready.", "The bundled database has to run until its rows are moved.", name)
            return str(pods[0]["metadata"]["name"])

        pod()
        with forwarded(self._site.connection, self._site.namespace, pod, 5432) as forward:
            yield Server("127.0.0.1", self._user, self._user, self._password, forward.port, "disable")

    def is_closed(self, bundled: Optional[Mapping[str, Any]]) -> Optional[bool]:
        """Tell whether the bundled database is closed to writers; None when it does not run, or no longer knows its role: then nobody writes into it."""
        self._bundled = bundled
        if bundled is None:
            return None
        try:
            with self._source() as source:
                return closed(self._programs(), source, source.database)
        except (NotFound, Unauthorized):
            return None

    def carry_out(self, piece: Plan) -> None:
        """Do one piece."""
        stage = piece.changes[0].stage
        self.stages.begin(stage)
        if stage == PREPARE:
            admin = self._admin()
            if admin is not None:
                prepare(self._programs(), admin, self._wish())
        elif stage == MOVE:
            self._move()
        elif stage == CLOSE:
            with self._source() as source:
                close_to_writers(self._programs(), source, source.database)
        else:
            self.stages.write(stage, piece)
            if stage == THAW:
                marks.unmark(self._programs(), self._target)
                if self._params["old_database"] == "keep":
                    self._open()

    def _move(self) -> None:
        """Dump, restore and compare. Nobody writes meanwhile; what an interrupted run left in the target is known by its mark and made anew."""
        with self._programs().session(self._target) as session:
            # Programs of the target's own version, where there are several: a newer pg_restore may speak of settings that an older server does not know.
            client = self._client = find(self._params.get("client_folder") or "", session.version)
        folder, admin = self._folder(), self._admin()
        with self._source() as source:
            # Whoever else writes into it is stopped, too; what is closed is opened again when the move fails.
            self.stages.note_statements(reopening(client, source, source.database), source.user, source.password, source.database)
            close_to_writers(client, source, source.database)
            self._give_up_earlier(folder)
            made = dump(client, source, folder, patience=self.stages.left)
            if admin is not None:
                prepare(client, admin, replace(self._wish(), extensions=made.extensions))
            restore(client, made, self._target, patience=self.stages.left)
            differences = compare(fingerprint(client, source), fingerprint(client, self._target), owner=self._target.user)
        if differences:
            raise NotProven(
                f"The new database is not equal to the old one in {len(differences)} points: {'; '.join(differences[:_SHOWN])}.",
                "Nothing was switched. Look at the target's version, extensions and settings.",
                subject=str(self._target),
            )

    def take_back(self) -> str:
        """Let the platform go on with the bundled database; return in words what was undone."""
        return self.stages.take_back(self._open)

    def take_over(self, bundled: Mapping[str, Any]) -> None:
        """Take back what a run left behind that was killed."""
        self._bundled = bundled

        def open_as(user: str, password: str) -> None:
            # As the Secret was before that run.
            self._user, self._password = user, password
            self._open()

        self.stages.take_over(open_as)

    def _open(self) -> None:
        with self._source() as source:
            reopen(self._programs(), source, source.database)

    def _give_up_earlier(self, folder: str) -> None:
        """Mark what an earlier run of ours restored, and never switched to, as unfinished: then it is made anew."""
        earlier = self._earlier(folder)
        if earlier is None:
            return
        found = marks.state(self._programs(), self._target)
        if found.kind == marks.RESTORED and found.detail == earlier.id:
            with marks.alone(self._programs(), self._target, self.stages.left) as session:
                marks.mark(session, self._target.database, marks.RESTORING, earlier.id, found.comment)

    @staticmethod
    def _earlier(folder: str) -> Optional[Dump]:
        try:
            return load(folder)
        except Failure:
            return None

    def _folder(self) -> str:
        uid = str((self._bundled or {}).get("metadata", {}).get("uid", "none"))
        folder = os.path.join(os.path.expanduser(self._params["work_folder"]), uid)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return folder

    def checks(self, settings: Settings, moved: bool) -> Iterator[Check]:
        """Ask every component's pod whether it can work, and the new server who is connected."""
        port, path = self._facts.health
        for user in self._facts.users:
            yield self._health(workload_of(settings, user.workloads[0]), port, path)
        if moved:
            yield self._sessions()

    def _health(self, workload: Mapping[str, Any], port: int, path: str) -> Check:
        name = workload["metadata"]["name"]
        what = f"GET :{port}{path} on {name}"
        deadline = Deadline(self._site.connection.retry_seconds)
        try:
            pods = patiently(lambda: ready_pods(self._site.objects, workload), bool, deadline)
            if not pods:
                return Check(what, "200", "no pod is ready", FAIL)
            pod = str(pods[0]["metadata"]["name"])
            answer = patiently(
                lambda: http_through(self._site.connection, self._site.namespace, pod, port, "GET", path), lambda given: given.status == 200, deadline
            )
        except Failure as failure:
            return Check(what, "200", failure.message, UNKNOWN)
        return Check(what, "200", str(answer.status), PASS if answer.status == 200 else FAIL)

    def _sessions(self) -> Check:
        what = f"sessions of {self._facts.users[0].role} on {self._target.address}"
        try:
            found = patiently(lambda: writers(self._programs(), self._target), bool, Deadline(self._site.connection.retry_seconds))
        except Failure as failure:
            return Check(what, "at least one", failure.message, UNKNOWN)
        # Not how many: that changes by itself.
        return Check(what, "at least one", "connected" if found else "none", PASS if found else FAIL)
