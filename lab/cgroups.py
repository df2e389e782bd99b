"""The lab's folders in the machine's control group hierarchies, version 1, 2 or both at once.

Every process of a lab is in a folder of the lab in the version 2 hierarchy (or, without one, in that of "pids"), so whatever
happened to its pid file, it is found there.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from lab import processes
from lab.errors import LabError


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy: its mount point, and whether it is version 2."""

    path: Path
    unified: bool


def hierarchies() -> list[Hierarchy]:
    """All hierarchies of this machine."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _source, point, kind = line.split()[:3]
        if kind in ("cgroup", "cgroup2"):
            found.append(Hierarchy(Path(point), kind == "cgroup2"))
    if not found:
        raise LabError("no control groups are mounted on this machine: the kubelet cannot run")
    return found


def _home() -> Hierarchy:
    known = hierarchies()
    for wanted in known:
        if wanted.unified:
            return wanted
    for wanted in known:
        if wanted.path.name == "pids":
            return wanted
    return known[0]


def create(relative: str) -> None:
    """Make a folder, and those above it, in every hierarchy, ready to hold containers."""
    for hierarchy in hierarchies():
        folder = hierarchy.path
        for part in relative.split("/"):
            above, folder = folder, folder / part
            if hierarchy.unified:
                _delegate(above)
            folder.mkdir(exist_ok=True)
            for kind in ("cpus", "mems"):  # version 1 starts them empty, and an empty set holds no process
                own = folder / f"cpuset.{kind}"
                if not hierarchy.unified and own.exists() and not own.read_text().strip():
                    own.write_text((above / f"cpuset.{kind}").read_text())


def _delegate(folder: Path) -> None:
    controllers = (folder / "cgroup.controllers").read_text().split()
    active = (folder / "cgroup.subtree_control").read_text().split()
    missing = [f"+{name}" for name in controllers if name not in active]
    if missing:
        (folder / "cgroup.subtree_control").write_text(" ".join(missing))


def entrance(relative: str) -> Path:
    """The file to write a process number to, so that the process and all that it starts belong to the folder."""
    folder = _home().path / relative
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "cgroup.procs"


def entrances(relative: str) -> list[Path]:
    """The same for every hierarchy at once: limits of devices and memory are set in folders of version 1, where a machine has them."""
    create(relative)
    return [hierarchy.path / relative / "cgroup.procs" for hierarchy in hierarchies()]


def members(relative: str) -> set[int]:
    """Numbers of all living processes in the folder and below, in any hierarchy."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for folder in tree(hierarchy.path / relative):
            try:
                found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
            except OSError:  # the folder went while we looked
                continue
    return {pid for pid in found if pid and processes.start_time(pid) is not None}


def tree(top: Path) -> list[Path]:
    """The folder and all below it, those above first. A kubelet or a systemd may remove some of them meanwhile."""
    return [Path(folder) for folder, _folders, _files in os.walk(top)]


def kill(relative: str, seconds: float = 10) -> None:
    """End all processes in the folder and below. Raises LabError when one survives."""
    deadline = time.monotonic() + seconds
    while True:
        switch = _home().path / relative / "cgroup.kill"
        if switch.exists():
            switch.write_text("1")
        left = members(relative)
        for pid in left:
            processes.kill(pid)
        if not left:
            return
        if time.monotonic() > deadline:
            raise LabError(f"processes that do not end: {sorted(left)}")
        time.sleep(0.02)


def remove(relative: str, seconds: float = 5) -> None:
    """Remove the folder from every hierarchy; its processes must have ended. Raises LabError when the kernel keeps it busy."""
    deadline = time.monotonic() + seconds
    left = [hierarchy.path / relative for hierarchy in hierarchies()]
    while left:
        left = [top for top in left if not _removed(top)]
        if left and time.monotonic() > deadline:
            raise LabError(f"control group folders that stay busy: {', '.join(map(str, left))}")
        if left:
            time.sleep(0.02)


def _removed(top: Path) -> bool:
    for folder in reversed(tree(top)):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def exists(relative: str) -> bool:
    """Whether any hierarchy has the folder."""
    return any((hierarchy.path / relative).is_dir() for hierarchy in hierarchies())


def folders(pattern: str) -> set[str]:
    """Names of the top folders that match a glob pattern, over all hierarchies."""
    return {path.name for hierarchy in hierarchies() for path in hierarchy.path.glob(pattern) if path.is_dir()}
