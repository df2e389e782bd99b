"""Apps and the registry that their images are in: who refers to which, how images are called elsewhere, and the Secret with which pods pull."""

from __future__ import annotations

import base64
import json

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_apps import (
    FOLLOWED,
    address_on_nodes,
    back_name,
    followed,
    login_in,
    login_text,
    moved_name,
    pull_secret_name,
    pull_secrets,
    references,
    unknown_to_the_controller,
    unused_pull_secrets,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from tests.unit.controls.registries import app, encoded, facts_of, secret, settings_of, target_of, write

INSIDE = "127.0.0.1:5555/"


@pytest.mark.parametrize("platform", ["hephy", "deis", "drycc-1.8", "drycc-head"])
def test_the_bundled_registry_has_the_same_address_on_every_node(platform: str) -> None:
    assert address_on_nodes(facts_of(platform), settings_of(platform)) == "127.0.0.1:5555"


def test_only_images_of_that_registry_count() -> None:
    apps = [app(), app("blog", "hephy/slugrunner:canary"), app("odd", "127.0.0.1:55555/odd:v1"), app("old", initContainers=[])]
    assert [(reference.namespace, reference.image) for reference in references(apps, INSIDE)] == [
        ("shop", "127.0.0.1:5555/shop:git-abc1234"),
        ("old", "127.0.0.1:5555/shop:git-abc1234"),
    ]
    assert references(apps, "") == []


@pytest.mark.parametrize(
    ("image", "new"),
    [
        ("127.0.0.1:5555/shop:git-abc1234", "registry.example.com:5000/paas/shop:git-abc1234"),
        ("127.0.0.1:5555/shop/shop:git-abc1234", "registry.example.com:5000/paas/shop:git-abc1234"),
        ("127.0.0.1:5555/shop@sha256:" + "a" * 64, "registry.example.com:5000/paas/shop@sha256:" + "a" * 64),
        ("127.0.0.1:5555/shop", "registry.example.com:5000/paas/shop:latest"),
    ],
)
def test_how_an_image_is_called_in_the_new_registry(image: str, new: str) -> None:
    assert moved_name(image, target_of("hephy").prefix) == new


def test_names_on_the_hub_are_as_each_builder_makes_them() -> None:
    assert target_of("hephy", server="docker.io").prefix == "paas/"
    assert target_of("drycc-head", server="docker.io").prefix == "docker.io/paas/"


def test_the_way_back_leads_to_the_name_that_the_builder_gave() -> None:
    assert back_name("registry.example.com:5000/paas/shop:git-abc1234", "127.0.0.1:5555", False) == "127.0.0.1:5555/shop:git-abc1234"
    assert back_name("registry.example.com:5000/paas/shop:git-abc1234", "127.0.0.1:5555", True) == "127.0.0.1:5555/shop/shop:git-abc1234"


@pytest.mark.parametrize(
    ("platform", "name"),
    [("hephy", "private-registry-off-cluster"), ("drycc-1.8", "private-registry-off-cluster"), ("drycc-head", "private-registry-web-off-cluster")],
)
def test_how_the_controller_calls_the_pull_secret(platform: str, name: str) -> None:
    assert pull_secret_name(facts_of(platform), settings_of(platform), "off-cluster", app()) == name


def test_the_pull_secret_is_what_the_controller_would_write() -> None:
    text = login_text(target_of("hephy"))
    word = base64.b64encode(b"robot:canary-password").decode()
    assert text == '{"auths": {"registry.example.com:5000": {"auth": "' + word + '"}}}'
    assert login_in(secret("s", **{".dockerconfigjson": text})) == ("registry.example.com:5000", "robot", "canary-password")
    assert "https://index.docker.io/v1/" in json.loads(login_text(target_of("hephy", server="docker.io")))["auths"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"auths": {}}', '{"auths": {"h": {"auth": "%%"}}}', '{"auths": {"h": {"auth": "bm9jb2xvbg=="}}}'])
def test_what_is_no_pull_secret_is_none(text: str) -> None:
    assert login_in(secret("s", **{".dockerconfigjson": text})) is None


def test_pull_secrets_are_made_once_a_namespace_renewed_where_stale_and_left_where_right() -> None:
    facts, target, settings = facts_of("hephy"), target_of("hephy"), settings_of("hephy")
    name = "private-registry-off-cluster"
    right, stale = ({".dockerconfigjson": text} for text in (login_text(target), login_text(target_of("hephy", password="old"))))
    apps = [app("shop"), app("shop", process="worker"), app("blog"), app("wiki")]
    wanted = pull_secrets(facts, target, settings, "deis", apps, [secret(name, "blog", **right), secret(name, "wiki", **stale)])
    changes = {(change.ref.namespace, change.field): change.after for change in plan_of(wanted).changes}
    assert set(changes) == {
        ("shop", "(object)"),
        ("wiki", 'data[".dockerconfigjson"]'),
    }
    made = changes["shop", "(object)"]
    assert made["type"] == "kubernetes.io/dockerconfigjson"
    assert made["data"] == {".dockerconfigjson": encoded(login_text(target))}
    assert made["metadata"]["labels"] == {"app": "shop", "heritage": "deis", **OWNER}
    assert "canary" not in repr(plan_of(wanted).as_data()) + repr(plan_of(wanted).as_diff())


def test_pull_secrets_that_we_made_go_when_nobody_needs_them() -> None:
    facts, settings, name = facts_of("hephy"), settings_of("hephy"), "private-registry-off-cluster"
    apps = [app("shop"), app("blog", "registry.example.com:5000/paas/blog:v2"), app("wiki")]
    secrets = [secret(name, "shop", OWNER), secret(name, "blog", OWNER), secret(name, "wiki", {"heritage": "deis"}), secret("other", "shop", OWNER)]
    gone = plan_of(unused_pull_secrets(facts, settings, "off-cluster", apps, secrets, target_of("hephy").prefix)).changes
    assert [(change.ref.namespace, change.ref.name, change.after) for change in gone] == [("shop", name, ABSENT)]


def test_an_app_follows_its_image_and_is_known_until_it_is_built_anew() -> None:
    moved = app()
    (reference,) = references([moved], INSIDE)
    new = moved_name(reference.image, target_of("hephy").prefix)
    wanted = followed(reference, new, "private-registry-off-cluster")
    for entry in wanted:
        write(moved, entry)
    assert all(entry.holds for entry in wanted)
    assert references([moved], INSIDE) == []
    assert moved["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "private-registry-off-cluster"}]
    assert unknown_to_the_controller([moved, app("blog")]) == ["shop"]
    # The controller writes the whole object with the next release, or at least another image.
    moved["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example.com:5000/paas/shop:git-def5678"
    assert unknown_to_the_controller([moved]) == []


def test_the_way_back_takes_the_mark_away() -> None:
    moved = app(image="registry.example.com:5000/paas/shop:git-abc1234")
    moved["metadata"]["annotations"][FOLLOWED] = "registry.example.com:5000/paas/shop:git-abc1234"
    moved["spec"]["template"]["spec"]["imagePullSecrets"] = [{"name": "private-registry-off-cluster"}, {"name": "the-apps-own"}]
    (reference,) = references([moved], target_of("hephy").prefix)
    for entry in followed(reference, "127.0.0.1:5555/shop:git-abc1234", "private-registry-off-cluster", back=True):
        write(moved, entry)
    (container,) = moved["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "127.0.0.1:5555/shop:git-abc1234"
    assert moved["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "the-apps-own"}]
    assert moved["metadata"]["annotations"] == {}
