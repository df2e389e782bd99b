"""State on disk, locks between processes, identity of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import allocation, locks, paths, processes
from lab.errors import CommandFailed, LabError


def test_the_cache_is_where_the_user_says(own_cache: Path) -> None:
    assert paths.cache() == own_cache
    assert paths.lab("one") == own_cache / "labs" / "one"


@pytest.mark.parametrize("name", ["", "Demo", "../x", "a/b", "1st", "a" * 31, "-x", "a b"])
def test_a_name_that_cannot_be_a_folder_or_a_label_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="no name for a lab"):
        paths.lab(name)


def test_writing_replaces_whole_files_for_the_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert paths.write(file, "one")
    assert not paths.write(file, "one")
    assert paths.write(file, "two")
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_broken_state_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "state").write_text('{"index": ')
    assert paths.read_json(tmp_path / "state") is None
    assert paths.read_json(tmp_path / "missing", 7) == 7


def test_a_lock_is_held_between_processes_and_dies_with_its_holder(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    code = "import sys, time; from pathlib import Path; from lab import locks\nwith locks.held(Path(sys.argv[1])):\n  print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=paths.CHECKOUT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        waited: list[str] = []

        def waiting() -> None:
            waited.append("yes")
            holder.kill()

        with locks.held(file, waiting):
            assert waited == ["yes"]


def test_a_process_is_known_only_as_long_as_it_is_that_very_process(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        processes.remember(note, sleeper.pid)
        assert processes.recall(note) == sleeper.pid
        kept = paths.read_json(note)
        for wrong in ({"started": kept["started"] - 1}, {"boot": "another"}, {"pid": os.getpid()}, {"pid": None}):
            paths.write_json(note, {**kept, **wrong})
            assert processes.recall(note) is None
        paths.write_json(note, kept)
        sleeper.kill()
        assert processes.wait_until(lambda: processes.recall(note) is None, 5)  # as a zombie too
    assert processes.recall(tmp_path / "missing") is None


def test_a_failed_command_says_what_it_said_but_not_what_it_was_given() -> None:
    with pytest.raises(CommandFailed, match="no luck") as caught:
        processes.run(["sh", "-c", "cat >/dev/null; echo no luck >&2; exit 3"], stdin="hidden-value", env={**os.environ, "X": "hidden-value"})
    assert caught.value.status == 3
    assert "hidden-value" not in str(caught.value)


def test_numbers_are_given_once_and_kept(own_cache: Path) -> None:
    assert allocation.number_of("one") is None
    for name, index in (("one", 4), ("two", 7)):
        paths.private_folder(own_cache / "labs" / name)
        paths.write_json(own_cache / "labs" / name / "lab.json", {"index": index})
    assert allocation.known() == {"one": 4, "two": 7}


def test_a_lab_of_an_older_format_is_refused_with_the_way_out(own_cache: Path) -> None:
    paths.private_folder(own_cache / "labs" / "old")
    paths.write_json(own_cache / "labs" / "old" / "lab.json", {"index": 9})
    with pytest.raises(LabError, match="--fresh"):
        allocation.allocate("old")
