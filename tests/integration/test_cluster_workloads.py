"""Waiting for real pods, commands in them and HTTP to them, as the API server and the kubelet really do it."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection, connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.forward import forwarded
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import wait_ready
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import execute, http_through
from ansible_collections.paas.hardening.plugins.module_utils._core import errors
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Item, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from tests.integration import workloads
from tests.integration.tunnel import TunnelProxy
from tests.integration.workloads import SLEEP, container, workload

if TYPE_CHECKING:
    from lab.cluster import Cluster

CANARY = "c4n4ry-hunter2"
IMAGE = ("spec", "template", "spec", "containers", Item("name", "main"), "image")
V4 = "v4.channel.k8s.io"


def start(objects: Objects, document: dict[str, Any]) -> Ref:
    return workloads.create(objects, document)[0]


def waited(objects: Objects, *refs: Ref, seconds: float = 120) -> float:
    return wait_ready(objects, refs, Deadline(seconds))


def failing(objects: Objects, ref: Ref, seconds: float = 120) -> errors.Failure:
    with pytest.raises(errors.Failure) as caught:
        waited(objects, ref, seconds=seconds)
    return caught.value


def change_image(objects: Objects, ref: Ref, image: str) -> None:
    while True:
        try:
            objects.apply_plan(workloads.changes_for(objects.get(ref.kind, ref.name, ref.namespace), [(IMAGE, image)]))
            return
        except errors.Conflict:
            # The status moves while the pods start.
            time.sleep(0.1)


# Readiness


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_workload_becomes_ready_rolls_out_and_fails(objects: Objects, namespace: str, kind: str) -> None:
    ref = start(objects, workload(kind, namespace, "web", container(SLEEP), replicas=2))
    assert waited(objects, ref) > 0
    live = objects.get(kind, "web", namespace)
    reads = objects.connection.reads
    assert wait_ready(objects, [ref], Deadline(60), observed=[live]) < 1
    assert objects.connection.reads == reads
    waited(objects, ref)
    assert objects.connection.reads == reads + 1
    change_image(objects, ref, "lab.local/no-such-image:1")
    began = time.monotonic()
    error = failing(objects, ref)
    assert time.monotonic() - began < 60, "it did not fail at once"
    assert isinstance(error, errors.RolloutFailed)
    assert "container main: ErrImagePull" in error.message or "ImagePullBackOff" in error.message
    assert error.hint == "Last events: Failed."


def test_the_old_pods_must_be_gone(objects: Objects, namespace: str) -> None:
    ref = start(objects, workload("Deployment", namespace, "web", container(SLEEP), replicas=2))
    waited(objects, ref)
    objects.apply_plan(workloads.changes_for(objects.get("Deployment", "web", namespace), [((*IMAGE[:-1], "env"), [{"name": "A", "value": "1"}])]))
    waited(objects, ref)
    pods = [pod for pod in objects.list("Pod", namespace, labels="app=web") if not pod["metadata"].get("deletionTimestamp")]
    assert len(pods) == 2
    assert all(pod["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}] for pod in pods)


def broken(name: str, namespace: str) -> dict[str, Any]:
    """A Deployment that never gets ready, for the reason of its name."""
    first, pod = container(SLEEP), dict[str, Any]()
    if name == "crashes":
        first = container(["sh", "-c", f"echo {CANARY}; exit 3"])
    elif name == "crashes-later":
        first = container(["sh", "-c", "sleep 1; exit 4"])
    elif name == "wants-a-secret":
        first = container(SLEEP, envFrom=[{"secretRef": {"name": "no-such-secret"}}])
    elif name == "bad-name":
        first = container(SLEEP, image="lab.local/UPPER:1")
    elif name == "no-command":
        first = container(["no-such-command"])
    elif name == "init-fails":
        pod = {"initContainers": [{**container(["false"]), "name": "before"}]}
    elif name == "no-node":
        pod = {"nodeSelector": {"no-such-label": "x"}}
    return workload("Deployment", namespace, name, first, **pod)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crashes", "container main: CrashLoopBackOff (exit code 3)"),
        ("crashes-later", "container main: CrashLoopBackOff (exit code 4)"),
        ("wants-a-secret", "container main: CreateContainerConfigError"),
        ("bad-name", "container main: InvalidImageName"),
        ("no-command", "container main: RunContainerError"),
        ("init-fails", "container before: CrashLoopBackOff (exit code 1)"),
        ("no-node", "Unschedulable: no node takes it"),
    ],
)
def test_what_will_never_start_fails_long_before_the_deadline(objects: Objects, namespace: str, name: str, reason: str) -> None:
    ref = start(objects, broken(name, namespace))
    began = time.monotonic()
    error = failing(objects, ref, seconds=180)
    assert time.monotonic() - began < 90
    assert isinstance(error, errors.RolloutFailed)
    # A kubelet reports a command that is not there as one of these two.
    assert reason in error.message.replace("CrashLoopBackOff (exit code 128)", "RunContainerError")
    assert CANARY not in str(error)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_quota_that_lets_no_pod_in_is_named(objects: Objects, namespace: str, kind: str) -> None:
    workloads.create(objects, workloads.plain("v1", "ResourceQuota", namespace, "tight", spec={"hard": {"pods": "0"}}))
    end = time.monotonic() + 20
    while "hard" not in (objects.get("ResourceQuota", "tight", namespace).get("status") or {}):
        assert time.monotonic() < end
        time.sleep(0.2)
    error = failing(objects, start(objects, workload(kind, namespace, "web", container(SLEEP))))
    assert isinstance(error, errors.RolloutFailed)
    assert "the ResourceQuota tight" in error.message


def test_jobs(objects: Objects, namespace: str) -> None:
    good = workload("Job", namespace, "good", container(["true"]), restartPolicy="Never")
    bad = workload("Job", namespace, "bad", container(["false"]), restartPolicy="Never")
    bad["spec"]["backoffLimit"] = 0
    waited(objects, start(objects, good))
    assert "BackoffLimitExceeded" in failing(objects, start(objects, bad)).message
    workloads.delete(objects, "Job", "good", namespace)
    end = time.monotonic() + 20
    while list(objects.list("Pod", namespace, labels="app=good")):
        assert time.monotonic() < end, "the pods of a deleted Job stay behind"
        time.sleep(0.2)


def test_a_deadline_tells_the_last_reason(objects: Objects, namespace: str) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    error = failing(objects, start(objects, workload("Deployment", namespace, "slow", container(SLEEP, readinessProbe=probe))), seconds=4)
    assert isinstance(error, errors.TimedOut)
    assert "0 of 1 replicas available" in error.message


def test_without_the_right_to_see_pods_waiting_works_too(lab_cluster: Cluster, objects: Objects, namespace: str) -> None:
    rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]
    subject = {"kind": "User", "name": "rita", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": "look", "apiGroup": "rbac.authorization.k8s.io"}
    api = "rbac.authorization.k8s.io/v1"
    workloads.create(objects, workloads.plain(api, "Role", namespace, "look", rules=rules))
    workloads.create(objects, workloads.plain(api, "RoleBinding", namespace, "look", roleRef=role, subjects=[subject]))
    ref = start(objects, workload("Deployment", namespace, "web", container(SLEEP)))
    rita = Objects(connect({"kubeconfig": str(lab_cluster.issue_client("rita"))}))
    assert waited(rita, ref) > 0


# Commands and HTTP

SERVER = """
import http.server, ssl, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()
        for part in (body, b"x" * 200000):
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(part), part))
        self.wfile.write(b"0\\r\\n\\r\\n")
    def do_GET(self):
        self.send_response(302 if self.path == "/away" else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Answer)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2] + "/tls.crt", sys.argv[2] + "/tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@dataclass
