"""Both moves on both shapes of Drycc: every bucket and every component's database, whole or not at all, and still there after a real upgrade."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from tests.contract.canaries import leaks
from tests.contract.installed import Installed
from tests.moves.conftest import Mover, alone, file_with

if TYPE_CHECKING:
    from lab.cluster import Cluster
    from lab.postgres import Postgres
    from lab.seed import Sown
    from lab.stores import ObjectStore

ROLES = ("controller", "passport", "grafana", "quickwit")
COMPONENTS = ("Deployment", "StatefulSet", "CronJob")


@pytest.fixture(scope="module", params=["drycc-head", "drycc-1.8"])
def platform(request: pytest.FixtureRequest, lab_cluster: Cluster, report: Callable[[str], None]) -> Installed:
    return alone(lab_cluster, request.param, report)


@pytest.fixture(scope="module")
def sown(platform: Installed) -> Sown:
    from lab.seed import live, rows, sow

    found = sow(platform.cluster, platform.name, megabytes=4, report=lambda _line: None)
    rows.fill(live.database(platform.place, "grafana"), 1)
    rows.fill(live.database(platform.place, "passport"), 1)
    return found


@pytest.fixture(scope="module")
def buckets(platform: Installed, store: ObjectStore) -> dict[str, str]:
    """The bucket of each component there; Quickwit's has to keep its name."""
    names = {role: f"{platform.name.replace('.', '-')}-{role}" for role in ("registry", "builder")}
    names["quickwit"] = "quickwit"
    if platform.name == "drycc-head":
        names["database"] = "drycc-head-database"
    return names


