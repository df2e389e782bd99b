"""A lab from nothing to nothing: real pods, services, names, faults, crashes; and afterwards no trace on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import allocation, cgroups, cleanup, nodes, paths, postgres, processes, stores
from lab.cluster import Cluster
from lab.errors import CommandFailed, LabError
from lab.image.lab import s3
from lab.seed import rows
from lab.stores import ObjectStore
from tests import labs

NAME = "selftest"
BASE = "lab.local/base:1"
# kernel settings that change by themselves, or that come and go with interfaces
_RESTLESS = re.compile(r"/(random|pty|fs|debug|sunrpc)/|/(conf|neigh)/|ns_last_pid|nf_conntrack_count|/kernel/(sched|numa)|perf_event_max_sample_rate")


def settings() -> dict[str, str]:
    """The kernel settings of this machine."""
    found = {}
    for top in ("vm", "kernel", "net"):
        for path in Path("/proc/sys", top).rglob("*"):
            if path.is_file() and not _RESTLESS.search(str(path)):
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    found[str(path)] = path.read_text()
    return found


@pytest.fixture(scope="module")
def cluster(report: Callable[[str], None]) -> Iterator[Cluster]:
    """The lab under test, made anew. Ends with the proof that nothing of it is left."""
    before = settings()
    with labs.running(NAME, report, nodes=2, kwok=1, fresh=True) as made:
        index = made.index
        yield made
    begun = time.monotonic()
    made.down(purge=True)
    assert time.monotonic() - begun < 10
    assert cleanup.traces(NAME, index) == []
    assert not made.directory.exists()
    after = settings()
    assert {path: (value, after.get(path)) for path, value in before.items() if after.get(path) != value} == {}


def apply(cluster: Cluster, *items: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def deployment(name: str, replicas: int, **pod: Any) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": name, "image": BASE, "command": ["nginx", "-g", "daemon off;"], "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1}}
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": labels}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "topologySpreadConstraints": [spread], **pod}},
        },
    }


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> list[dict[str, Any]]:
    """Two pods behind a Service, one on each node."""
    ports = {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": ports}
    apply(cluster, deployment("web", 2), service)
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    pods: list[dict[str, Any]] = json.loads(cluster.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    return pods


def status_of(url: str) -> int:
    """HTTP status of a page, asked for from this machine; Services need up to a second after a rollout."""

    def ask() -> int:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return int(answer.status)
        except OSError:
            return 0

    return int(processes.wait_until(ask, 10))


def inside(cluster: Cluster, pod: dict[str, Any], command: str) -> str:
    return cluster.kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", command).strip()


def runs(cluster: Cluster, pod: dict[str, Any]) -> bool:
    """Whether a command can be run in the pod now."""
    try:
        return inside(cluster, pod, "echo here") == "here"
    except CommandFailed:
        return False


def test_the_nodes_are_ready_and_in_their_zones(cluster: Cluster) -> None:
    assert cluster.is_up()
    found = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    zones = {item["metadata"]["name"]: item["metadata"]["labels"]["topology.kubernetes.io/zone"] for item in found}
    assert zones == {"node1": "zone-a", "node2": "zone-b", "kwok-1": "zone-a"}
    conditions = [condition for item in found for condition in item["status"]["conditions"] if condition["type"] == "Ready"]
    assert [condition["status"] for condition in conditions] == ["True"] * 3


def test_pods_run_on_both_nodes_and_are_reached_by_this_machine(cluster: Cluster, web: list[dict[str, Any]]) -> None:
    assert {pod["spec"]["nodeName"] for pod in web} == {"node1", "node2"}
    for pod in web:
        assert status_of(f"http://{pod['status']['podIP']}/") == 200


def test_services_route(cluster: Cluster, web: list[dict[str, Any]]) -> None:
    service = json.loads(cluster.kubectl("get", "service", "web", "-o", "json"))["spec"]
    for _again in range(6):  # both pods take turns by chance
        assert status_of(f"http://{service['clusterIP']}/") == 200
        for number in (1, 2):
            assert status_of(f"http://{cluster.node_ip(number)}:{service['ports'][0]['nodePort']}/") == 200


def test_names_and_traffic_between_nodes(cluster: Cluster, web: list[dict[str, Any]]) -> None:
    one, two = web
    assert inside(cluster, one, f"curl -s -o /dev/null -w %{{http_code}} http://{two['status']['podIP']}/") == "200"
    assert inside(cluster, one, "for i in 1 2 3 4; do curl -s -o /dev/null -w %{http_code} http://web.default.svc.cluster.local/; done") == "200" * 4
    assert inside(cluster, two, "getent hosts kubernetes.default.svc").split()[0] == cluster.layout.addresses.api_service


def test_logs_exec_and_port_forward(cluster: Cluster, web: list[dict[str, Any]]) -> None:
    name = web[1]["metadata"]["name"]
    assert status_of(f"http://{web[1]['status']['podIP']}/?a-line-in-the-log") == 200
    assert "a-line-in-the-log" in cluster.kubectl("logs", name)
    assert inside(cluster, web[1], "hostname") == name
    command = [str(cluster.binary("kubectl")), "port-forward", name, ":80"]
    with subprocess.Popen(command, env=cluster.environment(), stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout
            port = re.search(r":(\d+) ->", forward.stdout.readline())
            assert port
            assert status_of(f"http://127.0.0.1:{port[1]}/") == 200
        finally:
            forward.terminate()


def test_nothing_leaves_the_machine(cluster: Cluster, web: list[dict[str, Any]]) -> None:
    begun = time.monotonic()
    assert inside(cluster, web[0], "curl -s -m 5 http://192.0.2.77/; echo $?") == "7"
    assert inside(cluster, web[0], "curl -s -m 5 http://some.name.invalid/; echo $?") == "6"
    with pytest.raises(CommandFailed):
        cluster.inside(1, "curl", "-s", "-m", "5", "http://some.name.invalid/")
    assert time.monotonic() - begun < 5


def test_a_missing_image_fails_at_once_on_this_machine(cluster: Cluster) -> None:
    cluster.kubectl("run", "missing", "--image=example/missing:1")

    def reason() -> str:
        return cluster.kubectl("get", "pod", "missing", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")

    assert processes.wait_until(lambda: "Pull" in reason(), 15, pause=0.3)
    messages = cluster.kubectl("get", "events", "--field-selector", "involvedObject.name=missing,type=Warning", "-o", "jsonpath={.items[*].message}")
    assert "127.0.0.1:1: connect: connection refused" in messages
    cluster.kubectl("delete", "pod", "missing", "--now")


def test_kwok_nodes_run_only_what_asks_for_them(cluster: Cluster, web: list[dict[str, Any]]) -> None:
    assert "kwok-1" not in {pod["spec"]["nodeName"] for pod in web}
    apply(cluster, deployment("pretend", 5, nodeSelector={"type": "kwok"}, tolerations=[{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]))
    cluster.kubectl("rollout", "status", "deployment/pretend", "--timeout=30s")
    cluster.kubectl("delete", "deployment", "pretend")


def test_every_request_of_a_user_is_in_the_audit_log_and_no_secret_is(cluster: Cluster) -> None:
    user = cluster.issue_client("alice", groups=("devs", "ops"))
    groups = json.loads(cluster.kubectl("auth", "whoami", "-o", "json", kubeconfig=user))["status"]["userInfo"]["groups"]
    assert {"devs", "ops"} <= set(groups)
    with pytest.raises(CommandFailed, match="Forbidden"):
        cluster.kubectl("get", "secrets", kubeconfig=user)
    canary = os.urandom(12).hex()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "canary"}, "stringData": {"value": canary}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(secret))
    text = cluster.audit_log.read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    assert canary not in text
    assert [
        (entry["verb"], entry["responseStatus"]["code"])
        for entry in entries
        if entry["user"]["username"] == "alice" and entry.get("objectRef", {}).get("resource") == "secrets"
    ] == [("list", 403)]
    created = [entry for entry in entries if entry["verb"] == "create" and entry.get("objectRef", {}).get("name") == "canary"]
    assert [(entry["user"]["username"], entry["level"]) for entry in created] == [("admin", "Metadata")]
    assert created[0]["userAgent"].startswith("kubectl/v1.")
    assert not {entry["user"]["username"] for entry in entries} & {"system:lab:operator", "system:node:node1", "system:kube-scheduler"}


def test_an_expired_certificate_is_refused(cluster: Cluster) -> None:
    late = cluster.issue_client("late", groups=("system:masters",), valid_for_seconds=-60)
    with pytest.raises(CommandFailed, match=r"Unauthorized|logged in|provide credentials"):
        cluster.kubectl("get", "nodes", kubeconfig=late)


def test_a_service_account_has_its_own_kubeconfig(cluster: Cluster) -> None:
    cluster.kubectl("create", "serviceaccount", "robot")
    account = cluster.service_account_kubeconfig("default", "robot")
    assert cluster.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", kubeconfig=account) == "system:serviceaccount:default:robot"


def test_a_killed_api_server_comes_back_by_itself(cluster: Cluster) -> None:
    before = cluster.component_pid("kube-apiserver")
    cluster.kill_component("kube-apiserver")
    assert cluster.component_pid("kube-apiserver") != before
    cluster.wait_ready(30)
    assert cluster.component_pid("kube-apiserver") not in (before, None)


def test_a_stopped_component_stays_down_until_it_is_started(cluster: Cluster) -> None:
    cluster.stop_component("etcd")
    time.sleep(1.5)
    assert cluster.component_pid("etcd") is None
    assert not cluster.is_up()
    cluster.start_component("etcd")
    cluster.wait_ready(30)
    with pytest.raises(LabError, match="has no kube-apiservre"):
        cluster.stop_component("kube-apiservre")


def test_a_node_without_power_comes_back_with_its_pods(cluster: Cluster, web: list[dict[str, Any]]) -> None:
    cluster.stop_node(2)
    assert not cluster.is_up()
    assert status_of(f"http://{next(pod for pod in web if pod['spec']['nodeName'] == 'node1')['status']['podIP']}/") == 200
    cluster.start_node(2)
    assert cluster.is_up()
    # Ready may still be what the kubelet said before.
    assert processes.wait_until(lambda: all(runs(cluster, pod) for pod in web), 60)


@pytest.fixture(scope="module")
def store(cluster: Cluster) -> ObjectStore:
    """The store beside the cluster, with one object in it."""
    made = cluster.store()
    made.up()
    made.make_bucket("kept")
    assert put(made.client(), "kept", "key", b"text") == 200
    return made


def put(client: s3.Store, bucket: str, key: str, body: bytes) -> int:
    with tempfile.TemporaryFile() as file:
        file.write(body)
        return client.put(bucket, key, file)


def text_of(client: s3.Store, bucket: str, key: str) -> bytes:
    return client.send("GET", f"/{bucket}/{key}").body


def test_pods_reach_the_store_beside_the_cluster_also_by_amazons_name(cluster: Cluster, web: list[dict[str, Any]], store: ObjectStore) -> None:
    # A resolver asks again after 5 seconds: one lost question about the name is no failure.
    ask = "curl -s -m 20 -o /dev/null -w %{http_code}"
    secured = f"{ask} --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    for pod in web:
        assert inside(cluster, pod, f"{ask} {store.endpoint}/health") == "200"
        assert inside(cluster, pod, f"{secured} {store.amazon_endpoint}/health") == "200"
    assert text_of(store.client(tls=True), "kept", "key") == b"text"
    words = [word for pid in cgroups.members(cluster.layout.addresses.bridge) for word in processes.command(pid)]
    assert str(store.folder / "buckets") in words
    assert not [word for word in words if store.root.secret_key in word]


def test_a_user_of_the_store_may_do_what_it_was_given_and_no_more(store: ObjectStore) -> None:
    store.make_bucket("other")
    reader, writer = store.add_user({"kept": stores.READ}), store.add_user({"kept": stores.WRITE})
    assert (text_of(store.client(reader), "kept", "key"), put(store.client(reader), "kept", "new", b"x")) == (b"text", 403)
    assert (put(store.client(writer, tls=True), "kept", "new", b"x"), put(store.client(writer), "other", "new", b"x")) == (200, 403)
    assert [entry.key for entry in store.client(reader).entries("kept")] == ["key", "new"]
    store.allow("kept", writer, stores.READ)
    store.remove_user(reader)
    assert (put(store.client(writer), "kept", "new", b"y"), store.client(reader).send("GET", "/kept/key").status) == (403, 403)


def test_the_store_takes_every_fault_and_keeps_its_data(cluster: Cluster, web: list[dict[str, Any]], store: ObjectStore) -> None:
    def asked() -> str:
        return inside(cluster, web[0], f"curl -s -m 2 -o /dev/null {store.endpoint}/health; echo $?")

    store.cut(pods_only=True)
    assert (asked(), store.ready()) == ("28", True)
    store.mend()
    assert asked() == "0"
    store.cut()
    assert asked() in ("7", "28")
    store.mend()
    store.stop()
    assert (asked(), store.ready()) == ("7", False)
    store.start()
    store.kill()
    store.wait_ready()
    assert text_of(store.client(), "kept", "key") == b"text"


def test_the_postgresql_beside_the_cluster_loses_no_acknowledged_row(cluster: Cluster, web: list[dict[str, Any]], tmp_path: Path) -> None:
    server = cluster.postgres(max_connections=40, tls_only=True)
    server.up()
    app = server.make_database("app", "app")
    assert "accepting" in inside(cluster, web[0], f"pg_isready -h {server.address}")
    with pytest.raises(CommandFailed, match="no encryption"):
        postgres.ask(app, "SELECT 1", sslmode="disable")
    assert postgres.ask(app, "SHOW max_connections", sslmode="require") == [["40"]]
    ledger = tmp_path / "ledger"
    with rows.Writer(lambda: app, ledger, pause=0.001) as writer:
        server.kill()
        server.wait_ready()
        before = writer.acknowledged
        assert processes.wait_until(lambda: writer.acknowledged > before + 20, 15)
    assert len(ledger.read_text().splitlines()) == writer.acknowledged
    assert rows.lost(app, ledger) == []
    # Not just any number: one whose write the kill cut off was never acknowledged.
    acknowledged = ledger.read_text().splitlines()[-1]
    number = acknowledged.split()[-1]
    assert postgres.ask(app, f"WITH gone AS (DELETE FROM lab_written WHERE number = {number} RETURNING number) SELECT * FROM gone") == [[number]]
    assert rows.lost(app, ledger) == [acknowledged]
    server.down(purge=True)
    assert not server.folder.exists()


def test_up_completes_what_runs_and_leaves_it_alone(cluster: Cluster) -> None:
    before = {name: cluster.component_pid(name) for name in ("etcd", "kube-apiserver", "kubelet", "kwok")}
    cluster.stop_component("kube-scheduler")
    cluster.up(nodes=3, report=lambda _line: None)
    assert cluster.nodes == ["node1", "node2", "node3"]
    assert cluster.component_pid("kube-scheduler")
    assert {name: cluster.component_pid(name) for name in before} == before
    assert cluster.kubectl("get", "node", "node3", "-L", "topology.kubernetes.io/zone").split()[-1] == "zone-c"


def test_down_keeps_the_state_and_up_goes_on_with_it(cluster: Cluster) -> None:
    index = cluster.index
    begun = time.monotonic()
    cluster.down()
    assert time.monotonic() - begun < 10
    assert not cluster.is_up()
    assert cleanup.traces(NAME, index) == []
    cluster.up(report=lambda _line: None)
    cluster.kubectl("get", "secret", "canary")
    cluster.kubectl("wait", "pod", "-l", "app=web", "--for=condition=Ready", "--timeout=60s")


def test_the_store_went_down_with_its_lab_and_its_data_did_not(store: ObjectStore) -> None:
    assert not store.is_up()
    store.up()
    assert text_of(store.client(), "kept", "key") == b"text"


def test_a_crash_while_the_store_comes_up_is_cleaned_by_down(cluster: Cluster, store: ObjectStore) -> None:
    store.down()
    with subprocess.Popen([sys.executable, "-m", "lab", "store", "up", "--name", NAME], cwd=paths.CHECKOUT) as command:
        assert processes.wait_until(lambda: cgroups.members(store.machine.group), 30, pause=0.01)
        command.kill()
    cluster.down()
    assert cleanup.traces(NAME, cluster.index) == []


def crash(moment: str, name: str = NAME, by: signal.Signals = signal.SIGKILL) -> int:
    """Start ``up`` as a command, and end it by a signal when it has said something. Returns its exit status."""
    command = [sys.executable, "-m", "lab", "up", "--name", name]
    with subprocess.Popen(command, cwd=paths.CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as up:
        assert up.stdout
        said: list[str] = []
        while not said or (moment not in said[-1] and said[-1]):
            said.append(up.stdout.readline())
        up.send_signal(by)
        rest = up.stdout.read()
    assert moment in said[-1], said
    assert by == signal.SIGKILL or f"python -m lab down --name {name}" in rest
    return up.returncode


@pytest.mark.parametrize("moment", ["addresses and bridge", "certificates and files", "image stores", "nodes started", "API server ready"])
def test_a_crash_of_up_is_cleaned_by_down(cluster: Cluster, moment: str) -> None:
    cluster.down()
    crash(moment)
    index = allocation.number_of(NAME)
    assert index is not None
    cluster.down()
    assert cleanup.traces(NAME, index) == []


def test_an_interrupted_up_says_how_to_take_down_what_it_started(cluster: Cluster) -> None:
    cluster.down()
    assert crash("nodes started", by=signal.SIGINT) == 130
    index = cluster.index
    cluster.down()
    assert cleanup.traces(NAME, index) == []


def test_a_crash_of_up_is_mended_by_the_next_up(cluster: Cluster) -> None:
    cluster.down()
    crash("nodes started")
    first = nodes.init_pid(cluster.layout, 1)
    assert first
    (cluster.layout.node(1) / "init.json").unlink()  # as if it had been killed before it could write it
    cluster.up(report=lambda _line: None)
    assert processes.start_time(first) is None
    assert cluster.is_up()


def test_the_command_line_shows_the_lab(cluster: Cluster) -> None:
    def lab(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "lab", *words], cwd=paths.CHECKOUT, capture_output=True, text=True, check=False)

    assert lab("store", "up", "--name", NAME).returncode == 0
    assert lab("store", "stop", "--name", NAME).returncode == 0
    shown = lab("status").stdout
    assert f"{NAME}: up" in shown
    assert "plain stopped, tls stopped" in shown
    assert "kube-apiserver" in shown
    assert "node/node1" in lab("shell", "--name", NAME, "--", "kubectl", "get", "nodes", "-o", "name").stdout
    assert lab("shell", "--name", NAME, "--node", "2", "hostname").stdout == "node2\n"
    wrong = lab("shell", "--name", "never-seen")
    assert wrong.returncode == 1
    assert "python -m lab up --name never-seen" in wrong.stderr
