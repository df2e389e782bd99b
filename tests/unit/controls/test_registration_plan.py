"""What the registration control wants: every wrong, missing, look-alike or shadowed setting is noticed, and no equivalent one is flagged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.control import plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registration import CONTROL, Administrators, Observed
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS

Document = dict[str, Any]
Env = list[dict[str, Any]]

REFERENCE = {"configMapKeyRef": {"name": "settings", "key": "mode"}}


def variable(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "value": value}


def workload(platform: str, env: Env) -> Document:
    """The workload that holds the platform's setting, with neighbours that have an environment of their own."""
    facts = PLATFORMS[platform].registration.workload
    others = [variable("TZ", "UTC"), {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]
    containers = [{"name": "sidecar", "image": "s:1", "env": []}, {"name": facts.container, "image": "c:1", "env": [*others, *env]}]
    return {
        "apiVersion": "apps/v1",
        "kind": facts.kind,
        "metadata": {"name": facts.name, "namespace": "paas", "resourceVersion": "12"},
        "spec": {"template": {"spec": {"initContainers": [{"name": "wait", "image": "i:1", "env": []}], "containers": containers}}},
    }


def main_container(document: Document) -> dict[str, Any]:
    entry: dict[str, Any] = document["spec"]["template"]["spec"]["containers"][1]
    return entry


def plan(platform: str, document: Document, mode: str = "admin_only", administrators: Administrators | None = None) -> Plan:
    wanted = CONTROL.wanted(PLATFORMS[platform], {"mode": mode}, Observed(document, (), administrators))
    return plan_of(wanted)


def fields(found: Plan) -> list[tuple[str, Any, Any]]:
    """The planned fields below the main container, short: (field, before, after)."""
    return [(change.field.rpartition("].env")[2], change.as_data()["before"], change.as_data()["after"]) for change in found.changes]


def setting(platform: str) -> str:
    return PLATFORMS[platform].registration.variable


# --- the plain cases, table by table

CASES = [
    # platform, what is stated, mode that is wanted, value that is planned (None: nothing to do)
    ("hephy", "admin_only", "admin_only", None),
    ("hephy", "disabled", "disabled", None),
    ("hephy", "enabled", "enabled", None),
    ("hephy", "enabled", "admin_only", "admin_only"),
    ("hephy", "enabled", "disabled", "disabled"),
    ("hephy", "disabled", "admin_only", "admin_only"),
    ("hephy", "admin_only", "disabled", "disabled"),
    ("hephy", "admin_only", "enabled", "enabled"),
    # Missing: the code takes "enabled".
    ("hephy", None, "admin_only", "admin_only"),
    ("hephy", None, "disabled", "disabled"),
    ("hephy", None, "enabled", None),
    # Wrong in a way that the code answers with an error 500.
    ("hephy", "", "admin_only", "admin_only"),
    ("hephy", "ADMIN_ONLY", "admin_only", "admin_only"),
    ("hephy", "admin_only ", "admin_only", "admin_only"),
    ("hephy", "admin-only", "admin_only", "admin_only"),
    ("hephy", "true", "disabled", "disabled"),
    ("deis", "enabled", "admin_only", "admin_only"),
    ("deis", None, "admin_only", "admin_only"),
    ("deis", "admin_only", "admin_only", None),
    # Drycc knows open and closed only, and takes everything but "true" for closed.
    ("drycc-1.8", "true", "admin_only", "false"),
    ("drycc-1.8", "true", "disabled", "false"),
    ("drycc-1.8", "false", "admin_only", None),
    ("drycc-1.8", "false", "disabled", None),
    ("drycc-1.8", None, "admin_only", None),
    ("drycc-1.8", None, "disabled", None),
    ("drycc-1.8", None, "enabled", "true"),
    ("drycc-1.8", "false", "enabled", "true"),
    ("drycc-1.8", "true", "enabled", None),
    ("drycc-head", "True", "admin_only", "false"),
    ("drycc-head", "TRUE", "admin_only", "false"),
    ("drycc-head", "False", "admin_only", None),
    ("drycc-head", "0", "admin_only", None),
    ("drycc-head", "no", "disabled", None),
    ("drycc-head", "", "admin_only", None),
    ("drycc-head", " true", "admin_only", None),
    ("drycc-head", "True", "enabled", None),
    ("drycc-head", "1", "enabled", "true"),
    ("drycc-head", "yes", "enabled", "true"),
]


@pytest.mark.parametrize(("platform", "stated", "mode", "planned"), CASES)
def test_plain_settings(platform: str, stated: str | None, mode: str, planned: str | None) -> None:
    name = setting(platform)
    document = workload(platform, [] if stated is None else [variable(name, stated)])
    before = copy.deepcopy(document)
    found = plan(platform, document, mode)
    assert fields(found) == ([] if planned is None else [(f"[{name}].value", stated, planned)])
    assert document == before, "planning is pure"
    assert set(found.versions.values()) == (set() if planned is None else {"12"})


def apply_by_hand(document: Document, found: Plan, name: str) -> None:
    """Do what the plan says, field by field."""
    env = main_container(document)["env"]
    for change in found.changes:
        entry = next((entry for entry in env if entry["name"] == name), None)
        if entry is None:
            entry = {"name": name}
            env.append(entry)
        key = str(change.path[-1])
        if change.as_data()["after"] is None:
            entry.pop(key)
        else:
            entry[key] = change.after


@pytest.mark.parametrize(("platform", "stated", "mode", "planned"), [case for case in CASES if case[3] is not None])
def test_after_the_plan_nothing_is_left_to_do(platform: str, stated: str | None, mode: str, planned: str) -> None:
    name = setting(platform)
    document = workload(platform, [] if stated is None else [variable(name, stated)])
    apply_by_hand(document, plan(platform, document, mode), name)
    assert variable(name, planned) in main_container(document)["env"]
    assert not plan(platform, document, mode)


# --- look-alikes: settings that stand where the code does not look


def in_a_sidecar(document: Document, entry: dict[str, Any]) -> None:
    document["spec"]["template"]["spec"]["containers"][0]["env"].append(entry)


def in_an_init_container(document: Document, entry: dict[str, Any]) -> None:
    document["spec"]["template"]["spec"]["initContainers"][0]["env"].append(entry)


def in_an_init_container_of_the_same_name(document: Document, entry: dict[str, Any]) -> None:
    document["spec"]["template"]["spec"]["initContainers"].append({"name": main_container(document)["name"], "image": "i", "env": [entry]})


def under_other_letters(document: Document, entry: dict[str, Any]) -> None:
    main_container(document)["env"].append({**entry, "name": entry["name"].lower()})


def under_a_longer_name(document: Document, entry: dict[str, Any]) -> None:
    main_container(document)["env"].append({**entry, "name": f"DEIS_{entry['name']}"})


def under_a_blank_name(document: Document, entry: dict[str, Any]) -> None:
    main_container(document)["env"].append({**entry, "name": f"{entry['name']} "})


def as_an_annotation(document: Document, entry: dict[str, Any]) -> None:
    document["metadata"]["annotations"] = {entry["name"]: entry["value"]}


def as_an_argument(document: Document, entry: dict[str, Any]) -> None:
    main_container(document)["args"] = [f"{entry['name']}={entry['value']}"]


def on_the_pod_template(document: Document, entry: dict[str, Any]) -> None:
    document["spec"]["template"]["spec"]["env"] = [entry]


LOOK_ALIKES = [
    in_a_sidecar,
    in_an_init_container,
    in_an_init_container_of_the_same_name,
    under_other_letters,
    under_a_longer_name,
    under_a_blank_name,
    as_an_annotation,
    as_an_argument,
    on_the_pod_template,
]


@pytest.mark.parametrize("place", LOOK_ALIKES)
def test_a_good_setting_in_the_wrong_place_does_not_help(place: Callable[[Document, dict[str, Any]], None]) -> None:
    document = workload("hephy", [variable("REGISTRATION_MODE", "enabled")])
    place(document, variable("REGISTRATION_MODE", "admin_only"))
    assert fields(plan("hephy", document)) == [("[REGISTRATION_MODE].value", "enabled", "admin_only")]
    bare = workload("hephy", [])
    place(bare, variable("REGISTRATION_MODE", "admin_only"))
    assert fields(plan("hephy", bare)) == [("[REGISTRATION_MODE].value", None, "admin_only")]


@pytest.mark.parametrize("place", LOOK_ALIKES)
def test_a_bad_setting_in_the_wrong_place_does_not_hurt(place: Callable[[Document, dict[str, Any]], None]) -> None:
    document = workload("drycc-head", [])
    place(document, variable("REGISTRATION_ENABLED", "true"))
    assert not plan("drycc-head", document)


def test_the_documented_but_inert_setting_is_not_the_setting() -> None:
    document = workload("drycc-head", [variable("REGISTRATION_MODE", "enabled")])
    assert not plan("drycc-head", document)
    document = workload("drycc-head", [variable("REGISTRATION_MODE", "disabled"), variable("REGISTRATION_ENABLED", "true")])
    assert fields(plan("drycc-head", document)) == [("[REGISTRATION_ENABLED].value", "true", "false")]


def test_the_wrong_workload_is_refused() -> None:
    document = workload("hephy", [variable("REGISTRATION_MODE", "admin_only")])
    main_container(document)["name"] = "deis-controller-2"
    with pytest.raises(NotFound, match="no container named deis-controller"):
        plan("hephy", document)


# --- shadowed settings: more than one place has a say


def test_duplicates_are_refused_because_the_last_one_counts() -> None:
    for last in ("admin_only", "enabled"):
        document = workload("hephy", [variable("REGISTRATION_MODE", "admin_only"), variable("OTHER", "x"), variable("REGISTRATION_MODE", last)])
        with pytest.raises(Invalid, match="states REGISTRATION_MODE 2 times"):
            plan("hephy", document)


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_a_reference_is_replaced_by_a_value(platform: str) -> None:
    name = setting(platform)
    document = workload(platform, [{"name": name, "valueFrom": REFERENCE}])
    found = plan(platform, document)
    value = PLATFORMS[platform].registration.values["admin_only"]
    assert [(change.field.rpartition("].env")[2], change.as_data()["after"]) for change in found.changes] == [
        (f"[{name}].value", value),
        (f"[{name}].valueFrom", None),
    ]
    apply_by_hand(document, found, name)
    assert main_container(document)["env"][-1] == variable(name, value)
    assert not plan(platform, document)


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
@pytest.mark.parametrize("source", [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "settings"}, "prefix": "REGISTRATION_"}])
def test_what_a_whole_config_map_may_set_is_overruled(platform: str, source: dict[str, Any]) -> None:
    document = workload(platform, [])
    main_container(document)["envFrom"] = [source]
    value = PLATFORMS[platform].registration.values["disabled"]
    assert fields(plan(platform, document, "disabled")) == [(f"[{setting(platform)}].value", None, value)]


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_a_stated_value_wins_over_env_from(platform: str) -> None:
    value = PLATFORMS[platform].registration.values["admin_only"]
    document = workload(platform, [variable(setting(platform), value)])
    main_container(document)["envFrom"] = [{"configMapRef": {"name": "settings"}}]
    assert not plan(platform, document)


