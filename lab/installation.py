"""Installing platforms into a lab with the real Helm: values with secrets of their own, a first administrator, and a wait until the platform answers."""

from __future__ import annotations

import functools
import http.client
import json
import secrets
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab import paths
from lab.errors import CommandFailed, LabError
from lab.platforms import charts, gateway
from lab.progress import Report, Steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lab.cluster import Cluster

#: seconds that an installation may take on a busy machine
PATIENCE = 480.0
_BINARIES = {"3": "helm", "4": "helm4"}
_RBAC_KINDS = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


@dataclass(frozen=True)
class Answer:
    """What one HTTP request got."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Installation:
    """One platform in one lab, and where the lab keeps what belongs to it."""

    cluster: Cluster
    name: str
    namespace: str

    @property
    def release(self) -> str:
        """The name of the Helm release."""
        return "drycc" if self.is_drycc else self.name

    @property
    def is_drycc(self) -> bool:
        """Whether people reach it through a Gateway instead of a router."""
        return self.name.startswith("drycc")

    @property
    def domain(self) -> str:
        """The platform's domain. No name server knows it: requests carry it in their Host header."""
        return f"{self.name}.{self.cluster.name}.test"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that must answer."""
        return (f"drycc.{self.domain}", f"drycc-passport.{self.domain}") if self.is_drycc else (f"deis.{self.domain}",)

    @property
    def folder(self) -> Path:
        """Chart, values and secrets of this installation, for this user only."""
        return paths.private_folder(self.cluster.directory / "platforms" / self.name)

    @property
    def values_file(self) -> Path:
        """The values that it was installed with."""
        return self.folder / "values.yaml"

    @property
    def administrator_file(self) -> Path:
        """Name and password of the first administrator, as JSON."""
        return self.folder / "administrator.json"

    @property
    def rights_file(self) -> Path:
        """The RBAC objects that were made beside the release, where the chart makes none."""
        return self.folder / "rights.yaml"

    @functools.cached_property
    def address(self) -> str:
        """The ClusterIP of the platform's edge, which this machine has a route to. Raises CommandFailed while there is none."""
        service = gateway.NAME if self.is_drycc else "deis-router"
        return self.cluster.kubectl("get", "service", service, "-n", self.namespace, "-o", "jsonpath={.spec.clusterIP}").strip()

    def ask(self, host: str, method: str, path: str, data: Mapping[str, str] | None = None) -> Answer:
        """One HTTP request through the platform's own edge, as from outside. Raises OSError while nothing answers there."""
        connection = http.client.HTTPConnection(self.address, 80, timeout=10)
        try:
            body = None if data is None else json.dumps(data)
            connection.request(method, path, body, {"Host": host, "Content-Type": "application/json"})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode(errors="replace"))
        finally:
            connection.close()


def installation(cluster: Cluster, name: str, namespace: str | None = None) -> Installation:
    """The place of a platform in a lab: in the given namespace, else where it was installed, else in its documented one."""
    if name not in charts.SHARED:
        raise LabError(f"{name!r} is no platform of the lab; there are {', '.join(charts.names())}")
    kept = paths.read_json(cluster.directory / "platforms" / name / "installed.json", {})
    return Installation(cluster, name, namespace or kept.get("namespace") or ("drycc" if name.startswith("drycc") else "deis"))


def default_values(name: str, domain: str = "example.test") -> dict[str, Any]:
    """What an operator of the lab sets before the first install: registration open, a domain, secrets made anew by every call, small numbers."""
    if name.startswith("drycc"):
        return {
            "global": {
                "platformDomain": domain,
                "clusterDomain": "cluster.local",
                # the two keys are read by the newest components and made by none of them
                "lab": {"probeSeconds": 2, "serviceKey": secrets.token_hex(20), "passportScopes": "profile openid"},
            },
            "gateway": {"gatewayClass": gateway.CLASS},
            "controller": {"registrationMode": "enabled"},
            "passport": {"adminPassword": secrets.token_hex(16), "environment": {"REGISTRATION_ENABLED": "true"}},
            # one of each, but two databases: the Service of the replica needs an end
            "database": {"replicas": 2},
            "storage": {"replicas": 1},
            "valkey": {"replicas": 1},
            "victoriametrics": {part: {"replicas": 1} for part in ("vmagent", "vminsert", "vmselect", "vmstorage")},
        }
    lab = {"probe_seconds": 2, "minio_accesskey": secrets.token_hex(10), "minio_secretkey": secrets.token_hex(20)}
    return {
        "global": {"use_rbac": True, "lab": lab},
        "controller": {"registration_mode": "enabled", "platform_domain": domain},
        "router": {"platform_domain": domain},
        "monitor": {"grafana": {"password": secrets.token_hex(16)}},
    }


