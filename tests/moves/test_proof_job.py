"""The move of a real Hephy by a Job inside of the cluster: not through this machine, no secret in sight, and nothing of it outlives a run that is hit."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.remote import SILENCE
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard import SILENCE as SILENCE_OF_THE_GUARD
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_job import NAME, job_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import list_bucket, peek
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from lab import builds, images, layers, processes
from tests.contract.canaries import leaks, secrets_of
from tests.contract.installed import Installed
from tests.moves.conftest import Mover, empty, file_with
from tests.moves.disasters import Watch
from tests.moves.jobs import BUCKETS, LABELS, JobRounds, Onlooker, Struck, by_hand, copiers, of_the_job, resident
from tests.stores.servers import Minio

if TYPE_CHECKING:
    from lab.seed import Ledger, Sown
    from lab.stores import ObjectStore

pytestmark = pytest.mark.usefixtures("taken_away")

STORE = "deis-minio"
# Enough that a copy can be hit in the middle.
LARGE, BYTES = 120, 1 << 20
# A pod that nobody needs ends within a minute, and its Job is kept for another one.
FORGOTTEN = 150.0
SLACK = 45.0
MANY = 200_000
OLD, NO_SHELL = "lab.local/rclone-old:1", "lab.local/rclone-alone:1"


@pytest.fixture(scope="module")
def loaded(hephy: Installed, report: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The platform, on nodes that have images with a good rclone, with an old one, and without a shell."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "rclone").write_text("#!/bin/sh\necho rclone v1.60.1-DEV\n")
    (folder / "rclone").chmod(0o755)
    layers.pack(folder / "old.tar", {"usr/local/bin/rclone": folder / "rclone"})
    old = layers.Layer(folder / "old.tar", hashlib.sha256((folder / "old.tar").read_bytes()).hexdigest(), (folder / "old.tar").stat().st_size)
    good = images.rclone(report)
    hephy.cluster.load(good, images.Image(OLD, (good.layers[0], old)), images.Image(NO_SHELL, good.layers[1:]))
    return hephy


@pytest.fixture(scope="module")
def many(loaded: Installed, sown: Sown) -> Ledger:
    """What lies in a bucket of the bundled store beside the usual."""
    from lab.seed import Ledger, live

    found, client = Ledger("git"), live.store(sown.place)
    for number in range(LARGE):
        found.put(client, f"home/large/{number}", number.to_bytes(4, "big") + os.urandom(BYTES))
    return found


@pytest.fixture(scope="module")
def mover(loaded: Installed, many: Ledger, store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    from lab.stores import WRITE

    assert many.objects
    folder = tmp_path_factory.mktemp("job")
    store.make_bucket(*BUCKETS)
    account = store.add_user(dict.fromkeys(BUCKETS, WRITE))
    options = {
        "endpoint": store.endpoint,
        "access_key_file": file_with(folder, account.access_key),
        "secret_key_file": file_with(folder, account.secret_key),
        "work_folder": str(folder / "work"),
        "job_image": images.RCLONE,
        "overwrite": True,
        "freeze_timeout": 240,
        "wait_timeout": 120,
    }
    return Mover(loaded, folder, "workflow_object_storage", options)


@dataclass
class Told:
    """The runs of a whole move, in their order, and what was seen meanwhile."""

    checked: dict[str, Any]
    checked_writes: list[Any]
    moved: dict[str, Any]
    output: str
    requests: list[Any]
    seen: Onlooker
    audit: str
    again: dict[str, Any]
    again_writes: list[Any]
    left: list[str]


@pytest.fixture(scope="module")
def told(mover: Mover, store: ObjectStore) -> Told:
    checked = mover.result("--check")
    checked_writes = mover.writes
    log = mover.platform.cluster.audit_log
    begin = log.stat().st_size
    with Onlooker(mover.platform, store) as seen:
        run = mover.run().ok()
    requests = mover.requests
    with log.open("rb") as file:
        file.seek(begin)
        audit = file.read().decode()
    processes.wait_until(lambda: not of_the_job(mover.platform), 15)
    left = of_the_job(mover.platform)
    again = mover.result()
    return Told(checked, checked_writes, dict(run.result("move")), run.output, requests, seen, audit, again, mover.writes, left)


def shape(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(change["stage"], change["object"], change["field"]) for change in result["plan"]]


def test_check_mode_names_the_job_and_makes_none(told: Told) -> None:
    assert told.checked_writes == []
    assert {change["why"].partition(", moved by ")[2] for change in told.checked["plan"] if change["stage"] == "copy"} == {
        f"a Job with the image {images.RCLONE}"
    }
    assert shape(told.checked) == shape(told.moved)


def test_everything_is_moved_and_proved_and_the_job_is_gone(told: Told, sown: Sown, many: Ledger, store: ObjectStore) -> None:
    assert told.moved["proof"]["verdict"] == "pass"
    assert [ledger.wrong(store.client()) for ledger in (*sown.ledgers, many)] == [[], [], []]
    assert sown.pull() > 0
    assert told.left == []


def test_a_second_run_makes_no_job(told: Told) -> None:
    assert (told.again["plan"], told.again_writes) == ([], [])


def test_not_a_byte_came_through_this_machine(told: Told, mover: Mover) -> None:
    made = [number for number, request in enumerate(told.requests) if (request.verb, request.resource) == ("create", "jobs.batch") and request.name == NAME]
    assert made, [str(request) for request in told.requests if request.writes]
    # A stream is written down when it ends: what was asked before the Job was there may stand a little behind.
    ports = [str(request) for request in told.requests[made[0] + 3 :] if request.resource == "pods/portforward" and request.name.startswith(STORE)]
    assert ports == []
    assert told.seen.peers, "nobody was seen at the store"
    assert mover.platform.cluster.host_address not in told.seen.peers


def test_no_secret_is_told_where_others_see_it(told: Told, mover: Mover, store: ObjectStore) -> None:
    secrets = {Path(mover.options[name]).read_text().strip() for name in ("access_key_file", "secret_key_file")} | {store.root.secret_key}
    secrets |= secrets_of(mover.platform)
    assert any(" copy " in command for command in told.seen.commands)
    assert any('"kind": "Job"' in document or '"backoffLimit"' in document for document in told.seen.documents)
    assert NAME in told.audit
    for text in ("\n".join(told.seen.commands), "\n".join(told.seen.documents), told.audit, told.output):
        assert not leaks(secrets, text)
    assert "RCLONE_CONFIG" not in told.audit
    assert "RCLONE_CONFIG_" not in "\n".join(told.seen.documents).replace("RCLONE_[A-Z", "")


def test_back_to_the_bundled_store_by_a_job(told: Told, mover: Mover, sown: Sown) -> None:
    with Watch(mover.platform) as watch:
        result = mover.result(state="reverted")
        assert not watch.frozen()
    assert result["changed"]
    assert sown.pull() > 0
    assert processes.wait_until(lambda: not of_the_job(mover.platform), 15)


def test_a_store_that_only_the_cluster_knows_is_looked_at_from_there(told: Told, mover: Mover, store: ObjectStore) -> None:
    cluster, namespace = mover.platform.cluster, mover.platform.namespace
    port = {"name": "s3", "port": 9000, "protocol": "TCP"}
    endpoints = {"addresses": [{"ip": store.address}], "ports": [{"name": "s3", "port": 9000}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside"}, "spec": {"ports": [port]}}
    for document in (service, {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "outside"}, "subsets": [endpoints]}):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    try:
        result = mover.result("--check", endpoint=f"http://outside.{namespace}.svc.cluster.local:9000")
        assert "copy" in {change["stage"] for change in result["plan"]}
        assert {(request.verb, request.resource) for request in mover.writes if request.stored} == {("create", "jobs.batch"), ("delete", "jobs.batch")}
    finally:
        cluster.kubectl("delete", "service", "outside", "-n", namespace)


REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "an image that is not there": ({"job_image": "lab.local/nowhere:1"}, "job_image", "cannot be had"),
    "an image without rclone": ({"job_image": images.BASE}, "job_image", "lacks rclone"),
    "an image without a shell": ({"job_image": NO_SHELL}, "job_image", "does not start"),
    "an old rclone": ({"job_image": OLD}, "job_image", "rclone 1.60.1, older than 1.75"),
    "no such node": ({"job_node_selector": {"no": "node"}}, "job_node_selector", "finds no node"),
    "limits that cannot be": ({"job_resources": {"limits": {"memory": "much"}}}, "job_image", "cannot be made"),
}


@pytest.mark.parametrize("name", list(REFUSALS))
def test_what_keeps_the_job_from_running_is_told_before_anything_is_touched(told: Told, mover: Mover, name: str) -> None:
    options, subject, said = REFUSALS[name]
    with Watch(mover.platform) as watch:
        run = mover.run(**options)
        assert watch.longest == 0
    result = run.result("move")
    assert run.status != 0
    assert said in result["msg"], result["msg"]
    assert result["failure"]["object"] == subject
    assert {(request.verb, request.resource) for request in mover.writes if request.stored} <= {("create", "jobs.batch"), ("delete", "jobs.batch")}
    assert processes.wait_until(lambda: not of_the_job(mover.platform), 15)


def test_a_store_that_the_pods_do_not_see(told: Told, mover: Mover, tmp_path: Path) -> None:
    """A server on this machine's loopback: it can be looked at from here, but for a pod that address is the pod itself."""
    builds.ensure(["minio"])
    with Minio(tmp_path).running() as near:
        for bucket in BUCKETS:
            near.bucket(bucket)
        keys = {"access_key_file": file_with(tmp_path, near.access_key), "secret_key_file": file_with(tmp_path, near.secret_key)}
        with Watch(mover.platform) as watch:
            run = mover.run(endpoint=near.endpoint, **keys)
            assert watch.longest == 0
    result = run.result("move")
    assert f"The pod of the Job does not reach {near.endpoint}" in result["msg"], result["msg"]
    assert "NetworkPolicy" in result["msg"]


