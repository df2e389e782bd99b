"""Points of a real etcd: taken, restored, compared; and everything that is not as it was live is red."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.content import Content
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.member import Access, Member
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs, find
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.proof import Expected, prove
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.snapshot import Snapshot, read_snapshot, restore, revision_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from tests.backup.asking import backup, key_file, look
from tests.backup.member import Etcd, cluster

Share = Callable[[int, int], int]
BUMP = 1_000_000_000


@pytest.fixture(scope="module")
def programs(etcd: Etcd) -> Programs:
    return find(str(etcd.programs), Deadline(30))


def member_of(etcd: Etcd, programs: Programs) -> Member:
    access = Access((etcd.endpoint,), **etcd.files("ca_file", "client_cert", "client_key"))
    return Member(programs, etcd.endpoint, access.flags())


@pytest.fixture(scope="module")
def snapshot(etcd: Etcd, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    path = tmp_path_factory.mktemp("snapshot") / "snapshot.db"
    member_of(etcd, programs).save(str(path), Deadline(60))
    return read_snapshot(str(path))


@pytest.fixture(scope="module")
def expected(etcd: Etcd, programs: Programs, snapshot: Snapshot) -> Expected:
    revision = revision_of(programs, snapshot, Deadline(60))
    return Expected(member_of(etcd, programs).content(Deadline(60), revision), revision, revision)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield str(folder)
    assert left_running(tmp_path) == []


def left_running(folder: Path) -> list[str]:
    """Commands of processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in os.readlink(entry / "cwd"):
                found.append((entry / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return found


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
    proved = prove(programs, snapshot, expected, BUMP, scratch, Deadline(120))
    assert proved.proof.verdict == "pass", str(proved.proof)
    assert proved.proof.checks[2].observed == str(expected.revision + BUMP)


LIES: dict[str, Callable[[Expected], Expected]] = {
    "one key more": lambda true: Expected(Content(true.content.keys + 1, true.content.digest), true.revision, true.above),
    "another content": lambda true: Expected(Content(true.content.keys, "0" * 64), true.revision, true.above),
    "a live revision above the bump": lambda true: Expected(true.content, true.revision, true.revision + BUMP),
}


@pytest.mark.parametrize("name", LIES)
def test_proof_is_red_where_anything_differs(programs: Programs, snapshot: Snapshot, expected: Expected, scratch: str, name: str) -> None:
    assert prove(programs, snapshot, LIES[name](expected), BUMP, scratch, Deadline(120)).proof.verdict == "fail"


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


def test_pages_of_every_size_hold_the_same(tmp_path: Path, programs: Programs) -> None:
    with Etcd(tmp_path / "etcd").running() as etcd:
        etcd.fill(1500, 20, "/a/")
        etcd.ctl("put", "/big", stdin="x" * 1_400_000)
        etcd.fill(3, 1_000, "/c/")
        etcd.ctl("put", "/d", "k8s:enc:aescbc:v1:key7:binary")
        etcd.ctl("put", "/e", "k8s:enc:kms:v2:provider:binary")
        content = member_of(etcd, programs).content(Deadline(60))
        whole = json.loads(etcd.ctl("get", "", "--from-key", "--keys-only", "--write-out=json").stdout)
        assert content.keys == whole["count"] == 1506
        assert content.encrypted_by == ("aescbc/key7", "kms/provider")


def test_changed_snapshot_is_refused_before_anything_is_made(programs: Programs, snapshot: Snapshot, scratch: str, share: Share) -> None:
    """Single bits flipped anywhere, with and without the sum of the catalogue: nothing exists afterwards, not even for a moment (etcdutl is not started)."""
    liar = Programs({**programs.paths, "etcdutl": "/nonexistent/etcdutl"}, programs.versions)
    content, chance = bytearray(Path(snapshot.path).read_bytes()), random.Random(3)
    target, flipped = os.path.join(scratch, "data"), os.path.join(scratch, "flipped.db")
    Path(flipped).write_bytes(content)
    for number in range(share(150, 10_000)):
        bit = chance.randrange(len(content) * 8) if number > 63 else (len(content) - 40) * 8 + number * 5
        with open(flipped, "r+b") as file:
            file.seek(bit // 8)
            file.write(bytes([content[bit // 8] ^ 1 << bit % 8]))
            file.flush()
            with pytest.raises(NotProven):
                restore(liar, flipped, snapshot.sha256 if number % 2 else "", target, BUMP, Deadline(60))
            file.seek(bit // 8)
            file.write(content[bit // 8 : bit // 8 + 1])
        assert os.listdir(scratch) == ["flipped.db"]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "without its sum": lambda whole: whole[:-32],
    "a page short": lambda whole: whole[:-544] + whole[-32:],
    "one byte more": lambda whole: whole + b"x",
    "a page more": lambda whole: whole + bytes(512),
    "twice": lambda whole: whole + whole,
    "zeros": lambda whole: bytes(len(whole)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_torn_snapshot_is_refused(programs: Programs, snapshot: Snapshot, scratch: str, name: str) -> None:
    path = os.path.join(scratch, "torn.db")
    Path(path).write_bytes(CHANGES[name](Path(snapshot.path).read_bytes()))
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


def test_restore_that_fails_leaves_nothing(programs: Programs, snapshot: Snapshot, scratch: str) -> None:
    """etcdutl lays out a log of 64 MiB before it finds that it has no room."""
    target = os.path.join(scratch, "data")
    with pytest.raises(Failure):
        restore(programs, snapshot.path, snapshot.sha256, target, BUMP, Deadline(0.05))
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


def refused(result: dict[str, Any]) -> tuple[str, str]:
    assert result.get("failed"), result
    return result["failure"]["reason"], result["msg"]


def test_who_cannot_be_reached_or_trusted_is_refused_with_the_reason(etcd: Etcd, tmp_path: Path) -> None:
    options = etcd.options()
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"endpoints": ["https://127.0.0.1:1"]}, "Unavailable", "does not answer"),
        ({"endpoints": ["127.0.0.1:2379"]}, "Invalid", "Give URLs"),
        ({"endpoints": []}, "Invalid", "is empty"),
        ({"client_key": None}, "Invalid", "Only one of"),
        ({"ca_file": "/nonexistent"}, "Invalid", "is no file"),
        ({"programs": "/nonexistent"}, "MissingDependency", "is not in /nonexistent"),
        ({"timeout": 0}, "Invalid", "timeout"),
    ]
    for change, reason, text in cases:
        # A member that does not answer takes its time to be given up.
        for check in (True,) if reason == "Unavailable" else (True, False):
            said = refused(backup(tmp_path, {**options, **change}, check=check))
            assert said[0] == reason, said
            assert text in said[1]
    assert not (tmp_path / "repository").exists()
    # Without a certificate of ours, or with an authority that does not vouch for it.
    said = refused(backup(tmp_path, {**options, "client_cert": None, "client_key": None}))
    assert said[0] in ("Unauthorized", "Unavailable"), said


def test_member_with_an_alarm_gives_no_point(tmp_path: Path) -> None:
    with Etcd(tmp_path / "etcd", quota=4 << 20).running() as etcd:
        for number in range(20):
            if etcd.ctl("put", f"k{number}", stdin="x" * 1_000_000, check=False).returncode:
                break
        assert "NOSPACE" in etcd.ctl("alarm", "list").stdout
        assert "alarm" in refused(backup(tmp_path, etcd.options()))[1]
    assert not (tmp_path / "repository").exists()


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


# What a program may do instead of its work, by the word that stands in its command.
LIARS = {
    "save says yes and writes nothing": ("etcdctl", "*' snapshot save '*", "exit 0"),
    "save is cut off": ("etcdctl", "*' snapshot save '*", '"$REAL" "$@" && truncate -s -600 "$LAST"'),
    "save gives an old snapshot": ("etcdctl", "*' snapshot save '*", 'cp "$OLD" "$LAST"'),
    "restore says yes and makes nothing": ("etcdutl", "*' restore '*", "exit 0"),
    "restore fails after its work": ("etcdutl", "*' restore '*", '"$REAL" "$@"; exit 1'),
    "restore is killed": ("etcdutl", "*' restore '*", "kill -9 $$"),
    "restore takes an old snapshot": ("etcdutl", "*' restore '*", 'shift 3; exec "$REAL" snapshot restore "$OLD" "$@"'),
    "status gives an old revision": ("etcdutl", "*' status '*", 'exec "$REAL" --write-out=json snapshot status "$OLD"'),
    "etcd does not start": ("etcd", "*' --data-dir'*", "exit 1"),
    "etcd starts empty": ("etcd", "*' --data-dir'*", 'exec "$REAL" "$@" --data-dir="$PWD/empty"'),
}


@pytest.mark.parametrize("name", LIARS)
def test_no_program_is_believed(etcd: Etcd, tmp_path: Path, name: str, programs: Programs) -> None:
    """Each of the programs may lie by its exit status or its output: the point is not published, and nothing is left."""
    old = tmp_path / "old.db"
    member_of(etcd, programs).save(str(old), Deadline(60))
    etcd.put(written_after="1")
    liar, pattern, instead = LIARS[name]
    folder = tmp_path / "programs"
    folder.mkdir()
    for program in ("etcd", "etcdctl", "etcdutl"):
        script = f'#!/bin/bash\nREAL={etcd.programs}/{program} OLD={old} LAST="${{@: -1}}"\n'
        script += f'case " $* " in {pattern}) {instead};; *) exec "$REAL" "$@";; esac\n' if program == liar else 'exec "$REAL" "$@"\n'
        (folder / program).write_text(script)
        (folder / program).chmod(0o755)
    result = backup(tmp_path, etcd.options(programs=str(folder), timeout=60))
    assert result.get("failed"), result
    assert not result["msg"].startswith("Unexpected"), result["msg"]
    found = look(tmp_path)
    assert (found["points"], found["problems"], found["leftovers"]) == ([], [], [])
    assert left_running(tmp_path) == []


def test_members_are_compared(tmp_path: Path) -> None:
    """Two members of one cluster agree; members of several clusters are not taken for one."""
    one, two, three = cluster(tmp_path / "cluster", 3)
    try:
        for member in (one, two, three):
            member.start()
        for member in (one, two, three):
            member.wait()
        one.fill(50, 100)
        done = backup(tmp_path, one.options(two, three))
        assert done.get("msg") is None
        assert done["point"]["kinds"]["etcd"]["members_asked"] == 3
        # A member that is cut off from the others is no witness, and no source.
        two.end()
        three.end()
        assert refused(backup(tmp_path / "repository/..", one.options(), max_age="1s", repository=str(tmp_path / "second")))[0] in ("Unavailable", "Refused")
    finally:
        for member in (one, two, three):
            member.end()


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
