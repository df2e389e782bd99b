"""Points of a whole platform in the lab, with real data: what was acknowledged is in them, what is lost shows, a second run asks nobody."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.canonical import RECLAIM_POLICY, title_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.collect import Collected, collect
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.kind import read_objects, write_objects
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.proof import prove_dry, prove_empty
from ansible_collections.paas.hardening.plugins.module_utils._backup.site import Site
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import find
from lab import builds
from tests.backup.apiserver import PROGRAMS, empty_server, linked
from tests.backup.asking import drilled, look, refused
from tests.backup.member import left_running
from tests.backup.whole import KINDS, Identity, files_of, identity, opened, options_for, restored, take, values_of
from tests.contract.installed import Installed
from tests.perf import figures
from tests.proof import Measured

if TYPE_CHECKING:
    from lab.seed import Sown

NOWHERE = "/nonexistent/anywhere"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Callable[[], Any]:
    """Gives an empty API server, a new one each time."""
    builds.ensure([*PROGRAMS, "kubectl"], report)
    return lambda: empty_server(tmp_path_factory.mktemp("empty") / "server")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("point")


@pytest.fixture(scope="module")
def point(hephy: Installed, sown: Sown, keys: list[Identity], newest: str, place: Path) -> dict[str, Any]:
    """A point of all kinds, and what workflow_backup said of it."""
    options = options_for(place, hephy, keys, newest)
    predicted = take(options, check=True)
    assert predicted.get("msg") is None
    assert [change["field"] for change in predicted["plan"]] == [f"kinds.{kind}.state" for kind in sorted(KINDS)]
    assert not (place / "repository").exists()
    done = take(options)
    assert done.get("msg") is None
    assert (done["changed"], done["findings"][0]["status"], done["proof"]["verdict"]) == (True, "fixed", "pass"), done
    assert done["problems"] == []
    assert done["uncovered"][0] == "no etcd, volumes in this point"
    return dict(done["point"])


def test_a_second_run_asks_nobody(hephy: Installed, keys: list[Identity], place: Path, point: dict[str, Any], measured: Measured) -> None:
    # Neither the cluster nor a program can be reached: nothing is needed.
    blind = options_for(place, hephy, keys, cluster={"kubeconfig": NOWHERE}, postgres={"client_folder": NOWHERE, "server_folder": NOWHERE})
    blind["secrets"]["age"] = NOWHERE
    begun = time.monotonic()
    again = take(blind)
    seconds = time.monotonic() - begun
    assert (again.get("msg"), again["changed"], again["point"]) == (None, False, point)
    note = f"the point took {point['seconds']} s, {point['size']} bytes, restored in {again['rto_seconds']} s"
    measured(figures.at_most("second run with a fresh point of all kinds", seconds, "s", 1.0, note))


def test_the_point_says_what_it_holds(hephy: Installed, sown: Sown, point: dict[str, Any]) -> None:
    objects, database, secrets = (point["kinds"][name] for name in ("objects", "postgres", "secrets"))
    assert {name: about["needs"] for name, about in point["kinds"].items()} == {name: [] for name in KINDS}
    assert sown.apps
    assert objects["namespaces"] == [hephy.namespace, *sorted(app.name for app in sown.apps)]
    assert objects["kinds"]["Deployment"] >= 5
    assert "Secret" not in objects["kinds"]
    assert database["databases"]["controller"]["rows"] > sown.filled_rows
    assert secrets["secrets"] >= 5
    assert len(secrets["recipients"]) == 2


def test_each_keeper_opens_the_secrets_and_nobody_else_sees_them(
    hephy: Installed, keys: list[Identity], place: Path, point: dict[str, Any], tmp_path: Path
) -> None:
    documents = [opened(place, point, key) for key in keys]
    assert documents[0] == documents[1]
    names = {entry["metadata"]["name"] for entry in documents[0]["secrets"] if entry["metadata"]["namespace"] == hephy.namespace}
    assert {"database-creds", "django-secret-key"} <= names
    stranger = identity(tmp_path, "stranger")
    with pytest.raises(Exception, match="returned non-zero exit status"):
        opened(place, point, stranger)
    told = json.dumps([point, look(place, verify="all"), take(options_for(place, hephy, keys))]).encode()
    kept = b"".join(path.read_bytes() for name in ("objects", "secrets") for path in files_of(place, point, name).iterdir())
    kept += (place / "repository" / "points" / point["identifier"] / "manifest").read_bytes()
    values = values_of(documents[0])
    assert len(values) > 10
    assert [value for value in values if value in told] == [], "a secret in a result"
    in_clear = [entry["metadata"]["name"] for entry in documents[0]["secrets"] if any(value in kept for value in values_of({"secrets": [entry]}))]
    # One that somebody has written into a ConfigMap, too, as the tests of the modules do.
    assert in_clear == ["canary"], "a secret in a file that is not encrypted"


def test_every_acknowledged_row_is_in_the_point(
    hephy: Installed, sown: Sown, keys: list[Identity], newest: str, tmp_path: Path, share: Callable[[int, int], int]
) -> None:
    from lab.seed import Writer, live

    client = find(newest)
    with Writer(lambda: live.database(sown.place), tmp_path / "ledger") as writer:
        for number in range(share(2, 10)):
            time.sleep(0.3)
            acknowledged = writer.acknowledged
            done = take(options_for(tmp_path, hephy, keys, newest, kinds=["postgres"], custody="reported", max_age="1s"))
            assert done.get("msg") is None
            assert done["proof"]["verdict"] == PASS
            with restored(tmp_path, done["point"], newest) as server:
                asked = (
                    "SELECT count(*) AS rows, coalesce(max(number), 0) AS last FROM public.lab_written WHERE writer = :'writer' AND body = md5(number::text)"
                )
                row = client.query(server, asked, {"writer": writer.name})[0]
            print(f"point {number}: {acknowledged} rows acknowledged before, {row['rows']} in it")
            assert row["rows"] >= acknowledged > 0
            assert row["rows"] == row["last"], "a row is missing in the middle"
            time.sleep(1)
    assert "also takes the Secrets of the namespace" in " ".join(done["warnings"])


def test_a_point_that_cannot_be_restored_alone_is_refused(hephy: Installed, keys: list[Identity], tmp_path: Path) -> None:
    reason, message = refused(take(options_for(tmp_path, hephy, keys, kinds=["objects"])))
    assert reason == "Refused"
    assert "since a restore also takes the Secrets" in message
    assert f"the Secrets of the namespace {hephy.namespace}" in message
    assert look(tmp_path)["points"] == []


def test_a_drill_of_the_stored_point_passes_and_knows_what_it_did_not_try(
    keys: list[Identity], newest: str, place: Path, point: dict[str, Any], empty: Callable[[], Any], tmp_path: Path
) -> None:
    programs = {"client_folder": newest, "server_folder": newest}
    done = drilled(place, **programs)
    assert done.get("msg") is None
    assert (done["changed"], done["point"], done["proof"]["verdict"], len(done["untried"])) == (False, point, "pass", 2)
    with empty() as kubeconfig:
        # In a server that is given, and in one that the drill has for itself.
        for way in ({"empty_server": str(kubeconfig)}, {"apiserver_folder": str(linked(tmp_path / "programs"))}):
            whole = drilled(place, **programs, **way, identity_file=str(keys[1].file))
            assert whole.get("msg") is None
            assert whole["untried"] == []
            print(f"drill: {len(whole['proof']['checks'])} checks, {whole['rto_seconds']}")
            assert {"SHA-256 of the decrypted Secrets", "rows of controller"} <= {check["what"] for check in whole["proof"]["checks"]}
            assert left_running(place) == []


def test_a_drill_by_a_strangers_key_fails(place: Path, point: dict[str, Any], tmp_path: Path) -> None:
    stranger = identity(tmp_path, "stranger")
    reason, message = refused(drilled(place, kinds=["secrets"], identity_file=str(stranger.file)))
    assert reason == "Invalid"
    assert "no identity matched" in message
    assert "There is no proved point" in refused(drilled(place, point="00000099-00000000"))[1]


@pytest.fixture(scope="module")
def collected(hephy: Installed, sown: Sown) -> tuple[Objects, Collected, list[str]]:
    site = Site({"kubeconfig": str(hephy.cluster.kubeconfig), "namespace": hephy.namespace, "platform": hephy.name})
    return site.objects, collect(site.objects, site.namespaces()), site.namespaces()


def test_objects_come_back_byte_by_byte_from_an_empty_server(
    hephy: Installed, keys: list[Identity], empty: Callable[[], Any], collected: tuple[Objects, Collected, list[str]], tmp_path: Path
) -> None:
    live = collected[0]
    with empty() as kubeconfig:
        done = take(options_for(tmp_path, hephy, keys, kinds=["objects", "secrets"], objects={"empty_server": str(kubeconfig)}))
        assert done.get("msg") is None
        about = done["point"]["kinds"]["objects"]
        print(f"{about['objects']} objects imported and exported again: {done['point']['proofs']['objects']['steps']}")
        assert about["proved_by"].startswith("imported into an empty API server")
        made = Objects(connect({"kubeconfig": str(kubeconfig)}))
        claim = made.get("PersistentVolumeClaim", "backup-proof", hephy.namespace)
        volume = made.get("PersistentVolume", "backup-proof")
        assert claim["spec"]["volumeName"] == "backup-proof"
        assert (volume["spec"]["claimRef"]["namespace"], volume["spec"]["claimRef"]["name"]) == (hephy.namespace, "backup-proof")
        assert "uid" not in volume["spec"]["claimRef"]
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        assert volume["metadata"]["annotations"][RECLAIM_POLICY] == "Delete"
        # It is full now; and the live one is none to fill.
        again = options_for(tmp_path, hephy, keys, kinds=["objects", "secrets"], objects={"empty_server": str(kubeconfig)}, max_age="1s")
        time.sleep(1)
        assert "has a namespace" in refused(take(again))[1]
    with pytest.raises(Refused, match="leads to the live cluster"):
        prove_empty(live, live, collected[1], 1, [], Deadline(10))


def test_lost_and_changed_objects_are_red(
    collected: tuple[Objects, Collected, list[str]], empty: Callable[[], Any], tmp_path: Path, share: Callable[[int, int], int]
) -> None:
    live, whole, namespaces = collected
    documents, wanted, chance = list(whole.documents), len(whole.documents), random.Random(5)
    assert prove_dry(live, whole, wanted, Deadline(120)).verdict == PASS
    found = []
    for number in range(share(6, 60)):
        lost = chance.randrange(wanted)
        verdict = prove_dry(live, replace(whole, documents=(*documents[:lost], *documents[lost + 1 :])), wanted, Deadline(300)).verdict
        found.append((number, title_of(documents[lost]), verdict))
    for change in ("an unknown field", "a wrong type", "a missing field"):
        at = next(number for number, document in enumerate(documents) if document["kind"] == "Deployment")
        spoilt = json.loads(json.dumps(documents[at]))
        if change == "an unknown field":
            spoilt["spec"]["replicaz"] = 3
        elif change == "a wrong type":
            spoilt["spec"]["replicas"] = "three"
        else:
            del spoilt["spec"]["template"]
        changed = replace(whole, documents=(*documents[:at], spoilt, *documents[at + 1 :]))
        found.append((at, change, prove_dry(live, changed, wanted, Deadline(300)).verdict))
    with empty() as kubeconfig:
        server = Objects(connect({"kubeconfig": str(kubeconfig)}))
        without = tuple(document for document in documents if document["kind"] != "Namespace")
        found.append((0, "no namespaces", prove_empty(live, server, replace(whole, documents=without), wanted, namespaces, Deadline(300)).verdict))
    assert [entry for entry in found if entry[2] == PASS] == []


def test_torn_files_of_objects_are_refused(collected: tuple[Objects, Collected, list[str]], tmp_path: Path) -> None:
    write_objects(str(tmp_path), collected[1])
    assert tuple(read_objects(str(tmp_path))) == collected[1].documents
    path = tmp_path / "3-objects.json"
    whole = path.read_bytes()
    for left in (len(whole) - 1, len(whole) // 2, 10):
        path.write_bytes(whole[:left])
        with pytest.raises(NotProven, match="is torn"):
            read_objects(str(tmp_path))


LIARS = {
    "in clear": "exec cat",
    "nothing": "cat >/dev/null",
    "cut off": f'{shutil.which("age")} "$@" | head -c 900',
    "for one only": f'exec {shutil.which("age")} --recipient "$2"',
    "a refusal": 'echo "age: error: no" >&2; exit 1',
    "hangs": "exec sleep 60",
}


@pytest.mark.parametrize("name", LIARS)
def test_a_lying_age_is_found_out(hephy: Installed, keys: list[Identity], tmp_path: Path, name: str) -> None:
    program = tmp_path / "age"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec echo v1.2.0\n{LIARS[name]}\n')
    program.chmod(0o755)
    given = {"recipients": [key.recipient for key in keys], "age": str(program), "timeout": 5}
    result = take(options_for(tmp_path, hephy, keys, kinds=["secrets"], secrets=given))
    assert result.get("failed"), result
    assert not result["msg"].startswith("Unexpected"), result["msg"]
    assert look(tmp_path)["points"] == []
    assert left_running(tmp_path) == []


def test_flipped_and_missing_files_of_a_point_are_named(hephy: Installed, keys: list[Identity], place: Path, point: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(place / "repository", tmp_path / "repository")
    shutil.copy(place / "key", tmp_path / "key")
    chance = random.Random(7)
    files = [path for kind in KINDS for path in sorted(files_of(tmp_path, point, kind).rglob("*")) if path.is_file()]
    assert len(files) >= 6
    for path in files:
        whole = path.read_bytes()
        if whole:
            with path.open("r+b") as file:
                at = chance.randrange(len(whole))
                file.seek(at)
                file.write(bytes([whole[at] ^ 1 << chance.randrange(8)]))
            problems = look(tmp_path, verify="newest")["problems"]
            assert [path.name in problem["what"] for problem in problems] == [True], path
            assert path.name in refused(drilled(tmp_path))[1], path
        path.unlink()
        assert [path.name in problem["what"] for problem in look(tmp_path)["problems"]] == [True], path
        path.write_bytes(whole)
    assert look(tmp_path, verify="all")["problems"] == []


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder of one test, which the account of a scratch server reaches, too."""
    with tempfile.TemporaryDirectory(prefix="paas-hardening-killed-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_killed_at_any_moment_the_point_before_counts_and_the_next_run_heals(
    hephy: Installed, sown: Sown, keys: list[Identity], newest: str, tmp_path: Path, scratch: Path, share: Callable[[int, int], int]
) -> None:
    postgres = {"client_folder": newest, "server_folder": newest, "scratch_folder": str(scratch)}
    options = options_for(tmp_path, hephy, keys, max_age="1s", postgres=postgres)
    first = take(options)["point"]
    chance, killed = random.Random(3), 0
    for _number in range(share(3, 20)):
        child = os.fork()
        if child == 0:
            try:
                take(options)
            finally:
                os._exit(0)
        time.sleep(first["seconds"] * chance.random())
        os.kill(child, signal.SIGKILL)
        _child, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        found = look(tmp_path, verify="all")
        assert found["problems"] == []
        assert first in found["points"]
    assert killed
    healed = take(options)
    assert healed.get("msg") is None
    assert (look(tmp_path)["leftovers"], os.listdir(tmp_path / "repository" / "work")) == ([], [])
    assert os.listdir(scratch) == []
