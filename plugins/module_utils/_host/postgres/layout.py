# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Debian's packages keep a cluster, by its major version, and which major a release of Debian or Ubuntu has."""

from __future__ import annotations

import os
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host import disk, families
from ansible_collections.paas.hardening.plugins.module_utils._host.certificates import Places

ACCOUNT = "postgres"
HOME = "/var/lib/postgresql"
SOCKETS = "/var/run/postgresql"
NAME = "main"
PORT = 5432
# Ours: the authority, the certificate, and what a standby needs.
OURS = "/etc/paas-hardening/postgres"
TLS = Places(f"{OURS}/server.crt", f"{OURS}/server.key", f"{OURS}/ca.crt", ACCOUNT, "PostgreSQL")
DATA = disk.Place(HOME, "postgresql", ACCOUNT, 0o755, ("*/*/PG_VERSION",), "PostgreSQL", "postgres_server")
# Or a package that is installed later makes a cluster that nobody asked for, on the next port.
DROP_IN = "/etc/postgresql-common/createcluster.d/paas-hardening.conf"
DROP_IN_TEXT = "# Managed by paas.hardening.postgres_server.\ncreate_main_cluster = false\n"
SERVICE = "postgresql.service"
_MAJORS = {"bullseye": 13, "bookworm": 15, "trixie": 17, "jammy": 14, "noble": 16}
OLDEST, NEWEST = 13, 18


class Layout(NamedTuple):
    """The places of the cluster of one major version."""

    major: int

    @property
    def package(self) -> str:
        return f"postgresql-{self.major}"

    @property
    def config(self) -> str:
        return f"/etc/postgresql/{self.major}/{NAME}"

    @property
    def data(self) -> str:
        return f"{HOME}/{self.major}/{NAME}"

    @property
    def main_file(self) -> str:
        return f"{self.config}/postgresql.conf"

    @property
    def settings_file(self) -> str:
        """Ours; the last one in its folder, so that it is read last."""
        return f"{self.config}/conf.d/zz-paas-hardening.conf"

    @property
    def access_file(self) -> str:
        return f"{self.config}/pg_hba.conf"

    @property
    def ident_file(self) -> str:
        return f"{self.config}/pg_ident.conf"

    @property
    def start_file(self) -> str:
        return f"{self.config}/start.conf"

    @property
    def signal_file(self) -> str:
        """Who has it starts as a standby."""
        return f"{self.data}/standby.signal"

    @property
    def log(self) -> str:
        """The write-ahead log."""
        return f"{self.data}/pg_wal"

    @property
    def incoming(self) -> str:
        """A copy of the primary that is not in its place yet; it has the signal file when it is whole and verified."""
        return f"{self.data}.incoming"

    @property
    def rewinding_file(self) -> str:
        """It is there from the first write of a rewind to the last."""
        return f"{self.data}.rewinding"

    @property
    def unit(self) -> str:
        return f"postgresql@{self.major}-{NAME}.service"

    def program(self, name: str) -> str:
        return f"/usr/lib/postgresql/{self.major}/bin/{name}"


def chosen(version: Optional[int], there: Dict[int, str], system: Dict[str, str]) -> Layout:
    """Return the layout of the wanted major: the given one, else the one that is there, else that of the release. Pure.

    ``there`` holds the majors of clusters named main. Raises Refused for another family of systems, and Invalid when it cannot be told.
    """
    families.require(families.POSTGRES, system)
    if version is None and len(there) == 1:
        version = next(iter(there))
    if version is None:
        version = _MAJORS.get(system.get("VERSION_CODENAME", ""))
    if version is None:
        raise Invalid("It is not known which PostgreSQL this system has.", "Give its major version as version (postgres_server_version).", "version")
    if not OLDEST <= version <= NEWEST:
        raise Invalid(f"version is {version}.", f"Give a major version from {OLDEST} to {NEWEST}.", "version")
    if there and version not in there:
        raise Refused(
            f"This host has a cluster of PostgreSQL {', '.join(map(str, sorted(there)))}, and {version} is wanted: upgrades move data, and are not done here.",
            f"Give {max(there)} as version (postgres_server_version), or move the data by pg_upgradecluster first.",
            "version",
        )
    return Layout(version)


def majors_with(program: str) -> List[int]:
    """Return the major versions of which this program is installed."""
    return [major for major in range(OLDEST, NEWEST + 1) if os.path.exists(Layout(major).program(program))]


def client_for(server: int, there: Sequence[int], system: Mapping[str, str]) -> Layout:
    """Return where the programs are, or will be, of a host that is a client of a server of this major version: programs serve older servers, too. Pure.

    The closest one that is ``there`` counts; without any, the system's own major version where that is new enough.
    """
    usable = [major for major in there if major >= server]
    return Layout(min(usable) if usable else max(server, _MAJORS.get(system.get("VERSION_CODENAME", ""), server)))
