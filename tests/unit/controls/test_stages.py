"""Stages of a move: what fails while the platform stands still is taken back, also a write whose answer was lost; what stands still goes on in any case."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FROZEN, freeze, thaw
from ansible_collections.paas.hardening.plugins.module_utils._controls.stages import Stages
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Plan

PARAMS = {"freeze_timeout": 60, "wait_timeout": 1}


def deployment(name: str) -> dict[str, Any]:
    status = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    metadata = {"name": name, "namespace": "shop", "resourceVersion": "1", "generation": 1}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {}, "spec": {"containers": []}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec, "status": status}


class Cluster:
    """Objects in memory, for the one fault that no real server shows on demand: a write that arrives although its answer does not."""

    namespace = "shop"

    def __init__(self, *names: str) -> None:
        self.documents = {name: deployment(name) for name in names}
        self.before_write: list[Exception | None] = []
        self.after_write: list[Exception | None] = []

    @property
    def objects(self) -> Cluster:
        return self

    def get(self, _kind: Any, name: str, _namespace: str) -> dict[str, Any]:
        return copy.deepcopy(self.documents[name])

    def list_metadata(self, *_kind: Any, **_where: Any) -> list[Any]:
        return []

    def apply_plan(self, plan: Plan) -> None:
        self._fail(self.before_write)
        for change in plan.changes:
            place: Any = self.documents[change.ref.name]
            for step in change.path[:-1]:
                place = place.setdefault(step, {})
            if change.after is ABSENT:
                place.pop(change.path[-1], None)
            else:
                place[change.path[-1]] = change.after
        self._fail(self.after_write)

    def _fail(self, faults: list[Exception | None]) -> None:
        fault = faults.pop(0) if faults else None
        if fault:
            raise fault

    def replicas(self) -> dict[str, int]:
        return {name: document["spec"]["replicas"] for name, document in self.documents.items() if document["kind"] == "Deployment"}

    def notes(self) -> list[str]:
        return [name for name, document in self.documents.items() if FROZEN in document["metadata"].get("annotations", {})]


class Watchman:
    """A guard in memory, that writes down what it is told, between the writes to the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.told: list[str] = []
        self.armed = False
        self.now = "armed"

    def arm(self) -> None:
        self.armed = True
        self.told.append("arm")

    def note(self, piece: Plan) -> None:
        name = piece.changes[0].ref.name
        self.told.append(f"note {name} with {self.cluster.documents[name].get('spec', {}).get('replicas')}")

    def hold(self) -> None:
        self.told.append("hold")

    def commit(self) -> None:
        if not self.now:
            raise TimedOut("Somebody has taken it over.")
        self.now = "committed"
        self.told.append(f"commit with {self.cluster.replicas()}")

    def phase(self) -> str:
        return self.now

    def release(self) -> None:
        self.armed = False
        self.told.append(f"release with {self.cluster.replicas()}")

    def let_go(self) -> None:
        self.armed = False
        self.told.append("let go")


def pieces(*wanted: Wanted) -> list[Plan]:
    return list(plan_of(wanted).pieces())


def stages_of(cluster: Any, guard: Any = None, **more: Any) -> Stages:
    return Stages(cluster, {**PARAMS, **more}, ("freeze", "switch"), guard)


def frozen(cluster: Cluster, stages: Stages) -> None:
    stages.begin("freeze")
    for document in list(cluster.documents.values()):
        for piece in pieces(*freeze(copy.deepcopy(document), "why")):
            stages.write("freeze", piece)


def test_what_fails_while_the_platform_stands_still_is_taken_back() -> None:
    cluster = Cluster("web", "api")
    stages = stages_of(cluster)
    frozen(cluster, stages)
    assert cluster.replicas() == {"web": 0, "api": 0}
    assert "taken back" in stages.take_back()
    assert cluster.replicas() == {"web": 2, "api": 2}
    assert cluster.notes() == []
    assert stages.take_back() == ""


