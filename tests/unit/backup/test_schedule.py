"""A schedule: units that systemd itself accepts, a program that runs without Ansible, and what is said when runs stay away. No timer is installed here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup import reading, scheduling
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import history, runner
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.history import History
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.job import Observed, _planned, _removal
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.live import Live, Seen, _instant, calendar_of, periods
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.units import File, refuse_late, wish_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.watch import problems_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from ansible_collections.paas.hardening.plugins.module_utils._host.archive import archive
from tests.backup.asking import key_file, parameters
from tests.quality.checkout import ROOT

# A Python without Ansible and without anything else that is not its own.
BARE = [shutil.which("python3", path="/usr/bin:/bin") or "python3", "-I", "-S"]
NOW = 1_000_000.0
HOUR = 3600.0


def options(folder: Path, **changed: Any) -> dict[str, Any]:
    given = {
        "repository": str(folder / "repository"),
        "signing_key_file": key_file(folder),
        "kinds": ["etcd"],
        "state": "scheduled",
        "schedule": {"on_calendar": "*-*-* 02:30:00"},
    }
    return parameters(scheduling.VERB, {**given, **changed})


def wished(**changed: Any) -> tuple[File, ...]:
    given = {**options(Path("/srv"), signing_key_file="/srv/key", **changed)}
    return wish_of(given, scheduling.ARGUMENTS, "/usr/bin/python3").files(b"PK program", "/home/of it")


def seen(wanted: tuple[File, ...], **changed: Any) -> Live:
    there = {file.path: Seen(file.content, file.mode, file.owner, NOW - HOUR) for file in wanted}
    whole = Live(there, True, True, False, False, "success", NOW + HOUR, 0.0, (), None, 24 * HOUR)
    return replace(whole, **changed)


PLACES = wish_of(options(Path("/srv"), signing_key_file="/srv/key"), scheduling.ARGUMENTS, "/usr/bin/python3").places


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    files = wished(schedule={"on_calendar": "Mon..Fri 02:30", "on_failure": "tell-somebody.service", "account": "root"})
    for file in files[2:]:
        # What it starts has to be there; what it says is what is judged.
        content = file.content.replace(b"/usr/local/lib/paas-hardening/", f"{tmp_path}/".encode())
        (tmp_path / Path(file.path).name).write_bytes(content)
    units = [str(tmp_path / Path(file.path).name) for file in files[2:]]
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert [line for line in said.stderr.splitlines() if "paas-hardening-backup" in line and "tell-somebody" not in line] == []


def test_only_who_restores_files_may_make_what_files_can_be() -> None:
    etcd, files = (wished(kinds=kinds)[2].content.decode() for kinds in (["etcd"], ["volumes"]))
    for line in ("PrivateDevices=yes", "RestrictSUIDSGID=yes"):
        assert (line in etcd, line in files) == (True, False)
    assert ("CAP_MKNOD" in etcd, "CAP_MKNOD" in files) == (False, True)


def test_units_hold_no_secret_and_no_option_and_the_options_are_for_their_account_only() -> None:
    program, document, service, timer = wished(schedule={"on_calendar": "daily", "account": "keeper"}, repository="/srv/50% of $all/points")
    assert (document.mode, document.owner) == (0o600, "keeper")
    assert (program.owner, service.mode, timer.mode) == ("root", 0o644, 0o644)
    text = service.content.decode()
    assert 'ReadWritePaths="/srv/50%% of $all"' in text
    assert 'Environment="HOME=/home/of it"' in text
    assert "CapabilityBoundingSet=\n" in text
    assert b"Persistent=true" in timer.content
    assert json.loads(document.content)["options"]["repository"] == "/srv/50% of $all/points"
    assert "schedule" not in json.loads(document.content)["options"]


@pytest.mark.parametrize(
    ("changed", "option"),
    [
        ({"schedule": {"on_calendar": "daily\nExecStart=/bin/sh"}}, "schedule"),
        ({"schedule": {}}, "schedule"),
        ({"schedule": {"on_calendar": "daily", "name": "../x"}}, "schedule.name"),
        ({"schedule": {"on_calendar": "daily", "on_failure": "x.service\nUser=root"}}, "schedule.on_failure"),
        ({"schedule": {"on_calendar": "daily", "timeout": "soon"}}, "schedule.timeout"),
        ({"schedule": {"on_calendar": "daily", "volume_claim": "points"}}, "schedule.volume_claim"),
        ({"kinds": ["objects"]}, "cluster.kubeconfig"),
        ({"kinds": ["objects"], "cluster": {"kubeconfig": {"apiVersion": "v1"}}}, "cluster.kubeconfig"),
        ({"kinds": ["volumes"], "schedule": {"on_calendar": "daily", "account": "keeper"}}, "schedule.account"),
        ({"repository": "/tmp/points"}, "repository"),
        ({"repository": "/var/tmp/points"}, "repository"),
    ],
    ids=[
        "a line more",
        "no time",
        "a path for a name",
        "a unit with a line more",
        "no length of time",
        "a claim and no image",
        "no kubeconfig",
        "a secret",
        "files of others",
        "in /tmp",
        "in /var/tmp",
    ],
)
def test_what_a_timer_cannot_do_is_refused(changed: Mapping[str, Any], option: str) -> None:
    with pytest.raises(Invalid) as refusal:
        wished(**changed)
    assert refusal.value.subject == option


def test_the_plan_is_every_difference_and_nothing_else() -> None:
    files = wished()
    nothing = Live({}, False, False, False, False, "", 0.0, 0.0, (), None)
    assert [(change.ref.name, change.field) for change in _planned(PLACES, Observed(NOW, nothing, files)).changes] == [
        *((file.path, name) for file in files for name in ("content", "mode", "owner")),
        (PLACES.timer, "state"),
    ]
    whole = seen(files)
    assert not _planned(PLACES, Observed(NOW, whole, files))
    for changed, fields in (
        ({"active": False}, ["state"]),
        ({"enabled": False}, ["state"]),
        ({"stale": True}, ["state"]),
        ({"files": {**whole.files, files[1].path: Seen(files[1].content, 0o644, "root", NOW)}}, ["mode"]),
        ({"files": {**whole.files, files[3].path: Seen(b"other", 0o644, "root", NOW)}}, ["content", "state"]),
        ({"files": {**whole.files, files[0].path: Seen(b"PK older", 0o644, "root", NOW)}}, ["content"]),
    ):
        plan = _planned(PLACES, Observed(NOW, replace(whole, **changed), files))
        assert [change.field for change in plan.changes] == fields


def test_a_removal_begins_with_the_timer_and_waits_for_a_run() -> None:
    whole = seen(wished(), left=(PLACES.state,))
    plan = _removal(PLACES, Observed(NOW, whole, ()))
    assert [change.ref.name for change in plan.changes] == [
        PLACES.timer,
        PLACES.timer_file,
        PLACES.service_file,
        PLACES.options_file,
        PLACES.program,
        PLACES.state,
    ]
    assert not _removal(PLACES, Observed(NOW, Live({}, False, False, False, False, "", 0.0, 0.0, (), None), ()))
    with pytest.raises(Refused, match="is at work"):
        _removal(PLACES, Observed(NOW, replace(whole, running=True), ()))


def last(began: float, succeeded: float, outcome: str = history.SUCCEEDED) -> History:
    return History(NOW - began, NOW - began + 60, NOW - succeeded if succeeded else 0.0, outcome, True, "p", "etcd does not answer.")


# What is the matter, and a word of what is said of it; nothing for a schedule that is well. It goes off each 24 h.
SILENCE: Mapping[str, tuple[dict[str, Any], str]] = {
    "well": ({"last": last(20 * HOUR, 20 * HOUR)}, ""),
    "new": ({}, ""),
    "at work": ({"last": last(60, 24 * HOUR, history.RUNNING), "running": True}, ""),
    "late within the tolerance": ({"last": last(29 * HOUR, 29 * HOUR)}, ""),
    "missed": ({"last": last(31 * HOUR, 31 * HOUR)}, "the last run that succeeded ended 31.0 h ago"),
    "failed": ({"last": last(HOUR, 24 * HOUR, history.FAILED)}, "failed: etcd does not answer."),
    "killed": ({"last": last(HOUR, 24 * HOUR, history.RUNNING)}, "never came to its end"),
    "did not start": ({"last": last(24 * HOUR, 24 * HOUR), "result": "exit-code"}, "ended with exit-code"),
    "off": ({"active": False}, "the timer is off"),
    "off after a reboot": ({"enabled": False}, "not enabled"),
    "a date that is over": ({"next": 0.0}, "never goes off again"),
    "gone": ({"files": {}}, "there is no such schedule"),
}


@pytest.mark.parametrize("name", SILENCE)
def test_silence_is_told(name: str) -> None:
    changed, word = SILENCE[name]
    found = [problem.what for problem in problems_of(PLACES, seen(wished(), **changed), 0.0, NOW)]
    assert len(found) == (1 if word else 0), found
    assert not word or word in found[0]


def test_one_that_never_ran_is_told_after_its_time() -> None:
    assert problems_of(PLACES, seen(wished()), HOUR / 2, NOW)[0].what == "no run has succeeded for 60.0 min"


@pytest.mark.parametrize(
    ("calendar", "shortest", "longest"),
    [("daily", 24, 24), ("Mon..Fri 02:30", 24, 72), ("*-*-* 0/6:00:00", 6, 6), ("2099-01-01 00:00:00", 0, 0)],
    ids=["daily", "workdays", "four times a day", "once"],
)
def test_systemd_says_how_often_a_run_comes(calendar: str, shortest: float, longest: float) -> None:
    assert periods(calendar) == (shortest * HOUR, longest * HOUR)
    assert calendar_of(wished(schedule={"on_calendar": calendar})[3].content) == calendar


@pytest.mark.parametrize("calendar", ["every night", "2001-01-01 00:00:00"], ids=["no time", "a time that is over"])
def test_a_time_that_never_comes_is_refused(calendar: str) -> None:
    with pytest.raises(Invalid, match="does not understand, or which never comes"):
        periods(calendar)


def test_a_point_that_is_still_young_at_the_next_run_is_no_schedule() -> None:
    for age, refused in (("24h", True), ("1430m", False), ("1431m", True), ("1h", False)):
        with pytest.raises(Invalid, match="give a max_age below") if refused else contextlib.nullcontext():
            refuse_late(age, 24 * HOUR, 600, "the timer goes off")


def test_a_server_that_is_empty_for_the_first_run_only_is_no_schedule() -> None:
    given: dict[str, Any] = {"kinds": ["objects"], "cluster": {"kubeconfig": "/etc/paas/kubeconfig"}}
    with pytest.raises(Invalid, match=r"objects\.empty_server serves one proof"):
        wished(**given, objects={"empty_server": "/etc/paas/empty"})
    assert b'"apiserver_folder": "/opt/kubernetes"' in b"".join(file.content for file in wished(**given, objects={"apiserver_folder": "/opt/kubernetes"})[:2])


def test_times_of_systemctl_are_read_in_both_ways() -> None:
    zone = os.environ.get("TZ")
    assert (_instant("@1764000000"), _instant(""), _instant("n/a")) == (1764000000.0, 0.0, 0.0)
    assert zone is not None or abs(_instant("Mon 2025-11-24 16:00:00 UTC") - 1764000000.0) <= 86400


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "backup.pyz"
    path.write_bytes(archive(runner.__name__))
    return path


def started(program: Path, folder: Path, *words: str, **changed: Any) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in options(folder, **changed).items() if name not in ("state", "schedule")}
    document = folder / "options.json"
    document.write_text(json.dumps({"options": given, "state": str(folder)}))
    return subprocess.run([*BARE, program, *words, document], capture_output=True, text=True, check=False, env={"PATH": "/nowhere"}, cwd="/")


def test_the_program_is_the_same_each_time_and_needs_no_ansible(program: Path, tmp_path: Path) -> None:
    assert archive(runner.__name__) == program.read_bytes()
    ready = started(program, tmp_path, "--look")
    assert (ready.returncode, ready.stdout, ready.stderr) == (0, "ready\n", "")
    Path(key_file(tmp_path)).chmod(0o644)
    refused = started(program, tmp_path, "--look")
    assert (refused.returncode, "is open to other users" in refused.stdout) == (1, True)


def test_the_program_is_the_same_where_ansible_loads_the_collection(program: Path, tmp_path: Path) -> None:
    main = f"""
