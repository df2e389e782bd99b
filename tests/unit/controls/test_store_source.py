"""The store that a platform is to leave, out of its own settings: on every way exactly what was written there, and nothing where that cannot be told."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, configured, wanted_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_source import Former, former_store, superfluous
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Item, look
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Way
from tests.unit.controls.test_component_settings import applied, settings_of, way_of, without

ACCOUNT = {"type": "service_account", "project_id": "p", "client_email": "me@example.com", "private_key": "canary-key"}
OLD: dict[str, str] = {
    "endpoint": "http://old.example.com:7070",
    "host": "old.example.com",
    "port": "7070",
    "region": "eu-central-1",
    "access_key": "canary-old-access",
    "secret_key": "canary-old-secret",
    "service_account": json.dumps(ACCOUNT),
    "account": "acme",
    "account_key": base64.b64encode(b"\0canary-old-key\xff").decode(),
    "connection_string": "canary",
    "user": "acme:mover",
    "user_key": "canary-old-user-key",
    "auth_url": "http://swift.example.com/auth/v1.0",
    "tenant": "acme",
    "auth_version": "1",
    **{f"bucket.{role}": f"old-{role}" for role in ("builder", "registry", "database", "quickwit")},
    **{f"path_style.{role}": "true" for role in ("builder", "database", "quickwit")},
    "path_style.registry": "on",
}
NEW = {**OLD, "endpoint": "http://new.example.com:7070", "host": "new.example.com", "region": "eu-west-1", "tenant": "other", "account": "other"}
NEW |= {f"bucket.{role}": f"new-{role}" for role in ("builder", "registry", "database", "quickwit")}
EVERY = [(name, number) for name in sorted(PLATFORMS) for number in range(len(PLATFORMS[name].object_storage.ways))]


def on(platform: str, way: Way, fields: dict[str, str], settings: Settings | None = None) -> Settings:
    """A platform that was moved to a store."""
    before = settings or settings_of(platform)
    return applied(before, wanted_settings(PLATFORMS[platform].object_storage, way, fields, before))


def found(platform: str, way: Way, settings: Settings, fields: dict[str, str] = NEW) -> Former | None:
    facts = PLATFORMS[platform].object_storage
    return former_store(facts, settings, configured(facts, settings, wanted_settings(facts, way, fields, settings)), "")


@pytest.mark.parametrize(("platform", "number"), EVERY)
def test_the_store_that_is_left_is_the_one_that_was_written(platform: str, number: int) -> None:
    way = PLATFORMS[platform].object_storage.ways[number]
    left = found(platform, way, on(platform, way, OLD))
    assert left is not None
    assert left.way is way
    for name in ("region", "access_key", "secret_key", "account", "account_key", "service_account", "user", "auth_url", "tenant"):
        if any(setting.field == name for setting in way.settings):
            assert getattr(left.store, name) == OLD[name], name
    assert left.store.endpoint == (OLD["endpoint"] if way.addressed else "")
    roles = {user.role: user.bucket for user in PLATFORMS[platform].object_storage.users if user.role}
    assert left.buckets == (roles if way.fixed_buckets else {role: f"old-{role}" for role in roles})
    assert "canary" not in repr(left)


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_a_platform_on_its_bundled_store_leaves_no_other(platform: str) -> None:
    assert found(platform, PLATFORMS[platform].object_storage.ways[0], settings_of(platform)) is None


def test_from_one_provider_to_another() -> None:
    left = found("hephy", way_of("hephy", "s3", False), on("hephy", way_of("hephy", "swift", False), OLD))
    assert left is not None
    assert (left.store.provider, left.store.key) == ("swift", OLD["user_key"])


def test_from_an_address_of_ones_own_to_a_provider_nothing_leads_back() -> None:
    facts = PLATFORMS["hephy"].object_storage
    way = way_of("hephy", "s3", False)
    settings = on("hephy", way_of("hephy", "s3", True), OLD)
    left = found("hephy", way, settings)
    assert left is not None
    assert left.buckets == {"builder": "git", "registry": "registry", "database": "dbwal"}
    entries = superfluous(facts, way, settings)
    assert {str(entry.path[-1]) for entry in entries} == {"[DEIS_MINIO_SERVICE_HOST]", "[DEIS_MINIO_SERVICE_PORT]"}
    after = applied(on("hephy", way, NEW, settings), entries)
    for (_kind, name), document in after.workloads.items():
        env = look(document, ("spec", "template", "spec", "containers", Item("name", name), "env"))
        assert not [entry for entry in env if entry["name"].startswith("DEIS_MINIO_")]
    # That they are there is no reason to move anything.
    wanted = [*wanted_settings(facts, way, NEW, on("hephy", way, NEW, settings)), *entries]
    assert all(configured(facts, on("hephy", way, NEW, settings), wanted).values())


def test_some_components_here_and_some_there_cannot_be_brought_together() -> None:
    facts = PLATFORMS["drycc-head"].object_storage
    way = facts.ways[0]
    before = settings_of("drycc-head")
    wanted = [entry for entry in wanted_settings(facts, way, OLD, before) if "builder" in entry.document["metadata"]["name"]]
    with pytest.raises(Refused) as caught:
        found("drycc-head", way, applied(before, wanted))
    assert "the bundled store" in str(caught.value)


def test_what_runs_by_the_clock_and_is_not_there_leaves_what_its_secret_says() -> None:
    way = PLATFORMS["drycc-head"].object_storage.ways[0]
    left = found("drycc-head", way, without(on("drycc-head", way, OLD), "drycc-database-cronjob-backup"))
    assert left is not None
    assert left.buckets["database"] == "old-database"
    settings = without(on("drycc-head", way, OLD), "drycc-database-cronjob-backup")
    settings.secrets["database-creds"]["data"].clear()
    left = found("drycc-head", way, settings)
    assert left is not None
    assert set(left.buckets) == {"registry", "builder", "quickwit"}


def test_two_stores_at_once_cannot_be_left() -> None:
    way = PLATFORMS["drycc-head"].object_storage.ways[0]
    settings = on("drycc-head", way, OLD)
    settings.secrets["builder-secret"]["data"]["storage-endpoint"] = base64.b64encode(b"http://third.example.com").decode()
    with pytest.raises(Refused):
        found("drycc-head", way, settings)


def test_settings_that_make_no_store_are_refused_without_showing_them() -> None:
    settings = on("hephy", way_of("hephy", "azure", False), OLD)
    settings.secrets["objectstorage-keyfile"]["data"]["accountkey"] = base64.b64encode(b"canary not base64!").decode()
    with pytest.raises(Refused) as caught:
        found("hephy", way_of("hephy", "s3", False), settings)
    assert "canary" not in str(caught.value)


def test_only_those_that_are_not_there_yet_are_moved() -> None:
    facts: Any = PLATFORMS["drycc-head"].object_storage
    way = facts.ways[0]
    settings = on("drycc-head", way, OLD)
    some = [entry for entry in wanted_settings(facts, way, NEW, settings) if "quickwit" in entry.document["metadata"]["name"]]
    left = found("drycc-head", way, applied(settings, some))
    assert left is not None
    assert set(left.buckets) == {"registry", "builder", "database"}