class Served:
    """A pod with a plain server on 8000 (container main) and a TLS server on 8443 (container second)."""

    objects: Objects
    namespace: str
    pod: str


@pytest.fixture(scope="module")
def served(connection: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    objects, folder = Objects(connection), tmp_path_factory.mktemp("pair")
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=pod"]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(["openssl", "req", *options, *files], check=True, capture_output=True)
    pair = {name: (folder / name).read_text() for name in ("tls.crt", "tls.key")}
    main = container(["python3", "-c", SERVER, "8000"], readinessProbe={"tcpSocket": {"port": 8000}, "periodSeconds": 1})
    second = container(["python3", "-c", SERVER, "8443", "/pair"], volumeMounts=[{"name": "pair", "mountPath": "/pair"}])
    second = {**second, "name": "second", "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1}}
    with workloads.namespace(objects) as namespace:
        workloads.create(objects, workloads.plain("v1", "Secret", namespace, "pair", stringData=pair))
        document = workload("Deployment", namespace, "web", main, volumes=[{"name": "pair", "secret": {"secretName": "pair"}}])
        document["spec"]["template"]["spec"]["containers"].append(second)
        waited(objects, start(objects, document))
        yield Served(objects, namespace, str(next(objects.list("Pod", namespace, labels="app=web"))["metadata"]["name"]))


def test_commands(lab_cluster: Cluster, served: Served) -> None:
    connection, namespace, pod = served.objects.connection, served.namespace, served.pod

    def run(*command: str, **options: Any) -> Any:
        return execute(connection, namespace, pod, command, **{"container": "main", **options})

    assert run("sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert run("sh", "-c", "echo $0 $1", "a b", "c'd").stdout == "a b c'd\n"
    assert run("true", container="second").code == 0
    for protocols in (("v5.channel.k8s.io", V4), (V4,)):
        assert run("sh", "-c", "cat; exit 3", stdin="sécret-by-stdin\n", protocols=protocols) == (3, "sécret-by-stdin\n", "")
        assert run("wc", "-c", stdin="", protocols=protocols).stdout == "0\n"
        assert run("wc", "-c", stdin="x" * 3_000_000, protocols=protocols).stdout == "3000000\n"
    assert len(run("head", "-c", "2000000", "/dev/zero").stdout) == 2_000_000
    written = lab_cluster.audit_log.read_text()
    assert "/exec?" in written
    assert "by-stdin" not in written


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda connection, space, pod: execute(connection, space, pod, ["sleep", "5"], "main", timeout=1), errors.TimedOut, "longer than 1 s"),
        (lambda connection, space, pod: execute(connection, space, pod, ["no-such"], "main"), errors.NotFound, "has no command no-such"),
        (lambda connection, space, _pod: execute(connection, space, "no-such", ["true"]), errors.NotFound, "no-such does not exist"),
        (lambda connection, space, pod: execute(connection, space, pod, ["true"], container="no-such"), errors.Invalid, "cannot reach into"),
        (lambda connection, space, pod: execute(connection, space, pod, ["true"]), errors.Invalid, "cannot reach into"),
        (lambda connection, space, pod: http_through(connection, space, pod, 9), errors.Unavailable, "Nothing answers on port 9"),
        (lambda connection, space, pod: http_through(connection, space, pod, 8443), errors.Unavailable, "speaks no HTTP"),
        (lambda connection, space, pod: http_through(connection, space, pod, 8000, tls=True), errors.Unavailable, "speaks no TLS"),
        (lambda connection, space, _pod: http_through(connection, space, "no-such", 80), errors.NotFound, "no-such does not exist"),
    ],
)
def test_what_goes_wrong_in_a_pod_is_told(served: Served, call: Callable[..., Any], kind: type, text: str) -> None:
    with pytest.raises(errors.Failure) as caught:
        call(served.objects.connection, served.namespace, served.pod)
    assert type(caught.value) is kind
    assert text in caught.value.message


