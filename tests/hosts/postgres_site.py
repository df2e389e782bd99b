"""A pair of PostgreSQL servers and one by itself, on real hosts, as an inventory has them; and the playbooks run on them."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.contract.playbook import Run, run_playbook
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

# A primary and its standby on Debian 12; a server by itself, and a client of the others, on Debian 13.
HOSTS = {"db1": 15, "db2": 15, "db3": 17}
PAIR, SINGLE = ["db1", "db2"], ["db3"]
PRIMARY, STANDBY, REACH = "Have the primary", "Have the standbys", "Log in from every host, without a password"
OURS = "/etc/paas-hardening/postgres"
# As the server's own account; nothing of it is on a command line but the words that are no secret.
PSQL = "cd / && setpriv --reuid=postgres --regid=postgres --init-groups psql -X -q -A -t -v ON_ERROR_STOP=1"


@dataclass
class Servers:
    """The hosts, the playbook for them, and the passwords of this run. ``settings`` are more of them for all servers."""

    fleet: Fleet
    folder: Path
    passwords: Mapping[str, str] = field(default_factory=lambda: {name: f"{secrets.token_hex(16)} '\"\\@:#" for name in ("app", "reader", "replicator")})
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hosts(self) -> dict[str, Host]:
        return {name: self.fleet.host(name) for name in HOSTS}

    def run(self, *arguments: str, **variables: Any) -> Run:
        """Run the part of hosts.yml that is about PostgreSQL, with variables above those of the inventory."""
        return self._play("hosts", "--tags", "postgres", *arguments, **variables)

    def switch(self, source: str, target: str, *arguments: str) -> Run:
        """Run the switchover on the pair."""
        hosts = {"postgres_switchover_from": source, "postgres_switchover_to": target, "postgres_switchover_hosts": "pair"}
        return self._play("postgres_switchover", *arguments, **hosts)

    def _play(self, playbook: str, *arguments: str, **variables: Any) -> Run:
        inventory = self.folder / "groups.yml"
        groups = {
            "pair": {"hosts": {name: {} for name in PAIR}, "vars": {"postgres_server_group": "pair", **self._own("db3")}},
            "single": {"hosts": {name: {} for name in SINGLE}, "vars": {"postgres_server_group": "single", **self._own("db1")}},
        }
        inventory.write_text(yaml.safe_dump({"all": {"children": {"postgres": {"children": groups}}}}))
        inventory.chmod(0o600)
        return run_playbook(
            self.folder,
            ROOT / f"playbooks/{playbook}.yml",
            *("-i", str(self.fleet.inventory), "-i", str(inventory), *arguments),
            variables=variables,
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def _own(self, client: str) -> dict[str, Any]:
        address = self.hosts[client].address
        return {
            "postgres_server_data_disk": "/dev/vdb",
            "postgres_server_access": [{"database": "app", "role": role, "network": address} for role in ("app", "reader")],
            "postgres_server_roles": [{"name": role, "password": self.passwords[role]} for role in ("app", "reader")],
            "postgres_server_databases": [{"name": "app", "owner": "app", "connect": ["reader"], "extensions": ["pgcrypto"]}],
            "postgres_server_replication_password": self.passwords["replicator"],
            # The machine's memory is not the lab's alone; what is said must not hold what is secret.
            "postgres_server_settings": {"shared_buffers": "64MB", "log_statement": "all", "log_min_duration_statement": 0, **self.settings},
        }

    def result(self, run: Run, host: str) -> Mapping[str, Any]:
        return run.result(STANDBY if host == "db2" else PRIMARY, host)

    def plans(self, run: Run, hosts: Sequence[str] = tuple(HOSTS)) -> dict[str, list[dict[str, Any]]]:
        """What was, or would be, changed on each host."""
        return {name: list(self.result(run, name)["plan"]) for name in hosts}

    def sql(self, host: str, text: str, database: str = "postgres") -> str:
        """Ask a server over its own socket, as its own account."""
        return self.hosts[host].run(f"{PSQL} -d {database}", stdin=text).strip()

    def log_in(self, server: str, text: str, role: str = "app", database: str = "app", mode: str = "verify-full", client: str = "db3", ca: str = "") -> str:
        """Ask a server as a client of another host does, with the authority that the role told; its complaint when it does not answer."""
        host = self.hosts[client]
        words = f"host={server} user={role} dbname={database} sslmode={mode} sslrootcert=/tmp/authority.crt passfile=/tmp/passwords connect_timeout=5"
        line = "*:*:*:*:" + self.passwords[role].replace("\\", "\\\\").replace(":", "\\:")
        host.run("umask 077; cat > /tmp/passwords", stdin=f"{line}\n")
        host.run("cat > /tmp/authority.crt", stdin=self.hosts[server].run(f"cat {ca or OURS}/ca.crt"))
        return host.run(f"psql -X -q -A -t {shlex.quote(words)} 2>&1 || true", stdin=text).strip()


def nothing(site: Servers, hosts: Sequence[str] = tuple(HOSTS)) -> dict[str, list[dict[str, Any]]]:
    return {name: [] for name in hosts}


def findings(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {finding["control"].removeprefix("host-postgres-"): finding for finding in result["findings"]}


def statuses(result: Mapping[str, Any]) -> set[str]:
    return {finding["status"] for finding in result["findings"]}
