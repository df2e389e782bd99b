"""Points of both shapes of Drycc: a bucket and a database for each component, and none of them is missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import find
from tests.backup.asking import drilled, look
from tests.backup.whole import KINDS, Identity, files_of, held, opened, options_for, restored, take
from tests.contract.installed import Installed, install, remove, remove_others

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.cluster import Cluster
    from lab.seed import Sown

FILLED = ("controller", "passport", "grafana")
# 1.8 makes no database for Quickwit, and its database keeps no backups in a bucket.
DATABASES = {"drycc-head": {*FILLED, "quickwit"}, "drycc-1.8": {*FILLED}}
BUCKETS = {"drycc-head": {"registry", "builder", "quickwit", "database"}, "drycc-1.8": {"registry", "builder", "quickwit"}}


@pytest.fixture(scope="module", params=["drycc-head", "drycc-1.8"])
def platform(request: pytest.FixtureRequest, lab_cluster: Cluster, report: Callable[[str], None]) -> Iterator[Installed]:
    remove_others(lab_cluster, request.param)
    yield install(lab_cluster, request.param, report)
    remove(lab_cluster, request.param)


@pytest.fixture(scope="module")
def sown(platform: Installed) -> Sown:
    from lab.seed import live, rows, sow

    found = sow(platform.cluster, platform.name, megabytes=4, report=lambda _line: None)
    for name in FILLED[1:]:
        rows.fill(live.database(platform.place, name), 1)
    return found


@pytest.fixture(scope="module")
def place(platform: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(platform.name)


@pytest.fixture(scope="module")
def point(platform: Installed, sown: Sown, keys: list[Identity], newest: str, place: Path) -> dict[str, Any]:
    """A point of all kinds, predicted and then made."""
    options = options_for(place, platform, keys, newest)
    predicted = take(options, check=True)
    assert predicted.get("msg") is None
    assert not (place / "repository").exists()
    done = take(options)
    assert done.get("msg") is None
    assert (done["plan"], done["proof"]["verdict"], done["problems"]) == (predicted["plan"], "pass", [])
    return dict(done["point"])


def test_every_component_is_in_the_point(platform: Installed, sown: Sown, place: Path, point: dict[str, Any], keys: list[Identity]) -> None:
    kinds = point["kinds"]
    assert {name: kinds[name]["needs"] for name in KINDS} == {name: [] for name in KINDS}
    assert set(kinds["postgres"]["databases"]) == DATABASES[platform.name]
    assert all(kinds["postgres"]["databases"][name]["rows"] > 0 for name in FILLED)
    buckets = kinds["buckets"]["buckets"]
    assert set(buckets) == BUCKETS[platform.name]
    ledgers = {role: ledger.objects for role, entry in buckets.items() for ledger in sown.ledgers if entry["bucket"] == ledger.bucket}
    assert set(ledgers) == BUCKETS[platform.name] & {"builder", "database"}
    for role, objects in ledgers.items():
        there = held(files_of(place, point, "buckets") / role)
        assert {key: there.get(key) for key in objects} == objects, role
    in_custody = {entry["metadata"]["name"] for entry in opened(place, point, keys[0])["secrets"] if entry["metadata"]["namespace"] == platform.namespace}
    assert {ref.name for ref in platform.documents(("Secret",))} <= in_custody


@pytest.mark.parametrize("role", FILLED)
def test_rows_of_each_component_come_back(platform: Installed, point: dict[str, Any], place: Path, newest: str, role: str) -> None:
    from lab import postgres
    from lab.seed import live, rows

    with restored(place, point, newest, role) as server:
        # Each component has a schema of its own.
        schema = find(newest).query(server, f"SELECT schemaname FROM pg_tables WHERE tablename = '{rows.FILLED}'")[0]["schemaname"]
        back = find(newest).query(server, f"SELECT count(*) AS rows FROM {schema}.{rows.FILLED}")[0]["rows"]
    assert [[str(back)]] == postgres.ask(live.database(platform.place, role), f"SELECT count(*) FROM {rows.FILLED}")


def test_a_second_run_and_a_drill(platform: Installed, point: dict[str, Any], place: Path, keys: list[Identity], newest: str) -> None:
    again = take(options_for(place, platform, keys, newest))
    assert (again.get("msg"), again["changed"], again["point"]) == (None, False, point)
    assert look(place, verify="all")["problems"] == []
    done = drilled(place, client_folder=newest, server_folder=newest)
    assert (done.get("msg"), done["proof"]["verdict"]) == (None, "pass")
    assert {f"rows of {name}" for name in FILLED} <= {check["what"] for check in done["proof"]["checks"]}
