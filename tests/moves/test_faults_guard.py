"""The guard in the cluster: a platform goes on by itself when its run is killed or cannot be heard, and a run that was late finds out."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard import NAME, SILENCE, Guard, Lost
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard_program import ARMED, GUARD, HOLDER, PHASE, Move
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import find
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import detect
from lab import processes
from tests.contract.installed import GROUP, Installed
from tests.moves.conftest import USER, file_with
from tests.moves.disasters import Process, Watch

if TYPE_CHECKING:
    from lab.postgres import Postgres
    from lab.seed import Sown

pytestmark = pytest.mark.usefixtures("as_installed", "taken_away")

SLACK = 45.0
OF_THE_GUARD = ("Secret", "ServiceAccount", "Role", "RoleBinding", "Job", "Pod")


class Mover:
    """Moves of the database of one platform, with everything that a look at it needs."""

    def __init__(self, platform: Installed, postgres: Postgres, folder: Path) -> None:
        self.platform = platform
        self.postgres = postgres
        self.folder = folder
        self.options = {
            "server": postgres.address,
            "admin_role": postgres.credentials["user"],
            "admin_password_file": file_with(folder, postgres.credentials["password"]),
            "work_folder": str(folder / "work"),
            "namespace": platform.namespace,
            "platform": platform.name,
        }

    def start(self, user: str = USER, **more: Any) -> Process:
        kubeconfig = str(self.platform.cluster.issue_client(user, groups=[] if user != USER else [GROUP]))
        return Process("workflow_database", {**self.options, "kubeconfig": kubeconfig, **more}, self.folder)

    def guard(self) -> list[str]:
        """What there is of a guard."""
        labels = ",".join(f"{key}={value}" for key, value in OWNER.items())
        found = [(kind, self.platform.objects.list(KINDS[kind], namespace=self.platform.namespace, labels=labels)) for kind in OF_THE_GUARD]
        return [f"{kind} {document['metadata']['name']}" for kind, documents in found for document in documents]

    def settings(self) -> Any:
        objects, place = self.platform.objects, self.platform.namespace
        return [objects.get(KINDS["Deployment"], "deis-controller", place)["spec"], objects.get(KINDS["Secret"], "database-creds", place)["data"]]

    def old_database_is_closed(self) -> bool:
        from lab import postgres
        from lab.errors import LabError
        from lab.seed import live

        try:
            return postgres.ask(live.database(self.platform.place), "SHOW default_transaction_read_only") == [["on"]]
        except LabError:
            # Just now the sessions are ended.
            return False

    def writes_a_row(self) -> bool:
        """Whether the bundled database takes rows, which it does not while it is closed."""
        from lab import postgres
        from lab.seed import live

        rows = postgres.ask(live.database(self.platform.place), "CREATE TABLE IF NOT EXISTS guarded (n int); INSERT INTO guarded VALUES (1) RETURNING n")
        return rows[-1] == ["1"]


@pytest.fixture
def mover(sown: Sown, hephy: Installed, postgres: Postgres, tmp_path: Path) -> Mover:
    assert sown.filled_rows
    return Mover(hephy, postgres, tmp_path)


def stands_still(watch: Watch, process: Process, seconds: float) -> None:
    """Wait until the platform has stood still for so long."""
    assert processes.wait_until(lambda: watch.still > seconds or process.ended, 120)
    assert not process.ended, process.result()


def test_a_killed_run_is_taken_back_by_the_guard_and_the_next_run_ends_what_is_left(mover: Mover) -> None:
    before = mover.settings()
    with Watch(mover.platform) as watch:
        process = mover.start()
        assert processes.wait_until(lambda: mover.old_database_is_closed() or process.ended, 120)
        process.kill()
        assert watch.still
        died = time.monotonic()
        assert processes.wait_until(lambda: not watch.still, SILENCE + SLACK, 0.2), mover.guard()
        assert time.monotonic() - died > SILENCE / 2, "it did not wait for a sign of life"
    assert mover.settings() == before
    assert processes.wait_until(mover.writes_a_row, 30)
    again = mover.start(old_database="keep", server="127.0.0.1")
    result = again.result()
    # It cannot reach that server; but first it has cleared up.
    assert result is not None
    assert result["failed"]
    assert [change["stage"] for change in result["plan"]] == ["take back"]
    assert processes.wait_until(lambda: mover.guard() == [], 30), mover.guard()
    assert mover.settings() == before


def test_a_run_that_was_asleep_finds_out_that_it_is_late(mover: Mover) -> None:
    before = mover.settings()
    with Watch(mover.platform) as watch:
        process = mover.start()
        stands_still(watch, process, 1)
        process.process.send_signal(signal.SIGSTOP)
        try:
            assert processes.wait_until(lambda: not watch.still, SILENCE + SLACK, 0.2), mover.guard()
        finally:
            process.process.send_signal(signal.SIGCONT)
        result = process.result()
    assert result is not None
    assert result["failed"]
    # It may have been in the middle of a dump, which the guard has ended.
    assert "was not heard of" in result["msg"] or "The guard in the cluster takes back" in result["msg"]
    assert mover.settings() == before
    assert mover.writes_a_row()


def test_without_the_guard_the_next_run_takes_back(mover: Mover) -> None:
    before = mover.settings()
    with Watch(mover.platform) as watch:
        process = mover.start(guard=False)
        stands_still(watch, process, 2)
        process.kill()
        assert [entry.partition(" ")[0] for entry in mover.guard()] == ["Secret"]
        assert watch.still
        result = mover.start(guard=False, server="127.0.0.1").result()
        assert result is not None
        assert [change["stage"] for change in result["plan"]] == ["take back"]
        assert not watch.frozen()
    assert mover.settings() == before
    assert mover.writes_a_row()


def slow_programs(folder: Path) -> str:
    """A folder with the programs of a client, of which pg_dump takes its time."""
    client = find("")
    folder.mkdir()
    for name in ("psql", "pg_restore"):
        (folder / name).symlink_to(client.program(name))
    (folder / "pg_dump").write_text(f'#!/bin/sh\ncase "$*" in *--version*) ;; *) sleep 30 ;; esac\nexec {client.program("pg_dump")} "$@"\n')
    (folder / "pg_dump").chmod(0o755)
    return str(folder)


def test_two_runs_at_a_time(mover: Mover) -> None:
    with Watch(mover.platform) as watch:
        process = mover.start(client_folder=slow_programs(mover.folder / "slow"))
        stands_still(watch, process, 0.1)
        other = mover.start().result()
        assert other is not None
        assert "Another run" in other["msg"]
        process.process.send_signal(signal.SIGINT)
        process.result()
        assert not watch.frozen()
    assert processes.wait_until(lambda: mover.guard() == [], 30), mover.guard()


def test_a_server_that_only_pods_cannot_reach_is_found_before_anything_stands_still(mover: Mover) -> None:
    before = mover.settings()
    mover.postgres.cut(pods_only=True)
    try:
        with Watch(mover.platform) as watch:
            result = mover.start().result()
            assert watch.still == 0
            assert not watch.frozen()
    finally:
        mover.postgres.mend()
    assert result is not None
    assert result["failed"]
    assert mover.postgres.address in result["msg"]
    assert "firewall" in result["msg"]
    assert mover.settings() == before
    assert mover.writes_a_row()
    assert processes.wait_until(lambda: mover.guard() == [], 30), mover.guard()


def but_no_guard(platform: Installed) -> str:
    """A user with the rights of docs/rbac.yml, and what a move needs, without those for the guard."""
    cluster, namespace, user = platform.cluster, platform.namespace, "alone"
    for name in (GROUP, "may-move"):
        cluster.kubectl("delete", "rolebinding", f"{name}-alone", "-n", namespace, "--ignore-not-found")
    cluster.kubectl("create", "rolebinding", f"{GROUP}-alone", "-n", namespace, f"--role={GROUP}", f"--user={user}")
    more = ("--verb=get,list,patch", "--resource=secrets,services,deployments,statefulsets")
    cluster.kubectl("delete", "role", "may-move", "-n", namespace, "--ignore-not-found")
    cluster.kubectl("create", "role", "may-move", "-n", namespace, *more)
    cluster.kubectl("create", "rolebinding", "may-move-alone", "-n", namespace, "--role=may-move", f"--user={user}")
    return user


def test_who_may_not_make_a_guard_is_told_before_anything_is_touched(mover: Mover) -> None:
    before = mover.settings()
    result = mover.start(but_no_guard(mover.platform)).result()
    assert result is not None
    assert result["failed"]
    assert "create jobs" in result["msg"]
    assert "guard: false" in result["msg"]
    assert mover.settings() == before


def test_who_may_not_take_a_guard_away_is_told_which_right_is_missing(mover: Mover) -> None:
    user = but_no_guard(mover.platform)
    with Watch(mover.platform) as watch:
        process = mover.start(guard=False)
        stands_still(watch, process, 0.1)
        process.kill()
        left = mover.settings()
        result = mover.start(user, guard=False).result()
        assert result is not None
        assert result["failed"]
        assert "delete secrets" in result["msg"]
        assert mover.settings() == left
        result = mover.start(guard=False, server="127.0.0.1").result()
        assert result is not None
        assert [change["stage"] for change in result["plan"]] == ["take back"]
        assert not watch.frozen()
    assert mover.guard() == []


class Outside:
    """The API server as the guard's program asks it, from outside of the cluster."""

    def __init__(self, platform: Installed) -> None:
        self._connection = connect(platform.options())

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/merge-patch+json") -> tuple[int, Any]:
        try:
            answer = self._connection.request(method, path, body=body, content_type=kind)
        except Failure as failure:
            return failure.status or 500, {}
        return answer.status, answer.data


