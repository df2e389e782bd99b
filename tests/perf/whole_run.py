"""harden.yml when there is nothing left to do, against a playbook that does the same with kubernetes.core."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

from tests.perf.figures import Figure, ratio, told
from tests.perf.plays import Race, Stage

_EQUIVALENT = Path(__file__).parent / "equivalent.yml"


def harden(stage: Stage) -> None:
    """Apply the recommendations, so that there is nothing left to do. Raises RuntimeError."""
    stage.run("paas.hardening.harden", *_variables(stage, {"harden_kubeconfig": str(stage.kubeconfig)}))


def second_run(stage: Stage, rounds: int, report: Callable[[str], None]) -> list[Figure]:
    """The second run: nothing changes, and everything is read and proved again."""
    ours = _variables(stage, {"harden_kubeconfig": str(stage.kubeconfig)})
    theirs = _variables(stage, {"kubeconfig": str(stage.kubeconfig), "platform_namespace": stage.namespace})
    race = Race({"harden.yml": lambda: stage.run("paas.hardening.harden", *ours), "kubernetes.core": lambda: stage.run(_EQUIVALENT, *theirs)})
    stage.run(_EQUIVALENT, *theirs)
    race.run(rounds, report)
    for name in race.contestants:
        assert race.changes(name) == 0, f"{name}: a second run changed something, so the two do not assert the same"
    fast, slow = race.walls("harden.yml"), race.walls("kubernetes.core")
    return [
        told("second run: kubernetes.core playbook / harden.yml", ratio(slow, fast), "times", "equivalent.yml reads, asserts and probes the same", race.raw()),
        told("second run: the same in processor time", ratio(race.processor("kubernetes.core"), race.processor("harden.yml")), "times"),
        told("second run: harden.yml", statistics.median(fast), "s"),
        told("second run: kubernetes.core playbook", statistics.median(slow), "s"),
    ]


def _variables(stage: Stage, variables: dict[str, str]) -> list[str]:
    return ["-e", json.dumps(variables)]
