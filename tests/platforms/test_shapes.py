"""Our charts against the tables of what the real ones render and take: object by object, name by name, and every deviation with its reason."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import builds, paths
from lab.platforms import charts
from tests.platforms.reduction import name_of, reduced
from tests.platforms.rendering import PLACES, chart_of, parsed, rendered

TABLES = Path(__file__).parent / "shapes"
DOMAIN = "example.com"


def read(name: str) -> dict[str, Any]:
    return parsed((TABLES / f"{name}.yml").read_text())[0]


DEVIATIONS = read("deviations")


def merged(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """Tables laid over each other: null takes away."""
    result = dict(lower)
    for key, value in upper.items():
        if value is None:
            result.pop(key, None)
        elif key == "env" and value.get("anew"):
            result[key] = {name: entry for name, entry in value.items() if name != "anew"}
        elif isinstance(value, dict):
            under = result.get(key)
            result[key] = merged(under if isinstance(under, dict) else {}, value)
        else:
            result[key] = value
    return result


def environment(objects: dict[str, Any], container: dict[str, Any]) -> dict[str, str]:
    """The environment of a container of the table, with the one that it is the same as."""
    env: dict[str, str] = container.get("env", {})
    if "same_as" not in env:
        return env
    kind, name, other = env["same_as"].split("/")
    changes = {key: value for key, value in env.items() if key != "same_as"}
    return merged(environment(objects, objects[f"{kind}/{name}"]["containers"][other]), changes)


@functools.cache
def table(platform: str) -> dict[str, Any]:
    """The objects of a platform's table in full, with our deviations in place of what they replace."""
    data = read(platform)
    objects: dict[str, Any] = data["objects"]
    if "differs_from" in data:
        objects = merged(read(data["differs_from"])["objects"], objects)
    for shape in objects.values():
        for container in shape.get("containers", {}).values():
            if "env" in container:
                container["env"] = environment(objects, container)
    for deviation in DEVIATIONS["rendered"][platform]:
        *path, last = deviation["at"]
        place = objects
        for step in path:
            place = place[step]
        assert place[last] != deviation["ours"], f"no deviation any more: {deviation['at']}"
        place[last] = deviation["ours"]
    return objects


@pytest.fixture(scope="module")
def helm() -> Path:
    return builds.binary("helm")


