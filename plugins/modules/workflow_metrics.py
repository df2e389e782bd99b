# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a Workflow platform's metrics in a store outside of the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_metrics
short_description: Keep a Workflow platform's metrics in a store outside of the cluster
version_added: 0.1.0
description:
  - Makes a running Deis, Hephy or Drycc Workflow write its metrics to, and read them from, a store that does not live and die with the cluster. On
    Deis and Hephy that is InfluxDB, which Telegraf writes and Grafana reads; on Drycc a server that takes what Prometheus sends and is asked as
    Prometheus is, such as VictoriaMetrics.
  - The store is asked before anything is written whether it takes the account and lets it write, and afterwards whether something arrives.
  - On Deis and Hephy the chart has one text for the address. Telegraf needs it between quotation marks, and Grafana without them, so that the documented
    way leaves one of them broken. Here each gets its own; the overlay holds what keeps Telegraf at work, and says what an upgrade does to Grafana.
  - On Drycc the agent gets one more place to send to, beside the bundled store, which goes on running. Everybody reads from the new one.
  - What was measured so far is not moved, and the bundled store is never removed. Of Grafana's own database on Drycc see
    M(paas.hardening.workflow_database).
  - Tells what the next C(helm upgrade) does to each setting. The password is never written into RV(overlay); it has to stand in a values file of your
    own, since the chart writes what its values say as soon as they name the location.
  - Says when whoever reaches the router can read and write the bundled store.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.cluster
  - paas.hardening.enforcement
author:
  - the paas.hardening contributors (@paas-hardening)
