"""A real host with a PostgreSQL that archives by pgBackRest, made by the roles, and what is done to it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.contract.playbook import Run, run_playbook

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

REPOSITORY, KEY, PASS = "/var/backups/paas", "/etc/paas/key", "/etc/paas/pass"
DATA, ARCHIVE, RECEIVED = "/var/lib/postgresql/17/main", "/var/backups/pgbackrest", "/srv/received"
AS_POSTGRES = "cd / && setpriv --reuid=postgres --regid=postgres --init-groups"
# Rows that many clients add, each known to be there by its number once the server said so: the ledger is not in the database.
LEDGER = """
import subprocess, sys, threading, time
clients, seconds, path = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
stop = time.monotonic() + seconds
acknowledged = [0] * clients
def work(me):
    words = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "app"]
    client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    number = 0
    try:
        while time.monotonic() < stop:
            number += 1
            client.stdin.write(f"INSERT INTO ledger VALUES ({me}, {number}) RETURNING number;\\n")
            client.stdin.flush()
            if client.stdout.readline().strip() != str(number):
                break
            acknowledged[me] = number
    except BrokenPipeError:
        pass
threads = [threading.Thread(target=work, args=(me,)) for me in range(clients)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
open(path, "w").write(" ".join(map(str, acknowledged)))
"""


@dataclass
class Archive:
    """The host, and plays on it."""

    fleet: Fleet
    folder: Path
    passphrase: str = field(default_factory=lambda: secrets.token_urlsafe(40))

    @property
    def host(self) -> Host:
        return self.fleet.host("db")

    def prepare(self) -> None:
        """What the roles do not bring: the keys, and a table to add to."""
        self.host.run("umask 077; mkdir -p /etc/paas /var/backups; chmod 755 /var/backups")
        self.host.run(f"umask 077; cat > {KEY}", stdin=secrets.token_hex(32) + "\n")
        self.host.run(f"umask 077; cat > {PASS}", stdin=f"{self.passphrase}\n")
        self.host.run("cat > /srv/ledger.py", stdin=LEDGER)

    def roles(self, *arguments: str, **variables: Any) -> Run:
        """Have the server and its archive, by the roles."""
        given = {
            "postgres_server_archive_stanza": "main",
            "postgres_server_address_variable": "ansible_host",
            "postgres_server_settings": {"shared_buffers": "64MB", "max_wal_size": "256MB", "log_statement": "all"},
            "postgres_server_verify": False,
            "postgres_archive_cipher_pass_file": PASS,
            **variables,
        }
        names = ["paas.hardening.postgres_server", "paas.hardening.postgres_archive"]
        return self._play([{"hosts": "db", "gather_facts": False, "vars": given, "roles": names}], *arguments)

    def do(self, module: str, *arguments: str, **options: Any) -> Run:
        """Run a module there as an ordinary task."""
        given = {"repository": REPOSITORY, "signing_key_file": KEY, **options}
        return self._play([{"hosts": "db", "gather_facts": False, "tasks": [{"name": "Do", f"paas.hardening.{module}": given}]}], *arguments)

    def keep(self, *arguments: str, max_age: str = "1s", retention: Mapping[str, Any] | None = None, **postgres: Any) -> Run:
        more: dict[str, Any] = {"retention": dict(retention)} if retention else {}
        return self.do(
            "workflow_backup", *arguments, kinds=["postgres"], custody="reported", max_age=max_age, postgres={"engine": "pgbackrest", **postgres}, **more
        )

    def drill(self) -> Run:
        return self.do("workflow_restore_drill")

    def restore(self, *arguments: str, data_folder: str = DATA, state: str = "restored", confirm: str = "", point: str = "", **postgres: Any) -> Run:
        chosen = {"point": point} if point else {}
        options = {"kinds": ["postgres"], "state": state, "confirm": confirm, "postgres": {"data_folder": data_folder, **postgres}}
        return self.do("workflow_restore", *arguments, **options, **chosen)

    def sql(self, text: str, database: str = "app") -> str:
        return self.host.run(f"{AS_POSTGRES} psql -X -q -A -t -v ON_ERROR_STOP=1 -d {database}", stdin=text).strip()

    def pgbackrest(self, words: str) -> str:
        return self.host.run(f"{AS_POSTGRES} pgbackrest --stanza=main {words}")

    def backups(self) -> list[str]:
        return [backup["label"] for backup in json.loads(self.pgbackrest("--output=json info"))[0]["backup"]]

    def unit(self, what: str) -> None:
        self.host.run(f"systemctl {what} postgresql@17-main", seconds=120)

    def erase(self) -> None:
        """Kill every process of the server at once, and destroy its data."""
        self.host.run(f"kill -9 $(head -1 {DATA}/postmaster.pid) $(pgrep -u postgres -x postgres) 2>/dev/null; sleep 0.3; rm -rf {DATA}")

    def _play(self, plays: list[dict[str, Any]], *arguments: str) -> Run:
        play = self.folder / "play.yml"
        play.write_text(yaml.safe_dump(plays))
        more = {"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")}
        return run_playbook(self.folder, play, "-i", str(self.fleet.inventory), *arguments, more=more)
