# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drycc Workflow in its two shapes: the 1.8 releases of 2025, and the testing channel of 2026 ("head")."""

from __future__ import annotations

from dataclasses import replace
from typing import Tuple

from ansible_collections.paas.hardening.plugins.module_utils._platforms.metrics import drycc_1_8_metrics, drycc_head_metrics
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import (
    Accounts,
    Answer,
    BundledStore,
    Component,
    Database,
    DataPlane,
    Door,
    InertSetting,
    ObjectStorage,
    Platform,
    Pool,
    Registration,
    Router,
    Setting,
    Way,
    Workload,
)
from ansible_collections.paas.hardening.plugins.module_utils._platforms.registries import DRYCC_1_8_IMAGES, DRYCC_HEAD_IMAGES

_DATABASE = Workload("StatefulSet", "drycc-database", "drycc-database")
_BACKUPS = Workload("CronJob", "drycc-database-cronjob-backup", "drycc-database-cronjob-backup")
_PASSPORT_1_8 = Workload("Deployment", "drycc-passport", "drycc-passport")
_PASSPORT_HEAD = Workload("Deployment", "drycc-passport-api", "drycc-passport-api")
_CONTROLLER_1_8 = Workload("Deployment", "drycc-controller", "drycc-controller")
_CONTROLLER_HEAD = Workload("Deployment", "drycc-controller-api", "drycc-controller-api")

_PSQL = (
    "sh",
    "-c",
    (
        "PGUSER=$DRYCC_DATABASE_SUPERUSER; PGPASSWORD=$DRYCC_DATABASE_SUPERUSER_PASSWORD; PGDATABASE=passport;"
        " export PGUSER PGPASSWORD PGDATABASE; exec psql -XtA"
    ),
)


def _inert(controller: Workload) -> InertSetting:
    return InertSetting(
        controller,
        "REGISTRATION_MODE",
        "controller.registrationMode",
        "No code of the controller reads it; the passport's REGISTRATION_ENABLED decides.",
    )


_ONLY_S3 = "The manual lists it, but the charts have keys for S3 alone (drycc/workflow, charts/*/templates): put an S3 gateway before it."


def _component_settings(*fields: str) -> Tuple[Setting, ...]:
    names = {"bucket": "bucket.{component}", "accesskey": "access_key", "secretkey": "secret_key", "path-style": "path_style.{component}"}
    return tuple(
        Setting(
            names.get(field, field),
            secret_key=f"storage-{field}",
            variable="DRYCC_STORAGE_" + field.upper().replace("-", "_"),
            values_key="{component}.storage" + "".join(part.capitalize() for part in field.split("-")),
            leads=field != "path-style",
        )
        for field in fields
    )


def _workloads(kind: str, *names: str) -> Tuple[Workload, ...]:
    return tuple(Workload(kind, f"drycc-{name}", f"drycc-{name}") for name in names)


_QUICKWIT = (
    *_workloads("Deployment", "quickwit-metastore", "quickwit-control-plane", "quickwit-janitor"),
    *_workloads("StatefulSet", "quickwit-indexer", "quickwit-searcher"),
)
_REGISTRY = (*_workloads("Deployment", "registry"), Workload("CronJob", "drycc-registry-cronjob-daily", "drycc-registry-garbage-collect"))
_STORE_USERS = (
    Component("registry", "registry", _REGISTRY, secret="registry-secret", optional=True),
    # It writes whatever is logged.
    Component("quickwit", "quickwit", _QUICKWIT, secret="quickwit-creds", writes=True),
    Component("builder", "builder", _workloads("Deployment", "builder"), secret="builder-secret", writes=True),
)
_STORE = Way(
    "s3",
    "",
    _component_settings("bucket", "endpoint", "accesskey", "secretkey"),
    addressed=True,
    limits=("Quickwit notes with each index in which bucket it lies: only under the name quickwit are the logs found that were written so far.",),
)
_OBJECT_STORAGE_1_8 = ObjectStorage(
    users=_STORE_USERS,
    bundled=BundledStore(
        Workload("StatefulSet", "drycc-storage", "drycc-storage"), 9000, "storage-creds", "accesskey", "secretkey", left_out=("storage.enabled", False)
    ),
    ways=(_STORE,),
    inert={"gcs": _ONLY_S3, "azure": _ONLY_S3, "swift": _ONLY_S3},
    registry_login=("registry-secret", "username", "password"),
)
_RESTARTED = (
    "The pods of drycc-database state the store, too, though only its backups use it: an upgrade with the overlay restarts them. Have the database outside"
    " before that, unless its rows are on volumes or in several pods."
)
# The database keeps its backups there, too. Its own pods state the store and never use it; they are left alone, since their rows may live as long as they do.
_OBJECT_STORAGE_HEAD = _OBJECT_STORAGE_1_8._replace(
    users=(Component("database", "database", (_BACKUPS,), secret="database-creds", optional=True), *_STORE_USERS),
    ways=(
        _STORE._replace(
            settings=_component_settings("bucket", "endpoint", "accesskey", "secretkey", "path-style"),
            limits=(*_STORE.limits, _RESTARTED),
            # The registry has words of its own for the same.
            fixed={"path_style.database": "true", "path_style.quickwit": "true", "path_style.builder": "true", "path_style.registry": "on"},
        ),
    ),
)