@pytest.fixture(scope="module", params=charts.names())
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def chart(platform: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chart_of(platform, tmp_path_factory.mktemp(platform) / "chart")


@pytest.fixture(scope="module")
def documents(helm: Path, chart: Path, platform: str) -> list[dict[str, Any]]:
    key = "global.platformDomain" if platform.startswith("drycc") else "controller.platform_domain"
    return rendered(helm, chart, platform, "--set", f"{key}={DOMAIN}")


def matches(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, str) and isinstance(found, str):
        if wanted == "<random>":
            return len(found) == 32 and found.isalnum()
        if wanted.endswith("…"):
            return found.replace("\n", " ").startswith(wanted[:-1])
    return bool(wanted == found)


def differences(path: str, wanted: Any, found: Any) -> Iterator[str]:
    """Every place where an object is not as the table says."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        found = {key: value for key, value in found.items() if value is not None}
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            yield from differences(f"{path} {key}", wanted.get(key, "(nothing)"), found.get(key, "(nothing)"))
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(f"{path} [{number}]", one, other)
    elif not matches(wanted, found):
        yield f"{path}: the table says {wanted!r}, the chart renders {found!r}"


def test_every_object_is_as_the_table_says(platform: str, documents: list[dict[str, Any]]) -> None:
    names = [name_of(document) for document in documents]
    assert len(names) == len(set(names)), "an object is rendered twice"
    found = {name_of(document): reduced(document) for document in documents}
    assert list(differences("", table(platform), found)) == []


def test_the_comparison_notices_what_is_wrong(platform: str, documents: list[dict[str, Any]]) -> None:
    """One change in each kind of fact, each seen."""
    name = "deis-controller" if PLACES[platform] == "deis" else "drycc-controller-celery"

    def broken(*path: Any, value: Any) -> list[str]:
        copies = copy.deepcopy(documents)
        place = next(document for document in copies if name_of(document) == f"Deployment/{name}")
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return list(differences("", table(platform), {name_of(document): reduced(document) for document in copies}))

    container = ("spec", "template", "spec", "containers", 0)
    changes: list[tuple[tuple[Any, ...], Any]] = [
        (("metadata", "labels", "heritage"), "other"),
        (("metadata", "annotations"), {}),
        (("metadata", "name"), "other"),
        (("spec", "replicas"), 2),
        (("spec", "selector", "matchLabels"), {"app": "x"}),
        (("spec", "template", "spec", "serviceAccountName"), "default"),
        ((*container, "image"), "x"),
        ((*container, "imagePullPolicy"), "Never"),
        ((*container, "env", 0, "value"), "x"),
        ((*container, "env", 0, "name"), "X"),
        ((*container, "volumeMounts", 0, "mountPath"), "/x"),
        (("spec", "strategy", "rollingUpdate", "maxSurge"), 2),
    ]
    for path, value in changes:
        assert broken(*path, value=value), path


def test_values_keys_and_defaults(platform: str, chart: Path) -> None:
    tables = read("values")
    if platform not in tables:
        assert platform == "deis"
        tables["deis"] = {"differs_from": "hephy", **yaml.safe_load((charts.FOLDER / "deis" / "variant.yaml").read_text())}
        tables["deis"] = {key: value for key, value in tables["deis"].items() if key == "differs_from"} | _as_text(tables["deis"])
        tables["hephy"]["azure"].pop("storage_conn_string")
    wanted = tables[platform]
    if "differs_from" in wanted:
        wanted = merged(tables[wanted["differs_from"]], {key: value for key, value in wanted.items() if key != "differs_from"})
    found = dict(_flat(charts.effective_values(chart)))
    left_out = tuple(entry["key"] for entry in DEVIATIONS["values_left_out"])
    moved = {entry["key"]: entry["ours"] for entry in DEVIATIONS["values_at_another_level"] if entry["platform"] == platform}
    problems = []
    for key, default in _flat(wanted):
        if key.startswith(left_out):
            assert key not in found, f"no deviation any more: {key}"
            continue
        value = found.get(moved.get(key, key), "(nothing)")
        text = "" if value is None else str(value).strip().replace("\n", " ")
        if not matches(default, text):
            problems.append(f"{key}: the table says {default!r}, the chart {text!r}")
    assert problems == []


def _as_text(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _as_text(value) if isinstance(value, dict) else str(value) for key, value in values.items() if key != "differs_from"}


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_every_image_is_in_the_lab_and_none_is_there_for_nothing(documents: list[dict[str, Any]], platform: str) -> None:
    known = set(yaml.safe_load(paths.IMAGE_TABLE.read_text())["images"])
    used = {container["image"] for document in documents for container in reduced(document).get("containers", {}).values()}
    # the controller starts the apps in this one
    used |= {document["data"]["image"] for document in documents if name_of(document) == "ConfigMap/slugrunner-config"}
    assert used <= known
    prefix = {"hephy": ("hephy/", "quay.io/deisci/"), "deis": ("quay.io/deis/",)}.get(platform, ("registry.drycc.cc/",))
    assert {name for name in known if name.startswith(prefix)} == used


def test_secrets_are_made_anew_and_hooks_are_no_part_of_the_release(helm: Path, chart: Path, platform: str, documents: list[dict[str, Any]]) -> None:
    again = {name_of(document): document for document in rendered(helm, chart, platform, "--set", "global.platformDomain=example.com")}
    fixed = {"deis-router-dhparam", "minio-user", "objectstorage-keyfile", "builder-secret", "quickwit-creds", "logger-fluentbit-creds"}
    for document in documents:
        if document["kind"] == "Secret" and document["metadata"]["name"] not in fixed:
            assert document["data"] != again[name_of(document)]["data"], f"the same in every installation: {name_of(document)}"


def test_router_replicas_are_a_literal() -> None:
    text = (charts.FOLDER / "workflow" / "templates" / "_parts.tpl").read_text()
    assert "replicas: 1\n" in text


def test_what_the_keys_turn_on_and_off(helm: Path, tmp_path: Path) -> None:
    """The settings of a whole platform that later work leans on, each by the objects that come and go."""

    def names(platform: str, *settings: str) -> dict[str, dict[str, Any]]:
        options = [word for setting in settings for word in ("--set", setting)]
        chart = chart_of(platform, tmp_path / platform)
        return {name_of(document): reduced(document) for document in rendered(helm, chart, platform, *options)}

    hephy = names("hephy")
    away = names(
        "hephy",
        "global.storage=s3",
        "global.database_location=off-cluster",
        "global.registry_location=off-cluster",
        "global.grafana_location=off-cluster",
        "global.influxdb_location=off-cluster",
        "global.logger_redis_location=off-cluster",
    )
    gone = {
        "Deployment/deis-minio",
        "Deployment/deis-database",
        "Deployment/deis-registry",
        "DaemonSet/deis-registry-proxy",
        "Deployment/deis-monitor-grafana",
        "Deployment/deis-monitor-influxdb",
        "Deployment/deis-logger-redis",
    }
    assert gone <= set(hephy)
    assert not gone & set(away)
    assert away["Secret/database-creds"]["keys"] == ["host", "name", "password", "port", "user"]
    assert away["Secret/registry-secret"]["keys"] == ["hostname", "organization", "password", "username"]
    assert away["Secret/objectstorage-keyfile"]["keys"] == ["accesskey", "builder-bucket", "database-bucket", "region", "registry-bucket", "secretkey"]
    controller = away["Deployment/deis-controller"]["containers"]["deis-controller"]["env"]
    assert (controller["APP_STORAGE"], controller["DEIS_DATABASE_SERVICE_HOST"]) == ("s3", "<secret database-creds/host>")
    cni = names("hephy", "global.use_cni=true")["DaemonSet/deis-registry-proxy"]
    assert (cni["host_network"], cni["containers"]["deis-registry-proxy"]["env"]["BIND_ADDR"]) == (True, "127.0.0.1:5555")
    assert not [name for name in names("hephy", "global.use_rbac=false") if "Role" in name]
    hosts = names("hephy", "router.host_port.enabled=true")["Deployment/deis-router"]["containers"]["deis-router"]["ports"]
    assert hosts == ["8080 host 80", "6443 host 443", "2222 host 2222", "9090 host 9090"]
    urls = [f"{name}.databaseUrl=postgres://a:b@c/{name}" for name in ("controller", "passport", "grafana", "quickwit")]
    drycc = names("drycc-head", "global.platformDomain=example.com", "database.enabled=false", *urls)
    assert "StatefulSet/drycc-database" not in drycc
    api = drycc["Deployment/drycc-controller-api"]["containers"]["drycc-controller-api"]["env"]
    assert api["DRYCC_DATABASE_URL"] == "<secret controller-creds/database-url>"
    assert drycc["StatefulSet/drycc-grafana"]["containers"]["drycc-grafana"]["env"]["GF_DATABASE_URL"] == "postgres://a:b@c/grafana"
    keyed = [name for name, shape in drycc.items() if name.startswith("Secret/") and "database-url" in shape.get("keys", ())]
    assert sorted(keyed) == ["Secret/controller-creds", "Secret/passport-creds", "Secret/quickwit-creds"]
    parts = {"builder": "builder-secret", "registry": "registry-secret", "database": "database-creds", "quickwit": "quickwit-creds"}
    stores = [f"{part}.storage{key}=x" for part in parts for key in ("Bucket", "Endpoint", "Accesskey", "Secretkey")]
    outside = names("drycc-head", "global.platformDomain=example.com", "storage.enabled=false", *stores)
    assert "StatefulSet/drycc-storage" not in outside
    for secret in parts.values():
        assert {f"storage-{key}" for key in ("bucket", "endpoint", "accesskey", "secretkey", "path-style")} <= set(outside[f"Secret/{secret}"]["keys"])
    env = outside["Deployment/drycc-builder"]["containers"]["drycc-builder"]["env"]
    assert (env["DRYCC_STORAGE_ENDPOINT"], env["DRYCC_STORAGE_PATH_STYLE"]) == (
        "<secret builder-secret/storage-endpoint>",
        "<secret builder-secret/storage-path-style>",
    )
    secure = names("drycc-head", "global.platformDomain=example.com", "global.certManagerEnabled=true")
    assert {"Certificate/drycc-auto-tls", "Issuer/drycc-issuer"} <= set(secure)


@pytest.mark.parametrize(("kubernetes", "version"), [("1.9.0", "v1beta1"), ("1.10.0", "v1alpha1"), ("1.36.0", "v1alpha1")])
def test_deis_takes_every_kubernetes_from_1_10_on_for_an_old_one(helm: Path, tmp_path: Path, kubernetes: str, version: str) -> None:
    """So that nothing is rendered there: a server of that age does not have the version that the chart chooses, helm template has them all."""
    chart = chart_of("deis", tmp_path / "chart")
    roles = [
        document for document in rendered(helm, chart, "deis", "--set", "global.use_rbac=true", "--kube-version", kubernetes) if "Role" in document["kind"]
    ]
    assert {document["apiVersion"] for document in roles} == {f"rbac.authorization.k8s.io/{version}"}
