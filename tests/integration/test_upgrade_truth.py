"""What the verdict says before an upgrade, against what a real upgrade then does: every class of change, every way in which Helm writes."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.merge import same
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Release, find_release
from ansible_collections.paas.hardening.plugins.module_utils._cluster.upgrade import UNKNOWN, Verdict, durable_values, verdict, verdicts_for_fields
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Path, Plan, Ref, look, path_text
from lab.cluster import Cluster
from tests.integration import helm2
from tests.integration.live_changes import BUDGET, CHANGES, DEPLOYMENT, SCALER, SECRET_DATA, SECRET_TEXT, SETTINGS, WIDGET, env
from tests.integration.probe_release import ProbeRelease, ProbeReleaseOfHelm2, placed
from tests.integration.random_changes import random_change

# How the release is installed and upgraded: the word that the record then holds, and the two commands.
WAYS = {
    "helm 2": ("helm2", ["helm2"], ["helm2"]),
    "helm 3": ("csa", ["helm"], ["helm"]),
    "helm 3, then 4": ("csa", ["helm"], ["helm4"]),
    "helm 4, client side": ("csa", ["helm4", "--server-side=false"], ["helm4"]),
    "helm 4, server side": ("ssa", ["helm4"], ["helm4"]),
}
# One of each manner of writing; the others are left to `make proof-upgrade`.
SHORT = ("helm 3", "helm 4, server side")
# As many copies of each object as there are listed changes of it, and some for random ones.
RANDOM = "random"
RANDOM_CHANGES = 60
COPIES = Counter(change.target for change in CHANGES)
MANY = max(count for target, count in COPIES.items() if target != DEPLOYMENT) + 2
EVERY_COPY = {"copies": {"web": COPIES[DEPLOYMENT] + 20, "others": MANY}}


@dataclass
class Trial:
    """One live change of one object, and what was said about it before the upgrade."""

    about: str
    ref: Ref
    path: Path
    asked: Any
    value: Any
    said_first: Verdict
    said_again: Verdict

    def __str__(self) -> str:
        return f"{self.about}: {self.ref.kind} {path_text(self.path)}"


@pytest.fixture(params=[pytest.param(name, marks=[] if name in SHORT else pytest.mark.proof, id=name.replace(", ", "-").replace(" ", "")) for name in WAYS])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def opened(way: str, lab_cluster: Cluster, connection: Connection, namespace: str, folder: File, report: Callable[[str], None]) -> Iterator[ProbeRelease]:
    """Yield the chart's release, not yet installed, for one way in which Helm writes."""
    _method, (first, *install_options), (then, *upgrade_options) = WAYS[way]
    if first == "helm2":
        built = helm2.programs(report)
        old = ProbeReleaseOfHelm2(connection, lab_cluster.kubeconfig, namespace, folder, [str(built / "helm")], [str(built / "helm")])
        with helm2.tiller(built / "tiller", lab_cluster.kubeconfig, namespace, folder) as old.address:
            yield old
        return
    install_with = [str(lab_cluster.binary(first)), *install_options]
    yield ProbeRelease(connection, lab_cluster.kubeconfig, namespace, folder, install_with, [str(lab_cluster.binary(then)), *upgrade_options])


@pytest.fixture
def probe(way: str, lab_cluster: Cluster, connection: Connection, namespace: str, tmp_path: File, report: Callable[[str], None]) -> Iterator[ProbeRelease]:
    with opened(way, lab_cluster, connection, namespace, tmp_path, report) as release:
        yield release


def release_of(probe: ProbeRelease) -> Release:
    """Find the release from one of its objects, as a module does."""
    release = find_release(Objects(probe.connection), probe.read(probe.ref(*DEPLOYMENT[:2], "probe-web-0")), [probe.namespace])
    assert release is not None
    return release


def try_change(probe: ProbeRelease, release: Release, about: str, ref: Ref, path: Path, value: Any) -> Trial:
    """Judge a change, make it, and judge what then stands there."""
    while True:
        before = probe.read(ref)
        said_first = verdict(Change(ref, path, look(before, path), value, ""), before, release)
        try:
            written = probe.write(placed(before, path, value))
            break
        except Conflict:
            # A controller wrote the object's status meanwhile.
            continue
    now = look(written, path)
    said_again = verdicts_for_fields([(ref, path, now)], {ref: written}, {ref: release})[0]
    return Trial(about, ref, path, value, now, said_first, said_again)


def what_happened(probe: ProbeRelease, trial: Trial, complaint: str) -> str:
    """Say what the upgrade did, in the words of a verdict: lasted, reverted or conflict."""
    if trial.ref in complaints(complaint, probe.namespace, trial.ref.api_version):
        return "conflict"
    return "lasted" if alike(look(probe.read(trial.ref), trial.path), trial.value) else "reverted"


