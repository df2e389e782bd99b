"""The relay that brings Debian packages to the hosts of a lab: started with the first host, gone with the last."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab import cgroups, layers, paths, processes
from lab.addresses import Addresses
from lab.errors import LabError
from lab.hosts import trees
from lab.hosts.host import answers

PORT = 3142


def group(addresses: Addresses) -> str:
    """Control group folder of the relay."""
    return f"{addresses.bridge}/packages"


def configuration(addresses: Addresses) -> str:
    """What the apt of a host has to know."""
    return f'Acquire::http::Proxy "http://{addresses.host}:{PORT}";\nAcquire::Languages "none";\n'


def ensure(addresses: Addresses, folder: Path) -> None:
    """Start the relay unless it runs; its log and its process number are kept in the folder. Raises LabError when it does not answer."""
    note, log = folder / "packages.json", folder / "packages.log"
    if processes.recall(note):
        return
    cgroups.kill(group(addresses))
    sites = sorted({f"{line.split()[1].rstrip('/')}/" for release in trees.RELEASES for line in layers.mirrors(release)})
    cache = paths.private_folder(paths.images() / "packages")
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("relay.py")), addresses.host, str(PORT), str(cache), *sites]
    entrance = cgroups.entrance(group(addresses))
    # as machines are started: not our child, and in the lab's control group from its first instruction on
    words = ["setsid", "--fork", "sh", "-c", 'echo $$ > "$1" && shift && exec "$@"', "sh", str(entrance), *command]
    with log.open("w") as output:
        subprocess.run(words, check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    if not processes.wait_until(lambda: answers(addresses.host, PORT), 10):
        raise LabError("the relay of packages does not answer", log)
    for pid in cgroups.members(group(addresses)):
        processes.remember(note, pid)


def stop(addresses: Addresses) -> None:
    """End the relay."""
    cgroups.kill(group(addresses))
    cgroups.remove(group(addresses))
