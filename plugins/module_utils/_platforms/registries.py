# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each platform's code looks for images, in the cluster and outside of it."""

from __future__ import annotations

from typing import Tuple

from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ImageLocation, ImageRegistry, ImageUser, Setting, Workload


def _deployment(name: str, container: str = "") -> Workload:
    return Workload("Deployment", name, container or name)


# Deis and Hephy

_BUILDER, _CONTROLLER = _deployment("deis-builder"), _deployment("deis-controller")
_SECRET = "registry-secret"
_VALUES = "registry-token-refresher"
_REFRESHER = _deployment("deis-registry-token-refresher")
_FOUND_OUT = "Leave it out: the token refresher finds it out by itself (Deis Workflow, Configuring Registry)."


def _keys(location: str, *rows: Tuple[str, str, str]) -> Tuple[Tuple[str, Tuple[Setting, ...]], ...]:
    """The keys of the one Secret: field, key, and key in the chart's values."""
    return ((_SECRET, tuple(Setting(field, secret_key=key, values_key=f"{_VALUES}.{location}.{values}") for field, key, values in rows)),)


_OFF_CLUSTER = ImageLocation(
    "off-cluster",
    _keys(
        "off_cluster_registry",
        ("hostname", "hostname", "hostname"),
        ("organization", "organization", "organization"),
        ("account", "username", "username"),
        ("account_password", "password", "password"),
    ),
    required=("server", "organization", "account", "account_password"),
)
_ECR = ImageLocation(
    "ecr",
    _keys(
        "ecr",
        ("access_key", "accesskey", "accesskey"),
        ("secret_key", "secretkey", "secretkey"),
        ("region", "region", "region"),
        ("nothing", "registryid", "registryid"),
        ("nothing", "hostname", "hostname"),
    ),
    required=("region",),
    refused={"server": _FOUND_OUT, "organization": "Leave it out: the builder makes one repository for each app."},
    refresher=_REFRESHER,
)
_GCR = ImageLocation(
    "gcr",
    _keys("gcr", ("service_account", "key.json", "key_json"), ("nothing", "hostname", "hostname")),
    required=("service_account",),
    refused={"server": _FOUND_OUT, "organization": "Leave it out: the project of the service account takes its place."},
    refresher=_REFRESHER,
)

HEPHY_IMAGES = ImageRegistry(
    bundled=_deployment("deis-registry"),
    port=5000,
    # Both read the Secret whenever they need it: a new password needs no restart.
    users=(ImageUser(_BUILDER, "global.registry_location"), ImageUser(_CONTROLLER, "global.registry_location")),
    builder=_BUILDER,
    locations=(_OFF_CLUSTER, _ECR, _GCR),
    variable="DEIS_REGISTRY_LOCATION",
    inside="on-cluster",
    address_variables=("DEIS_REGISTRY_SERVICE_HOST", "DEIS_REGISTRY_SERVICE_PORT"),
    pull_secret="{prefix}-{location}",
    prefix_variable=(_CONTROLLER, "DEIS_REGISTRY_SECRET_PREFIX"),
    annotation="deis.io/registry-location",
    port_wanted=True,
)

_NO_RIGHT = "With global.use_rbac the chart gives the builder no right to read Secrets: builds fail until its Role has get and list on them (Hephy added them)."
DEIS_IMAGES = HEPHY_IMAGES._replace(locations=tuple(location._replace(limits=(_NO_RIGHT,)) for location in HEPHY_IMAGES.locations))

# Drycc

_DRYCC_BUILDER = _deployment("drycc-builder")
_ONLY_ONE_HOST = (
    "The manual of Deis has it, but no code of Drycc: neither the controller nor the builder knows another place than off-cluster"
    " (drycc/builder, pkg/gitreceive/imagebuilder.go). Take a registry with a name and a password."
)
_KEEP_THE_SECRET = (
    "The controller takes the account for pull Secrets out of registry-secret, which the chart makes for the bundled registry:"
    " keep registry.enabled at true, or the next release of an app fails."
)
# The controller makes pull Secrets out of registry-secret, in which the chart has the bundled registry's own account and no host. Both the bundled
# registry and its proxies read it when they start: they get the new account together, and go on serving what was built before.
_DRYCC_OUTSIDE = ImageLocation(
    "off-cluster",
    (
        (
            "builder-secret",
            (
                Setting("server", "registry-host", values_key="builder.registryHost"),
                Setting("organization", "registry-organization", values_key="builder.registryOrganization"),
                Setting("account", "registry-username", values_key="builder.registryUsername"),
                Setting("account_password", "registry-password", values_key="builder.registryPassword"),
            ),
        ),
        (
            "registry-secret",
            (
                Setting("hostname", "hostname"),
                Setting("account", "username", values_key="registry.username"),
                Setting("account_password", "password", values_key="registry.password"),
            ),
        ),
    ),
    required=("server", "organization", "account", "account_password"),
    limits=(_KEEP_THE_SECRET,),
)


def _drycc(pull_secret: str, *controllers: Workload) -> ImageRegistry:
    told = [ImageUser(workload, "controller.registry.enabled", False) for workload in controllers]
    references = tuple((f"DRYCC_REGISTRY_{name.upper()}", "builder-secret", f"registry-{name}") for name in ("host", "username", "password", "organization"))
    return ImageRegistry(
        bundled=_deployment("drycc-registry"),
        port=5000,
        users=(
            ImageUser(_deployment("drycc-registry"), told=False, reads_at_start="registry-secret"),
            ImageUser(Workload("DaemonSet", "drycc-registry-proxy", "drycc-registry-proxy"), told=False, reads_at_start="registry-secret"),
            ImageUser(_DRYCC_BUILDER, "builder.registry.enabled", False, references, reads_at_start="builder-secret"),
            *told,
        ),
        builder=_DRYCC_BUILDER,
        locations=(_DRYCC_OUTSIDE,),
        variable="DRYCC_REGISTRY_LOCATION",
        inside="on-cluster",
        address_variables=("DRYCC_REGISTRY_PROXY_HOST",),
        pull_secret=pull_secret,
        prefix_variable=(controllers[0], "DRYCC_REGISTRY_SECRET_PREFIX"),
        credentials=("registry-secret", "username", "password"),
        folders=True,
        inert={"ecr": _ONLY_ONE_HOST, "gcr": _ONLY_ONE_HOST},
    )


# Jobs of the clock write the state of apps into the cluster, too.
_BY_CLOCK = (
    Workload("CronJob", "drycc-controller-cronjob-daily", ""),
    Workload("CronJob", "drycc-controller-cronjob-hourly", ""),
)
DRYCC_1_8_IMAGES = _drycc(
    "{prefix}-{location}",
    _deployment("drycc-controller"),
    _deployment("drycc-controller-celery"),
    _deployment("drycc-controller-mutate", "drycc-controller"),
    *_BY_CLOCK,
)
DRYCC_HEAD_IMAGES = _drycc(
    "{prefix}-{process}-{location}",
    _deployment("drycc-controller-api"),
    _deployment("drycc-controller-celery", "drycc-controller-celery-low"),
    _deployment("drycc-controller-metric"),
    _deployment("drycc-controller-mutate"),
    *_BY_CLOCK,
)
