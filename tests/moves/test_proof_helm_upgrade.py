"""A real upgrade after both moves of a Hephy: what was said of each field comes true, and the trap of the hook Secret is closed.

An upgrade to a database outside never adds keys to the Secret of the first installation, and deletes the bundled database in the same moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from tests.contract.installed import Installed
from tests.moves.conftest import Mover, file_with
from tests.perf.figures import at_most
from tests.proof import Measured

if TYPE_CHECKING:
    from lab.postgres import Postgres
    from lab.seed import Sown
    from lab.stores import ObjectStore

BUCKETS = ("registry", "git", "dbwal")
pytestmark = pytest.mark.usefixtures("taken_away")


@pytest.fixture(scope="module")
def database(hephy: Installed, sown: Sown, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    folder = tmp_path_factory.mktemp("database")
    options = {
        "server": postgres.address,
        "admin_role": postgres.credentials["user"],
        "admin_password_file": file_with(folder, postgres.credentials["password"]),
        "work_folder": str(folder / "work"),
    }
    return Mover(hephy, folder, "workflow_database", options)


@pytest.fixture(scope="module")
def storage(hephy: Installed, sown: Sown, store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    from lab.stores import WRITE

    folder = tmp_path_factory.mktemp("object-storage")
    store.make_bucket(*BUCKETS)
    account = store.add_user(dict.fromkeys(BUCKETS, WRITE))
    options = {
        "endpoint": store.endpoint,
        "access_key_file": file_with(folder, account.access_key),
        "secret_key_file": file_with(folder, account.secret_key),
        "work_folder": str(folder / "work"),
        # Another test may have been here before.
        "overwrite": True,
    }
    return Mover(hephy, folder, "workflow_object_storage", options)


@pytest.fixture(scope="module")
def moved(database: Mover, storage: Mover) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a second run of each says, once both have moved."""
    storage.result()
    database.result()
    # Neither takes back what the other has set.
    results = storage.result(), database.result()
    assert [result["plan"] for result in results] == [[], []]
    return results


def fields(result: dict[str, Any], lasting: bool) -> set[tuple[str, str]]:
    return {(entry["object"], entry["field"]) for entry in result["durability"] if entry["lasts"] is lasting}


def planned(result: dict[str, Any]) -> set[tuple[str, str]]:
    return {(change["object"], change["field"]) for change in result["plan"]}


@pytest.fixture(scope="module")
def values(moved: tuple[dict[str, Any], dict[str, Any]], database: Mover, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What an operator gives the upgrade: the overlays, the decision for a database outside, and the credentials that no overlay holds."""
    from lab.seed import live

    at = live.secret(database.platform.place, "database-creds")
    outside = {
        "global": {"database_location": "off-cluster"},
        "database": {"postgres": {"name": at["name"], "username": at["user"], "password": at["password"], "host": at["host"], "port": at["port"]}},
    }
    folder, files = tmp_path_factory.mktemp("values"), []
    for number, content in enumerate([*(result["overlay"] for result in moved), outside]):
        files.append(folder / f"{number}.yaml")
        files[-1].touch(0o600)
        files[-1].write_text(yaml.safe_dump(content))
    return files


@pytest.fixture(scope="module")
def upgraded(moved: tuple[dict[str, Any], dict[str, Any]], values: list[Path], database: Mover, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upgrade under a writer; the ledger of what was acknowledged to it."""
    from lab import installation
    from lab.seed import Writer, live

    place, ledger = database.platform.place, tmp_path_factory.mktemp("writer") / "ledger"
    with Writer(lambda: live.database(place), ledger):
        installation.upgrade(place.cluster, place.name, values)
        installation.wait_until_answering(place.cluster, place.name, namespace=place.namespace)
    return ledger


def test_the_bundled_database_is_gone_and_the_controller_goes_on_without_it(upgraded: Path, database: Mover, postgres: Postgres, measured: Measured) -> None:
    from lab.seed import live, rows

    platform = database.platform
    assert platform.objects.find(KINDS["Deployment"], "deis-database", platform.namespace) is None
    assert live.database(platform.place)["host"] == postgres.address
    measured(at_most("acknowledged rows lost in a helm upgrade after the move", len(rows.lost(live.database(platform.place), upgraded)), "rows", 0))


def test_the_database_lasts_as_was_said(upgraded: Path, moved: tuple[dict[str, Any], dict[str, Any]], database: Mover) -> None:
    said = moved[1]
    after = database.result("--check")
    assert planned(after) & fields(said, lasting=True) == set()
    assert after["plan"] == []
    assert after["proof"]["verdict"] == "pass"
    assert all(entry["lasts"] for entry in after["durability"]), [entry for entry in after["durability"] if not entry["lasts"]]


def test_the_store_of_ones_own_address_comes_to_what_was_said_and_is_mended(
    upgraded: Path, moved: tuple[dict[str, Any], dict[str, Any]], storage: Mover, sown: Sown
) -> None:
    said = moved[0]
    after = storage.result("--check")
    reverted = {(entry["object"], entry["field"]) for entry in said["durability"] if entry["outcome"] == "reverted"}
    gone = {field for field in fields(said, lasting=True) if "deis-database" in field[0]}
    settings = {entry for entry in planned(after) if "annotations" not in entry[1]}
    assert settings == reverted
    assert reverted
    assert not settings & (fields(said, lasting=True) - gone)
    result = storage.result()
    assert result["proof"]["verdict"] == "pass"
    assert sown.pull() > 0
    assert storage.result()["plan"] == []
