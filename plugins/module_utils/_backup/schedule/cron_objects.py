# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a schedule consists of in a cluster: a Secret with program, options and keys, and the CronJob that runs it in a pod without any right. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import pod_places
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron import Cron, cron_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.pod_places import (
    ACCOUNT_FILE,
    AUTHORITY,
    GIVEN,
    IDENTITY,
    KEPT,
    KUBECONFIG,
    OPTIONS,
    PROGRAM,
    SIGNING_KEY,
    TEMPORARY,
    TOKEN,
)
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.runner import LOOK
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.units import (
    ROOT,
    absolute,
    below,
    of_server,
    places_of,
    refuse_late,
    refuse_used_up,
)
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref
from ansible_collections.paas.hardening.plugins.module_utils._host.archive import compressed, digest_of

# By this annotation a CronJob says what was seen to work in a pod before it was written.
PROVED = "paas.hardening/proved"
CONTAINER = "backup"
USER = 65532
_NAME, _PART = "app.kubernetes.io/name", "app.kubernetes.io/component"
_INSTANCE = "app.kubernetes.io/instance"
_RUN, _TRIAL = "run", "trial"
# A name of Kubernetes, of an object in a namespace.
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
# A CronJob's name has 52 characters at most: it appends the time to it.
_LONGEST_NAME = 52
# Bytes that an API server takes as a Secret.
_LARGEST = 1 << 20
# Folders of an image over which nothing may be mounted, and those in which nothing may be.
_WHOLE = ("/", "/home", "/mnt", "/opt", "/root", "/srv", "/var", "/var/lib", "/var/run")
_OF_THE_IMAGE = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/paas", "/proc", "/run", "/sbin", "/sys", "/usr")
_ANY_SERVER = "https://kubernetes.default.svc"
_RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
_HISTORY = 3
# Seconds: what a run gets to clear away when it is told to stop; how long a trial may take, and how long it is kept where nobody removes it.
_TO_END, TRIAL, _TRIAL_KEPT = 60, 600, 600
# Seconds that a token outlives the longest run, which reads it once; and the shortest life that a server gives.
_TOKEN_RESERVE, _TOKEN_LEAST = 600, 3600
_DEADLINE_LEAST = 60
_TAKES_HOST = "In a pod there is no host: leave it out, or let a timer of systemd make these points there (without schedule.image)."


@dataclass(frozen=True)
class Names:
    """What the objects of a schedule are called, and by which labels they are found."""

    schedule: str

    @property
    def cronjob(self) -> str:
        return f"paas-hardening-backup-{self.schedule}"

    @property
    def secret(self) -> str:
        return self.cronjob

    @property
    def trial(self) -> str:
        return f"{self.cronjob}-trial"

    def labels(self, part: str = _RUN) -> Dict[str, str]:
        return {**OWNER, _NAME: "paas-hardening-backup", _INSTANCE: self.schedule, _PART: part}

    def selector(self) -> str:
        """Return what finds the Jobs that make points, and no trial."""
        return ",".join(f"{name}={value}" for name, value in sorted(self.labels().items()))

    def refs(self, namespace: str) -> Tuple[Ref, Ref]:
        """Return the addresses of the Secret and of the CronJob, in the order in which they are written."""
        return Ref("v1", "Secret", self.secret, namespace), Ref("batch/v1", "CronJob", self.cronjob, namespace)


