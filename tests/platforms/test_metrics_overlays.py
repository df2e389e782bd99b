"""The values keys of stores of metrics: the chart, rendered with them, leads whoever writes and reads metrics to where the collection leads them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, containers_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics_settings import place_settings
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, look
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import MetricsStore
from lab import builds
from tests.platforms.rendering import chart_of, rendered
from tests.platforms.test_overlays import options

FIELDS = {
    "url": "http://metrics.example.com:8086",
    "quoted_url": '"http://metrics.example.com:8086"',
    "write_url": "http://metrics.example.com:8428/api/v1/write",
    "database": "the-database",
    "user": "the-user",
    "password": "the-password",
}
# What the chart cannot say: it has one text for two who read it differently.
UNSAYABLE = {("deis-monitor-grafana", "INFLUXDB_SERVICE_URL")}


class Chart:
    """The chart of one platform, rendered with any values, and once with each."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        facts = PLATFORMS[name].metrics
        assert facts is not None
        self.facts: MetricsStore = facts
        self.chart = chart_of(name, folder / "chart")
        self._made: dict[str, Settings] = {}

    def settings(self, values: dict[str, Any]) -> Settings:
        text = yaml.safe_dump(values)
        if text not in self._made:
            self._made[text] = self._rendered(text)
        return self._made[text]

    def _rendered(self, values: str) -> Settings:
        file = self.folder / "values.yaml"
        file.write_text(values)
        documents = rendered(builds.binary("helm"), self.chart, self.name, *options(self.name), "-f", str(file))
        for document in documents:
            document["metadata"].update(namespace="paas", resourceVersion="1")
        named = {(document["kind"], document["metadata"]["name"]): document for document in documents}
        secret = named.get(("Secret", self.facts.secret))
        return Settings({key: document for key, document in named.items() if key[0] != "Secret"}, {self.facts.secret: secret} if secret else {})

    def wanted(self, settings: Settings) -> list[Wanted]:
        return place_settings(self.facts, FIELDS, settings, "paas", PLATFORMS[self.name].heritage)


def overlay_of(wanted: list[Wanted]) -> dict[str, Any]:
    """The Helm values of all fields, the password included: an operator adds that by hand."""
    tree: dict[str, Any] = {}
    for entry in wanted:
        for path, value in ((entry.values_path, entry.values_value), *entry.values_also):
            if path:
                *folders, last = path.split(".")
                place = tree
                for folder in folders:
                    place = place.setdefault(folder, {})
                place[last] = FIELDS["password"] if value is ABSENT else value
    return tree


def told(chart: Chart, settings: Settings) -> dict[tuple[str, str], set[str]]:
    """What every variable of the users comes to, by workload and variable, in all of its containers."""
    secret = (settings.secrets.get(chart.facts.secret) or {}).get("data") or {}
    found: dict[tuple[str, str], set[str]] = {}
    for user in chart.facts.users:
        document = settings.workloads[user.workload.kind, user.workload.name]
        names = {setting.variable for setting in user.settings}
        for _path, container in containers_of(document):
            for entry in container.get("env") or ():
                if entry["name"] in names:
                    key = ((entry.get("valueFrom") or {}).get("secretKeyRef") or {}).get("key")
                    text = base64.b64decode(secret[key]).decode() if key else entry["value"]
                    found.setdefault((user.workload.name, entry["name"]), set()).add(text)
    return found


@pytest.fixture(scope="module", params=sorted(PLATFORMS))
def chart(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(request.param, tmp_path_factory.mktemp(request.param))


def test_the_chart_with_the_overlay_leads_outside(chart: Chart) -> None:
    before = chart.settings({})
    wanted = chart.wanted(before)
    after = chart.settings(overlay_of(wanted))
    found = told(chart, after)
    for user in chart.facts.users:
        for setting in user.settings:
            place = user.workload.name, setting.variable
            assert found[place] == {FIELDS["quoted_url" if place in UNSAYABLE else setting.field]}, place
    assert not any("metrics.example.com" in text for texts in told(chart, before).values() for text in texts)
    if chart.facts.sender:
        name = chart.facts.sender.workload.name
        path = ("spec", "template", "spec", "containers", Item("name", name), "args")
        (arguments,) = [entry.value for entry in wanted if entry.path == path]
        assert look(after.workloads["StatefulSet", name], path) == arguments


def test_after_an_upgrade_with_it_only_what_the_chart_cannot_say_is_left(chart: Chart) -> None:
    after = chart.settings(overlay_of(chart.wanted(chart.settings({}))))
    left = {(change.ref.name, change.field) for change in plan_of(chart.wanted(after)).changes}
    # Of what no values say: a mark of ours, and the key with the address for Grafana.
    settings = {(name, field) for name, field in left if "annotations" not in field}
    grafana = "spec.template.spec.containers[deis-monitor-grafana].env[INFLUXDB_SERVICE_URL].valueFrom"
    assert settings == ({("influxdb-creds", "data.plain-url"), ("deis-monitor-grafana", grafana)} if chart.facts.secret else set())


def test_keys_that_are_called_inert_change_nothing(chart: Chart) -> None:
    values: dict[str, Any] = {}
    for key in chart.facts.inert:
        section, name = key.split(".")
        values.setdefault(section, {})[name] = "http://nowhere.example.com"
    assert bool(values) == (chart.name == "drycc-head")
    assert told(chart, chart.settings(values)) == told(chart, chart.settings({}))
