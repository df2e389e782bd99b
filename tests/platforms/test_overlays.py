"""The values keys of every store that a platform can use: the chart, rendered with them, states the very fields that the collection writes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, holders, wanted_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, look, same
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ObjectStorage, Way
from lab import builds
from tests.platforms.rendering import chart_of, rendered
from tests.platforms.test_shapes import DOMAIN

WAYS = [
    pytest.param(name, number, id=f"{name}-{way.provider}{'-address' if way.addressed else ''}")
    for name in sorted(PLATFORMS)
    for number, way in enumerate(PLATFORMS[name].object_storage.ways)
]


def options(name: str) -> tuple[str, str]:
    return "--set", f"{'router.platform_domain' if name in ('deis', 'hephy') else 'global.platformDomain'}={DOMAIN}"


def settings_of(facts: ObjectStorage, documents: list[dict[str, Any]]) -> Settings:
    """What a platform has that was installed from these documents."""
    named = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    users = [workload for user in facts.users for workload in user.workloads]
    workloads = {(entry.kind, entry.name): named[entry.kind, entry.name] for entry in users if (entry.kind, entry.name) in named}
    return Settings(workloads, {name: named["Secret", name] for name in holders(facts)})


def fields_of(way: Way, facts: ObjectStorage) -> dict[str, str]:
    """A text of its own for every field."""
    roles = [user.role for user in facts.users if user.role]
    names = {setting.field.format(component=role) for setting in way.settings for role in roles}
    plain = {"endpoint": "https://s3.example.com", "region": "eu-central-1", "auth_version": "3", "host": "s3.example.com", "port": "7070"}
    return {name: plain.get(name, f"the-{name.replace('_', '-').replace('.', '-')}") for name in sorted(names)}


def overlay_of(wanted: list[Wanted]) -> dict[str, Any]:
    """The Helm values of all fields, those of secrets included: an operator adds these by hand."""
    tree: dict[str, Any] = {}
    for entry in wanted:
        if entry.values_path:
            *folders, last = entry.values_path.split(".")
            place = tree
            for folder in folders:
                place = place.setdefault(folder, {})
            place[last] = entry.values_value
    return tree


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Settings]]:
    """The chart of a platform, and what it makes without our values, rendered once."""

    @functools.cache
    def of(name: str) -> tuple[Path, Settings]:
        folder = chart_of(name, tmp_path_factory.mktemp(name) / "chart")
        return folder, settings_of(PLATFORMS[name].object_storage, rendered(builds.binary("helm"), folder, name, *options(name)))

    return of


@pytest.mark.parametrize(("name", "number"), WAYS)
def test_the_chart_with_the_overlay_states_what_is_written(installed: Callable[[str], tuple[Path, Settings]], tmp_path: Path, name: str, number: int) -> None:
    helm = builds.binary("helm")
    facts = PLATFORMS[name].object_storage
    way = facts.ways[number]
    folder, settings = installed(name)
    wanted = wanted_settings(facts, way, fields_of(way, facts), settings)
    lasting = [entry for entry in wanted if entry.values_path]
    assert bool(lasting) != bool(way.fixed_buckets), "only the way of a store's own address on Deis and Hephy has no keys"
    values = tmp_path / "overlay.yaml"
    values.write_text(yaml.safe_dump(overlay_of(wanted)))
    after = rendered(helm, folder, name, *options(name), "-f", str(values))
    named = {(document["kind"], document["metadata"]["name"]): document for document in after}
    for entry in lasting:
        found = look(named[entry.document["kind"], entry.document["metadata"]["name"]], entry.path)
        expected = entry.value["value"] if isinstance(entry.value, dict) and "value" in entry.value else entry.value
        found = found["value"] if isinstance(found, dict) and "value" in found else found
        assert found is not ABSENT, f"{entry.values_path} makes no {entry.path}"
        assert same(found, expected), f"{entry.values_path}: {entry.path}"
    # Nothing of another kind of store is left in the shared Secret.
    if facts.secret and lasting:
        keys = {setting.secret_key for setting in way.settings if setting.secret_key}
        assert set(named["Secret", facts.secret]["data"]) == keys
