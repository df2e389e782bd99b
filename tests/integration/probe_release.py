"""The chart charts/probe as a real release: installed, upgraded and changed live, with what every upgrade said and did."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path as File
from typing import Any

import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS, Kind
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, Plan, Ref

CHART = File(__file__).parent / "charts" / "probe"
WIDGET = Kind("probe.example.org/v1", "Widget", "widgets", True)


class ProbeRelease:
    """One release of the chart in one namespace.

    ``install_with`` and ``upgrade_with`` are helm commands: a path and options that go with the verb. ``folder`` is for values files and helm's own.
    """

    # Where Helm keeps its records; it calls this a driver.
    driver = "secret"

    def __init__(self, connection: Connection, kubeconfig: File, namespace: str, folder: File, install_with: list[str], upgrade_with: list[str]) -> None:
        self.connection = connection
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._install_with = install_with
        self._upgrade_with = upgrade_with
        self._values: list[str] = []

    def install(self, values: Mapping[str, Any]) -> None:
        self._values = ["-f", str(self._file(values, "operator.yaml"))]
        done = self._helm(self._install_with, "install")
        assert done.returncode == 0, done.stderr

    def upgrade(self, overlay: Mapping[str, Any] | None = None) -> str:
        """Upgrade with the same values, and the overlay last where there is one. Return what helm said against it; empty when it went well."""
        more = ["-f", str(self._file(overlay, "overlay.yaml"))] if overlay else []
        done = self._helm(self._upgrade_with, "upgrade", more)
        return "" if done.returncode == 0 else done.stderr

    def computed_values(self) -> dict[str, Any]:
        """Ask helm for the effective values of the release."""
        program = self._upgrade_with[0]
        environment = {**os.environ, "KUBECONFIG": str(self._kubeconfig), **self._settings()}
        arguments = [program, "get", "values", "probe", "--all", "--output", "json", *self._place()]
        return dict(json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60, env=environment).stdout))

    def read(self, ref: Ref) -> dict[str, Any]:
        return dict(self.connection.request("GET", self._path(ref)).data)

    def write(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the object, as the collection's field manager; only what differs changes hands."""
        metadata = document["metadata"]
        path = self._path(self.ref(document["apiVersion"], document["kind"], metadata["name"]))
        return dict(self.connection.request("PUT", path, body=document).data)

    def delete(self, ref: Ref) -> None:
        self.connection.request("DELETE", self._path(ref))

    def ref(self, api_version: str, kind: str, name: str) -> Ref:
        return Ref(api_version, kind, name, self.namespace)

    def _path(self, ref: Ref) -> str:
        kind = WIDGET if ref.kind == "Widget" else KINDS[ref.kind]
        return kind.path(self.namespace, ref.name)

    def _helm(self, command: list[str], verb: str, more: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        program, *options = command
        arguments = [program, verb, *self._target(verb), *self._values, *(more or []), *options]
        environment = {**os.environ, "KUBECONFIG": str(self._kubeconfig), **self._settings()}
        return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300, env=environment)

    def _target(self, _verb: str) -> list[str]:
        return ["probe", str(CHART), *self._place()]

    def _place(self) -> list[str]:
        return ["--namespace", self.namespace]

    def _settings(self) -> dict[str, str]:
        homes = {f"HELM_{place}_HOME": str(self._folder / "helm") for place in ("CACHE", "CONFIG", "DATA")}
        return {**homes, "HELM_DRIVER": self.driver}

    def _file(self, values: Mapping[str, Any], name: str) -> File:
        file = self._folder / name
        file.write_text(yaml.safe_dump(dict(values)), encoding="utf-8")
        return file


class ProbeReleaseOfHelm2(ProbeRelease):
    """The same with Helm 2, whose server listens at ``address``."""

    address = ""

    def install(self, values: Mapping[str, Any]) -> None:
        # Helm 2 knows no folder crds/.
        definition = yaml.safe_load((CHART / "crds" / "widgets.yaml").read_text(encoding="utf-8"))
        objects = Objects(self.connection)
        ref = Ref(definition["apiVersion"], definition["kind"], definition["metadata"]["name"])
        if objects.find("CustomResourceDefinition", ref.name) is None:
            objects.apply_plan(Plan((Change(ref, (), ABSENT, definition, "the chart has a custom resource"),)))
        super().install(values)

    def _target(self, verb: str) -> list[str]:
        return ["--name", "probe", str(CHART), "--namespace", self.namespace] if verb == "install" else ["probe", str(CHART)]

    def _place(self) -> list[str]:
        return []

    def _settings(self) -> dict[str, str]:
        return {"HELM_HOME": str(self._folder / "helm"), "HELM_HOST": self.address}


def placed(document: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Return a copy of the document with the value put at the path, or with what stands there taken away."""
    result = copy.deepcopy(dict(document))
    here: Any = result
    for step, following in zip(path, [*path[1:], None], strict=True):
        if isinstance(step, Item):
            at = next((number for number, entry in enumerate(here) if entry.get(step.key) == step.value), None)
            if following is None:
                if value is ABSENT:
                    del here[at]
                elif at is None:
                    here.append(value)
                else:
                    here[at] = value
                return result
            here = here[at]
        elif following is None:
            if value is ABSENT:
                del here[step]
            else:
                here[step] = value
            return result
        else:
            if here.get(step) is None:
                here[step] = [] if isinstance(following, Item) else {}
            here = here[step]
    return result
