# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects that the guard of a move consists of. All belong to its Secret, and go with it. Pure."""

from __future__ import annotations

import inspect
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._controls import guard_program
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard_program import STATEMENTS_FILE
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Workload

_VOLUME = {"name": "guard", "mountPath": STATEMENTS_FILE.rpartition("/")[0]}
_OF_THE_POD = ("imagePullSecrets", "nodeSelector", "tolerations")
_RBAC = "rbac.authorization.k8s.io"
# The keys of the Secret that the client of the bundled database gets as variables.
CLIENT_VARIABLES: Mapping[str, str] = {"PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "database"}
_REOPEN = f"[ -s {STATEMENTS_FILE} ] || exit 0; until psql -Xq -v ON_ERROR_STOP=1 -f {STATEMENTS_FILE}; do sleep 2; done"


class Source(NamedTuple):
    """A workload of the platform whose image the guard borrows: it is in the cluster already."""

    workload: Workload
    document: Mapping[str, Any]

    @property
    def image(self) -> str:
        return str(container_of(self.document, self.workload.container)["image"])


class Cast(NamedTuple):
    """Where the guard lives and what it is made of. ``secret`` is the name of its Secret, ``name`` that of the other objects."""

    namespace: str
    secret: str
    name: str
    # What stands before every command in the platform's images, and the seconds of silence after which the guard acts.
    start: Tuple[str, ...]
    silence: float
    python: Source
    # What a pod has to be able to connect to (host:port) before anything stands still.
    ways: Sequence[str]
    # Where a move closes the bundled database, its workload: the image has psql, and the Service is called like it.
    database: Sequence[Source]


def secret_of(namespace: str, name: str, data: Mapping[str, str]) -> Dict[str, Any]:
    """Return the Secret in which run and guard speak to each other."""
    metadata = {"name": name, "namespace": namespace, "labels": dict(OWNER)}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": dict(data)}


def members_of(cast: Cast, uid: str, touched: Sequence[Tuple[str, str]]) -> Iterator[Dict[str, Any]]:
    """Yield the account, its rights and the Job, in the order in which they are made. ``uid`` is that of the Secret, ``touched`` what may be taken back."""
    owner = [{"apiVersion": "v1", "kind": "Secret", "name": cast.secret, "uid": uid}]
    metadata = {"name": cast.name, "namespace": cast.namespace, "labels": dict(OWNER), "ownerReferences": owner}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    yield {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": _rules(cast, touched)}
    yield {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": cast.name},
        "subjects": [{"kind": "ServiceAccount", "name": cast.name, "namespace": cast.namespace}],
    }
    # Nothing that takes its pod away ends it: it is made anew until it has done its work.
    spec = {"backoffLimit": 1000, "template": {"metadata": {"labels": dict(OWNER)}, "spec": _pod(cast, uid)}}
    yield {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _rules(cast: Cast, touched: Sequence[Tuple[str, str]]) -> List[Dict[str, Any]]:
    """Exactly the named objects: its own Secret to read and write, workloads to look at and write, Secrets with settings only to write."""
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch"], "resourceNames": [cast.secret]}]
    for kind in sorted({kind for kind, _name in touched}):
        names = sorted({name for other, name in touched if other == kind})
        verbs = ["patch"] if kind == "Secret" else ["get", "patch"]
        rules.append({"apiGroups": [KINDS[kind].group], "resources": [KINDS[kind].plural], "verbs": verbs, "resourceNames": names})
    return rules


def _pod(cast: Cast, uid: str) -> Dict[str, Any]:
    path = KINDS["Secret"].path(cast.namespace, cast.secret)
    # The one line in it that an old Python does not know.
    program = inspect.getsource(guard_program).replace("from __future__ import annotations\n", "")

    def python(stage: str) -> Dict[str, Any]:
        return _container(stage, cast.python, [*cast.start, "python3", "-c", program, stage, path, uid, f"{cast.silence:g}", *cast.ways])

    first: List[Dict[str, Any]] = []
    reopening: List[Dict[str, Any]] = []
    for source in cast.database:
        # Before anything depends on it, it is seen that the image is there and has the client.
        first.append(_container("client", source, [*cast.start, "psql", "--version"]))
        variables: List[Dict[str, Any]] = [{"name": "PGHOST", "value": source.workload.name}]
        for name, key in CLIENT_VARIABLES.items():
            # They are there once the database is closed.
            variables.append({"name": name, "valueFrom": {"secretKeyRef": {"name": cast.secret, "key": key, "optional": True}}})
        reopening.append({**_container("reopen", source, [*cast.start, "sh", "-c", _REOPEN]), "env": variables})
    found = cast.python.document["spec"]["template"]["spec"]
    return {
        **{name: found[name] for name in _OF_THE_POD if name in found},
        "serviceAccountName": cast.name,
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": _VOLUME["name"], "emptyDir": {}}],
        "initContainers": [*first, python("wait"), *reopening],
        "containers": [python("apply")],
    }


def _container(name: str, source: Source, command: List[str]) -> Dict[str, Any]:
    return {
        "name": name,
        "image": source.image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "volumeMounts": [dict(_VOLUME)],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        # A quota may ask for them; without limits of its own it could be the first to be ended when a node runs short.
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
    }