def test_http_through_the_api_server(served: Served) -> None:
    objects, namespace, pod = served.objects, served.namespace, served.pod
    for port, tls in ((8000, False), (8443, True)):
        answer = http_through(objects.connection, namespace, pod, port, tls=tls, server_name="web.example" if tls else None)
        assert (answer.status, answer.text) == (200, "hello")
        away = http_through(objects.connection, namespace, pod, port, path="/away", tls=tls)
        assert (away.status, dict(away.headers)["location"]) == (302, "/elsewhere")
        body = "é" * 50_000
        posted = http_through(objects.connection, namespace, pod, port, "POST", "/", {"Host": "web.example"}, body, tls=tls)
        assert (posted.status, dict(posted.headers)["x-host"], posted.text) == (201, "web.example", body + "x" * 200_000)


def test_a_forwarded_port_serves_several_programs_at_once_and_is_gone_afterwards(served: Served) -> None:
    objects, namespace, pod = served.objects, served.namespace, served.pod
    with forwarded(objects.connection, namespace, lambda: pod, 8000) as forward, ThreadPoolExecutor(4) as pool:
        url, body = f"http://127.0.0.1:{forward.port}/", b"y" * 3_000_000

        def post(_number: int) -> bytes:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
                return bytes(answer.read())

        answers = list(pool.map(post, range(6)))
        port = forward.port
    assert answers == [body + b"x" * 200_000] * 6
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_forwarded_port_on_which_nothing_listens_tells_why(served: Served) -> None:
    objects, namespace, pod = served.objects, served.namespace, served.pod
    with forwarded(objects.connection, namespace, lambda: pod, 9) as forward:
        with socket.create_connection(("127.0.0.1", forward.port), timeout=30) as client:
            assert client.recv(1) == b""
        assert isinstance(forward.failure, errors.Unavailable)
        assert "Nothing answers on port 9" in forward.failure.message


