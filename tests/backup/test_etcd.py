"""Points of a real etcd: taken, restored, compared; and everything that is not as it was live is red."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.content import Content
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.proof import Expected, prove
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.snapshot import Snapshot, read_snapshot, restore
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import read_keys
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import EVERY
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from tests.backup.asking import backup, key_file, look, options_for, refused
from tests.backup.forgeries import TORN
from tests.backup.member import BUMP, Etcd, left_running, member_of
from tests.contract.playbook import run_playbook, start_playbook
from tests.perf import figures
from tests.proof import Measured

Share = Callable[[int, int], int]


def test_a_point_is_taken_once_and_then_nothing_runs(etcd: Etcd, tmp_path: Path) -> None:
    predicted = backup(tmp_path, etcd.options(), check=True)
    assert (predicted["changed"], predicted["findings"][0]["status"]) == (True, "would-fix"), predicted
    assert not (tmp_path / "repository").exists()
    done = backup(tmp_path, etcd.options())
    assert done.get("msg") is None
    assert done["plan"] == predicted["plan"]
    assert done["findings"][0]["status"] == "fixed"
    assert done["proof"]["verdict"] == "pass"
    assert done["point"]["kinds"]["etcd"]["keys"] == 303
    assert done["rto_seconds"] > 0
    assert left_running(tmp_path) == []
    assert os.listdir(tmp_path / "repository/work") == []
    # No program is found, no member answers: a second run needs neither.
    begun = time.monotonic()
    again = backup(tmp_path, etcd.options(programs="/nonexistent", endpoints=["https://127.0.0.1:1"]))
    assert time.monotonic() - begun < 1
    assert (again["changed"], again["plan"], again["findings"][0]["status"]) == (False, [], "pass"), again
    assert again["point"] == done["point"]
    found = look(tmp_path, verify="all", interval="1h")
    assert (found["changed"], found["problems"], found["newest"]) == (False, [], done["point"])


def test_a_play_that_takes_long_tells_so_while_it_goes_on(etcd: Etcd, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    play, secret = tmp_path / "play.yml", tmp_path / "secret.yml"
    task = {"name": "Take", "paas.hardening.workflow_backup": options_for(tmp_path, etcd.options())}
    for file, words in ((play, {}), (secret, {"no_log": True})):
        file.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [{**task, **words}]}]))
    with Catalogue(str(repository), read_keys(key_file(tmp_path), [], str(repository))).writing(Deadline(5)):
        running, silent = start_playbook(tmp_path, play), start_playbook(tmp_path, secret)
        # It waits for us, for longer than nothing is said.
        time.sleep(EVERY + 4)
    told = running.wait().ok()
    assert f"workflow_backup: RecoveryPoint {repository}/(new) (1" in told.output
    assert "workflow_backup: " not in silent.wait().ok().output
    assert len(look(tmp_path)["points"]) == 1
    assert "workflow_backup: " not in run_playbook(tmp_path, play).ok().output


def test_points_follow_each_other_and_old_ones_go(etcd: Etcd, tmp_path: Path) -> None:
    for _number in range(3):
        assert backup(tmp_path, etcd.options(), max_age="1s", retention={"last": 2}).get("msg") is None
        time.sleep(1.1)
    found = look(tmp_path)
    assert [point["sequence"] for point in found["points"]] == [2, 3]
    kept = backup(tmp_path, etcd.options(), retention={"last": 1, "holds": [found["points"][0]["identifier"]]})
    assert kept["changed"] is False
    predicted = backup(tmp_path, etcd.options(), check=True, retention={"last": 1})
    done = backup(tmp_path, etcd.options(), retention={"last": 1})
    assert done["plan"] == predicted["plan"]
    assert [change["object"].split("/")[-1] for change in done["plan"]] == [found["points"][0]["identifier"]]
    assert [point["sequence"] for point in look(tmp_path)["points"]] == [3]


def test_restored_etcd_is_compared_key_by_key(programs: Programs, snapshot: Snapshot, expected: Expected, scratch: str) -> None:
    proved = prove(programs, snapshot, lambda: expected, BUMP, scratch, Deadline(120))
    assert proved.proof.verdict == "pass", str(proved.proof)
    assert proved.proof.checks[2].observed == str(expected.revision + BUMP)


LIES: dict[str, Callable[[Expected], Expected]] = {
    "one key more": lambda true: Expected(Content(true.content.keys + 1, true.content.digest), true.revision, true.above),
    "another content": lambda true: Expected(Content(true.content.keys, "0" * 64), true.revision, true.above),
    "a live revision above the bump": lambda true: Expected(true.content, true.revision, true.revision + BUMP),
}


@pytest.mark.parametrize("name", LIES)
def test_proof_is_red_where_anything_differs(programs: Programs, snapshot: Snapshot, expected: Expected, scratch: str, name: str) -> None:
    assert prove(programs, snapshot, lambda: LIES[name](expected), BUMP, scratch, Deadline(120)).proof.verdict == "fail"


def test_every_change_of_a_key_changes_the_content(etcd: Etcd, programs: Programs) -> None:
    member, seen = member_of(etcd, programs), set()
    changes = [
        ("put", "changing", "1"),
        ("put", "changing", "2"),
        ("put", "changing", "2"),
        ("del", "changing"),
        ("put", "changing2", "2"),
        ("del", "changing2"),
    ]
    for change in changes:
        etcd.ctl(*change)
        seen.add(member.content(Deadline(60)).digest)
    # A key that is gone leaves what was there before.
    assert len(seen) == len(changes) - 1


def test_changed_snapshot_is_refused_before_anything_is_made(programs: Programs, snapshot: Snapshot, scratch: str, share: Share, measured: Measured) -> None:
    """Single bits flipped anywhere, with and without the sum of the catalogue: nothing exists afterwards, not even for a moment (etcdutl is not started)."""
    liar = Programs({**programs.paths, "etcdutl": "/nonexistent/etcdutl"}, programs.versions)
    content, chance = bytearray(Path(snapshot.path).read_bytes()), random.Random(3)
    target, flipped = os.path.join(scratch, "data"), os.path.join(scratch, "flipped.db")
    Path(flipped).write_bytes(content)
    bits, taken = share(150, 10_000), []
    for number in range(bits):
        bit = chance.randrange(len(content) * 8) if number > 63 else (len(content) - 40) * 8 + number * 5
        with open(flipped, "r+b") as file:
            file.seek(bit // 8)
            file.write(bytes([content[bit // 8] ^ 1 << bit % 8]))
            file.flush()
            try:
                restore(liar, flipped, snapshot.sha256 if number % 2 else "", target, BUMP, Deadline(60))
            except NotProven:
                pass
            else:
                taken.append(bit)
            file.seek(bit // 8)
            file.write(content[bit // 8 : bit // 8 + 1])
        assert os.listdir(scratch) == ["flipped.db"]
    note = f"bits {taken[:9]}" if taken else "nothing was made for any of them"
    measured(figures.at_most("flipped bits of a snapshot of etcd that are not refused", len(taken), f"of {bits}", 0, note, seed=3))


@pytest.mark.parametrize("name", TORN)
def test_torn_snapshot_is_refused(programs: Programs, snapshot: Snapshot, scratch: str, name: str) -> None:
    path = os.path.join(scratch, "torn.db")
    Path(path).write_bytes(TORN[name](Path(snapshot.path).read_bytes()))
    with pytest.raises(NotProven, match="no whole snapshot"):
        restore(programs, path, "", os.path.join(scratch, "data"), BUMP, Deadline(60))
    assert os.listdir(scratch) == ["torn.db"]


def test_whole_snapshot_of_another_cluster_and_live_folder_are_refused(
    programs: Programs, snapshot: Snapshot, etcd: Etcd, scratch: str, tmp_path: Path
) -> None:
    with Etcd(tmp_path / "other").running() as other:
        other.put(a="1")
        member_of(other, programs).save(str(tmp_path / "other.db"), Deadline(60))
    read_snapshot(str(tmp_path / "other.db"))
    with pytest.raises(NotProven, match="not the one that was stored"):
        restore(programs, str(tmp_path / "other.db"), snapshot.sha256, os.path.join(scratch, "data"), BUMP, Deadline(60))
    with pytest.raises(Refused, match="is there already"):
        restore(programs, snapshot.path, snapshot.sha256, str(etcd.folder / "data"), BUMP, Deadline(60))
    # What a data folder holds has no sum at its end, and may lack what is in the log.
    raw = shutil.copy(tmp_path / "other/data/member/snap/db", tmp_path / "raw.db")
    with pytest.raises(NotProven, match="no whole snapshot"):
        read_snapshot(str(raw))
    assert os.listdir(scratch) == []


def test_restore_that_fails_leaves_nothing(programs: Programs, snapshot: Snapshot, scratch: str, tmp_path: Path) -> None:
    """etcdutl that fails after its work leaves a whole data folder behind, which nobody may take for a restored one."""
    script = tmp_path / "etcdutl"
    script.write_text(f'#!/bin/sh\n{programs.paths["etcdutl"]} "$@"\nls -d {scratch}/data* > {tmp_path}/made\nexit 1\n')
    script.chmod(0o755)
    failing = Programs({**programs.paths, "etcdutl": str(script)}, programs.versions)
    with pytest.raises(Failure, match="etcdutl snapshot restore ended with status 1"):
        restore(failing, snapshot.path, snapshot.sha256, os.path.join(scratch, "data"), BUMP, Deadline(60))
    assert (tmp_path / "made").read_text().startswith(f"{scratch}/data.")
    assert os.listdir(scratch) == []


def test_damaged_point_is_replaced_and_said(etcd: Etcd, tmp_path: Path) -> None:
    first = backup(tmp_path, etcd.options())
    path = tmp_path / "repository/points" / first["point"]["identifier"] / "etcd/snapshot.db"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert "SHA-256 differs" in look(tmp_path)["problems"][0]["what"]
    second = backup(tmp_path, etcd.options(), retention={"last": 1})
    assert (second["changed"], second["point"]["sequence"]) == (True, 2)
    assert any("SHA-256 differs" in problem for problem in second["problems"])


@pytest.mark.parametrize(
    ("versions", "reason", "text"),
    [
        (("3.4.30", "3.4.30", "3.4.30"), "Refused", "3.5.10 is the oldest"),
        (("3.6.16", "3.6.16", "3.5.9"), "Refused", "3.5.10 is the oldest"),
        (("3.6.16", "3.5.21", "3.6.16"), "Refused", "several releases"),
        (("3.5.21", "3.5.21", "3.5.21"), "Refused", "the programs are"),
        (("nonsense", "3.6.16", "3.6.16"), "MissingDependency", "does not say which version"),
    ],
)
def test_versions_that_cannot_be_trusted_are_refused(etcd: Etcd, tmp_path: Path, versions: tuple[str, str, str], reason: str, text: str) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, version in zip(("etcd", "etcdctl", "etcdutl"), versions, strict=True):
        script = f'#!/bin/sh\ncase "$1" in version|--version) echo "{name} version: {version}";; *) exec {etcd.programs}/{name} "$@";; esac\n'
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    said = refused(backup(tmp_path, etcd.options(programs=str(folder))))
    assert (said[0], text in said[1]) == (reason, True), said


def test_secrets_are_in_no_result_and_no_file_is_open_to_others(etcd: Etcd, tmp_path: Path) -> None:
    canary = "canary-7f3a9"
    etcd.ctl("put", "/registry/secrets/default/canary", canary)
    done = backup(tmp_path, etcd.options())
    key = Path(key_file(tmp_path)).read_text().strip()
    for text in (json.dumps(done), json.dumps(look(tmp_path))):
        assert canary not in text
        assert key not in text
    paths = list((tmp_path / "repository").rglob("*"))
    assert [path for path in (tmp_path / "repository", *paths) if path.stat().st_mode & 0o077] == []
    manifest = next(path for path in paths if path.name == "manifest").read_bytes()
    assert canary.encode() not in manifest
    assert key.encode() not in manifest
