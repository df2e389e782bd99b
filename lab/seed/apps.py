"""Apps of Deis and Hephy as their controller deploys them: a namespace, a copy of the store's Secret, the release's environment, a Deployment of a slug."""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass
from typing import Any

from lab import processes
from lab.errors import LabError
from lab.installation import Installation
from lab.seed import live
from lab.seed.objects import Slug

_PORT = 5000
_CREDENTIALS = "/var/run/secrets/deis/objectstore/creds"


@dataclass(frozen=True)
class App:
    """One app with one process type, web. It takes its slug at every start, with the credentials in its namespace."""

    place: Installation
    name: str
    slug: Slug

    @property
    def deployment(self) -> str:
        """Name of its Deployment."""
        return f"{self.name}-web"

    def deploy(self, version: int = 2) -> None:
        """Cut a release, as the controller does: the environment is that of the controller at this moment, and stays that of the release.

        The Secret's copy is made where there is none. Hephy renews one that is there, Deis never does.
        """
        self._apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": {"heritage": "deis"}}})
        if self.place.name != "deis" or not self._has_secret():
            source = live.get(self.place, "secret", live.OBJECTSTORE)
            self._apply(self._secret(live.OBJECTSTORE, source["data"], {}))
        told = self._environment(version)
        release = f"{self.name}-v{version}-env"
        keys = {name: name.lower().replace("_", "-") for name in told}
        encoded = {keys[name]: base64.b64encode(text.encode()).decode() for name, text in told.items()}
        self._apply(self._secret(release, encoded, {"type": "env", "version": f"v{version}"}), self._workload(version, release, keys))

    def _environment(self, version: int) -> dict[str, str]:
        """What the running controller hands on to an app, and what it knows of the release."""
        lines = self.place.cluster.kubectl("exec", "-n", self.place.namespace, "deployment/deis-controller", "--", "env").splitlines()
        controller = dict(line.partition("=")[::2] for line in lines)
        found = {"DEIS_APP": self.name, "WORKFLOW_RELEASE": f"v{version}", "SLUG_URL": self.slug.key, "BUILDER_STORAGE": controller["APP_STORAGE"]}
        for name in ("DEIS_MINIO_SERVICE_HOST", "DEIS_MINIO_SERVICE_PORT"):
            # absent where the platform has no store of its own any more
            if name in controller:
                found[name] = controller[name]
        return found

    def _has_secret(self) -> bool:
        return bool(self.place.cluster.kubectl("get", "secret", live.OBJECTSTORE, "-n", self.name, "--ignore-not-found", "-o", "name").strip())

    def _secret(self, name: str, data: dict[str, str], labels: dict[str, str]) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.name, "labels": {"app": self.name, "heritage": "deis", **labels}}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}

    def _workload(self, version: int, release: str, keys: dict[str, str]) -> dict[str, Any]:
        labels = {"app": self.name, "type": "web", "heritage": "deis"}
        container = {
            "name": self.deployment,
            "image": live.get(self.place, "configmap", "slugrunner-config")["data"]["image"],
            "imagePullPolicy": "IfNotPresent",
            "args": ["start", "web"],
            "env": [
                *({"name": name, "valueFrom": {"secretKeyRef": {"name": release, "key": key}}} for name, key in sorted(keys.items())),
                {"name": "PORT", "value": str(_PORT)},
            ],
            "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1, "timeoutSeconds": 5},
            "volumeMounts": [{"name": live.OBJECTSTORE, "mountPath": _CREDENTIALS, "readOnly": True}],
        }
        volume = {"name": live.OBJECTSTORE, "secret": {"secretName": live.OBJECTSTORE}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.deployment, "namespace": self.name, "labels": labels},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {
                    "metadata": {"labels": {**labels, "version": f"v{version}"}},
                    "spec": {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 5},
                },
            },
        }

    def _apply(self, *items: dict[str, Any]) -> None:
        # the controller writes whole objects; nothing is kept of who applied what
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.place.cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager", "deis-controller", "-f", "-", stdin=text)

    def wait(self, seconds: float = 120) -> None:
        """Wait until its newest release runs. Raises CommandFailed."""
        self.place.cluster.kubectl("rollout", "status", f"deployment/{self.deployment}", "-n", self.name, f"--timeout={seconds:.0f}s")

    def restart(self) -> None:
        """Make its pod anew, so that it fetches its slug again."""
        self.place.cluster.kubectl("rollout", "restart", f"deployment/{self.deployment}", "-n", self.name)

    def serves(self) -> bool:
        """Whether a ready pod of it tells the SHA-256 of its very slug."""
        pods = json.loads(self.place.cluster.kubectl("get", "pods", "-n", self.name, "-l", "type=web", "-o", "json"))["items"]
        pods = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        ready = [pod for pod in pods if any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"].get("conditions", []))]
        return bool(ready) and all(_told(pod["status"]["podIP"]) == self.slug.sha256 for pod in ready)

    def remove(self) -> None:
        """Remove it with its namespace."""
        self.place.cluster.kubectl("delete", "namespace", self.name, "--ignore-not-found", "--wait=false")


def _told(address: str) -> str:
    connection = http.client.HTTPConnection(address, _PORT, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def deploy(place: Installation, slug: Slug) -> App:
    """Deploy an app and wait until it serves its slug. Raises LabError, CommandFailed."""
    if place.is_drycc:
        raise LabError("apps of Drycc run images out of its registry, which the lab's nodes do not pull from")
    app = App(place, slug.app, slug)
    app.deploy()
    app.wait()
    if not processes.wait_until(app.serves, 15, pause=0.3):
        raise LabError(f"{slug.app} does not serve its slug")
    return app
