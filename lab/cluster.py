"""One lab as tests and the command line use it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lab import allocation, builds, cleanup, content, dns, images, kwok, locks, network, node_files, nodes, paths, processes, requirements
from lab.addresses import MAX_NODES, Addresses, node_name
from lab.api import Api
from lab.errors import LabError
from lab.layout import Layout
from lab.pki import VALID_DAYS
from lab.postgres import Postgres
from lab.progress import Report, Steps, silent, span
from lab.registries import ImageRegistry
from lab.stores import ObjectStore

_CORE_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl", "etcd", "coredns")
_READY_SECONDS = 90.0


class Cluster:
    """A lab by its name. Making the object starts nothing; ``up`` does."""

    def __init__(self, name: str = paths.DEFAULT_NAME) -> None:
        self.name = name
        self.directory = paths.lab(name)

    # What it is

    @property
    def index(self) -> int:
        """The lab's number. Raises LabError when it was never up."""
        number = allocation.number_of(self.name)
        if number is None:
            raise LabError(f"lab {self.name} has no state: python -m lab up --name {self.name}")
        return number

    @property
    def layout(self) -> Layout:
        """Files and addresses of the lab."""
        return Layout(self.name, self.directory, Addresses(self.index))

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the cluster's administrator."""
        return self.layout.kubeconfig

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object a line. It is complete up to the last answered request."""
        return self.layout.audit_log

    @property
    def nodes(self) -> list[str]:
        """Names of the real nodes."""
        return [node_name(number) for number in self.layout.node_numbers()]

    @property
    def host_address(self) -> str:
        """This machine, as nodes and pods reach it."""
        return self.layout.addresses.host

    @property
    def api_url(self) -> str:
        """The API server."""
        return self.layout.addresses.api_url

    def node_ip(self, number: int) -> str:
        """Address of a node, counted from 1."""
        return self.layout.addresses.node(number)

    @property
    def facts(self) -> dict[str, Any]:
        """What the lab remembers of itself: number, KWOK nodes, platforms."""
        return {"kwok": 0, "platforms": {}, **(paths.read_json(self.directory / "lab.json") or {})}

    def _remember(self, **facts: Any) -> None:
        paths.write_json(self.directory / "lab.json", {**self.facts, **facts})

    # Up and down

    def up(self, nodes: int = 2, kwok: int = 0, platforms: Iterable[str] = (), fresh: bool = False, report: Report = print, helm: str = "3") -> None:
        """Bring the lab up, or complete one that is up already: what runs stays as it is.

        ``platforms`` are names, or NAME=NAMESPACE. ``fresh`` drops the lab's state first. Raises LabError.
        """
        if not 1 <= nodes <= MAX_NODES:
            raise LabError(f"a lab has 1 to {MAX_NODES} nodes, not {nodes}")
        wanted = dict(_named(entry) for entry in platforms)
        requirements.check()
        network.check_kernel()
        steps, known = Steps(report), False
        try:
            with locks.held(cleanup.lock(self.name), lambda: report(f"lab {self.name}: another process is at work on it, waiting")):
                known = allocation.number_of(self.name) is not None
                self._bring_up(steps, nodes, kwok, wanted, fresh, helm)
        except KeyboardInterrupt:
            report(f"stopped; what was started stays: python -m lab down --name {self.name}" + ("" if known else " --purge"))
            raise
        report(f"lab {self.name} is up after {span(steps.elapsed)}: {len(self.nodes)} nodes, {self.api_url}")

    def _bring_up(self, steps: Steps, count: int, kwok_nodes: int, wanted: Mapping[str, str | None], fresh: bool, helm: str) -> None:
        report = steps.report
        if fresh:
            with steps.step("old state removed"):
                cleanup.take_down(self.name, purge=True)
        with steps.step("programs"):
            builds.ensure([*_CORE_PROGRAMS, *(["kwok"] if kwok_nodes else []), *([_helm(helm)] if wanted else [])], report)
        with steps.step("images"):
            essential = images.essential(report)
            extra = images.platforms(report) if wanted or self.facts["platforms"] else []
            content.store(extra, report, essential) if extra else content.store(essential, report)
        with steps.step("addresses and bridge"):
            allocation.allocate(self.name)
            layout = self.layout
            numbers = sorted({*range(1, count + 1), *layout.node_numbers()})
            self._remember(kwok=max(kwok_nodes, self.facts["kwok"]))
        with steps.step("image stores"):
            for number in numbers:
                paths.private_folder(layout.node(number))
                content.seed(layout, number, extra, essential, report)
        with steps.step("certificates and files"):
            layout.authority.ensure()
            layout.authority.write_kubeconfig("admin", path=layout.kubeconfig)
            for number in numbers:
                layout.authority.ensure_node(number)
                node_files.write(layout, number, self.facts["kwok"], content.mounts(layout, number))
        begun = time.time()
        started = [number for number in numbers if not nodes.init_pid(layout, number)]
        with steps.step(f"nodes started ({len(started)} of {len(numbers)})"):
            for number in numbers:
                nodes.start(layout, number)
                nodes.reload(layout, number)
        with steps.step("API server ready"):
            self.wait_ready()
        with steps.step("DNS" + (f" and {self.facts['kwok']} KWOK nodes" if self.facts["kwok"] else "")):
            self._tell_cluster()
        with steps.step("nodes Ready"):
            self._wait_for_nodes(numbers, dict.fromkeys(started, begun))
        with steps.step("images in the nodes"), ThreadPoolExecutor() as pool:
            list(pool.map(lambda number: content.load(layout, number, [*essential, *extra]), numbers))
        self._install(steps, wanted, helm)

    def _tell_cluster(self) -> None:
        api = Api(self.layout)
        for item in dns.objects(self.layout):
            api.apply(item)
        for item in kwok.nodes(self.facts["kwok"]):
            api.create(item)

    def _install(self, steps: Steps, wanted: Mapping[str, str | None], helm: str) -> None:
        if not wanted:
            return
        from lab import installation  # only labs with a platform need it

        for name, namespace in wanted.items():
            self._remember(platforms={**self.facts["platforms"], name: namespace})
            with steps.step(f"platform {name}"):
                installation.install(self, name, namespace=namespace, helm=helm, report=steps.report)

    def down(self, purge: bool = False, report: Report = silent) -> None:
        """Take the lab down; its state stays for the next ``up`` unless it is purged. Raises LabError when something survives."""
        begun = time.monotonic()
        with locks.held(cleanup.lock(self.name), lambda: report(f"lab {self.name}: another process is at work on it, waiting")):
            cleanup.take_down(self.name, purge)
        report(f"lab {self.name} is down after {span(time.monotonic() - begun)}" + (", its state is removed" if purge else ""))

    def is_up(self) -> bool:
        """Whether all nodes run and the API server is ready."""
        if allocation.number_of(self.name) is None:
            return False
        numbers = self.layout.node_numbers()
        return bool(numbers) and all(nodes.init_pid(self.layout, number) for number in numbers) and Api(self.layout).ready()

    # Waiting

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until the API server is ready. Raises LabError that names its log."""
        api = Api(self.layout)

        def look() -> bool:
            if not nodes.init_pid(self.layout, 1):
                raise LabError("node1 ended", self.layout.log(1, "supervisor"))
            return api.ready()

        if not processes.wait_until(look, seconds):
            raise LabError(f"the API server is not ready after {span(seconds)}", self.layout.log(1, "kube-apiserver"))

    def _wait_for_nodes(self, numbers: Iterable[int], since: Mapping[int, float]) -> None:
        """Wait until the nodes are Ready and said so after they were started, and pods have an account to run under."""
        api = Api(self.layout)
        for number in numbers:

            def look(number: int = number) -> bool:
                if not nodes.init_pid(self.layout, number):
                    raise LabError(f"{node_name(number)} ended", self.layout.log(number, "supervisor"))
                return _ready_since(api.get(f"/api/v1/nodes/{node_name(number)}"), since.get(number, 0))

            if not processes.wait_until(look, _READY_SECONDS):
                raise LabError(f"{node_name(number)} is not Ready after {span(_READY_SECONDS)}", self.layout.log(number, "kubelet"))
        if not processes.wait_until(lambda: api.get("/api/v1/namespaces/default/serviceaccounts/default"), _READY_SECONDS):
            raise LabError("there is no default service account", self.layout.log(1, "kube-controller-manager"))

    # Programs and users

    def binary(self, program: str, report: Report = silent) -> Path:
        """Path of a program of the lab (kubectl, helm, helm4, etcdctl, ...), built on demand."""
        return builds.binary(program, report)

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """The environment for programs that talk to this cluster: they find it, and keep their own files in the lab's folder."""
        own = self.directory / "tools"
        found = [str(builds.folder(module) / "bin") for module in ("kube", "tools", "helm4", "etcd")]
        return {
            **os.environ,
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
            "KUBECACHEDIR": str(own / "kube"),
            "HELM_CACHE_HOME": str(own / "helm-cache"),
            "HELM_CONFIG_HOME": str(own / "helm-config"),
            "HELM_DATA_HOME": str(own / "helm-data"),
            "PATH": ":".join([*found, os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")]),
        }

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl and return its stdout. Raises CommandFailed with its stderr."""
        return processes.run([self.binary("kubectl"), *arguments], stdin=stdin, env=self.environment(kubeconfig))

    def issue_client(self, name: str, groups: Iterable[str] = (), valid_for_seconds: float | None = None) -> Path:
        """Make a user with a client certificate and return its kubeconfig. A negative validity gives a certificate that has expired."""
        authority = self.layout.authority
        validity = timedelta(days=VALID_DAYS) if valid_for_seconds is None else timedelta(seconds=valid_for_seconds)
        file_name = f"user-{_file_name(name)}"
        authority.issue(file_name, name, tuple(groups), valid_for=validity)
        return authority.write_kubeconfig(file_name)

    def service_account_kubeconfig(self, namespace: str, name: str, valid_for_seconds: int = 3600) -> Path:
        """A kubeconfig with a token of a service account, which must exist. Raises CommandFailed."""
        token = self.kubectl("create", "token", name, "--namespace", namespace, f"--duration={valid_for_seconds}s").strip()
        target = self.layout.authority.folder / f"account-{_file_name(namespace)}-{_file_name(name)}.kubeconfig"
        return self.layout.authority.write_kubeconfig(name, token=token, path=target, namespace=namespace)

    # Servers beside the cluster

    def store(self, region: str = "us-east-1", capacity: int | None = None) -> ObjectStore:
        """The S3 server outside; ``up`` brings it up. Its data lie in memory, ``capacity`` bytes at most, where that is given."""
        return ObjectStore(self.name, region, capacity)

    def postgres(self, max_connections: int = 100, tls_only: bool = False, **settings: str) -> Postgres:
        """The PostgreSQL outside; ``up`` brings it up, anew where these settings are not the ones that it runs with."""
        return Postgres(self.name, max_connections, tls_only, **settings)

    def registry(self) -> ImageRegistry:
        """The image registry outside; ``up`` brings it up."""
        return ImageRegistry(self.name)

    def load(self, *wanted: images.Image) -> None:
        """Put images into every node of the running lab."""
        for number in self.layout.node_numbers():
            content.load(self.layout, number, wanted)

    # Faults

    def component_pid(self, component: str, node: int = 1) -> int | None:
        """Process number of a daemon (kube-apiserver, etcd, kubelet, containerd, ...), or None when it does not run just now."""
        return nodes.component_pid(self.layout, node, component)

    def kill_component(self, component: str, node: int = 1) -> None:
        """End a daemon at once; its supervisor starts it anew after a second. Raises LabError when it does not run."""
        pid = self.component_pid(component, node)
        if not pid:
            raise LabError(f"{component} does not run on {node_name(node)}", self.layout.log(node, component))
        processes.kill(pid)
        processes.wait_until(lambda: processes.start_time(pid) is None, 5, pause=0.01)

    def stop_component(self, component: str, node: int = 1) -> None:
        """End a daemon and keep it down. Raises LabError."""
        nodes.want(self.layout, node, component, False)
        self._await(lambda: not self.component_pid(component, node), f"{component} does not end", self.layout.log(node, component))

    def start_component(self, component: str, node: int = 1) -> None:
        """Start a stopped daemon. It runs when this returns; ``wait_ready`` tells when the API server answers. Raises LabError."""
        nodes.want(self.layout, node, component, True)
        self._await(lambda: self.component_pid(component, node), f"{component} does not start", self.layout.log(node, component))

    def stop_node(self, number: int) -> None:
        """Cut a node's power: everything on it ends at once, without a word to the API server."""
        nodes.stop(self.layout, number)

    def start_node(self, number: int, wait: bool = True) -> None:
        """Start a stopped node, and wait until it is Ready again."""
        begun = time.time()
        nodes.start(self.layout, number)
        if wait:
            self.wait_ready()
            self._wait_for_nodes([number], {number: begun})

    def inside(self, number: int, *command: str) -> str:
        """Run a command in a node's namespaces and return its stdout. Raises CommandFailed."""
        return processes.run(nodes.inside(self.layout, number, *command))

    def _await(self, condition: Callable[[], Any], trouble: str, log: Path) -> None:
        if not processes.wait_until(condition, 15):
            raise LabError(trouble, log)


def _ready_since(node: Any, moment: float) -> bool:
    for condition in (node or {}).get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            said = datetime.fromisoformat(condition["lastHeartbeatTime"].replace("Z", "+00:00")).timestamp()
            return said >= int(moment)
    return False


def _named(entry: str) -> tuple[str, str | None]:
    name, _equals, namespace = entry.partition("=")
    return name, namespace or None


def _helm(version: str) -> str:
    if version not in ("3", "4"):
        raise LabError(f"there is Helm 3 and 4, not {version}")
    return "helm" if version == "3" else "helm4"


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)
