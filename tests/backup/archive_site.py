"""A real host with a PostgreSQL that archives by pgBackRest, made by the roles, and what is done to it."""

from __future__ import annotations

import base64
import io
import json
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ansible_collections.paas.hardening.plugins.module_utils._backup import drill, reading, recovery_point
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore import job
from ansible_collections.paas.hardening.plugins.module_utils._controls import host_postgres_receiver
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.receiver import UNIT
from lab import processes
from tests import labs
from tests.backup.asking import parameters
from tests.contract.playbook import Run, run_playbook
from tests.quality.checkout import ROOT

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

TABLE = "CREATE TABLE IF NOT EXISTS ledger (client int, number int, PRIMARY KEY (client, number));\n"
# Runs a verb on the host as Ansible's module does, without the half minute that a play takes on a busy machine.
DRIVER = """
import importlib, json, os, sys
sys.path.insert(0, "/opt/collection")
above = "ansible_collections.paas.hardening.plugins.module_utils."
run = importlib.import_module(above + "_core.run").run
verb = importlib.import_module(above + sys.argv[1]).VERB
with open("/opt/collection/options.json") as file:
    options = json.load(file)
os.umask(0o077)
print(json.dumps(run(verb.begin, options, check=sys.argv[2] == "check", diff=True)))
"""