options:
  state:
    description: V(external) keeps metrics outside, V(reverted) goes back to the bundled store and to what the chart states.
    type: str
    choices: [external, reverted]
    default: external
  url:
    description:
      - Address of the store. Deis and Hephy take that of an InfluxDB with its first protocol; Drycc one to which C(/api/v1/query) is added, such as
        V(http://metrics.example.com:8481/select/0/prometheus). Required for O(state=external).
      - The pods and the host where the module runs have to reach it under this address.
    type: str
  write_url:
    description: Where Drycc's agent sends to, whole, such as V(http://metrics.example.com:8428/api/v1/write). Required on Drycc, unknown to Deis and Hephy.
    type: str
  database:
    description: Database in InfluxDB (Deis, Hephy); C(kubernetes) when it is not given. It has to be there.
    type: str
  account:
    description: User of the database (Deis, Hephy), with the right to read and write it. Leave it and its password out where the store asks nobody.
    type: str
  account_password:
    description: Its password.
    type: str
  account_password_file:
    description: File that holds it and nothing else.
    type: path
  graphs_database:
    description:
      - PostgreSQL database in which Grafana keeps accounts and dashboards, instead of in a file that goes with its pod (Deis, Hephy). Grafana begins anew in
        it. The chart has no keys for it, and an upgrade leaves it as it is.
      - Drycc's Grafana has such a database already; see M(paas.hardening.workflow_database).
    type: dict
    suboptions:
      server:
        description: Name or address of the server.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
      name:
        description: Name of the database. It has to be there, and Grafana makes its tables in it.
        type: str
        default: grafana
      role:
        description: Role that owns the database.
        type: str
        required: true
      role_password:
        description: Its password, without the characters that mean something in an ini file.
        type: str
      role_password_file:
        description: File that holds it and nothing else.
        type: path
      sslmode:
        description: Whether the connection is encrypted. Grafana's pod has no certificate to verify the server by.
        type: str
        choices: [disable, require]
        default: require
  client_folder:
    description:
      - Folder of the PostgreSQL client programs, which ask O(graphs_database). Without it they are looked for in E(PATH) and where Debian and Red Hat
        put them.
    type: path
  ca_file:
    description: Certificates by which the store is verified where the module runs. The pods know public authorities only.
    type: path
seealso:
  - module: paas.hardening.workflow_database
  - module: paas.hardening.workflow_info
"""

EXAMPLES = r"""
- name: Show what it would take
  paas.hardening.workflow_metrics:
    url: http://metrics.example.com:8086
    account: workflow
    account_password_file: /etc/paas/metrics-password
  check_mode: true
  diff: true

- name: Keep the metrics of Deis or Hephy in an InfluxDB outside
  paas.hardening.workflow_metrics:
    url: http://metrics.example.com:8086
    database: workflow
    account: workflow
    account_password: "{{ vault_metrics_password }}"

- name: Keep Grafana's accounts and dashboards outside, too
  paas.hardening.workflow_metrics:
    url: http://metrics.example.com:8086
    account: workflow
    account_password_file: /etc/paas/metrics-password
    graphs_database:
      server: db.example.com
      role: grafana
      role_password_file: /etc/paas/grafana-password

- name: Keep the metrics of Drycc in a VictoriaMetrics outside
  paas.hardening.workflow_metrics:
    url: http://metrics.example.com:8428
    write_url: http://metrics.example.com:8428/api/v1/write

- name: Go back to the bundled store
  paas.hardening.workflow_metrics:
    state: reverted
"""

RETURN = r"""
changed:
  description: Whether something was changed, or would be in check mode.
  returned: always
  type: bool
  sample: true
waited:
  description: Seconds spent waiting for rollouts.
  returned: success
  type: float
  sample: 4.2
platform:
  description: The platform, the namespace it runs in, and the evidence.
  returned: success
  type: dict
  contains:
    name:
      description: Its name, as the option O(platform) takes it.
      type: str
      returned: success
      sample: hephy
    title:
      description: Its name for people.
      type: str
      returned: success
      sample: Hephy Workflow
    namespace:
      description: The namespace.
      type: str
      returned: success
      sample: deis
    evidence:
      description: Why it was taken for that.
      type: list
      elements: str
      returned: success
      sample: ["Deployment deis-controller with label heritage=deis"]
plan:
  description: Every field that was changed, or would be in check mode. Secrets are hidden.
  returned: always, after a failure only what had been written
  type: list
  elements: dict
  contains:
    object:
      description: The object.
      type: str
      returned: always
      sample: DaemonSet deis/deis-monitor-telegraf
    field:
      description: The field; list entries stand by name, V((object\)) is the whole object.
      type: str
      returned: always
      sample: spec.template.spec.containers[deis-monitor-telegraf].env[INFLUXDB_URLS].value
    before:
      description: The value that was there, or null.
      type: raw
      returned: always
      sample: '"http://$(DEIS_MONITOR_INFLUXAPI_SERVICE_HOST):$(DEIS_MONITOR_INFLUXAPI_SERVICE_PORT_TRANSPORT)"'
    after:
      description: The value that is wanted, or null when the field or object goes.
      type: raw
      returned: always
      sample: '"http://metrics.example.com:8086"'
    why:
      description: The reason.
      type: str
      returned: always
      sample: metrics are kept outside of the cluster
    stage:
      description: Always V(switch).
      type: str
      returned: always
      sample: switch
findings:
  description: What the recommendation found, itself first, then what else was seen beside it.
  returned: success
  type: list
  elements: dict
  contains:
    control:
      description: Identifier of the recommendation or of what was seen beside it.
      type: str
      returned: success
      sample: metrics
    title:
      description: What it says.
      type: str
      returned: success
      sample: Metrics are kept outside of the cluster
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: medium
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis Workflow, Platform Monitoring", "section": "InfluxDB", "sentence": "..."}
    subject:
      description: The object that it is about.
      type: str
      returned: success
      sample: metrics of Hephy Workflow
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: fixed
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: metrics are kept in http://metrics.example.com:8086, database kubernetes
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: metrics are kept in deis-monitor-influxdb, or not where they should be
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: metrics are kept in http://metrics.example.com:8086, database kubernetes
    reasons:
      description: Why it has that status, where that is not plain.
      type: list
      elements: str
      returned: success
      sample: []
    hint:
      description: What to do.
      type: str
      returned: success
      sample: ""
    proof:
      description: As RV(proof).
      type: dict
      returned: success
      sample: {"verdict": "pass", "checks": []}
    durability:
      description: As RV(durability).
      type: list
      elements: dict
      returned: success
      sample: []
proof:
  description: What was seen from outside.
  returned: success
  type: dict
  contains:
    verdict:
      description: One of pass, fail, unknown.
      type: str
      returned: success
      sample: pass
    checks:
      description: Each observation, with what was asked, expected and observed, and its verdict.
      type: list
      elements: dict
      returned: success
      sample: [{"what": "http://metrics.example.com:8086", "expected": "takes the account", "observed": "takes the account", "verdict": "pass"}]
durability:
  description: For each setting, what the next C(helm upgrade) with the same values does to it.
  returned: success, empty without O(durability)
  type: list
  elements: dict
  sample:
    - object: DaemonSet deis/deis-monitor-telegraf
      field: spec.template.spec.containers[deis-monitor-telegraf].env[INFLUXDB_URLS].value
      outcome: reverted
      lasts: false
      reason: The chart states this field, and Helm's three-way merge puts the chart's value back.
      values_path: global.influxdb_location
      helm: {"release": "hephy", "namespace": "deis", "chart": "workflow-2.23.0", "revision": 1}
overlay:
  description: Helm values that make the settings last, as far as the chart has keys for them. Pass them as the last C(--values) of every upgrade.
  returned: success
  type: dict
  sample: {"global": {"influxdb_location": "off-cluster"}}
failure:
  description: What went wrong, in a form for programs.
  returned: failure
  type: dict
  contains:
    reason:
      description: The class of the failure.
      type: str
      returned: failure
      sample: Forbidden
    code:
      description: The HTTP status, where there was one.
      type: int
      returned: failure
      sample: 403
    object:
      description: The object or option that it is about.
      type: str
      returned: failure
      sample: DaemonSet deis/deis-monitor-telegraf
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Grant patch on daemonsets in namespace deis.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.enforcement import verb_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics import CONTROL
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(verb_of(CONTROL))


if __name__ == "__main__":
    main()
