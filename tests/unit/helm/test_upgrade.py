"""The verdict, against what real upgrades did (recorded), and in the cases that no upgrade shows."""

from __future__ import annotations

import base64
import copy
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.merge import same
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Release, decode
from ansible_collections.paas.hardening.plugins.module_utils._cluster.upgrade import Verdict, durable_values, verdict, verdicts_for_fields
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, Ref, look
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import Masked
from tests.integration.live_changes import CHANGES, DEPLOYMENT, POD, SECRET_DATA, SECRET_TEXT, SERVICE, SETTINGS, WALL, WEB, WIDGET, env
from tests.unit.helm import helm2_writer, recorded
from tests.unit.helm.test_release import minimal, packed

# The server stores something else than it was asked for; what that means is judged once it stands there.
STORED_OTHERWISE = {"scalar stated, removed, the server has a default", "boolean stated", "network policy rules"}
SSA = "helm4-serverside"


def judge(name: str, target: tuple[str, str, str], path: Path, value: Any, **more: Any) -> Verdict:
    """Judge a change that is about to be made to the recorded live object."""
    ref = recorded.ref(name, *target[:2], f"{target[2]}-0")
    live = recorded.live(name, *target[:2], ref.name)
    return verdict(Change(ref, path, look(live, path), value, "why"), live, recorded.release(name), **more)


@pytest.mark.parametrize("name", recorded.WAYS)
def test_what_real_upgrades_did(name: str) -> None:
    happened = recorded.truth(name)
    assert set(happened) == {change.about for change in CHANGES}
    wrong = []
    for change in CHANGES:
        if change.about in STORED_OTHERWISE:
            continue
        said = judge(name, change.target, change.path, change.value)
        if ("lasted" if said.durable else said.outcome) != happened[change.about]:
            wrong.append(f"{change.about}: said {said.outcome} ({said.reason}), but it {happened[change.about]}")
    assert not wrong, "\n".join(wrong)


# The rows of the table that the verdict is made from, in the words of a verdict: Helm 2, three-way merge, server-side apply.
TABLE = [
    ("scalar stated", "kept", "reverted", "conflict"),
    ("env value stated", "kept", "reverted", "conflict"),
    ("env added", "kept", "kept", "kept"),
    ("imagePullPolicy, omitted", "kept", "kept", "kept"),
    ("annotation added", "kept", "kept", "kept"),
    ("atomic list of texts, one added", "kept", "reverted", "conflict"),
    ("Service port added", "kept", "kept", "kept"),
    ("Service port changed", "kept", "reverted", "conflict"),
    ("ConfigMap key changed", "kept", "reverted", "conflict"),
    ("ConfigMap key added", "kept", "kept", "kept"),
    ("Secret rotated, chart uses stringData", "kept", "reverted", "reverted"),
    ("Secret rotated, chart uses data", "kept", "reverted", "conflict"),
    ("custom resource, scalar stated", "kept", "kept", "conflict"),
    ("env value stated, to the same", "unchanged", "unchanged", "unchanged"),
    ("atomic list of texts, to the same", "unchanged", "unchanged", "unchanged"),
    ("scalar stated as a big number, same value", "unchanged", "unchanged", "unchanged"),
    ("label stated, removed", "kept", "reverted", "reverted"),
    ("probe of another sort", "kept", "conflict", "conflict"),
    ("volume of another sort", "kept", "reverted", "conflict"),
    ("strategy of which only the type is stated", "kept", "reverted", "kept"),
    ("node selector, key added", "kept", "kept", "conflict"),
]


@pytest.mark.parametrize(("about", "helm2", "merge", "apply"), TABLE)
def test_table(about: str, helm2: str, merge: str, apply: str) -> None:
    change = next(change for change in CHANGES if change.about == about)
    for name, expected in {"helm2": helm2, "helm3": merge, "helm3-then4": merge, "helm4-clientside": merge, SSA: apply}.items():
        said = judge(name, change.target, change.path, change.value)
        assert said.outcome == expected, name
        assert said.durable == (expected in ("kept", "unchanged"))


def test_data_of_a_verdict() -> None:
    said = judge("helm3", DEPLOYMENT, ("spec", "replicas"), 2)
    assert said.as_data() == {
        "object": "Deployment fixture-helm3/probe-web-0",
        "field": "spec.replicas",
        "outcome": "reverted",
        "lasts": False,
        "reason": "The chart states this field, and Helm's three-way merge puts the chart's value back. The chart has no values key for it.",
        "values_path": None,
        "helm": {"release": "probe", "namespace": "fixture-helm3", "chart": "probe-1.2.3", "revision": 1},
    }
    assert said.owner == "fixture-helm3/probe"


