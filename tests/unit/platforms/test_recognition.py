"""A platform is told by what its Deployments are, with true evidence; a look-alike, a mixture and an ambiguity are never taken for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS, recognise
from tests.unit.platforms.deployments import PLATFORM_DEPLOYMENTS, Document, deis, deployment, drycc_1_8, drycc_head, hephy

Deployments = dict[str, Document]


def names(deployments: Deployments, wanted: str | None = None) -> list[str]:
    return [found.platform.name for found in recognise(deployments, "somewhere", wanted)]


def container(document: Document) -> dict[str, Any]:
    entry: dict[str, Any] = document["spec"]["template"]["spec"]["containers"][0]
    return entry


def image(deployments: Deployments, component: str, value: str) -> None:
    container(deployments[component])["image"] = value


def versions_url(deployments: Deployments, value: str) -> None:
    (variable,) = [entry for entry in container(deployments["deis-workflow-manager"])["env"] if entry["name"] == "VERSIONS_API_URL"]
    variable["value"] = value


@pytest.mark.parametrize("name", sorted(PLATFORM_DEPLOYMENTS))
def test_each_platform_is_recognised(name: str) -> None:
    assert names(PLATFORM_DEPLOYMENTS[name]()) == [name]


def test_the_tables_are_complete() -> None:
    assert set(PLATFORM_DEPLOYMENTS) == set(PLATFORMS)
    for name, platform in PLATFORMS.items():
        assert platform.name == name
        assert set(platform.registration.values) == {"admin_only", "disabled", "enabled"}


@pytest.mark.parametrize("name", sorted(PLATFORM_DEPLOYMENTS))
def test_the_evidence_is_true(name: str) -> None:
    deployments = PLATFORM_DEPLOYMENTS[name]()
    (found,) = recognise(deployments, "place")
    assert found.namespace == "place"
    for sentence in found.evidence:
        # Each sentence names a Deployment that is there.
        assert any(component in sentence for component in deployments), sentence
    assert found.as_data()["evidence"] == list(found.evidence)
    for required in found.platform.required:
        assert f"Deployment {required} with label heritage={found.platform.heritage}" in found.evidence


def test_marks_are_part_of_the_evidence() -> None:
    (found,) = recognise(hephy(), "deis")
    assert any(sentence.startswith("environment variable VERSIONS_API_URL of deis-workflow-manager") for sentence in found.evidence)
    assert any(sentence.startswith("image of deis-router") for sentence in found.evidence)
    # The image of the controller proves nothing: Hephy's stands under the organisation of Deis.
    assert not any("deis-controller matches" in sentence for sentence in found.evidence)


@pytest.mark.parametrize(
    ("make", "mirror"),
    [
        (hephy, "registry.example.org:5000/hephy/router:v2.19.0"),
        (hephy, "registry.example.org/mirror/hephy/router@sha256:0123"),
        (hephy, "hephy/router"),
        (deis, "mirror.example.org/deis/router:v2.13.3"),
        (deis, "quay.io/deisci/router:canary"),
        # The mirror's own name says nothing about the platform.
        (hephy, "registry.example.org/platform/router:1"),
        (deis, "registry.example.org/platform/router:1"),
        (hephy, "deis.example.org/router:1"),
        (deis, "hephy.example.org/router:1"),
    ],
)
def test_a_registry_of_ones_own_is_no_obstacle(make: Callable[[], Deployments], mirror: str) -> None:
    deployments = make()
    image(deployments, "deis-router", mirror)
    assert names(deployments) == [make.__name__]


def test_one_mark_is_enough() -> None:
    deployments = hephy()
    for component in ("deis-router", "deis-builder"):
        image(deployments, component, "registry.example.org/paas/x:1")
    assert names(deployments) == ["hephy"]
    del deployments["deis-workflow-manager"], deployments["deis-router"]
    image(deployments, "deis-builder", "hephy/builder:v2.13.7")
    assert names(deployments) == ["hephy"]


def unmarked(deployments: Deployments) -> None:
    for component in ("deis-router", "deis-builder"):
        image(deployments, component, "registry.example.org/paas/x:1")
    del deployments["deis-workflow-manager"]


def mirrored_under_the_other_name(deployments: Deployments) -> None:
    image(deployments, "deis-router", "registry.example.org/deis/router:v2.19.0")
    image(deployments, "deis-builder", "registry.example.org/deis/builder:v2.13.7")


def half_moved(deployments: Deployments) -> None:
    image(deployments, "deis-builder", "quay.io/deis/builder:v2.12.0")


@pytest.mark.parametrize("blur", [unmarked, mirrored_under_the_other_name, half_moved])
def test_relatives_that_cannot_be_told_apart_are_both_named(blur: Callable[[Deployments], None]) -> None:
    deployments = hephy()
    blur(deployments)
    assert names(deployments) == ["deis", "hephy"]
    # A person who names one is believed.
    assert names(deployments, "hephy") == ["hephy"]
    assert names(deployments, "deis") == ["deis"]


@pytest.mark.parametrize(
    "url", ["https://versions.notdeis.com", "https://deis.company.org", "https://example.org/deis.com", "deis.com", "https://versions.teamhephys.info"]
)
def test_a_look_alike_address_is_no_mark(url: str) -> None:
    deployments = hephy()
    unmarked_images = hephy()
    unmarked(unmarked_images)
    deployments |= {"deis-router": unmarked_images["deis-router"], "deis-builder": unmarked_images["deis-builder"]}
    versions_url(deployments, url)
    assert names(deployments) == ["deis", "hephy"]


@pytest.mark.parametrize("look_alike", ["hephy/router-proxy:1", "nothephy/router:1", "hephy/nginx:1", "registry.example.org/hephy-router:1"])
def test_a_look_alike_image_is_no_mark(look_alike: str) -> None:
    deployments = hephy()
    unmarked(deployments)
    image(deployments, "deis-router", look_alike)
    assert names(deployments) == ["deis", "hephy"]


def test_an_injected_sidecar_does_not_hide_the_mark() -> None:
    deployments = hephy()
    for document in deployments.values():
        document["spec"]["template"]["spec"]["containers"].insert(0, {"name": "proxy", "image": "docker.io/istio/proxyv2:1"})
    assert names(deployments) == ["hephy"]


def test_the_image_of_a_sidecar_is_no_mark() -> None:
    deployments = hephy()
    unmarked(deployments)
    deployments["deis-router"]["spec"]["template"]["spec"]["containers"].append({"name": "old", "image": "hephy/router:v2.19.0"})
    deployments["deis-router"]["spec"]["template"]["spec"]["initContainers"] = [{"name": "deis-router", "image": "hephy/router:v2.19.0"}]
    assert names(deployments) == ["deis", "hephy"]


def test_a_variable_that_refers_elsewhere_is_no_mark() -> None:
    deployments = hephy()
    manager = deployments["deis-workflow-manager"]
    unmarked(deployments)
    deployments["deis-workflow-manager"] = manager
    container(manager)["env"] = [{"name": "VERSIONS_API_URL", "valueFrom": {"configMapKeyRef": {"name": "teamhephy.info", "key": "x"}}}]
    assert names(deployments) == ["deis", "hephy"]


@pytest.mark.parametrize("component", ["deis-controller", "deis-builder"])
def test_without_a_part_that_is_always_there_it_is_nothing(component: str) -> None:
    deployments = hephy()
    del deployments[component]
    assert names(deployments) == []
    # Whoever names the platform is not believed against what is there.
    assert names(deployments, "hephy") == []


@pytest.mark.parametrize("heritage", ["helm", "drycc", "Deis", ""])
def test_names_without_the_label_are_somebody_elses(heritage: str) -> None:
    deployments = hephy()
    for document in deployments.values():
        document["metadata"]["labels"]["heritage"] = heritage
    assert names(deployments) == []


def test_no_labels_at_all() -> None:
    deployments = hephy()
    del deployments["deis-controller"]["metadata"]["labels"]
    assert names(deployments) == []


@pytest.mark.parametrize("names_of_parts", [("deis-controller-2", "deis-builder"), ("my-deis-controller", "deis-builder"), ("controller", "builder"), ()])
def test_similar_names_are_nothing(names_of_parts: tuple[str, ...]) -> None:
    assert names({name: deployment(name, "hephy/x:1", "deis", "deis") for name in names_of_parts}) == []


def test_the_two_shapes_of_one_platform_are_kept_apart() -> None:
    assert names(drycc_1_8()) == ["drycc-1.8"]
    assert names(drycc_head()) == ["drycc-head"]
    # An upgrade that stopped in the middle is neither.
    assert names(drycc_1_8() | drycc_head()) == []


def test_two_platforms_in_one_namespace_are_both_found() -> None:
    assert names(hephy() | drycc_head()) == ["hephy", "drycc-head"]
    assert names(hephy() | drycc_head(), "drycc-head") == ["drycc-head"]


def test_a_workload_without_containers_breaks_nothing() -> None:
    deployments = hephy()
    deployments["deis-router"]["spec"]["template"]["spec"] = {"containers": []}
    del deployments["deis-builder"]["spec"]["template"]
    assert names(deployments) == ["hephy"]
