"""Killed, or refused by the system, at any call of making, publishing and removing a point: what was there before still counts, and the next run heals."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from tests.backup.faults import run_with
from tests.perf import figures
from tests.proof import Measured
from tests.unit.backup.points import make, publish

Share = Callable[[int, int], int]
ERRNOS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EMFILE", "EINTR", "EACCES")
# What is refused where: a close that fails tells of a write that failed, and is not retried.
REFUSED = ("openat", "mkdir", "rename", "write", "fsync", "unlinkat", "ftruncate", "pwrite64", "flock")
WORKS = ("first", "next", "remove", "sweep")


def prepared(folder: Path, work: str) -> Catalogue:
    """A repository as it is before the work: empty, with points, or with what an interrupted run left."""
    catalogue = make(folder, 0 if work == "first" else 2) if work != "first" else Catalogue(str(folder), make(folder.parent / "keys", 1).keys)
    if work == "sweep":
        left = folder / "work/point-00000003-aaaaaaaa/etcd"
        left.mkdir(parents=True)
        (left / "snapshot.db").write_bytes(bytes(5000))
    return catalogue


def do(catalogue: Catalogue, work: str) -> None:
    with catalogue.writing(Deadline(5)) as writer:
        if work == "remove":
            writer.remove(catalogue.read().points[0])
        elif work != "sweep":
            publish(writer, catalogue, 900_000.0, (3000, 0, 70_000))


def judge(catalogue: Catalogue, work: str, before: list[str], about: str) -> None:
    """What must hold after any fault: old points prove, nothing half is listed, and the same work then succeeds."""
    listing = catalogue.read()
    assert listing.damaged == (), about
    now = [point.identifier for point in listing.points]
    expected = {"first": ([], 1), "next": (before, 3), "remove": (before[1:], 1), "sweep": (before, 2)}[work]
    assert [name for name in expected[0] if name not in now] == [], about
    assert len(now) <= max(len(before), expected[1]), about
    for point in listing.points:
        catalogue.verify(point)
    left = len(now)
    if work == "remove" and left == 1:
        with catalogue.writing(Deadline(5)):
            pass
    else:
        do(catalogue, work)
    healed = catalogue.read()
    assert (healed.damaged, healed.leftovers) == ((), ()), about
    assert len(healed.points) == (left + 1 if work in ("first", "next") else 1 if work == "remove" else left), about
    for point in healed.points:
        catalogue.verify(point)


def boundaries(tmp_path: Path, work: str) -> list[tuple[str, int]]:
    """The calls that the work makes."""
    catalogue = prepared(tmp_path / "counted", work)
    before = [point.identifier for point in catalogue.read().points]
    status, calls = run_with("", lambda: do(catalogue, work), tmp_path / "log")
    assert status == 0
    judge(catalogue, work, before, "without a fault")
    return calls


def attempt(folder: Path, work: str, inject: str) -> tuple[int, Catalogue, list[str]]:
    folder.mkdir()
    catalogue = prepared(folder / "repository", work)
    before = [point.identifier for point in catalogue.read().points]
    status, _count = run_with(inject, lambda: do(catalogue, work), folder / "log")
    return status, catalogue, before


@pytest.mark.parametrize("work", WORKS)
def test_killed_at_any_call(tmp_path: Path, work: str, share: Share, measured: Measured) -> None:
    calls = boundaries(tmp_path, work)
    chosen = random.Random(work).sample(calls, min(len(calls), share(8, len(calls))))
    killed = 0
    for position, (name, number) in enumerate(chosen):
        folder = tmp_path / f"case{position}"
        status, catalogue, before = attempt(folder, work, f"{name}:signal=KILL:when={number}")
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        judge(catalogue, work, before, f"killed at {name} {number}")
        shutil.rmtree(folder)
    # The fault must have happened, or nothing was shown.
    assert killed == len(chosen)
    measured(figures.told(f"{work}: killed at system calls, and nothing lost", killed, f"of {len(calls)}"))


@pytest.mark.parametrize("work", WORKS)
def test_refused_at_any_call(tmp_path: Path, work: str, share: Share, measured: Measured) -> None:
    calls = [call for call in boundaries(tmp_path, work) if call[0] in REFUSED]
    cases = [(error, *call) for error in ERRNOS for call in calls]
    chosen = random.Random(work).sample(cases, min(len(cases), share(8, len(cases))))
    fired = 0
    for position, (error, name, number) in enumerate(chosen):
        folder = tmp_path / f"case{position}"
        _status, catalogue, before = attempt(folder, work, f"{name}:error={error}:when={number}")
        fired += "(INJECTED)" in (folder / "log").read_text()
        judge(catalogue, work, before, f"{error} at {name} {number}")
        shutil.rmtree(folder)
    assert fired == len(chosen)
    measured(figures.told(f"{work}: system calls refused, and nothing lost", fired, f"of {len(cases)}"))


@pytest.mark.parametrize("number", [1, 3, 6])
def test_cause_is_named_in_the_first_line(tmp_path: Path, number: int) -> None:
    """What the system refuses ends in a failure that names the cause, in the child as in any run."""
    catalogue = prepared(tmp_path / "repository", "next")
    told = tmp_path / "told"

    def work() -> None:
        try:
            do(catalogue, "next")
        except Failure as failure:
            told.write_text(failure.message)

    run_with(f"fsync:error=ENOSPC:when={number}", work, tmp_path / "log")
    assert os.strerror(errno.ENOSPC) in told.read_text().splitlines()[0]


def test_everything_is_flushed_before_it_is_published(tmp_path: Path) -> None:
    """A power cut may lose whatever was not flushed: each file and each folder that names one is, before the rename, and the rename itself after it."""
    catalogue = prepared(tmp_path / "repository", "next")
    run_with("", lambda: do(catalogue, "next"), tmp_path / "log")
    lines = (tmp_path / "log").read_text().splitlines()
    (rename,) = [number for number, line in enumerate(lines) if line.startswith("rename(") and "/points/" in line]
    staged = lines[rename].split('"')[1]
    flushed: dict[str, int] = {}
    made: dict[str, int] = {}
    opened: dict[str, str] = {}
    for number, line in enumerate(lines):
        if line.startswith("openat(") and "= " in line:
            opened[line.rsplit("= ", 1)[1].split()[0]] = line.split('"')[1]
            if "O_CREAT" in line:
                made[line.split('"')[1]] = number
        elif line.startswith("mkdir(") and line.endswith("= 0"):
            made[line.split('"')[1]] = number
        elif line.startswith("fsync("):
            path = opened[line.split("(")[1].split(")")[0]]
            # What counts is the last time before the rename, and any time after it.
            flushed[path if number < rename else f"after {path}"] = number
    inside = [path for path in made if path == staged or path.startswith(f"{staged}/")]
    assert len(inside) == 6
    for path in inside:
        assert flushed.get(path, -1) > made[path], path
        assert flushed.get(os.path.dirname(path), -1) > made[path] or path == staged, f"the folder of {path}"
    for name in ("points", "work"):
        assert f"after {tmp_path / 'repository' / name}" in flushed
