"""The Kubernetes side on a real cluster: log-ins, patches, lists, discovery, rights, and how each refusal of a real server is told."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster import discovery
from ansible_collections.paas.hardening.plugins.module_utils._cluster.access import Right, missing_rights
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import FIELD_MANAGER, VERSION, Connection, connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS, Kind
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core import errors
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, Plan, look, ref_of
from tests.integration import workloads
from tests.integration.tunnel import TunnelProxy
from tests.integration.workloads import changes_for

if TYPE_CHECKING:
    from lab.cluster import Cluster

CANARY = "c4n4ry-hunter2"
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def whoami(connection: Connection) -> tuple[str, list[str]]:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    user = connection.request("POST", REVIEW, body=body).data["status"]["userInfo"]
    return user["username"], user["groups"]


def failing(call: Callable[[], Any]) -> errors.Failure:
    with pytest.raises(errors.Failure) as caught:
        call()
    return caught.value


# Log-ins


def test_certificate_token_and_impersonation(lab_cluster: Cluster, connection: Connection, namespace: str, objects: Objects) -> None:
    workloads.create(objects, workloads.plain("v1", "ServiceAccount", namespace, "robot"))
    token = str(lab_cluster.service_account_kubeconfig(namespace, "robot"))
    certificate = str(lab_cluster.issue_client("carol", groups=["ops"]))
    assert whoami(connect({"kubeconfig": certificate})) == ("carol", ["ops", "system:authenticated"])
    assert whoami(connect({"kubeconfig": token}))[0] == f"system:serviceaccount:{namespace}:robot"
    user = yaml.safe_load(pathlib.Path(token).read_text())["users"][0]["user"]["token"]
    explicit = {"host": connection.host, "api_key": user, "validate_certs": False}
    assert whoami(connect(explicit))[0] == f"system:serviceaccount:{namespace}:robot"
    admin = {"kubeconfig": str(lab_cluster.kubeconfig), "impersonate_user": "eve", "impersonate_groups": ["a", "b"]}
    assert whoami(connect(admin)) == ("eve", ["a", "b", "system:authenticated"])
    error = failing(lambda: Objects(connect({"kubeconfig": certificate, "impersonate_user": "eve"})).get("Namespace", "default"))
    assert isinstance(error, errors.Forbidden)
    assert 'verbs: ["impersonate"]' in error.hint


def test_an_expired_client_certificate(lab_cluster: Cluster) -> None:
    kubeconfig = str(lab_cluster.issue_client("dave", valid_for_seconds=-60))
    error = failing(lambda: Objects(connect({"kubeconfig": kubeconfig})).get("Namespace", "default"))
    assert isinstance(error, errors.Unauthorized)
    assert error.hint.startswith("The client certificate expired on ")


def test_a_token_that_nobody_knows(connection: Connection) -> None:
    strange = connect({"host": connection.host, "api_key": CANARY, "validate_certs": False})
    error = failing(lambda: strange.request("GET", "/version"))
    assert isinstance(error, errors.Unauthorized)
    assert CANARY not in str(error)


def test_an_untrusted_authority(connection: Connection) -> None:
    error = failing(lambda: connect({"host": connection.host, "api_key": "k", "retry_timeout": 5}).request("GET", "/version"))
    assert isinstance(error, errors.Unavailable)
    assert "signed by a CA that is not trusted" in error.message or "self-signed" in error.message


def test_through_a_proxy(lab_cluster: Cluster, connection: Connection) -> None:
    with TunnelProxy("me", CANARY) as proxy:
        params = {"kubeconfig": str(lab_cluster.kubeconfig), "proxy": f"http://{proxy.address}", "retry_timeout": 0}
        named = connect({**params, "proxy_headers": {"proxy_basic_auth": f"me:{CANARY}"}})
        assert named.request("GET", "/version").status == 200
        assert proxy.tunnels == [connection.host.removeprefix("https://")]
        error = failing(lambda: connect(params).request("GET", "/version"))
        assert proxy.refused == 1
        assert "proxy does not let us through" in error.message


# Reading


def test_one_read_and_no_discovery_for_an_unchanged_object(lab_cluster: Cluster) -> None:
    fresh = connect({"kubeconfig": str(lab_cluster.kubeconfig)})
    Objects(fresh).find("Deployment", "none", "default")
    assert (fresh.reads, fresh.writes, fresh.discoveries) == (1, 0, 0)


def test_lists_of_a_real_server(objects: Objects, namespace: str) -> None:
    documents = [workloads.plain("v1", "ConfigMap", namespace, f"c{number:02}", data={"n": str(number)}) for number in range(23)]
    workloads.create(objects, *documents)
    before = objects.connection.reads
    found = [one for one in objects.list("ConfigMap", namespace, page=5) if one["metadata"]["name"].startswith("c")]
    assert objects.connection.reads - before == 5
    assert [one["data"]["n"] for one in found] == [str(number) for number in range(23)]
    assert all("managedFields" not in one["metadata"] and one["kind"] == "ConfigMap" for one in found)
    assert (
        next(objects.list("ConfigMap", namespace, fields="metadata.name=c07", managed_fields=True))["metadata"]["managedFields"][0]["manager"] == FIELD_MANAGER
    )
    about = list(objects.list_metadata("ConfigMap", namespace, fields="metadata.name=c07"))
    assert (about[0]["metadata"]["name"], "data" in about[0]) == ("c07", False)


def test_a_list_whose_token_the_server_never_gave_is_an_error(connection: Connection) -> None:
    error = failing(lambda: connection.request("GET", "/api/v1/pods", {"limit": "1", "continue": CANARY}))
    assert isinstance(error, errors.Invalid)
    assert CANARY not in str(error)


def test_what_is_not_there_is_told_apart(objects: Objects, namespace: str) -> None:
    assert objects.find("Deployment", "none", namespace) is None
    assert objects.find("Deployment", "none", "no-such-namespace") is None
    error = failing(lambda: workloads.create(objects, workloads.plain("v1", "ConfigMap", "no-such-namespace", "c")))
    assert isinstance(error, errors.NotFound)
    assert error.message == "The namespace no-such-namespace does not exist."


def test_an_api_that_is_not_installed(lab_cluster: Cluster) -> None:
    fresh = connect({"kubeconfig": str(lab_cluster.kubeconfig)})
    assert Objects(fresh).find(Kind("nothing.example.org/v1", "Thing", "things", True), "x", "default") is None
    assert (fresh.reads, fresh.discoveries) == (1, 1)
    nobody = connect({"kubeconfig": str(lab_cluster.kubeconfig), "impersonate_user": "nobody"})
    assert Objects(nobody).find(Kind("nothing.example.org/v1", "Thing", "things", True), "x", "default") is None
    assert isinstance(failing(lambda: Objects(nobody).find("Deployment", "none", "default")), errors.Forbidden)


@pytest.mark.parametrize(("group", "kind"), [("autoscaling", "HorizontalPodAutoscaler"), ("policy", "PodDisruptionBudget"), ("", "Pod")])
def test_discovery_finds_what_the_table_says(connection: Connection, group: str, kind: str) -> None:
    by_reading = discovery.resources_read(connection, connection.request("GET", f"/apis/{group}").data if group else {}, group, kind)
    assert KINDS[kind] in [found for preferred, found in by_reading if preferred]
    assert discovery.served_kind(connection, group, kind) == KINDS[kind]
    assert discovery.served_kind(connection, group, "NoSuchKind") is None


def test_a_version_that_the_server_no_longer_has(lab_cluster: Cluster, namespace: str, objects: Objects) -> None:
    workloads.create(objects, workloads.plain("policy/v1", "PodDisruptionBudget", namespace, "b", spec={"maxUnavailable": 1, "selector": {}}))
    fresh = connect({"kubeconfig": str(lab_cluster.kubeconfig)})
    old = Kind("policy/v1beta1", "PodDisruptionBudget", "poddisruptionbudgets", True)
    assert Objects(fresh).get(old, "b", namespace)["apiVersion"] == "policy/v1"
    discoveries = fresh.discoveries
    assert Objects(fresh).get(old, "b", namespace)["apiVersion"] == "policy/v1"
    assert fresh.discoveries == discoveries > 0


# Writing

POD: Path = ("spec", "template", "spec")
MAIN: Path = (*POD, "containers", Item("name", "main"))


def spread(key: str) -> dict[str, Any]:
    return {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}


@pytest.fixture
def web(objects: Objects, namespace: str) -> dict[str, Any]:
    """A Deployment with something of everything, and no pods."""
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    main = workloads.container(["a", "b"], env=env, ports=[{"containerPort": 80, "name": "http"}], args=["x", "y"])
    pod = {
        "nodeSelector": {"a": "1", "b": "2"},
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "topologySpreadConstraints": [spread("zone")],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }
    document = workloads.workload("Deployment", namespace, "web", main, replicas=0, **pod)
    document["spec"]["template"]["spec"]["containers"].append({**workloads.container(["c"]), "name": "side"})
    document["metadata"]["labels"] = {"a": "1", "b": "2"}
    workloads.create(objects, document)
    return workloads.at_rest(objects, "Deployment", "web", namespace)


@pytest.mark.parametrize(
    "wanted",
    [
        [(("spec", "replicas"), 0), (("spec", "paused"), True), (("metadata", "annotations", "a.b/c"), "x")],
        [((*MAIN, "env", Item("name", "A"), "value"), "9")],
        [((*MAIN, "env", Item("name", "NEW")), {"name": "NEW", "value": "x"}), ((*MAIN, "env", Item("name", "B")), ABSENT)],
        [((*MAIN, "env", Item("name", "A")), {"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}})],
        [((*MAIN, "env"), [{"name": "Z", "value": "1"}, {"name": "A", "value": "2"}])],
        [((*MAIN, "args"), ["only"]), ((*MAIN, "command"), ABSENT)],
        [((*MAIN, "ports", Item("containerPort", 81)), {"containerPort": 81, "protocol": "TCP"})],
        [((*POD, "containers", Item("name", "side")), ABSENT)],
        [((*POD, "nodeSelector"), {"b": "3", "c": "4"}), (("metadata", "labels"), {"a": "1", "c": "3"})],
        [((*POD, "nodeSelector", "a"), ABSENT)],
        [((*POD, "tolerations"), [{"key": "other", "operator": "Exists"}])],
        [((*POD, "topologySpreadConstraints"), [spread("host")])],
        [((*POD, "topologySpreadConstraints", Item("topologyKey", "host")), spread("host"))],
        [((*POD, "volumes", Item("name", "v")), ABSENT), ((*POD, "volumes", Item("name", "w")), {"name": "w", "emptyDir": {}})],
        [((*POD, "volumes", Item("name", "v")), {"name": "v", "configMap": {"name": "c", "defaultMode": 420}})],
        [(("spec", "strategy"), {"type": "Recreate"})],
        [((*MAIN, "readinessProbe"), {"tcpSocket": {"port": 80}, "periodSeconds": 3, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3})],
        [(("metadata", "finalizers"), ["example.org/a", "example.org/b"])],
    ],
)
def test_a_plan_does_what_it_says_in_one_write(objects: Objects, web: dict[str, Any], wanted: list[tuple[Path, Any]]) -> None:
    plan = changes_for(web, wanted)
    assert plan
    writes = objects.connection.writes
    objects.apply_plan(plan)
    assert objects.connection.writes - writes == 1
    name, namespace = web["metadata"]["name"], web["metadata"]["namespace"]
    live = workloads.at_rest(objects, "Deployment", name, namespace)
    assert not changes_for(live, wanted)
    for path in ((*MAIN, "image"), ("spec", "selector"), (*POD, "terminationGracePeriodSeconds")):
        assert look(live, path) == look(web, path)
    if live["metadata"].get("finalizers"):
        objects.apply_plan(changes_for(live, [(("metadata", "finalizers"), ["example.org/b"])]))
        live = workloads.at_rest(objects, "Deployment", name, namespace)
        assert live["metadata"]["finalizers"] == ["example.org/b"]
        objects.apply_plan(changes_for(live, [(("metadata", "finalizers"), ABSENT)]))
        assert "finalizers" not in objects.get("Deployment", name, namespace)["metadata"]


def test_a_concurrent_writer_makes_a_conflict(objects: Objects, web: dict[str, Any]) -> None:
    objects.apply_plan(changes_for(web, [(("metadata", "labels", "a"), "other")]))
    error = failing(lambda: objects.apply_plan(changes_for(web, [(("spec", "paused"), True)])))
    assert isinstance(error, errors.Conflict)
    live = objects.get("Deployment", "web", web["metadata"]["namespace"])
    assert "paused" not in live["spec"]


def test_deleting_and_creating_are_guarded(objects: Objects, namespace: str) -> None:
    document = workloads.plain("v1", "ConfigMap", namespace, "c", data={"a": "1"})
    workloads.create(objects, document)
    assert isinstance(failing(lambda: workloads.create(objects, document)), errors.Conflict)
    old = objects.get("ConfigMap", "c", namespace)
    objects.apply_plan(changes_for(old, [(("data", "a"), "2")]))
    gone = Plan((Change(ref_of(old), (), old, ABSENT, "a test wants it"),), {ref_of(old): old["metadata"]["resourceVersion"]})
    assert isinstance(failing(lambda: objects.apply_plan(gone)), errors.Conflict)
    workloads.delete(objects, "ConfigMap", "c", namespace)
    assert objects.find("ConfigMap", "c", namespace) is None
    objects.apply_plan(gone)


def test_fields_of_a_release_made_by_server_side_apply_are_patched_too(objects: Objects, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps/owned"
    body = workloads.plain("v1", "ConfigMap", namespace, "owned", data={"a": "1"})
    objects.connection.request("PATCH", path, {"fieldManager": "helm"}, body, "application/apply-patch+yaml")
    live = objects.get("ConfigMap", "owned", namespace)
    objects.apply_plan(changes_for(live, [(("data", "a"), "2")]))
    assert objects.get("ConfigMap", "owned", namespace)["data"] == {"a": "2"}


def test_custom_resources_are_merged(objects: Objects, namespace: str, lab_cluster: Cluster) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget"}
    spec = {"group": "test.example.org", "scope": "Namespaced", "names": names, "versions": [version]}
    workloads.create(objects, workloads.plain("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "widgets.test.example.org", spec=spec))
    try:
        end = time.monotonic() + 20
        fresh = Objects(connect({"kubeconfig": str(lab_cluster.kubeconfig)}))
        while discovery.served_kind(fresh.connection, "test.example.org", "Widget") is None:
            fresh.connection.served.clear()
            fresh.connection.unserved.clear()
            assert time.monotonic() < end
            time.sleep(0.2)
        made = workloads.create(fresh, workloads.plain("test.example.org/v1", "Widget", namespace, "w", spec={"a": {"x": 1, "y": [1, 2]}, "b": 2}))
        live = fresh.get(fresh.kind(made[0]), "w", namespace)
        fresh.apply_plan(changes_for(live, [(("spec", "a"), {"y": [3]}), (("spec", "b"), ABSENT)]))
        assert fresh.get(fresh.kind(made[0]), "w", namespace)["spec"] == {"a": {"y": [3]}}
    finally:
        workloads.delete(objects, "CustomResourceDefinition", "widgets.test.example.org")


def test_a_real_echo_of_a_live_secret_does_not_come_through(objects: Objects, namespace: str) -> None:
    workloads.create(objects, workloads.plain("v1", "Secret", namespace, "s", stringData={"password": CANARY}))
    connection = objects.connection
    path = f"/api/v1/namespaces/{namespace}/secrets/s"
    error = failing(lambda: connection.request("PATCH", path, body={"data": {"other": 7}}, content_type="application/merge-patch+json"))
    shown = f"{error} {error!r} {error.as_data()} {error.__context__!r}"
    assert isinstance(error, errors.Invalid)
    assert CANARY not in shown
    assert "YzRuNHJ5" not in shown
    live = objects.get("Secret", "s", namespace)
    failing(lambda: objects.apply_plan(changes_for(live, [(("data", "password"), {"not": "text"})])))


def test_policies_of_the_cluster_are_named(objects: Objects, namespace: str) -> None:
    workloads.create(objects, workloads.plain("v1", "ResourceQuota", namespace, "tight", spec={"hard": {"count/configmaps": "1"}}))
    end = time.monotonic() + 20
    while not (objects.get("ResourceQuota", "tight", namespace).get("status") or {}).get("used"):
        assert time.monotonic() < end
        time.sleep(0.2)
    error = failing(lambda: workloads.create(objects, *(workloads.plain("v1", "ConfigMap", namespace, f"c{number}") for number in range(3))))
    assert isinstance(error, errors.Refused)
    assert "the ResourceQuota tight says no" in error.message
    objects.connection.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}",
        body={"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
        content_type="application/merge-patch+json",
    )
    pod = workloads.plain("v1", "Pod", namespace, "p", spec={"containers": [workloads.container(workloads.SLEEP)]})
    refused = failing(lambda: workloads.create(objects, pod))
    assert isinstance(refused, errors.Refused)
    assert "the Pod Security level restricted" in refused.message


# Rights


def grant(objects: Objects, namespace: str, user: str, *rules: tuple[str, str, str]) -> None:
    """Give the user the rules (group, resource, verb), and nothing else, in the namespace."""
    listed = [{"apiGroups": [group], "resources": [resource], "verbs": [verb]} for group, resource, verb in rules]
    live = objects.find("Role", "granted", namespace)
    if live is not None:
        objects.apply_plan(changes_for(live, [(("rules",), listed)]))
        return
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": "granted", "apiGroup": "rbac.authorization.k8s.io"}
    api = "rbac.authorization.k8s.io/v1"
    workloads.create(
        objects,
        workloads.plain(api, "Role", namespace, "granted", rules=listed),
        workloads.plain(api, "RoleBinding", namespace, "granted", roleRef=role, subjects=[subject]),
    )


def test_each_missing_right_is_named_and_granting_it_helps(lab_cluster: Cluster, objects: Objects, namespace: str, web: dict[str, Any]) -> None:
    user = Objects(connect({"kubeconfig": str(lab_cluster.issue_client("rita"))}))
    steps: list[tuple[tuple[str, str, str], Callable[[], Any]]] = [
        (("apps", "deployments", "get"), lambda: user.get("Deployment", "web", namespace)),
        (("apps", "deployments", "list"), lambda: list(user.list("Deployment", namespace))),
        (("apps", "deployments", "patch"), lambda: user.apply_plan(changes_for(web, [(("spec", "paused"), True)]))),
        (("policy", "poddisruptionbudgets", "create"), lambda: workloads.create(user, workloads.plain("policy/v1", "PodDisruptionBudget", namespace, "b"))),
        (("policy", "poddisruptionbudgets", "delete"), lambda: user.connection.request("DELETE", KINDS["PodDisruptionBudget"].path(namespace, "b"))),
    ]
    granted: list[tuple[str, str, str]] = []
    for right, call in steps:
        group, resource, verb = right
        error = failing(call)
        assert isinstance(error, errors.Forbidden)
        assert f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"] in a Role in namespace {namespace}' in error.hint
        assert missing_rights(user.connection, [(verb, group, resource, namespace)]) == [Right(verb, group, resource, namespace)]
        granted.append(right)
        grant(objects, namespace, "rita", *granted)
        end = time.monotonic() + 10
        while missing_rights(user.connection, [(verb, group, resource, namespace)]):
            assert time.monotonic() < end, "the server does not see the new rule"
            time.sleep(0.1)
        call()


def test_many_rights_are_asked_for_at_once(lab_cluster: Cluster, connection: Connection, objects: Objects, namespace: str) -> None:
    wanted = [("get", "apps", "deployments", namespace), ("create", "", "pods", namespace, "exec"), ("list", "", "secrets", namespace)]
    before = (connection.reads, connection.writes)
    assert missing_rights(connection, wanted) == []
    assert (connection.reads, connection.writes) == (before[0] + 1, before[1])
    grant(objects, namespace, "sam", ("apps", "deployments", "get"), ("", "pods/exec", "create"))
    sam = connect({"kubeconfig": str(lab_cluster.issue_client("sam"))})
    end = time.monotonic() + 10
    while missing_rights(sam, wanted) != [Right("list", "", "secrets", namespace)]:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert missing_rights(sam, [("list", "", "nodes")]) == [Right("list", "", "nodes")]


# The server goes away


def test_a_server_that_restarts_is_waited_for(lab_cluster: Cluster, objects: Objects, namespace: str) -> None:
    workloads.create(objects, workloads.plain("v1", "ConfigMap", namespace, "c", data={"n": "0"}))
    patient = Objects(connect({"kubeconfig": str(lab_cluster.kubeconfig), "retry_timeout": 60}))
    killer = threading.Timer(0.5, lambda: lab_cluster.kill_component("kube-apiserver"))
    killer.start()
    end, number = time.monotonic() + 3, 0
    while time.monotonic() < end or killer.is_alive():
        live = patient.get("ConfigMap", "c", namespace)
        number += 1
        try:
            patient.apply_plan(changes_for(live, [(("data", "n"), str(number))]))
        except errors.Conflict:
            # The write that the server was killed under had arrived.
            assert patient.get("ConfigMap", "c", namespace)["data"]["n"] == str(number)
        time.sleep(0.02)
    killer.join()
    lab_cluster.wait_ready()
    assert patient.get("ConfigMap", "c", namespace)["data"]["n"] == str(number)
    assert patient.connection.reads + patient.connection.writes > 2 * number, "nothing had to be repeated: the server was not away"


def test_a_server_that_stays_away_is_told(lab_cluster: Cluster) -> None:
    hasty = connect({"kubeconfig": str(lab_cluster.kubeconfig), "retry_timeout": 1})
    lab_cluster.stop_component("kube-apiserver")
    try:
        error = failing(lambda: hasty.request("GET", "/version"))
    finally:
        lab_cluster.start_component("kube-apiserver")
        lab_cluster.wait_ready()
    assert isinstance(error, errors.Unavailable)
    assert "nothing listens there" in error.message
    assert json.dumps(error.as_data())


# What the server saw


def seen(cluster: Cluster, user: str) -> list[tuple[str, str, str]]:
    """Every request that reached the API server in the name of this user: verb, path without query, user agent."""
    entries = (json.loads(line) for line in cluster.audit_log.read_text().splitlines())
    done = (entry for entry in entries if entry["stage"] == "ResponseComplete" and entry.get("impersonatedUser", entry["user"])["username"] == user)
    return [(entry["verb"], entry["requestURI"].partition("?")[0], entry["userAgent"]) for entry in done]


def test_the_audit_log_shows_one_request_for_an_unchanged_object_and_two_for_a_changed_one(lab_cluster: Cluster, web: dict[str, Any]) -> None:
    namespace = web["metadata"]["namespace"]
    user = f"auditor-{namespace}"
    masked = {"impersonate_user": user, "impersonate_groups": ["system:masters"]}
    auditor = Objects(connect({"kubeconfig": str(lab_cluster.kubeconfig), **masked}))
    path, agent = f"/apis/apps/v1/namespaces/{namespace}/deployments/web", f"paas.hardening/{VERSION}"
    live = auditor.get("Deployment", "web", namespace)
    assert seen(lab_cluster, user) == [("get", path, agent)]
    auditor.apply_plan(changes_for(live, [(("spec", "paused"), True), ((*MAIN, "image"), "other")]))
    assert seen(lab_cluster, user) == [("get", path, agent), ("patch", path, agent)]


INSIDE = """
import json, os, subprocess, sys
account = json.load(sys.stdin)
subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
os.makedirs(folder)
for name in ("token", "ca.crt"):
    with open(f"{folder}/{name}", "w", encoding="ascii") as file:
        file.write(account[name])
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
answer = connect({}).request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
print(answer.data["status"]["userInfo"]["username"])
"""


def test_in_a_pod_the_service_account_is_enough(lab_cluster: Cluster, objects: Objects, namespace: str, tmp_path: pathlib.Path) -> None:
    """What a pod finds (two files, two variables) is put where a pod has it, in a mount namespace of the process's own."""
    workloads.create(objects, workloads.plain("v1", "ServiceAccount", namespace, "robot"))
    config = yaml.safe_load(lab_cluster.service_account_kubeconfig(namespace, "robot").read_text())
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    account = {"token": config["users"][0]["user"]["token"], "ca.crt": authority}
    address, _colon, port = objects.connection.host.removeprefix("https://").partition(":")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": ":".join(entry for entry in sys.path if entry),
        "HOME": str(tmp_path),
        "KUBERNETES_SERVICE_HOST": address,
        "KUBERNETES_SERVICE_PORT": port,
    }
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", INSIDE]
    done = subprocess.run(command, input=json.dumps(account), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"system:serviceaccount:{namespace}:robot"
