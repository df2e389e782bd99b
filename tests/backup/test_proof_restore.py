"""Points that come back: etcd into a folder that a real etcd then runs on, databases into a real server, Secrets into a folder; nothing live is touched."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.age import find as find_age
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import HELD, dumped
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.proof import fingerprint_text
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.place import Place
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import read_keys
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from tests.backup.asking import backup, brought_back, key_file, refused
from tests.backup.faults import run_with
from tests.backup.member import BUMP, Etcd, cluster, left_running
from tests.backup.test_interrupted import ERRNOS, REFUSED, SEED
from tests.backup.whole import identity
from tests.databases import postgres
from tests.databases.postgres import Postgres
from tests.perf import figures
from tests.proof import Measured
from tests.unit.backup.points import PASSED, ring

HERE = socket.gethostname()


def options(folder: Path, etcd: Etcd, target: Path | None = None, **changed: Any) -> dict[str, Any]:
    return {"kinds": ["etcd"], "etcd": {"data_folder": str(target or folder / "data"), "programs": str(etcd.programs), **changed}}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd that may be stopped and lose its data."""
    with Etcd(tmp_path / "member").running() as member:
        member.fill(200, 300)
        yield member


@pytest.fixture
def folder(tmp_path: Path, own: Etcd) -> Path:
    """Where a point of it is, its repository beside the member's data."""
    done = backup(tmp_path, own.options())
    assert done.get("msg") is None, done
    return tmp_path


def as_member(etcd: Etcd) -> dict[str, str]:
    return {"member": etcd.name, "peer_url": etcd.peers[etcd.name], "initial_cluster": f"{etcd.name}={etcd.peers[etcd.name]}"}


def test_etcd_comes_back_beside_what_is_live_and_is_put_in_use_by_name(own: Etcd, folder: Path) -> None:
    live = own.folder / "data"
    own.put(later="not in the point")
    seen = own.revision()
    wanted = options(folder, own, live, **as_member(own))
    predicted = brought_back(folder, check=True, **wanted)
    assert predicted.get("msg") is None, predicted
    assert [entry.name for entry in own.folder.glob("data*")] == ["data"]
    begun = time.monotonic()
    done = brought_back(folder, **wanted)
    assert done.get("msg") is None, done
    print(f"etcd restored and proved beside the live one in {time.monotonic() - begun:.1f} s: {done['rto_seconds']}")
    assert (done["changed"], done["plan"], done["proof"]["verdict"], done["restored"]["etcd"]["swapped"]) == (True, predicted["plan"], "pass", False)
    assert len(done["proof"]["checks"]) == 4
    begun = time.monotonic()
    again = brought_back(folder, **wanted)
    print(f"second run: {time.monotonic() - begun:.2f} s")
    assert (again["changed"], again["plan"], again["proof"]) == (False, [], done["proof"])
    assert own.revision() == seen
    assert left_running(Path(done["restored"]["etcd"]["places"][0])) == []

    # It runs: nothing is swapped, whoever was named.
    reason, message = refused(brought_back(folder, state="swapped", confirm=HERE, **wanted))
    assert (reason, "an etcd runs on it" in message) == ("Refused", True)
    own.end()
    for confirm in ({}, {"confirm": "another-host"}):
        reason, message = refused(brought_back(folder, state="swapped", **confirm, **wanted))
        assert (reason, HERE in message) == ("Refused", True)
    predicted = brought_back(folder, check=True, state="swapped", confirm=HERE, **wanted)
    done = brought_back(folder, state="swapped", confirm=HERE, **wanted)
    assert done.get("msg") is None, done
    assert (done["plan"], done["restored"]["etcd"]["swapped"]) == (predicted["plan"], True)
    assert brought_back(folder, state="swapped", confirm=HERE, **wanted)["changed"] is False
    own.start()
    own.wait()
    assert own.revision() > seen + BUMP // 2
    assert own.ctl("get", "later").stdout == ""
    assert own.ctl("get", "--prefix", "/registry/", "--keys-only", "--limit=500").stdout.count("/registry/") == 200
    # It is live again: a further run has nothing to do, and the old data are where they were put.
    assert brought_back(folder, state="swapped", confirm=HERE, **wanted)["changed"] is False
    kept = Path(done["restored"]["etcd"]["kept"])
    own.end()
    os.rename(live, folder / "aside")
    os.rename(kept, live)
    own.start()
    own.wait()
    assert own.ctl("get", "later").stdout == "later\nnot in the point\n"


