"""All standalone hosts of a lab: made, brought up, taken down, and told to SSH and to Ansible."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from lab import allocation, cgroups, cleanup, locks, network, paths, processes, requirements
from lab.addresses import STANDALONE, Addresses
from lab.errors import LabError
from lab.hosts import packages, trees
from lab.hosts.host import Host, sized
from lab.progress import Report, Steps, silent, span

# part of the name of a network device, which has 15 letters
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?")
_SSH = ("IdentitiesOnly=yes", "StrictHostKeyChecking=yes")


class Fleet:
    """The hosts of one lab. Making the object starts nothing; ``up`` does, with or without a cluster beside them."""

    def __init__(self, lab: str) -> None:
        self.lab = lab

    @property
    def folder(self) -> Path:
        """Everything that the hosts keep, the key to them, and the inventory."""
        return paths.lab(self.lab) / "hosts"

    @property
    def key(self) -> Path:
        """The private key that root of each host takes."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' own keys."""
        return self.folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """For ``ssh -F``: every host by its name."""
        return self.folder / "ssh_config"

    @property
    def inventory(self) -> Path:
        """For ``ansible -i``: every host, in groups by its Debian release."""
        return self.folder / "inventory.yml"

    def names(self) -> list[str]:
        """Hosts that have been made, in the order of their addresses."""
        made = {path.parent.name: (paths.read_json(path) or {}).get("number", 0) for path in self.folder.glob("*/host.json")}
        return sorted(made, key=lambda name: made[name])

    def host(self, name: str) -> Host:
        """One host. Raises LabError when it has never been up."""
        number = allocation.number_of(self.lab)
        if number is None or not (self.folder / name / "host.json").exists():
            raise LabError(f"lab {self.lab} has no host {name}: python -m lab hosts up --name {self.lab} {name}")
        return Host(name, self.lab, self.folder / name, Addresses(number))

    # Up

    def up(self, wanted: Iterable[str], disks: int = 0, size: str = "1G", report: Report = silent) -> list[Host]:
        """Bring up hosts, named NAME or NAME:RELEASE, and return them when their systems run. Who is up already stays as he is.

        Each new one gets ``disks`` empty disks of ``size``. Raises LabError.
        """
        releases = dict(map(_split, wanted))
        requirements.check()
        steps = Steps(report)
        bytes_each = sized(size)
        with steps.step("root file systems"):
            for release in sorted(set(releases.values()) - {""} | ({trees.DEFAULT_RELEASE} if "" in releases.values() else set())):
                trees.tree(release, report)
        with locks.held(cleanup.lock(self.lab), lambda: report(f"lab {self.lab}: another process is at work on it, waiting")):
            addresses = Addresses(allocation.allocate(self.lab))
            with steps.step("keys and files"):
                self._make(releases, addresses, disks, bytes_each)
            packages.ensure(addresses, self.folder)
            hosts = [self.host(name) for name in releases]
            requirements.check_watchers(sum(not host.is_on() for host in hosts), *requirements.watchers())
            with steps.step("hosts switched on"):
                for host in hosts:
                    host.start()
        with steps.step("systems up"), ThreadPoolExecutor() as pool:
            list(pool.map(Host.await_ready, hosts))
        report(f"{len(hosts)} hosts of lab {self.lab} are up after {span(steps.elapsed)}")
        return hosts

    def _make(self, releases: Mapping[str, str], addresses: Addresses, disks: int, size: int) -> None:
        paths.private_folder(self.folder)
        if not self.key.exists():
            processes.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {self.lab}", "-f", self.key])
        numbers = {name: self.host(name).number for name in self.names()}
        for name, release in releases.items():
            if name in numbers:
                if release not in ("", self.host(name).release):
                    raise LabError(f"host {name} has {self.host(name).release}, not {release}: take it down first")
                continue
            numbers[name] = next((number for number in STANDALONE if number not in numbers.values()), 0)
            if not numbers[name]:
                raise LabError(f"lab {self.lab} has {len(STANDALONE)} hosts already")
        neighbours = {name: addresses.standalone(number) for name, number in numbers.items()}
        known = set(self.names())
        for name, release in releases.items():
            if name not in known:
                host = Host(name, self.lab, self.folder / name, addresses)
                host.make(
                    numbers[name], release or trees.DEFAULT_RELEASE, disks, size, self.key.with_suffix(".pub"), neighbours, packages.configuration(addresses)
                )
        self._tell(addresses)

    def _tell(self, addresses: Addresses) -> None:
        """Write how the hosts are reached: for SSH, and for Ansible."""
        hosts = [self.host(name) for name in self.names()]
        paths.write(self.known_hosts, "".join(f"{host.address} {host.public_key}\n" for host in hosts))
        options = [*_SSH, f"UserKnownHostsFile={self.known_hosts}"]
        lines = ["Host *", "  User root", f"  IdentityFile {self.key}", "  ConnectTimeout 5", "  LogLevel ERROR"]
        lines += [f"  {option.replace('=', ' ', 1)}" for option in options]
        for host in hosts:
            lines += [f"Host {host.name}", f"  HostName {host.address}"]
        paths.write(self.ssh_config, "\n".join(lines) + "\n")
        shared = {
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": " ".join(f"-o {option}" for option in options),
            "ansible_ssh_pipelining": True,
            "lab_machine": addresses.host,  # where Ansible comes from
        }
        by_release = {f"debian{number}": [host.name for host in hosts if host.release == release] for release, number in trees.RELEASES.items()}
        inventory = {
            "all": {
                "vars": shared,
                "hosts": {host.name: {"ansible_host": host.address} for host in hosts},
                "children": {group: {"hosts": {name: {} for name in members}} for group, members in by_release.items()},
            }
        }
        paths.write(self.inventory, yaml.safe_dump(inventory, sort_keys=False))

    # Down

    def down(self, names: Iterable[str] = (), report: Report = silent) -> None:
        """Take hosts down, all of them if none is named, and remove everything that they kept. With the last of a lab without a cluster goes the lab.

        Raises LabError when a process or a control group outlives every attempt.
        """
        begun = time.monotonic()
        with locks.held(cleanup.lock(self.lab), lambda: report(f"lab {self.lab}: another process is at work on it, waiting")):
            chosen = list(names) or sorted(path.name for path in self.folder.glob("*/"))
            number = allocation.number_of(self.lab)
            for name in chosen:
                if number is not None and (self.folder / name / "host.json").exists():
                    self.host(name).cut_power()
                _remove(self.folder / name)
            if self.names() and number is not None:
                self._tell(Addresses(number))
            else:
                self._leave(number)
        report(f"{len(chosen)} hosts of lab {self.lab} are down after {span(time.monotonic() - begun)}")

    def _leave(self, number: int | None) -> None:
        """Remove what the hosts had in common, and the lab itself when it was made for them."""
        if number is not None:
            packages.stop(Addresses(number))
        _remove(self.folder)
        folder = paths.lab(self.lab)
        if any(folder.glob("node[1-9]")) or any(folder.glob("servers/*")):
            return
        if number is not None and not cgroups.members(Addresses(number).bridge):
            network.remove(Addresses(number))
        cleanup.take_down(self.lab, purge=True)


def _split(wanted: str) -> tuple[str, str]:
    name, _colon, release = wanted.partition(":")
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} is no name for a host: 1 to 12 of a-z, 0-9 and -, a letter first")
    if release:
        trees.place(release)
    return name, release


def _remove(folder: Path) -> None:
    """Remove a folder of a host that is off; its disks may be let go of a moment later."""
    if not processes.wait_until(lambda: not _busy(folder), 5):
        raise LabError(f"disks of {folder} are still attached")
    shutil.rmtree(folder, ignore_errors=True)


def _busy(folder: Path) -> list[str]:
    """Loop devices that hold a file of the folder."""
    listing = subprocess.run(["losetup", "--noheadings", "--list", "--output", "BACK-FILE"], capture_output=True, text=True, check=False)
    return [line for line in listing.stdout.splitlines() if line.startswith(f"{folder}/")]