def test_an_entry_without_a_value_is_an_empty_value() -> None:
    document = workload("hephy", [{"name": "REGISTRATION_MODE"}])
    assert fields(plan("hephy", document)) == [("[REGISTRATION_MODE].value", None, "admin_only")]


@pytest.mark.parametrize("wrong", [True, False, 0, None, ["admin_only"], {"mode": "admin_only"}])
def test_a_value_of_the_wrong_type_is_noticed(wrong: Any) -> None:
    """A real server refuses these; a file that was read instead of one may hold them."""
    assert plan("hephy", workload("hephy", [variable("REGISTRATION_MODE", wrong)]))
    assert plan("drycc-head", workload("drycc-head", [variable("REGISTRATION_ENABLED", wrong)]))


# --- equivalents: whatever does not concern the setting


def other_order(document: Document) -> None:
    main_container(document)["env"].reverse()
    document["spec"]["template"]["spec"]["containers"].reverse()


def more_of_everything(document: Document) -> None:
    document["spec"]["template"]["spec"]["containers"].append({"name": "more", "image": "m:1"})
    main_container(document)["env"].append(variable("MORE", "x"))
    document["metadata"]["annotations"] = {"note": "x"}
    document["spec"]["replicas"] = 3


def fewer(document: Document) -> None:
    del document["spec"]["template"]["spec"]["initContainers"]
    document["spec"]["template"]["spec"]["containers"].pop(0)


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
@pytest.mark.parametrize("equivalent", [other_order, more_of_everything, fewer])
def test_equivalents_are_not_flagged(platform: str, equivalent: Callable[[Document], None]) -> None:
    value = PLATFORMS[platform].registration.values["admin_only"]
    document = workload(platform, [variable(setting(platform), value)])
    equivalent(document)
    assert not plan(platform, document)