import sys
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
_AnsibleCollectionFinder([sys.argv[1]])._install()
from {archive.__module__} import archive
sys.stdout.buffer.write(archive({runner.__name__!r}))
"""
    words = [sys.executable, "-c", main, str(ROOT / ".cache")]
    assert subprocess.run(words, cwd=tmp_path, check=True, capture_output=True).stdout == program.read_bytes()


def test_a_run_that_fails_says_so_and_keeps_what_is_known_of_the_last_good_one(program: Path, tmp_path: Path) -> None:
    history.write(str(tmp_path), History(1.0, 2.0, 2.0, history.SUCCEEDED, True, "00000001-0a0a0a0a", ""))
    done = started(program, tmp_path)
    assert done.returncode == 1
    told = history.read(str(tmp_path))
    assert told is not None
    assert (told.outcome, told.succeeded, told.point) == (history.FAILED, 2.0, "00000001-0a0a0a0a")
    assert "etcd" in told.message
    assert told.message in done.stdout
    (tmp_path / history.FILE).write_text("{")
    with pytest.raises(Failure, match="cannot be understood"):
        history.read(str(tmp_path))


def test_the_catalogue_tells_of_a_schedule_that_is_not_there(tmp_path: Path) -> None:
    given = {"repository": str(tmp_path / "repository"), "signing_key_file": key_file(tmp_path), "schedule": "nobody-made-this"}
    told = run(reading.VERB.begin, parameters(reading.VERB, given), check=False, diff=False)
    if Path("/run/systemd/system").is_dir():
        assert "there is no such schedule" in str(told["problems"])
    else:
        assert "does not run systemd" in told["msg"]