def test_values_path() -> None:
    said = judge("helm3", DEPLOYMENT, ("spec", "replicas"), 2, values_path="replicas")
    assert (said.values_path, said.values_current, said.values_carry_it) == ("replicas", 1, False)
    assert "It lasts when the values set replicas." in said.reason
    assert durable_values([said]) == {"replicas": 2}
    # The user gave this one, a sub-chart's default that one.
    assert judge("helm3", DEPLOYMENT, (*env("MODE"), "value"), "admin_only", values_path="mode").values_current == "enabled"
    assert judge("helm3", SETTINGS, ("data", "shade"), "x", values_path="twin.colour").values_current == "red"
    assert judge("helm3", SETTINGS, ("data", "shade"), "x", values_path="twin.nothing").values_current is ABSENT


def test_values_that_carry_it_already() -> None:
    same_value = judge("helm3", DEPLOYMENT, (*env("MODE"), "value"), "enabled", values_path="mode")
    assert (same_value.outcome, same_value.durable, same_value.values_carry_it) == ("unchanged", True, True)
    assert "The release's values carry it: mode." in same_value.reason
    # The values say 2, the manifest does not follow: another -f of the same would change nothing.
    release = recorded.release("helm3")
    release.values = {**release.values, "replicas": 2}
    ref = recorded.ref("helm3", "apps/v1", "Deployment", "probe-web-0")
    live = recorded.live("helm3", "apps/v1", "Deployment", "probe-web-0")
    said = verdict(Change(ref, ("spec", "replicas"), 1, 2, ""), live, release, "replicas")
    assert (said.outcome, said.values_carry_it) == ("reverted", True)
    assert "does not follow" in said.reason
    assert durable_values([said]) == {}


def test_secret_values_stay_hidden() -> None:
    said = judge("helm3", SECRET_TEXT, ("data", "token"), "Y2FuYXJ5", values_path="secret.text", value_for_values="canary")
    assert said.outcome == "reverted"
    assert isinstance(said.values_current, Masked) or said.values_current == "first"
    assert "canary" not in repr(said)
    assert "canary" not in str(said.as_data())
    assert "Y2FuYXJ5" not in repr(said)
    assert durable_values([said]) == {"secret": {"text": "canary"}}
    password = judge("helm3", SECRET_DATA, ("data", "password"), "eA==", values_path="secret.data.password", value_for_values="x")
    assert password.values_current is ABSENT


def test_overlay_holds_only_what_is_needed() -> None:
    said = [
        judge("helm3", DEPLOYMENT, ("spec", "replicas"), 2, values_path="replicas"),
        judge("helm3", DEPLOYMENT, (*env("MODE"), "value"), "enabled", values_path="mode"),
        judge("helm3", DEPLOYMENT, env("ADDED"), {"name": "ADDED", "value": "1"}, values_path="added"),
        judge("helm3", DEPLOYMENT, ("metadata", "labels", "routable"), ABSENT, values_path="routable"),
        judge("helm3", SETTINGS, ("data", "shade"), "dark"),
    ]
    assert durable_values(said) == {"replicas": 2}
    assert durable_values([]) == {}