@pytest.fixture(scope="module")
def stores(platform: Installed, sown: Sown, store: ObjectStore, buckets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Mover:
    from lab.stores import WRITE

    folder = tmp_path_factory.mktemp("object-storage")
    store.make_bucket(*buckets.values())
    account = store.add_user(dict.fromkeys(buckets.values(), WRITE))
    options = {
        "endpoint": store.endpoint,
        "buckets": buckets,
        "access_key_file": file_with(folder, account.access_key),
        "secret_key_file": file_with(folder, account.secret_key),
        "work_folder": str(folder / "work"),
    }
    return Mover(platform, folder, "workflow_object_storage", options)


@pytest.fixture(scope="module")
def databases(platform: Installed, sown: Sown, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    folder = tmp_path_factory.mktemp("database")
    prefix = platform.name.replace("-", "_").replace(".", "_")
    options = {
        "server": postgres.address,
        "names": {role: f"{prefix}_{role}" for role in ROLES},
        "sslmode": "require",
        "admin_role": postgres.credentials["user"],
        "admin_password_file": file_with(folder, postgres.credentials["password"]),
        "work_folder": str(folder / "work"),
    }
    return Mover(platform, folder, "workflow_database", options)


def stages(result: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(change["stage"] for change in result["plan"]))


def specs(platform: Installed) -> dict[Any, Any]:
    return {ref: document["spec"] for ref, document in platform.documents(COMPONENTS).items()}


def test_object_storage_is_moved_whole_and_works_without_the_bundled_store(
    stores: Mover, platform: Installed, sown: Sown, store: ObjectStore, buckets: dict[str, str]
) -> None:
    before = specs(platform)
    checked = stores.result("--check")
    assert stores.writes == []
    assert specs(platform) == before
    assert stages(checked) == ["prepare", "copy", "freeze", "copy the rest", "switch", "thaw"]
    run = stores.run().ok()
    moved = run.result("move")
    assert [change["field"] for change in moved["plan"]] == [change["field"] for change in checked["plan"]]
    assert moved["proof"]["verdict"] == "pass", moved["proof"]
    assert any("read through drycc-registry" in check["what"] and check["observed"].endswith("200") for check in moved["proof"]["checks"])
    assert not leaks({store.root.secret_key, Path(stores.options["secret_key_file"]).read_text()}, run.output)
    for ledger in sown.ledgers:
        if ledger.bucket in buckets:
            assert ledger.wrong(store.client(), buckets[ledger.bucket]) == []
    assert stores.result()["plan"] == []
    assert stores.writes == []
    cluster, namespace = platform.cluster, platform.namespace
    cluster.kubectl("scale", "statefulset/drycc-storage", "-n", namespace, "--replicas=0")
    try:
        cluster.kubectl("wait", "-n", namespace, "--for=delete", "pod", "-l", "app=drycc-storage", "--timeout=60s")
        assert sown.pull() > 0
        cluster.kubectl("rollout", "restart", "deployment/drycc-builder", "-n", namespace)
        cluster.kubectl("rollout", "status", "deployment/drycc-builder", "-n", namespace, "--timeout=120s")
    finally:
        cluster.kubectl("scale", "statefulset/drycc-storage", "-n", namespace, "--replicas=1")
        platform.settle()


def test_object_storage_comes_back_and_goes_again(stores: Mover, platform: Installed, sown: Sown) -> None:
    result = stores.result(state="reverted")
    assert stages(result)[-1] == "thaw"
    assert sown.pull() > 0
    for (kind, name), before in {(ref.kind, ref.name): document["spec"] for ref, document in platform.original.items() if ref.kind in COMPONENTS}.items():
        now = platform.objects.get(KINDS[kind], name, platform.namespace)["spec"]
        assert containers(now) == containers(before), name
    assert stores.result(state="reverted")["plan"] == []
    assert stores.result()["proof"]["verdict"] == "pass"
    assert stores.result()["plan"] == []


def containers(spec: dict[str, Any]) -> list[Any]:
    """The containers of a workload, whose variables may have come back in another order."""
    pod = spec.get("jobTemplate", {}).get("spec", spec)["template"]["spec"]
    found = [*pod.get("initContainers", []), *pod["containers"]]
    return [{**container, "env": sorted(container.get("env", []), key=lambda entry: str(entry["name"]))} for container in found]


def test_a_server_without_connections_enough_is_refused_before_anything_is_touched(databases: Mover, platform: Installed) -> None:
    before = specs(platform)
    run = databases.run(connections=96)
    assert run.status != 0
    message = run.result("move")["msg"]
    assert "max_connections 100 - 3 reserved = 97" in message
    assert "too few" in message
    assert databases.writes == []
    assert specs(platform) == before


def test_a_move_that_takes_too_long_goes_back(databases: Mover, platform: Installed) -> None:
    from lab import postgres
    from lab.seed import live

    before = specs(platform)
    run = databases.run(freeze_timeout=1)
    assert run.status != 0
    assert run.result("move")["failure"]["reason"] == "TimedOut"
    assert specs(platform) == before
    platform.settle()
    for role in ("controller", "passport"):
        postgres.ask(live.database(platform.place, role), f"CREATE TABLE open_{role} (n int)")


def test_all_databases_are_moved_under_a_writer_and_no_acknowledged_row_is_lost(
    databases: Mover, platform: Installed, postgres: Postgres, tmp_path: Path
) -> None:
    from lab.postgres import ask
    from lab.seed import Writer, live, rows

    place, ledger = platform.place, tmp_path / "ledger"
    counted = {role: ask(live.database(place, role), "SELECT count(*) FROM lab_filled")[0][0] for role in ("controller", "passport", "grafana")}
    accounts = ask(live.database(place, "passport"), "SELECT count(*) FROM api_user")
    checked = databases.result("--check")
    assert databases.writes == []
    with Writer(lambda: live.database(place), ledger) as writer:
        run = databases.run().ok()
        written = writer.acknowledged
    moved = run.result("move")
    wanted = ["prepare", "freeze", "move", "switch", "thaw", "clear the way", "close the old database"]
    assert stages(moved) == [stage for stage in wanted if stage != "clear the way" or platform.name == "drycc-head"]
    assert [change["field"] for change in moved["plan"]] == [change["field"] for change in checked["plan"]]
    assert moved["proof"]["verdict"] == "pass", moved["proof"]
    assert written > 20
    assert rows.lost(live.database(place), ledger) == []
    assert {role: ask(live.database(place, role), "SELECT count(*) FROM lab_filled")[0][0] for role in counted} == counted
    assert ask(live.database(place, "passport"), "SELECT count(*) FROM api_user") == accounts
    for role in ROLES:
        assert live.database(place, role)["host"] == postgres.address, role
        assert all(encrypted == "t" for _role, _address, encrypted in postgres.sessions(databases.options["names"][role]))
    secrets = {live.secret(place, "database-creds")[key] for key in ("password", "superuser-password")}
    assert not leaks({*secrets, postgres.credentials["password"]}, run.output)
    assert not leaks(secrets, str(run.records))
    again = databases.result()
    assert databases.writes == []
    assert again["plan"] == []
    as_module = databases.result(as_module=True)
    assert as_module["findings"] == again["findings"]


def test_neither_move_undoes_what_the_other_has_set(databases: Mover, stores: Mover) -> None:
    assert stores.result()["plan"] == []
    assert databases.result()["plan"] == []


def test_administrators_are_not_counted_in_the_database_that_is_left_over(databases: Mover, platform: Installed, tmp_path: Path) -> None:
    registration = Mover(platform, tmp_path, "workflow_registration", {"mode": "disabled"})
    run = registration.run("--check")
    assert "database is outside of the cluster" in str(run.result("move"))


@pytest.fixture
def values(databases: Mover, stores: Mover, platform: Installed, tmp_path: Path) -> Iterator[list[Path]]:
    """The files that an operator gives the next upgrade: the overlays of both moves, and the secrets that they name."""
    from lab.seed import live

    given: list[dict[str, Any]] = []
    wanted: set[str] = set()
    for mover in (databases, stores):
        result = mover.result()
        given.append(result["overlay"])
        wanted |= {entry["values_path"] for entry in result["durability"] if entry["values_path"] and not entry["lasts"]}
    secrets: dict[str, Any] = {}
    for path in sorted(wanted):
        component, key = path.split(".")
        if key.startswith("database"):
            at = live.database(platform.place, component)
            secrets.setdefault(component, {})[key] = f"postgres://{at['user']}:{at['password']}@{at['host']}:{at['port']}/{at['database']}?sslmode=require"
        elif key.lower().endswith(("accesskey", "secretkey")):
            option = "access_key_file" if key.lower().endswith("accesskey") else "secret_key_file"
            secrets.setdefault(component, {})[key] = Path(stores.options[option]).read_text()
    files = []
    for number, content in enumerate([*given, secrets]):
        files.append(tmp_path / f"values-{number}.yaml")
        files[-1].write_text(yaml.safe_dump(content))
    yield files
    for file in files:
        file.unlink()


def test_a_real_upgrade_with_the_overlay_keeps_both(databases: Mover, stores: Mover, platform: Installed, sown: Sown, values: list[Path]) -> None:
    from lab import installation
    from lab.seed import live

    before = {role: live.database(platform.place, role) for role in ROLES}
    installation.upgrade(platform.cluster, platform.name, values)
    platform.settle()
    assert {role: live.database(platform.place, role) for role in ROLES} == before
    for mover in (databases, stores):
        result = mover.result()
        assert result["plan"] == []
        assert mover.writes == []
        assert all(entry["lasts"] for entry in result["durability"]), [entry for entry in result["durability"] if not entry["lasts"]]
    assert sown.pull() > 0
    job = platform.objects.find(KINDS["Job"], "drycc-controller-job-upgrade", platform.namespace)
    assert job is None or "@drycc-database" not in str(job)
