# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deis Workflow 2.18 and Hephy Workflow 2.23: the same names, told apart by who built the images and whom they call home."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Accounts, Answer, Door, Mark, Platform, Registration, Router, Workload

_CONTROLLER = Workload("Deployment", "deis-controller", "deis-controller")
_DATABASE = Workload("Deployment", "deis-database", "deis-database")
_ROUTER = Workload("Deployment", "deis-router", "deis-router")
_BUILDER = Workload("Deployment", "deis-builder", "deis-builder")
_MANAGER = Workload("Deployment", "deis-workflow-manager", "deis-workflow-manager")

# The role is random, is the name of the database too, and local connections are trusted. It goes by the environment, not by the command line.
_PSQL = ("sh", "-c", "PGUSER=$(cat /var/run/secrets/deis/database/creds/user); PGDATABASE=$PGUSER; export PGUSER PGDATABASE; exec psql -XtA")

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
        "registry": Workload("Deployment", "deis-registry", "deis-registry"),
        "object storage": Workload("Deployment", "deis-minio", "deis-minio"),
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
)

DEIS = replace(
    HEPHY,
    name="deis",
    title="Deis Workflow",
    marks=(
        Mark(_MANAGER, "VERSIONS_API_URL", r"^https?://([\w-]+\.)*deis\.com(:|/|$)"),
        Mark(_ROUTER, None, r"(^|/)(deis|deisci)/router([:@]|$)"),
        Mark(_BUILDER, None, r"(^|/)(deis|deisci)/builder([:@]|$)"),
    ),
)