# --- nobody is locked out


@pytest.mark.parametrize(
    ("administrators", "words"),
    [
        (Administrators(0, 0), "No active administrator exists: closing"),
        (Administrators(0, 2), "2 exist but are inactive"),
        (Administrators(None, None, "no pod of deis-database is ready"), "could not be read: no pod of deis-database is ready"),
    ],
)
def test_closing_without_an_administrator_is_refused(administrators: Administrators, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        plan("hephy", workload("hephy", [variable("REGISTRATION_MODE", "enabled")]), "disabled", administrators)
    assert "require_administrator" in caught.value.hint


@pytest.mark.parametrize("administrators", [Administrators(1, 1), Administrators(1, 5), None])
def test_closing_with_an_administrator_or_unasked_is_not(administrators: Administrators | None) -> None:
    assert plan("hephy", workload("hephy", [variable("REGISTRATION_MODE", "enabled")]), "admin_only", administrators)


# --- what makes it last


@pytest.mark.parametrize(
    ("platform", "path"),
    [
        ("deis", "controller.registration_mode"),
        ("hephy", "controller.registration_mode"),
        ("drycc-1.8", "passport.environment.REGISTRATION_ENABLED"),
        ("drycc-head", "passport.environment.REGISTRATION_ENABLED"),
    ],
)
def test_the_key_of_the_chart_is_known(platform: str, path: str) -> None:
    facts = PLATFORMS[platform].registration
    for stated in (facts.values["enabled"], facts.values["admin_only"]):
        document = workload(platform, [variable(facts.variable, stated)])
        (entry,) = CONTROL.wanted(PLATFORMS[platform], {"mode": "admin_only"}, Observed(document, (), None))
        assert (entry.values_path, entry.values_value) == (path, facts.values["admin_only"])