def test_a_quota_is_named(told: Told, mover: Mover) -> None:
    cluster, namespace = mover.platform.cluster, mover.platform.namespace
    cluster.kubectl("create", "quota", "tight", "-n", namespace, "--hard=requests.memory=1Mi")
    try:
        run = mover.run()
    finally:
        cluster.kubectl("delete", "quota", "tight", "-n", namespace)
    result = run.result("move")
    assert "ResourceQuota tight" in result["msg"], result["msg"]
    assert result["failure"]["object"] == "job_resources"


def test_a_policy_of_the_cluster_is_fulfilled(told: Told, mover: Mover) -> None:
    """The pod is let into a namespace of the level restricted."""
    cluster = mover.platform.cluster
    cluster.kubectl("create", "namespace", "tightened")
    try:
        cluster.kubectl("label", "namespace", "tightened", "pod-security.kubernetes.io/enforce=restricted")
        params = {"job_image": images.RCLONE, "job_pull_secrets": [], "job_node_selector": None, "job_resources": None}
        template = job_of("tightened", params, {})["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mover"}, "spec": template["spec"]}
        cluster.kubectl("apply", "-n", "tightened", "-f", "-", stdin=json.dumps(pod))
    finally:
        cluster.kubectl("delete", "namespace", "tightened", "--wait=false")


