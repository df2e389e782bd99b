"""Waiting for what other controllers do in their own time: pods made anew, an autoscaler that follows its lower bound. Never a look too early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls import router_scale
from ansible_collections.paas.hardening.plugins.module_utils._controls.enforcement import Enforcement
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_observation import Observed
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, ref_of
from tests.unit.cluster.scripted_server import Reply, Request, ScriptedServer, status
from tests.unit.controls.routers import autoscaler, node, params, pod, router

READY = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}


def deployment() -> dict[str, Any]:
    """A Deployment that says of itself that it is ready."""
    document = router(2)
    document["metadata"]["generation"] = 1
    document["status"] = {**READY, "conditions": [{"type": "Available", "status": "True"}]}
    return document


class Film(ScriptedServer):
    """Shows another set of pods each time that pods are listed; the last one stays. Everything else is always the same."""

    def __init__(self, *scenes: list[dict[str, Any]]) -> None:
        super().__init__(self.serve)
        self.scenes = list(scenes)
        self.looks = 0

    def serve(self, request: Request) -> Reply:
        kind = request.path.rpartition("/")[2]
        if kind == "deis-router":
            return Reply(body=deployment())
        if kind == "pods":
            self.looks += 1
            return self.items(self.scenes[min(self.looks, len(self.scenes)) - 1])
        if kind in ("nodes", "poddisruptionbudgets", "horizontalpodautoscalers"):
            return self.items([node("one"), node("two")] if kind == "nodes" else [])
        return status(404, "NotFound", "not found")

    def items(self, items: list[dict[str, Any]]) -> Reply:
        return Reply(body={"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})

    def enforcement(self, timeout: int = 20, **wishes: Any) -> Enforcement:
        connection = {"host": self.url, "api_key": "a-token", "platform": "hephy", "namespace": "deis"}
        options = {"probe": True, "durability": False, "on_refusal": "fail", "wait_timeout": timeout}
        return Enforcement(router_scale.CONTROL, {**connection, **options, **params(**wishes)})


A, B = pod("a", "one"), pod("b", "one")
LEAVING = pod("b", "one", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
STARTING, ANEW = pod("c", "two", usable=False), pod("c", "two")


@pytest.fixture
def run() -> Callable[..., tuple[float, int]]:
    """Settle after a plan while a film runs. Returns a function (scenes, plan) -> (seconds, how often pods were looked at)."""

    def settle(scenes: list[list[dict[str, Any]]], plan: Plan, **options: Any) -> tuple[float, int]:
        with Film(*scenes) as film:
            job = film.enforcement(**options)
            seen = Observed(deployment(), tuple(scenes[0]), (node("one"), node("two")), (), (), None, 9090, "/healthz")
            return job.settle(seen, plan), film.looks

    return settle


MOVE = Plan((Change(ref_of(B), (), B, ABSENT, "it shares its node"),))
LOWER_BOUND = Plan((Change(ref_of(autoscaler()), ("spec", "minReplicas"), 1, 2, "two are better"),))


def test_what_is_settled_costs_no_time_and_no_look(run: Any) -> None:
    assert run([[A, pod("b", "two")]], Plan()) == (0.0, 0)


def test_a_pod_that_was_sent_away_is_waited_for_until_it_is_back(run: Any) -> None:
    """The Deployment still says ready in the moment after the deletion: that is not believed."""
    seconds, looks = run([[A, LEAVING], [A, LEAVING], [A, STARTING], [A, ANEW]], MOVE)
    assert looks == 4
    assert 2 < seconds < 20


def test_an_autoscaler_is_waited_for(run: Any) -> None:
    seconds, looks = run([[A], [A], [A, ANEW]], LOWER_BOUND)
    assert looks == 3
    assert seconds > 1


def test_a_second_run_waits_for_what_the_first_began(run: Any) -> None:
    seconds, looks = run([[A], [A, ANEW]], Plan())
    assert looks == 2
    assert seconds > 0


def test_what_never_comes_is_told_with_the_numbers(run: Any) -> None:
    with pytest.raises(TimedOut, match="After 2 s 1 of 2 routers are ready"):
        run([[A]], LOWER_BOUND, timeout=2)


def test_fewer_are_enough_when_fewer_are_wanted(run: Any) -> None:
    assert run([[A]], Plan(), replicas=1) == (0.0, 0)
