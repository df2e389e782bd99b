# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a workload ready, on its way, or failed for good? And waiting for it, which ends at once when it has failed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._cluster.failures import NotSent, policy_in
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, NotFound, RolloutFailed, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref, ref_of
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

READY, PROGRESSING, FAILED = "ready", "progressing", "failed"
# A pod that finds no node may still get one (a pod that ends makes room, for which it has 30 seconds by default; a node comes back): that long we wait.
UNSCHEDULABLE_AFTER = 45.0
# A container without a readiness probe counts as ready as soon as it runs, even if it dies a moment later: such a rollout has to last so long, in seconds,
# without a restart; longer than the kubelet's first pause between two starts, once it has been restarted.
SETTLE = 2.0
SETTLE_RESTARTED = 15.0
_REVISION = "deployment.kubernetes.io/revision"
# What the kubelet says of a container that will not start by waiting longer.
_HOPELESS = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}


class Readiness(NamedTuple):
    """The state of a workload (ready, progressing, failed), and why in a few words that hold no secret."""

    state: str
    reason: str


def readiness_of(workload: Mapping[str, Any], pods: Iterable[Mapping[str, Any]] = (), now: Optional[datetime] = None) -> Readiness:
    """Judge one workload. Pure.

    ``pods`` are those of its newest revision, and are looked at only when the workload itself is still on its way. ``now`` is the time of the look, for
    pods that find no node.
    """
    judge = _JUDGES.get(str(workload.get("kind")))
    if judge is None:
        return Readiness(READY, "exists")
    verdict = judge(workload)
    if verdict.state != PROGRESSING:
        return verdict
    for pod in pods:
        reason = _pod_failure(pod, now or datetime.now(timezone.utc))
        if reason:
            return Readiness(FAILED, f"pod {_name(pod)}: {reason}")
    return verdict


def _name(document: Mapping[str, Any]) -> str:
    return str((document.get("metadata") or {}).get("name"))


