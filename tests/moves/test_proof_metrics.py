"""workflow_metrics on a real Hephy with a real InfluxDB outside: looked at, led there, seen to arrive, mended, led back, and what an upgrade leaves of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from lab import processes
from lab.errors import LabError
from tests.contract.canaries import leaks
from tests.contract.installed import Installed
from tests.moves.conftest import Mover, file_with
from tests.moves.metrics import Influx

if TYPE_CHECKING:
    from lab.postgres import Postgres

pytestmark = pytest.mark.usefixtures("taken_away")
TELEGRAF, GRAFANA, SECRET = "deis-monitor-telegraf", "deis-monitor-grafana", "influxdb-creds"


@pytest.fixture(scope="module")
def influx(hephy: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """On this machine, where the nodes and the pods see it."""
    with Influx(tmp_path_factory.mktemp("influx"), hephy.cluster.layout.addresses.host).running() as server:
        yield server


@pytest.fixture(scope="module")
def mover(hephy: Installed, influx: Influx, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    folder = tmp_path_factory.mktemp("metrics")
    password = influx.make("workflow", "mover")
    options = {"url": influx.url, "database": "workflow", "account": "mover", "account_password_file": file_with(folder, password + "\n")}
    return Mover(hephy, folder, "workflow_metrics", options)


class Told:
    """The runs, in their order, each with what it wrote."""

    def __init__(self, mover: Mover, influx: Influx) -> None:
        self.before = mover.platform.documents()
        self.checked = mover.result("--check")
        self.checked_writes = mover.writes
        self.untouched = mover.platform.documents() == self.before
        self.run = mover.run().ok()
        self.moved = dict(self.run.result("move"))
        nodes = len(list(mover.platform.objects.list(KINDS["Node"])))
        self.everywhere = processes.wait_until(lambda: len(influx.hosts("workflow")) == nodes > 0, 30)
        self.source = has_source(mover.platform)
        self.again = mover.result()
        self.again_writes = mover.writes
        self.as_module = mover.result(as_module=True)


@pytest.fixture(scope="module")
def told(mover: Mover, influx: Influx) -> Told:
    return Told(mover, influx)


def has_source(platform: Installed) -> bool:
    """Whether Grafana has a data source that takes it."""
    (pod,) = [pod for pod in platform.objects.list(KINDS["Pod"], namespace=platform.namespace, labels=f"app={GRAFANA}") if not leaving(pod)]
    path = f"/api/v1/namespaces/{platform.namespace}/pods/{pod['metadata']['name']}:3500/proxy/lab/source"
    try:
        platform.cluster.kubectl("get", "--raw", path)
    except LabError:
        return False
    return True


def leaving(pod: Any) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def shape(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(change["object"], change["field"]) for change in result["plan"]]


def test_check_mode_says_what_is_done_and_touches_nothing(told: Told) -> None:
    assert told.checked_writes == []
    assert told.untouched
    assert shape(told.checked) == shape(told.moved)
    assert {name.rpartition("/")[2] for name, _field in shape(told.moved)} == {SECRET, TELEGRAF, GRAFANA}


def test_metrics_of_every_node_arrive_and_grafana_reads_them(told: Told, mover: Mover) -> None:
    assert told.moved["proof"]["verdict"] == "pass"
    assert told.moved["findings"][0]["status"] == "fixed"
    assert told.everywhere
    assert told.source


def test_a_second_run_writes_nothing(told: Told) -> None:
    assert told.again_writes == []
    assert told.again["plan"] == told.as_module["plan"] == []
    assert told.as_module["findings"] == told.again["findings"]


def test_the_open_doors_of_the_bundled_store_are_named(told: Told) -> None:
    found = [finding for finding in told.again["findings"] if finding["control"] == "metrics-exposed"]
    assert "deis-monitor-influxapi" in found[0]["subject"]


def test_no_secret_is_seen(told: Told, mover: Mover, influx: Influx) -> None:
    secrets = {Path(mover.options["account_password_file"]).read_text().strip(), influx.admin}
    assert not leaks(secrets, told.run.output)
    assert not leaks(secrets, str(told.run.records))


def test_a_wrong_password_stops_before_anything_is_touched(told: Told, mover: Mover, tmp_path: Path) -> None:
    run = mover.run(account_password_file=file_with(tmp_path, "not-the-password"))
    assert run.status != 0
    assert run.result("move")["failure"]["reason"] == "Unauthorized"
    assert mover.writes == []


def test_a_setting_that_somebody_changed_is_mended(told: Told, mover: Mover) -> None:
    cluster, namespace = mover.platform.cluster, mover.platform.namespace
    cluster.kubectl("patch", "secret", SECRET, "-n", namespace, "--type=merge", "-p", '{"data": {"database": "ZWxzZXdoZXJl"}}')
    result = mover.result()
    assert any(name.endswith(f"/{SECRET}") for name, _field in shape(result))
    assert mover.result()["plan"] == []


def test_grafanas_accounts_go_into_a_database_that_outlives_its_pod(told: Told, mover: Mover, postgres: Postgres, tmp_path: Path) -> None:
    role = postgres.make_database("graphs", "graphs_owner")
    about = {"server": postgres.address, "name": "graphs", "role": "graphs_owner", "role_password_file": file_with(tmp_path, role["password"] + "\n")}
    wrong = mover.run(graphs_database={**about, "role_password_file": file_with(tmp_path, "not-the-password")})
    assert wrong.status != 0
    assert mover.writes == []
    run = mover.run(graphs_database=about).ok()
    assert [check["observed"] for check in run.result("move")["proof"]["checks"]].count("somebody is logged in") == 1
    assert {(session[0], session[2]) for session in postgres.sessions("graphs")} == {("graphs_owner", "t")}
    assert not leaks({role["password"]}, run.output)
    # A new pod finds what the old one left, and a run that is not asked about it leaves it as it is.
    assert mover.result(graphs_database=about)["plan"] == []
    result = mover.result()
    assert result["plan"] == []
    assert "metrics-data-source" in [finding["control"] for finding in result["findings"]]


def test_back_to_the_bundled_store(told: Told, mover: Mover) -> None:
    options, mover.options = mover.options, {}
    try:
        assert mover.result(state="reverted")["changed"]
        assert not mover.result(state="reverted")["changed"]
    finally:
        mover.options = options
    assert mover.platform.objects.find(KINDS["Secret"], SECRET, mover.platform.namespace) is None
    after = mover.platform.documents(("Deployment", "DaemonSet"))
    for ref, document in after.items():
        assert document["spec"]["template"]["spec"] == told.before[ref]["spec"]["template"]["spec"], ref


def test_an_upgrade_with_the_overlay_keeps_the_collector_and_the_next_run_mends_grafana(told: Told, mover: Mover, influx: Influx, tmp_path: Path) -> None:
    from lab import installation

    overlay = mover.result()["overlay"]
    assert overlay["global"]["influxdb_location"] == "off-cluster"
    password = Path(mover.options["account_password_file"]).read_text().strip()
    files = []
    for number, content in enumerate([overlay, {"monitor": {"influxdb": {"password": password}}}]):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].touch(0o600)
        files[-1].write_text(yaml.safe_dump(content))
    place = mover.platform.place
    installation.upgrade(place.cluster, place.name, files)
    mover.platform.settle()
    assert mover.platform.objects.find(KINDS["Deployment"], "deis-monitor-influxdb", mover.platform.namespace) is None
    # As was said: the collector goes on, and Grafana has an address that is none.
    result = mover.result("--check")
    assert result["proof"]["verdict"] == "pass"
    assert {GRAFANA} <= {name.rpartition("/")[2] for name, _field in shape(result)} <= {GRAFANA, SECRET, TELEGRAF}
    assert not has_source(mover.platform)
    assert mover.result()["proof"]["verdict"] == "pass"
    assert has_source(mover.platform)
    assert influx.hosts("workflow", 30)
    with_chart = mover.run(state="reverted", url=None)
    assert with_chart.status != 0
    assert "global.influxdb_location" in with_chart.result("move")["failure"]["hint"]
