"""Moves of a whole platform are hit at random: nothing is lost, the platform is on the old place or the new one, never between, and the next run completes.

How many is chosen with ``--interruptions``, half of them of each move; ``--interruption-seed`` gives the same ones again.
"""

from __future__ import annotations

import base64
import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FROZEN
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard import NAME as GUARD
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard import SILENCE
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, look
from lab import processes
from tests.contract.installed import GROUP, Installed
from tests.moves import disasters
from tests.moves.conftest import USER, file_with
from tests.moves.disasters import Disaster, Process, Told, Watch
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.postgres import Postgres
    from lab.seed import Sown
    from lab.stores import Account, ObjectStore

pytestmark = pytest.mark.usefixtures("taken_away")

BUCKETS = ("registry", "git", "dbwal")
FREEZE_TIMEOUT = 120
# What the guard needs beside the time for which it listens: its looks, the pods that start anew, a machine that is busy.
SLACK = 45.0
_LONGEST_STILL = FREEZE_TIMEOUT + SILENCE + SLACK
# Seconds: a hundred of them take some hours.
_LONGEST = 6 * 3600
STORE_USERS = ("deis-database", "deis-registry", "deis-builder", "deis-controller")


class Rounds(ABC):
    """Interrupted moves of one kind on one platform, one after the other, each with its completion."""

    what = ""
    module = ""

    def __init__(self, platform: Installed, folder: Path, options: Mapping[str, Any], chance: random.Random, report: Callable[[str], None]) -> None:
        self.platform = platform
        self.folder = folder
        kubeconfig = str(platform.cluster.issue_client(USER, groups=[GROUP]))
        more = {"freeze_timeout": FREEZE_TIMEOUT, "wait_timeout": 120, "namespace": platform.namespace, "platform": platform.name}
        self.options = {"kubeconfig": kubeconfig, **more, **options}
        self.chance = chance
        self.report = report
        self.told: list[Told] = []
        # How long a move takes, and makes the platform stand still, as far as it is known.
        self.usual = {"whole": 40.0, "still": 25.0}

    @abstractmethod
    def disasters(self) -> list[Disaster]:
        """What may happen to this move."""

    @abstractmethod
    def place(self) -> str:
        """Where the platform is: old, new, or what is between."""

    @abstractmethod
    def wrong(self) -> list[str]:
        """What is lost or wrong in the place where the platform is."""

    @abstractmethod
    def prepare(self) -> None:
        """Make this round unlike the one before."""

    def more_options(self) -> dict[str, Any]:
        return {}

    def process(self, more: Mapping[str, Any]) -> Process:
        return Process(self.module, {**self.options, **more}, self.folder)

    def document(self, kind: str, name: str) -> dict[str, Any]:
        return self.platform.objects.get(KINDS[kind], name, self.platform.namespace)

    def guard(self) -> str:
        """How far the move is of which the guard's Secret speaks, nothing without one."""
        found = self.platform.objects.find(KINDS["Secret"], GUARD, self.platform.namespace)
        return base64.b64decode(found["data"]["phase"]).decode() if found else ""

    def answers(self) -> None:
        """Raise LabError unless the platform answers and all of it is ready."""
        from lab.installation import wait_until_answering

        wait_until_answering(self.platform.cluster, self.platform.name, 120, namespace=self.platform.namespace)

    def round(self, number: int) -> Told:
        """Interrupt a move, look, complete it, look again."""
        self.prepare()
        before = self.place()
        chance, more = self.chance, self.more_options()
        disaster, strike = disasters.drawn(chance, self.disasters())
        lasting, patient = chance.random(), chance.random() < 0.35
        told = Told(number, f"{self.what} from the {before} place", disaster.name, str(strike))
        begun = time.monotonic()
        with Watch(self.platform) as watch:
            process = self.process(more)
            happened = disasters.hit(disaster, strike, process, watch, self.usual, lasting)
            result = process.result()
            told.outcome = "killed" if result is None else "failed" if result["failed"] else "completed"
            told.outcome += "" if happened else " before it could be hit"
            if result is not None and result.get("exception"):
                told.troubles.append(f"a defect: {result['exception'][-1500:]}")
            # Whoever was not killed has taken back what it did, unless the cluster could not be asked: then the guard does.
            if patient or result is not None:
                told.guard = bool(watch.frozen())
                if not processes.wait_until(lambda: not watch.frozen(), SILENCE + SLACK, 0.5):
                    told.troubles.append(f"still frozen after {SILENCE + SLACK:g} s: {watch.frozen()}, {self.guard()}")
                self.look(told, ("old", "new"))
            told.outcome += f", then {self.place()}"
            process = self.process(more)
            result = process.result()
            if result is None or result["failed"]:
                told.troubles.append(f"the next run did not complete: {result and result['msg']}")
            self.look(told, ({"old": "new", "new": "old"}[before],))
            if watch.frozen() or self.guard():
                told.troubles.append(f"left behind: {watch.frozen()}, guard {self.guard()}")
        told.seconds, told.longest_still = time.monotonic() - begun, watch.longest
        if told.longest_still > _LONGEST_STILL:
            told.troubles.append("it stood still for too long")
        return told

    def look(self, told: Told, places: tuple[str, ...]) -> None:
        """Note what is wrong with the platform."""
        place = self.place()
        if place not in places:
            told.troubles.append(f"it is at the place {place}, not {' or '.join(places)}")
        try:
            self.answers()
            told.troubles += [f"lost or wrong: {text}" for text in self.wrong()[:5]]
        except Exception as error:
            told.troubles.append(f"{type(error).__name__}: {error}")

    def measure(self) -> None:
        """Take the time of a whole move."""
        self.prepare()
        with Watch(self.platform) as watch:
            process = self.process(self.more_options())
            result = process.result()
            assert result is not None
            assert not result["failed"], result
            self.usual = {"whole": process.seconds, "still": watch.longest}
        self.report(f"{self.what}: a move takes {self.usual['whole']:.1f} s, the platform stands still for {self.usual['still']:.1f} s of them")

    def run(self, count: int, seed: int, measured: Measured) -> None:
        """Interrupt so many moves."""
        for number in range(1, 1 + count):
            told = self.round(number)
            self.told.append(told)
            self.report(str(told))
            keep(told)
            if told.troubles:
                break
        what, troubled = f"{self.what}: interruptions", [str(told) for told in self.told if told.troubles]
        measured(
            figures.at_least(f"{what} survived", len(self.told) - len(troubled), "moves", count, "\n".join(troubled), seed=seed),
            figures.at_most(
                f"{what}: bytes or rows lost or wrong", sum(text.startswith("lost or wrong") for told in self.told for text in told.troubles), "", 0
            ),
            figures.at_most(f"{what}: longest stand-still", max((told.longest_still for told in self.told), default=0), "s", _LONGEST_STILL),
        )