def install(
    cluster: Cluster,
    name: str,
    namespace: str | None = None,
    values: Mapping[str, Any] | None = None,
    helm: str = "3",
    report: Report = print,
    *,
    administrator: bool = True,
) -> Installation:
    """Install a platform by `helm install` and wait until it answers; one that is there already is only waited for.

    `values` are laid over those of default_values(); `helm` is "3" or "4"; without `administrator` nobody is registered (Drycc's chart makes
    its administrator itself). Raises LabError.
    """
    place = installation(cluster, name, namespace)
    steps = Steps(report)
    if _status(place, helm) != "deployed":
        with steps.step(f"{name}: helm install"):
            _install(place, values or {}, helm)
    if place.is_drycc:
        with steps.step(f"{name}: data plane of the Gateway"):
            gateway.apply_data_plane(cluster, place.namespace)
    with steps.step(f"{name}: answers"):
        wait_until_answering(cluster, name, PATIENCE, namespace=place.namespace)
    if administrator:
        with steps.step(f"{name}: first administrator"):
            _register_administrator(place)
    return place


def _install(place: Installation, values: Mapping[str, Any], helm: str) -> None:
    cluster = place.cluster
    if place.is_drycc:
        gateway.apply_definitions(cluster)
    chart = charts.assemble(place.name, place.folder / "chart")
    defaults = default_values(place.name, place.domain)
    pulls = charts.pulled_if_absent(charts.effective_values(chart))
    wanted = charts.merged(pulls, defaults, dict(values))
    paths.write(place.values_file, yaml.safe_dump(wanted))
    if _status(place, helm) is not None:
        # an install that broke off: nothing of it is worth keeping
        _helm(place, helm, "uninstall", place.release, "--wait")
    if not cluster.kubectl("get", "namespace", place.namespace, "--ignore-not-found", "-o", "name").strip():
        cluster.kubectl("create", "namespace", place.namespace)
    if place.name == "deis" and wanted["global"].get("use_rbac"):
        paths.write(place.rights_file, _rights_that_the_chart_leaves_out(place, chart))
        cluster.kubectl("apply", "-f", str(place.rights_file))
    paths.write_json(place.folder / "installed.json", {"namespace": place.namespace, "helm": helm})
    _helm(place, helm, "install", place.release, str(chart), "-f", str(place.values_file), "--timeout", f"{PATIENCE:.0f}s")


def _rights_that_the_chart_leaves_out(place: Installation, chart: Path) -> str:
    """Deis' own RBAC objects in a version that is served: its chart renders none on any Kubernetes from 1.10 on, and an operator has to make them."""
    versions = ("--kube-version", "1.9.0", "--api-versions", "rbac.authorization.k8s.io/v1alpha1")
    text = _helm(place, "3", "template", place.release, str(chart), "-f", str(place.values_file), *versions)
    wanted = []
    for document in yaml.safe_load_all(text):
        if document and document["kind"] in _RBAC_KINDS:
            document["apiVersion"] = "rbac.authorization.k8s.io/v1"
            if "Binding" not in document["kind"]:
                for rule in document["rules"]:
                    rule["apiGroups"] += ["apps"] if "extensions" in rule["apiGroups"] else []
            if not document["kind"].startswith("Cluster"):
                document["metadata"]["namespace"] = place.namespace
            wanted.append(document)
    return yaml.safe_dump_all(wanted)


def upgrade(cluster: Cluster, name: str, values_files: Sequence[str | Path] = (), helm: str = "3", *options: str, namespace: str | None = None) -> None:
    """A real `helm upgrade` with the values of the installation, and the given files laid over them; `options` go to Helm as they are.

    Raises CommandFailed with what Helm said.
    """
    place = installation(cluster, name, namespace)
    files = [argument for path in (place.values_file, *values_files) for argument in ("-f", str(path))]
    _helm(place, helm, "upgrade", place.release, str(place.folder / "chart"), *files, "--timeout", f"{PATIENCE:.0f}s", *options)