def test_streams_carry_the_identity_and_take_the_proxy(lab_cluster: Cluster, served: Served) -> None:
    kubeconfig, namespace, pod = str(lab_cluster.kubeconfig), served.namespace, served.pod
    eve = connect({"kubeconfig": kubeconfig, "impersonate_user": "eve"})
    for call in (lambda: execute(eve, namespace, pod, ["id"], "main"), lambda: http_through(eve, namespace, pod, 8000)):
        with pytest.raises(errors.Forbidden) as caught:
            call()
        assert 'verbs: ["create", "get"]' in caught.value.hint
    with TunnelProxy("me", CANARY) as proxy:
        named = connect({"kubeconfig": kubeconfig, "proxy": f"http://me:{CANARY}@{proxy.address}"})
        assert execute(named, namespace, pod, ["echo", "x"], "main").stdout == "x\n"
        assert http_through(named, namespace, pod, 8000).text == "hello"
        assert len(proxy.tunnels) == 2
        refused = connect({"kubeconfig": kubeconfig, "proxy": f"http://{proxy.address}"})
        with pytest.raises(errors.Unavailable, match="proxy does not let us through"):
            execute(refused, namespace, pod, ["echo", "x"], "main")


@pytest.mark.parametrize("verbs", [["get"], ["create"], ["create", "get"]])
def test_the_rights_that_the_hint_names_are_enough(lab_cluster: Cluster, served: Served, verbs: list[str]) -> None:
    objects, namespace, pod = served.objects, served.namespace, served.pod
    rules = [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}]
    user = f"user-{'-'.join(verbs)}"
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    api = "rbac.authorization.k8s.io/v1"
    workloads.create(objects, workloads.plain(api, "Role", namespace, user, rules=rules))
    workloads.create(objects, workloads.plain(api, "RoleBinding", namespace, user, roleRef=role, subjects=[subject]))
    connection = connect({"kubeconfig": str(lab_cluster.issue_client(user))})
    end = time.monotonic() + (10 if len(verbs) == 2 else 2)
    while True:
        try:
            assert execute(connection, namespace, pod, ["true"], "main").code == 0
            break
        except errors.Forbidden:
            if time.monotonic() > end:
                assert len(verbs) < 2
                return
            time.sleep(0.2)
