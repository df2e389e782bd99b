# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of workloads and their pods: the container by name, a variable, the pods that are ready; and patience with their answers."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, TypeVar

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Item, Path, look
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

Answer = TypeVar("Answer")

# Seconds between two questions to the same pod.
_PAUSE = 0.5


def patiently(ask: Callable[[], Answer], clear: Callable[[Answer], bool], deadline: Deadline) -> Answer:
    """Ask until the answer is clear, or raises something else than Unavailable, or time is up; then the last answer counts.

    A pod that has just started, a database that is away for a moment and a busy machine give answers that say nothing about the platform.
    """
    while True:
        try:
            answer = ask()
        except Unavailable:
            if not deadline.pause(_PAUSE):
                raise
        else:
            if clear(answer) or not deadline.pause(_PAUSE):
                return answer


def container_of(workload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the container of that name; raises NotFound when the workload has none such."""
    above: Path = ("spec", "jobTemplate") if workload["kind"] == "CronJob" else ()
    container = look(workload, (*above, "spec", "template", "spec", "containers", Item("name", name)))
    if not isinstance(container, Mapping):
        metadata = workload["metadata"]
        raise NotFound(
            f"{workload['kind']} {metadata.get('namespace')}/{metadata['name']} has no container named {name}.",
            "The platform is not of the shape that was given or detected; run workflow_info.",
            subject=metadata["name"],
        )
    return container


def variable_of(container: Mapping[str, Any], name: str) -> Optional[str]:
    """Return the literal value of an environment variable as the process sees it (the last of several), a description of a reference, or None."""
    value = None
    for entry in container.get("env") or ():
        if entry.get("name") == name:
            value = entry.get("value", "(from a reference)" if "valueFrom" in entry else "")
    return value


def selector_text(workload: Mapping[str, Any]) -> str:
    """Return the workload's pod selector in the form of a label query."""
    selector = workload["spec"]["selector"]
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or ():
        operator, values = rule["operator"], ", ".join(rule.get("values") or ())
        parts.append({"In": f"{rule['key']} in ({values})", "NotIn": f"{rule['key']} notin ({values})", "Exists": rule["key"]}.get(operator, f"!{rule['key']}"))
    return ",".join(parts)


def pods_of(objects: Objects, workload: Mapping[str, Any]) -> List[Mapping[str, Any]]:
    """Return the pods that the workload selects and that are there to stay."""
    pods = objects.list(KINDS["Pod"], namespace=workload["metadata"]["namespace"], labels=selector_text(workload))
    return [pod for pod in pods if not is_leaving(pod)]


def pods_of_job(objects: Objects, namespace: str, uid: str) -> List[Dict[str, Any]]:
    """Return the pods of the Job with this uid, those that are over among them."""
    return list(objects.list(KINDS["Pod"], namespace=namespace, labels=f"controller-uid={uid}"))


def is_leaving(pod: Mapping[str, Any]) -> bool:
    """Tell whether the pod is being deleted or is over; an evicted pod can lie there for days."""
    return bool(pod["metadata"].get("deletionTimestamp")) or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether the pod's Ready condition is true."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def container_is_ready(pod: Mapping[str, Any], name: str) -> bool:
    """Tell whether one container of the pod is ready, whatever stands beside it."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(status.get("name") == name and bool(status.get("ready")) for status in statuses)


def ready_pods(objects: Objects, workload: Mapping[str, Any]) -> List[Mapping[str, Any]]:
    """Return the workload's pods that are ready, by name."""
    return sorted((pod for pod in pods_of(objects, workload) if is_ready(pod)), key=lambda pod: str(pod["metadata"]["name"]))