def take(move: Move, pause: float) -> bool:
    """Take a move over as the guard does; whether that is one which would be taken back."""
    time.sleep(pause)
    move.look()
    return move.write(**{HOLDER: GUARD}) and move.fields[PHASE] == ARMED


def commit(run: Guard) -> bool:
    """Whether a run gets to say that it is through."""
    try:
        run.commit()
    except Lost:
        return False
    return True


def test_either_the_run_says_that_it_is_through_or_the_guard_takes_it_back(mover: Mover) -> None:
    platform, params = mover.platform, {**mover.platform.options(), "guard": False, "freeze_timeout": 60, "wait_timeout": 60}
    site = Site(platform.objects.connection, platform.objects, detect(platform.objects, platform.name, platform.namespace))
    path, won = KINDS["Secret"].path(platform.namespace, NAME), []
    outside: Any = Outside(platform)
    with ThreadPoolExecutor(1) as pool:
        for number in range(100):
            run = Guard(site, params, (), ())
            run.arm()
            uid = platform.objects.get(KINDS["Secret"], NAME, platform.namespace)["metadata"]["uid"]
            taken = pool.submit(take, Move(outside, path, uid), number % 10 / 1000)
            through = commit(run)
            won.append((through, taken.result()))
            run.let_go()
            platform.objects.connection.request("DELETE", path)
    assert set(won) == {(True, False), (False, True)}, won
