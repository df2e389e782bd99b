# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deis Workflow 2.18 and Hephy Workflow 2.23: the same names, told apart by who built the images and whom they call home."""

from __future__ import annotations

from dataclasses import replace
from typing import Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._platforms.metrics import WORKFLOW_METRICS
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import (
    Accounts,
    Answer,
    BundledStore,
    Component,
    Database,
    Door,
    Mark,
    ObjectStorage,
    Platform,
    Pool,
    Registration,
    Router,
    Setting,
    Way,
    Workload,
)
from ansible_collections.paas.hardening.plugins.module_utils._platforms.registries import DEIS_IMAGES, HEPHY_IMAGES

_CONTROLLER = Workload("Deployment", "deis-controller", "deis-controller")
_DATABASE = Workload("Deployment", "deis-database", "deis-database")
_ROUTER = Workload("Deployment", "deis-router", "deis-router")
_BUILDER = Workload("Deployment", "deis-builder", "deis-builder")
_MANAGER = Workload("Deployment", "deis-workflow-manager", "deis-workflow-manager")
_REGISTRY = Workload("Deployment", "deis-registry", "deis-registry")
_STORE = Workload("Deployment", "deis-minio", "deis-minio")

# The role is random, is the name of the database too, and local connections are trusted. It goes by the environment, not by the command line.
_PSQL = ("sh", "-c", "PGUSER=$(cat /var/run/secrets/deis/database/creds/user); PGDATABASE=$PGUSER; export PGUSER PGDATABASE; exec psql -XtA")


def _way(provider: str, settings: Mapping[str, Tuple[str, str]], noun: str) -> Way:
    """A kind of store for which the chart has keys: ``settings`` maps fields to the key in the Secret and the key in the values."""
    buckets = {f"bucket.{role}": (f"{role}-{noun}", f"{role}_{noun}") for role in ("builder", "registry", "database")}
    rows = {**settings, **buckets}.items()
    return Way(
        provider,
        provider,
        tuple(Setting(field, secret_key=key, values_key=f"{provider}.{values}", values_encoded=field == "service_account") for field, (key, values) in rows),
        kind_values_key="global.storage",
    )


# The one way to a store of one's own address, since no release has a key for an endpoint (deis/workflow#481, teamhephy/workflow#52): the variables that
# Kubernetes derives from the Service of the bundled store are stated, and lead elsewhere.
_ADDRESSED = Way(
    "s3",
    "minio",
    (
        Setting("access_key", secret_key="accesskey"),
        Setting("secret_key", secret_key="secretkey"),
        Setting("host", variable="DEIS_MINIO_SERVICE_HOST"),
        Setting("port", variable="DEIS_MINIO_SERVICE_PORT"),
    ),
    addressed=True,
    schemes=("http",),
    fixed_buckets=True,
    limits=(
        "The components speak plain HTTP to it: keep the network between them private.",
        "The buckets are called registry, git and dbwal, and the region is us-east-1.",
        "The chart has no keys for it: an upgrade puts the bundled store's credentials back, and components then fail to log in until this runs again.",
    ),
)

_OBJECT_STORAGE = ObjectStorage(
    users=(
        Component("database", "dbwal", (_DATABASE,), kind_variable="DATABASE_STORAGE", optional=True),
        Component("registry", "registry", (_REGISTRY,), kind_variable="REGISTRY_STORAGE", optional=True),
        Component("builder", "git", (_BUILDER,), kind_variable="BUILDER_STORAGE", writes=True),
        Component("", "", (_CONTROLLER,), kind_variable="APP_STORAGE", writes=True),
    ),
    bundled=BundledStore(
        _STORE,
        9000,
        "minio-user",
        "accesskey",
        "secretkey",
        (
            "603b58e71afb505fc59fc1c1ffec442fc8aa51b5cb5853cd1096e968be9ec876",
            "8a6967bef87657a84bde192443e6a1745daa254087e13507842f934c91d399ac",
        ),
    ),
    ways=(
        _ADDRESSED,
        _way("s3", {"access_key": ("accesskey", "accesskey"), "secret_key": ("secretkey", "secretkey"), "region": ("region", "region")}, "bucket"),
        _way("gcs", {"service_account": ("key.json", "key_json")}, "bucket"),
        _way(
            "azure",
            {
                "account": ("accountname", "accountname"),
                "account_key": ("accountkey", "accountkey"),
                "connection_string": ("azure-storage-conn-string", "storage_conn_string"),
            },
            "container",
        ),
        _way(
            "swift",
            {
                "user": ("username", "username"),
                "user_key": ("password", "password"),
                "auth_url": ("authurl", "authurl"),
                "tenant": ("tenant", "tenant"),
                "auth_version": ("authversion", "authversion"),
            },
            "container",
        ),
    ),
    secret="objectstorage-keyfile",
    annotation="deis.io/objectstorage",
    copied=True,
    app_variable="BUILDER_STORAGE",
    backup=(_DATABASE, ("do_backup",)),
)