@dataclass(frozen=True)
class CronWish:
    """A schedule of a cluster as it is asked for. ``delay`` and ``timeout`` are seconds; ``files`` are what the pod gets beside program and options."""

    names: Names
    cron: Cron
    delay: int
    timeout: int
    image: str
    claim: str
    account: str
    options: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def longest_run(self) -> int:
        """Seconds after which the cluster ends a run."""
        return self.timeout + self.delay

    def documents(self, program: bytes, namespace: str, platform: str) -> Documents:
        """Return both objects for the platform of a namespace. Raises Refused when they are too large for a cluster."""
        options = {**self.options, "cluster": {**self.options["cluster"], "namespace": namespace, "platform": platform}}
        # What became of a run is told by its Job: what it notes itself goes with its pod.
        text = json.dumps({"options": options, "state": KEPT, "delay": self.delay}, indent=1, sort_keys=True) + "\n"
        files = {**self.files, OPTIONS: text.encode("utf-8"), KUBECONFIG: _kubeconfig(), ACCOUNT_FILE: _accounts(), PROGRAM: compressed(program)}
        size = sum(map(len, files.values()))
        if size > _LARGEST:
            raise Refused(f"Program, options and keys are {size} bytes, and a Secret holds {_LARGEST}.", "Give fewer options.", self.names.secret)
        secret_ref, ref = self.names.refs(namespace)
        data = {name: base64.b64encode(content).decode("ascii") for name, content in sorted(files.items())}
        secret = {**_head(secret_ref, self.names.labels()), "type": "Opaque", "data": data}
        pod = self._pod()
        cronjob = _head(ref, self.names.labels())
        cronjob["metadata"]["annotations"] = {PROVED: _digest({**files, PROGRAM: digest_of(program).encode()}, pod)}
        cronjob["spec"] = {
            "schedule": self.cron.text,
            "timeZone": "Etc/UTC",
            "suspend": False,
            "concurrencyPolicy": "Forbid",
            # A run that was missed is made up, until the next one is due.
            "startingDeadlineSeconds": max(int(self.cron.shortest), _DEADLINE_LEAST),
            "successfulJobsHistoryLimit": _HISTORY,
            "failedJobsHistoryLimit": _HISTORY,
            "jobTemplate": {
                "metadata": {"labels": self.names.labels()},
                "spec": {
                    # The next run is the next attempt: what failed is told, and not repeated.
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": self.longest_run,
                    "template": {"metadata": {"labels": self.names.labels()}, "spec": pod},
                },
            },
        }
        return Documents(secret, cronjob)

    def _pod(self) -> Dict[str, Any]:
        """Return the pod: nobody in particular, without any capability, on a file system that it cannot write but for its claim and what goes with it."""
        scratch = sorted({TEMPORARY, str(self.options["postgres"]["scratch_folder"])})
        token = {"path": TOKEN, "expirationSeconds": max(self.longest_run + _TOKEN_RESERVE, _TOKEN_LEAST)}
        authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": AUTHORITY}]}
        return {
            "restartPolicy": "Never",
            "serviceAccountName": self.account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": _TO_END,
            # What is in the claim keeps its modes from one run to the next: it is not gone through again each time.
            "securityContext": {"fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch"},
            "containers": [
                {
                    "name": CONTAINER,
                    "image": self.image,
                    "command": ["python3", "-I", "-B", f"{GIVEN}/{PROGRAM}"],
                    "env": [{"name": "HOME", "value": TEMPORARY}, {"name": "TMPDIR", "value": TEMPORARY}],
                    "resources": _RESOURCES,
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                        "runAsNonRoot": True,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumeMounts": [
                        {"name": "given", "mountPath": GIVEN, "readOnly": True},
                        # PostgreSQL's initdb does not run as a user without a name, and an image does not know this one.
                        {"name": "given", "mountPath": "/etc/passwd", "subPath": ACCOUNT_FILE, "readOnly": True},
                        {"name": "kept", "mountPath": KEPT},
                        {"name": "identity", "mountPath": IDENTITY, "readOnly": True},
                        {"name": "repository", "mountPath": os.path.dirname(str(self.options["repository"]))},
                        *({"name": "scratch", "mountPath": folder} for folder in scratch),
                    ],
                }
            ],
            "volumes": [
                {"name": "given", "secret": {"secretName": self.names.secret, "defaultMode": 0o440}},
                {"name": "kept", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
                {"name": "identity", "projected": {"defaultMode": 0o440, "sources": [{"serviceAccountToken": token}, {"configMap": authority}]}},
                {"name": "repository", "persistentVolumeClaim": {"claimName": self.claim}},
                {"name": "scratch", "emptyDir": {}},
            ],
        }


@dataclass(frozen=True)
class Documents:
    """The Secret and the CronJob as they have to be."""

    secret: Dict[str, Any]
    cronjob: Dict[str, Any]

    def trial(self, names: Names) -> Dict[str, Any]:
        """Return a Job of the same pod that only looks whether a run could do its work."""
        metadata, pod = self.cronjob["metadata"], self.cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        container = pod["containers"][0]
        looking = {**pod, "containers": [{**container, "command": [*container["command"], LOOK]}]}
        labels = names.labels(_TRIAL)
        document = _head(Ref("batch/v1", "Job", names.trial, metadata["namespace"]), labels)
        life = {"backoffLimit": 0, "activeDeadlineSeconds": TRIAL, "ttlSecondsAfterFinished": _TRIAL_KEPT}
        return {**document, "spec": {**life, "template": {"metadata": {"labels": labels}, "spec": looking}}}


def names_of(schedule: Mapping[str, Any]) -> Names:
    """Return what a schedule's objects are called. Raises Invalid for a name that is none, or too long for a CronJob."""
    names = Names(places_of(schedule).name)
    if len(names.cronjob) > _LONGEST_NAME:
        most = _LONGEST_NAME - len(names.cronjob) + len(names.schedule)
        raise Invalid(f"schedule.name is {names.schedule!r}.", f"A CronJob's name is short: use {most} characters at most.", "schedule.name")
    return names


