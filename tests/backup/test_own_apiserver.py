"""The API server that a proof of objects starts for itself: real programs, ready, reached by nobody else, and gone without a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.apiserver import check, empty_server
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, MissingDependency, NotProven, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from lab import builds
from tests.backup.apiserver import PROGRAMS, linked


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Path:
    builds.ensure(PROGRAMS, report)
    return linked(tmp_path_factory.mktemp("programs"))


@contextmanager
def place(folder: Path) -> Iterator[str]:
    path = folder / "scratch"
    path.mkdir(mode=0o700)
    yield str(path)
    shutil.rmtree(path)


def options(folder: Path | None, server: str | None = None) -> dict[str, Any]:
    return {"apiserver_folder": str(folder) if folder else None, "empty_server": server}


def programs_in(folder: Path) -> list[str]:
    """What runs in a folder, or has run in it before that was removed."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd").startswith(str(folder)):
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return sorted(found)


def test_objects_are_made_in_it_and_nothing_stays(programs: Path, tmp_path: Path) -> None:
    for _time in range(2):
        # What one run made is not in the way of the next.
        with empty_server(options(programs), lambda: place(tmp_path), Deadline(120)) as server:
            assert server is not None
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "deis"}}
            assert server.connection.request("POST", "/api/v1/namespaces", body=body).status == 201
            assert [entry["metadata"]["name"] for entry in server.list("Node")] == []
            assert set(PROGRAMS) <= set(programs_in(tmp_path))
            assert os.stat(tmp_path / "scratch/tokens.csv").st_mode & 0o777 == 0o600
            token = (tmp_path / "scratch/tokens.csv").read_text().partition(",")[0]
            lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.path.exists(path)]
            assert [line for line in lines if token.encode() in line] == []
        assert programs_in(tmp_path) == []
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [Failure("stopped"), KeyboardInterrupt()])
def test_it_ends_with_a_proof_that_fails(programs: Path, tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises(type(failure)), empty_server(options(programs), lambda: place(tmp_path), Deadline(120)):
        raise failure
    assert programs_in(tmp_path) == []


def test_a_program_that_is_missing_is_named(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "etcd").symlink_to(programs / "etcd")
    with pytest.raises(MissingDependency, match=f"kube-apiserver is not in {tmp_path}"):
        check(options(tmp_path), "objects.")


def test_both_ways_or_a_file_that_is_none_are_refused(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"objects\.empty_server and objects\.apiserver_folder are both given"):
        check(options(programs, "/etc/hostname"), "objects.")
    with pytest.raises(Invalid, match="is no file"):
        check(options(None, str(tmp_path / "none")), "")
    check(options(None), "")
    with empty_server(options(None), lambda: place(tmp_path), Deadline(1)) as server:
        assert server is None


def test_a_server_that_ends_says_why(programs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "etcd").symlink_to(programs / "etcd")
    (folder / "kube-apiserver").write_text("#!/bin/sh\necho 'unknown flag: --secure-port'\nexit 3\n")
    (folder / "kube-apiserver").chmod(0o755)
    with (
        pytest.raises(NotProven, match="kube-apiserver ended with status 3: unknown flag"),
        empty_server(options(folder), lambda: place(tmp_path), Deadline(60)),
    ):
        pass
    assert programs_in(tmp_path / "scratch") == []


def test_a_server_that_is_not_ready_in_time_is_told(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(TimedOut, match="was not ready within"), empty_server(options(programs), lambda: place(tmp_path), Deadline(0.2)):
        pass
    assert programs_in(tmp_path) == []


def test_a_disk_that_is_full_is_named_before_and_after_the_start(programs: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    for size, failure, said in (("4k", Unavailable, "No space left"), ("64k", NotProven, r"etcd ended .*no space left on device")):
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)], check=True)
        try:
            if size == "4k":
                (small / "filler").write_bytes(b"x" * 4096)
            with pytest.raises(failure, match=said), empty_server(options(programs), lambda: place(small), Deadline(60)):
                pass
            assert programs_in(small) == []
        finally:
            subprocess.run(["umount", str(small)], check=True)
            small.rmdir()
