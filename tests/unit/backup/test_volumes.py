"""What speaks against a copy of a folder, before an engine is asked: writers at work, databases, and whoever uses what would be swapped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.volumes import busy
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.kind import Volumes, unexpected
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused


def nowhere(_host: str, _folders: object) -> str:
    return ""


def volumes(*folders: str, **changed: Any) -> Volumes:
    return Volumes({"folders": list(folders), "changing": [], "databases": [], "restic": None, "timeout": 60, **changed}, nowhere)


@pytest.mark.parametrize(
    "folders",
    [(), ("srv",), ("/",), ("/srv/a", "/srv/a/b"), ("/srv/a", "/srv/a/"), ("/srv/a\nb",)],
    ids=["none", "no whole path", "everything", "one in the other", "twice", "two lines"],
)
def test_folders_that_cannot_be_are_refused(folders: tuple[str, ...]) -> None:
    with pytest.raises(Invalid):
        volumes(*folders)


def test_what_may_change_is_what_was_named() -> None:
    assert unexpected([".", "logs", "logs/a.log", "plain"], ["logs/*"]) == [".", "plain"]
    assert unexpected(["logs", "logs/a.log"], ["logs/*"]) == []
    assert unexpected([".", "x.log"], ["*.log"]) == []
    assert unexpected(["a/.nfs0001"], []) == []
    assert unexpected(["a"], []) == ["a"]


@pytest.mark.parametrize("name", ["PG_VERSION", "ibdata1", "x/WiredTiger", "appendonlydir/a", "keycloak.mv.db", "member/snap/db", "nodes/0/node.lock"])
def test_a_database_that_nobody_named_is_refused(tmp_path: Path, name: str) -> None:
    place = tmp_path / "exports/claim" / name
    place.parent.mkdir(parents=True)
    place.touch()
    with pytest.raises(Refused, match="of a database"):
        volumes(str(tmp_path / "exports"))._judged(str(tmp_path / "exports"))
    assert volumes(str(tmp_path / "exports"), databases=[str(tmp_path / "exports/claim")])._judged(str(tmp_path / "exports")) >= 0


def test_whoever_works_in_a_folder_is_seen(tmp_path: Path) -> None:
    folder, beside = tmp_path / "data", tmp_path / "data2"
    for place in (folder, beside):
        (place / "inner").mkdir(parents=True)
    assert busy(str(folder)) == ""
    with subprocess.Popen(["sleep", "60"], cwd=folder / "inner") as standing:
        assert f"process {standing.pid} stands in it" in busy(str(folder))
        assert busy(str(beside)) == ""
        standing.kill()
    with (folder / "inner/file").open("w") as file, subprocess.Popen(["sleep", "60"], stdout=file) as writing:
        assert f"process {writing.pid} has a file in it open" in busy(str(folder))
        writing.kill()
    assert busy(str(folder)) == ""


def test_a_folder_that_a_container_has_mounted_is_seen(tmp_path: Path) -> None:
    """A mount in a namespace of its own, as a pod has it: nobody there stands in the folder, and no file is open."""
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    (folder / "claim").mkdir(parents=True)
    elsewhere.mkdir()
    script = f"mount --bind {folder}/claim {elsewhere} && echo ready && exec sleep 60"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, cwd="/", text=True) as container:
        try:
            assert container.stdout is not None
            assert container.stdout.readline() == "ready\n"
            assert f"is mounted at {elsewhere}" in busy(str(folder))
            assert busy(str(tmp_path / "other")) == ""
        finally:
            container.kill()
    assert os.geteuid() == 0
    assert busy(str(folder)) == ""