@dataclass
class Archive:
    """The host, and plays on it."""

    fleet: Fleet
    folder: Path
    passphrase: str = field(default_factory=lambda: secrets.token_urlsafe(40))
    received_by: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def host(self) -> Host:
        return self.fleet.host("db")

    def prepare(self) -> None:
        """What the roles do not bring: the keys, and a table to add to."""
        self.host.run("umask 077; mkdir -p /etc/paas /var/backups; chmod 755 /var/backups")
        self.host.run(f"umask 077; cat > {KEY}", stdin=secrets.token_hex(32) + "\n")
        self.host.run(f"umask 077; cat > {PASS}", stdin=f"{self.passphrase}\n")
        self.host.run("cat > /srv/ledger.py", stdin=LEDGER)
        self.host.run("cat > /srv/one.sql", stdin="INSERT INTO ledger VALUES (-1, (random() * 2e9)::int) ON CONFLICT DO NOTHING;\n")
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as packed:
            packed.add(ROOT / "plugins/module_utils", "ansible_collections/paas/hardening/plugins/module_utils", filter=_source)
        self.host.run("mkdir -p /opt/collection && base64 -d | tar -xz -C /opt/collection", stdin=base64.b64encode(content.getvalue()).decode())
        self.host.run("cat > /opt/collection/driver.py", stdin=DRIVER)

    def roles(self, *arguments: str, names: Sequence[str] = ("postgres_server", "postgres_archive"), **variables: Any) -> Run:
        """Have the server and its archive, by the roles."""
        given = {
            "postgres_server_archive_stanza": "main",
            "postgres_server_address_variable": "ansible_host",
            # A receiver on the same host: only the database's own disk is lost here.
            "postgres_server_receivers": [{"name": "receiver", "address": "127.0.0.1"}],
            "postgres_server_receiver_password": self.received_by,
            "postgres_server_settings": {"shared_buffers": "64MB", "max_wal_size": "256MB", "log_statement": "all"},
            "postgres_server_verify": False,
            "postgres_archive_cipher_pass_file": PASS,
            **variables,
        }
        roles = [f"paas.hardening.{name}" for name in names]
        return self._play([{"hosts": "db", "gather_facts": False, "vars": given, "roles": roles}], *arguments)

    def do(self, module: str, *arguments: str, **options: Any) -> Run:
        """Run a module there as an ordinary task."""
        given = {"repository": REPOSITORY, "signing_key_file": KEY, **options}
        return self._play([{"hosts": "db", "gather_facts": False, "tasks": [{"name": "Do", f"paas.hardening.{module}": given}]}], *arguments)

    def ask(self, verb: Verb, options: Mapping[str, Any], check: bool = False) -> dict[str, Any]:
        """Run a verb there, with its options checked and completed as Ansible does it."""
        return self._run(verb, {"repository": REPOSITORY, "signing_key_file": KEY, **options}, check)

    def _run(self, verb: Verb, options: Mapping[str, Any], check: bool = False) -> dict[str, Any]:
        given = parameters(verb, options)
        self.host.run("umask 077; cat > /opt/collection/options.json", stdin=json.dumps(given))
        name = verb.begin.__module__.partition("module_utils.")[2]
        said = self.host.run(f"cd / && python3 /opt/collection/driver.py {name} {'check' if check else 'do'}", seconds=900)
        result: dict[str, Any] = json.loads(said)
        return result

    def keep(self, max_age: str = "1s", retention: Mapping[str, Any] | None = None, **postgres: Any) -> dict[str, Any]:
        more: dict[str, Any] = {"retention": dict(retention)} if retention else {}
        about = {"kinds": ["postgres"], "custody": "reported", "max_age": max_age, "postgres": {"engine": "pgbackrest", **postgres}}
        return self.ask(recovery_point.VERB, {**about, **more})

    def look(self, **options: Any) -> dict[str, Any]:
        return self.ask(reading.VERB, options)

    def drill(self, **options: Any) -> dict[str, Any]:
        return self.ask(drill.VERB, options)

    def restore(
        self, check: bool = False, data_folder: str = DATA, state: str = "restored", confirm: str = "", point: str = "", **postgres: Any
    ) -> dict[str, Any]:
        chosen = {"point": point} if point else {}
        options = {"kinds": ["postgres"], "state": state, "confirm": confirm, "postgres": {"data_folder": data_folder, **postgres}}
        return self.ask(job.VERB, {**options, **chosen}, check)

    @contextmanager
    def reading_once(self) -> Iterator[None]:
        """Within, pgBackRest does not try what it cannot restore once more after 15 s: that heals no file."""
        self.host.run("cp -a /etc/pgbackrest.conf /srv/whole.conf; printf '\\n[global:restore]\\njob-retry=0\\n' >> /etc/pgbackrest.conf")
        try:
            yield
        finally:
            self.host.run("mv /srv/whole.conf /etc/pgbackrest.conf")

    def have_ledger(self) -> None:
        """Make the database with its table, and many rows of a client that never comes back."""
        self.sql("CREATE DATABASE app", "postgres")
        self.sql(TABLE + "INSERT INTO ledger SELECT 1000, n FROM generate_series(1, 50000) n;")

    def sql(self, text: str, database: str = "app") -> str:
        return self.host.run(f"{AS_POSTGRES} psql -X -q -A -t -v ON_ERROR_STOP=1 -d {database}", stdin=text).strip()

    def pgbackrest(self, words: str) -> str:
        return self.host.run(f"{AS_POSTGRES} pgbackrest --stanza=main {words}")

    def backups(self) -> list[str]:
        return [backup["label"] for backup in json.loads(self.pgbackrest("--output=json info"))[0]["backup"]]

    def switches(self) -> int:
        """How often a segment was ended by request, by the server's own log of all statements."""
        return int(self.host.run("cat /var/log/postgresql/*.log | grep -c 'pg_switch_wal()' || true"))

    def rows_in(self, folder: str, text: str) -> str:
        """Ask a server that is started on a restored folder, beside the one in use, and ended again."""
        self.host.run("install -d -o postgres /srv/beside; cd /srv/beside; echo 'local all all peer' > hba; chown postgres hba")
        etc = "config_file=/etc/postgresql/17/main/postgresql.conf"
        words = ["listen_addresses=", "archive_mode=off", "hba_file=/srv/beside/hba", "unix_socket_directories=/srv/beside", f"data_directory={folder}"]
        flags = " ".join(f"-c {word}" for word in [etc, *words, "external_pid_file=/srv/beside/pid", "synchronous_standby_names="])
        control = f"{AS_POSTGRES} /usr/lib/postgresql/17/bin/pg_ctl -s -w -D {folder}"
        self.host.run(f"{control} -l /srv/beside/log -o '{flags}' start")
        try:
            return self.host.run(f"{AS_POSTGRES} psql -X -A -t -h /srv/beside -d app", stdin=text).strip()
        finally:
            self.host.run(f"{control} -m fast stop")

    def unit(self, what: str) -> None:
        self.host.run(f"systemctl {what} postgresql@17-main", seconds=120)

    def receive(self) -> None:
        """Start a receiver in an empty folder, and let commits wait for it from now on."""
        self.host.run(f"systemctl stop {UNIT} 2>/dev/null; rm -rf {RECEIVED}")
        # From now on: a restored server has no slots, and that of the role has kept the log of all tests before.
        self.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'receiver'", "postgres")
        self.sql("SELECT pg_create_physical_replication_slot('receiver', true)", "postgres")
        server = {"name": "db", "address": "127.0.0.1", "version": 17, "authority": self.host.run("cat /etc/paas-hardening/postgres/ca.crt")}
        given = {"me": "receiver", "server": server, "password": self.received_by, "folder": RECEIVED, "free_percent": 0}
        made = self._run(host_postgres_receiver.VERB, given)
        assert not made.get("failed"), made["msg"]
        self._wait_for("application_name = 'receiver' AND state = 'streaming'")
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'receiver'", "postgres")
        self.sql("SELECT pg_reload_conf()", "postgres")
        self._wait_for("sync_state = 'sync'")

    def _wait_for(self, what: str) -> None:
        question = f"SELECT count(*) FROM pg_stat_replication WHERE {what}"
        assert processes.wait_until(lambda: self.sql(question, "postgres") == "1", 60), self.host.run(f"journalctl -u {UNIT} --no-pager | tail -5")

    def begin_anew(self) -> None:
        """Start the server on what was restored, without a receiver."""
        self.unit("reset-failed")
        self.unit("start")
        self.sql("ALTER SYSTEM RESET synchronous_standby_names", "postgres")
        self.sql("SELECT pg_reload_conf()", "postgres")

    def throughput(self) -> float:
        """Small transactions a second, of eight clients, for some seconds."""
        said = self.host.run(f"{AS_POSTGRES} pgbench -n -c 8 -T 5 -f /srv/one.sql app", seconds=60)
        return float(said.partition("tps = ")[2].split()[0])

    def erase(self) -> None:
        """Kill every process of the server at once, and destroy its data."""
        self.host.run(f"kill -9 $(head -1 {DATA}/postmaster.pid) $(pgrep -u postgres -x postgres) 2>/dev/null; sleep 0.3; rm -rf {DATA}")

    def _play(self, plays: list[dict[str, Any]], *arguments: str) -> Run:
        play = self.folder / "play.yml"
        play.write_text(yaml.safe_dump(plays))
        more = {"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")}
        return run_playbook(self.folder, play, "-i", str(self.fleet.inventory), *arguments, more=more)


@contextmanager
def opened(folder: Path, report: Callable[[str], None]) -> Iterator[Archive]:
    """A bare host for it, until the end of the block."""
    with labs.hosts(["db:trixie"], report=report, purpose="pgb") as fleet:
        made = Archive(fleet, folder)
        made.prepare()
        yield made


def _source(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry
