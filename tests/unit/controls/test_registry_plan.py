"""What workflow_registry plans and tells: in which order things are written on both ways, where the platform is, and what is left to people."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._controls import registry
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry import CONTROL, Observed
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_apps import FOLLOWED, pull_secrets, references, unused_pull_secrets
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_move import Image
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_settings import bundled_settings, leads_outside, platform_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_target import ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.registries.images import Name
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.unit.controls.registries import app, applied, facts_of, secret, settings_of, target_of

INSIDE = "127.0.0.1:5555"


def params(**given: Any) -> dict[str, Any]:
    return {**{name: option.get("default") for name, option in ARGUMENTS.items()}, "state": "external", "images": "copy", **given}


def observed(platform: str, apps: list[dict[str, Any]], settings: Settings | None = None, images: tuple[Image, ...] = (), **more: Any) -> Observed:
    facts, target = facts_of(platform), target_of(platform)
    settings = settings or settings_of(platform)
    wanted = platform_settings(facts, target, settings, "paas", PLATFORMS[platform].heritage)
    log_ins = pull_secrets(facts, target, settings, "deis", apps, [])
    left = tuple(sorted({reference.namespace for reference in references(apps, f"{INSIDE}/")}))
    found = Observed(target, settings, tuple(wanted), leads_outside(wanted), tuple(apps), tuple(log_ins), left, images, INSIDE, "paas")
    return found._replace(**more)


def image_of(document: dict[str, Any], present: bool = False) -> Image:
    new = "registry.example.com:5000/paas/shop:git-abc1234"
    return Image(Name("shop", "git-abc1234"), Name("paas/shop", "git-abc1234"), new, 3, 42, present, tuple(references([document], f"{INSIDE}/")))


def stages(found: Observed, platform: str = "hephy", **given: Any) -> list[str]:
    plan = plan_of(CONTROL.wanted(PLATFORMS[platform], params(**given), found))
    return list(dict.fromkeys(change.stage for change in plan.changes))


def test_rights_are_tried_and_images_lie_there_before_anything_is_switched() -> None:
    shop = app()
    assert stages(observed("hephy", [shop], images=(image_of(shop),))) == ["prepare", "copy", "log-ins of apps", "apps follow", "switch"]


def test_an_image_that_is_there_is_not_copied_again() -> None:
    shop = app()
    assert "copy" not in stages(observed("hephy", [shop], images=(image_of(shop, present=True),)))


def test_containers_of_one_app_share_its_log_in() -> None:
    shop = app(initContainers=[{"name": "first", "image": f"{INSIDE}/shop:git-abc1234"}])
    changes = plan_of(CONTROL.wanted(PLATFORMS["hephy"], params(), observed("hephy", [shop], images=(image_of(shop),)))).changes
    fields = [change.field for change in changes if change.stage == "apps follow"]
    assert len(fields) == len(set(fields)) == 4


def test_without_apps_there_is_nothing_but_the_settings() -> None:
    assert stages(observed("hephy", [])) == ["prepare", "switch"]


def test_a_platform_that_is_where_it_should_be_is_left_alone() -> None:
    before = settings_of("hephy")
    settled = applied(before, platform_settings(facts_of("hephy"), target_of("hephy"), before, "paas", "deis"))
    found = observed("hephy", [], settled)
    assert found.settled
    assert stages(found) == []
    assert CONTROL.describe(PLATFORMS["hephy"], params(), found)[2] == "images are kept in registry.example.com:5000"


def test_on_the_way_back_what_tells_of_the_registry_outside_goes_last() -> None:
    facts, target, before = facts_of("hephy"), target_of("hephy"), settings_of("hephy")
    after = applied(before, platform_settings(facts, target, before, "paas", "deis"))
    charts = {str(document["metadata"]["name"]): document for document in before.workloads.values()}
    shop = app(image="registry.example.com:5000/paas/shop:git-abc1234")
    held = secret("private-registry-off-cluster", "shop", OWNER)
    wanted = bundled_settings(platform_settings(facts, target, after, "paas", "deis"), lambda document: charts.get(document["metadata"]["name"]))
    image = Image(Name("paas/shop", "git-abc1234"), Name("shop", "git-abc1234"), f"{INSIDE}/shop:git-abc1234", 3, 42, False, ())
    image = image._replace(references=tuple(references([shop], target.prefix)))
    gone = unused_pull_secrets(facts, after, "off-cluster", [shop], [held], "")
    found = Observed(target, after, tuple(wanted), False, (shop,), tuple(gone), ("shop",), (image,), INSIDE, "paas")
    changes = plan_of(CONTROL.wanted(PLATFORMS["hephy"], params(state="reverted"), found)).changes
    order = list(dict.fromkeys((change.stage, change.ref.name) for change in changes))
    assert order == [
        ("copy", f"{INSIDE}/shop:git-abc1234"),
        ("apps follow", "shop-web"),
        ("switch", "deis-builder"),
        ("switch", "deis-controller"),
        ("log-ins of apps", "private-registry-off-cluster"),
        ("switch", "registry-secret"),
    ]
    assert [change.after for change in changes if change.ref.name == "registry-secret"] == [ABSENT]


@pytest.mark.parametrize("platform", ["hephy", "drycc-head"])
def test_one_component_that_looks_outside_is_enough_not_to_be_back(platform: str) -> None:
    facts, target, before = facts_of(platform), target_of(platform), settings_of(platform)
    after = applied(before, platform_settings(facts, target, before, "paas", "deis"))
    assert registry.location_used(facts, before) == "on-cluster"
    half = Settings({**after.workloads, ("Deployment", facts.builder.name): before.workloads["Deployment", facts.builder.name]}, after.secrets)
    assert registry.location_used(facts, half) == "off-cluster"


def test_what_an_interrupted_run_left_in_the_secrets_is_still_known() -> None:
    facts, target, before = facts_of("hephy"), target_of("hephy"), settings_of("hephy")
    after = applied(before, platform_settings(facts, target, before, "paas", "deis"))
    left = registry.used_target(facts, "on-cluster", Settings(before.workloads, after.secrets), params())
    assert left is not None
    assert left.prefix == target.prefix
    assert registry.used_target(facts, "on-cluster", before, params()) is None


@pytest.mark.parametrize(("back", "words"), [(False, "run images of the bundled registry"), (True, "in the registry outside")])
def test_a_refusal_names_the_apps_and_the_ways_on(back: bool, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        registry.refuse_apps(("blog", "shop"), back, INSIDE)
    assert "blog, shop" in caught.value.message
    assert "copy" in caught.value.hint
    assert "keep" in caught.value.hint


def test_what_is_left_to_people_is_told() -> None:
    shop, moved = app(), app("blog", "registry.example.com:5000/paas/blog:v2")
    moved["metadata"]["annotations"][FOLLOWED] = "registry.example.com:5000/paas/blog:v2"
    found = {finding.control: finding for finding in CONTROL.beside(PLATFORMS["hephy"], params(), observed("hephy", [shop, moved]))}
    assert (found["registry-left"].status, found["registry-left"].subject) == ("fail", "shop")
    assert (found["registry-not-built-since"].status, found["registry-not-built-since"].subject) == ("fail", "blog")
    assert (found["registry-port"].status, found["registry-port"].subject) == ("unknown", "blog, shop")
    assert CONTROL.beside(PLATFORMS["hephy"], params(state="reverted"), observed("hephy", [shop])) == []


def test_drycc_asks_no_app_for_its_port_and_tells_to_keep_the_secret() -> None:
    found = {finding.control: finding for finding in CONTROL.beside(PLATFORMS["drycc-head"], params(), observed("drycc-head", [app()]))}
    assert "registry-port" not in found
    assert "registry.enabled" in found["registry-limit-1"].reasons[0]


def test_that_an_upgrade_takes_the_bundled_registry_away_is_told_while_it_is_there() -> None:
    settings = settings_of("hephy")
    bundled: Any = {("Deployment", "deis-registry"): {"kind": "Deployment", "metadata": {"name": "deis-registry"}}}
    with_it = observed("hephy", [], settings._replace(workloads={**settings.workloads, **bundled}))
    told = [finding.reasons[0] for finding in CONTROL.beside(PLATFORMS["hephy"], params(), with_it)]
    assert any("takes the bundled registry" in reason for reason in told)
    assert not any("Helm 2" in reason for reason in told)
    unsigned = settings_of("hephy")
    for document in unsigned.workloads.values():
        document["metadata"].pop("annotations")
    without = observed("hephy", [], unsigned._replace(workloads={**unsigned.workloads, **bundled}))
    assert any("Helm 2" in finding.reasons[0] for finding in CONTROL.beside(PLATFORMS["hephy"], params(), without))
