# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out the move of a platform's database: dump, restore, proof, switch; and takes the platform back when it cannot be finished."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.forward import forwarded
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import http_through
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import SWITCH, Settings, text_in, touched, workload_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import read_file
from ansible_collections.paas.hardening.plugins.module_utils._controls.database_place import Relocation, component_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.database_pools import pools_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FREEZE, THAW
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard import Guard
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_is_ready, patiently, pods_of, ready_pods
from ansible_collections.paas.hardening.plugins.module_utils._controls.stages import Stages
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotFound, NotProven, Refused, Unauthorized
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import target as marks
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, find
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.freeze import close_to_writers, closed, reopen, reopening
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import Database as Seen
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import connections_needed, look, room, visits
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import Dump, dump, load, restore
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.prepare import Wish, missing, prepare
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import compare, fingerprint
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Database

PREPARE, MOVE, CLEAR, CLOSE = "prepare", "move", "clear the way", "close the old database"
_STANDING_STILL = (FREEZE, MOVE, SWITCH)
_SHOWN = 5
# The database that a superuser enters to ask about the others.
_ALWAYS = "postgres"
# Seconds for a log-in to the bundled database: while a whole platform starts, its machine has no time.
_PATIENT = 60


class DatabaseMove:
    """The move of one platform's databases in one run. What they are called and where they go is as of the first look: the settings change meanwhile."""

    def __init__(self, site: Site, params: Mapping[str, Any], facts: Database, moves: Sequence[Relocation], secret: Optional[Mapping[str, Any]]) -> None:
        self._site = site
        self._params = params
        self._facts = facts
        self._moves = tuple(moves)
        self._superuser = tuple(text_in(secret or {}, key) or "" for key in facts.superuser_keys)
        self._waiting: FrozenSet[str] = frozenset()
        self._begun: FrozenSet[str] = frozenset()
        self._bundled: Optional[Mapping[str, Any]] = None
        self._client: Optional[Client] = None
        self._inside: Optional[Mapping[str, Optional[Seen]]] = None
        self._outside: Optional[Mapping[str, str]] = None
        self._enough = self._in_use = False
        self._reopening: Dict[str, str] = {}
        ways = sorted({entry.target.address for entry in self._moves})
        self.stages = Stages(site, params, _STANDING_STILL, Guard(site, params, touched(facts), ways, facts.bundled))

    def try_credentials(self) -> None:
        """Log in to each target as the platform would, before that is written anywhere. Raises Unauthorized, NotFound or Unavailable."""
        for entry in self._moves:
            self._programs().query(entry.target, "SELECT 1 AS one")

    def take_up(self, waiting: Sequence[str], begun: Sequence[str]) -> None:
        """Take the databases of these components to be moved, of which some are used at the target by a part of their component already."""
        # What was to be moved at the first look is what a failure takes back, however far it came.
        self._waiting, self._begun = self._waiting | frozenset(waiting), frozenset(begun)

    @property
    def _pending(self) -> Tuple[Relocation, ...]:
        return tuple(entry for entry in self._moves if entry.role in self._waiting)

    def look_inside(self, bundled: Mapping[str, Any]) -> Mapping[str, Optional[Seen]]:
        """Return what each bundled database holds, as it was at the first look of this run; None for one that the platform never made."""
        self._bundled = bundled
        if self._inside is None:
            with self._inner() as (server, known):
                self._inside = {
                    entry.role: look(self._programs(), replace(server, database=entry.source)) if entry in known else None for entry in self._pending
                }
        return self._inside

    @contextlib.contextmanager
    def _inner(self) -> Iterator[Tuple[Server, Sequence[Relocation]]]:
        """Yield the bundled server, and those of the databases that it has."""
        with self._source(_ALWAYS if self._facts.of_its_own else self._moves[0].source) as server:
            known = {row["datname"] for row in self._programs().query(server, "SELECT datname FROM pg_database")}
            yield server, [entry for entry in self._moves if entry.source in known]

    def look_outside(self) -> Mapping[str, str]:
        """Return in words what there is of each target, as it was at the first look. Writes nothing. Raises Refused when it cannot become ours."""
        if self._outside is None:
            self._outside = {entry.role: self._found(entry) for entry in self._pending}
        return self._outside

    def _found(self, entry: Relocation) -> str:
        admin = self._admin()
        if admin is None:
            return f"exists, {marks.state(self._programs(), entry.target).kind}"
        lacking = missing(self._programs(), admin, _wish(entry))
        lacks = " and ".join(name for name, there in (("role", lacking.role), ("database", lacking.database)) if there)
        return f"{lacks} missing" if lacks else "role and database exist"

    def check_connections(self, settings: Settings) -> None:
        """Refuse a server that has fewer connections left than the platform may open. Asked once a run, before anything is touched."""
        if self._enough:
            return
        entered = self._admin() or self._moves[0].target
        found = room(self._programs(), entered, [entry.target.database for entry in self._moves])
        stated = self._params.get("connections")
        pods = [stated] if stated is not None else pools_of(self._site, self._facts, settings)
        needed = connections_needed(pods, found.max_connections, found.reserved, others=found.others)
        if not needed.enough:
            raise Refused(
                f"{entered.address} has not connections enough for the platform: {needed.reason}",
                "Or run fewer workers (GUNICORN_WORKERS) and pods, or state with connections how many the platform opens at most.",
                subject="server",
            )
        self._enough = True

    def _admin(self) -> Optional[Server]:
        user = self._params.get("admin_role")
        if not user:
            return None
        password, where = read_file(self._params, "admin_password"), self._moves[0].target
        return Server(where.host, user, self._params["admin_database"], password, where.port, where.sslmode, where.ca_file)

    def _programs(self) -> Client:
        if self._client is None:
            self._client = find(self._params.get("client_folder") or "")
        return self._client

    @contextlib.contextmanager
    def _source(self, database: str) -> Iterator[Server]:
        """Yield a bundled database as it can be reached from here: through a port of the pod that takes writes."""
        bundled, leader = self._facts.bundled, self._facts.leader

        def serving() -> List[str]:
            pods = pods_of(self._site.objects, self._bundled) if self._bundled else []
            if leader is not None:
                pods = [entry for entry in pods if (entry["metadata"].get("labels") or {}).get(leader[0]) in leader[1]]
            return sorted(str(entry["metadata"]["name"]) for entry in pods if container_is_ready(entry, bundled.container))

        def pod() -> str:
            # A busy machine's probe may fail for a moment.
            found = patiently(serving, bool, Deadline(self._site.connection.retry_seconds))
            if not found:
                raise NotFound(
                    f"No pod of {bundled.name} is ready and takes writes.", "The bundled database has to run until its rows are moved.", bundled.name
                )
            return found[0]

        pod()
        with forwarded(self._site.connection, self._site.namespace, pod, 5432) as forward:
            yield Server("127.0.0.1", self._superuser[0], database, self._superuser[1], forward.port, "disable", connect_timeout=_PATIENT)

    def is_closed(self, bundled: Optional[Mapping[str, Any]]) -> Optional[bool]:
        """Tell whether the bundled databases are closed to writers; None when none runs, or no longer knows its role: then nobody writes into it."""
        self._bundled = bundled
        if bundled is None:
            return None

        def look_at_all() -> bool:
            with self._inner() as (server, known):
                return all(closed(self._programs(), server, entry.source) for entry in known)

        try:
            return patiently(look_at_all, lambda _found: True, Deadline(self._params["wait_timeout"]))
        except (NotFound, Unauthorized):
            return None

    def carry_out(self, piece: Plan) -> None:
        """Do one piece."""
        stage, name = piece.changes[0].stage, piece.changes[0].ref.name
        self.stages.begin(stage)
        if stage == PREPARE:
            admin = self._admin()
            if admin is not None:
                prepare(self._programs(), admin, _wish(self._named(name)))
        elif stage == MOVE:
            self._move(self._named(name))
        elif stage == CLOSE:
            patiently(self._close, lambda _found: True, Deadline(self._params["wait_timeout"]))
        elif stage == CLEAR:
            # A whole object, which goes under the version that was observed: there is nothing to compare.
            self._site.objects.apply_plan(piece)
        else:
            self.stages.write(stage, piece)
            if stage == THAW and not self._in_use:
                self._now_in_use()

    def _close(self) -> None:
        with self._inner() as (server, known):
            for entry in known:
                close_to_writers(self._programs(), server, entry.source)

    def _named(self, place: str) -> Relocation:
        return next(entry for entry in self._moves if entry.place == place)

    def _now_in_use(self) -> None:
        """What the targets hold is from here on the platform's, not what was restored."""
        self._in_use = True
        for entry in self._moves:
            marks.unmark(self._programs(), entry.target)
        if self._params["old_database"] == "keep":
            self._open()

    def _move(self, entry: Relocation) -> None:
        """Dump, restore and compare. Nobody writes meanwhile; what an interrupted run left in the target is known by its mark and made anew."""
        with self._programs().session(entry.target) as session:
            # Programs of the target's own version, where there are several: a newer pg_restore may speak of settings that an older server does not know.
            client = self._client = find(self._params.get("client_folder") or "", session.version)
        folder, admin = self._folder(entry), self._admin()
        with self._source(entry.source) as source:
            # Whoever else writes into it is stopped, too; what is closed is opened again when the move fails.
            self._reopening[entry.role] = reopening(client, source, source.database)
            self.stages.note_statements("".join(self._reopening.values()), source.user, source.password, source.database)
            close_to_writers(client, source, source.database)
            if self._is_restored(entry, folder):
                differences = compare(fingerprint(client, source), fingerprint(client, entry.target), owner=entry.target.user)
                if not differences:
                    return
                self._give_up(entry, folder, differences[0])
            made = dump(client, source, folder, patience=self.stages.left)
            if admin is not None:
                prepare(client, admin, replace(_wish(entry), extensions=made.extensions))
            restore(client, made, entry.target, patience=self.stages.left)
            differences = compare(fingerprint(client, source), fingerprint(client, entry.target), owner=entry.target.user)
        if differences:
            raise NotProven(
                f"The new database is not equal to the old one in {len(differences)} points: {'; '.join(differences[:_SHOWN])}.",
                "Nothing was switched. Look at the target's version, extensions and settings.",
                subject=str(entry.target),
            )

    def take_back(self) -> str:
        """Let the platform go on with the bundled database; return in words what was undone."""
        return self.stages.take_back(self._open)

    def take_over(self, bundled: Mapping[str, Any]) -> None:
        """Take back what a run left behind that was killed."""
        self._bundled = bundled

        def open_as(user: str, password: str) -> None:
            # As the Secret was before that run.
            self._superuser = (user, password)
            self._waiting = frozenset(entry.role for entry in self._moves)
            self._open()

        self.stages.take_over(open_as)

    def _open(self) -> None:
        with self._inner() as (server, known):
            for entry in known:
                if entry.role in self._waiting:
                    reopen(self._programs(), server, entry.source)

    def _is_restored(self, entry: Relocation, folder: str) -> bool:
        """Tell whether an earlier run of ours restored into the target, and never came to say that it is in use."""
        earlier = self._earlier(folder)
        if earlier is None:
            return False
        found = marks.state(self._programs(), entry.target)
        return found.kind == marks.RESTORED and found.detail == earlier.id

    def _give_up(self, entry: Relocation, folder: str, difference: str) -> None:
        """Mark what an earlier run restored as unfinished: then it is made anew. Raises Refused where somebody may have written there."""
        if entry.role in self._begun:
            raise Refused(
                f"A part of {entry.role} uses {entry.target} already, and that is no longer equal to the bundled one: {difference}.",
                "Both may have been written to. Look which one holds what you need, and let all of the component use that one.",
                subject=str(entry.target),
            )
        with marks.alone(self._programs(), entry.target, self.stages.left) as session:
            found = marks.look(session)
            marks.mark(session, entry.target.database, marks.RESTORING, found.detail, found.comment)

    @staticmethod
    def _earlier(folder: str) -> Optional[Dump]:
        try:
            return load(folder)
        except Failure:
            return None

    def _folder(self, entry: Relocation) -> str:
        uid = str((self._bundled or {}).get("metadata", {}).get("uid", "none"))
        folder = os.path.join(os.path.expanduser(self._params["work_folder"]), uid, entry.role)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return folder

    def checks(self, settings: Settings, moved: bool) -> Iterator[Check]:
        """Ask every component's pod whether it can work, and the new server who is connected."""
        for entry in self._moves:
            user = component_of(self._facts, entry.role)
            if user.health is None:
                continue
            port, path = user.health
            workload = workload_of(settings, user.workloads[0])
            ask = partial(self._answer, workload, port, path)
            yield self._health(f"GET :{port}{path} on {workload['metadata']['name']}", ask)
            if moved:
                yield self._sessions(entry, ask)

    def _answer(self, workload: Mapping[str, Any], port: int, path: str) -> int:
        """Return the status with which a pod of the workload answers, 0 while none is ready."""
        pods = ready_pods(self._site.objects, workload)
        if not pods:
            return 0
        return http_through(self._site.connection, self._site.namespace, str(pods[0]["metadata"]["name"]), port, "GET", path).status

    def _health(self, what: str, ask: Callable[[], int]) -> Check:
        try:
            status = patiently(ask, lambda found: found == 200, Deadline(self._site.connection.retry_seconds))
        except Failure as failure:
            return Check(what, "200", failure.message, UNKNOWN)
        return Check(what, "200", str(status or "no pod is ready"), PASS if status == 200 else FAIL)

    def _sessions(self, entry: Relocation, ask: Callable[[], int]) -> Check:
        """Look for sessions of a component. Not every one keeps them: then each of its answers makes one, which the server counts."""
        what = f"sessions of {entry.role} on {entry.target.address}"
        try:
            with self._programs().session(entry.target) as session:
                before = visits(session).ever

                def came() -> bool:
                    ask()
                    found = visits(session)
                    return bool(found.now) or found.ever > before

                found = patiently(came, bool, Deadline(self._site.connection.retry_seconds))
        except Failure as failure:
            return Check(what, "at least one", failure.message, UNKNOWN)
        # Not how many: that changes by itself.
        return Check(what, "at least one", "connected" if found else "none", PASS if found else FAIL)


def _wish(entry: Relocation) -> Wish:
    return Wish(entry.target.database, entry.target.user, entry.target.password)
