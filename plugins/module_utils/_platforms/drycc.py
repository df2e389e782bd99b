# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drycc Workflow in its two shapes: the 1.8 releases of 2025, and the testing channel of 2026 ("head")."""

from __future__ import annotations

from dataclasses import replace
from typing import Tuple

from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import (
    Accounts,
    Answer,
    BundledStore,
    Component,
    DataPlane,
    Door,
    InertSetting,
    ObjectStorage,
    Platform,
    Registration,
    Router,
    Setting,
    Way,
    Workload,
)

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
    names = {"bucket": "bucket.{component}", "accesskey": "access_key", "secretkey": "secret_key", "path-style": "path_style"}
    return tuple(
        Setting(
            names.get(field, field),
            secret_key=f"storage-{field}",
            variable="DRYCC_STORAGE_" + field.upper().replace("-", "_"),
            values_key="{component}.storage" + "".join(part.capitalize() for part in field.split("-")),
        )
        for field in fields
    )


def _quickwit() -> Tuple[Workload, ...]:
    parts = (
        ("Deployment", "metastore"),
        ("Deployment", "control-plane"),
        ("Deployment", "janitor"),
        ("StatefulSet", "indexer"),
        ("StatefulSet", "searcher"),
    )
    return tuple(Workload(kind, f"drycc-quickwit-{part}", f"drycc-quickwit-{part}") for kind, part in parts)


_STORE_USERS = (
    Component("registry", "registry", (Workload("Deployment", "drycc-registry", "drycc-registry"),), secret="registry-secret"),
    Component("quickwit", "quickwit", _quickwit(), secret="quickwit-creds"),
    Component("builder", "builder", (Workload("Deployment", "drycc-builder", "drycc-builder"),), secret="builder-secret", writes=True),
)
_OBJECT_STORAGE_1_8 = ObjectStorage(
    users=_STORE_USERS,
    bundled=BundledStore(Workload("StatefulSet", "drycc-storage", "drycc-storage"), 9000, "storage-creds", "accesskey", "secretkey"),
    ways=(Way("s3", "", _component_settings("bucket", "endpoint", "accesskey", "secretkey"), addressed=True),),
    inert={"gcs": _ONLY_S3, "azure": _ONLY_S3, "swift": _ONLY_S3},
)

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
    # The database keeps its backups there, too.
    object_storage=_OBJECT_STORAGE_1_8._replace(users=(Component("database", "database", (_DATABASE, _BACKUPS), secret="database-creds"), *_STORE_USERS)),
)