# The Secret is a hook of the first installation: no upgrade ever adds the keys of a database outside, and a controller without them does not start. Written
# here, they are there before the first upgrade that wants them.
_DATABASES = Database(
    users=(Component("controller", "", (_CONTROLLER,), writes=True, health=(8000, "/readiness")),),
    way=Way(
        "postgres",
        "",
        (
            Setting("user", "user", values_key="database.postgres.username"),
            Setting("password", "password", values_key="database.postgres.password"),
            Setting("name", "name", "DEIS_DATABASE_NAME", "database.postgres.name"),
            Setting("host", "host", "DEIS_DATABASE_SERVICE_HOST", "database.postgres.host"),
            Setting("port", "port", "DEIS_DATABASE_SERVICE_PORT", "database.postgres.port"),
            # Read by libpq itself; the chart has no key for it.
            Setting("sslmode", variable="PGSSLMODE"),
        ),
        addressed=True,
    ),
    bundled=_DATABASE,
    bundled_secret="database-creds",
    user_keys=("user", "password"),
    # The platform's role is one.
    superuser_keys=("user", "password"),
    # A worker keeps its connection for ten minutes, so in the end each has one (teamhephy/controller#74).
    pools=(Pool(_CONTROLLER, 1, 4, "GUNICORN_WORKERS"),),
    secret="database-creds",
    name_key="name",
)

HEPHY = Platform(
    name="hephy",
    title="Hephy Workflow",
    namespace="deis",
    heritage="deis",
    version_annotation="component.deis.io/version",
    required=("deis-controller", "deis-builder"),
    absent=(),
    marks=(
        Mark(_MANAGER, "VERSIONS_API_URL", r"^https?://([\w-]+\.)*teamhephy\.\w+(:|/|$)"),
        Mark(_ROUTER, None, r"(^|/)hephy/router([:@]|$)"),
        Mark(_BUILDER, None, r"(^|/)hephy/builder([:@]|$)"),
    ),
    components={
        "api": _CONTROLLER,
        "builder": _BUILDER,
        "database": _DATABASE,
        "registry": _REGISTRY,
        "object storage": _STORE,
        "router": _ROUTER,
        "logger": Workload("Deployment", "deis-logger", "deis-logger"),
        "grafana": Workload("Deployment", "deis-monitor-grafana", "deis-monitor-grafana"),
        "influxdb": Workload("Deployment", "deis-monitor-influxdb", "deis-monitor-influxdb"),
        "workflow manager": _MANAGER,
    },
    registration=Registration(
        workload=_CONTROLLER,
        variable="REGISTRATION_MODE",
        values={"admin_only": "admin_only", "disabled": "disabled", "enabled": "enabled"},
        default="enabled",
        values_path="controller.registration_mode",
        door=Door(
            port=8000,
            method="POST",
            path="/v2/auth/register/",
            body="{}",
            answers=(
                Answer("closed", "403, registration is disabled", 403, json_field=("detail", "Registration is disabled")),
                Answer("closed", "403, asks for an administrator's credentials", 403, json_field=("detail", "Authentication credentials were not provided.")),
                Answer("open", "400, asks for the fields of a new account", 400, json_names=("username", "password")),
            ),
        ),
        accounts=Accounts(_DATABASE, _PSQL, "auth_user"),
        first_user_is_administrator=True,
    ),
    router=Router(workload=_ROUTER, health_port=9090, health_path="/healthz"),
    object_storage=_OBJECT_STORAGE,
    database=_DATABASES,
    registry=HEPHY_IMAGES,
    metrics=WORKFLOW_METRICS,
)


def _without(way: Way, field: str) -> Way:
    return way._replace(settings=tuple(setting for setting in way.settings if setting.field != field))


DEIS = replace(
    HEPHY,
    name="deis",
    title="Deis Workflow",
    marks=(
        Mark(_MANAGER, "VERSIONS_API_URL", r"^https?://([\w-]+\.)*deis\.com(:|/|$)"),
        Mark(_ROUTER, None, r"(^|/)(deis|deisci)/router([:@]|$)"),
        Mark(_BUILDER, None, r"(^|/)(deis|deisci)/builder([:@]|$)"),
    ),
    # Hephy added the connection string.
    object_storage=_OBJECT_STORAGE._replace(ways=tuple(_without(way, "connection_string") for way in _OBJECT_STORAGE.ways)),
    registry=DEIS_IMAGES,
)
