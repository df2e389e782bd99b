# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind postgres: the platform's databases in the cluster, dumped at one moment, restored into a server of our own, and compared with that moment."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import free_bytes, write_file
from ansible_collections.paas.hardening.plugins.module_utils._backup.kind import Clock, Scratch, Taken
from ansible_collections.paas.hardening.plugins.module_utils._backup.needs import secrets_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import ARGUMENTS as ARCHIVE_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import ENGINE as ARCHIVE
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.proof import (
    Expected,
    Proved,
    digest_of,
    fingerprint_text,
    prove,
    read_fingerprint,
)
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.source import Source
from ansible_collections.paas.hardening.plugins.module_utils._backup.site import Site
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import so_far
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import find as find_client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.content import fix_settings, sequences
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import Dump, dump, load
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import fingerprint, snapshot
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import (
    BESIDE,
    Account,
    ServerPrograms,
    account_of,
    find_server,
    private_folder,
    refuse_older,
    scratch_server,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server, version_name
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.structure import Definition, definitions

# What a database's folder in a point holds beside the dump: what the restored dump was seen to hold.
HELD = "held.json"
# pg_dump knows one database.
_LEFT_OUT = "roles with their passwords, settings of the server, and databases that are not the platform's"
DUMP = "dump"
ARGUMENTS: Dict[str, Any] = {
    "engine": {"type": "str", "choices": [DUMP, ARCHIVE], "default": DUMP},
    **ARCHIVE_ARGUMENTS,
    "client_folder": {"type": "path"},
    "server_folder": {"type": "path"},
    "server_account": {"type": "str"},
    "scratch_folder": {"type": "path", "default": "/var/tmp"},
    "timeout": {"type": "int", "default": 3600},
}


class Postgres:
    """The platform's databases at work. ``options`` are those of ARGUMENTS, as checked by Ansible."""

    name = "postgres"

    def __init__(self, options: Mapping[str, Any], site: Site, repository: str) -> None:
        self._options = options
        self._site = site
        # One place for the scratch server of one repository, whose lock lets one run at a time in.
        self._purpose = f"postgres of {os.path.abspath(repository)}"
        if options["timeout"] < 1:
            raise Invalid(f"postgres.timeout is {options['timeout']}.", "Give seconds, 1 or more.", "postgres.timeout")

    def look(self, repository: str) -> None:
        """See that the database in use is the one in the cluster, that it can be entered, and that there are programs and room. Writes nothing."""
        source = Source(self._site)
        source.check_in_use()
        self._site.require_way_in()
        client = find_client(self._options["client_folder"] or "")
        with source.opened() as server:
            databases = source.databases(client, server)
            version, sizes = _measure(client, databases)
        self._programs(version)
        account_of(self._options["server_account"] or "")
        self._check_room(repository, sizes)

    def take(self, folder: str, scratch: Scratch) -> Taken:
        deadline = Deadline(self._options["timeout"])
        steps: Dict[str, float] = {}
        clock = Clock(steps)
        source = Source(self._site)
        source.check_in_use()
        wanted: Dict[str, Tuple[Dump, Expected]] = {}
        about: Dict[str, Any] = {}
        client = find_client(self._options["client_folder"] or "")
        with source.opened() as server:
            databases = source.databases(client, server)
            version, sizes = _measure(client, databases)
            there, client = self._programs(version)
            client.require(source=version)
            self._check_room(folder, sizes)
            clock.done("look")
            instant = time.time()
            for role, entered in databases.items():
                place = os.path.join(folder, role)
                os.mkdir(place, 0o700)
                so_far(f"the database {role} is dumped")
                wanted[role] = dumped(client, entered, place, deadline)
            clock.done("dump")
        proofs = self._prove(there, client, wanted, deadline)
        clock.done("prove")
        for role, proved in proofs.items():
            made = wanted[role][0]
            write_file(os.path.join(folder, role, HELD), fingerprint_text(proved.held))
            about[role] = {
                "rows": proved.held.rows,
                "tables": len(proved.held.tables),
                "sequences": len(proved.held.sequences),
                "large_objects": len(proved.held.large_objects),
                "content": digest_of(proved.held),
                "bytes": sizes[role],
                "encoding": made.encoding,
                "extensions": sorted(made.extensions),
                "remarks": list(proved.remarks),
            }
        proof = Proof(tuple(check for proved in proofs.values() for check in proved.proof.checks))
        if proof.verdict != PASS:
            wrong = "; ".join(_told(check) for check in proof.checks if check.verdict != PASS)
            raise NotProven(f"The restored database is not what the snapshot held: {wrong}", "The point is not published; look at the disks.", "postgres")
        return Taken(
            about={
                "namespace": self._site.namespace,
                "server": self._site.platform.database.bundled.name,
                "version": version_name(version),
                "databases": about,
                "left_out": _LEFT_OUT,
            },
            tools={"pg_dump": version_name(client.version), "postgres": version_name(there.version)},
            instant=instant,
            proof=proof,
            restored_in=sum(proved.seconds for proved in proofs.values()),
            steps=steps,
            needs=(secrets_of(self._site.namespace),),
        )

    def _programs(self, source: int) -> Tuple[ServerPrograms, Client]:
        """Return the server for the proof, and client programs that serve both it and the source. Raises Refused for programs that are too old."""
        there = find_server(self._options["server_folder"] or "", source)
        client = find_client(self._options["client_folder"] or "", there.version)
        client.require(there.version, source)
        refuse_older("client programs", client.folder, client.version, source, "client_folder")
        return there, client

    def _check_room(self, folder: str, sizes: Mapping[str, int]) -> None:
        scratch, size = self._options["scratch_folder"], sum(sizes.values())
        for place, needed in ((folder, size), (scratch, 2 * size + BESIDE)):
            free = free_bytes(place)
            if free < needed:
                raise Refused(
                    f"{place} has {free >> 20} MiB free; the database and its proof take {needed >> 20} MiB there.", "Make room, or give another folder.", place
                )

    def _prove(self, there: ServerPrograms, client: Client, wanted: Mapping[str, Tuple[Dump, Expected]], deadline: Deadline) -> Dict[str, Proved]:
        account = account_of(self._options["server_account"] or "")
        with private_folder(self._options["scratch_folder"], self._purpose) as place:
            return proved_in(there, client, wanted, place, account, deadline)


def proved_in(
    there: ServerPrograms, client: Client, wanted: Mapping[str, Tuple[Dump, Expected]], place: str, account: Account, deadline: Deadline
) -> Dict[str, Proved]:
    """Prove dumps, each with what it has to hold, in one scratch server in a folder from private_folder. Raises NotProven."""
    begun = time.monotonic()
    found: Dict[str, Proved] = {}
    with scratch_server(there, client, place, account, deadline) as server:
        began = time.monotonic() - begun
        for role, (made, expected) in wanted.items():
            so_far(f"the database {role} is restored, and compared")
            proved = prove(client, made, expected, server, role, deadline)
            # The first has to wait for the server.
            found[role] = replace(proved, seconds=proved.seconds + (began if not found else 0.0))
    return found


def kept(folder: str) -> Dict[str, Tuple[Dump, Expected]]:
    """Return what the files of a point hold, and what they were seen to hold when it was made: for a drill. Raises NotFound, Refused."""
    found: Dict[str, Tuple[Dump, Expected]] = {}
    for role in sorted(os.listdir(folder)):
        held = read_fingerprint(os.path.join(folder, role, HELD))
        found[role] = (load(os.path.join(folder, role)), Expected(held, held.sequences, held.sequences))
    return found


def _measure(client: Client, databases: Mapping[str, Server]) -> Tuple[int, Dict[str, int]]:
    """Return the server's version, and the bytes of each database."""
    version, sizes = 0, {}
    for role, entered in databases.items():
        with client.session(entered) as session:
            version = session.version
            sizes[role] = int(session.query("SELECT pg_database_size(current_database()) AS bytes")[0]["bytes"])
    return version, sizes


def dumped(client: Client, entered: Server, folder: str, deadline: Deadline) -> Tuple[Dump, Expected]:
    """Dump a database at one moment, and say what it held then. Raises Conflict when somebody changed its structure meanwhile."""
    built, before = _timeless(client, entered)
    with snapshot(client, entered) as moment:
        held = fingerprint(client, entered, moment=moment)
        made = dump(client, entered, folder, moment=moment, patience=max(deadline.left, 1.0))
    rebuilt, after = _timeless(client, entered)
    if built != rebuilt:
        raise Conflict("The structure of the database changed while it was dumped: a migration, or an upgrade.", "Run again.", "postgres")
    return made, Expected(held, before, after)


def _timeless(client: Client, entered: Server) -> Tuple[List[Definition], Mapping[str, str]]:
    """Return what no snapshot keeps: how the database is built, and its sequences."""
    with client.session(entered) as session:
        fix_settings(session)
        return definitions(session), sequences(session)


def _told(check: Check) -> str:
    return f"{check.what}: {check.observed}, not {check.expected}"
