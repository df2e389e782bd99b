"""Taking labs down, whole or in pieces left by a crash, and looking for what they left."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import time
from pathlib import Path

from lab import allocation, cgroups, network, nodes, paths, processes
from lab.addresses import MAX_LABS, Addresses
from lab.errors import LabError


def lock(name: str) -> Path:
    """The file to lock while a lab is brought up or down. It lies outside the lab's folder, which may be removed."""
    return paths.labs() / f".{paths.lab(name).name}.lock"


def names() -> list[str]:
    """Labs of this cache that have state, or a bridge on this machine though their state is lost."""
    found = set(allocation.known())
    prefix = allocation.mark("")
    for index in range(MAX_LABS):
        owner = network.owner(Addresses(index).bridge) or ""
        if owner.startswith(prefix):
            found.add(owner.removeprefix(prefix))
    return sorted(found)


def take_down(name: str, purge: bool = False) -> None:
    """End everything of a lab; the caller holds its lock. Its state stays unless it is purged.

    Raises LabError when a process or a control group outlives every attempt.
    """
    for index in _numbers(name):
        addresses = Addresses(index)
        cgroups.kill(addresses.bridge)
        network.remove(addresses)
        cgroups.remove(addresses.bridge)
    nodes.release_kubelet_folder()
    folder = paths.lab(name)
    for note in [*folder.glob("node[1-9]/init.json"), *folder.glob("servers/*/init.json"), *folder.glob("hosts/*/init.json")]:
        note.unlink()
    if purge:
        _remove_tree(folder)


def _numbers(name: str) -> list[int]:
    """The number in the lab's state if nothing else took it meanwhile, and those of bridges with its mark."""
    kept = allocation.number_of(name)
    found = []
    for index in range(MAX_LABS):
        owner = network.owner(Addresses(index).bridge)
        if owner == allocation.mark(name) or (owner is None and index == kept):
            found.append(index)
    return found


def _remove_tree(folder: Path) -> None:
    for _attempt in range(50):  # the kernel may still be closing the last files
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(folder)  # for the error that says why


def traces(name: str, index: int) -> list[str]:
    """What is left of a lab on this machine, beside its state; empty when nothing is."""
    addresses, folder = Addresses(index), str(paths.lab(name))
    found = [f"process {pid} {processes.program(pid)}" for pid in sorted(cgroups.members(addresses.bridge) | _processes_of(folder))]
    found += [f"control group {addresses.bridge}"] if cgroups.exists(addresses.bridge) else []
    found += [f"device {path.name}" for path in Path("/sys/class/net").glob(f"{addresses.bridge}*")]
    for route in json.loads(processes.run(["ip", "-json", "-4", "route", "show", "table", "all"])):
        target = route.get("dst", "default")
        if target != "default" and ipaddress.IPv4Network(target, strict=False).overlaps(addresses.network):
            found.append(f"route {target}")
    found += [f"mount {line.split()[1]}" for line in Path("/proc/self/mounts").read_text().splitlines() if folder in line]
    if nodes.KUBELET_FOLDER.exists() and nodes.made_kubelet_folder() and not cgroups.folders("plab[0-9]"):
        found.append(f"folder {nodes.KUBELET_FOLDER}")
    return found


def _processes_of(folder: str) -> set[int]:
    """Processes that were started with a path of the lab."""
    found = set()
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(word.startswith(f"{folder}/") or f"={folder}/" in word for word in words):
                found.add(int(path.name))
    return found


def remove_cache() -> None:
    """Remove compiled programs and images as well. The labs must have been purged: raises LabError when one has state."""
    left = names()
    if left:
        raise LabError(f"labs still have state: {', '.join(left)}")
    shutil.rmtree(paths.cache(), ignore_errors=True)