def test_second_run_under_server_side_apply() -> None:
    """After the change the object says who holds the field, and helm is not who fights with helm."""
    ref = recorded.ref(SSA, "apps/v1", "Deployment", "probe-web-0")
    live = recorded.live(SSA, "apps/v1", "Deployment", "probe-web-0")
    release = recorded.release(SSA)
    live["spec"]["replicas"] = 3

    def held_by(manager: str, operation: str, subresource: str = "") -> Verdict:
        entry = {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:replicas": {}}}, "subresource": subresource}
        mine = {**live, "metadata": {**live["metadata"], "managedFields": [*without_replicas(live), entry]}}
        return verdicts_for_fields([(ref, ("spec", "replicas"), 3)], {ref: mine}, {ref: release})[0]

    assert held_by("kubectl", "Update", "scale").outcome == "conflict"
    assert "kubectl holds it" in held_by("kubectl", "Update", "scale").reason
    assert held_by("somebody", "Apply").outcome == "conflict"
    # The same name with another operation is another manager to the server.
    applier = next(entry["manager"] for entry in live["metadata"]["managedFields"] if entry["operation"] == "Apply")
    assert held_by(applier, "Update").outcome == "conflict"
    assert held_by(applier, "Apply").outcome == "reverted"


def without_replicas(live: dict[str, Any]) -> list[dict[str, Any]]:
    entries = copy.deepcopy(live["metadata"]["managedFields"])
    for entry in entries:
        entry["fieldsV1"].get("f:spec", {}).pop("f:replicas", None)
    return list(entries)


def test_custom_resource_without_managed_fields() -> None:
    ref = recorded.ref(SSA, *WIDGET[:2], "probe-widget-0")
    live = recorded.live(SSA, *WIDGET[:2], "probe-widget-0")
    del live["metadata"]["managedFields"]
    said = verdict(Change(ref, ("spec", "mode"), "open", "closed", ""), live, recorded.release(SSA))
    assert (said.outcome, said.durable) == ("unknown", False)


def test_two_entries_with_one_key() -> None:
    """One port by TCP and UDP: strategic merge takes them for one entry, server-side apply does not."""
    udp = {"name": "udp", "port": 80, "protocol": "UDP", "targetPort": 8080}
    for name, expected in (("helm2", "kept"), ("helm3", "unknown"), (SSA, "kept")):
        live = recorded.live(name, *SERVICE[:2], "probe-web-0")
        ports = [*live["spec"]["ports"], udp]
        assert judge(name, SERVICE, ("spec", "ports"), ports).outcome == expected


def test_without_release() -> None:
    ref = Ref("apps/v1", "Deployment", "x", "n")

    def said(live: dict[str, Any] | None) -> Verdict:
        return verdict(Change(ref, ("spec", "replicas"), 1, 2, ""), live, None, "replicas")

    assert (said({}).outcome, said({}).durable) == ("not_chart_owned", True)
    assert said(None).outcome == "not_chart_owned"
    assert said({"metadata": {"labels": {"heritage": "deis"}}}).outcome == "not_chart_owned"
    # Signed by helm, but the record is elsewhere: in a database, or gone.
    signed = said({"metadata": {"annotations": {"meta.helm.sh/release-name": "r"}}})
    assert (signed.outcome, signed.durable) == ("unknown", False)
    assert said({"metadata": {"labels": {"heritage": "Tiller"}}}).outcome == "unknown"
    assert signed.as_data()["helm"] is None


def made(release: Release, **more: Any) -> Release:
    return replace(release, _index=None, _hooks_found={}, _effective=None, **more)


def test_whole_objects() -> None:
    release = recorded.release("helm3")
    budget = Ref("policy/v1", "PodDisruptionBudget", "ours", "fixture-helm3")
    assert verdict(Change(budget, (), ABSENT, {"kind": "PodDisruptionBudget"}, ""), None, release).outcome == "not_chart_owned"
    settings = recorded.ref("helm3", "v1", "ConfigMap", "probe-settings-0")
    assert verdict(Change(settings, (), {"kind": "ConfigMap"}, ABSENT, ""), {}, release).outcome == "reverted"
    assert (
        verdict(Change(recorded.ref("helm2", "v1", "ConfigMap", "probe-settings-0"), (), {}, ABSENT, ""), {}, recorded.release("helm2")).outcome == "reverted"
    )
    same_object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe-settings-0"}, "data": {"shade": "dark", "greeting": "hello"}}
    assert verdict(Change(settings, (), ABSENT, same_object, ""), None, release).outcome == "reverted"


def test_hooks() -> None:
    manifest = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n"
    ref = Ref("v1", "Secret", "s", "n")
    change = Change(ref, ("data", "k"), "a", "b", "")

    def said(events: list[str], policies: list[str] | None = None) -> str:
        hook = {"name": "s", "kind": "Secret", "manifest": manifest, "events": events, "delete_policies": policies}
        return verdict(change, {}, decode(packed(minimal(hooks=[hook])))).outcome

    assert said(["pre-install"]) == "kept"
    assert said(["pre-install", "pre-upgrade"]) == "reverted"
    assert said(["post-upgrade"], ["hook-failed"]) == "conflict"
    assert said(["post-upgrade"], ["before-hook-creation", "hook-failed"]) == "reverted"
    old = helm2_writer.hook("Secret", "s", manifest, (1, 5))
    release = decode(helm2_writer.document(helm2_writer.release(helm2_writer.chart("c"), hooks=(old,), namespace="n")))
    assert verdict(change, {}, release).outcome == "conflict"


def test_locked_release() -> None:
    release = made(recorded.release("helm3"), locked=True)
    ref = recorded.ref("helm3", "apps/v1", "Deployment", "probe-web-0")
    assert "locks the release" in verdict(Change(ref, ("spec", "replicas"), 1, 2, ""), {}, release).reason


def test_damaged_manifest_is_unknown() -> None:
    release = made(recorded.release("helm3"), manifest="---\nkind: Deployment\nmetadata:\n  name: probe-web-0\n  canary: [\n")
    ref = recorded.ref("helm3", "apps/v1", "Deployment", "probe-web-0")
    said = verdict(Change(ref, ("spec", "replicas"), 1, 2, ""), {}, release)
    assert (said.outcome, said.durable) == ("unknown", False)
    assert "canary" not in said.reason


def test_unpredictable_field_is_unknown() -> None:
    template = base64.b64encode(b"data:\n  token: {{ randAlphaNum 20 | b64enc }}").decode()
    chart = {**minimal()["chart"], "templates": [{"name": "templates/s.yaml", "data": template}]}
    manifest = "---\n# Source: c/templates/s.yaml\napiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  token: eA==\n"
    release = decode(packed(minimal(chart=chart, manifest=manifest)))
    ref = Ref("v1", "Secret", "s", "n")
    assert verdict(Change(ref, ("data", "token"), "eA==", "eQ==", ""), {}, release).outcome == "unknown"
    assert verdict(Change(ref, ("data", "token"), "eA==", "eA==", ""), {}, release).outcome == "unknown"
    assert verdict(Change(ref, ("data", "added"), ABSENT, "eQ==", ""), {}, release).outcome == "kept"


def test_string_data_of_the_change() -> None:
    assert judge("helm3", SECRET_TEXT, ("stringData", "token"), "rotated").outcome == "reverted"
    assert judge("helm3", SECRET_TEXT, ("stringData", "token"), "first").outcome == "unchanged"
    assert judge("helm3", SECRET_TEXT, ("stringData",), {"token": "first"}).outcome == "unchanged"
    assert judge(SSA, SECRET_DATA, ("data",), {"password": "eA=="}).outcome == "conflict"
    assert judge(SSA, SECRET_TEXT, ("data",), {"token": "eA=="}).outcome == "reverted"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1000000, 1e06, True),
        (1, "1", False),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        ("a", "a", True),
        (None, None, True),
        (None, False, False),
        ({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2}]}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [2, 1], False),
        ({"limits": {"cpu": "1000m", "memory": "1Gi"}}, {"limits": {"cpu": 1, "memory": "1024Mi"}}, True),
        ({"limits": {"cpu": "1001m"}}, {"limits": {"cpu": 1}}, False),
        ({"requests": {"cpu": "1k"}}, {"requests": {"cpu": "1000"}}, True),
        ({"labels": {"cpu": "1000m"}}, {"labels": {"cpu": "1"}}, False),
    ],
)
def test_same(one: Any, other: Any, expected: bool) -> None:
    assert same(one, other) is expected
    assert same(other, one) is expected


