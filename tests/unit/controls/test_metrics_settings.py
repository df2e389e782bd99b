"""The settings of stores of metrics: on every platform exactly what its code reads, once, in a form that no upgrade trips over, and a way back."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import REVISION, Settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics_settings import SENT_TO, place_settings, values_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_settings import bundled_settings
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, look
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import MetricsStore
from tests.unit.controls.registries import applied

FIELDS = {
    "url": "http://metrics.example.com:8086",
    "quoted_url": '"http://metrics.example.com:8086"',
    "write_url": "http://metrics.example.com:8428/api/v1/write",
    "database": "workflow",
    "user": "mover",
    "password": "canary-password",
}
NAMES = sorted(PLATFORMS)
INSIDE = '"http://$(DEIS_MONITOR_INFLUXAPI_SERVICE_HOST):8086"'


def facts_of(platform: str) -> MetricsStore:
    facts = PLATFORMS[platform].metrics
    assert facts is not None
    return facts


def settings_of(platform: str) -> Settings:
    """A platform on its bundled store, as its chart makes it."""
    facts = facts_of(platform)
    workloads: dict[tuple[str, str], Any] = {}
    for user in facts.users:
        # Of InfluxDB's variables the chart states the address alone, and for the collector only.
        stated = [setting.variable for setting in user.settings if not facts.secret or setting.field == "quoted_url"]
        env = [{"name": name, "value": INSIDE} for name in stated]
        pod = {"initContainers": [{"name": "wait"}], "containers": [{"name": user.workload.container, "env": env}, {"name": "sidecar", "env": []}]}
        workloads[user.workload.kind, user.workload.name] = document_of(user.workload.kind, user.workload.name, pod)
    if facts.sender:
        own = ["vmagent", "--remoteWrite.url=http://drycc-victoriametrics-vminsert:8480/insert", "--promscrape.cluster.memberNum=$(SHARD_NUM)", "--a=1"]
        name = facts.sender.workload.name
        workloads["StatefulSet", name] = document_of("StatefulSet", name, {"containers": [{"name": facts.sender.workload.container, "args": own}]})
    return Settings(workloads, {})


def document_of(kind: str, name: str, pod: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": {"metadata": {}, "spec": pod}}
    group, spec = ("batch/v1", {"jobTemplate": {"spec": spec}}) if kind == "CronJob" else ("apps/v1", spec)
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": "paas", "resourceVersion": "9"}, "spec": spec}


def wanted_of(platform: str, settings: Settings, **changes: str) -> list[Wanted]:
    return place_settings(facts_of(platform), {**FIELDS, **changes}, settings, "paas", PLATFORMS[platform].heritage)


def written(settings: Settings, wanted: list[Wanted]) -> Settings:
    return applied(settings, [entry for entry in wanted if not entry.holds])


def variables(settings: Settings, kind: str, name: str, container: str) -> dict[str, Any]:
    path = ("spec", "template", "spec", "containers", Item("name", container), "env")
    return {entry["name"]: entry for entry in look(settings.workloads[kind, name], path)}


@pytest.mark.parametrize("platform", NAMES)
def test_once_written_nothing_is_left_to_write(platform: str) -> None:
    settings = settings_of(platform)
    wanted = wanted_of(platform, settings)
    assert plan_of(wanted)
    assert not plan_of(wanted_of(platform, written(settings, wanted)))


@pytest.mark.parametrize("platform", NAMES)
def test_the_way_back_is_what_the_chart_states(platform: str) -> None:
    chart = settings_of(platform)
    moved = written(chart, wanted_of(platform, chart))

    def stated(document: Any) -> Any:
        return chart.workloads.get((document["kind"], document["metadata"]["name"]))

    back = bundled_settings(wanted_of(platform, moved), stated, "back")
    again = written(moved, back)
    assert again.secrets == {}
    for name, document in again.workloads.items():
        for template in ("metadata", "annotations"):
            document["spec"].get("template", {}).get("metadata", {}).pop(template, None)
        assert document == chart.workloads[name], name
    assert not plan_of(bundled_settings(wanted_of(platform, again), stated, "back"))


@pytest.mark.parametrize("platform", ["deis", "hephy"])
def test_telegraf_gets_the_address_quoted_and_grafana_plain(platform: str) -> None:
    settings = settings_of(platform)
    moved = written(settings, wanted_of(platform, settings))
    telegraf = variables(moved, "DaemonSet", "deis-monitor-telegraf", "deis-monitor-telegraf")
    # In the form in which the chart states it: an upgrade that finds a value where it states one trips over nothing.
    assert telegraf["INFLUXDB_URLS"] == {"name": "INFLUXDB_URLS", "value": FIELDS["quoted_url"]}
    assert telegraf["INFLUXDB_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "influxdb-creds", "key": "password"}
    grafana = variables(moved, "Deployment", "deis-monitor-grafana", "deis-monitor-grafana")
    assert grafana["INFLUXDB_SERVICE_URL"]["valueFrom"]["secretKeyRef"] == {"name": "influxdb-creds", "key": "plain-url"}
    data = {key: base64.b64decode(text).decode() for key, text in moved.secrets["influxdb-creds"]["data"].items()}
    assert data == {"url": FIELDS["quoted_url"], "plain-url": FIELDS["url"], "database": "workflow", "user": "mover", "password": "canary-password"}


def test_after_an_upgrade_with_the_overlay_only_grafanas_address_is_wrong() -> None:
    settings = settings_of("hephy")
    moved = written(settings, wanted_of("hephy", settings))
    upgraded = copy.deepcopy(moved)
    reference = {"secretKeyRef": {"name": "influxdb-creds", "key": "url"}}
    telegraf = variables(upgraded, "DaemonSet", "deis-monitor-telegraf", "deis-monitor-telegraf")["INFLUXDB_URLS"]
    telegraf.pop("value")
    telegraf["valueFrom"] = reference
    variables(upgraded, "Deployment", "deis-monitor-grafana", "deis-monitor-grafana")["INFLUXDB_SERVICE_URL"]["valueFrom"] = reference
    changes = plan_of(wanted_of("hephy", upgraded)).changes
    assert [(change.ref.name, str(change.path[-2])) for change in changes] == [("deis-monitor-grafana", "[INFLUXDB_SERVICE_URL]")]


def test_the_password_is_in_no_values() -> None:
    values = dict(values_of(facts_of("hephy"), FIELDS))
    assert values["monitor.influxdb.password"] is ABSENT
    assert values["monitor.influxdb.url"] == FIELDS["quoted_url"]
    assert "canary" not in str({key: value for key, value in values.items() if value is not ABSENT})


def test_a_changed_password_restarts_both() -> None:
    settings = settings_of("hephy")
    moved = written(settings, wanted_of("hephy", settings))
    changes = plan_of(wanted_of("hephy", moved, password="canary-another")).changes
    marked = {change.ref.name for change in changes if REVISION in change.path}
    assert marked == {"influxdb-creds", "deis-monitor-telegraf", "deis-monitor-grafana"}
    assert ("data", "password") in [change.path for change in changes]


@pytest.mark.parametrize("platform", ["drycc-1.8", "drycc-head"])
def test_the_agent_sends_to_both_and_forgets_the_place_before(platform: str) -> None:
    name = "drycc-victoriametrics-vmagent"
    path = ("spec", "template", "spec", "containers", Item("name", name), "args")
    settings = settings_of(platform)
    moved = written(settings, wanted_of(platform, settings))
    arguments = look(moved.workloads["StatefulSet", name], path)
    assert arguments == [*look(settings.workloads["StatefulSet", name], path), f"--remoteWrite.url={FIELDS['write_url']}"]
    wanted = wanted_of(platform, moved, write_url="http://other.example.com/write")
    (listed,) = [entry for entry in wanted if entry.path == path]
    assert listed.value[-1] == "--remoteWrite.url=http://other.example.com/write"
    assert f"--remoteWrite.url={FIELDS['write_url']}" not in listed.value
    assert listed.values_value == ["--a=1", "--remoteWrite.url=http://other.example.com/write"]
    assert SENT_TO in [entry.path[-1] for entry in wanted]


def test_arguments_of_another_shape_are_refused() -> None:
    settings = settings_of("drycc-head")
    name = "drycc-victoriametrics-vmagent"
    settings.workloads["StatefulSet", name]["spec"]["template"]["spec"]["containers"][0]["args"] = ["vmagent"]
    with pytest.raises(Refused) as caught:
        wanted_of("drycc-head", settings)
    assert "victoriametrics.vmagent.extraArgs" in caught.value.hint
