"""Detection over a connection: one list request, a refusal that says what to do when nothing or two things match."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, NotFound
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import detect
from tests.unit.cluster.scripted_server import Reply, Request, ScriptedServer, status
from tests.unit.platforms.deployments import Document, deis, deployment, drycc_1_8, drycc_head, hephy

DEPLOYMENTS = "/apis/apps/v1/deployments"


class Cluster(ScriptedServer):
    """Serves lists of Deployments as an API server does: of one namespace or all, only those with a label value that was asked for."""

    def __init__(self) -> None:
        super().__init__(self.serve)
        self.deployments: list[Document] = []
        self.forbidden = ""

    def serve(self, request: Request) -> Reply:
        namespace = request.path.partition("/namespaces/")[2].partition("/")[0]
        if request.path == self.forbidden:
            return status(
                403,
                "Forbidden",
                'deployments.apps is forbidden: User "me" cannot list resource "deployments" in API group "apps" at the cluster scope',
                group="apps",
                kind="deployments",
            )
        label, _in, values = request.query["labelSelector"].partition(" in ")
        allowed = values.strip("()").replace(" ", "").split(",")
        items = [
            document
            for document in self.deployments
            if namespace in ("", document["metadata"]["namespace"]) and document["metadata"]["labels"].get(label) in allowed
        ]
        return Reply(body={"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {}, "items": items})

    def holds(self, *platforms: dict[str, Document]) -> Objects:
        self.deployments = [document for platform in platforms for document in platform.values()]
        return Objects(self.connect())


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as server:
        yield server


def test_finds_the_platform_with_one_request(cluster: Cluster) -> None:
    strangers = {"web": deployment("web", "nginx:1", "shop", "helm"), "deis-controller": deployment("deis-controller", "x/y:1", "shop", "helm")}
    found = detect(cluster.holds(strangers, hephy("paas")))
    assert (found.platform.name, found.namespace) == ("hephy", "paas")
    assert [request.path for request in cluster.requests] == [DEPLOYMENTS]


def test_asks_nothing_when_all_is_given(cluster: Cluster) -> None:
    found = detect(cluster.holds(), "deis", "anywhere")
    assert (found.platform.name, found.namespace, found.evidence) == ("deis", "anywhere", ("given",))
    assert cluster.requests == []


def test_reads_only_the_namespace_that_is_given(cluster: Cluster) -> None:
    found = detect(cluster.holds(hephy("one"), drycc_head("two")), namespace="two")
    assert found.platform.name == "drycc-head"
    assert [request.path for request in cluster.requests] == ["/apis/apps/v1/namespaces/two/deployments"]


def test_a_given_platform_chooses_among_several(cluster: Cluster) -> None:
    assert detect(cluster.holds(hephy("one"), drycc_1_8("two")), platform="drycc-1.8").namespace == "two"


def test_two_platforms_are_refused_by_name(cluster: Cluster) -> None:
    with pytest.raises(Invalid) as caught:
        detect(cluster.holds(deis("old"), drycc_head("new")))
    assert "drycc-head in namespace new" in caught.value.message
    assert "deis in namespace old" in caught.value.message
    assert "platform and namespace" in caught.value.hint


def test_one_platform_twice_is_refused_too(cluster: Cluster) -> None:
    with pytest.raises(Invalid, match="hephy in namespace a; hephy in namespace b"):
        detect(cluster.holds(hephy("a"), hephy("b")), platform="hephy")


def test_nothing_is_refused_with_what_is_near(cluster: Cluster) -> None:
    half = hephy("paas")
    del half["deis-controller"]
    with pytest.raises(NotFound) as caught:
        detect(cluster.holds(half))
    assert "No known platform runs in the cluster" in caught.value.message
    assert "namespace paas has deis-builder, deis-database" in caught.value.message
    assert "kubeconfig" in caught.value.hint


@pytest.mark.parametrize(("namespace", "where"), [(None, "the cluster"), ("empty", "namespace empty")])
def test_an_empty_place_is_called_by_its_name(cluster: Cluster, namespace: str | None, where: str) -> None:
    with pytest.raises(NotFound, match=f"No known platform runs in {where}: no Deployment carries the label heritage"):
        detect(cluster.holds(), namespace=namespace)


def test_the_wrong_platform_is_not_believed(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="No Deis Workflow runs"):
        detect(cluster.holds(drycc_head()), platform="deis")


def test_a_missing_right_says_how_to_do_with_less(cluster: Cluster) -> None:
    objects = cluster.holds(hephy("paas"))
    cluster.forbidden = DEPLOYMENTS
    with pytest.raises(Forbidden) as caught:
        detect(objects)
    assert "name the namespace" in caught.value.hint
    assert detect(objects, namespace="paas").platform.name == "hephy"