def test_entry_named_by_another_field() -> None:
    """A path may name a port by its name while the list merges by its number."""
    by_name = judge(SSA, DEPLOYMENT, (*WEB, "ports", Item("name", "http"), "containerPort"), 8080)
    assert by_name.outcome == "unchanged"
    assert judge("helm3", DEPLOYMENT, (*WEB, "ports", Item("name", "http"), "hostPort"), 80).outcome == "kept"


def test_what_the_server_fills_in_or_leaves_out() -> None:
    """The live object spells the chart's own values differently; that is no difference."""
    for name in ("helm3", SSA):
        wall = recorded.live(name, *WALL[:2], "probe-wall-0")["spec"]["ingress"]
        assert wall == [{"ports": [{"port": 80, "protocol": "TCP"}]}]
        assert judge(name, WALL, ("spec", "ingress"), wall).durable
        assert judge(name, DEPLOYMENT, env("EMPTY"), {"name": "EMPTY"}).durable
        limits = (*WEB, "resources", "limits", "cpu")
        assert look(recorded.live(name, *DEPLOYMENT[:2], "probe-web-0"), limits) == "1"
        assert judge(name, DEPLOYMENT, limits, "1").outcome == "unchanged"


def test_signature_of_helm() -> None:
    """Helm puts it on every object and keeps it out of the manifest."""
    label = ("metadata", "labels", "app.kubernetes.io/managed-by")
    expected = {"helm2": "kept", "helm3": "reverted", SSA: "conflict"}
    assert {name: judge(name, DEPLOYMENT, label, "somebody").outcome for name in expected} == expected
    assert {name: judge(name, WIDGET, label, "somebody").outcome for name in expected} == expected


def test_last_key_of_an_atomic_map() -> None:
    """The map goes with its last key, and then nobody holds it."""
    assert judge(SSA, DEPLOYMENT, (*POD, "nodeSelector", "probe.example.org/nowhere"), ABSENT).outcome == "reverted"
    assert judge(SSA, DEPLOYMENT, (*POD, "nodeSelector", "probe.example.org/nowhere"), "false").outcome == "conflict"
