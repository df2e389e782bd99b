"""Rights: those of docs/rbac.yml are enough, none of them is superfluous, and each one that is missing ends in its name or in "unknown", never in "ok"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster.access import Right, missing_rights
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from tests.contract.audit_log import AuditLog, Request
from tests.contract.installed import GROUP, RIGHTS, Installed, install
from tests.integration.attempts import INFO, REGISTRATION, ROUTER, Result, attempt, failure, finding, succeeded
from tests.integration.disturbances import in_pods, patch, pods

if TYPE_CHECKING:
    from lab.cluster import Cluster

CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "info": (INFO, {}),
    "registration": (REGISTRATION, {}),
    "router": (ROUTER, {"replicas": 2}),
}


@dataclass(frozen=True)
class Rule:
    """One right as docs/rbac.yml grants it: in the whole cluster, or in the platform's namespace."""

    cluster: bool
    group: str
    resource: str
    verb: str

    @property
    def user(self) -> str:
        """The user who has every right but this one."""
        return f"without-{'all-' if self.cluster else ''}{self.verb}-{self.resource.replace('/', '-')}"

    def right(self, namespace: str) -> Right:
        resource, _slash, subresource = self.resource.partition("/")
        return Right(self.verb, self.group, resource, "" if self.cluster else namespace, subresource)

    def allows(self, request: Request, namespace: str) -> bool:
        """Whether the request needs this very rule. A web socket into a pod is opened with GET, and since Kubernetes 1.35 needs the right to create as well."""
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        verbs = (self.verb, "get") if self.resource.startswith("pods/") else (self.verb,)
        return request.verb in verbs and request.resource == resource and request.namespace == ("" if self.cluster else namespace)


def documents() -> list[dict[str, Any]]:
    """The roles of docs/rbac.yml."""
    return [document for document in yaml.safe_load(RIGHTS.read_text())["items"] if document["kind"] in ("ClusterRole", "Role")]


def rules() -> list[Rule]:
    return [
        Rule(document["kind"] == "ClusterRole", rule["apiGroups"][0], resource, verb)
        for document in documents()
        for rule in document["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def granted_without(missing: Rule, namespace: str) -> Iterator[dict[str, Any]]:
    """Roles and bindings for the user who has every right but one."""
    for kind, cluster in (("ClusterRole", True), ("Role", False)):
        metadata = {"name": missing.user, **({} if cluster else {"namespace": namespace})}
        kept = [rule for rule in rules() if rule.cluster == cluster and rule != missing]
        version = "rbac.authorization.k8s.io/v1"
        # A right in the whole cluster would stand in for the same one in the namespace.
        kept = [rule for rule in kept if not (cluster and not missing.cluster and (rule.resource, rule.verb) == (missing.resource, missing.verb))]
        entries = [{"apiGroups": [rule.group], "resources": [rule.resource], "verbs": [rule.verb]} for rule in kept]
        yield {"apiVersion": version, "kind": kind, "metadata": metadata, "rules": entries}
        yield {
            "apiVersion": version,
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": missing.user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": missing.user}],
        }


@pytest.fixture(scope="module")
def hephy(lab_cluster: Cluster, report: Callable[[str], None]) -> Installed:
    """Hephy as it was installed, and for each right a user who lacks it."""
    platform = install(lab_cluster, "hephy", report)
    platform.restore()
    made = [document for rule in rules() for document in granted_without(rule, platform.namespace)]
    lab_cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(made))
    return platform


@pytest.fixture
def restored(hephy: Installed) -> Iterator[Installed]:
    """Hephy, which is brought back to how it was installed afterwards."""
    yield hephy
    hephy.restore()


def as_user(platform: Installed, name: str, groups: tuple[str, ...] = ()) -> str:
    """A kubeconfig of the user."""
    return str(platform.cluster.issue_client(name, groups=groups))


def without(platform: Installed, resource: str, verb: str, cluster: bool = False) -> str:
    """A kubeconfig of the user who lacks one right."""
    rule = next(rule for rule in rules() if (rule.resource, rule.verb, rule.cluster) == (resource, verb, cluster))
    return as_user(platform, rule.user)


@pytest.fixture(scope="module")
def complete(hephy: Installed) -> Mapping[str, tuple[Result, list[Request]]]:
    """What each case returns in check mode with all rights, and what it asks the server for."""
    told = {}
    for case, (module, options) in CASES.items():
        log, user = AuditLog(hephy.cluster.audit_log), f"complete-{case}"
        result = succeeded(attempt(hephy, module, check=True, **options, kubeconfig=as_user(hephy, user, (GROUP,))))
        told[case] = (result, log.requests(user))
    return told