@pytest.fixture
def completed(mover: Mover, sown: Sown, many: Ledger, store: ObjectStore, request: pytest.FixtureRequest, report: Callable[[str], None]) -> Iterator[None]:
    """Whatever happens: the platform does not stand still, the next run completes the move, and another one leads back."""
    yield
    cluster = mover.platform.cluster
    cluster.wait_ready()
    begun = time.monotonic()
    result = mover.result()
    report(f"{request.node.name}: the next run took {time.monotonic() - begun:.0f} s")
    assert result["proof"]["verdict"] == "pass"
    assert [ledger.wrong(store.client()) for ledger in (*sown.ledgers, many)] == [[], [], []]
    assert processes.wait_until(lambda: not of_the_job(mover.platform), 15)
    mover.result(state="reverted")


@pytest.mark.usefixtures("told", "completed")
def test_a_run_that_is_killed_leaves_no_copier(mover: Mover, store: ObjectStore, report: Callable[[str], None]) -> None:
    run = Struck(mover, store)
    pids = run.await_copy()
    run.process.kill()
    report(f"rclone was gone {run.gone(pids, 10):.1f} s after the run was killed")


@pytest.mark.usefixtures("told", "completed")
def test_a_run_that_is_killed_while_the_platform_stands_still(mover: Mover, store: ObjectStore, report: Callable[[str], None]) -> None:
    run = Struck(mover, store)
    with Watch(mover.platform) as watch:
        assert processes.wait_until(lambda: watch.still > 1 or run.process.ended, 300)
        assert processes.wait_until(lambda: (copiers() and watch.still) or run.process.ended, 120, 0.02)
        pids = copiers()
        run.process.kill()
        report(f"rclone was gone {run.gone(pids, 10):.1f} s after the run was killed")
        assert watch.still, "it was gone before the guard let the platform go on"
        assert processes.wait_until(lambda: not watch.still, SILENCE_OF_THE_GUARD + SLACK, 0.2)


@pytest.mark.usefixtures("told", "completed")
def test_a_run_that_falls_silent_leaves_no_copier(mover: Mover, store: ObjectStore, report: Callable[[str], None]) -> None:
    run = Struck(mover, store)
    pids = run.await_copy()
    # It holds its connections, and says nothing, as behind a network that swallows everything. What it does not read makes rclone wait.
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    run.process.process.send_signal(signal.SIGSTOP)
    try:
        report(f"rclone was gone {run.gone(pids, SILENCE + 15):.1f} s after the last sign of life")
    finally:
        run.process.process.send_signal(signal.SIGCONT)
    result = run.process.result()
    assert result is not None
    assert result["failed"]


@pytest.mark.usefixtures("told", "completed")
def test_the_pod_is_deleted(mover: Mover, store: ObjectStore) -> None:
    run = Struck(mover, store)
    pids = run.await_copy()
    cluster, namespace = mover.platform.cluster, mover.platform.namespace
    cluster.kubectl("delete", "pod", "-n", namespace, "-l", LABELS, "--wait=false")
    run.gone(pids, 40)
    result = run.process.result()
    assert result is not None
    assert result["failed"]
    assert processes.wait_until(lambda: not of_the_job(mover.platform), 15)