def cron_wish_of(params: Mapping[str, Any], arguments: Mapping[str, Any], files: Mapping[str, bytes]) -> CronWish:
    """Return what the options ask for. ``files`` are the keys, as the pod gets them. Raises Invalid for what a CronJob cannot do."""
    schedule = params["schedule"]
    _refuse_host(params)
    for option, pattern in (("image", _IMAGE), ("volume_claim", _OBJECT), ("service_account", _OBJECT)):
        value = str(schedule[option] or "")
        if not pattern.fullmatch(value):
            remedy = "Name the claim that holds the repository." if option == "volume_claim" else "Give the name of one."
            raise Invalid(f"schedule.{option} is {value!r}.", remedy, f"schedule.{option}")
    cron = cron_of(str(schedule["on_calendar"] or ""))
    delay = 0 if schedule["randomized_delay"] == "0" else int(seconds_of(schedule["randomized_delay"], "schedule.randomized_delay"))
    refuse_late(str(params["max_age"]), cron.shortest, delay, "the CronJob begins a run")
    options = {name: value for name, value in absolute(params, arguments).items() if name not in ("schedule", "state")}
    _refuse_places(options)
    refuse_used_up(options)
    older = [name for name in files if name != SIGNING_KEY]
    options["signing_key_file"] = f"{KEPT}/{SIGNING_KEY}"
    options["older_key_files"] = [f"{KEPT}/{name}" for name in older]
    options["cluster"] = {**options["cluster"], "kubeconfig": f"{KEPT}/{KUBECONFIG}", "context": None}
    return CronWish(
        names_of(schedule),
        cron,
        delay,
        int(seconds_of(schedule["timeout"], "schedule.timeout")),
        str(schedule["image"]),
        str(schedule["volume_claim"]),
        str(schedule["service_account"]),
        options,
        files,
    )


def files_of(signing: bytes, older: Sequence[bytes]) -> Dict[str, bytes]:
    """Return the keys by the names that they have in the pod."""
    return {SIGNING_KEY: signing, **{pod_places.older_key(number): content for number, content in enumerate(older)}}


def _refuse_host(params: Mapping[str, Any]) -> None:
    """Refuse what is of a host. Raises Invalid."""
    hosts_own = sorted(set(params["kinds"]) & {"etcd", "volumes"})
    if hosts_own:
        raise Invalid(f"kinds has {' and '.join(hosts_own)}, which a pod does not reach.", _TAKES_HOST, "kinds")
    if of_server(params):
        raise Invalid("postgres.engine is pgbackrest, which keeps the server of a host.", _TAKES_HOST, "postgres.engine")
    if params["secrets"]["files"]:
        raise Invalid("secrets.files names files of a host.", _TAKES_HOST, "secrets.files")
    schedule = params["schedule"]
    for option, plain in (("account", ROOT), ("on_failure", None), ("metrics_file", None)):
        if (schedule[option] or None) != plain:
            raise Invalid(f"schedule.{option} is {schedule[option]!r}, and schedule.image makes it a CronJob.", _TAKES_HOST, f"schedule.{option}")


def _refuse_places(options: Mapping[str, Any]) -> None:
    """Refuse folders that would hide what is in the image, or each other. Raises Invalid."""
    scratch, claim = str(options["postgres"]["scratch_folder"]), os.path.dirname(str(options["repository"]))
    for folder, option in ((claim, "repository"), (scratch, "postgres.scratch_folder")):
        if folder in _WHOLE or below(folder, _OF_THE_IMAGE):
            hint = "Give a folder in one of its own, as /backup/points: the claim is mounted at /backup then." if option == "repository" else "Give /var/tmp."
            raise Invalid(f"{option}: nothing can be mounted at {folder} of a container.", hint, option)
    if below(claim, (scratch, TEMPORARY)) or below(scratch, (claim,)):
        raise Invalid(f"repository: {claim} and {scratch} lie in each other, or in {TEMPORARY}.", "What is in the latter goes with each pod.", "repository")


def _head(ref: Ref, labels: Mapping[str, str]) -> Dict[str, Any]:
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": dict(labels)}}


def _kubeconfig() -> bytes:
    """Return how the pod reaches its cluster: as its service account, whose token and authority are mounted."""
    name = "cluster"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": _ANY_SERVER, "certificate-authority": f"{IDENTITY}/{AUTHORITY}"}}],
        "users": [{"name": name, "user": {"tokenFile": f"{IDENTITY}/{TOKEN}"}}],
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode("ascii")


def _accounts() -> bytes:
    return f"root:x:0:0:root:/:/sbin/nologin\n{CONTAINER}:x:{USER}:{USER}:{CONTAINER}:{TEMPORARY}:/sbin/nologin\n".encode("ascii")


def _digest(files: Mapping[str, bytes], pod: Mapping[str, Any]) -> str:
    """Return what stands for a pod and all that it is given. The signing key is in it, so that nobody gets back from it to an option."""
    parts: List[str] = [f"{name}:{hashlib.sha256(content).hexdigest()}" for name, content in sorted(files.items())]
    return hashlib.sha256("\n".join([*parts, json.dumps(pod, sort_keys=True)]).encode("utf-8")).hexdigest()[:32]
