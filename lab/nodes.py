"""Nodes: the machines that a kubelet runs on."""

from __future__ import annotations

import os
from pathlib import Path

from lab import cgroups, locks
from lab.addresses import node_name
from lab.layout import Layout
from lab.machines import Machine

KUBELET_FOLDER = Path("/var/lib/kubelet")
_MADE_BY_US = "trusted.paas_lab"


def machine(layout: Layout, number: int) -> Machine:
    """A node as a machine."""
    addresses = layout.addresses
    return Machine(node_name(number), layout.name, layout.node(number), addresses.cgroup(number), addresses.plug(number), addresses.bridge)


def init_pid(layout: Layout, number: int) -> int | None:
    """Number of the node's first process on this machine, or None when the node is down."""
    return machine(layout, number).init_pid()


def start(layout: Layout, number: int) -> None:
    """Start a node whose files are written. Does nothing when it runs. Raises LabError when its first process ends at once."""
    node = machine(layout, number)
    if not node.init_pid():
        # first the group, which tells others that the folder is in use
        cgroups.create(node.group)
        _claim_kubelet_folder()
        node.start()


def stop(layout: Layout, number: int) -> None:
    """Cut a node's power: all its processes at once, then its cable and its control groups. Its state stays."""
    machine(layout, number).stop()


def component_pid(layout: Layout, number: int, component: str) -> int | None:
    """Number of a daemon's process on this machine, or None when it does not run just now."""
    return machine(layout, number).component_pid(component)


def components(layout: Layout, number: int) -> dict[str, bool]:
    """The daemons of a node, and whether each is wanted."""
    return machine(layout, number).components()


def want(layout: Layout, number: int, component: str, wanted: bool) -> None:
    """Tell the node's supervisor to run a daemon, or to end it and leave it. Raises LabError when the node has no such daemon."""
    machine(layout, number).want(component, wanted)


def reload(layout: Layout, number: int) -> None:
    """Let the node's supervisor read its list of daemons again."""
    machine(layout, number).reload()


def inside(layout: Layout, number: int, *command: str | Path) -> list[str]:
    """The command line that runs a command inside a node; it starts at /. Raises LabError when the node is down."""
    return machine(layout, number).inside(*command)


def _claim_kubelet_folder() -> None:
    with locks.machine():
        if not KUBELET_FOLDER.exists():
            KUBELET_FOLDER.mkdir(parents=True)
            os.setxattr(KUBELET_FOLDER, _MADE_BY_US, b"1")


def release_kubelet_folder() -> None:
    """Remove the mount point that the kubelet insists on, if a lab made it and no lab of this machine uses it any more."""
    with locks.machine():
        if cgroups.folders("plab[0-9]") or not KUBELET_FOLDER.exists():
            return
        if made_kubelet_folder() and not any(KUBELET_FOLDER.iterdir()):
            KUBELET_FOLDER.rmdir()


def made_kubelet_folder() -> bool:
    """Whether the mount point on this machine was made by a lab."""
    return _MADE_BY_US in os.listxattr(KUBELET_FOLDER)
