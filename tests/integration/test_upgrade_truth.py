"""What the verdict says before an upgrade, against what a real upgrade then does: every class of change, every way in which Helm writes."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.merge import same
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Release, find_release
from ansible_collections.paas.hardening.plugins.module_utils._cluster.upgrade import UNKNOWN, Verdict, durable_values, verdict, verdicts_for_fields
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Path, Ref, look, path_text
from lab.cluster import Cluster
from tests.integration import helm2
from tests.integration.live_changes import CHANGES, DEPLOYMENT, SECRET_TEXT, SETTINGS, WIDGET, env
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
# As many copies of each object as there are listed changes of it, and some for random ones.
RANDOM = "random"
RANDOM_CHANGES = 60
COPIES = Counter(change.target for change in CHANGES)
EVERY_COPY = {"copies": {"web": COPIES[DEPLOYMENT] + 24, "others": 14}}


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


@pytest.fixture(params=WAYS, ids=lambda name: name.replace(", ", "-").replace(" ", ""))
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def probe(
    way: str, lab_cluster: Cluster, connection: Connection, namespace: str, tmp_path: File, report: Callable[[str], None]
) -> Iterator[ProbeRelease]:
    """The chart's release, not yet installed."""
    _method, (first, *install_options), (then, *upgrade_options) = WAYS[way]
    if first == "helm2":
        built = helm2.programs(report)
        old = ProbeReleaseOfHelm2(connection, lab_cluster.kubeconfig, namespace, tmp_path, [str(built / "helm")], [str(built / "helm")])
        with helm2.tiller(built / "tiller", lab_cluster.kubeconfig, namespace, tmp_path) as old.address:
            yield old
        return
    install_with = [str(lab_cluster.binary(first)), *install_options]
    yield ProbeRelease(connection, lab_cluster.kubeconfig, namespace, tmp_path, install_with, [str(lab_cluster.binary(then)), *upgrade_options])


def release_of(probe: ProbeRelease) -> Release:
    """Find the release from one of its objects, as a module does."""
    release = find_release(Objects(probe.connection), probe.read(probe.ref(*DEPLOYMENT[:2], "probe-web-0")), [probe.namespace])
    assert release is not None
    return release


def try_change(probe: ProbeRelease, release: Release, about: str, ref: Ref, path: Path, value: Any) -> Trial:
    """Judge a change, make it, and judge what then stands there."""
    before = probe.read(ref)
    found = look(before, path)
    said_first = verdict(Change(ref, path, found, value, ""), before, release)
    written = probe.write(placed(before, path, value))
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
    used: Counter[tuple[str, str, str]] = Counter()
    trials = []
    for change in CHANGES:
        ref = probe.ref(*change.target[:2], f"{change.target[2]}-{used[change.target]}")
        used[change.target] += 1
        trials.append(try_change(probe, release, change.about, ref, change.path, change.value))
    dice = random.Random(f"{os.environ.get('PAAS_SEED', '1')} {way}")
    free = [probe.ref(*target[:2], f"{target[2]}-{number}") for target in COPIES for number in range(COPIES[target], 14)]
    free += [probe.ref(*DEPLOYMENT[:2], f"{DEPLOYMENT[2]}-{number}") for number in range(COPIES[DEPLOYMENT], EVERY_COPY["copies"]["web"])]
    for ref in dice.sample(free, RANDOM_CHANGES):
        trials.append(try_any_change(probe, release, ref, dice))
    complaint = probe.upgrade()
    wrong = disagreements(probe, trials, complaint)
    let_go(probe, trials)
    outcomes = Counter(trial.said_first.outcome for trial in trials)
    report(f"{way}: {len(trials)} changes, {dict(outcomes)}, {len(wrong)} verdicts did not come true")
    assert not wrong, "\n".join(wrong)


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
