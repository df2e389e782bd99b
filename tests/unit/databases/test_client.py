"""Which client programs are taken, and which servers they cannot serve."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import MissingDependency, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, find


def client(version: int) -> Client:
    return Client("/somewhere", version)


@pytest.mark.parametrize(
    ("mine", "target", "source"), [(150018, 150001, 90426), (150018, 150018, 150018), (150018, 140000, 110022), (180006, 170010, 150018), (160001, 0, 90624)]
)
def test_programs_that_fit(mine: int, target: int, source: int) -> None:
    client(mine).require(target, source)


@pytest.mark.parametrize(
    ("mine", "target", "source", "complaint"),
    [
        (150018, 180006, 110022, "of PostgreSQL 15, the target is 18"),
        (150018, 0, 180006, "of PostgreSQL 15, the source is 18"),
        (90624, 90624, 100001, "of PostgreSQL 9.6, the source is 10"),
        (150018, 90624, 110022, "The target is PostgreSQL 9.6, the source 11"),
        (150018, 90426, 90624, "The target is PostgreSQL 9.4, the source 9.6"),
        (180006, 150018, 110022, "pg_restore of PostgreSQL 18 sets a parameter that the target, 15, does not know"),
    ],
)
def test_programs_that_do_not_fit_are_refused_with_both_versions(mine: int, target: int, source: int, complaint: str) -> None:
    with pytest.raises(Refused, match=complaint) as caught:
        client(mine).require(target, source)
    assert caught.value.hint


def programs(folder: pathlib.Path, version: str, *names: str) -> pathlib.Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f'#!/bin/sh\necho "{name} (PostgreSQL) {version}"\n')
        (folder / name).chmod(0o755)
    return folder


ALL = ("psql", "pg_dump", "pg_restore")


@pytest.mark.parametrize(
    ("said", "version"), [("18.6", 180006), ("17.10 (Debian 17.10-1.pgdg120+1)", 170010), ("9.6.24", 90624), ("19devel", 190000), ("18beta2", 180000)]
)
def test_a_version_is_read(tmp_path: pathlib.Path, said: str, version: int) -> None:
    folder = programs(tmp_path / "bin", said, *ALL)
    assert find(str(folder)) == Client(str(folder), version)


def test_of_several_the_targets_version_is_taken_else_the_newest(tmp_path: pathlib.Path) -> None:
    places = [programs(tmp_path / version, version, *ALL) for version in ("9.6.24", "95.2", "97.1", "96.4")]
    before = os.environ["PATH"]
    try:
        os.environ["PATH"] = os.pathsep.join([*map(str, places), before])
        assert find().version == 970001
        assert find(target=950007).version == 950002
        assert find(target=930000).version == 970001
    finally:
        os.environ["PATH"] = before


def test_a_folder_without_all_of_them_does_not_count(tmp_path: pathlib.Path) -> None:
    folder = programs(tmp_path / "bin", "15.1", "psql", "pg_dump")
    with pytest.raises(MissingDependency, match=str(folder)) as caught:
        find(str(folder), 150018)
    assert "postgresql-client-15" in caught.value.hint


@pytest.mark.parametrize("said", ["(SomethingElse) 15.1", "nothing"])
def test_what_gives_no_version_does_not_count(tmp_path: pathlib.Path, said: str) -> None:
    folder = programs(tmp_path / "bin", "15.1", *ALL)
    (folder / "pg_restore").write_text(f"#!/bin/sh\necho '{said}'\n")
    with pytest.raises(MissingDependency):
        find(str(folder))


def test_programs_of_debian_that_choose_by_themselves_are_passed_over(tmp_path: pathlib.Path) -> None:
    folder = programs(tmp_path / "bin", "15.1", "pg_wrapper")
    for name in ALL:
        (folder / name).symlink_to(folder / "pg_wrapper")
    with pytest.raises(MissingDependency):
        find(str(folder))