def complaints(text: str, namespace: str, api_version: str) -> set[Ref]:
    """Return the objects over which helm says the upgrade failed; helm writes their kind and name in two ways."""
    named = re.findall(r'cannot patch "([^"]+)" with kind (\w+)', text)
    named += re.findall(rf"object {namespace}/(\S+) \S+, Kind=(\w+)", text)
    return {Ref(api_version, kind, name, namespace) for name, kind in named}


def alike(one: Any, other: Any) -> bool:
    return one is other if ABSENT in (one, other) else same(one, other)


def in_short(said: Verdict) -> str:
    return "lasted" if said.durable else said.outcome


def disagreements(probe: ProbeRelease, trials: list[Trial], complaint: str) -> list[str]:
    wrong = []
    for trial in trials:
        happened = what_happened(probe, trial, complaint)
        # What the server stored is not always what was asked for (it fills in a default, leaves out a false): then only the second word counts.
        for said in [trial.said_first] * alike(trial.asked, trial.value) + [trial.said_again]:
            # Nobody lists such a change: a random one may double an entry, and then not to know is right.
            if said.outcome == UNKNOWN and trial.about == RANDOM:
                continue
            if in_short(said) != happened:
                wrong.append(f"{trial}: said {said.outcome} ({said.reason}), but it {happened}")
    return wrong


def test_every_verdict_comes_true(probe: ProbeRelease, way: str, report: Callable[[str], None]) -> None:
    probe.install(EVERY_COPY)
    if WAYS[way][1][0] != WAYS[way][2][0]:
        assert not probe.upgrade()
    release = release_of(probe)
    assert release.method == WAYS[way][0]
    trials = try_listed_changes(probe, release)
    dice = random.Random(f"{os.environ.get('PAAS_SEED', '1')} {way}")
    free = [probe.ref(*target[:2], f"{target[2]}-{number}") for target in COPIES for number in range(COPIES[target], MANY)]
    free += [probe.ref(*DEPLOYMENT[:2], f"{DEPLOYMENT[2]}-{number}") for number in range(COPIES[DEPLOYMENT], EVERY_COPY["copies"]["web"])]
    for ref in dice.sample(free, RANDOM_CHANGES):
        trials.append(try_any_change(probe, release, ref, dice))
    complaint = probe.upgrade()
    wrong = disagreements(probe, trials, complaint)
    let_go(probe, trials)
    outcomes = Counter(trial.said_first.outcome for trial in trials)
    report(f"{way}: {len(trials)} changes, {dict(outcomes)}, {len(wrong)} verdicts did not come true")
    assert not wrong, "\n".join(wrong)


def try_listed_changes(probe: ProbeRelease, release: Release) -> list[Trial]:
    """Try every listed change, each on a copy of its object of its own."""
    used: Counter[tuple[str, str, str]] = Counter()
    trials = []
    for change in CHANGES:
        ref = probe.ref(*change.target[:2], f"{change.target[2]}-{used[change.target]}")
        used[change.target] += 1
        trials.append(try_change(probe, release, change.about, ref, change.path, change.value))
    return trials


def try_any_change(probe: ProbeRelease, release: Release, ref: Ref, dice: random.Random) -> Trial:
    """Try random changes of an object until the server accepts one."""
    live = probe.read(ref)
    for _attempt in range(50):
        path, value = random_change(dice, live)
        try:
            return try_change(probe, release, RANDOM, ref, path, value)
        except Failure:
            continue
    raise AssertionError(f"the server accepts no change of {ref}")


def let_go(probe: ProbeRelease, trials: list[Trial]) -> None:
    """Take away finalizers that a change has added: they would keep the namespace for ever."""
    for trial in trials:
        live = probe.read(trial.ref)
        if live["metadata"].get("finalizers"):
            probe.write(placed(live, ("metadata", "finalizers"), ABSENT))


# A setting, the object's field that shows it, the values path that carries it, and what the path has to hold.
CARRIED: list[tuple[tuple[str, str, str], Path, Any, str, Any]] = [
    (DEPLOYMENT, ("spec", "replicas"), 2, "replicas", None),
    (DEPLOYMENT, (*env("MODE"), "value"), "admin_only", "mode", None),
    (SETTINGS, ("data", "shade"), "dark", "shade", None),
    (SECRET_DATA, ("data", "password"), "cm90YXRlZA==", "secret.data", "rotated"),
    (SECRET_TEXT, ("data", "token"), "cm90YXRlZA==", "secret.text", "rotated"),
    (BUDGET, ("spec", "minAvailable"), 2, "budget", None),
    (SCALER, ("spec", "minReplicas"), 2, "hpa.low", None),
]
# The same with values that already say so, or where nothing is stated: the overlay has no use for these.
NOT_NEEDED: list[tuple[tuple[str, str, str], Path, Any, str, Any]] = [
    (SETTINGS, ("data", "greeting"), "hello", "greeting", None),
    (DEPLOYMENT, (*env("ADDED"),), {"name": "ADDED", "value": "1"}, "added", "1"),
    (WIDGET, ("spec", "mode"), "open", "widget.mode", None),
]


