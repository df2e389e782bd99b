"""Grafana's own database outside: what its ini file cannot carry is refused, every variable is written once, and the way back leaves nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import REVISION, Settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics_graphs import graphs_of, graphs_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_settings import bundled_settings
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.unit.controls.test_metrics_settings import facts_of, settings_of, variables, written

GIVEN: dict[str, Any] = {"server": "db.example.com", "port": 5432, "name": "grafana", "role": "grafana", "role_password": "canary1", "sslmode": "require"}
GRAFANA = "deis-monitor-grafana"


def server_of(**changes: Any) -> Server:
    found = graphs_of(facts_of("hephy"), {"graphs_database": {**GIVEN, **changes}})
    assert found is not None
    return found


def wanted_of(server: Server | None, settings: Settings) -> list[Wanted]:
    graphs = facts_of("hephy").graphs
    assert graphs is not None
    return graphs_settings(graphs, server, settings, "paas")


def test_every_variable_of_its_code_is_written_once() -> None:
    settings = settings_of("hephy")
    moved = written(settings, wanted_of(server_of(), settings))
    found = variables(moved, "Deployment", GRAFANA, GRAFANA)
    told = {name: entry.get("value") for name, entry in found.items() if name.startswith("DATABASE_") and "value" in entry}
    assert told == {
        "DATABASE_TYPE": "postgres",
        "DATABASE_HOST": "db.example.com:5432",
        "DATABASE_NAME": "grafana",
        "DATABASE_USER": "grafana",
        "DATABASE_SSL_MODE": "require",
    }
    assert found["DATABASE_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "paas-hardening-grafana", "key": "password"}
    assert not plan_of(wanted_of(server_of(), moved))
    assert "canary" not in str(moved.workloads)


def test_a_new_password_restarts_it() -> None:
    settings = settings_of("hephy")
    moved = written(settings, wanted_of(server_of(), settings))
    changes = plan_of(wanted_of(server_of(role_password="canary2"), moved)).changes
    assert {change.ref.name for change in changes if any(str(step).startswith(REVISION) for step in change.path)} == {"paas-hardening-grafana", GRAFANA}


def test_the_way_back_leaves_nothing_of_it() -> None:
    chart = settings_of("hephy")
    moved = written(chart, wanted_of(server_of(), chart))
    back = bundled_settings(wanted_of(None, moved), lambda document: chart.workloads.get((document["kind"], document["metadata"]["name"])), "back")
    again = written(moved, back)
    assert again.secrets == {}
    assert variables(again, "Deployment", GRAFANA, GRAFANA) == variables(chart, "Deployment", GRAFANA, GRAFANA)


@pytest.mark.parametrize(
    "changes", [{"role_password": "canary#"}, {"role_password": "can;ary"}, {"role_password": None}, {"name": "a b"}, {"role": "%(canary)s"}, {"server": "`x`"}]
)
def test_what_an_ini_file_cannot_carry_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        server_of(**changes)
    assert caught.value.subject == "graphs_database"
    assert "canary" not in str(caught.value)


def test_a_password_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("canary3\n")
    assert server_of(role_password=None, role_password_file=str(file)).password == "canary3"


def test_on_drycc_another_module_moves_it() -> None:
    facts = PLATFORMS["drycc-head"].metrics
    assert facts is not None
    with pytest.raises(Invalid) as caught:
        graphs_of(facts, {"graphs_database": GIVEN})
    assert "workflow_database" in caught.value.hint
