"""Deployments of the four platforms as their charts render them with default values: what detection looks at and what looks like it, no more."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def deployment(name: str, image: str, namespace: str, heritage: str, env: dict[str, str] | None = None, init: Document | None = None) -> Document:
    variables = [{"name": key, "value": value} for key, value in (env or {}).items()]
    container = {"name": name, "image": image, "env": variables}
    spec = {"containers": [container], **({"initContainers": [init]} if init else {})}
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"heritage": heritage}, "resourceVersion": "1"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }


def named(documents: list[Document]) -> dict[str, Document]:
    return {document["metadata"]["name"]: document for document in documents}


def hephy(namespace: str = "deis") -> dict[str, Document]:
    """Hephy 2.23: its controller image stands under the organisation of Deis."""
    manager = {"VERSIONS_API_URL": "https://versions.teamhephy.info", "DOCTOR_API_URL": "https://doctor.teamhephy.info", "API_VERSION": "v2"}
    return named(
        [
            deployment("deis-builder", "hephy/builder:v2.13.7", namespace, "deis"),
            deployment("deis-controller", "quay.io/deisci/controller:v2.22.0", namespace, "deis", {"REGISTRATION_MODE": "admin_only"}),
            deployment("deis-database", "hephy/postgres:v2.7.6", namespace, "deis"),
            deployment("deis-router", "hephy/router:v2.19.0", namespace, "deis"),
            deployment("deis-workflow-manager", "hephy/workflow-manager:v2.6.2", namespace, "deis", manager),
        ]
    )


def deis(namespace: str = "deis") -> dict[str, Document]:
    """Deis 2.18."""
    manager = {"VERSIONS_API_URL": "https://versions.deis.com", "DOCTOR_API_URL": "https://doctor.deis.com", "API_VERSION": "v2"}
    return named(
        [
            deployment("deis-builder", "quay.io/deis/builder:v2.12.0", namespace, "deis"),
            deployment("deis-controller", "quay.io/deis/controller:v2.18.0", namespace, "deis", {"REGISTRATION_MODE": "admin_only"}),
            deployment("deis-database", "quay.io/deis/postgres:v2.5.6", namespace, "deis"),
            deployment("deis-router", "quay.io/deis/router:v2.13.3", namespace, "deis"),
            deployment("deis-workflow-manager", "quay.io/deis/workflow-manager:v2.5.1", namespace, "deis", manager),
        ]
    )


def _drycc(namespace: str, api: str, passport: str) -> dict[str, Document]:
    registry = "registry.drycc.cc/drycc"
    # The init containers carry the environment of the container that they wait for.
    init = {"name": f"{passport}-init", "image": f"{registry}/python-dev:latest", "env": [{"name": "ADMIN_USERNAME", "value": "admin"}]}
    admin = {"ADMIN_USERNAME": "admin", "ADMIN_PASSWORD": "admin", "ADMIN_EMAIL": "admin@email.com"}
    return named(
        [
            deployment("drycc-builder", f"{registry}/builder:canary", namespace, "drycc"),
            deployment(api, f"{registry}/controller:canary", namespace, "drycc", {"REGISTRATION_MODE": "admin_only"}),
            deployment("drycc-controller-celery", f"{registry}/controller:canary", namespace, "drycc"),
            deployment("drycc-controller-mutate", f"{registry}/controller:canary", namespace, "drycc"),
            deployment(passport, f"{registry}/passport:canary", namespace, "drycc", admin, init),
            deployment("drycc-registry", f"{registry}/registry:canary", namespace, "drycc"),
        ]
    )


def drycc_1_8(namespace: str = "drycc") -> dict[str, Document]:
    """Drycc 1.8."""
    return _drycc(namespace, "drycc-controller", "drycc-passport") | named(
        [deployment("drycc-grafana", "registry.drycc.cc/drycc/grafana:canary", namespace, "drycc")]
    )


def drycc_head(namespace: str = "drycc") -> dict[str, Document]:
    """Drycc of the testing channel."""
    return _drycc(namespace, "drycc-controller-api", "drycc-passport-api") | named(
        [
            deployment("drycc-passport-celery", "registry.drycc.cc/drycc/passport:canary", namespace, "drycc"),
            deployment("drycc-controller-metric", "registry.drycc.cc/drycc/controller:canary", namespace, "drycc"),
        ]
    )


PLATFORM_DEPLOYMENTS = {"deis": deis, "hephy": hephy, "drycc-1.8": drycc_1_8, "drycc-head": drycc_head}