def uninstall(cluster: Cluster, name: str, helm: str = "3", *, namespace: str | None = None) -> None:
    """Remove the release, and its namespace with what belongs to no release: hook Secrets, the Gateway's data plane."""
    place = installation(cluster, name, namespace)
    if _status(place, helm) is not None:
        _helm(place, helm, "uninstall", place.release)
    cluster.kubectl("delete", "namespace", place.namespace, "--ignore-not-found", "--timeout=300s")
    if place.rights_file.exists():
        cluster.kubectl("delete", "-f", str(place.rights_file), "--ignore-not-found")
    for file in (place.administrator_file, place.rights_file, place.folder / "installed.json"):
        file.unlink(missing_ok=True)


def wait_until_answering(cluster: Cluster, name: str, seconds: float = PATIENCE, *, namespace: str | None = None) -> float:
    """Wait until every host of the platform is ready through its own edge and every workload is complete; the seconds that it took.

    Raises LabError with what was seen last.
    """
    place = installation(cluster, name, namespace)
    begun = time.monotonic()
    while True:
        trouble = _trouble(place)
        if trouble is None:
            return time.monotonic() - begun
        if time.monotonic() - begun > seconds:
            raise LabError(f"{name} did not answer within {seconds:.0f} s: {trouble}")
        time.sleep(0.5)


def _trouble(place: Installation) -> str | None:
    """Why the platform does not answer yet, or None."""
    for host in place.hosts:
        try:
            answer = place.ask(host, "GET", "/readiness")
        except (OSError, http.client.HTTPException, CommandFailed) as error:
            return f"{host}: {error}"
        if answer.status != 200:
            return f"{host}: /readiness gives {answer.status}"
    found = place.cluster.kubectl("get", "deployments,statefulsets,daemonsets", "-n", place.namespace, "-o", "json")
    return next((f"{item['kind']}/{item['metadata']['name']} is not complete" for item in json.loads(found)["items"] if not _complete(item)), None)


def _complete(workload: Mapping[str, Any]) -> bool:
    """Whether every pod that is wanted is there, of the newest revision, and ready."""
    status = workload["status"]
    if status.get("observedGeneration") != workload["metadata"]["generation"]:
        return False
    if workload["kind"] == "DaemonSet":
        numbers = [status.get(field, 0) for field in ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady")]
    else:
        numbers = [workload["spec"]["replicas"], *(status.get(field, 0) for field in ("replicas", "updatedReplicas", "readyReplicas"))]
    return len(set(numbers)) == 1


def _register_administrator(place: Installation) -> None:
    """Make the first user, who owns the platform, through the platform's own door; Drycc's is made by its chart out of the values.

    A lab that was down can come back with an empty database, as its volumes are its pods' own. Then the same user is made again.
    """
    if place.is_drycc:
        passport = charts.merged(charts.effective_values(place.folder / "chart"), yaml.safe_load(place.values_file.read_text()))["passport"]
        paths.write_json(place.administrator_file, {"username": passport["adminUsername"], "password": passport["adminPassword"]})
        return
    kept = paths.read_json(place.administrator_file, {})
    person = {"username": "admin", "password": secrets.token_hex(16), "email": f"admin@{place.domain}", **kept}
    answer = place.ask(place.hosts[0], "POST", "/v2/auth/register/", person)
    # Known already, or closed for everybody but the first.
    if kept and answer.status in (400, 403):
        return
    if answer.status != 201 or not json.loads(answer.body)["is_superuser"]:
        raise LabError(f"{place.name}: the first user was not made an administrator: the answer was {answer.status}")
    paths.write_json(place.administrator_file, {key: person[key] for key in ("username", "password")})


def _status(place: Installation, helm: str) -> str | None:
    """The status of the newest revision, None when there is no such release."""
    # Helm 4 shows every status by itself
    every = ["--all"] if helm == "3" else []
    releases = json.loads(_helm(place, helm, "list", *every, "--filter", f"^{place.release}$", "-o", "json"))
    return releases[0]["status"] if releases else None


def _helm(place: Installation, helm: str, *arguments: str) -> str:
    """Run Helm in the platform's namespace, with folders of its own; secrets reach it in files only. Raises CommandFailed."""
    if helm not in _BINARIES:
        raise LabError(f"there is no Helm {helm!r} in the lab: 3 or 4")
    folder = place.folder / "helm"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    environment |= {f"HELM_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    command = [str(place.cluster.binary(_BINARIES[helm])), "--kubeconfig", str(place.cluster.kubeconfig), "-n", place.namespace, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise CommandFailed(f"helm {arguments[0]} of {place.name}", done.returncode, done.stderr)
    return done.stdout
