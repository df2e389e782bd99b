"""What takes longer to show of points of etcd: members that are ill or away, and programs that lie."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from lab import processes
from tests.backup.asking import backup, drilled, look, refused
from tests.backup.liars import LIARS, lying
from tests.backup.member import Etcd, cluster, left_running, member_of


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


@pytest.mark.parametrize("name", LIARS)
def test_no_program_is_believed(etcd: Etcd, tmp_path: Path, name: str, programs: Programs) -> None:
    """Each of the programs may lie by its exit status or its output: the point is not published, and nothing is left."""
    old = tmp_path / "old.db"
    member_of(etcd, programs).save(str(old), Deadline(60))
    etcd.put(written_after="1")
    folder = lying(tmp_path / "programs", etcd.programs, name, old)
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


def test_killed_at_any_moment_nothing_runs_on_and_the_next_run_heals(etcd: Etcd, tmp_path: Path, share: Callable[[int, int], int]) -> None:
    """SIGKILL at random moments of a whole run, etcd's programs included: they end with it, and the point that was there still counts."""
    first = backup(tmp_path, etcd.options())["point"]
    chance, killed = random.Random(11), 0
    for _number in range(share(3, 40)):
        child = os.fork()
        if child == 0:
            try:
                backup(tmp_path, etcd.options(), max_age="1s")
            finally:
                os._exit(0)
        time.sleep(first["seconds"] * chance.random())
        os.kill(child, signal.SIGKILL)
        _child, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        assert processes.wait_until(lambda: left_running(tmp_path) == [], 5)
        found = look(tmp_path, verify="all")
        assert found["problems"] == []
        assert first in found["points"]
    assert killed
    healed = backup(tmp_path, etcd.options(), max_age="1s")
    assert healed.get("msg") is None
    assert (look(tmp_path)["leftovers"], os.listdir(tmp_path / "repository" / "work")) == ([], [])


def test_a_drill_restores_what_is_stored_and_finds_what_is_not(etcd: Etcd, tmp_path: Path) -> None:
    done = backup(tmp_path, etcd.options())
    assert done.get("msg") is None
    drill = drilled(tmp_path, etcd_programs=str(etcd.programs))
    assert drill.get("msg") is None
    assert (drill["point"], drill["untried"], drill["rto_seconds"]["etcd"] > 0) == (done["point"], [], True)
    assert len(drill["proof"]["checks"]) == 5
    assert left_running(tmp_path) == []
    path = tmp_path / "repository" / "points" / done["point"]["identifier"] / "etcd" / "snapshot.db"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(path.stat().st_size // 2)
        file.write(bytes([byte ^ 1]))
    reason, message = refused(drilled(tmp_path, etcd_programs=str(etcd.programs)))
    assert (reason, "its SHA-256 differs" in message) == ("NotProven", True)


def test_an_encrypted_etcd_takes_its_keys_along_or_says_that_it_does_not(etcd: Etcd, tmp_path: Path) -> None:
    etcd.put(**{"/registry/secrets/default/sealed": "k8s:enc:aescbc:v1:key9:abcdef"})
    try:
        reason, message = refused(backup(tmp_path, etcd.options()))
        assert (reason, "the EncryptionConfiguration with the key aescbc/key9" in message) == ("Refused", True)
        assert look(tmp_path)["points"] == []
        done = backup(tmp_path, etcd.options(), custody="reported")
        assert done.get("msg") is None
        assert done["point"]["kinds"]["etcd"]["needs"] == ["the EncryptionConfiguration with the key aescbc/key9"]
        # What is incomplete is not what was asked for.
        assert refused(backup(tmp_path, etcd.options()))[0] == "Refused"
    finally:
        etcd.ctl("del", "/registry/secrets/default/sealed")
