# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics are kept outside of the cluster: what collects them writes to, and what draws them reads from, a store that outlives it."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Release, Releases
from ansible_collections.paas.hardening.plugins.module_utils._cluster.values import value_at
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, workload_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics_graphs import ARGUMENTS as GRAPHS_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics_graphs import GraphsPlace, graphs_of, graphs_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics_settings import place_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics_target import ARGUMENTS, NOWHERE, Target, target_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of, patiently, variable_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_settings import bundled_settings
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check, Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, look, ref_of
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._host.metrics.server import RECENT_MINUTES
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import GraphsDatabase, MetricsStore, Platform

RECOMMENDATION = Recommendation(
    id="metrics",
    title="Metrics are kept outside of the cluster",
    severity="medium",
    source=Source(
        "Deis Workflow, Platform Monitoring",
        "InfluxDB",
        "if the InfluxDB pod dies and comes back on another host the data will not be recovered",
    ),
)
_BACK = "back to the bundled store, as asked"
# Seconds between the end of a rollout and the moment at which the slowest collector has sent something: it collects every ten, and Kubernetes starts pods
# of a DaemonSet one after the other.
_PATIENCE = 90.0


class Observed(NamedTuple):
    """The settings, those that are wanted, the Services of the bundled store, and values that no template reads."""

    target: Optional[Target]
    settings: Settings
    wanted: Tuple[Wanted, ...]
    doors: Tuple[Mapping[str, Any], ...]
    inert: Tuple[str, ...]
    graphs: Optional[GraphsPlace] = None

    @property
    def settled(self) -> bool:
        return all(entry.holds for entry in self.wanted)


