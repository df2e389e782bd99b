"""workflow_registry on a Drycc that runs: settings of every component, the bundled registry with the new account, an app that follows, and all of it back."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.installed import Installed, install, remove_others
from tests.moves.conftest import Mover, file_with
from tests.quality.checkout import ROOT
from tests.registries.killed import run_for

if TYPE_CHECKING:
    from lab.cluster import Cluster
    from lab.registries import ImageRegistry
    from lab.seed import PushedImage

APP, PULL_SECRET = "shop-drycc", "private-registry-web-off-cluster"


@pytest.fixture(scope="module")
def drycc(lab_cluster: Cluster, report: Callable[[str], None]) -> Installed:
    remove_others(lab_cluster, "drycc-head")
    platform = install(lab_cluster, "drycc-head", report)
    lab_cluster.kubectl("apply", "-n", platform.namespace, "-f", str(ROOT / "docs" / "rbac-moves.yml"))
    return platform


@pytest.fixture(scope="module")
def server(lab_cluster: Cluster) -> Iterator[ImageRegistry]:
    made = lab_cluster.registry()
    made.up()
    yield made
    made.down()


@pytest.fixture(scope="module")
def image(drycc: Installed) -> Iterator[PushedImage]:
    """An image in the bundled registry, and an app that runs it; without pods, since the lab's nodes do not pull."""
    from lab.seed import registry

    pushed = registry.of_platform(drycc.place).push(f"{APP}/{APP}", "git-abc1234", [b"layer of an app" * 4096])
    labels = {"app": APP, "type": "web", "heritage": "drycc"}
    container = {"name": f"{APP}-web", "image": f"{inside(drycc)}/{APP}/{APP}:git-abc1234"}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": APP, "labels": {"heritage": "drycc"}}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"{APP}-web", "namespace": APP, "labels": labels}, "spec": spec},
    ]
    drycc.cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    yield pushed
    drycc.cluster.kubectl("delete", "namespace", APP, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def mover(drycc: Installed, image: PushedImage, server: ImageRegistry, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    folder = tmp_path_factory.mktemp("drycc")
    options = {
        "server": server.server,
        "organization": "paas",
        "account": server.credentials["account"],
        "account_password_file": file_with(folder, server.credentials["password"]),
        "ca_file": str(server.ca_file),
        "images": "copy",
    }
    return Mover(drycc, folder, "workflow_registry", options)


def variables(platform: Installed, kind: str, name: str) -> dict[str, Any]:
    """The variables of a component's first container: a text, or Secret and key."""
    spec = platform.objects.get(kind, name, platform.namespace)["spec"]
    pod = (spec.get("jobTemplate", {}).get("spec") or spec)["template"]["spec"]
    found = {}
    for entry in pod["containers"][0].get("env", []):
        reference = entry.get("valueFrom", {}).get("secretKeyRef")
        found[entry["name"]] = (reference["name"], reference["key"]) if reference else entry.get("value")
    return found


def inside(platform: Installed) -> str:
    """The bundled registry, as the nodes reach it."""
    return str(variables(platform, "Deployment", "drycc-builder")["DRYCC_REGISTRY_PROXY_HOST"])


def text(platform: Installed, secret: str, key: str) -> str:
    return base64.b64decode(platform.objects.get("Secret", secret, platform.namespace)["data"][key]).decode()


def test_every_component_is_told_and_back(mover: Mover, image: PushedImage, server: ImageRegistry) -> None:
    from lab.seed import registry

    platform = mover.platform
    before = platform.documents(("Deployment", "DaemonSet", "CronJob", "Secret"))
    checked = mover.result("--check")
    assert mover.writes == []
    moved = mover.result()
    assert [change["field"] for change in moved["plan"]] == [change["field"] for change in checked["plan"]]
    assert moved["proof"]["verdict"] == "pass"

    told = {name: variables(platform, kind, name)["DRYCC_REGISTRY_LOCATION"] for kind, name in components()}
    assert set(told.values()) == {"off-cluster"}
    builder = variables(platform, "Deployment", "drycc-builder")
    for part in ("host", "username", "password", "organization"):
        assert builder[f"DRYCC_REGISTRY_{part.upper()}"] == ("builder-secret", f"registry-{part}")
    assert text(platform, "builder-secret", "registry-organization") == "paas"
    # What the controller makes pull Secrets of, and what the bundled registry lets in.
    assert [text(platform, "registry-secret", key) for key in ("hostname", "username", "password")] == [
        server.server,
        server.credentials["account"],
        server.credentials["password"],
    ]
    assert registry.of_platform(platform.place).pull(image) > 0

    pod = platform.objects.get("Deployment", f"{APP}-web", APP)["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"{server.server}/paas/{APP}:git-abc1234"
    assert pod["imagePullSecrets"] == [{"name": PULL_SECRET}]
    assert platform.objects.find("Secret", PULL_SECRET, APP) is not None
    assert server.client().pull(type(image)(f"paas/{APP}", image.tag, image.digest, image.blobs)) > 0

    again = mover.result()
    assert again["plan"] == []
    assert mover.writes == []
    assert again["overlay"]["builder"]["registry"] == {"enabled": False}
    assert again["overlay"]["builder"]["registryHost"] == server.server
    assert again["overlay"]["controller"]["registry"] == {"enabled": False}

    back = mover.result(state="reverted")
    assert back["proof"]["verdict"] == "pass"
    after = platform.documents(("Deployment", "DaemonSet", "CronJob", "Secret"))
    for ref, document in before.items():
        if ref.kind == "Secret":
            assert document.get("data") == after[ref].get("data"), ref
        else:
            assert document["spec"] == after[ref]["spec"], ref
    pod = platform.objects.get("Deployment", f"{APP}-web", APP)["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"{inside(platform)}/{APP}/{APP}:git-abc1234"
    assert platform.objects.find("Secret", PULL_SECRET, APP) is None
    assert registry.of_platform(platform.place).pull(image) > 0


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_is_gone_on_with_by_the_next(mover: Mover, image: PushedImage, seed: int, report: Callable[[str], None]) -> None:
    platform, chance = mover.platform, random.Random(seed)
    kinds = ("Deployment", "DaemonSet", "CronJob", "Secret")
    mover.result(state="reverted")
    before = platform.documents(kinds)
    options = dict(mover.task().options)
    told = []
    for way, share in (("external", chance.random()), ("reverted", chance.random())):
        # As long as a whole run takes on a quiet machine.
        killed, seconds = run_for({**options, "state": way}, 2 + share * 25)
        told.append(f"{way}: {'killed' if killed else 'ended'} after {seconds:.1f} s")
        done = mover.result(state=way)
        assert done["proof"]["verdict"] == "pass"
        assert mover.result(state=way)["plan"] == []
        assert mover.writes == []
    report(f"seed {seed}: {'; '.join(told)}")
    after = platform.documents(kinds)
    for ref, document in before.items():
        assert document.get("spec", document.get("data")) == after[ref].get("spec", after[ref].get("data")), ref
    assert platform.objects.find("Secret", PULL_SECRET, APP) is None


def components() -> list[tuple[str, str]]:
    """Everything that has to know where images are."""
    parts = [("Deployment", f"drycc-controller-{part}") for part in ("api", "celery", "metric", "mutate")]
    return [("Deployment", "drycc-builder"), *parts, *(("CronJob", f"drycc-controller-cronjob-{span}") for span in ("daily", "hourly"))]
