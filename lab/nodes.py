"""Starting and stopping nodes. A node is a process tree in namespaces of its own (net, mount, pid, uts, ipc)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from lab import cgroups, locks, network, paths, processes
from lab.addresses import node_name
from lab.errors import LabError
from lab.layout import Layout

KUBELET_FOLDER = Path("/var/lib/kubelet")
_MADE_BY_US = "trusted.paas_lab"
# joins the control group folders given before "--", then becomes the command after it
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'


def init_pid(layout: Layout, number: int) -> int | None:
    """Number of the node's first process on this machine, or None when the node is down."""
    return processes.recall(layout.node(number) / "init.json")


def start(layout: Layout, number: int) -> None:
    """Start a node whose files are written. What a crash left of it is removed first. Does nothing when it runs.

    Raises LabError when its first process ends at once.
    """
    if init_pid(layout, number):
        return
    stop(layout, number)
    group = layout.addresses.cgroup(number)
    cgroups.create(group)
    _claim_kubelet_folder()
    folder = layout.node(number)
    log = layout.log(number, "supervisor")
    supervisor = Path(__file__).with_name("supervisor.py")
    command = [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        "-I",
        "-S",
        str(supervisor),
        str(folder),
    ]
    entrance = cgroups.entrance(f"{group}/daemons")
    # setsid --fork: not our child, so it neither dies with us nor stays as a zombie of a long test run
    with log.open("w") as output:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", _JOIN, "sh", str(entrance), "--", *command],
            check=True,
            cwd="/",
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    init = processes.wait_until(lambda: _first_process(group), 10, pause=0.01)
    if not init:
        raise LabError(f"{node_name(number)} of lab {layout.name} did not start", log)
    processes.remember(folder / "init.json", init)
    network.plug(layout.addresses, number, init)


def _first_process(group: str) -> int | None:
    for pid in cgroups.members(f"{group}/daemons"):
        if processes.program(pid) == "unshare":
            return next((child for child in processes.children(pid) if processes.program(child) != "unshare"), None)
    return None


def stop(layout: Layout, number: int) -> None:
    """Cut a node's power: all its processes at once, then its cable and its control groups. Its state stays."""
    group = layout.addresses.cgroup(number)
    init = init_pid(layout, number)
    if init:
        processes.kill(init)
    cgroups.kill(group)
    network.unplug(layout.addresses, number)
    cgroups.remove(group)
    (layout.node(number) / "init.json").unlink(missing_ok=True)


def component_pid(layout: Layout, number: int, component: str) -> int | None:
    """Number of a daemon's process on this machine, or None when it does not run just now."""
    init = init_pid(layout, number)
    found = [pid for pid in processes.children(init) if processes.program(pid) == component] if init else []
    return found[0] if found else None


def components(layout: Layout, number: int) -> dict[str, bool]:
    """The daemons of a node, and whether each is wanted."""
    return {spec["name"]: spec["wanted"] for spec in paths.read_json(layout.node(number) / "components.json", [])}


def want(layout: Layout, number: int, component: str, wanted: bool) -> None:
    """Tell the node's supervisor to run a daemon, or to end it and leave it. Raises LabError when the node has no such daemon."""
    file = layout.node(number) / "components.json"
    specs = paths.read_json(file, [])
    chosen = [spec for spec in specs if spec["name"] == component]
    if not chosen:
        raise LabError(f"{node_name(number)} has no {component}; it has {', '.join(spec['name'] for spec in specs) or 'nothing'}")
    chosen[0]["wanted"] = wanted
    paths.write_json(file, specs)
    reload(layout, number)


def reload(layout: Layout, number: int) -> None:
    """Let the node's supervisor read its list of daemons again."""
    init = init_pid(layout, number)
    if init:
        os.kill(init, signal.SIGHUP)


def inside(layout: Layout, number: int, *command: str | Path) -> list[str]:
    """The command line that runs a command inside a node; it starts at /. Raises LabError when the node is down."""
    init = init_pid(layout, number)
    if not init:
        raise LabError(f"{node_name(number)} of lab {layout.name} is down: python -m lab up --name {layout.name}")
    return ["nsenter", "-t", str(init), "-m", "-p", "-n", "-u", "-i", "--", *map(str, command)]


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
