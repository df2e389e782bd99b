"""Machines of the lab: a node, or a server beside the cluster. Each is a process tree in namespaces of its own (net, mount, pid, uts, ipc) with one cable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import cgroups, network, paths, processes
from lab.errors import LabError

# joins the control group folders given before "--", then becomes the command after it
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class Machine:
    """One machine: its name, its lab's name, its state, its control group folder, this end of its cable, and the bridge that the cable leads to."""

    name: str
    lab: str
    folder: Path
    group: str
    cable: str
    bridge: str

    @property
    def note(self) -> Path:
        """Where its first process is remembered."""
        return self.folder / "init.json"

    def log(self, component: str) -> Path:
        """Log of a daemon; ``supervisor`` is the machine's first process."""
        return self.folder / "log" / f"{component}.log"

    def init_pid(self) -> int | None:
        """Number of the machine's first process on this machine, or None when it is down."""
        return processes.recall(self.note)

    def start(self) -> None:
        """Start the machine; its files are written already. What a crash left of it is removed first. Does nothing when it runs.

        Raises LabError when its first process ends at once.
        """
        if self.init_pid():
            return
        self.stop()
        cgroups.create(self.group)
        log = self.log("supervisor")
        command = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        command += [sys.executable, "-I", "-S", str(self._supervisor()), str(self.folder)]
        # setsid --fork: not our child, so it neither dies with us nor stays as a zombie of a long test run
        with log.open("w") as output:
            subprocess.run(
                ["setsid", "--fork", "sh", "-c", _JOIN, "sh", *map(str, self._entrances()), "--", *command],
                check=True,
                cwd="/",
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        init = processes.wait_until(self._first_process, 10, pause=0.01)
        if not init:
            raise LabError(f"{self.name} of lab {self.lab} did not start", log)
        processes.remember(self.note, init)
        network.plug(self.cable, self.bridge, init)

    def _supervisor(self) -> Path:
        """The program that is the machine's first process."""
        return Path(__file__).with_name("supervisor.py")

    def _entrances(self) -> list[Path]:
        """Where its processes join control groups."""
        return [cgroups.entrance(f"{self.group}/daemons")]

    def await_settled(self, seconds: float = 15) -> None:
        """Wait until the machine has its mounts and its address. Raises LabError that names its log."""
        if not processes.wait_until(self._settled_or_ended, seconds, pause=0.01):
            raise LabError(f"{self.name} of lab {self.lab} does not settle", self.log("supervisor"))
        if self.init_pid() is None:
            raise LabError(f"{self.name} of lab {self.lab} ended", self.log("supervisor"))

    def _settled_or_ended(self) -> bool:
        init = self.init_pid()
        # the machine's own view of its files
        return init is None or Path("/proc", str(init), "root", "run", "settled").exists()

    def _first_process(self) -> int | None:
        for pid in cgroups.members(f"{self.group}/daemons"):
            if processes.program(pid) == "unshare":
                return next((child for child in processes.children(pid) if processes.program(child) != "unshare"), None)
        return None

    def stop(self) -> None:
        """Cut the machine's power: all its processes at once, then its cable and its control groups. Its state stays."""
        init = self.init_pid()
        if init:
            processes.kill(init)
        cgroups.kill(self.group)
        network.unplug(self.cable)
        cgroups.remove(self.group)
        self.note.unlink(missing_ok=True)

    def component_pid(self, component: str) -> int | None:
        """Number of a daemon's process on this machine, or None when it does not run just now."""
        init = self.init_pid()
        wanted: list[str] = next((spec["argv"] for spec in self._specs() if spec["name"] == component), [])
        for pid in processes.children(init) if init and wanted else []:
            words = processes.command(pid)
            # a daemon may come by way of others (chroot, setpriv): each is the rest of the command before it
            if words and wanted[-len(words) :] == words:
                return pid
        return None

    def components(self) -> dict[str, bool]:
        """The machine's daemons, and whether each is wanted."""
        return {spec["name"]: spec["wanted"] for spec in self._specs()}

    def _specs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = paths.read_json(self.folder / "components.json", [])
        return found

    def want(self, component: str, wanted: bool) -> None:
        """Tell the supervisor to run a daemon, or to end it and leave it. Raises LabError when the machine has no such daemon."""
        specs = self._specs()
        chosen = [spec for spec in specs if spec["name"] == component]
        if not chosen:
            raise LabError(f"{self.name} has no {component}; it has {', '.join(spec['name'] for spec in specs) or 'nothing'}")
        chosen[0]["wanted"] = wanted
        paths.write_json(self.folder / "components.json", specs)
        self.reload()

    def reload(self) -> None:
        """Let the supervisor read its list of daemons again."""
        init = self.init_pid()
        if init:
            os.kill(init, signal.SIGHUP)

    def inside(self, *command: str | Path) -> list[str]:
        """The command line that runs a command inside the machine; it starts at /. Raises LabError when the machine is down."""
        init = self.init_pid()
        if not init:
            raise LabError(f"{self.name} of lab {self.lab} is down: python -m lab up --name {self.lab}")
        return ["nsenter", "-t", str(init), "-m", "-p", "-n", "-u", "-i", "--", *map(str, command)]