# What follows a ? in the URL goes to the driver as it is. Reads go to the same server unless another one is named.
_URL = Setting("url.{component}", "database-url", "DRYCC_DATABASE_URL", "{component}.databaseUrl")
_REPLICA_URL = Setting("replica_url.{component}", "database-replica-url", "DRYCC_DATABASE_REPLICA_URL", "{component}.databaseReplicaUrl")
# The chart has no Secret for it: the password stands in the pod template, so the role should be one that enters nothing else.
_GRAFANA_URL = Setting("url.{component}", variable="GF_DATABASE_URL", values_key="{component}.databaseUrl")
_READINESS = (8000, "/readiness")
_CRON = (
    Workload("CronJob", "drycc-controller-cronjob-daily", "drycc-controller-clearsocial"),
    Workload("CronJob", "drycc-controller-cronjob-hourly", "drycc-controller-upload-network-usage"),
)
_UPGRADE = _workloads("Job", "controller-job-upgrade")


def _databases(controller: Tuple[Workload, ...], passport: Tuple[Workload, ...], grafana: str, pools: Tuple[Pool, ...]) -> Database:
    users = (
        Component("controller", "", (*controller, *_CRON), secret="controller-creds", writes=True, once=_UPGRADE, health=_READINESS),
        Component("passport", "", passport, secret="passport-creds", writes=True, optional=True, health=_READINESS),
        Component("grafana", "", _workloads(grafana, "grafana"), writes=True, optional=True, settings=(_GRAFANA_URL,), health=(3000, "/api/health")),
        Component("quickwit", "", _QUICKWIT, secret="quickwit-creds", writes=True, settings=(_URL,)),
    )
    return Database(
        users=users,
        way=Way("postgres", "", (_URL, _REPLICA_URL), addressed=True),
        bundled=_DATABASE,
        bundled_secret="database-creds",
        user_keys=("user", "password"),
        superuser_keys=("superuser", "superuser-password"),
        # As Patroni says it, before its version 4 and since.
        leader=("role", ("master", "primary")),
        # Grafana has no limit of its own and keeps two; Quickwit's metastore has ten by default.
        pools=(*pools, Pool(users[2].workloads[0], 5), Pool(_QUICKWIT[0], 10)),
        of_its_own=True,
        # Grafana's driver does not negotiate, and knows no word for it.
        ssl_modes=("disable", "prefer", "require"),
    )


def _served(*workloads: Workload) -> Tuple[Pool, ...]:
    return tuple(Pool(workload, 4, variable="GUNICORN_WORKERS") for workload in workloads)


_CONTROLLERS_1_8 = (_CONTROLLER_1_8, *_workloads("Deployment", "controller-celery"), Workload("Deployment", "drycc-controller-mutate", "drycc-controller"))
_CONTROLLERS_HEAD = (
    _CONTROLLER_HEAD,
    *_workloads("Deployment", "controller-metric", "controller-mutate"),
    Workload("Deployment", "drycc-controller-celery", "drycc-controller-celery-low"),
)
_PASSPORTS_HEAD = (_PASSPORT_HEAD, *_workloads("Deployment", "passport-celery"))
# A worker of Celery has a process for each core; the newest controller has three of them.
_DATABASES_1_8 = _databases(
    _CONTROLLERS_1_8,
    (_PASSPORT_1_8,),
    "Deployment",
    (*_served(_CONTROLLER_1_8, _CONTROLLERS_1_8[2], _PASSPORT_1_8), Pool(_CONTROLLERS_1_8[1], for_each_core=1)),
)
_DATABASES_HEAD = _databases(
    _CONTROLLERS_HEAD,
    _PASSPORTS_HEAD,
    "StatefulSet",
    (*_served(*_CONTROLLERS_HEAD[:3], _PASSPORT_HEAD), Pool(_CONTROLLERS_HEAD[3], for_each_core=3), Pool(_PASSPORTS_HEAD[1], for_each_core=1)),
)._replace(backups=_BACKUPS)

