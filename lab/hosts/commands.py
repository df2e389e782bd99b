"""The command line of the hosts: python -m lab hosts up | down | inventory | status | ssh."""

from __future__ import annotations

import argparse
import subprocess

from lab import paths
from lab.cleanup import names
from lab.hosts import trees
from lab.hosts.fleet import Fleet
from lab.progress import Report


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the verbs and their options."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.add_argument("--name", default=paths.DEFAULT_NAME, help="which lab (default: %(default)s)")
        return sub

    up = verb("up", "bring hosts up, and write an inventory for Ansible")
    up.add_argument("hosts", nargs="+", metavar="NAME[:RELEASE]", help=f"release: {' or '.join(trees.RELEASES)} (default: {trees.DEFAULT_RELEASE})")
    up.add_argument("--disks", type=int, default=0, metavar="N", help="empty disks of each new host: /dev/vdb and so on (default: %(default)s)")
    up.add_argument("--size", default="1G", help="of each disk (default: %(default)s)")
    down = verb("down", "take hosts down and remove all that they kept")
    down.add_argument("hosts", nargs="*", metavar="NAME", help="without one: all hosts of the lab")
    verb("inventory", "print the inventory for Ansible")
    verb("status", "show the hosts, of all labs")
    ssh = verb("ssh", "a shell on a host, or one command")
    ssh.add_argument("hosts", nargs=1, metavar="NAME")
    ssh.add_argument("words", nargs="*", metavar="COMMAND", help="after --")


def run(options: argparse.Namespace, report: Report) -> int:
    """Do what was asked for; return the exit status."""
    fleet = Fleet(options.name)
    if options.verb == "up":
        fleet.up(options.hosts, options.disks, options.size, report)
        report(f"  ansible -i {fleet.inventory} all -m ansible.builtin.ping\n  python -m lab hosts ssh --name {options.name} {fleet.names()[0]}")
    elif options.verb == "down":
        fleet.down(options.hosts, report)
    elif options.verb == "inventory":
        report(fleet.inventory.read_text().rstrip() if fleet.inventory.exists() else "all: {}")
    elif options.verb == "ssh":
        return subprocess.call(fleet.host(options.hosts[0]).ssh(*options.words))
    else:
        _status(report)
    return 0


def _status(report: Report) -> None:
    found = False
    for lab in names():
        fleet = Fleet(lab)
        for name in fleet.names():
            host, found = fleet.host(name), True
            report(f"{lab}: {name} {host.address} {host.release} {'on' if host.is_on() else 'off'}, {len(host.disks)} disks, {host.log}")
    if not found:
        report("no hosts")
