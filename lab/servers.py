"""A server beside the cluster, as it were on a machine of its own: what a store and a PostgreSQL have in common."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import allocation, cleanup, control_plane, locks, network, paths, processes
from lab.addresses import MAX_NODES, Addresses
from lab.errors import LabError
from lab.layout import Layout
from lab.machines import Machine
from lab.progress import Report, silent, span

_READY_SECONDS = 30.0


class Server(ABC):
    """One server of a lab. Making the object starts nothing; ``up`` does, with or without a cluster beside it.

    Its data outlive ``down`` and every fault; ``down(purge=True)`` removes them.
    """

    #: which of addresses.SERVERS it is
    name = ""

    def __init__(self, lab: str) -> None:
        self.lab = lab

    @property
    def layout(self) -> Layout:
        """Files and addresses of the lab. Raises LabError when the lab has no number yet."""
        number = allocation.number_of(self.lab)
        if number is None:
            raise LabError(f"lab {self.lab} has no state: python -m lab {self.name} up --name {self.lab}")
        return Layout(self.lab, paths.lab(self.lab), Addresses(number))

    @property
    def folder(self) -> Path:
        """Everything that the server keeps."""
        return paths.lab(self.lab) / "servers" / self.name

    @property
    def address(self) -> str:
        """Where this machine, the nodes and the pods reach it."""
        return self.layout.addresses.server(self.name)

    @property
    def machine(self) -> Machine:
        """The server as a machine."""
        addresses = self.layout.addresses
        return Machine(self.name, self.lab, self.folder, addresses.server_cgroup(self.name), addresses.server_plug(self.name), addresses.bridge)

    @property
    def credentials_file(self) -> Path:
        """How to reach it and as whom, as JSON, for this user only."""
        return self.folder / "credentials.json"

    @property
    def credentials(self) -> dict[str, Any]:
        """What stands in the credentials file. Raises LabError when the server was never up."""
        kept: dict[str, Any] | None = paths.read_json(self.credentials_file)
        if not kept:
            raise LabError(f"lab {self.lab} has no {self.name}: python -m lab {self.name} up --name {self.lab}")
        return kept

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority that vouches for it: the lab's own."""
        return self.layout.authority.certificate

    # What a kind of server fills in

    @abstractmethod
    def _prepare(self, report: Report) -> list[dict[str, Any]]:
        """Write what it needs and return its daemons."""

    def _plan(self) -> dict[str, Any]:
        """What its machine mounts beside the ordinary."""
        return {}

    def _first_start(self) -> None:
        """What is to be done on the running machine before its daemons start: nothing, unless a kind of server says so."""
        return

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers."""

    # Up and down

    def up(self, report: Report = silent) -> None:
        """Bring the server up, or leave it as it is when it runs, and wait until it answers. Raises LabError."""
        with locks.held(cleanup.lock(self.lab), lambda: report(f"lab {self.lab}: another process is at work on it, waiting")):
            allocation.allocate(self.lab)
            layout = self.layout
            paths.private_folder(self.folder / "log")
            layout.authority.ensure()
            daemons = self._prepare(report)
            plan = {"run_folders": [], "binds": {}, "read_only_binds": {}, "shown": {}, "settings": {}, **self._plan()}
            plan |= {"hostname": self.name, "network": network.server_commands(layout.addresses, self.name)}
            machine, listing = self.machine, self.folder / "components.json"
            # what runs keeps the words that it was started with
            if paths.write_json(self.folder / "node.json", plan) or paths.read_json(listing) != daemons:
                machine.stop()
            if not machine.init_pid():
                paths.write_json(listing, [])
                machine.start()
                machine.await_settled()
                self._first_start()
            paths.write_json(listing, daemons)
            machine.reload()
        self.mend()
        self.wait_ready()

    def down(self, purge: bool = False) -> None:
        """Take the server away; its data stay for the next ``up`` unless they are purged."""
        if allocation.number_of(self.lab) is None:
            return
        with locks.held(cleanup.lock(self.lab)):
            self.machine.stop()
            if purge:
                shutil.rmtree(self.folder, ignore_errors=True)

    def is_up(self) -> bool:
        """Whether its machine runs."""
        return allocation.number_of(self.lab) is not None and self.machine.init_pid() is not None

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until it answers. Raises LabError that names its log."""
        machine = self.machine

        def look() -> bool:
            if not machine.init_pid():
                raise LabError(f"{self.name} of lab {self.lab} ended", machine.log("supervisor"))
            return self.ready()

        if not processes.wait_until(look, seconds):
            raise LabError(f"{self.name} of lab {self.lab} does not answer after {span(seconds)}", machine.log(next(iter(machine.components()))))

    # Faults

    def kill(self) -> None:
        """End its processes at once, as a crash would; its supervisor starts them anew after a second. Raises LabError when none runs."""
        pids = [pid for name in self.machine.components() if (pid := self.machine.component_pid(name))]
        if not pids:
            raise LabError(f"{self.name} of lab {self.lab} does not run")
        for pid in pids:
            processes.kill(pid)
        processes.wait_until(lambda: all(processes.start_time(pid) is None for pid in pids), 5, pause=0.01)

    def stop(self) -> None:
        """End its processes at once and keep them down. Raises LabError."""
        self._want(False)

    def start(self) -> None:
        """Start what was stopped and wait until it answers. Raises LabError."""
        self._want(True)
        self.wait_ready()

    def _want(self, wanted: bool) -> None:
        self._running()
        machine = self.machine
        for name in machine.components():
            machine.want(name, wanted)
        if not processes.wait_until(lambda: all(bool(machine.component_pid(name)) == wanted for name in machine.components()), 15):
            raise LabError(f"{self.name} of lab {self.lab} does not {'start' if wanted else 'end'}", machine.log(next(iter(machine.components()))))

    def cut(self, pods_only: bool = False) -> None:
        """Cut its network: nobody reaches it, and nobody is told; or only the pods and nodes do not. It runs on. Raises LabError when it is down."""
        self._running()
        if pods_only:
            self._from_pods("add")
        else:
            network.cut(self.machine.cable)

    def mend(self) -> None:
        """Make its network whole again, whatever was cut."""
        self._running()
        network.mend(self.machine.cable)
        self._from_pods("del")

    def _running(self) -> None:
        if not self.is_up():
            raise LabError(f"lab {self.lab} has no {self.name} that runs: python -m lab {self.name} up --name {self.lab}")

    def _from_pods(self, verb: str) -> None:
        """Add or remove the rules that throw away what it would answer to pods and nodes."""
        addresses = self.layout.addresses
        there = self._inside("ip", "rule", "list")
        for target in (addresses.pods, *map(addresses.node, range(1, MAX_NODES + 1))):
            if (f"to {target} " in there) == (verb == "del"):
                self._inside("ip", "rule", verb, "blackhole", "to", target, "priority", "100")

    def _inside(self, *command: str | Path, stdin: str | None = None) -> str:
        return processes.run(self.machine.inside(*command), stdin=stdin)


def daemon(name: str, argv: Sequence[str | Path], env: dict[str, str] | None = None) -> dict[str, Any]:
    """A daemon of a server in the words of the supervisor. Secrets go into its environment, never into its words."""
    first, *rest = map(str, argv)
    return control_plane.component(name, *rest, argv0=first, env=env)