DRYCC_1_8 = Platform(
    name="drycc-1.8",
    title="Drycc Workflow 1.8",
    namespace="drycc",
    heritage="drycc",
    version_annotation="component.drycc.cc/version",
    required=("drycc-controller", "drycc-passport"),
    absent=("drycc-controller-api",),
    marks=(),
    components={
        "api": _CONTROLLER_1_8,
        "passport": _PASSPORT_1_8,
        "builder": Workload("Deployment", "drycc-builder", "drycc-builder"),
        "database": _DATABASE,
        "object storage": Workload("StatefulSet", "drycc-storage", "drycc-storage"),
        "registry": Workload("Deployment", "drycc-registry", "drycc-registry"),
        "grafana": Workload("Deployment", "drycc-grafana", "drycc-grafana"),
        "valkey": Workload("StatefulSet", "drycc-valkey", "drycc-valkey-server"),
    },
    registration=Registration(
        workload=_PASSPORT_1_8,
        variable="REGISTRATION_ENABLED",
        # There is no mode between: accounts are made by an administrator, or by everybody.
        values={"admin_only": "false", "disabled": "false", "enabled": "true"},
        default="false",
        values_path="passport.environment.REGISTRATION_ENABLED",
        door=Door(
            port=8000,
            method="GET",
            path="/user/registration",
            body=None,
            answers=(
                Answer("open", "the registration form", 200, cookie="csrftoken", contains=("password1", "password2")),
                Answer("closed", "a page without the form", 200, no_cookie="csrftoken", contains=("Drycc | Message",), lacks=("password1", "password2")),
            ),
        ),
        accounts=Accounts(_DATABASE, _PSQL, "api_user"),
        first_user_is_administrator=False,
        boolean=True,
        closed_by=("LDAP_ENDPOINT",),
        side_doors=("SOCIAL_AUTH_GITHUB_KEY", "SOCIAL_AUTH_GOOGLE_KEY", "SOCIAL_AUTH_WEIXIN_KEY", "SOCIAL_AUTH_FEISHU_KEY"),
        inert=(_inert(_CONTROLLER_1_8),),
        administrator_variables=("ADMIN_USERNAME", "ADMIN_PASSWORD"),
        well_known_administrator=("admin", "admin"),
    ),
    router=Router(
        gateway="drycc-gateway",
        gateway_class_values_path="gateway.gatewayClass",
        data_planes=(DataPlane("istio.io/gateway-controller", "gateway.networking.k8s.io/gateway-name", "istio-proxy", 15021, "/healthz/ready"),),
    ),
    object_storage=_OBJECT_STORAGE_1_8,
    database=_DATABASES_1_8,
    registry=DRYCC_1_8_IMAGES,
    metrics=drycc_1_8_metrics((*_CONTROLLERS_1_8, *_CRON)),
    start=("init-stack",),
)

DRYCC_HEAD = replace(
    DRYCC_1_8,
    name="drycc-head",
    title="Drycc Workflow (testing channel)",
    required=("drycc-controller-api", "drycc-passport-api"),
    absent=("drycc-controller",),
    components={
        **DRYCC_1_8.components,
        "api": _CONTROLLER_HEAD,
        "passport": _PASSPORT_HEAD,
        "grafana": Workload("StatefulSet", "drycc-grafana", "drycc-grafana"),
    },
    registration=replace(DRYCC_1_8.registration, workload=_PASSPORT_HEAD, inert=(_inert(_CONTROLLER_HEAD),)),
    object_storage=_OBJECT_STORAGE_HEAD,
    database=_DATABASES_HEAD,
    registry=DRYCC_HEAD_IMAGES,
    metrics=drycc_head_metrics((*_CONTROLLERS_HEAD, *_CRON)),
)