class MetricsControl:
    """Makes the platform use a store of metrics outside of the cluster, and keeps it there."""

    recommendation = RECOMMENDATION
    arguments: Dict[str, Any] = {**ARGUMENTS, **GRAPHS_ARGUMENTS, "state": {"type": "str", "choices": ["external", "reverted"], "default": "external"}}

    def __init__(self) -> None:
        self._releases: Optional[Releases] = None

    def observe(self, site: Site, params: Mapping[str, Any]) -> Observed:
        facts = facts_of(site.platform)
        settings = _read(site, facts)
        back = params["state"] == "reverted"
        release = self._release(site, facts, settings) if back or facts.inert else None
        inert = tuple(key for key in facts.inert if _given(release, key))
        doors = tuple(found for name in facts.doors for found in [site.objects.find(KINDS["Service"], name, site.namespace)] if found is not None)
        if back:
            _refuse_outside_by_chart(facts, release)
            wanted = place_settings(facts, NOWHERE, settings, site.namespace, site.platform.heritage)
            wanted += _graphs(facts, None, settings, site.namespace)
            return Observed(None, settings, tuple(bundled_settings(wanted, lambda document: self._stated(site, document), _BACK)), doors, inert)
        sends = facts.sender is not None and (facts.sender.workload.kind, facts.sender.workload.name) in settings.workloads
        target = target_of(facts, params, sends)
        wanted = place_settings(facts, target.fields, settings, site.namespace, site.platform.heritage)
        server = graphs_of(facts, params)
        graphs = GraphsPlace(server, params["client_folder"] or "") if server else None
        wanted += _graphs(facts, server, settings, site.namespace) if server else []
        observed = Observed(target, settings, tuple(wanted), doors, inert, graphs)
        if not observed.settled:
            # Nothing is led to where nobody is taken.
            target.store.check()
            if graphs:
                graphs.check()
        return observed

    def _release(self, site: Site, facts: MetricsStore, settings: Settings) -> Optional[Release]:
        self._releases = self._releases or Releases(site.objects)
        try:
            return self._releases.of(workload_of(settings, facts.users[0].workload))
        except Failure:
            # What cannot be read is said with the verdicts.
            return None

    def _stated(self, site: Site, document: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
        """Return the object as the chart states it, None for a Secret that it does not have."""
        if OWNER.items() <= (document["metadata"].get("labels") or {}).items():
            return None
        self._releases = self._releases or Releases(site.objects)
        release = self._releases.of(document)
        stated = release.document(ref_of(document)) if release else None
        if stated is None and document["kind"] != "Secret":
            raise Refused(
                f"What the chart states for {document['kind']} {document['metadata']['name']} could not be found: no Helm release has it.",
                "Go back with helm rollback, or set the fields by hand.",
                subject=str(document["metadata"]["name"]),
            )
        return stated

    def wanted(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
        return list(observed.wanted)

    def against(self, params: Mapping[str, Any]) -> str:
        return ""

    def workloads(self, observed: Observed) -> Sequence[Mapping[str, Any]]:
        names = {entry.document["metadata"]["name"] for entry in observed.wanted}
        found = sorted(observed.settings.workloads.items())
        return [document for (kind, name), document in found if kind in ("Deployment", "StatefulSet", "DaemonSet") and name in names]

    def unsettled(self, params: Mapping[str, Any], observed: Observed) -> str:
        return ""

    def probe(self, site: Site, params: Mapping[str, Any], observed: Observed) -> Proof:
        """Ask the store whether it takes us and, once the platform has been led there, whether anything arrives."""
        target = observed.target
        if target is None:
            return Proof((Check("the settings of the chart", "are back", "are back" if observed.settled else "are not", PASS if observed.settled else FAIL),))
        try:
            target.store.check()
        except Failure as failure:
            return Proof((Check(target.place, "takes the account", failure.message, UNKNOWN),))
        checks = [Check(target.place, "takes the account", "takes the account", PASS)]
        if observed.graphs:
            checks.append(_used(observed.graphs, observed.settled))
        if observed.settled:
            what, minutes = f"what arrives at {target.place}", f"something of the last {RECENT_MINUTES} minutes"
            try:
                arrived = patiently(target.store.receives, bool, Deadline(_PATIENCE))
                checks.append(Check(what, minutes, minutes if arrived else "nothing", PASS if arrived else FAIL))
            except Failure as failure:
                checks.append(Check(what, minutes, failure.message, UNKNOWN))
        return Proof(tuple(checks))

    def describe(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> Tuple[str, str, str]:
        inside = f"metrics are kept in {facts_of(platform).bundled.name}"
        outside = f"metrics are kept in {observed.target.place}" if observed.target else inside
        return f"metrics of {platform.title}", outside, outside if observed.settled else f"{inside}, or not where they should be"

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Finding]:
        facts = facts_of(platform)
        findings = _open_doors(facts, observed.doors)
        findings += [_inert(key, facts.inert[key]) for key in observed.inert]
        if observed.target is None:
            return findings
        findings += [_limit(number, limit) for number, limit in enumerate(facts.limits, 1)]
        return findings + _kept_source(facts.graphs, observed.settings) + _well_known_account(facts.graphs, observed)


def facts_of(platform: Platform) -> MetricsStore:
    """Return where the platform keeps metrics. Raises Invalid when that is not known."""
    if platform.metrics is None:
        raise Invalid(f"Where {platform.title} keeps metrics is not known.", "Leave this recommendation out.", "platform")
    return platform.metrics


def _read(site: Site, facts: MetricsStore) -> Settings:
    """Read all workloads with one list a kind, and what has no label by its name."""
    sender = [facts.sender.workload] if facts.sender else []
    users = [user.workload for user in facts.users] + sender
    workloads: Dict[Tuple[str, str], Mapping[str, Any]] = {}
    for kind in sorted({workload.kind for workload in users}):
        for document in site.objects.list(KINDS[kind], namespace=site.namespace, labels=f"heritage={site.platform.heritage}"):
            workloads[kind, document["metadata"]["name"]] = document
    for workload in users:
        if (workload.kind, workload.name) not in workloads:
            unlabelled = site.objects.find(KINDS[workload.kind], workload.name, site.namespace)
            if unlabelled is not None:
                workloads[workload.kind, workload.name] = unlabelled
    names = [name for name in (facts.secret, facts.graphs.secret if facts.graphs else "") if name]
    secrets = {name: site.objects.find(KINDS["Secret"], name, site.namespace) for name in names}
    return Settings(workloads, {name: secret for name, secret in secrets.items() if secret is not None})


def _graphs(facts: MetricsStore, server: Optional[Server], settings: Settings, namespace: str) -> List[Wanted]:
    if facts.graphs is None or (facts.graphs.workload.kind, facts.graphs.workload.name) not in settings.workloads:
        if server is not None:
            raise Invalid("graphs_database is given, but Grafana is not there.", "Leave it out.", "graphs_database")
        return []
    return graphs_settings(facts.graphs, server, settings, namespace)


def _used(graphs: GraphsPlace, settled: bool) -> Check:
    """Ask the database whether it takes the role and, once Grafana has been led there, whether somebody is in it."""
    what = str(graphs.server)
    try:
        graphs.check()
        if not settled:
            return Check(what, "takes the role", "takes the role", PASS)
        inside = patiently(graphs.used, bool, Deadline(_PATIENCE))
        return Check(what, "Grafana is logged in", "somebody is logged in" if inside else "nobody is logged in", PASS if inside else FAIL)
    except Failure as failure:
        return Check(what, "takes the role", failure.message, UNKNOWN)


def _given(release: Optional[Release], key: str) -> bool:
    """Tell whether the release's values say something under a key."""
    found = value_at(release.effective_values(), key) if release else ABSENT
    return found is not ABSENT and found not in ("", None)


def _refuse_outside_by_chart(facts: MetricsStore, release: Optional[Release]) -> None:
    key, outside = facts.location
    if key:
        by_chart = release is not None and value_at(release.effective_values(), key) == outside
    else:
        keys = [str(setting.values_key) for user in facts.users for setting in user.settings]
        key = next((name for name in keys if _given(release, name)), "")
        by_chart = bool(key)
    if by_chart:
        raise Refused(
            f"The chart itself keeps metrics outside: its values set {key}.", f"Take {key} out of the values, and upgrade.", subject=facts.bundled.name
        )


def _limit(number: int, limit: str) -> Finding:
    hint = "Keep it in mind with the next upgrade."
    return RECOMMENDATION.beside(
        f"limit-{number}", "A limit of this way to a store outside", "info", PASS, "the chart", "it is known", "it applies", hint, limit
    )


def _inert(key: str, instead: str) -> Finding:
    return RECOMMENDATION.beside(
        "inert-setting", "A setting of the store has no effect", "info", PASS, key, "nobody relies on it", "it is set", f"Do not rely on {key}.", instead
    )


def _open_doors(facts: MetricsStore, services: Sequence[Mapping[str, Any]]) -> List[Finding]:
    """The router takes whoever asks to the bundled store, which asks nobody who he is."""
    found = []
    for service in services:
        labels, notes = service["metadata"].get("labels") or {}, service["metadata"].get("annotations") or {}
        if labels.get(facts.routed_label) == "true" and not notes.get(facts.shut_annotation):
            found.append(str(service["metadata"]["name"]))
    if not found:
        return []
    return [
        RECOMMENDATION.beside(
            "exposed",
            "Whoever reaches the router reads and writes the bundled store",
            "high",
            FAIL,
            ", ".join(f"Service {name}" for name in found),
            f"{facts.shut_annotation} names who may",
            f"{facts.routed_label}=true, for everybody",
            f"Annotate them with {facts.shut_annotation}=ADDRESSES, which outlives upgrades; the label comes back with each of them.",
            "The bundled store asks nobody for a password, and the chart leads the router to it.",
        )
    ]


def _kept_source(facts: Optional[GraphsDatabase], settings: Settings) -> List[Finding]:
    """What draws the graphs makes its data source once, with its database; one that outlives the pod keeps the address that it has."""
    if facts is None:
        return []
    workload, variable = facts.workload, facts.variables["kind"]
    document = settings.workloads.get((workload.kind, workload.name))
    if document is None:
        return []
    outside = variable_of(container_of(document, workload.container), variable)
    volumes = look(document, ("spec", "template", "spec", "volumes")) or ()
    if not outside and not any("persistentVolumeClaim" in volume for volume in volumes):
        return []
    return [
        RECOMMENDATION.beside(
            "data-source",
            "Grafana keeps the data source that it has",
            "medium",
            UNKNOWN,
            f"{workload.kind} {workload.name}",
            "a data source with the new address",
            f"{variable}={outside}" if outside else "its database is on a volume",
            "Look at Data Sources, influxdb-datasource, in Grafana itself, and change the address there.",
            "At its start it offers the new address to a database that has a data source of that name already, and is refused.",
        )
    ]


def _well_known_account(facts: Optional[GraphsDatabase], observed: Observed) -> List[Finding]:
    """An account that everybody knows goes with the pod, or stays for ever in a database that outlives it."""
    document = observed.settings.workloads.get((facts.workload.kind, facts.workload.name)) if facts else None
    if facts is None or document is None:
        return []
    container = container_of(document, facts.workload.container)
    if tuple(variable_of(container, name) for name in facts.account_variables) != facts.well_known_account:
        return []
    names = " and ".join(facts.account_variables)
    return [
        RECOMMENDATION.beside(
            "well-known-account",
            "Grafana has the account that every installation has",
            "critical",
            FAIL,
            f"{facts.workload.kind} {facts.workload.name}",
            "a password of one's own",
            f"{names} are the chart's defaults",
            "Set monitor.grafana.user and monitor.grafana.password in the values; where its database outlives the pod, change the password in Grafana itself.",
            "It is made once, with the database: the variables act at that time only.",
        )
    ]


CONTROL = MetricsControl()
