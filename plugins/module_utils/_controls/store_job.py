# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rclone in a pod of the cluster, for as long as a run lasts: a Job with an image of the user's. Bytes then flow from store to store inside of the cluster.

The Job holds nothing but an idle pod. Each rclone in it is started by us, gets its credentials through standard input, and ends when we are not heard any more;
so does the pod itself. So a Job of a killed run is gone, or over, after a minute or two without anybody's help.
"""

from __future__ import annotations

import contextlib
import re
import threading
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.access import Right, missing_rights
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER, deletion
from ansible_collections.paas.hardening.plugins.module_utils._cluster.pods import pods_of_job
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import PROGRESSING, READY, readiness_of, recent_events
from ansible_collections.paas.hardening.plugins.module_utils._cluster.remote import (
    FOLDER_VARIABLE,
    PROGRAM,
    PROGRAM_VARIABLE,
    TOOLS,
    Attached,
    Lost,
    RemoteProgram,
)
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import execute
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, Invalid, NotFound, Refused, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import OLDEST, Engine, engine_of
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.starter import PLAIN, File, Order, Running

ARGUMENTS: Dict[str, Any] = {
    "job_image": {"type": "str"},
    "job_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "job_node_selector": {"type": "dict"},
    "job_resources": {"type": "dict"},
}
# By its name there is one at a time, by its label a network policy knows its pod.
NAME = "paas-hardening-mover"
LABELS = {**OWNER, "app.kubernetes.io/name": NAME}
# Seconds: the pod ends when it was not needed for so long, or twice that; when it is over, it is kept for so long; nothing lets it live longer than a week.
_IDLE, _KEPT, _LONGEST = 30, 60, 7 * 24 * 3600
_USER = 65532
_FOLDER = "/paas"
_RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
# What the pod needs so that it can run where the platform's own do.
_BORROWED = ("imagePullSecrets", "nodeSelector", "tolerations")
_LACKING = 64
# Whoever ends the pod finds nothing in it that would have to be saved. What is missing in the image is written where the kubelet looks for it.
_WAIT = f"""
lacking() {{ echo "$1" >/dev/termination-log; exit {_LACKING}; }}
for tool in rclone {" ".join(TOOLS)}; do command -v "$tool" >/dev/null || lacking "$tool"; done
[ "$(printf .. | dd bs=1 count=1 iflag=fullblock 2>/dev/null)" = . ] || lacking "dd with iflag=fullblock"
timeout 9 true || lacking "timeout with seconds first"
trap 'exit 0' TERM
: >"${FOLDER_VARIABLE}/alive"
while rm "${FOLDER_VARIABLE}/alive" 2>/dev/null; do sleep {_IDLE} & wait $!; done
"""
_TOLD = re.compile(r"[a-z]+( with [a-z=]+( [a-z]+)?)?")
_POLL = 0.5
_TO_LEAVE = 15.0
_NEEDS = f"It needs a shell (sh), rclone >= {'.'.join(map(str, OLDEST))} and {', '.join(TOOLS)}, as busybox and GNU have them; rclone/rclone has all of it."
_PULL = "See that the nodes can pull it; for a private registry, name its Secret in job_pull_secrets."
_PLACE = "Nothing was touched yet. What the pod asks for is in job_resources, where it may run in job_node_selector."
_POLICY = "Nothing was touched yet. The pod runs as nobody, without any right, as the Pod Security level restricted wants it; job_resources says what it takes."


def job_of(namespace: str, params: Mapping[str, Any], near: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the Job. ``near`` is the pod of a component, which says where pods of the platform may run. Pure."""
    pod = {name: near[name] for name in _BORROWED if near.get(name)}
    if params["job_pull_secrets"]:
        pod["imagePullSecrets"] = [{"name": name} for name in params["job_pull_secrets"]]
    if params["job_node_selector"]:
        # A label that looks like a truth value comes as one.
        pod["nodeSelector"] = {str(name): str(value).lower() if isinstance(value, bool) else str(value) for name, value in params["job_node_selector"].items()}
    container = {
        "name": NAME,
        "image": params["job_image"],
        "command": ["sh", "-c", _WAIT],
        "env": [{"name": PROGRAM_VARIABLE, "value": PROGRAM}, {"name": FOLDER_VARIABLE, "value": _FOLDER}],
        "volumeMounts": [{"name": "folder", "mountPath": _FOLDER}],
        "resources": params["job_resources"] or _RESOURCES,
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        **pod,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "folder", "emptyDir": {"medium": "Memory"}}],
    }
    # A pod that ended is not made anew: whoever needs one starts again.
    life = {"backoffLimit": 0, "activeDeadlineSeconds": _LONGEST, "ttlSecondsAfterFinished": _KEPT}
    template = {"metadata": {"labels": dict(LABELS)}, "spec": spec}
    metadata = {"name": NAME, "namespace": namespace, "labels": dict(LABELS)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {**life, "template": template}}


