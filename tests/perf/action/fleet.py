"""A verb of the benchmark's own: one field of every Deployment of a namespace that has a label. No verb of the collection takes a list yet.

It runs as those do, by the same engine: one task, one list request, one plan for all, one write for each object that differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.enforcement import verb_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Item
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Platform
from ansible_collections.paas.hardening.plugins.plugin_utils._in_process import InProcessAction

Observed = Sequence[Mapping[str, Any]]


class Fleet:
    """Every Deployment has a variable with the value that is wanted."""

    recommendation = Recommendation("fleet", "Every Deployment has the setting", "low", Source("the benchmark", "twenty objects", "No sentence of any manual."))
    arguments = {
        "label": {"type": "str", "required": True},
        "container": {"type": "str", "required": True},
        "variable": {"type": "str", "required": True},
        "value": {"type": "str", "required": True},
    }

    def observe(self, site: Site, params: Mapping[str, Any]) -> Observed:
        return list(site.objects.list(KINDS["Deployment"], site.namespace, labels=params["label"]))

    def wanted(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> list[Wanted]:
        for document in observed:
            container_of(document, params["container"])
        path = ("spec", "template", "spec", "containers", Item("name", params["container"]), "env", Item("name", params["variable"]), "value")
        return [Wanted(document, path, params["value"], "as asked") for document in observed]

    def against(self, params: Mapping[str, Any]) -> str:
        return ""

    def workloads(self, observed: Observed) -> Observed:
        return observed

    def unsettled(self, params: Mapping[str, Any], observed: Observed) -> str:
        return ""

    def probe(self, site: Site, params: Mapping[str, Any], observed: Observed) -> Proof:
        return Proof()

    def describe(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> tuple[str, str, str]:
        holding = sum(entry.holds for entry in self.wanted(platform, params, observed))
        return f"{len(observed)} Deployments", f"{params['variable']}={params['value']}", f"{holding} have it"

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> list[Finding]:
        return []


class ActionModule(InProcessAction):
    """As the action plugins of the collection are made."""

    verb = verb_of(Fleet())
