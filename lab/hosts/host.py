"""One standalone host of a lab: its files, its power, its cable, and commands on it over SSH."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import cgroups, network, paths, processes
from lab.addresses import Addresses
from lab.errors import CommandFailed, LabError
from lab.hosts import trees
from lab.machines import Machine

_READY_SECONDS = 240  # a busy machine; two seconds where it is not
_NETWORK = """[Match]
Name=host0

[Network]
Address={address}/24
Gateway={gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
# Pods keep their own addresses, and this machine may not forward what is answered to them.
_ROUTE = """
[Route]
Destination={pods}
Gateway={node}
"""


class _Machine(Machine):
    """A machine whose first process boots a whole system."""

    def _supervisor(self) -> Path:
        return Path(__file__).with_name("supervisor.py")

    def _entrances(self) -> list[Path]:
        return cgroups.entrances(f"{self.group}/daemons")


@dataclass(frozen=True)
class Host:
    """A host that has been made. Its system is up, or its power is off."""

    name: str
    lab: str
    folder: Path
    addresses: Addresses

    @property
    def facts(self) -> dict[str, Any]:
        """Its number and its Debian release."""
        found: dict[str, Any] = paths.read_json(self.folder / "host.json") or {}
        return found

    @property
    def number(self) -> int:
        """Which of the lab's addresses it has."""
        return int(self.facts["number"])

    @property
    def release(self) -> str:
        """Code name of its Debian."""
        return str(self.facts["release"])

    @property
    def address(self) -> str:
        """Where this machine, the nodes and the other hosts reach it."""
        return self.addresses.standalone(self.number)

    @property
    def disks(self) -> list[Path]:
        """The images behind /dev/vdb, /dev/vdc and so on."""
        return sorted(self.folder.glob("disk*.img"))

    @property
    def machine(self) -> Machine:
        """The host as a machine of the lab."""
        plug, group = self.addresses.standalone_plug(self.number), self.addresses.standalone_cgroup(self.number)
        return _Machine(self.name, self.lab, self.folder, group, plug, self.addresses.bridge)

    @property
    def public_key(self) -> str:
        """The key by which its sshd is known."""
        kind, key = (self.folder / "upper/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
        return f"{kind} {key}"

    @property
    def log(self) -> Path:
        """What its console and its supervisor say."""
        return self.machine.log("supervisor")

    # Making it

    def make(self, number: int, release: str, disks: int, size: int, authorized: Path, neighbours: dict[str, str], apt: str) -> None:
        """Write everything that the host starts from: its layer over the tree of its release, and its disks of ``size`` bytes each."""
        shutil.rmtree(self.folder, ignore_errors=True)
        upper = self.folder / "upper"
        for folder in ("etc/apt/apt.conf.d", "etc/ssh", "etc/systemd/network", "root/.ssh"):
            (upper / folder).mkdir(parents=True)
        for path in (upper, *upper.glob("**/")):
            path.chmod(0o755)  # whatever umask this process has
        paths.private_folder(self.folder / "log")
        (upper / "root").chmod(0o700)
        (upper / "root/.ssh").chmod(0o700)
        processes.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", upper / "etc/ssh/ssh_host_ed25519_key"])
        shutil.copy(authorized, upper / "root/.ssh/authorized_keys")
        files = {
            "etc/apt/apt.conf.d/00lab": apt,
            "etc/hostname": f"{self.name}\n",
            "etc/machine-id": Path("/proc/sys/kernel/random/uuid").read_text().replace("-", ""),
            "etc/hosts": "".join(f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **neighbours}.items()),
            # networkd takes the first file that fits; its own for containers begins with 80
            "etc/systemd/network/10-host0.network": _NETWORK.format(address=self.addresses.standalone(number), gateway=self.addresses.host)
            + "".join(_ROUTE.format(pods=pods, node=node) for pods, node in network.ways_to_pods(self.addresses)),
        }
        for name, text in files.items():
            paths.write(upper / name, text, mode=0o644)
            (upper / name).chmod(0o644)
        # Every login would start a manager of its own, which takes some of the machine's few inotify instances.
        (upper / "etc/systemd/system").mkdir()
        (upper / "etc/systemd/system/user@.service").symlink_to("/dev/null")
        for disk in range(1, disks + 1):
            with (self.folder / f"disk{disk}.img").open("wb") as image:
                image.truncate(size)
        paths.write_json(self.folder / "host.json", {"number": number, "release": release})  # last: without it the host is made anew

    # Power

    def start(self) -> None:
        """Switch it on; does nothing when it is on. ``await_ready`` tells when its system is up. Raises LabError."""
        machine = self.machine
        if machine.init_pid():
            return
        fence = [
            hierarchy.path / machine.group / "daemons" for hierarchy in cgroups.hierarchies() if not hierarchy.unified and hierarchy.path.name == "devices"
        ]
        plan = {"name": self.name, "tree": str(trees.tree(self.release)), "disks": list(map(str, self.disks)), "devices": str(fence[0]) if fence else ""}
        paths.write_json(self.folder / "machine.json", plan)
        machine.start()

    def is_on(self) -> bool:
        """Whether its power is on."""
        return self.machine.init_pid() is not None

    def cut_power(self) -> None:
        """End everything on it at once. What was not written to its disks is lost; its files stay."""
        self.machine.stop()

    def cut_network(self) -> None:
        """Let nothing through its cable, and tell nobody."""
        network.cut(self.machine.cable)

    def mend_network(self) -> None:
        """Let its cable work again."""
        network.mend(self.machine.cable)

    def await_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until SSH answers and systemd says that all of it runs. Raises LabError with the units that failed, or that names the console's log."""

        def look() -> bool:
            if not self.is_on():
                raise LabError(f"{self.name} of lab {self.lab} went off", self.log)
            return answers(self.address, 22)

        if not processes.wait_until(look, seconds):
            raise LabError(f"{self.name} of lab {self.lab} does not answer on port 22", self.log)
        try:
            self.run("systemctl is-system-running --wait >/dev/null || { systemctl list-units --failed --plain --no-legend >&2; exit 1; }", seconds=seconds)
        except CommandFailed as error:
            raise LabError(f"{self.name} of lab {self.lab} is up, but not well: {error.stderr.strip()}", self.log) from error

    def reboot(self, seconds: float = _READY_SECONDS) -> None:
        """Reboot its system as its administrator would, and wait until it is up again. Raises LabError."""
        # When its first process began: all else may be half gone already while the old system still answers.
        began = "cut -d ' ' -f 22 /proc/1/stat"
        before = self.run(began)
        # It may be gone before it has answered.
        with contextlib.suppress(CommandFailed):
            self.run("systemctl --no-block reboot")

        def other() -> bool:
            try:
                return answers(self.address, 22) and self.run(began, seconds=5) != before
            except CommandFailed:
                return False  # it is just going down

        if not processes.wait_until(other, seconds, pause=0.2):
            raise LabError(f"{self.name} of lab {self.lab} did not come back from a reboot", self.log)
        self.await_ready(seconds)

    # Inside

    def ssh(self, *words: str) -> list[str]:
        """The command line of SSH to it, with a command for its shell if one is given."""
        return ["ssh", "-F", str(self.folder.parent / "ssh_config"), self.name, *words]

    def run(self, command: str, stdin: str | None = None, seconds: float = 120) -> str:
        """Run a command of its shell and return its stdout. Raises CommandFailed with its stderr; the status of a time-out is 124."""
        return processes.run(["timeout", f"{seconds:.0f}", *self.ssh(command)], stdin=stdin)


def answers(address: str, port: int, seconds: float = 1) -> bool:
    """Whether somebody accepts a connection there."""
    try:
        with socket.create_connection((address, port), timeout=seconds):
            return True
    except OSError:
        return False


def sized(text: str) -> int:
    """Bytes of a size such as 512M or 2G. Raises LabError."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdigit() or int(number) == 0:
        raise LabError(f"a size is a number with K, M or G, not {json.dumps(text)}")
    return int(number) * units[unit]