def test_documented_rights_are_enough(complete: Mapping[str, tuple[Result, list[Request]]]) -> None:
    for case, (result, requests) in complete.items():
        assert requests, case
        assert not [str(request) for request in requests if request.code == 403]
        unknown = [verdict for verdict in result.get("durability", ()) if verdict["outcome"] == "unknown"]
        assert not unknown


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.user)
def test_a_missing_right_is_named_or_unknown(hephy: Installed, complete: Mapping[str, tuple[Result, list[Request]]], rule: Rule) -> None:
    kubeconfig = as_user(hephy, rule.user)
    assert (
        missing_rights(connect({"kubeconfig": kubeconfig}), [one.right(hephy.namespace) for one in rules() if one != rule and one.cluster == rule.cluster])
        == []
    )
    for case, (module, options) in CASES.items():
        full, requests = complete[case]
        result = attempt(hephy, module, check=True, **options, kubeconfig=kubeconfig)
        if any(rule.allows(request, hephy.namespace) for request in requests):
            assert tells_of(result, rule), f"{case} without {rule.user}: {result}"
        else:
            # Not needed as things are: then nothing may change.
            assert succeeded(result)["plan"] == full["plan"], case


def tells_of(result: Result, rule: Rule) -> bool:
    """Whether a result without a right that it needs names the right, and nowhere claims what it cannot know."""
    resource = rule.resource
    if result.get("failed"):
        return result["failure"]["reason"] in ("Forbidden", "Refused") and resource in result["msg"] and rule.verb in result["msg"]
    unknown = [verdict["reason"] for verdict in result["durability"] if verdict["outcome"] == "unknown" and not verdict["lasts"]]
    unseen = [check["observed"] for check in result["proof"]["checks"] if check["verdict"] == "unknown"]
    named = any(resource in text for text in [*unknown, *unseen])
    return named and result["findings"][0]["status"] != "pass"


def test_without_the_right_to_write_nothing_is_half_done(restored: Installed) -> None:
    kubeconfig = without(restored, "deployments", "patch")
    for module, options in (CASES["registration"], CASES["router"]):
        result = attempt(restored, module, **options, kubeconfig=kubeconfig)
        assert "may not patch deployments" in failure(result, "Forbidden")
        assert result["changed"] is False


def test_what_was_written_before_a_missing_right_is_told_and_finished_later(restored: Installed) -> None:
    module, options = CASES["router"]
    result = attempt(restored, module, **options, kubeconfig=without(restored, "poddisruptionbudgets", "create"))
    assert "may not create poddisruptionbudgets" in failure(result, "Forbidden")
    assert result["changed"] is True
    assert {change["object"] for change in result["plan"]} == {f"Deployment {restored.namespace}/deis-router"}
    finished = succeeded(attempt(restored, module, **options))
    assert {change["object"] for change in finished["plan"]} == {f"PodDisruptionBudget {restored.namespace}/deis-router"}
    assert finished["proof"]["verdict"] == "pass"
    # The roll back deletes it, which is a right of its own.
    back: dict[str, Any] = {"replicas": 1, "spread": "none", "disruption_budget": False}
    assert "may not delete poddisruptionbudgets" in failure(
        attempt(restored, module, **back, kubeconfig=without(restored, "poddisruptionbudgets", "delete")), "Forbidden"
    )


def test_configured_but_not_seen_is_no_success(restored: Installed) -> None:
    module, options = CASES["router"]
    message = failure(attempt(restored, module, **options, kubeconfig=without(restored, "pods/portforward", "get")), "NotProven")
    assert "pods/portforward" in message
    again = attempt(restored, module, check=True, **options, kubeconfig=without(restored, "pods/portforward", "get"))
    assert finding(again)["status"] == "unknown", "nothing is left to do, and still it is not seen"
    assert succeeded(attempt(restored, module, **options, probe=False, kubeconfig=without(restored, "pods/portforward", "get")))["changed"] is False


def test_a_crowded_router_is_not_deleted_without_the_right(restored: Installed) -> None:
    module, options = CASES["router"]
    succeeded(attempt(restored, module, **options))
    kubectl, (stays, goes) = restored.cluster.kubectl, restored.cluster.nodes
    kubectl("cordon", goes)
    try:
        kubectl("delete", "pod", "-n", restored.namespace, "-l", "app=deis-router", "--field-selector", f"spec.nodeName={goes}", "--now")
        restored.settle()
    finally:
        kubectl("uncordon", goes)
    assert {pod["spec"]["nodeName"] for pod in pods(restored, "deis-router")} == {stays}
    result = attempt(restored, module, **options, kubeconfig=without(restored, "pods", "delete"))
    assert "may not delete pods" in failure(result, "Forbidden")
    assert succeeded(attempt(restored, module, **options))["proof"]["verdict"] == "pass"


def test_host_ports_ask_for_all_pods(restored: Installed) -> None:
    """Only where routers take host ports does anybody else's pod matter, and only then the right to see them all is needed."""
    patch(restored, "deis-router", in_pods(name="deis-router", ports=[{"containerPort": 8080, "hostPort": 18080}]))
    module, options = CASES["router"]
    result = attempt(restored, module, check=True, **options, kubeconfig=without(restored, "pods", "list", cluster=True))
    message = failure(result, "Forbidden")
    assert "may not list pods" in message
    assert "ClusterRole" in message


def test_without_the_namespace_the_platform_is_looked_for(hephy: Installed) -> None:
    kubeconfig = without(hephy, "deployments", "list", cluster=True)
    result = attempt(hephy, INFO, check=True, kubeconfig=kubeconfig, namespace=None)
    assert "Or name the namespace" in failure(result, "Forbidden")
    assert succeeded(attempt(hephy, INFO, kubeconfig=kubeconfig))["platform"]["name"] == "hephy"
