"""The settings of object storage: on every platform and for every kind of store exactly the fields that its code reads, and nothing left of another kind."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import (
    REVISION,
    Settings,
    chart_settings,
    configured,
    copies_wanted,
    holders,
    is_mark,
    secrets_of,
    text_in,
    wanted_settings,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Way

FIELDS = {
    "endpoint": "http://store.example.com:7070",
    "host": "store.example.com",
    "port": "7070",
    "region": "eu-central-1",
    "access_key": "canary-access",
    "secret_key": "canary-secret",
    "bucket.builder": "acme-builder",
    "bucket.registry": "acme-registry",
    "bucket.database": "acme-database",
    "bucket.quickwit": "acme-quickwit",
}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(name: str, annotations: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "paas", "resourceVersion": "4", "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {key: encoded(text) for key, text in data.items()}}


def settings_of(platform: str) -> Settings:
    """A platform as its chart makes it, on the bundled store."""
    facts = PLATFORMS[platform].object_storage
    workloads: dict[tuple[str, str], Any] = {}
    for user in facts.users:
        for entry in user.workloads:
            env = [{"name": user.kind_variable, "value": "minio"}] if user.kind_variable else []
            if user.secret:
                env += [{"name": "DRYCC_STORAGE_BUCKET", "value": user.bucket}, {"name": "DRYCC_STORAGE_ENDPOINT", "value": "http://drycc-storage:9000"}]
                reference = {"secretKeyRef": {"name": "storage-creds", "key": "accesskey"}}
                env += [{"name": "DRYCC_STORAGE_ACCESSKEY", "valueFrom": reference}]
            pod = {"initContainers": [{"name": "wait", "env": copy.deepcopy(env)}], "containers": [{"name": entry.container, "env": env}, {"name": "sidecar"}]}
            metadata = {"name": entry.name, "namespace": "paas", "resourceVersion": "9"}
            spec = {"template": {"spec": pod}}
            group, spec = ("batch/v1", {"jobTemplate": {"spec": spec}}) if entry.kind == "CronJob" else ("apps/v1", spec)
            workloads[entry.kind, entry.name] = {"apiVersion": group, "kind": entry.kind, "metadata": metadata, "spec": spec}
    secrets = {name: secret(name, accesskey="old", secretkey="old") if name == facts.secret else secret(name) for name in holders(facts)}
    return Settings(workloads, secrets)


def without(settings: Settings, name: str) -> Settings:
    """The same platform without the workloads of that name."""
    return settings._replace(workloads={key: document for key, document in settings.workloads.items() if key[1] != name})


def way_of(platform: str, provider: str, addressed: bool) -> Way:
    return next(way for way in PLATFORMS[platform].object_storage.ways if way.provider == provider and way.addressed == addressed)


def planned(platform: str, way: Way, settings: Settings, fields: dict[str, str] | None = None) -> dict[tuple[str, str], Any]:
    wanted = wanted_settings(PLATFORMS[platform].object_storage, way, fields or FIELDS, settings)
    return {(change.ref.name, change.field): change.after for change in plan_of(wanted).changes}


def applied(settings: Settings, wanted: list[Wanted]) -> Settings:
    """Write what is wanted into a copy of the documents, as the API server would."""
    result = copy.deepcopy(settings)
    for entry in wanted:
        metadata = entry.document["metadata"]
        document: Any = (
            result.secrets.get(metadata["name"]) if entry.document["kind"] == "Secret" else result.workloads[entry.document["kind"], metadata["name"]]
        )
        for step in entry.path[:-1]:
            if isinstance(step, str):
                document = document.setdefault(step, [] if step == "env" else {})
                continue
            found = next((item for item in document if item["name"] == step.value), None)
            if found is None:
                found = {"name": step.value}
                document.append(found)
            document = found
        last = entry.path[-1]
        if not isinstance(last, str):
            document[:] = [item for item in document if item["name"] != last.value] + ([] if entry.value is ABSENT else [entry.value])
        elif entry.value is ABSENT:
            document.pop(last, None)
        else:
            document[last] = entry.value
    return result


def without_empty(value: Any) -> Any:
    """Without maps out of which everything was taken, as the API server keeps none, and with variables in one order."""
    if isinstance(value, Settings):
        return [without_empty(part) for part in value]
    if isinstance(value, dict):
        kept = {key: without_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner != {}}
    if isinstance(value, list):
        return sorted(map(without_empty, value), key=str)
    return value


EVERY_WAY = [(name, way) for name, platform in PLATFORMS.items() for way in platform.object_storage.ways]


@pytest.mark.parametrize(("platform", "way"), EVERY_WAY, ids=[f"{name}-{way.provider}-{'own' if way.addressed else 'its'}" for name, way in EVERY_WAY])
def test_once_written_nothing_is_left_to_write(platform: str, way: Way) -> None:
    facts, before = PLATFORMS[platform].object_storage, settings_of(platform)
    fields = {**{setting.field: f"value of {setting.field}" for setting in way.settings}, **FIELDS}
    wanted = wanted_settings(facts, way, fields, before)
    assert plan_of(wanted)
    assert not any(configured(facts, before, wanted).values())
    after = applied(before, wanted)
    settled = wanted_settings(facts, way, fields, after)
    assert plan_of(settled).changes == ()
    assert all(configured(facts, after, settled).values())


@pytest.mark.parametrize(("platform", "way"), EVERY_WAY, ids=[f"{name}-{way.provider}-{'own' if way.addressed else 'its'}" for name, way in EVERY_WAY])
def test_the_way_back_leaves_the_documents_as_the_chart_states_them(platform: str, way: Way) -> None:
    facts, before = PLATFORMS[platform].object_storage, settings_of(platform)
    fields = {**{setting.field: f"value of {setting.field}" for setting in way.settings}, **FIELDS}
    charts = {document["metadata"]["name"]: document for document in (*before.workloads.values(), *before.secrets.values())}
    after = applied(before, wanted_settings(facts, way, fields, before))
    wanted = chart_settings(facts, after, wanted_settings(facts, way, fields, after), lambda document: charts[document["metadata"]["name"]])
    assert not any(configured(facts, before, wanted).values())
    assert without_empty(applied(after, wanted)) == without_empty(before)


def test_hephy_with_a_store_of_ones_own_address() -> None:
    way = way_of("hephy", "s3", addressed=True)
    changes = planned("hephy", way, settings_of("hephy"))
    assert changes["objectstorage-keyfile", "data.accesskey"] == encoded("canary-access")
    env = "spec.template.spec.containers[deis-registry].env"
    # As a whole, so that it is taken back as a whole: an entry without a value is an empty text, and hides the variable that Kubernetes derives.
    assert changes["deis-registry", f"{env}[DEIS_MINIO_SERVICE_HOST]"] == {"name": "DEIS_MINIO_SERVICE_HOST", "value": "store.example.com"}
    assert changes["deis-registry", f"{env}[DEIS_MINIO_SERVICE_PORT]"] == {"name": "DEIS_MINIO_SERVICE_PORT", "value": "7070"}
    # For the components it stays the kind of store that they know with an address.
    assert ("deis-registry", f"{env}[REGISTRY_STORAGE].value") not in changes
    assert {name for name, _field in changes} == {"objectstorage-keyfile", "deis-database", "deis-registry", "deis-builder", "deis-controller"}
    assert not any("sidecar" in field or "wait" in field for _name, field in changes)


def test_hephy_on_aws_leaves_nothing_of_the_bundled_store() -> None:
    way = way_of("hephy", "s3", addressed=False)
    settings = settings_of("hephy")
    settings.secrets["objectstorage-keyfile"]["data"]["key.json"] = encoded("of another kind")
    changes = planned("hephy", way, settings)
    keyfile = {field: value for (name, field), value in changes.items() if name == "objectstorage-keyfile"}
    assert keyfile['data["key.json"]'] is ABSENT
    assert keyfile["data.registry-bucket"] == encoded("acme-registry")
    assert keyfile['metadata.annotations["deis.io/objectstorage"]'] == "s3"
    for name, variable in (("deis-database", "DATABASE"), ("deis-registry", "REGISTRY"), ("deis-builder", "BUILDER"), ("deis-controller", "APP")):
        assert changes[name, f"spec.template.spec.containers[{name}].env[{variable}_STORAGE].value"] == "s3"


def test_deis_has_no_connection_string_and_hephy_has() -> None:
    keys = {name: {setting.secret_key for setting in way_of(name, "azure", addressed=False).settings} for name in ("deis", "hephy")}
    assert keys["hephy"] - keys["deis"] == {"azure-storage-conn-string"}


def test_drycc_refers_to_the_components_own_secret_in_every_container_that_reads_it() -> None:
    changes = planned("drycc-head", way_of("drycc-head", "s3", addressed=True), settings_of("drycc-head"))
    for group in ("containers[drycc-registry]", "initContainers[wait]"):
        field = f"spec.template.spec.{group}.env[DRYCC_STORAGE_ENDPOINT]"
        assert changes["drycc-registry", f"{field}.valueFrom"] == {"secretKeyRef": {"name": "registry-secret", "key": "storage-endpoint"}}
        assert changes["drycc-registry", f"{field}.value"] is ABSENT
    # The charts' defaults for these two are swapped: each gets its own.
    assert changes["registry-secret", "data.storage-bucket"] == encoded("acme-registry")
    assert changes["builder-secret", "data.storage-bucket"] == encoded("acme-builder")
    assert {name for name, _field in changes if name.startswith("drycc-quickwit")} == {
        f"drycc-quickwit-{part}" for part in ("metastore", "control-plane", "janitor", "indexer", "searcher")
    }


def test_only_the_testing_channel_of_drycc_keeps_database_backups_there() -> None:
    assert "database-creds" in holders(PLATFORMS["drycc-head"].object_storage)
    assert "database-creds" not in holders(PLATFORMS["drycc-1.8"].object_storage)


def test_what_runs_by_the_clock_follows_without_a_restart_and_need_not_be_there() -> None:
    way, settings = way_of("drycc-head", "s3", addressed=True), settings_of("drycc-head")
    fields = {field for (name, field) in planned("drycc-head", way, settings) if name == "drycc-database-cronjob-backup"}
    pod = "spec.jobTemplate.spec.template.spec.containers[drycc-database-cronjob-backup]"
    assert f"{pod}.env[DRYCC_STORAGE_ENDPOINT].valueFrom" in fields
    assert not any(REVISION in field for field in fields)
    assert planned("drycc-head", way, without(settings, "drycc-database-cronjob-backup"))


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_values_keys_stand_beside_every_setting_that_the_chart_knows(platform: str) -> None:
    facts = PLATFORMS[platform].object_storage
    for way in facts.ways:
        if way.fixed_buckets:
            continue
        fields = {**{setting.field: "x" for setting in way.settings}, **FIELDS}
        wanted = [entry for entry in wanted_settings(facts, way, fields, settings_of(platform)) if entry.value is not ABSENT and not is_mark(entry.path)]
        assert all(entry.values_path and "{" not in entry.values_path for entry in wanted)
        secrets = {entry.values_path for entry in wanted if entry.values_secret}
        assert not any(name.rpartition(".")[2].lower().endswith(("bucket", "endpoint", "region", "storage")) for name in secrets)
        assert secrets


def test_a_credential_that_was_changed_outside_is_mended_and_the_pods_are_restarted() -> None:
    facts, way = PLATFORMS["hephy"].object_storage, way_of("hephy", "s3", addressed=True)
    before = settings_of("hephy")
    done = applied(before, wanted_settings(facts, way, FIELDS, before))
    done.secrets["objectstorage-keyfile"]["data"]["secretkey"] = encoded("somebody else's")
    changes = {(change.ref.name, change.field) for change in plan_of(wanted_settings(facts, way, FIELDS, done)).changes}
    template = f'spec.template.metadata.annotations["{REVISION}.objectstorage-keyfile"]'
    assert ("objectstorage-keyfile", "data.secretkey") in changes
    assert all(configured(facts, done, wanted_settings(facts, way, FIELDS, done)).values()), "nothing has to be moved for it"
    assert {name for name, field in changes if field == template} == {"deis-database", "deis-registry", "deis-builder", "deis-controller"}
    # An upgrade between the write of the Secret and the restart is no way to miss it: what counts is the Secret's own number.
    mended = applied(done, [entry for entry in wanted_settings(facts, way, FIELDS, done) if entry.document["kind"] == "Secret"])
    assert {change.field for change in plan_of(wanted_settings(facts, way, FIELDS, mended)).changes} == {template}


def test_a_platform_that_its_chart_set_up_that_way_is_left_alone() -> None:
    facts, way = PLATFORMS["hephy"].object_storage, way_of("hephy", "s3", addressed=False)
    before = settings_of("hephy")
    done = applied(before, [entry for entry in wanted_settings(facts, way, FIELDS, before) if not is_mark(entry.path)])
    assert plan_of(wanted_settings(facts, way, FIELDS, done)).changes == ()


def test_copies_in_the_namespaces_of_apps_follow_and_apps_find_the_store() -> None:
    facts, way = PLATFORMS["hephy"].object_storage, way_of("hephy", "s3", addressed=True)
    stale = secret("objectstorage-keyfile", accesskey="old", secretkey="old")
    stale["metadata"]["namespace"] = "shop"
    app = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop-web", "namespace": "shop", "resourceVersion": "5"},
        "spec": {"template": {"spec": {"containers": [{"name": "shop-web", "env": [{"name": "DEIS_MINIO_SERVICE_HOST", "value": "10.0.0.1"}]}]}}},
    }
    bystander = {**app, "spec": {"template": {"spec": {"containers": [{"name": "shop-web", "env": [{"name": "PORT", "value": "5000"}]}]}}}}
    addresses = {"DEIS_MINIO_SERVICE_HOST": "store.example.com", "DEIS_MINIO_SERVICE_PORT": "7070"}
    wanted = copies_wanted(facts, wanted_settings(facts, way, FIELDS, settings_of("hephy")), addresses, [stale], [app, bystander])
    changes = {(change.ref.name, change.field): change.after for change in plan_of(wanted).changes}
    assert changes == {
        ("objectstorage-keyfile", "data.accesskey"): encoded("canary-access"),
        ("objectstorage-keyfile", "data.secretkey"): encoded("canary-secret"),
        ("shop-web", "spec.template.spec.containers[shop-web].env[DEIS_MINIO_SERVICE_HOST].value"): "store.example.com",
    }


def test_variables_that_a_release_keeps_in_a_secret_are_changed_there_and_once() -> None:
    facts, way = PLATFORMS["hephy"].object_storage, way_of("hephy", "s3", addressed=True)
    release, older = secret("shop-v2-env", **{"deis-minio-service-host": "10.0.0.1"}), secret("shop-v1-env", **{"deis-minio-service-host": "10.0.0.1"})
    for document in (release, older):
        document["metadata"]["namespace"] = "shop"
    env = [{"name": "DEIS_MINIO_SERVICE_HOST", "valueFrom": {"secretKeyRef": {"name": "shop-v2-env", "key": "deis-minio-service-host"}}}]
    apps = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"shop-{process}", "namespace": "shop", "resourceVersion": "5"},
            "spec": {"template": {"spec": {"containers": [{"name": f"shop-{process}", "env": env}]}}},
        }
        for process in ("web", "worker")
    ]
    settings = wanted_settings(facts, way, FIELDS, settings_of("hephy"))
    wanted = copies_wanted(facts, settings, {"DEIS_MINIO_SERVICE_HOST": "store.example.com"}, [release, older], apps)
    assert [(change.ref.name, change.field, change.after) for change in plan_of(wanted).changes] == [
        ("shop-v2-env", "data.deis-minio-service-host", encoded("store.example.com"))
    ]


def test_no_plan_shows_a_credential() -> None:
    for name, way in EVERY_WAY:
        wanted = wanted_settings(PLATFORMS[name].object_storage, way, FIELDS, settings_of(name))
        shown = repr(plan_of(wanted).as_data()) + repr(plan_of(wanted).as_diff())
        assert "canary" not in shown
        assert encoded("canary-secret") not in shown


def test_a_workload_that_is_missing_is_named() -> None:
    settings = without(settings_of("hephy"), "deis-builder")
    with pytest.raises(NotFound, match="deis-builder"):
        wanted_settings(PLATFORMS["hephy"].object_storage, way_of("hephy", "s3", addressed=True), FIELDS, settings)


@pytest.mark.parametrize(
    ("platform", "gone"), [("hephy", ["deis-database", "deis-registry"]), ("drycc-head", ["drycc-registry", "drycc-registry-cronjob-daily"])]
)
def test_a_component_that_is_outside_itself_is_left_out(platform: str, gone: list[str]) -> None:
    facts, settings = PLATFORMS[platform].object_storage, settings_of(platform)
    for name in gone:
        settings = without(settings, name)
    kept = {name: document for name, document in settings.secrets.items() if name != "registry-secret"}
    settings = settings._replace(secrets=secrets_of(facts, kept.get))
    wanted = wanted_settings(facts, way_of(platform, "s3", addressed=True), FIELDS, settings)
    assert not set(gone) & set(configured(facts, settings, wanted))
    assert "builder" in str(sorted(configured(facts, settings, wanted)))


def test_a_secret_that_every_platform_has_is_missed() -> None:
    with pytest.raises(NotFound, match="builder-secret"):
        secrets_of(PLATFORMS["drycc-head"].object_storage, {"quickwit-creds": {}}.get)


def test_text_in_a_secret_is_read_or_nothing() -> None:
    document = secret("s", key="text")
    document["data"]["odd"] = "%%%"
    assert [text_in(document, key) for key in ("key", "odd", "none")] == ["text", None, None]
