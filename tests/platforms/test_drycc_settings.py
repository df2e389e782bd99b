"""What a move writes on Drycc, against what the chart renders by itself once its values name the same place: databases and object storage."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, configured, is_mark, wanted_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.database_place import arrived, fields_of, relocations
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from lab import builds
from tests.platforms.rendering import chart_of, rendered

PARAMS: dict[str, Any] = {"server": "db.example.com", "port": 5432, "sslmode": "require", "replica_server": "reader.example.com"}
PLACE = {
    "endpoint": "https://s3.example.com",
    "access_key": "an-access-key",
    "secret_key": "a-secret-key",
    **{f"bucket.{role}": f"acme-{role}" for role in ("registry", "builder", "quickwit", "database")},
}


class Chart:
    """One shape of Drycc, rendered with any values."""

    def __init__(self, platform: str, folder: Path) -> None:
        self.platform = platform
        self.folder = folder
        self.chart = chart_of(platform, folder / "chart")

    def settings(self, values: dict[str, Any] | None = None) -> Settings:
        """Everything that a move may look at, as the chart states it."""
        file = self.folder / "values.yaml"
        file.write_text(yaml.safe_dump({"global": {"platformDomain": "example.test", "clusterDomain": "cluster.local"}, **(values or {})}))
        documents = rendered(builds.binary("helm"), self.chart, self.platform, "-f", str(file))
        for document in documents:
            document["metadata"].update(namespace="drycc", resourceVersion="1")
        return Settings(
            {(document["kind"], document["metadata"]["name"]): document for document in documents if document["kind"] != "Secret"},
            {document["metadata"]["name"]: document for document in documents if document["kind"] == "Secret"},
        )


@pytest.fixture(scope="module", params=["drycc-1.8", "drycc-head"])
def chart(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(request.param, tmp_path_factory.mktemp(request.param))


def values_of(wanted: list[Wanted]) -> dict[str, Any]:
    """The values that the settings name, the secret ones among them."""
    values: dict[str, Any] = {}
    for entry in wanted:
        if entry.value is ABSENT or is_mark(entry.path):
            continue
        assert entry.values_path, entry
        component, key = entry.values_path.split(".")
        values.setdefault(component, {})[key] = entry.values_value
    return values


def test_databases(chart: Chart) -> None:
    facts, before = PLATFORMS[chart.platform].database, chart.settings()
    site: Any = SimpleNamespace(platform=PLATFORMS[chart.platform])
    moves = relocations(site, PARAMS, facts, before, before.secrets[facts.bundled_secret])
    fields = fields_of(PARAMS, facts, moves)
    wanted = wanted_settings(facts, facts.way, fields, before)
    assert set(arrived(facts, before, wanted, moves).items()) == {(role, False) for role in ("controller", "passport", "grafana", "quickwit")}
    known = {(entry.kind, entry.name) for user in facts.users for entry in (*user.workloads, *user.once)}
    asking = {name for name, document in before.workloads.items() if f"@{facts.bundled.name}" in str(document) and "helm.sh/hook" not in str(document)}
    assert asking - {("Job", "drycc-controller-job-upgrade")} <= known, "nobody is forgotten who asks a database"
    after = chart.settings(values_of(wanted))
    settled = wanted_settings(facts, facts.way, fields, after)
    assert plan_of(settled).changes == ()
    assert all(arrived(facts, after, settled, moves).values())


def test_object_storage(chart: Chart) -> None:
    facts, before = PLATFORMS[chart.platform].object_storage, chart.settings()
    (way,) = facts.ways
    fields = {**PLACE, **way.fixed}
    wanted = wanted_settings(facts, way, fields, before)
    assert not any(configured(facts, before, wanted).values())
    known = {(entry.kind, entry.name) for user in facts.users for entry in user.workloads}
    asking = {name for name, document in before.workloads.items() if "DRYCC_STORAGE_ENDPOINT" in str(document) and "helm.sh/hook" not in str(document)}
    # The pods of the database state it and do not use it.
    assert asking - {("StatefulSet", "drycc-database")} == known
    after = chart.settings(values_of(wanted))
    settled = wanted_settings(facts, way, fields, after)
    assert plan_of(settled).changes == ()
    assert all(configured(facts, after, settled).values())
