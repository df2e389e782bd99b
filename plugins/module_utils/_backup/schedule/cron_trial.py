# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trial of a schedule in its cluster: one Job of the very pod that will run, which only looks whether it could do its work, and is taken away."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_live import last_words
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_objects import TRIAL
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.pod_places import READY as SAID
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects, deletion
from ansible_collections.paas.hardening.plugins.module_utils._cluster.pods import pods_of_job
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import FAILED, PROGRESSING, READY, readiness_of, recent_events
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, NotProven, Refused, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

_POLL = 1.0
_TO_LEAVE = 60.0
_NEEDS = (
    "The image has to hold python3 >= 3.9 with the packages PyYAML, urllib3 and websocket-client, and the programs of the kinds; "
    "docs/rbac-backup-cronjob.yml gives the service account its rights."
)


def prove(objects: Objects, document: Mapping[str, Any]) -> Check:
    """Run the Job, and return what it said. Raises NotProven when it does not end well, TimedOut when it does not end, Refused when it is not let in."""
    namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
    _clear_away(objects, namespace, name)
    try:
        made: Dict[str, Any] = objects.connection.request("POST", KINDS["Job"].path(namespace), body=document).data
    except Conflict:
        raise Refused(f"Another run tries this schedule (Job {name}).", "Wait until it has ended.", name) from None
    try:
        _await_end(objects, made)
        return Check(f"a run in a pod of the image {_image_of(made)}", SAID, SAID, PASS)
    finally:
        # Where that fails it goes by itself a while after it has ended.
        with contextlib.suppress(Failure):
            _remove(objects, made)


def _await_end(objects: Objects, made: Mapping[str, Any]) -> None:
    metadata, deadline = made["metadata"], Deadline(TRIAL)
    while True:
        job = objects.get(KINDS["Job"], metadata["name"], metadata["namespace"])
        pods = pods_of_job(objects, metadata["namespace"], metadata["uid"])
        state, reason = readiness_of(job, pods)
        if state == READY:
            return
        events = recent_events(objects, [made, *pods]) if state == FAILED or deadline.left <= 0 or not pods else []
        refused = [event for event in events if event.startswith("FailedCreate")]
        if refused and not pods:
            hint = "It runs as nobody, without any right, as the Pod Security level restricted wants it; a quota may have no room for it."
            raise Refused(f"The pod of the schedule is not let in: {refused[0]}.", hint, "schedule.image")
        if state == FAILED:
            # A pod that never ran has nothing to say.
            said = last_words(objects, job) if any(_ended(pod) for pod in pods) else reason
            told = f" Last events: {', '.join(events)}." if events and said == reason else ""
            raise NotProven(f"In a pod of the image {_image_of(made)} no run could do its work: {said}{told}", _NEEDS, "schedule.image")
        if not deadline.pause(_POLL):
            told = f", last events: {', '.join(events)}" if events else ""
            raise TimedOut(f"The trial of the schedule did not end within {deadline.seconds:g} s: {reason}{told}.", _NEEDS, "schedule.image")


def _ended(pod: Mapping[str, Any]) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any((status.get("state") or {}).get("terminated") for status in statuses)


def _image_of(job: Mapping[str, Any]) -> str:
    return str(job["spec"]["template"]["spec"]["containers"][0]["image"])


def _clear_away(objects: Objects, namespace: str, name: str) -> None:
    """Take away what a killed run has left. Raises Refused while that is still at work."""
    left = objects.find(KINDS["Job"], name, namespace)
    if left is None:
        return
    if readiness_of(left).state == PROGRESSING and not left["metadata"].get("deletionTimestamp"):
        pods = pods_of_job(objects, namespace, left["metadata"]["uid"])
        if any((pod.get("status") or {}).get("phase") == "Running" for pod in pods):
            raise Refused(f"Another run tries this schedule (Job {name}).", "Wait until it has ended.", name)
    _remove(objects, left)
    deadline = Deadline(_TO_LEAVE)
    while objects.find(KINDS["Job"], name, namespace) is not None and deadline.pause(_POLL):
        continue


def _remove(objects: Objects, job: Mapping[str, Any]) -> None:
    metadata = job["metadata"]
    objects.connection.request("DELETE", KINDS["Job"].path(metadata["namespace"], metadata["name"]), body=deletion(uid=metadata["uid"]))
