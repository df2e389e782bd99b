"""A platform in the lab as the tests need it: installed with secrets in every place, its objects written down, users with exactly the documented rights."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import wait_ready
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import RolloutFailed
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.contract.prediction import by_address, canonical
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.cluster import Cluster
    from lab.installation import Installation

RIGHTS = ROOT / "docs" / "rbac.yml"
GROUP = "paas-hardening"
# Accounts in this namespace have the rights of the group: they log in with a token.
ACCOUNTS = "paas-hardening-accounts"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
# What the tests and the modules change, and what beside it must not change.
RESTORED = (*WORKLOADS, "PodDisruptionBudget", "HorizontalPodAutoscaler")
KEPT = (*RESTORED, "Service", "ConfigMap")
# The marks of planted secrets, so that a test knows its own when it sees them.
PLANTED = "canary"


@dataclass
class Installed:
    """One platform that runs, in one namespace of one lab."""

    cluster: Cluster
    place: Installation
    original: Mapping[Ref, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def namespace(self) -> str:
        return self.place.namespace

    @cached_property
    def objects(self) -> Objects:
        """Everything, as the cluster's administrator."""
        return Objects(connect({"kubeconfig": str(self.cluster.kubeconfig)}))

    def documents(self, kinds: Iterable[str] = KEPT) -> dict[Ref, Mapping[str, Any]]:
        """The objects of the platform's namespace."""
        return by_address([document for kind in kinds for document in self.objects.list(KINDS[kind], namespace=self.namespace)])

    def options(self, **more: Any) -> dict[str, Any]:
        """Options that name the cluster, as its administrator, and the platform."""
        return {"kubeconfig": str(self.cluster.kubeconfig), "namespace": self.namespace, **more}

    def certificate_user(self, name: str) -> tuple[str, dict[str, Any]]:
        """A user of the group with a client certificate: the name in the audit log, and the kubeconfig as a dictionary."""
        return name, yaml.safe_load(self.cluster.issue_client(name, groups=[GROUP]).read_text())

    def account(self, name: str) -> tuple[str, dict[str, Any]]:
        """A service account with a token and the same rights: the name in the audit log, and the kubeconfig as a dictionary."""
        document = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": ACCOUNTS}}
        self.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(document))
        kubeconfig = self.cluster.service_account_kubeconfig(ACCOUNTS, name)
        return f"system:serviceaccount:{ACCOUNTS}:{name}", yaml.safe_load(kubeconfig.read_text())

    def grant(self) -> None:
        """Grant the documented rights to the group and to the accounts."""
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", str(RIGHTS))
        made: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ACCOUNTS}}]
        for kind, metadata in (("ClusterRole", {}), ("Role", {"namespace": self.namespace})):
            made.append(
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": f"{kind}Binding",
                    "metadata": {"name": f"{GROUP}-accounts", **metadata},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": GROUP},
                    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": f"system:serviceaccounts:{ACCOUNTS}"}],
                }
            )
        self.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(made))

    def write_down(self) -> None:
        """Remember, for restore(), how the last revision of the release left the objects. Where that was done before, they are brought back to it."""
        from lab import paths

        file, revision = self.place.folder / "original.json", self._revision()
        kept = paths.read_json(file, {})
        if kept.get("revision") == revision:
            self.original = by_address(kept["documents"])
            self.restore()
        else:
            self.original = self.documents()
            paths.write_json(file, {"revision": revision, "documents": list(self.original.values())})

    def _revision(self) -> list[str]:
        """What no other installation and no upgrade has in common with the present one."""
        releases = self.objects.list_metadata("Secret", self.namespace, labels="owner=helm")
        return [self.objects.get("Namespace", self.namespace)["metadata"]["uid"], *sorted(release["metadata"]["name"] for release in releases)]

    def restore(self) -> None:
        """Bring workloads, budgets and autoscalers back to what was written down, and wait until that runs."""
        now, request = self.documents(RESTORED), self.objects.connection.request
        wanted = {ref: document for ref, document in self.original.items() if ref.kind in RESTORED}
        for ref in now.keys() - wanted.keys():
            request("DELETE", _path(ref))
        for ref in wanted.keys() - now.keys():
            request("POST", KINDS[ref.kind].path(ref.namespace), body=_writable(wanted[ref]))
        for ref in wanted.keys() & now.keys():
            if canonical(now[ref]) != canonical(wanted[ref]):
                request("PUT", _path(ref), body=_writable(wanted[ref]))
        self.settle()

    def settle(self, seconds: float = 300) -> None:
        """Wait until every workload is ready, also one whose pods were restarted by a test or by a busy machine's probes."""
        deadline = Deadline(seconds)
        while True:
            try:
                wait_ready(self.objects, list(self.documents(WORKLOADS)), deadline)
                return
            except RolloutFailed:
                if not deadline.pause(1):
                    raise


