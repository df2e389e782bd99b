"""The settings of image registries: on every platform and for every location exactly the fields that its code reads, and a way back."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import REVISION, Settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_settings import bundled_settings, leads_outside, platform_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_target import Target
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.unit.controls.registries import SIGNED, applied, encoded, facts_of, settings_of, target_of

EVERY = [(name, location.name) for name in PLATFORMS for location in facts_of(name).locations]
every_location = pytest.mark.parametrize(("platform", "location"), EVERY, ids=[f"{name}-{location}" for name, location in EVERY])


def wanted_of(platform: str, target: Target, settings: Settings) -> list[Any]:
    return platform_settings(facts_of(platform), target, settings, "paas", PLATFORMS[platform].heritage)


def planned(platform: str, target: Target, settings: Settings) -> dict[tuple[str, str], Any]:
    return {(change.ref.name, change.field): change.after for change in plan_of(wanted_of(platform, target, settings)).changes}


@every_location
def test_once_written_nothing_is_left_to_write(platform: str, location: str) -> None:
    before, target = settings_of(platform), target_of(platform, location)
    wanted = wanted_of(platform, target, before)
    assert not leads_outside(wanted)
    settled = wanted_of(platform, target, applied(before, wanted))
    assert plan_of(settled).changes == ()
    assert leads_outside(settled)


@every_location
def test_the_way_back_leaves_the_documents_as_the_chart_states_them(platform: str, location: str) -> None:
    before, target = settings_of(platform), target_of(platform, location)
    charts = {str(document["metadata"]["name"]): document for document in (*before.workloads.values(), *before.secrets.values())}
    after = applied(before, wanted_of(platform, target, before))
    back = bundled_settings(wanted_of(platform, target, after), lambda document: charts.get(document["metadata"]["name"]))
    again = applied(after, [entry for entry in back if not entry.holds])
    assert tidy(again) == tidy(before)


def tidy(value: Any) -> Any:
    """Without maps out of which everything was taken, as the API server keeps none, and with variables in one order."""
    if isinstance(value, Settings):
        return [tidy(dict(part)) for part in value]
    if isinstance(value, dict):
        kept = {key: tidy(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner != {}}
    if isinstance(value, list):
        return sorted(map(tidy, value), key=str)
    return value


def test_what_an_off_cluster_registry_takes_on_hephy() -> None:
    changes = planned("hephy", target_of("hephy"), settings_of("hephy"))
    assert set(changes) == {
        ("registry-secret", "(object)"),
        *((name, f"spec.template.spec.{group}[{box}].env[DEIS_REGISTRY_LOCATION].value") for name in ("deis-builder", "deis-controller")
          for group, box in (("initContainers", "wait"), ("containers", name))),
    }  # fmt: skip
    made = changes["registry-secret", "(object)"]
    assert made["metadata"]["annotations"] == {"deis.io/registry-location": "off-cluster", **SIGNED}
    assert made["metadata"]["labels"] == {"heritage": "deis", "app.kubernetes.io/managed-by": "Helm"}
    expected = {"hostname": "registry.example.com:5000", "organization": "paas", "username": "robot", "password": "canary-password"}
    assert made["data"] == {key: encoded(text) for key, text in expected.items()}


def test_a_secret_beside_a_release_that_signs_nothing_is_ours() -> None:
    settings = settings_of("hephy")
    for document in settings.workloads.values():
        document["metadata"].pop("annotations")
    made = planned("hephy", target_of("hephy"), settings)["registry-secret", "(object)"]
    assert OWNER.items() <= made["metadata"]["labels"].items()


def test_the_hub_has_an_empty_host() -> None:
    made = planned("hephy", target_of("hephy", server="docker.io"), settings_of("hephy"))["registry-secret", "(object)"]
    assert made["data"]["hostname"] == ""


def test_keys_of_another_location_go() -> None:
    settings = applied(settings_of("hephy"), wanted_of("hephy", target_of("hephy"), settings_of("hephy")))
    changes = planned("hephy", target_of("hephy", "ecr"), settings)
    gone = {field for (name, field), value in changes.items() if name == "registry-secret" and value is ABSENT}
    assert gone == {"data.organization", "data.username", "data.password"}
    assert changes["registry-secret", "data.hostname"] == ""
    assert changes["registry-secret", 'metadata.annotations["deis.io/registry-location"]'] == "ecr"


def test_a_new_password_is_mended_without_a_move_and_without_a_restart_where_it_is_read_each_time() -> None:
    settings = applied(settings_of("hephy"), wanted_of("hephy", target_of("hephy"), settings_of("hephy")))
    wanted = wanted_of("hephy", target_of("hephy", password="another"), settings)
    assert leads_outside(wanted)
    assert [(change.ref.name, change.field) for change in plan_of(wanted).changes] == [("registry-secret", "data.password")]


def test_a_new_password_restarts_what_reads_it_at_its_start_and_nothing_else() -> None:
    before = settings_of("drycc-head")
    settings = applied(before, wanted_of("drycc-head", target_of("drycc-head"), before))
    wanted = wanted_of("drycc-head", target_of("drycc-head", password="another"), settings)
    assert leads_outside(wanted)
    changes = plan_of(wanted).changes
    assert {change.ref.name for change in changes} == {"builder-secret", "registry-secret", "drycc-registry", "drycc-registry-proxy", "drycc-builder"}
    assert {change.after for change in changes if REVISION in change.path} == {"2"}


def test_drycc_is_told_in_every_container_that_has_the_variable_and_by_reference() -> None:
    changes = planned("drycc-head", target_of("drycc-head"), settings_of("drycc-head"))
    told = {name for name, field in changes if "DRYCC_REGISTRY_LOCATION" in field}
    assert told == {f"drycc-controller-{part}" for part in ("api", "celery", "metric", "mutate", "cronjob-daily", "cronjob-hourly")} | {"drycc-builder"}
    here = "spec.template.spec.containers[drycc-builder].env"
    reference = {"secretKeyRef": {"name": "builder-secret", "key": "registry-host"}}
    assert changes["drycc-builder", f"{here}[DRYCC_REGISTRY_HOST].valueFrom"] == reference
    assert changes["drycc-builder", f"{here}[DRYCC_REGISTRY_HOST].value"] is ABSENT
    assert changes["drycc-builder", f"{here}[DRYCC_REGISTRY_ORGANIZATION]"]["valueFrom"]["secretKeyRef"]["key"] == "registry-organization"


def test_what_the_chart_reads_with_the_location_is_named_and_its_secrets_are_not_written_down() -> None:
    wanted = wanted_of("hephy", target_of("hephy"), settings_of("hephy"))
    (also,) = {entry.values_also for entry in wanted if entry.values_also}
    prefix = "registry-token-refresher.off_cluster_registry"
    assert dict(also) == {
        f"{prefix}.hostname": "registry.example.com:5000",
        f"{prefix}.organization": "paas",
        f"{prefix}.username": "robot",
        f"{prefix}.password": ABSENT,
    }
    assert {(entry.values_path, entry.values_value) for entry in wanted if entry.values_path} == {("global.registry_location", "off-cluster")}


def test_no_plan_shows_a_credential() -> None:
    for platform, location in EVERY:
        shown = repr(plan_of(wanted_of(platform, target_of(platform, location), settings_of(platform))).as_data())
        shown += repr(plan_of(wanted_of(platform, target_of(platform, location), settings_of(platform))).as_diff())
        assert "canary" not in shown
        assert encoded("canary-password") not in shown
        assert "project_id" not in shown


def test_a_workload_that_is_missing_is_named_unless_it_only_follows() -> None:
    settings = settings_of("drycc-head")
    fewer = {key: document for key, document in settings.workloads.items() if "registry" not in key[1]}
    assert wanted_of("drycc-head", target_of("drycc-head"), settings._replace(workloads=fewer))
    without = {key: document for key, document in settings.workloads.items() if key[1] != "drycc-controller-metric"}
    with pytest.raises(NotFound, match="drycc-controller-metric"):
        wanted_of("drycc-head", target_of("drycc-head"), settings._replace(workloads=without))


def test_a_field_that_was_changed_outside_is_wanted_again() -> None:
    target, before = target_of("hephy"), settings_of("hephy")
    settled = applied(before, wanted_of("hephy", target, before))
    changed = copy.deepcopy(settled)
    changed.workloads["Deployment", "deis-controller"]["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "on-cluster"
    wanted = wanted_of("hephy", target, changed)
    assert not leads_outside(wanted)
    assert [change.ref.name for change in plan_of(wanted).changes] == ["deis-controller"]