class _Pod(NamedTuple):
    """Starts programs in the pod."""

    connection: Connection
    namespace: str
    name: str

    @property
    def path(self) -> str:
        return f"rclone in the pod {self.namespace}/{self.name}"

    def start(self, order: Order) -> Running:
        words = ["rclone", *(Attached(*word) if isinstance(word, File) else word for word in order.words)]
        return RemoteProgram(self.connection, self.namespace, self.name, NAME, words, {**order.variables, **PLAIN}, order.content)

    def idle(self) -> RemoteProgram:
        """Start what does nothing: as long as it runs, the pod knows that it is needed."""
        return RemoteProgram(self.connection, self.namespace, self.name, NAME, ("sleep", str(_LONGEST)), {}, talks=False)


class StoreJob:
    """The Job of one run: made when it is needed first, taken away by ``leave``."""

    def __init__(self, site: Site, params: Mapping[str, Any]) -> None:
        self._site = site
        self._params = params
        self._engine: Optional[Engine] = None
        self._uid = ""
        self._permitted = False
        self._enough = threading.Event()
        self._keeper: Optional[threading.Thread] = None

    @property
    def image(self) -> str:
        return str(self._params["job_image"])

    def check_rights(self) -> None:
        """Raise Refused, before anything is touched, when a right is missing that the Job needs."""
        if self._permitted:
            return
        place = self._site.namespace
        wanted = [Right(verb, "batch", "jobs", place) for verb in ("create", "get", "delete")]
        wanted += [Right("list", "", "pods", place), *(Right(verb, "", "pods", place, "exec") for verb in ("create", "get"))]
        missing = missing_rights(self._site.connection, wanted)
        if missing:
            hint = "They are in docs/rbac.yml and docs/rbac-moves.yml. Without job_image rclone runs where the module does."
            raise Refused(f"Rights for the Job are missing: {', '.join(map(str, missing))}.", hint, "job_image")
        self._permitted = True

    def engine(self, near: Optional[Mapping[str, Any]]) -> Engine:
        """Return the rclone in the pod, which is brought up if need be, and may run where the pods of the workload ``near`` may.

        Raises Refused when the Job or its pod is not let in, finds no node, does not start, or has no good rclone; about the option that can help.
        """
        if self._engine is None:
            self.check_rights()
            self._clear_away()
            try:
                self._engine = self._bring_up(near)
            except BaseException:
                self.leave()
                raise
        return self._engine

    @contextlib.contextmanager
    def reaching(self, store: str) -> Iterator[None]:
        """Say of a store that does not answer the pod what may stand between them. Raises Refused."""
        try:
            yield
        except (TimedOut, Unavailable) as failure:
            if isinstance(failure, Lost):
                raise
            label = f"app.kubernetes.io/name={NAME}"
            hint = f"Nothing was touched yet. A NetworkPolicy may stand between (the pod has the label {label}), or the address is not known in the cluster."
            raise Refused(f"The pod of the Job does not reach {store}: {failure.message}", hint, "job_image") from None

    def _bring_up(self, near: Optional[Mapping[str, Any]]) -> Engine:
        found = near["spec"]["template"]["spec"] if near else {}
        document, path = job_of(self._site.namespace, self._params, found), KINDS["Job"].path(self._site.namespace)
        try:
            made = self._site.connection.request("POST", path, body=document).data
        except Conflict:
            raise _at_work() from None
        except (Invalid, Refused) as failure:
            raise Refused(f"The Job that moves the data cannot be made: {failure.message}", f"{failure.hint} {_POLICY}".strip(), "job_image") from None
        self._uid = str(made["metadata"]["uid"])
        pod = _Pod(self._site.connection, self._site.namespace, self._await_pod(made))
        engine = self._look_at(pod)
        self._enough = threading.Event()
        self._keeper = threading.Thread(target=_keep, args=(pod, self._enough), daemon=True)
        self._keeper.start()
        return engine

    def _pods(self, uid: str) -> List[Dict[str, Any]]:
        return pods_of_job(self._site.objects, self._site.namespace, uid)

    def _await_pod(self, job: Mapping[str, Any]) -> str:
        deadline = Deadline(self._params["wait_timeout"])
        while True:
            pods = self._pods(self._uid)
            state, reason = readiness_of(pods[0])[:2] if pods else (PROGRESSING, "it has no pod yet")
            if state == READY and pods[0]["status"]["phase"] == "Running":
                return str(pods[0]["metadata"]["name"])
            if state != PROGRESSING:
                raise self._trouble(pods[0], reason)
            refused = [] if pods else [event for event in recent_events(self._site.objects, [job]) if event.startswith("FailedCreate")]
            if refused:
                raise Refused(f"The pod that moves the data is not let in: {refused[0]}.", _POLICY, "job_resources" if "Quota" in refused[0] else "job_image")
            if not deadline.pause(_POLL):
                events = recent_events(self._site.objects, [job, *pods])
                told = f"{reason}{', last events: ' if events else ''}{', '.join(events)}"
                raise Refused(f"The pod that moves the data does not run after {deadline.seconds:g} s: {told}.", _PLACE, "job_image")

    def _trouble(self, pod: Mapping[str, Any], reason: str) -> Refused:
        """What keeps a pod from running, said of the option that can help."""
        lacking, ended = _lacking(pod)
        if lacking:
            return Refused(f"The image {self.image} lacks {lacking}.", f"Nothing was touched yet. {_NEEDS}", "job_image")
        if "Unschedulable" in reason:
            return Refused(f"The pod that moves the data finds no node: {reason}.", _PLACE, "job_node_selector")
        if "Pull" in reason or "Image" in reason:
            return Refused(f"The image {self.image} cannot be had: {reason}.", f"Nothing was touched yet. {_PULL}", "job_image")
        return Refused(f"The image {self.image} does not start: {ended or reason}.", f"Nothing was touched yet. {_NEEDS}", "job_image")

    def _look_at(self, pod: _Pod) -> Engine:
        """See that the rclone in the pod is one, and new enough."""
        try:
            told = execute(pod.connection, pod.namespace, pod.name, ("rclone", "version", "--config="), NAME, timeout=60).stdout
        except (Invalid, NotFound, Unavailable) as failure:
            # An image that lacks something ends as soon as it has looked for it, and the cluster learns that a little later.
            found, deadline = self._pods(self._uid), Deadline(_TO_LEAVE)
            while found and found[0]["status"]["phase"] == "Running" and deadline.pause(_POLL):
                found = self._pods(self._uid)
            if found and found[0]["status"]["phase"] == "Running":
                raise Refused(f"rclone cannot be run in the pod {pod.name}: {failure.message}", failure.hint, "job_image") from None
            raise self._trouble(found[0] if found else {}, "its pod is gone") from None
        return engine_of(pod, told.encode(), f"The program of the image {self.image}", f"Nothing was touched yet. {_NEEDS}", "job_image")

    def _clear_away(self) -> None:
        """Take away what a killed run has left, once it has ended. Raises Refused when it does not end: then somebody is at work with it."""
        objects, place = self._site.objects, self._site.namespace
        deadline = Deadline(3 * _IDLE)
        left = objects.find(KINDS["Job"], NAME, place)
        while left is not None and not left["metadata"].get("deletionTimestamp") and readiness_of(left).state == PROGRESSING:
            if not deadline.pause(1):
                # One whose pod never came to run does not end by itself.
                if any((pod.get("status") or {}).get("phase") == "Running" for pod in self._pods(str(left["metadata"]["uid"]))):
                    raise _at_work()
                break
            left = objects.find(KINDS["Job"], NAME, place)
        if left is not None:
            self._delete(str(left["metadata"]["uid"]))
            gone = Deadline(_TO_LEAVE)
            while objects.find(KINDS["Job"], NAME, place) is not None and gone.pause(_POLL):
                continue

    def leave(self) -> None:
        """Take the Job away. Where that fails it ends by itself."""
        self._enough.set()
        if self._keeper is not None:
            self._keeper.join(_TO_LEAVE)
        self._engine = self._keeper = None
        if self._uid:
            self._delete(self._uid)
            self._uid = ""

    def _delete(self, uid: str) -> None:
        deadline = Deadline(_TO_LEAVE)
        while True:
            try:
                self._site.connection.request("DELETE", KINDS["Job"].path(self._site.namespace, NAME), body=deletion(uid=uid))
                return
            except Unavailable:
                if not deadline.pause(1):
                    return
            except Failure:
                # It is gone, or another one.
                return


def _at_work() -> Refused:
    return Refused(f"Another run moves something of this platform (Job {NAME}).", "Wait until it has ended.", NAME)


def _lacking(pod: Mapping[str, Any]) -> Tuple[str, str]:
    """Return what the image of a pod that has ended said that it lacks, and how it ended."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (status.get("state") or {}).get("terminated")
        if ended:
            told = str(ended.get("message") or "").strip()
            if ended.get("exitCode") == _LACKING and _TOLD.fullmatch(told):
                return told, ""
            return "", f"{ended.get('reason') or 'ended'} (exit code {ended.get('exitCode')})"
    return "", ""


def _keep(pod: _Pod, enough: threading.Event) -> None:
    """Let the pod know that it is needed, over a connection that is opened anew whenever it breaks."""
    while not enough.is_set():
        try:
            program = pod.idle()
        except Failure:
            enough.wait(1)
            continue
        try:
            while program.poll() is None and not enough.wait(_POLL):
                continue
        except Failure:
            enough.wait(1)
        finally:
            program.end()