def test_overlay_makes_everything_last(probe: ProbeRelease, way: str) -> None:
    probe.install({})
    release = release_of(probe)
    objects = Objects(probe.connection)
    fields, paths, values = [], {}, {}
    for target, path, value, values_path, wanted in [*CARRIED, *NOT_NEEDED]:
        ref = probe.ref(*target[:2], f"{target[2]}-0")
        live = probe.read(ref)
        if not alike(look(live, path), value):
            objects.apply_plan(Plan((Change(ref, path, look(live, path), value, "hardening"),)))
        fields.append((ref, path, value))
        paths[ref, path] = values_path
        values[ref, path] = wanted
    lives = {ref: probe.read(ref) for ref, _path, _value in fields}
    said = verdicts_for_fields(fields, lives, dict.fromkeys(lives, release), paths, values)
    overlay = durable_values(said)
    if way == "helm 2":
        assert overlay == {}
    else:
        assert overlay == {
            "replicas": 2, "mode": "admin_only", "shade": "dark", "secret": {"data": "rotated", "text": "rotated"}, "budget": 2, "hpa": {"low": 2},
        }  # fmt: skip
    assert probe.upgrade(overlay) == ""
    for ref, path, value in fields:
        assert alike(look(probe.read(ref), path), value), f"{ref} {path_text(path)} did not last"
    release = release_of(probe)
    lives = {ref: probe.read(ref) for ref in lives}
    again = verdicts_for_fields(fields, lives, dict.fromkeys(lives, release), paths, values)
    assert all(judged.durable for judged in again)
    assert durable_values(again) == {}
    if way != "helm 2":
        assert [judged.outcome for judged in again[: len(CARRIED)]] == ["unchanged"] * len(CARRIED)


def test_whole_objects_and_hooks(probe: ProbeRelease) -> None:
    """Objects that come and go, and those that hooks make."""
    probe.install({})
    release = release_of(probe)
    made = probe.ref("policy/v1", "PodDisruptionBudget", "made-by-us")
    body = {"apiVersion": made.api_version, "kind": made.kind, "metadata": {"name": made.name, "namespace": made.namespace}, "spec": {"maxUnavailable": 1}}
    once, always = probe.ref("v1", "Secret", "probe-hook"), probe.ref("v1", "ConfigMap", "probe-hook-upgrade")
    gone = probe.ref("v1", "ConfigMap", "probe-settings-0")
    plan = Plan(
        (
            Change(made, (), ABSENT, body, "hardening"),
            Change(once, ("data", "token"), look(probe.read(once), ("data", "token")), "cm90YXRlZA==", "hardening"),
            Change(always, ("data", "shade"), "default", "dark", "hardening"),
            Change(gone, (), probe.read(gone), ABSENT, "hardening"),
        )
    )
    lives = {ref: None if ref == made else probe.read(ref) for ref, _changes in plan.by_object()}
    said = [verdict(change, lives[change.ref], None if change.ref == made else release) for change in plan.changes]
    assert [judged.outcome for judged in said] == ["not_chart_owned", "kept", "reverted", "reverted"]
    Objects(probe.connection).apply_plan(plan)
    # Made, it is an object without a release; asked with the release, it is not in it either.
    assert verdicts_for_fields([(made, ("spec", "maxUnavailable"), 1)], {made: probe.read(made)}, {made: release})[0].outcome == "not_chart_owned"
    assert probe.upgrade() == ""
    assert probe.read(made)["spec"]["maxUnavailable"] == 1
    assert probe.read(once)["data"]["token"] == "cm90YXRlZA=="
    assert probe.read(always)["data"]["shade"] == "default"
    assert probe.read(gone)["data"]["shade"] == "default"


def test_values_are_those_of_helm(probe: ProbeRelease, way: str) -> None:
    """Helm's own word for the effective values, sub-charts, globals, nulls and all."""
    given = {"inner": {"nested": {"drop": None}, "shape": None, "extra": None}, "twin": {"colour": "green"}, "shade": None, "none": None}
    probe.install({"global": {"zone": "b", "more": {"deep": 1}}, **given})
    ours, theirs = release_of(probe).effective_values(), probe.computed_values()
    for name in ("inner", "twin"):
        rendered = probe.read(probe.ref("v1", "ConfigMap", f"probe-{name}"))["data"]
        assert rendered == {"colour": ours[name]["colour"], "zone": ours[name]["global"]["zone"]}
        if way != "helm 2":
            # Helm 3 and 4 keep no sub-charts, so their own answer lacks the globals with which these were rendered.
            del ours[name]["global"], theirs[name]["global"]
    assert ours == theirs
