"""The log of a server received on another host, by the playbook: predicted, done, done once, seen by the server, through every fault, and told in words.

The tests tell one story, in this order.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.receiver import AUTHORITY_FILE, PASSWORD_FILE, PRUNE, TIMER, UNIT
from lab import processes
from tests import labs
from tests.contract.playbook import Run, run_playbook
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

RECEIVE, SEEN = "Receive the log", "Let the server say who receives its log, and what commits wait for"
FOLDER = "/srv/received"
AS_POSTGRES = "cd / && setpriv --reuid=postgres --regid=postgres --init-groups"
LOOK = f"getent passwd paas-receiver; ls -lA /etc/systemd/system {FOLDER} /etc/paas-hardening 2>&1; true"


@dataclass
class Pair:
    """The server, who receives its log, and the playbook for both."""

    fleet: Fleet
    folder: Path
    password: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def server(self) -> Host:
        return self.fleet.host("db1")

    @property
    def keeper(self) -> Host:
        return self.fleet.host("keep-1")

    def run(self, *arguments: str, **variables: Any) -> Run:
        """Run the part of hosts.yml that is about PostgreSQL, with variables above those of the inventory."""
        inventory = self.folder / "groups.yml"
        groups = {"postgres": {"hosts": {"db1": {}}}, "postgres_receiver": {"hosts": {"keep-1": {}}}}
        given = {
            "postgres_server_settings": {"shared_buffers": "64MB", "log_statement": "all"},
            "postgres_server_synchronous": True,
            "postgres_server_receiver_password": self.password,
            "postgres_receiver_password": self.password,
            "postgres_receiver_folder": FOLDER,
            # The machine's disk is not the lab's alone.
            "postgres_receiver_free_percent": 0,
        }
        inventory.write_text(yaml.safe_dump({"all": {"children": groups, "vars": given}}))
        inventory.chmod(0o600)
        return run_playbook(
            self.folder,
            ROOT / "playbooks/hosts.yml",
            *("-i", str(self.fleet.inventory), "-i", str(inventory), "--tags", "postgres", *arguments),
            variables=variables,
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def sql(self, text: str) -> str:
        return self.server.run(f"{AS_POSTGRES} psql -X -q -A -t -v ON_ERROR_STOP=1", stdin=text).strip()

    def commits(self, seconds: float) -> bool:
        """Write a row, and tell whether the server acknowledged it within so many seconds."""
        words = f"timeout {seconds} psql -X -q -v ON_ERROR_STOP=1 -c 'INSERT INTO rows DEFAULT VALUES' 2>&1"
        return self.server.run(f"{AS_POSTGRES} {words}; echo $?").strip().endswith("0")

    def receives(self) -> bool:
        return self.sql("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'keep_1' AND sync_state = 'quorum'") == "1"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Pair]:
    with labs.hosts(["db1:trixie", "keep-1:trixie"], report=report, purpose="rcv") as fleet:
        yield Pair(fleet, tmp_path_factory.mktemp("receiver"))


def statuses(result: Mapping[str, Any]) -> dict[str, str]:
    return {finding["control"].removeprefix("host-postgres-"): finding["status"] for finding in result["findings"]}


def test_without_a_server_an_audit_and_a_prediction_say_so_and_touch_nothing(pair: Pair) -> None:
    before = pair.keeper.run(LOOK)
    for arguments in ((), ("--check",)):
        run = pair.run(*arguments, postgres_server_mode="audit", postgres_receiver_mode="audit").ok()
        assert "There is no server on db1 yet" in run.output
    assert pair.keeper.run(LOOK) == before


def test_what_is_predicted_is_done_once_and_the_server_says_so(pair: Pair, measured: Measured) -> None:
    # The server alone first, so that there is something to predict from; commits wait already, and it is made all the same.
    pair.run("--limit", "db1").ok()
    before = pair.keeper.run(LOOK)
    predicted = pair.run("--check", "--diff").ok()
    assert pair.keeper.run(LOOK) == before
    assert statuses(predicted.result(SEEN, "keep-1")) == {"receiver-reach": "fail"}
    begun = time.monotonic()
    done = pair.run("--diff").ok()
    measured(figures.told("a receiver from nothing", time.monotonic() - begun, "s", "with a look at the server"))
    told = done.result(RECEIVE, "keep-1")
    assert told["plan"] == predicted.result(RECEIVE, "keep-1")["plan"]
    assert set(statuses(told).values()) == {"fixed"}
    assert told["receiver"]["segment"].endswith(".partial")
    again = pair.run().ok()
    assert (again.result(RECEIVE, "keep-1")["plan"], again.output.count("changed=0")) == ([], 2), again.output
    assert set(statuses(again.result(RECEIVE, "keep-1")).values()) | set(statuses(again.result(SEEN, "keep-1")).values()) == {"pass"}
    # The policy is part of the report.
    checks = {check["what"]: check["observed"] for check in again.result(SEEN, "keep-1")["findings"][0]["proof"]["checks"]}
    assert checks["what becomes of commits while nobody is there to receive them"].startswith("they wait until keep_1 is back")
    assert checks["commits wait for keep_1"] == "quorum"
    assert pair.sql(
        "SELECT rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE rolreplication AND rolname <> 'postgres'"
    ) == ("receiver|f")
    for run in (predicted, done, again):
        assert pair.password not in run.output


def test_no_secret_is_shown_and_the_service_can_do_nothing_else(pair: Pair) -> None:
    for host in (pair.server, pair.keeper):
        host.run("umask 077; cat > /run/known-secret", stdin=pair.password + "\n")
        places = "/var/log /etc/systemd /run/systemd /var/lib/postgresql /srv"
        host.run("ps -eo args > /tmp/args; journalctl --no-pager --quiet > /tmp/journal")
        assert host.run(f"grep -rlaFf /run/known-secret /tmp/args /tmp/journal {places} 2>/dev/null || true") == ""
    assert pair.keeper.run("grep -rlaFf /run/known-secret /etc").split() == [PASSWORD_FILE]
    process = pair.keeper.run(f"systemctl show -p MainPID --value {UNIT}").strip()
    seen = dict(line.split(":", 1) for line in pair.keeper.run(f"cat /proc/{process}/status").splitlines() if ":" in line)
    assert (seen["NoNewPrivs"].strip(), seen["Seccomp"].strip(), int(seen["CapEff"], 16), int(seen["CapBnd"], 16)) == ("1", "2", 0, 0)
    assert pair.keeper.run(f"ps -o user:20= -p {process}").strip() == "paas-receiver"
    assert pair.keeper.run(f"nsenter -t {process} -m touch /var/lib/x 2>&1 || true").strip().endswith("Read-only file system")
    assert pair.keeper.run(f"stat -c '%a %U' {FOLDER} {PASSWORD_FILE} {AUTHORITY_FILE}").split("\n")[:3] == [
        *("700 paas-receiver", "600 paas-receiver", "644 root"),
    ]


def test_while_it_is_away_commits_wait_and_when_it_is_killed_they_wait_for_a_moment(pair: Pair, measured: Measured) -> None:
    pair.sql("CREATE TABLE rows (at timestamptz DEFAULT clock_timestamp())")
    assert pair.commits(20)
    pair.keeper.run(f"systemctl stop {UNIT}")
    assert not pair.commits(3)
    # An administrator's own statements of the role go on, and the run says what is the matter, and mends it.
    found = pair.run("--check").ok()
    assert statuses(found.result(SEEN, "keep-1")) == {"receiver-reach": "fail"}
    assert [change["field"] for change in found.result(RECEIVE, "keep-1")["plan"]] == ["running"]
    assert [change["field"] for change in pair.run().ok().result(RECEIVE, "keep-1")["plan"]] == ["running"]
    assert pair.commits(20)
    begun = time.monotonic()
    pair.keeper.run(f"systemctl kill -s KILL {UNIT}")
    assert pair.commits(60)
    measured(figures.told("a receiver was killed: commits waited for", time.monotonic() - begun, "s"))


def test_it_comes_back_by_itself_after_reboots_and_has_what_it_missed(pair: Pair) -> None:
    pair.keeper.reboot()
    assert processes.wait_until(pair.receives, 90)
    pair.server.run("systemctl restart postgresql@17-main", seconds=120)
    assert processes.wait_until(pair.receives, 90)
    pair.keeper.run(f"systemctl stop {UNIT}")
    pair.sql("SET synchronous_commit = 'local'; CREATE TABLE more AS SELECT n, md5(n::text) FROM generate_series(1, 300000) n; SELECT pg_switch_wal()")
    pair.keeper.run(f"systemctl start {UNIT}")
    assert processes.wait_until(pair.receives, 90)
    # Each segment that the server has written, and that it still has, is there byte for byte.
    theirs = pair.server.run(f"{AS_POSTGRES} bash -c 'cd ~postgres/17/main/pg_wal && sha256sum 0000000100000000*'").splitlines()
    mine = set(pair.keeper.run(f"cd {FOLDER} && sha256sum 0000000100000000*").splitlines())
    current = pair.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    whole = {line for line in theirs if line.split()[1] < current and "." not in line.split()[1]}
    first = min(line.split()[1] for line in mine)
    assert {line for line in whole if line.split()[1] > first} <= mine
    assert len(mine) >= 3


def test_what_is_old_goes_and_what_is_written_and_what_is_strange_stays(pair: Pair) -> None:
    pair.keeper.run(f"cd {FOLDER} && touch -d '15 days ago' {'0' * 24} *.partial 00000002.history && chown paas-receiver *")
    pair.keeper.run(f"systemctl start {PRUNE}")
    left = pair.keeper.run(f"ls {FOLDER}").split()
    assert "0" * 24 not in left
    assert "00000002.history" in left
    assert any(name.endswith(".partial") for name in left)
    pair.keeper.run(f"rm {FOLDER}/00000002.history")
    pair.keeper.run("mkdir -p /srv/other && echo rows > /srv/other/rows.csv")
    refused = pair.run("--limit", "db1,keep-1", postgres_receiver_folder="/srv/other")
    assert (refused.status, "files that are no log: rows.csv" in refused.output) == (2, True), refused.output
    assert pair.keeper.run("stat -c %U /srv/other").strip() == "root"


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (f"chmod 644 {PASSWORD_FILE}", [("File", "mode")]),
        (f"chmod 755 {FOLDER}", [("Folder", "mode")]),
        (f"echo '*:*:*:receiver:another' > {PASSWORD_FILE}; systemctl restart {UNIT}", [("File", "content"), ("Unit", "restarted")]),
        (
            f"sed -i 's/verify-full/require/' /etc/systemd/system/{UNIT}; systemctl daemon-reload; systemctl restart {UNIT}",
            [("File", "content"), ("Unit", "restarted")],
        ),
        (f"systemctl disable --quiet --now {TIMER}", [("Unit", "at boot"), ("Unit", "running")]),
        (f"systemctl disable --quiet --now {UNIT}", [("Unit", "at boot"), ("Unit", "running")]),
    ],
    ids=["password open", "log open", "another password", "server not verified", "nothing goes", "stopped for good"],
)
def test_what_was_broken_by_hand_is_seen_and_mended(pair: Pair, harm: str, expected: list[tuple[str, str]]) -> None:
    pair.keeper.run(harm)
    predicted = pair.run("--check").ok().result(RECEIVE, "keep-1")["plan"]
    assert [(change["object"].split()[0], change["field"]) for change in predicted] == expected
    assert pair.run().ok().result(RECEIVE, "keep-1")["plan"] == predicted
    assert processes.wait_until(pair.receives, 60)


def test_a_server_that_is_another_or_lets_nobody_in_is_told(pair: Pair) -> None:
    refused = pair.run(postgres_receiver_password="another password")
    assert (refused.status, "password authentication failed" in refused.output) == (2, True), refused.output
    pair.run().ok()
    proceed = pair.run(postgres_receiver_commits="proceed")
    assert (proceed.status, "expected they go on, observed they wait" in proceed.output) == (2, True), proceed.output
    beside = pair.run(postgres_receiver_server="keep-1")
    assert (beside.status, "postgres_receiver_beside_server" in beside.output) == (2, True), beside.output
