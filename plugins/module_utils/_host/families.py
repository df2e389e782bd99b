# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of systems, one row each: how packages are installed, and what a family cannot have, with the reason. What has no row is as on Debian."""

from __future__ import annotations

from typing import Dict, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._host import files

POSTGRES, BALANCER, UPDATES, TIME = "PostgreSQL", "nginx and keepalived", "security updates", "systemd-timesyncd"


class Family(NamedTuple):
    """A family: its names in os-release, its installer (packages follow), what fetches its lists, and what is refused on it, with the reason and a hint."""

    names: Tuple[str, ...]
    install: Tuple[str, ...]
    refresh: Tuple[str, ...]
    refused: Mapping[str, Tuple[str, str]]


DEBIAN = Family(
    ("debian", "ubuntu"),
    ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", "install"),
    ("apt-get", "-qq", "update"),
    {},
)
# By what is documented: no host of this family has ever run in the lab. What has a unit and a program of its own (etcd, an S3 server, nftables) needs nothing
# more than its packages, which have the same names.
RED_HAT = Family(
    ("rhel", "centos", "ol"),
    ("dnf", "--quiet", "--assumeyes", "--setopt=install_weak_deps=False", "install"),
    ("dnf", "--quiet", "makecache"),
    {
        POSTGRES: (
            "where packages have one cluster beside its configuration, and none of the programs that keep clusters apart",
            "The role knows Debian and Ubuntu. On others, run your own PostgreSQL, and name it in the variables of the roles that use it.",
        ),
        BALANCER: (
            "where SELinux lets nginx connect to nobody and listen on few ports until that is allowed by booleans and labels, which are not set here",
            "Use Debian or Ubuntu for the load balancers.",
        ),
        UPDATES: (
            "where security updates come by dnf-automatic, which has settings of its own",
            "Turn it on there, and set security_updates to unmanaged (host_baseline_security_updates).",
        ),
        TIME: ("where chrony keeps the clock", "Install chrony, start it, and run again; or set time_sync to unmanaged (host_baseline_time_sync)."),
    },
)
_FAMILIES = (DEBIAN, RED_HAT)


def release() -> Dict[str, str]:
    """Return what the host says of its system (os-release)."""
    text = files.look("/etc/os-release").text or ""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.strip("\"'") for name, _equals, value in pairs}


def family_of(system: Mapping[str, str]) -> Optional[Family]:
    """Return the family of a system, by its own name and by those that it says it is like, or None. Pure."""
    names = [system.get("ID", ""), *system.get("ID_LIKE", "").split()]
    return next((family for name in names for family in _FAMILIES if name in family.names), None)


def require(what: str, system: Mapping[str, str]) -> None:
    """Refuse what a system cannot have; of an unknown family that is all that Red Hat's cannot. Raises Refused. Pure."""
    family = family_of(system)
    reason = (family.refused if family else RED_HAT.refused).get(what)
    if reason:
        why = reason[0] if family else "which is neither Debian's nor Red Hat's kind"
        raise Refused(f"This host runs {system.get('PRETTY_NAME') or 'an unknown system'}, {why}; {what} is not set up on it.", reason[1], what)