def test_a_write_whose_answer_was_lost_is_taken_back_too() -> None:
    cluster = Cluster("web")
    cluster.after_write = [Unavailable("The answer was lost.", "")]
    stages = stages_of(cluster)
    with pytest.raises(Unavailable):
        frozen(cluster, stages)
    assert cluster.replicas() == {"web": 0}
    stages.take_back()
    assert cluster.replicas() == {"web": 2}
    assert cluster.notes() == []


def test_what_somebody_else_wrote_meanwhile_is_left_alone() -> None:
    cluster = Cluster("web")
    cluster.before_write = [Conflict("Somebody was faster.", "")]
    stages = stages_of(cluster)
    with pytest.raises(Conflict):
        frozen(cluster, stages)
    assert not stages.pending


def test_after_the_first_that_goes_on_the_others_do_too_and_nothing_is_switched_back() -> None:
    cluster = Cluster("web", "api")
    stages = stages_of(cluster)
    frozen(cluster, stages)
    # Settings, for which nothing is waited.
    cluster.documents["settings"] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "settings", "namespace": "shop", "resourceVersion": "1"}}
    for piece in pieces(Wanted(cluster.get("", "settings", ""), ("data", "mode"), "new", "why", stage="switch")):
        stages.write("switch", piece)
    for piece in pieces(*thaw(cluster.get("", "web", ""), "why")):
        stages.write("thaw", piece)
    stages.take_back()
    assert cluster.replicas() == {"web": 2, "api": 2}
    assert cluster.documents["settings"]["data"] == {"mode": "new"}
    assert cluster.notes() == []


def test_what_an_earlier_run_left_standing_still_goes_on_when_this_one_fails() -> None:
    cluster = Cluster("web")
    frozen(cluster, stages_of(cluster))
    stages = stages_of(cluster)
    stages.adopt([cluster.get("", "web", "")])
    stages.take_back()
    assert cluster.replicas() == {"web": 2}
    assert cluster.notes() == []


def test_standing_still_has_an_end() -> None:
    stages = stages_of(Cluster("web"), freeze_timeout=0)
    stages.begin("copy")
    with pytest.raises(TimedOut, match="stage switch"):
        stages.begin("switch")


def thawed(cluster: Cluster, stages: Stages, *names: str) -> None:
    for name in names:
        for piece in pieces(*thaw(cluster.get("", name, ""), "why")):
            stages.write("thaw", piece)


def test_the_guard_knows_of_each_write_before_it_is_made_and_goes_when_all_goes_on() -> None:
    cluster = Cluster("web", "api")
    guard = Watchman(cluster)
    stages = stages_of(cluster, guard)
    frozen(cluster, stages)
    thawed(cluster, stages, "web", "api")
    assert guard.told == [
        "arm",
        "note web with 2",
        "note api with 2",
        "commit with {'web': 0, 'api': 0}",
        "commit with {'web': 2, 'api': 0}",
        "release with {'web': 2, 'api': 2}",
    ]


def test_what_the_guard_has_taken_over_is_left_to_it() -> None:
    cluster = Cluster("web")
    guard = Watchman(cluster)
    stages = stages_of(cluster, guard)
    frozen(cluster, stages)
    guard.now = ""
    with pytest.raises(TimedOut):
        thawed(cluster, stages, "web")
    reopened: list[str] = []
    assert "guard" in stages.take_back(lambda: reopened.append("database"))
    assert cluster.replicas() == {"web": 0}
    assert reopened == []


def test_what_is_through_for_the_guard_is_through_although_the_answer_was_lost() -> None:
    cluster = Cluster("web")
    guard = Watchman(cluster)
    stages = stages_of(cluster, guard)
    frozen(cluster, stages)
    guard.now = "committed"
    reopened: list[str] = []
    stages.take_back(lambda: reopened.append("database"))
    assert cluster.replicas() == {"web": 2}
    assert reopened == []


def test_what_we_cannot_take_back_is_left_to_the_guard() -> None:
    cluster = Cluster("web")
    guard = Watchman(cluster)
    stages = stages_of(cluster, guard)
    frozen(cluster, stages)

    def closed() -> None:
        raise Unavailable("The database is away.", "")

    assert "The database is away." in stages.take_back(closed)
    assert cluster.replicas() == {"web": 2}
    assert guard.told[-1] == "let go"
