# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds that we read and write, with the REST paths of the Kubernetes API, so that no discovery is needed for them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Dict, Optional, Union
from urllib.parse import quote, unquote

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref

# Groups whose types are compiled into the API server: these, and only these, take a strategic merge patch.
_BUILTIN_GROUPS = {
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
}


def _segment(value: str, what: str) -> str:
    """Quote one part of a path. A value that would lead to another path is refused."""
    if not value or value in (".", "..") or "/" in value or "%" in value:
        raise Invalid(f"{value!r} is not a valid {what}.")
    return quote(value, safe=":")


@dataclass(frozen=True)
class Kind:
    """One kind as one API server version serves it. ``api_version`` is group/version, or only the version for the core group."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]

    @property
    def builtin(self) -> bool:
        """Whether the kind is compiled into the API server (and is not a custom resource)."""
        return self.group in _BUILTIN_GROUPS

    def path(self, namespace: Optional[str] = None, name: Optional[str] = None, subresource: Optional[str] = None) -> str:
        """Return the path of one object, or of the collection when no name is given (of all namespaces when no namespace is given).

        Raises Invalid when a part cannot stand in a path, or the object of a namespaced kind is asked for without a namespace.
        """
        path = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            path += f"/namespaces/{_segment(namespace, 'namespace')}"
        elif self.namespaced and name:
            raise Invalid(f"{self.kind} {name} needs a namespace.")
        path += f"/{self.plural}"
        if name is not None:
            path += f"/{_segment(name, 'name')}"
            if subresource:
                path += f"/{subresource}"
        return path


def _table(api_version: str, namespaced: bool, **plurals: str) -> Dict[str, Kind]:
    return {kind: Kind(api_version, kind, plural, namespaced) for kind, plural in plurals.items()}


KINDS: Dict[str, Kind] = {
    **_table("v1", False, Namespace="namespaces", Node="nodes", PersistentVolume="persistentvolumes"),
    **_table(
        "v1",
        True,
        ConfigMap="configmaps",
        Endpoints="endpoints",
        Event="events",
        LimitRange="limitranges",
        PersistentVolumeClaim="persistentvolumeclaims",
        Pod="pods",
        ReplicationController="replicationcontrollers",
        ResourceQuota="resourcequotas",
        Secret="secrets",
        Service="services",
        ServiceAccount="serviceaccounts",
    ),
    **_table("apps/v1", True, DaemonSet="daemonsets", Deployment="deployments", ReplicaSet="replicasets", StatefulSet="statefulsets"),
    **_table("batch/v1", True, CronJob="cronjobs", Job="jobs"),
    **_table("autoscaling/v2", True, HorizontalPodAutoscaler="horizontalpodautoscalers"),
    **_table("policy/v1", True, PodDisruptionBudget="poddisruptionbudgets"),
    **_table("rbac.authorization.k8s.io/v1", True, Role="roles", RoleBinding="rolebindings"),
    **_table("rbac.authorization.k8s.io/v1", False, ClusterRole="clusterroles", ClusterRoleBinding="clusterrolebindings"),
    **_table("networking.k8s.io/v1", True, Ingress="ingresses", NetworkPolicy="networkpolicies"),
    **_table("discovery.k8s.io/v1", True, EndpointSlice="endpointslices"),
    **_table("storage.k8s.io/v1", False, StorageClass="storageclasses"),
    **_table("apiextensions.k8s.io/v1", False, CustomResourceDefinition="customresourcedefinitions"),
    **_table("gateway.networking.k8s.io/v1", False, GatewayClass="gatewayclasses"),
    **_table("gateway.networking.k8s.io/v1", True, Gateway="gateways", HTTPRoute="httproutes", ListenerSet="listenersets"),
    **_table("gateway.networking.k8s.io/v1alpha2", True, TCPRoute="tcproutes"),
}


def kind_named(kind: Union[str, Kind]) -> Kind:
    """Return the kind of this name from the table. Raises Invalid for a name that the table does not have."""
    if isinstance(kind, Kind):
        return kind
    known = KINDS.get(kind)
    if known is None:
        raise Invalid(f"The kind {kind} is not in the table of known kinds.", hint="Give a Kind with its API version and plural name.")
    return known


def kind_of(ref: Ref) -> Optional[Kind]:
    """Return the kind of an object's address, in the version that the address has, or None when only discovery can tell."""
    known = KINDS.get(ref.kind)
    if known is None:
        return None
    if known.api_version == ref.api_version:
        return known
    return replace(known, api_version=ref.api_version) if known.group == ref.api_version.rpartition("/")[0] else None


@dataclass(frozen=True)
class Target:
    """What a request is about, in the words of a role: verb, group, resource (with its subresource), namespace and name."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        text = f"{self.verb} {self.resource}"
        if self.group:
            text += f".{self.group}"
        if self.name:
            text += f" {self.name}"
        return text + (f" in namespace {self.namespace}" if self.namespace else "")

    @property
    def subject(self) -> str:
        """The object, as a person would write it."""
        place = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.resource.partition('/')[0] or self.resource} {place}".strip()


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?"
)


def target_of(method: str, path: str) -> Target:
    """Read from our own request what it asks for. A path outside the API (``/version``) is its own resource."""
    found = _PATH.match(path.partition("?")[0])
    if found is None:
        return Target("get" if method == "GET" else method.lower(), "", path.partition("?")[0], "", "")
    name = unquote(found.group("name") or "")
    resource = found.group("resource")
    if found.group("subresource"):
        resource += f"/{found.group('subresource')}"
    verb = _VERBS.get(method) or ("get" if name else "list")
    return Target(verb, found.group("group") or "", resource, unquote(found.group("namespace") or ""), name)
