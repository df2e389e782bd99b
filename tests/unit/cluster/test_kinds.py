"""Paths of the API from kinds, and back from paths to what a role calls them."""

from __future__ import annotations

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS, Kind, kind_named, kind_of, target_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref


@pytest.mark.parametrize(
    ("kind", "arguments", "path"),
    [
        ("Pod", {}, "/api/v1/pods"),
        ("Pod", {"namespace": "x"}, "/api/v1/namespaces/x/pods"),
        ("Pod", {"namespace": "x", "name": "p", "subresource": "exec"}, "/api/v1/namespaces/x/pods/p/exec"),
        ("Namespace", {"name": "x"}, "/api/v1/namespaces/x"),
        ("Deployment", {"namespace": "x", "name": "d"}, "/apis/apps/v1/namespaces/x/deployments/d"),
        ("ClusterRole", {"name": "system:x"}, "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:x"),
        ("ClusterRole", {"name": "x", "namespace": "ignored"}, "/apis/rbac.authorization.k8s.io/v1/clusterroles/x"),
        ("TCPRoute", {"namespace": "x"}, "/apis/gateway.networking.k8s.io/v1alpha2/namespaces/x/tcproutes"),
        ("HorizontalPodAutoscaler", {"namespace": "x"}, "/apis/autoscaling/v2/namespaces/x/horizontalpodautoscalers"),
    ],
)
def test_path(kind: str, arguments: dict[str, str], path: str) -> None:
    assert KINDS[kind].path(**arguments) == path


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a%2fb", "../secrets"])
def test_no_name_leads_elsewhere(name: str) -> None:
    with pytest.raises(Invalid):
        KINDS["Pod"].path("x", name)


def test_namespaced_object_needs_its_namespace() -> None:
    with pytest.raises(Invalid, match="needs a namespace"):
        KINDS["Pod"].path(name="p")


def test_built_in_kinds_and_custom_resources_are_told_apart() -> None:
    assert KINDS["Deployment"].builtin
    assert KINDS["NetworkPolicy"].builtin
    assert not KINDS["Gateway"].builtin


def test_kind_of_keeps_the_version_of_the_address() -> None:
    assert kind_of(Ref("apps/v1", "Deployment", "d", "x")) == KINDS["Deployment"]
    assert kind_of(Ref("policy/v1beta1", "PodDisruptionBudget", "d", "x")) == Kind("policy/v1beta1", "PodDisruptionBudget", "poddisruptionbudgets", True)
    assert kind_of(Ref("example.org/v1", "Deployment", "d", "x")) is None
    assert kind_of(Ref("example.org/v1", "Thing", "d", "x")) is None


def test_unknown_kind_is_named() -> None:
    with pytest.raises(Invalid, match="Thing"):
        kind_named("Thing")


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/api/v1/namespaces/x/pods/p", "get pods p in namespace x"),
        ("GET", "/api/v1/pods", "list pods"),
        ("GET", "/api/v1/namespaces", "list namespaces"),
        ("GET", "/api/v1/namespaces/x", "get namespaces x"),
        ("DELETE", "/api/v1/namespaces/x", "delete namespaces x"),
        ("POST", "/apis/apps/v1/namespaces/x/deployments", "create deployments.apps in namespace x"),
        ("PATCH", "/apis/apps/v1/namespaces/x/deployments/d/scale", "patch deployments/scale.apps d in namespace x"),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:x", "get clusterroles.rbac.authorization.k8s.io system:x"),
        ("GET", "/version", "get /version"),
        ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
        ("GET", "/api/v1", "get /api/v1"),
    ],
)
def test_target(method: str, path: str, text: str) -> None:
    assert str(target_of(method, path)) == text


def test_every_path_of_the_table_is_read_back() -> None:
    for kind in KINDS.values():
        target = target_of("GET", kind.path("space", "thing"))
        assert (target.group, target.resource, target.name) == (kind.group, kind.plural, "thing")
        assert target.namespace == ("space" if kind.namespaced else "")