@pytest.mark.usefixtures("told", "completed")
def test_the_api_server_ends(mover: Mover, store: ObjectStore) -> None:
    run = Struck(mover, store)
    pids = run.await_copy()
    mover.platform.cluster.kill_component("kube-apiserver")
    run.gone(pids, 20)
    result = run.process.result()
    assert result is not None
    assert result["failed"]
    assert "is lost" in result["msg"]


@pytest.mark.usefixtures("told")
def test_what_a_killed_run_left_ends_by_itself(mover: Mover, store: ObjectStore) -> None:
    run = Struck(mover, store)
    run.await_copy()
    run.process.kill()
    assert of_the_job(mover.platform)
    assert processes.wait_until(lambda: not of_the_job(mover.platform), FORGOTTEN, 1)


@pytest.mark.usefixtures("told")
def test_a_job_that_another_run_needs_is_left_alone(mover: Mover) -> None:
    with by_hand(mover):
        before = of_the_job(mover.platform)
        run = mover.run()
        assert "Another run moves something" in run.result("move")["msg"]
        assert of_the_job(mover.platform) == before


def test_the_authority_of_a_store_goes_along(mover: Mover, store: ObjectStore) -> None:
    near = {"endpoint": store.tls_endpoint, "access_key": store.root.access_key, "secret_key": store.root.secret_key}
    with by_hand(mover) as job:
        peek(job.engine(None), Store("s3", ca_file=str(store.ca_file), **near), "git", 1)
        with pytest.raises(Invalid, match="no trusted TLS connection"):
            peek(job.engine(None), Store("s3", **near), "git", 1)


def test_many_keys_are_listed_in_little_memory(mover: Mover, store: ObjectStore, tmp_path: Path, report: Callable[[str], None]) -> None:
    store.make_bucket("many")
    for number in range(MANY):
        # An object of this store is a file.
        folder = store.folder / "buckets" / "many" / f"folder-{number // 1000}"
        folder.mkdir(exist_ok=True)
        (folder / f"an-object-with-a-name-of-some-length-{number:08d}").touch()
    near = Store("s3", store.endpoint, "", store.root.access_key, store.root.secret_key)
    seconds, most, found = {}, 0, set()
    with by_hand(mover) as job:
        for name, engine in (("here", find()), ("in the pod", job.engine(None))):
            begun, before, over = time.monotonic(), resident(), threading.Event()
            peak = [before]

            def look(peak: list[int] = peak, over: threading.Event = over) -> None:
                while not over.wait(0.05):
                    peak[0] = max(peak[0], resident())

            thread = threading.Thread(target=look)
            thread.start()
            try:
                listing = list_bucket(engine, near, "many", str(tmp_path), name)
            finally:
                over.set()
                thread.join()
            seconds[name], most = time.monotonic() - begun, max(most, peak[0] - before)
            found.add((listing.objects, hashlib.sha256(Path(listing.path).read_bytes()).hexdigest()))
    shutil.rmtree(store.folder / "buckets" / "many")
    report(f"{MANY} keys listed here in {seconds['here']:.1f} s, in the pod in {seconds['in the pod']:.1f} s; {most >> 20} MiB more")
    assert {objects for objects, _digest in found} == {MANY}
    assert len(found) == 1
    assert most < 64 << 20


@pytest.mark.timeout(6 * 3600)
def test_moves_that_are_hit_at_random(
    mover: Mover, sown: Sown, store: ObjectStore, tmp_path: Path, request: pytest.FixtureRequest, report: Callable[[str], None]
) -> None:
    """A tenth of the interruptions that are asked for, at least one."""
    from lab.stores import WRITE

    empty(store, *BUCKETS)
    account = store.add_user(dict.fromkeys(BUCKETS, WRITE))
    keys = {"access_key_file": file_with(tmp_path, account.access_key), "secret_key_file": file_with(tmp_path, account.secret_key)}
    options = {"endpoint": store.endpoint, "work_folder": str(tmp_path / "work"), **keys}
    chance = random.Random(f"storage by a Job {request.config.getoption('--interruption-seed')}")
    rounds = JobRounds(mover.platform, sown, store, account, tmp_path, options, chance, report)
    rounds.measure()
    for number in range(1, 1 + max(1, int(request.config.getoption("--interruptions")) // 10)):
        rounds.told.append(rounds.round(number))
        report(str(rounds.told[-1]))
    mover.platform.cluster.wait_ready()
    if rounds.place() == "new":
        mover.result(state="reverted", **options)
    assert [str(told) for told in rounds.told if told.troubles] == []
    assert processes.wait_until(lambda: not of_the_job(mover.platform), FORGOTTEN, 1)
