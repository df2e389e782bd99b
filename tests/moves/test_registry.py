"""workflow_registry on a real platform: refused, looked at, moved with the images that apps run, proved, mended, moved back, and kept by a real upgrade."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.contract.canaries import leaks
from tests.contract.installed import Installed
from tests.contract.playbook import Run
from tests.moves.conftest import Mover, file_with

if TYPE_CHECKING:
    from lab.registries import ImageRegistry
    from lab.seed import PushedImage, Sown

INSIDE = "127.0.0.1:5555"
PULL_SECRET = "private-registry-off-cluster"
STAGES = ["prepare", "copy", "log-ins of apps", "apps follow", "switch"]
VARIABLE = "DEIS_REGISTRY_LOCATION"


class Apps:
    """Apps of images in the bundled registry, as the controller makes them. Without pods: the lab's nodes do not pull."""

    def __init__(self, platform: Installed, images: list[PushedImage]) -> None:
        self.platform, self.images = platform, {f"shop-{number}": image for number, image in enumerate(images)}

    def deploy(self) -> None:
        items: list[dict[str, Any]] = []
        for name, image in self.images.items():
            labels = {"app": name, "type": "cmd", "heritage": "deis"}
            container = {"name": f"{name}-cmd", "image": f"{INSIDE}/{image.repository}:{image.tag}", "env": [{"name": "PORT", "value": "5000"}]}
            spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}
            items += [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"heritage": "deis"}}},
                {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"{name}-cmd", "namespace": name, "labels": labels}, "spec": spec},
            ]
        self.platform.cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def remove(self) -> None:
        for name in self.images:
            self.platform.cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")

    def image_of(self, name: str) -> str:
        return str(self._pod(name)["containers"][0]["image"])

    def pulls_with(self, name: str) -> list[str]:
        return [entry["name"] for entry in self._pod(name).get("imagePullSecrets", [])]

    def log_in(self, name: str) -> tuple[str, str]:
        """The registry and the account with its password, out of the pull Secret."""
        data = self.platform.objects.get("Secret", PULL_SECRET, name)["data"]
        ((registry, entry),) = json.loads(base64.b64decode(data[".dockerconfigjson"]))["auths"].items()
        return registry, base64.b64decode(entry["auth"]).decode()

    def _pod(self, name: str) -> dict[str, Any]:
        pod: dict[str, Any] = self.platform.objects.get("Deployment", f"{name}-cmd", name)["spec"]["template"]["spec"]
        return pod


