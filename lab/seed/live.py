"""What a running platform says of itself: its Secrets, its pods, its store, its database."""

from __future__ import annotations

import base64
import json
import urllib.parse
from typing import Any

from lab.errors import LabError
from lab.image.lab import s3
from lab.installation import Installation

OBJECTSTORE = "objectstorage-keyfile"


def get(place: Installation, kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    """An object of the platform's namespace, or of another. Raises CommandFailed when it is not there."""
    found: dict[str, Any] = json.loads(place.cluster.kubectl("get", kind, name, "-n", namespace or place.namespace, "-o", "json"))
    return found


def secret(place: Installation, name: str, namespace: str | None = None) -> dict[str, str]:
    """The texts of a Secret."""
    return {key: base64.b64decode(text).decode() for key, text in get(place, "secret", name, namespace).get("data", {}).items()}


def pod_address(place: Installation, **labels: str) -> str:
    """Address of a ready pod with these labels; this machine has a route to it. Raises LabError when there is none."""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = json.loads(place.cluster.kubectl("get", "pods", "-n", place.namespace, "-l", selector, "-o", "json"))["items"]
    for pod in pods:
        conditions = {entry["type"]: entry["status"] for entry in pod["status"].get("conditions", [])}
        if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["status"]["podIP"])
    raise LabError(f"{place.name}: no pod with {selector} is ready")


def store(place: Installation) -> s3.Store:
    """The bundled store, with its own credentials."""
    if place.is_drycc:
        keys = secret(place, "storage-creds")
        return s3.Store(f"http://{pod_address(place, app='drycc-storage')}:9000", keys["accesskey"], keys["secretkey"])
    keys = secret(place, "minio-user")
    return s3.Store(f"http://{pod_address(place, app='deis-minio')}:9000", keys["accesskey"], keys["secretkey"])


def database(place: Installation, name: str = "controller") -> dict[str, Any]:
    """Where the controller's database is now (Drycc: that of another component by its name), in the cluster or outside, and as whom to ask it."""
    return _drycc_database(place, name) if place.is_drycc else _deis_database(place)


def _deis_database(place: Installation) -> dict[str, Any]:
    # A move writes the Secret before the controller that reads it, and the way back after it.
    containers = get(place, "deployment", "deis-controller")["spec"]["template"]["spec"]["containers"]
    outside = any(entry["name"] == "DEIS_DATABASE_SERVICE_HOST" for entry in containers[0]["env"])
    creds = secret(place, "database-creds")
    if outside:
        if "host" not in creds:
            raise LabError(f"{place.name}: the controller's database is on its way")
        return {"host": creds["host"], "port": creds["port"], "user": creds["user"], "password": creds["password"], "database": creds["name"]}
    address = pod_address(place, app="deis-database")
    return {"host": address, "port": "5432", "user": creds["user"], "password": creds["password"], "database": creds["user"]}


def _drycc_database(place: Installation, name: str) -> dict[str, Any]:
    url = _url_outside(place, name)
    if url:
        parts = urllib.parse.urlsplit(url)
        user, password = (urllib.parse.unquote(text or "") for text in (parts.username, parts.password))
        return {"host": parts.hostname, "port": str(parts.port or 5432), "user": user, "password": password, "database": parts.path.lstrip("/")}
    creds = secret(place, "database-creds")
    address = pod_address(place, app="drycc-database", role="master")
    return {"host": address, "port": "5432", "user": creds["user"], "password": creds["password"], "database": name}


def _url_outside(place: Installation, name: str) -> str | None:
    """The URL of a component's database outside, out of its own variable; None while that names the one in the cluster."""
    head = place.name == "drycc-head"
    kind = "statefulset" if head and name == "grafana" else "deployment"
    part = {"controller": "-api" if head else "", "passport": "-api" if head else "", "quickwit": "-metastore"}.get(name, "")
    env = get(place, kind, f"drycc-{name}{part}")["spec"]["template"]["spec"]["containers"][0]["env"]
    stated = next(entry for entry in env if entry["name"] in ("DRYCC_DATABASE_URL", "GF_DATABASE_URL"))
    if "value" in stated:
        return None if "@drycc-database" in stated["value"] else str(stated["value"])
    reference = stated["valueFrom"]["secretKeyRef"]
    return secret(place, reference["name"])[reference["key"]]