class StoreRounds(Rounds):
    """Moves of the object storage, there and back in turn."""

    what, module = "storage", "workflow_object_storage"

    def __init__(self, platform: Installed, sown: Sown, store: ObjectStore, account: Account, *rest: Any) -> None:
        super().__init__(platform, *rest)
        self.sown, self.store, self.account = sown, store, account
        self.names = 0

    def disasters(self) -> list[Disaster]:
        from lab.stores import WRITE

        def allow(*actions: str) -> None:
            for bucket in BUCKETS:
                self.store.allow(bucket, self.account, actions)

        revoked = Disaster("the credentials are revoked", lambda _process: allow(), lambda: allow(*WRITE), 15)
        once = [disasters.programs_killed("rclone"), disasters.interrupted(), revoked]
        return [*once, *disasters.of_server(self.store), *disasters.of_api_server(self.platform)]

    def more_options(self) -> dict[str, Any]:
        return {"state": "external" if self.place() == "old" else "reverted"}

    def place(self) -> str:
        key = self.document("Secret", "objectstorage-keyfile")["data"]["accesskey"]
        at_new = [base64.b64decode(key).decode() == self.account.access_key]
        for name in STORE_USERS:
            env = ("spec", "template", "spec", "containers", Item("name", name), "env", Item("name", "DEIS_MINIO_SERVICE_HOST"), "value")
            at_new.append(look(self.document("Deployment", name), env) == self.store.address)
        return "new" if all(at_new) else "old" if not any(at_new) else f"between {at_new}"

    def _client(self) -> Any:
        from lab.seed import live

        return self.store.client() if self.place() == "new" else live.store(self.platform.place)

    def prepare(self) -> None:
        """What people write comes to the place where the platform is."""
        self.names += 1
        for ledger in self.sown.ledgers[:1]:
            for part in range(8):
                ledger.put(self._client(), f"home/round-{self.names}/part-{part}", self.chance.randbytes(self.chance.randrange(1 << 18)))

    def wrong(self) -> list[str]:
        from lab.seed import live
        from lab.seed.rows import FILLED

        client = self._client()
        wrong = [f"{ledger.bucket}/{key}" for ledger in self.sown.ledgers for key in ledger.wrong(client)]
        self.sown.pull()
        from lab import postgres

        rows = int(postgres.ask(live.database(self.platform.place), f"SELECT count(*) FROM {FILLED}")[0][0])
        return wrong + ([f"{rows} rows, not {self.sown.filled_rows}"] if rows != self.sown.filled_rows else [])


