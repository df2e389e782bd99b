# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each platform keeps metrics, who writes and reads them there, and what its charts say of a store outside."""

from __future__ import annotations

from typing import Tuple

from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import GraphsDatabase, MetricsStore, MetricsUser, Sender, Setting, Workload

_NO_HISTORY = "What was measured so far stays in the bundled store: nothing moves it."

# Deis and Hephy: InfluxDB, written by Telegraf and read by Grafana.

_GRAFANA = Workload("Deployment", "deis-monitor-grafana", "deis-monitor-grafana")
_TELEGRAF = Workload("DaemonSet", "deis-monitor-telegraf", "deis-monitor-telegraf")


def _influx(*rows: Tuple[str, str, str]) -> Tuple[Setting, ...]:
    """Settings out of field, key in the Secret, and variable."""
    return tuple(Setting(field, secret_key=key, variable=variable, values_key=_INFLUX_VALUES.get(key)) for field, key, variable in rows)


_INFLUX_VALUES = {key: f"monitor.influxdb.{key}" for key in ("url", "database", "user", "password")}

_GRAPHS_WORDS = {"kind": "TYPE", "address": "HOST", "name": "NAME", "user": "USER", "password": "PASSWORD", "sslmode": "SSL_MODE"}
_UPGRADED = (
    "An upgrade with the overlay takes the bundled store away, and gives Grafana the address as Telegraf needs it, between quotation marks, which is none:"
    " run this again after each upgrade."
)
# The chart has one text for both. Telegraf's start puts it between the brackets of a list in TOML (deis/monitor, telegraf/rootfs/config.toml.tpl), Grafana's
# between the quotation marks of a text in JSON (grafana/rootfs, start-grafana): with quotation marks it is none for Grafana, without them Telegraf does not
# start. So Grafana gets a key of its own, and the chart's key what keeps Telegraf running.
WORKFLOW_METRICS = MetricsStore(
    protocol="influxdb",
    bundled=Workload("Deployment", "deis-monitor-influxdb", "deis-monitor-influxdb"),
    users=(
        MetricsUser(
            _TELEGRAF,
            _influx(
                ("quoted_url", "url", "INFLUXDB_URLS"),
                ("database", "database", "INFLUXDB_DATABASE"),
                ("user", "user", "INFLUXDB_USERNAME"),
                ("password", "password", "INFLUXDB_PASSWORD"),
            ),
        ),
        MetricsUser(
            _GRAFANA,
            _influx(
                ("url", "plain-url", "INFLUXDB_SERVICE_URL"),
                ("database", "database", "INFLUXDB_DATABASE"),
                ("user", "user", "INFLUXDB_USER"),
                ("password", "password", "INFLUXDB_PASSWORD"),
            ),
            optional=True,
        ),
    ),
    location=("global.influxdb_location", "off-cluster"),
    secret="influxdb-creds",
    doors=("deis-monitor-influxapi", "deis-monitor-influxui"),
    routed_label="router.deis.io/routable",
    shut_annotation="router.deis.io/whitelist",
    graphs=GraphsDatabase(
        _GRAFANA,
        "postgres",
        {name: f"DATABASE_{word}" for name, word in _GRAPHS_WORDS.items()},
        "paas-hardening-grafana",
        ("DEFAULT_USER", "DEFAULT_USER_PASSWORD"),
        ("admin", "admin"),
    ),
    limits=(
        _NO_HISTORY,
        _UPGRADED,
        "The certificates of an address with https have to be those of a public authority: the pods know no other.",
    ),
)

# Drycc: VictoriaMetrics. The agent sends wherever it is told, the controller reads for everybody.

_ONE_WAY = "The chart has no key for credentials: keep the network between the platform and the store private."
_BOTH = "The agent sends to the bundled store as well, which goes on running; without it (victoriametrics.enabled=false) there is no agent, either."


def _sender() -> Sender:
    name = "drycc-victoriametrics-vmagent"
    return Sender(Workload("StatefulSet", name, name), "--remoteWrite.url=", "--promscrape.cluster.memberNum=", "victoriametrics.vmagent.extraArgs")


def _readers(workloads: Tuple[Workload, ...], variable: str, values_key: str) -> Tuple[MetricsUser, ...]:
    setting = Setting("url", variable=variable, values_key=values_key)
    return tuple(MetricsUser(workload, (setting,), optional=workload.kind == "CronJob") for workload in workloads)


def _victoria(users: Tuple[MetricsUser, ...], **inert: str) -> MetricsStore:
    name = "drycc-victoriametrics-vmstorage"
    return MetricsStore(
        protocol="prometheus",
        bundled=Workload("StatefulSet", name, name),
        users=users,
        sender=_sender(),
        limits=(_NO_HISTORY, _ONE_WAY, _BOTH),
        inert={key.replace("_", "."): instead for key, instead in inert.items()},
    )


def drycc_1_8_metrics(controllers: Tuple[Workload, ...]) -> MetricsStore:
    """Return the store of the 1.8 releases, where Grafana reads by itself."""
    grafana = Workload("Deployment", "drycc-grafana", "drycc-grafana")
    reading = MetricsUser(grafana, (Setting("url", variable="PROMETHEUS_URL", values_key="grafana.prometheusUrl"),), optional=True)
    return _victoria((*_readers(controllers, "DRYCC_PROMETHEUS_URL", "controller.prometheusUrl"), reading))


def drycc_head_metrics(controllers: Tuple[Workload, ...]) -> MetricsStore:
    """Return the store of the testing channel, where the controller reads for Grafana."""
    return _victoria(
        _readers(controllers, "DRYCC_VICTORIAMETRICS_URL", "controller.victoriametricsUrl"),
        controller_prometheusUrl="No template of this release reads it; it is called controller.victoriametricsUrl now.",
        grafana_prometheusUrl="No template of this release reads it; Grafana reads metrics through the controller.",
        grafana_victoriametricsUrl="The chart has the key and no template that reads it; Grafana reads metrics through the controller.",
    )