@pytest.fixture(scope="module")
def apps(hephy: Installed, sown: Sown) -> Iterator[Apps]:
    made = Apps(hephy, sown.images[:2])
    made.deploy()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def mover(hephy: Installed, apps: Apps, registry: ImageRegistry, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    folder = tmp_path_factory.mktemp("registry")
    options = {
        "server": registry.server,
        "organization": "paas",
        "account": registry.credentials["account"],
        "account_password_file": file_with(folder, registry.credentials["password"] + "\n"),
        "ca_file": str(registry.ca_file),
        "images": "copy",
    }
    return Mover(hephy, folder, "workflow_registry", options)


class Told:
    """The runs of the move, in their order, each with what it wrote."""

    def __init__(self, mover: Mover) -> None:
        self.before = mover.platform.documents()
        self.refused = mover.run(images="refuse")
        self.refused_writes = mover.writes
        self.checked = mover.result("--check")
        self.checked_writes = mover.writes
        self.untouched = mover.platform.documents() == self.before
        self.moved: Run = mover.run().ok()
        self.moved_writes = mover.writes
        self.again = mover.result()
        self.again_writes = mover.writes
        self.as_module = mover.result(as_module=True)


@pytest.fixture(scope="module")
def told(mover: Mover) -> Told:
    return Told(mover)


def stages(result: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(change["stage"] for change in result["plan"]))


def shape(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(change["stage"], change["object"], change["field"]) for change in result["plan"]]


def told_of(platform: Installed, name: str) -> str:
    """What a component is told of where images are."""
    (container,) = platform.objects.get("Deployment", name, platform.namespace)["spec"]["template"]["spec"]["containers"]
    return next(str(entry["value"]) for entry in container["env"] if entry["name"] == VARIABLE)


def test_apps_of_the_bundled_registry_are_named_and_stop_the_run(told: Told, apps: Apps) -> None:
    assert told.refused.status != 0
    message = told.refused.result("move")["msg"]
    assert all(name in message for name in apps.images)
    assert INSIDE in message
    assert told.refused_writes == []


def test_check_mode_shows_the_whole_move_and_touches_nothing(told: Told) -> None:
    assert stages(told.checked) == STAGES
    assert told.checked_writes == []
    assert told.untouched


def test_the_move_does_what_was_shown(told: Told, mover: Mover) -> None:
    result = dict(told.moved.result("move"))
    assert shape(result) == shape(told.checked)
    assert result["proof"]["verdict"] == "pass"
    assert result["findings"][0]["status"] == "fixed"
    assert {told_of(mover.platform, name) for name in ("deis-builder", "deis-controller")} == {"off-cluster"}


def test_one_write_for_each_object(told: Told) -> None:
    written = [(request.resource, request.namespace, request.name) for request in told.moved_writes if request.stored]
    named = [entry for entry in written if entry[2]]
    assert len(named) == len(set(named))


def test_the_proof_was_made_from_here_and_from_inside(told: Told) -> None:
    whats = " ".join(check["what"] for check in told.moved.result("move")["proof"]["checks"])
    assert "from here" in whats
    assert "out of deis-controller" in whats
    assert "pull Secrets of apps" in whats
    assert "image " in whats


def test_a_second_run_writes_nothing_and_changes_nothing(told: Told) -> None:
    assert told.again_writes == []
    assert not told.again["changed"]
    assert told.again["plan"] == []
    assert not told.as_module["changed"]
    assert told.as_module["findings"] == told.again["findings"]


def test_no_secret_is_seen(told: Told, registry: ImageRegistry) -> None:
    password = registry.credentials["password"]
    assert not leaks({password}, told.moved.output)
    assert not leaks({password}, str(told.moved.records))


def test_apps_follow_their_images_with_a_log_in_that_opens_them(told: Told, apps: Apps, registry: ImageRegistry) -> None:
    for name, image in apps.images.items():
        assert apps.image_of(name) == f"{registry.server}/paas/{image.repository}:{image.tag}"
        assert apps.pulls_with(name) == [PULL_SECRET]
        assert apps.log_in(name) == (registry.server, f"{registry.credentials['account']}:{registry.credentials['password']}")


def test_every_image_can_be_pulled_by_digest_while_the_bundled_registry_is_off(told: Told, mover: Mover, apps: Apps, registry: ImageRegistry) -> None:
    cluster, namespace = mover.platform.cluster, mover.platform.namespace
    cluster.kubectl("scale", "deployment/deis-registry", "-n", namespace, "--replicas=0")
    try:
        cluster.kubectl("wait", "-n", namespace, "--for=delete", "pod", "-l", "app=deis-registry", "--timeout=60s")
        client = registry.client()
        for image in apps.images.values():
            moved = type(image)(f"paas/{image.repository}", image.tag, image.digest, image.blobs)
            assert client.pull(moved) > sum(image.blobs.values())
    finally:
        cluster.kubectl("scale", "deployment/deis-registry", "-n", namespace, "--replicas=1")
        cluster.kubectl("rollout", "status", "deployment/deis-registry", "-n", namespace, "--timeout=120s")


def test_what_is_still_to_be_done_by_hand_is_told(told: Told, apps: Apps) -> None:
    found = {finding["control"]: finding for finding in told.again["findings"]}
    assert found["registry-not-built-since"]["status"] == "fail"
    assert all(name in found["registry-not-built-since"]["subject"] for name in apps.images)
    assert found["registry-port"]["status"] == "unknown"


def test_what_the_upgrade_needs_is_in_the_overlay_and_the_password_is_not(told: Told, registry: ImageRegistry) -> None:
    assert told.again["overlay"]["global"] == {"registry_location": "off-cluster"}
    stated = told.again["overlay"]["registry-token-refresher"]["off_cluster_registry"]
    assert stated == {"hostname": registry.server, "organization": "paas", "username": registry.credentials["account"]}
    named = {verdict["values_path"] for verdict in told.again["durability"]}
    assert "registry-token-refresher.off_cluster_registry.password" in named


@pytest.mark.proof
def test_what_somebody_changed_is_mended(told: Told, mover: Mover, apps: Apps) -> None:
    platform, (name, *_others) = mover.platform, apps.images
    platform.cluster.kubectl("set", "env", "deployment/deis-builder", "-n", platform.namespace, f"{VARIABLE}=on-cluster")
    platform.cluster.kubectl("delete", "secret", PULL_SECRET, "-n", name)
    platform.cluster.kubectl("patch", "secret", "registry-secret", "-n", platform.namespace, "--type=merge", "-p", '{"data": {"password": "b3RoZXI="}}')
    result = mover.result()
    assert {change["object"] for change in result["plan"] if not change["object"].startswith("Registry")} == {
        f"Secret {name}/{PULL_SECRET}",
        f"Deployment {platform.namespace}/deis-builder",
        f"Secret {platform.namespace}/registry-secret",
    }
    assert result["proof"]["verdict"] == "pass"


def test_a_wrong_password_stops_before_anything_is_touched(told: Told, mover: Mover, tmp_path: Path) -> None:
    run = mover.run(account_password_file=file_with(tmp_path, "not-the-password"))
    assert run.status != 0
    assert "401" in run.result("move")["msg"]
    assert "not-the-password" not in run.output
    assert mover.writes == []


def test_a_new_password_reaches_every_app_without_a_restart(told: Told, mover: Mover, apps: Apps, registry: ImageRegistry) -> None:
    fresh = registry.change_password()
    stale = mover.run()
    assert stale.status != 0, "the old password opens nothing any more, which a run has to notice"
    assert mover.writes == []
    mover.options["account_password_file"] = file_with(mover.folder, fresh)
    result = mover.result()
    assert {change["object"].partition(" ")[0] for change in result["plan"]} == {"Secret"}
    for name in apps.images:
        assert apps.log_in(name)[1].endswith(f":{fresh}")


@pytest.mark.proof
def test_back_to_the_bundled_registry_with_the_images(told: Told, mover: Mover, apps: Apps, sown: Sown) -> None:
    assert mover.run(state="reverted", images="refuse").status != 0
    assert mover.writes == []
    result = mover.result(state="reverted")
    assert result["changed"]
    assert result["proof"]["verdict"] == "pass"
    platform = mover.platform
    assert platform.objects.find("Secret", "registry-secret", platform.namespace) is None
    after = platform.documents(("Deployment",))
    for ref, document in told.before.items():
        if ref.kind == "Deployment":
            assert document["spec"]["template"]["spec"] == after[ref]["spec"]["template"]["spec"], ref
    for name, image in apps.images.items():
        assert apps.image_of(name) == f"{INSIDE}/{image.repository}:{image.tag}"
        assert apps.pulls_with(name) == []
        assert platform.objects.find("Secret", PULL_SECRET, name) is None
    assert sown.pull() > 0
    assert not mover.result(state="reverted")["changed"]
    assert mover.writes == []


@pytest.mark.proof
def test_a_switch_that_does_not_come_to_its_end_is_taken_back(mover: Mover) -> None:
    # No rollout is over within a second, so that the run ends between the builder and the controller. Apps would follow before, and be waited for.
    run = mover.run(wait_timeout=1, images="keep")
    assert run.status != 0
    assert "taken back" in run.result("move")["msg"]
    assert {told_of(mover.platform, name) for name in ("deis-builder", "deis-controller")} == {"on-cluster"}
    mover.platform.settle()


@pytest.mark.proof
def test_a_real_upgrade_with_the_overlay_takes_the_secret_over_and_changes_nothing_else(
    told: Told, mover: Mover, registry: ImageRegistry, tmp_path: Path
) -> None:
    from lab import installation

    platform = mover.platform
    moved = mover.result()
    overlay, own = tmp_path / "overlay.yml", tmp_path / "own.yml"
    overlay.write_text(yaml.safe_dump(moved["overlay"]))
    own.touch(0o600)
    own.write_text(yaml.safe_dump({"registry-token-refresher": {"off_cluster_registry": {"password": registry.credentials["password"]}}}))
    before = platform.objects.get("Secret", "registry-secret", platform.namespace)
    installation.upgrade(platform.cluster, "hephy", [overlay, own])
    after = platform.objects.get("Secret", "registry-secret", platform.namespace)
    assert after["data"] == before["data"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert platform.objects.find("Deployment", "deis-registry", platform.namespace) is None
    again = mover.result()
    assert again["plan"] == []
    assert mover.writes == []
    assert again["overlay"] == {}
    assert all(verdict["lasts"] for verdict in again["durability"])
    # As it was installed, for whoever comes next.
    installation.upgrade(platform.cluster, "hephy")
    assert told_of(platform, "deis-builder") == "on-cluster"
