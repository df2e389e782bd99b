"""What is planned for a receiver of the log in each state, what is refused, and what is said of what its server says."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_receiver import RECEIVER, SPACE, Planner, Receiver
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_receiver_reach import PROCEED, WAIT, judged, policy
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, files, units
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import receiver
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.receiver import ACCOUNT, ARGUMENTS, Seen, Wish, wish_of

PASSWORD = "0123:4567\\89ab"
SERVER = {"name": "db1", "address": "10.0.0.1", "port": 5432, "authority": "-----BEGIN CERTIFICATE-----\n", "version": 17}
NO_FILE = files.Kept(None, 0, "")


def params(**changed: Any) -> dict[str, Any]:
    given = {name: option.get("default") for name, option in ARGUMENTS.items()}
    return {**given, "me": "backup-1", "server": SERVER, "password": PASSWORD, **changed}


def wish(**changed: Any) -> Wish:
    return wish_of(params(**changed))


def bare(wanted: Wish) -> Seen:
    there = files.Folder(False, 0, "")
    return Seen(False, None, there, there, (), 90, False, dict.fromkeys(wanted.files(), NO_FILE), "inactive", False, units.State(False, False), (), "", ())


def done(wanted: Wish, **changed: Any) -> Seen:
    there, ours = files.Folder(True, 0o700, ACCOUNT), files.Folder(True, 0o755, "root")
    account = accounts.Account(990, "/usr/sbin/nologin")
    seen = Seen(True, account, ours, there, (), 90, False, wanted.files(), "active", True, units.State(True, True), wanted.words, "0" * 24 + ".partial", ())
    return seen._replace(**changed)


def planned(wanted: Wish, seen: Seen) -> list[Change]:
    return list(Planner(wanted, seen).plan().changes)


def fields(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.ref.kind, change.field) for change in changes]


def test_a_bare_host_gets_everything_in_an_order_that_works_and_then_nothing() -> None:
    wanted = wish()
    assert [kind for kind, _field in fields(planned(wanted, bare(wanted)))] == [
        *("Packages", "Account", "Folder", "Folder", "File", "File", "File", "File", "File", "Unit", "Unit", "Unit", "Unit")
    ]
    assert planned(wanted, done(wanted)) == []


def test_the_password_is_in_one_file_alone_and_the_server_is_verified() -> None:
    wanted = wish()
    assert [path for path, kept in wanted.files().items() if "4567" in (kept.text or "")] == [receiver.PASSWORD_FILE]
    assert wanted.files()[receiver.PASSWORD_FILE] == files.Kept("*:*:*:receiver:0123\\:4567\\\\89ab\n", 0o600, ACCOUNT)
    assert PASSWORD not in repr(wanted) + " ".join(wanted.words)
    assert {"--synchronous", "--slot=backup_1", "--no-password"} < set(wanted.words)
    assert "sslmode=verify-full" in wanted.words[-1]
    assert "application_name=backup_1" in wanted.words[-1]
    # systemd takes the command line apart again.
    command = next(line for line in wanted.texts()[receiver.UNIT_FILE].splitlines() if line.startswith("ExecStart="))
    assert command == f'ExecStart={" ".join(wanted.words[:-1])} "{wanted.words[-1]}"'


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"activity": "failed", "words": (), "segment": ""}, [("Unit", "running")]),
        # About to come back by itself: the server may be away.
        ({"activity": "activating", "words": (), "segment": ""}, []),
        ({"words": ("/usr/lib/postgresql/17/bin/pg_receivewal", "--slot=other")}, [("Unit", "restarted")]),
        ({"at_boot": False}, [("Unit", "at boot")]),
        ({"timer": units.State(False, True)}, [("Unit", "running")]),
        ({"folder": files.Folder(True, 0o755, ACCOUNT)}, [("Folder", "mode")]),
        ({"ours": files.Folder(True, 0o700, "root")}, [("Folder", "mode")]),
        ({"account": accounts.Account(990, "/bin/bash")}, [("Account", "shell")]),
    ],
    ids=str,
)
def test_what_went_wrong_is_mended_and_nothing_else(changed: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    wanted = wish()
    assert fields(planned(wanted, done(wanted, **changed))) == expected


def test_what_the_process_has_read_before_is_read_again_and_what_is_only_a_mode_restarts_nothing() -> None:
    wanted, there = wish(), dict(wish().files())
    other = {**there, receiver.PASSWORD_FILE: files.Kept("old", 0o600, ACCOUNT)}
    assert fields(planned(wanted, done(wanted, kept=other))) == [("File", "content"), ("Unit", "restarted")]
    opened = {**there, receiver.PASSWORD_FILE: there[receiver.PASSWORD_FILE]._replace(mode=0o644)}
    assert fields(planned(wanted, done(wanted, kept=opened))) == [("File", "mode")]
    older = {**there, receiver.PRUNE_FILE: files.Kept("old", 0o644, "root")}
    assert fields(planned(wanted, done(wanted, kept=older))) == [("File", "content")]


def test_room_and_strange_units_are_for_a_person() -> None:
    planner = Planner(wish(own_file_system=True), done(wish(), free=5, drop_ins=("/etc/systemd/system/x.d/y.conf",)))
    assert planner.plan().changes == ()
    assert [remark.area for remark in planner.remarks] == [RECEIVER, SPACE, SPACE]


def test_a_folder_with_something_else_in_it_is_refused_and_so_is_a_second_root() -> None:
    wanted = wish()
    there = files.Folder(True, 0o755, "root")
    with pytest.raises(Refused, match="files that are no log: important"):
        Receiver(params()).plan(done(wanted, folder=there, strange=("important",)))
    with pytest.raises(Refused, match="root by another name"):
        Receiver(params()).plan(done(wanted, account=accounts.Account(0, "/bin/sh")))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"password": "tiny-word"}, "password is too short"),
        ({"password": "0123456789abcdef\n"}, "a line break"),
        ({"role": "a b"}, "role is 'a b'"),
        ({"folder": "/srv"}, "folder is '/srv'"),
        ({"folder": "/srv/a b"}, "folder is '/srv/a b'"),
        ({"keep_days": 0}, "keep_days is 0"),
        ({"free_percent": 91}, "free_percent is 91"),
        ({"server": {**SERVER, "name": "db1 sslmode=disable"}}, "server: name is"),
        ({"server": {**SERVER, "authority": "none"}}, "no certificate"),
        ({"server": {**SERVER, "version": 9}}, "version is 9"),
        ({"server": {**SERVER, "address": "db1"}}, "is no address"),
        ({"server": {**SERVER, "port": 0}}, "port is 0"),
    ],
    ids=str,
)
def test_wishes_that_cannot_be_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        wish(**changed)
    assert str(changed.get("password", "\0")) not in str(refused.value)


def test_the_log_is_told_from_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    for name in ("0" * 24, "1" * 24 + ".partial", "00000002.history", "lost+found"):
        (folder / name).touch()
    wanted = wish(folder=str(folder))
    assert receiver.look(wanted).strange == ()
    (folder / "rows.csv").touch()
    assert receiver.look(wanted).strange == ("rows.csv",)


def test_a_folder_is_reached_by_others_whatever_the_mask_of_the_run(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.make_way(str(tmp_path / "one" / "two"))
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("one", "one/two")] == [0o755, 0o755]


def said(**changed: Any) -> dict[str, Any]:
    good = {
        "standbys": [{"name": "backup_1", "role": "receiver", "state": "streaming", "sync": "quorum", "tls": True}],
        "slots": {"backup_1": {"active": True, "status": "reserved"}},
        "role": {"replication": True, "more": False},
        "waits": "ANY 1 (backup_1)",
        "until": "on",
    }
    return {**good, **changed}


@pytest.mark.parametrize(
    ("changed", "commits", "wrong"),
    [
        ({}, WAIT, 0),
        ({"standbys": []}, WAIT, 3),
        # It neither comes nor gets anything; and commits wait, which was not wanted.
        ({"standbys": []}, PROCEED, 3),
        ({"standbys": [{"name": "backup_1", "role": "receiver", "state": "streaming", "sync": "async", "tls": True}], "waits": ""}, WAIT, 2),
        ({"standbys": [{"name": "backup_1", "role": "receiver", "state": "streaming", "sync": "async", "tls": True}], "waits": ""}, PROCEED, 0),
        ({"standbys": [{"name": "backup_1", "role": "replicator", "state": "streaming", "sync": "sync", "tls": False}]}, WAIT, 1),
        ({"standbys": [{"name": "backup_1", "role": "receiver", "state": "catchup", "sync": "quorum", "tls": True}]}, WAIT, 1),
        ({"slots": {}}, WAIT, 1),
        ({"slots": {"backup_1": {"active": False, "status": "lost"}}}, WAIT, 1),
        ({"role": {"replication": True, "more": True}}, WAIT, 1),
        ({"role": None}, WAIT, 1),
        ({"until": "local"}, WAIT, 1),
        ({}, PROCEED, 1),
    ],
    ids=str,
)
def test_what_the_server_says_is_judged_by_what_was_wanted(changed: dict[str, Any], commits: str, wrong: int) -> None:
    checks = judged(said(**changed), ["backup_1"], "receiver", commits)
    assert sum(check.verdict != PASS for check in checks) == wrong, checks


def test_the_policy_is_told_in_words() -> None:
    assert policy("", "on", ["a"]).startswith("they go on")
    assert policy("ANY 1 (db2)", "on", ["a"]).startswith("they go on")
    assert policy("ANY 1 (a)", "on", ["a"]).startswith("they wait until a is back")
    assert policy("ANY 1 (db2, a)", "on", ["a"]).startswith("they wait until a or db2 is back")
    assert policy("a", "on", ["a"]).startswith("they wait until a is back")
    assert policy("*", "on", ["a"]).startswith("they wait until a is back")
    assert policy("ANY 1 (a)", "remote_write", ["a"]).startswith("they do not wait as they should")
