"""Single verbs against kubernetes.core: the same state asserted, the same objects read, and how many requests that takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tests.contract.audit_log import AuditLog, Request
from tests.perf.figures import Figure, at_least, at_most, ratio, told
from tests.perf.plays import Race, Stage

UNITS = 20
# In a process of its own each task takes long enough that fewer of them tell the same.
UNITS_AS_MODULE = 10
USER = "bench"
# Anything in its environment keeps a task out of the Ansible worker.
_AS_MODULE = {"environment": {"PAAS_PATH": "module"}}


def unchanged_object(stage: Stage, log: AuditLog, rounds: int, report: Callable[[str], None]) -> list[Figure]:
    """One object that is as it should be: in process, as a module, and with kubernetes.core; and how many requests each sends."""
    alone = {**_site(stage), "probe": False, "durability": False}
    requests = _requests(stage, log, alone)
    # What any task and any module cost here today, debug and ping, is under all others: it belongs to Ansible and to the machine.
    tasks: dict[str, tuple[int, dict[str, Any]]] = {
        "ours": (UNITS, {"paas.hardening.workflow_registration": alone}),
        "proven": (UNITS, {"paas.hardening.workflow_registration": _site(stage)}),
        "module": (UNITS_AS_MODULE, {"paas.hardening.workflow_registration": alone, **_AS_MODULE}),
        "kubernetes.core": (UNITS, {"kubernetes.core.k8s": _asserted(stage)}),
        "debug": (UNITS, {"ansible.builtin.debug": {"msg": "nothing"}}),
        "ping": (UNITS_AS_MODULE, {"ansible.builtin.ping": {}, **_AS_MODULE}),
    }
    plays = {"empty": stage.play("empty", [])}
    for name, (units, task) in tasks.items():
        plays[_once(name)] = stage.play(f"{name}-once", [task])
        plays[name] = stage.play(name, (1 + units) * [task])
    race = Race({name: partial(stage.run, play) for name, play in plays.items()}).run(rounds, report)
    for name in ("ours", "proven", "module"):
        assert race.changes(name) == 0, f"{name}: the object was not as it should be"
    fast, slow = race.walls("ours", _once("ours")), race.walls("kubernetes.core", _once("kubernetes.core"))
    milliseconds = {name: statistics.median(race.walls(name, _once(name), units)) * 1000 for name, (units, _task) in tasks.items()}
    processor = {
        name: f"{statistics.median(race.processor(name, _once(name))) / units * 1000:.0f} ms of processor time" for name, (units, _task) in tasks.items()
    }
    first = statistics.median(race.walls(_once("ours"), "empty")) * 1000 - milliseconds["ours"]
    as_module = ratio(race.walls("module", _once("module")), race.walls("ping", _once("ping")))
    return [
        at_least("unchanged object: kubernetes.core.k8s / in process", ratio(slow, fast), "times", 9, "20 tasks more than one of the same", race.raw()),
        told(
            "unchanged object: the same in processor time",
            ratio(race.processor("kubernetes.core", _once("kubernetes.core")), race.processor("ours", _once("ours"))),
            "times",
            "holds on a busy machine too, where the clock does not",
        ),
        at_most("unchanged object: in process", milliseconds["ours"], "ms per task", 60, processor["ours"]),
        told("unchanged object: in process, once a playbook", first, "ms", "Ansible compiles a collection's sources in every playbook anew"),
        told("unchanged object: kubernetes.core.k8s", milliseconds["kubernetes.core"], "ms per task"),
        told(
            "unchanged object: in process, with probe and durability",
            milliseconds["proven"],
            "ms per task",
            "also asks the pod's door and reads the Helm release",
        ),
        told(
            "unchanged object: as a module",
            milliseconds["module"],
            "ms per task",
            f"a process of its own for each; {processor['module']}",
        ),
        # Ansible packs sources only, so each process compiles ours anew: no path that users take by default.
        at_most("unchanged object: as a module / Ansible's smallest module", as_module, "times", 2.25),
        told("Ansible alone: a debug task", milliseconds["debug"], "ms per task", f"no task can be faster; {processor['debug']}"),
        told("Ansible alone: the smallest module", milliseconds["ping"], "ms per task", f"no module can be faster; {processor['ping']}"),
        *requests,
    ]


def _once(name: str) -> str:
    """The contestant that does it once: what a playbook pays a single time is in it, and not in the figures of one task more."""
    return f"{name}, once"


def _requests(stage: Stage, log: AuditLog, alone: Mapping[str, Any]) -> list[Figure]:
    # What kubernetes.core found out about the server is kept in a file: the first run is not counted.
    stage.run(stage.play("first", [{"kubernetes.core.k8s": _asserted(stage)}]))
    sent = {
        "ours": _sent(stage, log, {"paas.hardening.workflow_registration": alone}),
        "proven": _sent(stage, log, {"paas.hardening.workflow_registration": _site(stage)}),
        "kubernetes.core": _sent(stage, log, {"kubernetes.core.k8s": _asserted(stage)}),
    }
    raw = {name: [str(request) for request in requests] for name, requests in sent.items()}
    own = sent["ours"]
    asked = [request for request in own if request.resource.startswith("/")]
    rest = len(own) - len(asked)
    others = f"kubernetes.core.k8s sends {len(sent['kubernetes.core'])} with discovery cached; with probe and durability it is {len(sent['proven'])}"
    return [
        Figure("unchanged object: reads", rest, "requests", "= 1", [request.verb for request in own if request not in asked] == ["get"], others, raw),
        at_most("unchanged object: discovery", len(asked), "requests", 0, "counted in the API server's audit log"),
    ]


def _sent(stage: Stage, log: AuditLog, task: Mapping[str, Any]) -> list[Request]:
    before = len(log.requests(USER))
    stage.run(stage.play("counted", [task]))
    return log.requests(USER)[before:]


def several_objects(stage: Stage, rounds: int, report: Callable[[str], None]) -> list[Figure]:
    """The routers: one verb reads a Deployment, its pods, the nodes, budgets and autoscalers at once, and asserts two of them."""
    times = 5
    ours = stage.play("routers", times * [{"paas.hardening.workflow_router_scale": {**_site(stage), "probe": False, "durability": False}}])
    theirs = stage.play("routers-kubernetes-core", times * _routers(stage))
    empty = stage.play("empty", [])
    stage.run(stage.play("first", _routers(stage)))
    race = Race({"empty": lambda: stage.run(empty), "ours": lambda: stage.run(ours), "kubernetes.core": lambda: stage.run(theirs)}).run(rounds, report)
    assert race.changes("ours") == 0, "the routers were not as they should be"
    fast, slow = race.walls("ours", "empty", times), race.walls("kubernetes.core", "empty", times)
    return [
        told(
            "the routers and all they depend on: kubernetes.core / one task",
            ratio(slow, fast),
            "times",
            f"{len(_routers(stage))} tasks against one",
            race.raw(),
        ),
        told("the routers and all they depend on: one task", statistics.median(fast) * 1000, "ms"),
    ]


def _site(stage: Stage) -> dict[str, Any]:
    return {"kubeconfig": str(stage.kubeconfig), "platform": stage.platform, "namespace": stage.namespace}


def _asserted(stage: Stage) -> dict[str, Any]:
    environment = [{"name": "REGISTRATION_MODE", "value": "admin_only"}]
    template = {"spec": {"containers": [{"name": "deis-controller", "env": environment}]}}
    return _patched(stage, "Deployment", "apps/v1", "deis-controller", {"template": template})


def _patched(stage: Stage, kind: str, version: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    definition = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": stage.namespace}, "spec": dict(spec)}
    return {"kubeconfig": str(stage.kubeconfig), "state": "patched", "merge_type": ["strategic-merge"], "definition": definition}


def _routers(stage: Stage) -> list[dict[str, Any]]:
    def read(version: str, kind: str, **selection: Any) -> dict[str, Any]:
        return {"kubernetes.core.k8s_info": {"kubeconfig": str(stage.kubeconfig), "api_version": version, "kind": kind, **selection}}

    return [
        read("autoscaling/v2", "HorizontalPodAutoscaler", namespace=stage.namespace),
        read("v1", "Pod"),
        read("v1", "Node"),
        read("policy/v1", "PodDisruptionBudget", namespace=stage.namespace),
        {"kubernetes.core.k8s": _patched(stage, "Deployment", "apps/v1", "deis-router", {"replicas": 2})},
        {"kubernetes.core.k8s": _patched(stage, "PodDisruptionBudget", "policy/v1", "deis-router", {"maxUnavailable": 1})},
    ]
