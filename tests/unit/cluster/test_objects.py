"""Reading page by page, and one write for each object, against a scripted server. The real server has its turn in tests/integration."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.failures import KindNotServed, ListExpired
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import Kind
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core import errors
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import Masked
from tests.unit.cluster.scripted_server import Reply, Request, ScriptedServer, status

WEB = Ref("apps/v1", "Deployment", "web", "x")
GATEWAY = Ref("gateway.networking.k8s.io/v1", "Gateway", "g", "x")
ABSENT_API = Reply(404, b"404 page not found\n", {"Content-Type": "text/plain"})


def item(number: int) -> dict[str, Any]:
    return {"metadata": {"name": f"d{number}", "namespace": "x", "managedFields": [{"manager": "m"}]}}


class Pages:
    """A list of so many objects in pages; the snapshot is forgotten once before the page with this token is given."""

    def __init__(self, total: int, forgets: str = "", inconsistent: bool = True) -> None:
        self.items = [item(number) for number in range(total)]
        self.forgets = forgets
        self.inconsistent = inconsistent

    def __call__(self, request: Request) -> Reply:
        token = request.query.get("continue", "")
        if self.forgets and token == self.forgets:
            self.forgets = ""
            metadata = {"continue": f"new-{token}"} if self.inconsistent else {}
            return Reply(410, {"kind": "Status", "reason": "Expired", "code": 410, "metadata": metadata})
        start, size = int(token.rpartition("-")[2] or 0), int(request.query["limit"])
        rest = start + size < len(self.items)
        body = {"kind": "DeploymentList", "metadata": {"continue": str(start + size) if rest else ""}, "items": self.items[start : start + size]}
        return Reply(200, body)


def names(pages: Pages, **options: Any) -> tuple[list[str], ScriptedServer]:
    with ScriptedServer(pages) as server:
        return [one["metadata"]["name"] for one in Objects(server.connect()).list("Deployment", **options)], server


def test_pages_are_asked_for_one_by_one() -> None:
    with ScriptedServer(Pages(7)) as server:
        found = Objects(server.connect()).list("Deployment", page=3, labels="a=b", fields="metadata.name!=z")
        assert not server.requests
        first = next(found)
        assert len(server.requests) == 1
        assert len(list(found)) == 6
        asked = [request.query for request in server.requests]
    assert first == {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d0", "namespace": "x"}}
    selectors = {"labelSelector": "a=b", "fieldSelector": "metadata.name!=z", "limit": "3"}
    assert asked == [selectors, {**selectors, "continue": "3"}, {**selectors, "continue": "6"}]


def test_managed_fields_on_request() -> None:
    with ScriptedServer(Pages(1)) as server:
        assert next(Objects(server.connect()).list("Deployment", managed_fields=True))["metadata"]["managedFields"] == [{"manager": "m"}]


@pytest.mark.parametrize("inconsistent", [True, False])
def test_a_forgotten_snapshot_neither_loses_nor_doubles(inconsistent: bool) -> None:
    found, server = names(Pages(10, forgets="6", inconsistent=inconsistent), page=3)
    assert found == [f"d{number}" for number in range(10)]
    tokens = [request.query.get("continue", "") for request in server.requests]
    assert tokens == (["", "3", "6", "new-6", "9"] if inconsistent else ["", "3", "6", "", "3", "6", "9"])


def test_a_server_that_always_forgets_is_given_up() -> None:
    def forgetful(request: Request) -> Reply:
        return status(410, "Expired", "gone") if "continue" in request.query else Pages(10)(request)

    with ScriptedServer(forgetful) as server, pytest.raises(ListExpired):
        list(Objects(server.connect()).list("Deployment", page=3))


def test_metadata_only() -> None:
    with ScriptedServer(Pages(1)) as server:
        assert next(Objects(server.connect()).list_metadata("Secret", "x"))["kind"] == "Secret"
        assert server.requests[0].headers["accept"][0].startswith("application/json;as=PartialObjectMetadataList")


def test_a_page_that_fails_is_repeated_and_the_list_goes_on() -> None:
    pages, failed = Pages(5), []

    def shaky(request: Request) -> Reply:
        if request.query.get("continue") == "2" and not failed:
            failed.append(1)
            return Reply(200, {"items": [1] * 999}, cut=30)
        return pages(request)

    with ScriptedServer(shaky) as server:
        assert len(list(Objects(server.connect()).list("Deployment", page=2))) == 5


def test_find_is_none_only_for_what_is_really_not_there() -> None:
    missing = status(404, "NotFound", "not found", name="web", kind="deployments")
    with ScriptedServer([missing]) as server:
        assert Objects(server.connect()).find("Deployment", "web", "x") is None
        with pytest.raises(errors.NotFound):
            Objects(server.connect()).get("Deployment", "web", "x")
    with ScriptedServer([status(403, "Forbidden", "cannot get resource")]) as server, pytest.raises(errors.Forbidden):
        Objects(server.connect()).find("Deployment", "web", "x")
    with ScriptedServer([Reply(500, b"")]) as server, pytest.raises(errors.Unavailable):
        Objects(server.connect(retry_timeout=0)).find("Deployment", "web", "x")


def test_one_request_for_one_object() -> None:
    with ScriptedServer([Reply(200, {"kind": "Deployment"})]) as server:
        connection = server.connect()
        Objects(connection).get("Deployment", "web", "x")
    assert (connection.reads, connection.writes, connection.discoveries) == (1, 0, 0)


class OldServer:
    """Knows PodDisruptionBudget only as v1beta1, and no Gateway API."""

    def __call__(self, request: Request) -> Reply:
        group = {"name": "policy", "versions": [{"groupVersion": "policy/v1beta1", "version": "v1beta1"}]}
        group["preferredVersion"] = {"groupVersion": "policy/v1beta1", "version": "v1beta1"}
        resources = [{"name": "poddisruptionbudgets", "kind": "PodDisruptionBudget", "namespaced": True, "singularName": "", "verbs": ["get"]}]
        known = {
            "/version": {"gitVersion": "v1.20.0"},
            "/apis": {"kind": "APIGroupList", "groups": [group]},
            "/apis/policy": group,
            "/apis/policy/v1beta1": {"kind": "APIResourceList", "groupVersion": "policy/v1beta1", "resources": resources},
            "/apis/policy/v1beta1/namespaces/x/poddisruptionbudgets/b": {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"},
            "/apis/policy/v1beta1/namespaces/x/poddisruptionbudgets": {"items": []},
        }
        return Reply(200, known[request.path]) if request.path in known else ABSENT_API


def test_an_older_version_is_found_out_once() -> None:
    with ScriptedServer(OldServer()) as server:
        connection = server.connect()
        objects = Objects(connection)
        assert objects.get("PodDisruptionBudget", "b", "x")["apiVersion"] == "policy/v1beta1"
        discoveries = connection.discoveries
        assert discoveries > 0
        assert list(objects.list("PodDisruptionBudget", "x")) == []
        budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b", "namespace": "x"}}
        objects.apply_plan(Plan((Change(Ref("policy/v1", "PodDisruptionBudget", "b", "x"), (), ABSENT, budget, "w"),)))
        created = server.requests[-1]
        assert connection.discoveries == discoveries
    assert (created.path, created.body["apiVersion"]) == ("/apis/policy/v1beta1/namespaces/x/poddisruptionbudgets", "policy/v1beta1")


def test_an_api_that_is_not_there_is_found_out_once() -> None:
    with ScriptedServer(OldServer()) as server:
        connection = server.connect()
        objects = Objects(connection)
        assert objects.find("GatewayClass", "g") is None
        assert objects.find("Gateway", "g", "x") is None
        assert objects.find(Kind("gateway.networking.k8s.io/v1", "Thing", "things", True), "g", "x") is None
        with pytest.raises(KindNotServed):
            list(objects.list("Gateway"))
    assert (connection.reads, connection.discoveries) == (1, 1)


def test_without_rights_an_api_that_is_not_there_is_still_not_there() -> None:
    def strict(request: Request) -> Reply:
        return ABSENT_API if request.path == "/apis/gateway.networking.k8s.io" else status(403, "Forbidden", "cannot get resource")

    with ScriptedServer(strict) as server:
        objects = Objects(server.connect())
        assert objects.find("GatewayClass", "g") is None
        with pytest.raises(errors.Forbidden):
            objects.find("Deployment", "web", "x")
    assert (objects.connection.reads, objects.connection.discoveries) == (2, 1)


def apply(*changes: Change, version: str = "7", replies: list[Reply] | None = None, ref: Ref = WEB) -> tuple[list[Request], Connection, Objects]:
    with ScriptedServer(replies or [Reply()]) as server:
        connection = server.connect()
        objects = Objects(connection)
        objects.apply_plan(Plan(changes, {ref: version} if version else {}))
        return server.requests, connection, objects


def change(path: Path, before: Any, after: Any, ref: Ref = WEB) -> Change:
    return Change(ref, path, before, after, "because")


def test_one_patch_for_each_object_with_its_version() -> None:
    other = Ref("v1", "ConfigMap", "c", "x")
    requests, connection, objects = apply(change(("spec", "replicas"), 1, 2), change(("data", "a"), "1", "2", other), change(("spec", "paused"), ABSENT, True))
    assert [(one.method, one.path) for one in requests] == [
        ("PATCH", "/apis/apps/v1/namespaces/x/deployments/web"),
        ("PATCH", "/api/v1/namespaces/x/configmaps/c"),
    ]
    assert requests[0].body == {"spec": {"replicas": 2, "paused": True}, "metadata": {"resourceVersion": "7"}}
    assert requests[0].headers["content-type"] == ["application/strategic-merge-patch+json"]
    assert requests[1].body == {"data": {"a": "2"}}
    assert (connection.reads, connection.writes, connection.discoveries) == (0, 2, 0)
    assert objects.written == [WEB, other]


def test_custom_resources_are_merged() -> None:
    requests, _connection, _objects = apply(change(("spec", "gatewayClassName"), "a", "b", GATEWAY), ref=GATEWAY)
    assert requests[0].headers["content-type"] == ["application/merge-patch+json"]
    assert requests[0].body == {"spec": {"gatewayClassName": "b"}, "metadata": {"resourceVersion": "7"}}


def test_creating_and_deleting() -> None:
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "x"}, "spec": {"replicas": 1}}
    created, _connection, _objects = apply(change((), ABSENT, document))
    assert (created[0].method, created[0].path, created[0].body) == ("POST", "/apis/apps/v1/namespaces/x/deployments", document)
    deleted, _connection, _objects = apply(change((), {"metadata": {"uid": "u"}}, ABSENT))
    assert (deleted[0].method, deleted[0].path) == ("DELETE", "/apis/apps/v1/namespaces/x/deployments/web")
    assert deleted[0].body["preconditions"] == {"resourceVersion": "7", "uid": "u"}
    assert deleted[0].body["propagationPolicy"] == "Background"


def test_deleting_what_is_gone_already() -> None:
    gone = status(404, "NotFound", "not found", name="web", kind="deployments")
    requests, _connection, objects = apply(change((), {}, ABSENT), replies=[gone])
    assert len(requests) == 1
    assert objects.written == [WEB]


@pytest.mark.parametrize(
    "changes",
    [
        (change(("spec", "template"), {}, {"metadata": {"annotations": {"a": Masked()}}}),),
        (change((), ABSENT, {"spec": [Masked()]}),),
        (change((), {}, {}),),
        (change((), ABSENT, {}), change(("spec", "replicas"), 1, 2)),
        (change(("spec", "tolerations", Item("key", "a")), ABSENT, {"key": "a"}),),
    ],
)
def test_what_must_not_be_sent_stops_the_whole_plan(changes: tuple[Change, ...]) -> None:
    first = change(("data", "a"), "1", "2", Ref("v1", "ConfigMap", "first", "x"))
    with ScriptedServer([Reply()]) as server:
        objects = Objects(server.connect())
        with pytest.raises(errors.Invalid):
            objects.apply_plan(Plan((first, *changes)))
        assert not server.requests
        assert not objects.written


def test_what_was_written_before_a_failure_is_known() -> None:
    other = Ref("v1", "ConfigMap", "c", "x")
    with ScriptedServer([Reply(), status(409, "Conflict", "changed")]) as server:
        objects = Objects(server.connect())
        with pytest.raises(errors.Conflict):
            objects.apply_plan(Plan((change(("spec", "replicas"), 1, 2), change(("data", "a"), "1", "2", other))))
        assert objects.written == [WEB]


def test_a_version_that_was_read_is_written_in_that_version() -> None:
    ref = Ref("apps/v1beta1", "Deployment", "web", "x")
    requests, _connection, _objects = apply(change(("spec", "replicas"), 1, 2, ref), ref=ref)
    assert requests[0].path == "/apis/apps/v1beta1/namespaces/x/deployments/web"