def _path(ref: Ref) -> str:
    return KINDS[ref.kind].path(ref.namespace, ref.name)


def _writable(document: Mapping[str, Any]) -> dict[str, Any]:
    """The object without what only the server may say, so that it replaces whatever is there now."""
    wanted = copy.deepcopy({key: value for key, value in document.items() if key != "status"})
    for key in ("resourceVersion", "uid", "generation", "managedFields", "creationTimestamp"):
        wanted["metadata"].pop(key, None)
    return wanted


def install(cluster: Cluster, name: str, report: Callable[[str], None], helm: str | None = None, without: Sequence[str] = ()) -> Installed:
    """Install a platform, or take the one that is there, with planted secrets and granted rights; one that not this Helm installed is replaced.

    ``without`` names parts of the chart that are left out where they can be.
    """
    from lab import installation, paths

    _load_images(cluster, report)
    there = paths.read_json(installation.installation(cluster, name).folder / "installed.json") or {}
    if helm and there.get("helm", helm) != helm:
        remove(cluster, name)
        there = {}
    values = _planted_values(name) | ({part: {"enabled": False} for part in without} if name.startswith("drycc") else {})
    place = installation.install(cluster, name, None, values, helm or there.get("helm", "3"), report)
    platform = Installed(cluster, place)
    platform.grant()
    _plant(platform)
    platform.settle()
    platform.write_down()
    return platform


def remove(cluster: Cluster, name: str) -> None:
    """Uninstall a platform if it is there."""
    from lab import installation, processes

    place = installation.installation(cluster, name)
    if (place.folder / "installed.json").exists():
        processes.run([cluster.binary("helm"), "uninstall", place.release, "-n", place.namespace, "--ignore-not-found"], env=cluster.environment())
        # Nobody waits for its pods to end by themselves.
        cluster.kubectl("delete", "pods", "--all", "-n", place.namespace, "--grace-period=0", "--force", "--wait=false")
        installation.uninstall(cluster, name)


def remove_others(cluster: Cluster, name: str) -> None:
    """Uninstall every platform but one: the modules then find it by themselves."""
    for other in PLATFORMS:
        if other != name:
            remove(cluster, other)


def _load_images(cluster: Cluster, report: Callable[[str], None]) -> None:
    from lab import content, images

    wanted = images.platforms(report)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda number: content.load(cluster.layout, number, wanted), cluster.layout.node_numbers()))


def _planted_values(name: str) -> dict[str, Any]:
    """Helm values that put secrets into the environment of the very container that the modules write."""
    url = f"https://{PLANTED}:{_secret()}@hooks.example.test/"
    if name.startswith("drycc"):
        return {
            "passport": {"environment": {"PLANTED_URL": url, "PLANTED_TOKEN": _secret()}},
            # Beside another platform, whose port for the registry is the same.
            "registry": {"proxy": {"port": 5556}},
            # Of no concern to any module, and a quarter of what an installation costs.
            "victoriametrics": {"enabled": False},
        }
    return {"controller": {"deploy_hook_urls": url}}


def _plant(platform: Installed) -> None:
    """Put secrets where a careless tool picks them up: a Secret, a ConfigMap, and annotations of the workloads that are written."""
    if any(ref.name == PLANTED for ref in platform.documents(["ConfigMap"])):
        return
    where = {"namespace": platform.namespace, "name": PLANTED}
    dsn = f"postgres://{PLANTED}:{_secret()}@database.example.test:5432/it"
    made = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": where, "stringData": {"password": _secret(), "dsn": dsn}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": {"settings.ini": f"password = {_secret()}\nurl = {dsn}\n"}},
    ]
    platform.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(made))
    notes = {"metadata": {"annotations": {"example.test/dsn": dsn, "example.test/api-token": _secret()}}}
    for ref in platform.documents(["Deployment"]):
        platform.objects.connection.request("PATCH", _path(ref), body=notes, content_type="application/merge-patch+json")


def _secret() -> str:
    return f"{PLANTED}{secrets.token_hex(12)}"