def _status(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    return workload.get("status") or {}


def _conditions(workload: Mapping[str, Any]) -> Dict[str, Mapping[str, Any]]:
    return {entry.get("type"): entry for entry in _status(workload).get("conditions") or []}


def _unseen(workload: Mapping[str, Any]) -> bool:
    """Whether the controller has not looked at the present specification yet, so that the status speaks of an older one."""
    return int(_status(workload).get("observedGeneration") or 0) < int((workload.get("metadata") or {}).get("generation") or 0)


def _is(condition: Optional[Mapping[str, Any]], status: str, reason: str = "") -> bool:
    return condition is not None and condition.get("status") == status and (not reason or condition.get("reason") == reason)


def _wanted(workload: Mapping[str, Any]) -> int:
    replicas = (workload.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def _deployment(workload: Mapping[str, Any]) -> Readiness:
    if _unseen(workload):
        return Readiness(PROGRESSING, "the controller has not seen the change yet")
    status, conditions, wanted = _status(workload), _conditions(workload), _wanted(workload)
    total, updated, available = (int(status.get(key) or 0) for key in ("replicas", "updatedReplicas", "availableReplicas"))
    if updated == total == available == wanted:
        return Readiness(READY, f"{available} of {wanted} replicas available")
    if _is(conditions.get("Progressing"), "False", "ProgressDeadlineExceeded"):
        return Readiness(FAILED, "ProgressDeadlineExceeded")
    if _is(conditions.get("ReplicaFailure"), "True"):
        policy = policy_in(conditions["ReplicaFailure"].get("message"))
        return Readiness(FAILED, f"FailedCreate: {policy or 'the pods cannot be created'}")
    if (workload.get("spec") or {}).get("paused") and updated < wanted:
        return Readiness(FAILED, "the rollout is paused")
    if updated < wanted:
        return Readiness(PROGRESSING, f"{updated} of {wanted} replicas updated")
    if total > updated:
        return Readiness(PROGRESSING, f"{total - updated} old replicas still run")
    return Readiness(PROGRESSING, f"{available} of {wanted} replicas available")


def _stateful_set(workload: Mapping[str, Any]) -> Readiness:
    if _unseen(workload):
        return Readiness(PROGRESSING, "the controller has not seen the change yet")
    spec, status, wanted = workload.get("spec") or {}, _status(workload), _wanted(workload)
    ready, updated, total = (int(status.get(key) or 0) for key in ("readyReplicas", "updatedReplicas", "replicas"))
    strategy = spec.get("updateStrategy") or {}
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    due = max(0, wanted - partition) if strategy.get("type", "RollingUpdate") == "RollingUpdate" else 0
    if status.get("updateRevision") == status.get("currentRevision"):
        updated = total
    if updated < due:
        return Readiness(PROGRESSING, f"{updated} of {due} replicas updated")
    if ready < wanted or total != wanted:
        return Readiness(PROGRESSING, f"{ready} of {wanted} replicas ready")
    return Readiness(READY, f"{ready} of {wanted} replicas ready")


def _daemon_set(workload: Mapping[str, Any]) -> Readiness:
    if _unseen(workload):
        return Readiness(PROGRESSING, "the controller has not seen the change yet")
    status = _status(workload)
    wanted, updated, available = (int(status.get(key) or 0) for key in ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"))
    rolling = ((workload.get("spec") or {}).get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    if rolling and updated < wanted:
        return Readiness(PROGRESSING, f"{updated} of {wanted} pods updated")
    if available < wanted:
        return Readiness(PROGRESSING, f"{available} of {wanted} pods available")
    return Readiness(READY, f"{available} of {wanted} pods available")


def _pod(workload: Mapping[str, Any]) -> Readiness:
    status = _status(workload)
    phase = str(status.get("phase") or "Pending")
    if phase == "Succeeded" or (phase == "Running" and _is(_conditions(workload).get("Ready"), "True")):
        return Readiness(READY, phase)
    if phase == "Failed":
        return Readiness(FAILED, str(status.get("reason") or "its containers failed"))
    reason = _pod_failure(workload, datetime.now(timezone.utc))
    return Readiness(FAILED, reason) if reason else Readiness(PROGRESSING, phase)


def _job(workload: Mapping[str, Any]) -> Readiness:
    conditions = _conditions(workload)
    if _is(conditions.get("Complete"), "True"):
        return Readiness(READY, "complete")
    for name in ("Failed", "FailureTarget"):
        if _is(conditions.get(name), "True"):
            return Readiness(FAILED, str(conditions[name].get("reason") or "the job failed"))
    if (workload.get("spec") or {}).get("suspend"):
        return Readiness(FAILED, "the job is suspended")
    return Readiness(PROGRESSING, f"{int(_status(workload).get('active') or 0)} pods active")


def _definition(workload: Mapping[str, Any]) -> Readiness:
    conditions = _conditions(workload)
    if _is(conditions.get("Established"), "True"):
        return Readiness(READY, "established")
    if _is(conditions.get("NamesAccepted"), "False"):
        return Readiness(FAILED, str(conditions["NamesAccepted"].get("reason") or "names not accepted"))
    return Readiness(PROGRESSING, "not established yet")


_JUDGES: Dict[str, Callable[[Mapping[str, Any]], Readiness]] = {
    "CustomResourceDefinition": _definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "Job": _job,
    "Pod": _pod,
    "StatefulSet": _stateful_set,
}


def _pod_failure(pod: Mapping[str, Any], now: datetime) -> str:
    """Say why a pod will not become ready; empty when it still may."""
    status = _status(pod)
    restarts = (pod.get("spec") or {}).get("restartPolicy", "Always") == "Always"
    first = status.get("initContainerStatuses") or []
    for entry in [*first, *(status.get("containerStatuses") or [])]:
        state = entry.get("state") or {}
        reason = str((state.get("waiting") or {}).get("reason") or "")
        ended = state.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}
        # Some kubelets leave a container "terminated" while it backs off: one that ended, was started again and ended again is in the same loop.
        looping = bool(state.get("terminated")) and int(entry.get("restartCount") or 0) > 0
        if restarts and looping and not (entry in first and ended.get("exitCode") == 0):
            reason = "CrashLoopBackOff"
        if reason in _HOPELESS:
            code = f" (exit code {ended['exitCode']})" if reason == "CrashLoopBackOff" and "exitCode" in ended else ""
            return f"container {entry.get('name')}: {reason}{code}"
    scheduled = _conditions(pod).get("PodScheduled")
    if _is(scheduled, "False", "Unschedulable") and scheduled is not None:
        since = _moment(scheduled.get("lastTransitionTime"))
        if since is not None and (now - since).total_seconds() > UNSCHEDULABLE_AFTER:
            return "Unschedulable: no node takes it"
    return ""


def _moment(text: Any) -> Optional[datetime]:
    try:
        return datetime.strptime(str(text)[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def selector_of(workload: Mapping[str, Any]) -> str:
    """Return the label selector of a workload's pods in the form of the API; empty when it has none."""
    selector = (workload.get("spec") or {}).get("selector") or {}
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or []:
        key, operator, values = rule.get("key"), rule.get("operator"), ",".join(rule.get("values") or [])
        parts.append({"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": f"{key}", "DoesNotExist": f"!{key}"}[operator])
    return ",".join(parts)


def newest_replica_set(objects: Objects, workload: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    """Read the metadata of the ReplicaSet of a Deployment's newest revision; None when there is none yet."""
    metadata = workload["metadata"]
    revision = (metadata.get("annotations") or {}).get(_REVISION)
    for replica_set in objects.list_metadata("ReplicaSet", metadata.get("namespace") or "", labels=selector_of(workload)):
        about = replica_set["metadata"]
        owned = any(owner.get("uid") == metadata.get("uid") for owner in about.get("ownerReferences") or [])
        if owned and (about.get("annotations") or {}).get(_REVISION) == revision:
            return replica_set
    return None


def newest_pods(objects: Objects, workload: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Read the pods of a workload's newest revision; the old revision's may crash as they like."""
    metadata = workload["metadata"]
    namespace, selector, kind = metadata.get("namespace") or "", selector_of(workload), workload.get("kind")
    if not selector or not namespace:
        return []
    if kind == "Deployment":
        replica_set = newest_replica_set(objects, workload)
        if replica_set is None:
            return []
        selector += f",pod-template-hash={(replica_set['metadata'].get('labels') or {}).get('pod-template-hash', '')}"
    elif kind == "StatefulSet" and _status(workload).get("updateRevision"):
        selector += f",controller-revision-hash={_status(workload)['updateRevision']}"
    elif kind == "DaemonSet":
        generation = (metadata.get("annotations") or {}).get("deprecated.daemonset.template.generation")
        selector += f",pod-template-generation={generation}" if generation else ""
    return [pod for pod in objects.list("Pod", namespace, labels=selector) if not pod["metadata"].get("deletionTimestamp")]


def recent_events(objects: Objects, documents: Iterable[Mapping[str, Any]], since: Optional[datetime] = None, most: int = 4) -> List[str]:
    """Return the reasons of the last warnings about these objects, the newest first, and whether a node is on its way (TriggeredScaleUp).

    The texts of the events are left out: they can hold anything.
    """
    found = []
    for document in documents:
        uid, namespace = document["metadata"].get("uid"), document["metadata"].get("namespace")
        try:
            for event in objects.list("Event", namespace, fields=f"involvedObject.uid={uid}"):
                moment = _moment(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))
                telling = event.get("type") == "Warning" or event.get("reason") == "TriggeredScaleUp"
                if telling and moment is not None and (since is None or moment >= since):
                    found.append((moment, str(event.get("reason")), policy_in(event.get("message"))))
        except (Forbidden, NotFound, Unavailable):
            # Events only explain; what they explain is reported without them too.
            return []
    reasons: List[str] = []
    for _moment_of, reason, policy in sorted(found, reverse=True):
        text = f"{reason} ({policy})" if policy else reason
        if text not in reasons:
            reasons.append(text)
    return reasons[:most]


def wait_ready(
    objects: Objects,
    refs: Sequence[Ref],
    deadline: Deadline,
    first_poll: float = 0.5,
    longest_poll: float = 2.0,
    observed: Iterable[Mapping[str, Any]] = (),
) -> float:
    """Wait until every workload is ready; return the seconds that it took.

    ``observed`` are workloads that were read just now, so that a ready one costs no further read. Raises RolloutFailed as soon as one has failed for good,
    and TimedOut with the last reason when the deadline passes. A server that is away in between is waited for.
    """
    known = {ref_of(document): document for document in observed}
    waiting, pause, started = [_Watched(ref) for ref in dict.fromkeys(refs)], first_poll, datetime.now(timezone.utc)
    while True:
        waiting = [one for one in waiting if not one.settled(objects, known.pop(one.ref, None), started, deadline)]
        if not waiting:
            return deadline.passed
        if not deadline.pause(pause):
            reasons = "; ".join(f"{one.ref}: {one.reason}" for one in waiting)
            raise TimedOut(f"Not ready within {deadline.seconds:g} s: {reasons}.", "Look at its pods and events, or wait longer.", str(waiting[0].ref))
        pause = min(pause * 1.3, longest_poll)


class _Watched:
    """One workload that is waited for: what was seen of it last, and since when it has been ready."""

    def __init__(self, ref: Ref) -> None:
        self.ref = ref
        self.reason = "not looked at yet"
        self._moved = False
        self._ready_since: Optional[float] = None
        self._restarts: Dict[str, int] = {}

    def settled(self, objects: Objects, seen: Optional[Mapping[str, Any]], started: datetime, deadline: Deadline) -> bool:
        """Look once; True when the workload is ready, and stays so if it was not before."""
        try:
            workload = seen if seen is not None else objects.get(objects.kind(self.ref), self.ref.name, self.ref.namespace)
            verdict = _verdict(objects, self.ref, workload, started)
        except Unavailable as error:
            if isinstance(error, NotSent) and not error.again:
                raise
            self.reason = error.message
            return False
        self.reason = verdict.reason
        if verdict.state != READY:
            self._moved, self._ready_since = True, None
            return False
        if not self._moved or _probed(workload):
            return True
        restarts = _restarts(objects, workload)
        if self._ready_since is None or restarts != self._restarts:
            self._ready_since, self._restarts = deadline.passed, restarts
        return deadline.passed - self._ready_since >= (SETTLE_RESTARTED if any(restarts.values()) else SETTLE)


def _restarts(objects: Objects, workload: Mapping[str, Any]) -> Dict[str, int]:
    """Count the restarts of each container of the newest pods; nothing when we may not see pods."""
    try:
        pods = newest_pods(objects, workload)
    except Forbidden:
        return {}
    return {f"{_name(pod)}/{entry.get('name')}": int(entry.get("restartCount") or 0) for pod in pods for entry in _status(pod).get("containerStatuses") or []}


def _probed(workload: Mapping[str, Any]) -> bool:
    """Whether every container of the workload's pods has a readiness probe; True for what has no pods of its own."""
    template = (workload.get("spec") or {}).get("template") or {}
    return all(container.get("readinessProbe") for container in (template.get("spec") or {}).get("containers") or []) or workload.get("kind") == "Job"


def _creates_again(objects: Objects, workload: Mapping[str, Any], started: datetime) -> bool:
    """Whether a Deployment whose pods could not be created may yet succeed: it says so until it has tried again, and what was in the way may be gone.

    Only an event tells of a try. It is dated to the second, and one of the second in which we began may be older than our look.
    """
    if not _is(_conditions(workload).get("ReplicaFailure"), "True"):
        return False
    try:
        replica_set = newest_replica_set(objects, workload)
    except Forbidden:
        return True
    events = recent_events(objects, [replica_set] if replica_set else [], started.replace(microsecond=0) + timedelta(seconds=1))
    return not any(reason.startswith("FailedCreate") for reason in events)


def _verdict(objects: Objects, ref: Ref, workload: Mapping[str, Any], started: datetime) -> Readiness:
    verdict = readiness_of(workload)
    pods: List[Dict[str, Any]] = []
    if verdict.state == FAILED and _creates_again(objects, workload, started):
        return Readiness(PROGRESSING, f"{verdict.reason} (when it was last tried)")
    if verdict.state == PROGRESSING and not _unseen(workload):
        try:
            pods = newest_pods(objects, workload)
        except Forbidden:
            # Without the right to see pods a failure is only noticed later, by the workload's own conditions or the deadline.
            return verdict
        verdict = readiness_of(workload, pods)
        if verdict.state == PROGRESSING and not pods and ref.kind in ("DaemonSet", "Job", "StatefulSet"):
            # These have no condition that tells of pods that cannot be created: only an event does.
            refused = [reason for reason in recent_events(objects, [workload], started) if reason.startswith("FailedCreate")]
            verdict = Readiness(FAILED, refused[0]) if refused else verdict
    if verdict.state != FAILED:
        return verdict
    events = recent_events(objects, [workload, *pods])
    if "Unschedulable" in verdict.reason and "TriggeredScaleUp" in events:
        return Readiness(PROGRESSING, "waits for a new node")
    hint = f"Last events: {', '.join(events)}." if events else f"Look at: kubectl describe {ref.kind.lower()} {ref.name} -n {ref.namespace}"
    raise RolloutFailed(f"{ref} will not become ready: {verdict.reason}.", hint, str(ref))
