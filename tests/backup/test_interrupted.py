"""Killed, or refused by the system, at any call of making, publishing and removing a point: what was there before still counts, and the next run heals."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from tests.backup.faults import run_with
from tests.perf import figures
from tests.proof import Measured
from tests.unit.backup.points import make, publish, ring

Share = Callable[[int, int], int]
SEED = 5000
ERRNOS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EMFILE", "EINTR", "EACCES")
# What is refused where: a close that fails tells of a write that failed, and is not retried.
REFUSED = ("openat", "mkdir", "rename", "write", "fsync", "unlinkat", "ftruncate", "pwrite64", "flock")
# How many points there are before the work. A large one has about as many files as a point of all kinds.
WORKS = {"first": 0, "small": 2, "large": 2, "remove": 2, "prune": 6, "sweep": 2}
PUBLISHING = ("first", "small", "large")
SMALL, LARGE = (3000, 0, 70_000), (3000, 0, 70_000, *range(100, 2900, 50))
Case = tuple[str, str, str, int]


def templates(folder: Path) -> dict[str, Catalogue]:
    """For each work a repository as it is before: empty, with points, or with what an interrupted run left."""
    folder.mkdir()
    found = {work: make(folder / work, count) if count else Catalogue(str(folder / work), ring()) for work, count in WORKS.items()}
    left = folder.joinpath("sweep", "work", "point-00000003-aaaaaaaa", "etcd")
    left.mkdir(parents=True)
    (left / "snapshot.db").write_bytes(bytes(5000))
    return found


def copied(template: Catalogue, folder: Path) -> Catalogue:
    if os.path.exists(template.folder):
        shutil.copytree(template.folder, folder)
    return Catalogue(str(folder), template.keys)


def do(catalogue: Catalogue, work: str) -> None:
    with catalogue.writing(Deadline(5)) as writer:
        if work in PUBLISHING:
            publish(writer, catalogue, 900_000.0, LARGE if work == "large" else SMALL)
        elif work != "sweep":
            # As retention does it: from the last to the first, and never the newest.
            for point in reversed(catalogue.read().points[:-1]):
                writer.remove(point)


def judge(catalogue: Catalogue, work: str, before: list[str], about: str) -> None:
    """What must hold after any fault: old points prove, nothing half is listed, and the same work then succeeds."""
    listing = catalogue.read()
    assert listing.damaged == (), about
    now = [point.identifier for point in listing.points]
    if work in PUBLISHING or work == "sweep":
        assert now[: len(before)] == before, about
        assert len(now) <= len(before) + (work != "sweep"), about
    else:
        # A point that could not be read at that moment is not taken for one that may go.
        assert now[-1] == before[-1], about
        assert set(now) <= set(before), about
    for point in listing.points:
        catalogue.verify(point)
    do(catalogue, work)
    healed = catalogue.read()
    assert (healed.damaged, healed.leftovers) == ((), ()), about
    assert len(healed.points) == (len(now) + 1 if work in PUBLISHING else len(now) if work == "sweep" else 1), about
    for point in healed.points:
        catalogue.verify(point)


def cases_of(template: Catalogue, work: str, folder: Path) -> list[Case]:
    """Every boundary of a work: killed at each call, and refused by each error at each call that can be refused."""
    catalogue = copied(template, folder / f"counted {work}")
    before = [point.identifier for point in catalogue.read().points]
    status, calls = run_with("", lambda: do(catalogue, work), folder / "log")
    assert status == 0
    judge(catalogue, work, before, "without a fault")
    refused = [(work, f"error={error}", name, number) for error in ERRNOS for name, number in calls if name in REFUSED]
    return [*((work, "signal=KILL", name, number) for name, number in calls), *refused]


@pytest.mark.timeout(7200)
def test_killed_or_refused_at_any_call(tmp_path: Path, share: Share, measured: Measured, report: Callable[[str], None]) -> None:
    before_each = templates(tmp_path / "before")
    everything = [case for work, template in before_each.items() for case in cases_of(template, work, tmp_path)]
    chosen = random.Random(SEED).sample(everything, share(72, len(everything)))
    fired: Counter[str] = Counter()
    for position, (work, fault, name, number) in enumerate(chosen):
        folder = tmp_path / f"case{position}"
        folder.mkdir()
        catalogue = copied(before_each[work], folder / "repository")
        before = [point.identifier for point in catalogue.read().points]
        status, _calls = run_with(f"{name}:{fault}:when={number}", partial(do, catalogue, work), folder / "log")
        if fault == "signal=KILL":
            fired["killed"] += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        else:
            fired["refused"] += "(INJECTED)" in (folder / "log").read_text()
        judge(catalogue, work, before, f"{work}: {fault} at {name} {number}")
        shutil.rmtree(folder)
        if position % 500 == 499:
            report(f"{position + 1} of {len(chosen)} boundaries")
    # The fault must have happened, or nothing was shown; at the last calls of a work it may not, since one run makes a few more than the next.
    assert fired.total() >= 0.97 * len(chosen)
    note = f"killed {fired['killed']}, refused {fired['refused']}; the points before prove, none is half, the next run heals"
    measured(
        figures.at_least("boundaries of publishing and pruning survived", fired.total(), f"of {len(everything)}", share(69, 5000), note, seed=SEED),
    )


@pytest.mark.parametrize("number", [1, 3, 6])
def test_cause_is_named_in_the_first_line(tmp_path: Path, number: int) -> None:
    """What the system refuses ends in a failure that names the cause, in the child as in any run."""
    catalogue = make(tmp_path / "repository", 2)
    told = tmp_path / "told"

    def work() -> None:
        try:
            do(catalogue, "small")
        except Failure as failure:
            told.write_text(failure.message)

    run_with(f"fsync:error=ENOSPC:when={number}", work, tmp_path / "log")
    assert os.strerror(errno.ENOSPC) in told.read_text().splitlines()[0]


def test_everything_is_flushed_before_it_is_published(tmp_path: Path) -> None:
    """A power cut may lose whatever was not flushed: each file and each folder that names one is, before the rename, and the rename itself after it."""
    catalogue = make(tmp_path / "repository", 2)
    run_with("", lambda: do(catalogue, "small"), tmp_path / "log")
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