def test_three_members_come_back_as_one_cluster(tmp_path: Path) -> None:
    members = cluster(tmp_path / "cluster", 3)
    try:
        for member in members:
            member.start()
        for member in members:
            member.wait()
        members[0].fill(100, 100)
        assert backup(tmp_path, members[0].options(*members[1:])).get("msg") is None
        seen = members[0].revision()
        for member in members:
            member.end()
        whole = ",".join(f"{name}={url}" for name, url in members[0].peers.items())
        for member in members:
            wanted = options(tmp_path, member, member.folder / "data", **{**as_member(member), "initial_cluster": whole})
            assert "cluster_name is missing" in refused(brought_back(tmp_path, **wanted))[1]
            wanted["etcd"]["cluster_name"] = "after-the-fire"
            done = brought_back(tmp_path, state="swapped", confirm=HERE, **wanted)
            assert done.get("msg") is None, done
            assert "every other member" in done["remains_to_do"][0]
        for member in members:
            member.start()
        for member in members:
            member.wait()
        assert {member.revision() > seen + BUMP // 2 for member in members} == {True}
        members[1].put(after="the restore")
        assert members[2].ctl("get", "after").stdout == "after\nthe restore\n"
    finally:
        for member in members:
            member.end()


def test_what_was_changed_is_refused_and_leaves_nothing(own: Etcd, folder: Path) -> None:
    (snapshot,) = (folder / "repository/points").glob("*/etcd/snapshot.db")
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 4
    snapshot.write_bytes(content)
    assert refused(brought_back(folder, **options(folder, own)))[0] == "NotProven"
    assert list(folder.glob("data*")) == []


def test_a_distribution_restores_by_itself(own: Etcd, folder: Path) -> None:
    reason, message = refused(brought_back(folder, **options(folder, own, Path("/var/lib/rancher/rke2/server/db/etcd"))))
    assert (reason, "--cluster-reset" in message) == ("Refused", True)


@pytest.mark.parametrize("after", [0.05, 0.3, 0.6, 1.0, 1.5], ids=str)
def test_a_restore_that_is_killed_is_begun_anew(own: Etcd, folder: Path, after: float) -> None:
    wanted = options(folder, own)
    child = os.fork()
    if child == 0:
        try:
            brought_back(folder, **wanted)
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    done = brought_back(folder, **wanted)
    assert done.get("msg") is None, done
    assert done["proof"]["verdict"] == "pass"
    point = done["point"]["identifier"]
    assert sorted(path.name for path in folder.glob("data*")) == [f"data.restored-{point}", f"data.restored-{point}.proof"]
    assert left_running(folder / f"data.restored-{point}.copy") == []


def test_killed_or_refused_at_any_call_of_publish_and_swap_nothing_old_is_lost(tmp_path: Path, share: Callable[[int, int], int], measured: Measured) -> None:
    keys, proof = ring(), Proof((Check("keys", "1", "1", PASS),))

    def fresh(name: str) -> Place:
        above = tmp_path / name
        (above / "data").mkdir(parents=True)
        (above / "data/old").write_text("old")
        (above / "unproved").mkdir()
        (above / "unproved/new").write_text("new")
        return Place(str(above / "data"), "00000003-0a0a0a0a", keys)

    def nobody(_folder: str) -> str:
        return ""

    def work(place: Place) -> None:
        place.publish(str(Path(place.live).parent / "unproved"), proof, 1.0)
        place.swap(nobody)

    clean = fresh("clean")
    status, calls = run_with("", lambda: work(clean), tmp_path / "log")
    assert status == 0
    cases = [("signal=KILL", *call) for call in calls] + [(f"error={error}", *call) for error in ERRNOS for call in calls if call[0] in REFUSED]
    tried = random.Random(SEED).sample(cases, share(24, len(cases)))
    for position, (fault, name, number) in enumerate(tried):
        place = fresh(f"case{position}")
        about = f"{fault} at {name} number {number}"
        status, _calls = run_with(f"{name}:{fault}:when={number}", lambda place=place: work(place), tmp_path / "log")
        assert os.WIFSIGNALED(status) if fault == "signal=KILL" else "(INJECTED)" in (tmp_path / "log").read_text(), about
        found = place.look(nobody)
        old = [path for path in (place.live, place.kept) if os.path.exists(f"{path}/old")]
        assert len(old) == 1, about
        if not found.swapped:
            if not found.fresh:
                place.clear(found)
                again = Path(place.live).parent / "again"
                again.mkdir()
                (again / "new").write_text("new")
                place.publish(str(again), proof, 1.0)
            place.swap(nobody)
        assert (os.listdir(place.live), os.listdir(place.kept)) == (["new"], ["old"]), about
        shutil.rmtree(Path(place.live).parent)
    note = "the old one is there each time, and the next run puts the new one in use"
    measured(figures.at_least("boundaries of a swap of folders survived", len(tried), f"of {len(cases)}", share(24, len(cases)), note, seed=SEED))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres.binaries() as found, postgres.running(found[min(found)]) as running:
        yield running


def published(folder: Path, kind: str, fill: Callable[[Path], Mapping[str, Any]]) -> Manifest:
    """Put files of one kind into the repository as a proved point."""
    catalogue = Catalogue(str(folder / "repository"), read_keys(key_file(folder), [], str(folder / "repository")))
    with catalogue.writing(Deadline(30)) as writer, writer.stage() as stage:
        place = Path(stage.folder) / kind
        place.mkdir(0o700)
        about = fill(place)
        now = time.time()
        files = stage.stored_files()
        manifest = Manifest(stage.identifier, catalogue.read().identity, now, now, now, {kind: {**about, "needs": []}}, files, {}, {}, {kind: dict(PASSED)})
        return writer.publish(stage, manifest)


def test_databases_come_back_into_new_ones_and_nothing_else_is_touched(server: Postgres, tmp_path: Path) -> None:
    source = replace(server.admin, database="shop")
    server.run("CREATE DATABASE shop TEMPLATE template0")
    server.run("CREATE TABLE goods (id serial PRIMARY KEY, name text); INSERT INTO goods (name) SELECT md5(n::text) FROM generate_series(1, 5000) n", source)

    def fill(place: Path) -> Mapping[str, Any]:
        (place / "controller").mkdir(0o700)
        made, expected = dumped(server.client, source, str(place / "controller"), Deadline(120))
        (place / "controller" / HELD).write_bytes(fingerprint_text(expected.fingerprint))
        return {"databases": {"controller": {}}, "version": made.version}

    point = published(tmp_path, "postgres", fill)
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text(server.admin.password + "\n")
    given = {
        "server": server.admin.host,
        "port": server.admin.port,
        "role": server.admin.user,
        "role_password_file": str(password),
        "client_folder": server.client.folder,
        "sslmode": server.admin.sslmode,
    }
    wanted: dict[str, Any] = {"kinds": ["postgres"], "postgres": given}
    predicted = brought_back(tmp_path, check=True, **wanted)
    assert predicted.get("msg") is None, predicted
    done = brought_back(tmp_path, **wanted)
    assert done.get("msg") is None, done
    assert (done["changed"], done["plan"], done["proof"]["verdict"]) == (True, predicted["plan"], "pass")
    name = f"shop_{point.sequence:08d}"
    assert name in done["restored"]["postgres"]["places"][0]
    count = "SELECT count(*) AS goods FROM goods"
    assert server.client.query(replace(source, database=name), count.replace("FROM goods", "FROM public.goods"))[0]["goods"] == 5000
    assert brought_back(tmp_path, **wanted)["changed"] is False
    # What holds something else is somebody's: the live one itself, too.
    reason, message = refused(brought_back(tmp_path, **{**wanted, "postgres": {**given, "databases": {"controller": "shop"}}}))
    assert (reason, "is not empty" in message) == ("Refused", True)
    assert refused(brought_back(tmp_path, state="swapped", confirm=HERE, **wanted))[0] == "Invalid"
    # Restored, but never compared, as after a kill: it is compared now.
    server.run(f"COMMENT ON DATABASE {name} IS NULL")
    assert "is not empty" in refused(brought_back(tmp_path, **wanted))[1]
    assert server.admin.password not in json.dumps([predicted, done])


def test_secrets_come_back_by_a_key_that_was_brought(tmp_path: Path) -> None:
    keys = [identity(tmp_path, "operations"), identity(tmp_path, "paper")]
    canary = secrets.token_hex(16)
    document = {
        "document": "secrets of a recovery point",
        "secrets": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "deis", "name": "database-creds"}, "data": {"password": canary}}],
        "files": [{"path": "/etc/kubernetes/encryption.yaml", "mode": "0600", "content": "aGVsbG8="}],
    }
    text = json.dumps(document).encode()

    def fill(place: Path) -> Mapping[str, Any]:
        find_age().encrypt(text, [key.recipient for key in keys], str(place / "secrets.json.age"), Deadline(60))
        digest = subprocess.run(["sha256sum"], input=text, capture_output=True, check=True).stdout.split()[0].decode()
        return {"content": digest, "secrets": 1, "recipients": [key.recipient for key in keys], "files": ["/etc/kubernetes/encryption.yaml"]}

    point = published(tmp_path, "secrets", fill)
    target = tmp_path / "brought"

    def wanted(key: Path) -> dict[str, Any]:
        key.chmod(0o600)
        return {"kinds": ["secrets"], "secrets": {"folder": str(target), "identity_file": str(key)}}

    done = brought_back(tmp_path, **wanted(keys[1].file))
    assert done.get("msg") is None, done
    assert done["proof"]["verdict"] == "pass"
    assert canary not in json.dumps(done)
    assert [step.split()[0] for step in done["remains_to_do"]] == ["Give", "Put", "Remove"]
    fresh = Path(f"{target}.restored-{point.identifier}")
    kept = json.loads((fresh / "secrets/deis/database-creds.json").read_text())
    assert kept["data"]["password"] == canary
    assert (fresh / "files/etc/kubernetes/encryption.yaml").read_bytes() == b"hello"
    assert {oct(path.stat().st_mode & 0o777) for path in (fresh, *fresh.rglob("*"))} == {"0o700", "0o600"}
    assert brought_back(tmp_path, **wanted(keys[0].file))["changed"] is False
    shutil.rmtree(fresh)
    reason, message = refused(brought_back(tmp_path, **wanted(identity(tmp_path, "stranger").file)))
    assert (reason, "no identity matched" in message) == ("Invalid", True)
    assert not fresh.exists()
    (target).mkdir()
    assert refused(brought_back(tmp_path, **wanted(keys[0].file)))[0] == "Refused"