class DatabaseRounds(Rounds):
    """Moves of the database under a writer, after each of which the platform is brought back by hand."""

    what, module = "database", "workflow_database"

    def __init__(self, platform: Installed, postgres: Postgres, *rest: Any) -> None:
        super().__init__(platform, *rest)
        self.postgres = postgres
        self.original = {kind: self.document(kind, name) for kind, name in (("Deployment", "deis-controller"), ("Secret", "database-creds"))}
        self.ledger = self.folder / "no-ledger"

    def disasters(self) -> list[Disaster]:
        once = [disasters.programs_killed("psql", "pg_dump"), disasters.programs_killed("psql", "pg_restore"), disasters.interrupted()]
        inside = Disaster("the database in the cluster crashes", lambda _process: self.crash())
        return [*once, inside, *disasters.of_server(self.postgres), *disasters.of_api_server(self.platform)]

    def crash(self) -> None:
        """Kill a process of the bundled PostgreSQL: it ends all sessions and recovers."""
        from lab import postgres

        where = self.inside()
        pid = postgres.ask(where, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'")[0][0]
        self.platform.cluster.kubectl("exec", "-n", self.platform.namespace, "deployment/deis-database", "--", "sh", "-c", f"kill -9 {pid}")

    def inside(self) -> dict[str, Any]:
        """The bundled database, as whoever it began with."""
        from lab.seed import live

        data = {key: base64.b64decode(text).decode() for key, text in self.original["Secret"]["data"].items()}
        address = live.pod_address(self.platform.place, app="deis-database")
        return {"host": address, "port": "5432", "user": data["user"], "password": data["password"], "database": data["user"]}

    def place(self) -> str:
        variable = Item("name", "DEIS_DATABASE_SERVICE_HOST")
        env = ("spec", "template", "spec", "containers", Item("name", "deis-controller"), "env", variable)
        keys = self.document("Secret", "database-creds")["data"]
        at_new = [look(self.document("Deployment", "deis-controller"), env) is not ABSENT, "host" in keys]
        return "new" if all(at_new) else "old" if not any(at_new) else f"between {at_new}"

    def where(self) -> dict[str, Any]:
        """Where the platform's controller would write now. Raises LabError while it stands still."""
        from lab.errors import LabError
        from lab.seed import live

        if FROZEN in (self.document("Deployment", "deis-controller")["metadata"].get("annotations") or {}):
            raise LabError("the platform stands still")
        return live.database(self.platform.place)

    def round(self, number: int) -> Told:
        from lab.seed import Writer

        self.ledger = self.folder / f"ledger-{number}"
        with Writer(self.where, self.ledger) as writer:
            told = super().round(number)
            written = writer.acknowledged
        told.outcome += f", {written} rows acknowledged"
        self.look(told, ("new",))
        if not told.troubles:
            self.bring_back()
        return told

    def wrong(self) -> list[str]:
        from lab.seed import live, rows

        if not self.ledger.exists():
            return []
        # As of now: the writer goes on while the database is asked.
        asked = self.ledger.with_suffix(".asked")
        asked.write_text(self.ledger.read_text().rpartition("\n")[0])
        return [f"row {line}" for line in rows.lost(live.database(self.platform.place), asked)]

    def bring_back(self) -> None:
        """Let the platform go on with the bundled database, and empty the other server."""
        from lab import postgres

        request = self.platform.objects.connection.request
        for kind, document in self.original.items():
            now = self.document(kind, document["metadata"]["name"])
            kept = {**document, "metadata": {**document["metadata"], "resourceVersion": now["metadata"]["resourceVersion"]}}
            request("PUT", KINDS[kind].path(self.platform.namespace, document["metadata"]["name"]), body=kept)
        inside = self.inside()
        name = inside["database"]
        opened = f'ALTER DATABASE "{name}" RESET default_transaction_read_only; ALTER DATABASE "{name}" CONNECTION LIMIT -1'
        opened += f'; GRANT CONNECT ON DATABASE "{name}" TO PUBLIC; COMMENT ON DATABASE "{name}" IS NULL'
        postgres.ask(inside, f"BEGIN READ WRITE; {opened}; COMMIT")
        self.answers()
        self.clear()

    def prepare(self) -> None:
        """The writer goes on all the time."""

    def clear(self) -> None:
        """Empty the other server: what other tests have left there, with folders that are gone, is foreign."""
        self.postgres.sql(f'DROP DATABASE IF EXISTS "{self.inside()["database"]}" WITH (FORCE)')


def keep(told: Told) -> None:
    """Add it to what is kept of this and earlier runs."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    with (folder / "interruptions.jsonl").open("a") as file:
        file.write(json.dumps(told.as_data()) + "\n")


@pytest.fixture(scope="module")
def count(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--interruptions"))


@pytest.fixture(scope="module")
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--interruption-seed"))


@pytest.fixture
def answering(hephy: Installed) -> Iterator[Installed]:
    """The platform, whose API server is up again whatever happened."""
    yield hephy
    if not hephy.cluster.component_pid("kube-apiserver"):
        hephy.cluster.start_component("kube-apiserver")
    hephy.cluster.wait_ready()


@pytest.mark.timeout(_LONGEST)
def test_storage(
    answering: Installed, sown: Sown, store: ObjectStore, tmp_path: Path, count: int, seed: int, report: Callable[[str], None], measured: Measured
) -> None:
    from lab.stores import WRITE

    store.make_bucket(*BUCKETS)
    account = store.add_user(dict.fromkeys(BUCKETS, WRITE))
    options = {
        "endpoint": store.endpoint,
        "access_key_file": file_with(tmp_path, account.access_key),
        "secret_key_file": file_with(tmp_path, account.secret_key),
        "work_folder": str(tmp_path / "work"),
    }
    rounds = StoreRounds(answering, sown, store, account, tmp_path, options, random.Random(f"storage {seed}"), report)
    rounds.measure()
    rounds.run(count // 2, seed, measured)


@pytest.mark.timeout(_LONGEST)
def test_database(
    answering: Installed, sown: Sown, postgres: Postgres, tmp_path: Path, count: int, seed: int, report: Callable[[str], None], measured: Measured
) -> None:
    assert sown.filled_rows > 0
    options = {
        "server": postgres.address,
        "admin_role": postgres.credentials["user"],
        "admin_password_file": file_with(tmp_path, postgres.credentials["password"]),
        "work_folder": str(tmp_path / "work"),
    }
    rounds = DatabaseRounds(answering, postgres, tmp_path, options, random.Random(f"database {seed}"), report)
    rounds.clear()
    rounds.measure()
    rounds.bring_back()
    rounds.run(count - count // 2, seed, measured)
