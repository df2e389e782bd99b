"""A primary that was lost comes back: with nothing of its own, with commits that nobody else has, and after a rewind that was killed in the middle.

The tests tell one story, in this order; each goes on from where the one before has left the pair.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests import labs
from tests.contract.playbook import Run
from tests.hosts.postgres_site import PAIR, PRIMARY, STANDBY, Servers, findings
from tests.perf import figures
from tests.proof import Measured

PROGRAMS, FOLDER = "/usr/lib/postgresql/15/bin", "/var/lib/postgresql/15"
ACCOUNT = "cd / && setpriv --reuid=postgres --regid=postgres --init-groups"
CLOSED = "Take back what the rewind needed of the primary"
# Every row of every table of the benchmark.
DIGEST = """SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY aid)) FROM pgbench_accounts t), (SELECT md5(string_agg(t::text, ',' ORDER BY tid)) FROM
pgbench_tellers t), (SELECT count(*) || md5(string_agg(t::text, ',' ORDER BY t::text)) FROM pgbench_history t);"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Servers]:
    """A pair of its own, with the tables of pgbench: what other tests leave of theirs is no beginning of this story."""
    # Room for the data that is moved aside, and its copy.
    with labs.hosts(["db1", "db2", "db3:trixie"], disks=1, report=report, purpose="rejoin", size="2G") as fleet:
        # What a run predicts is not to depend on when a checkpoint in the background ends, however slow the machine is.
        made = Servers(fleet, tmp_path_factory.mktemp("rejoin"), settings={"checkpoint_timeout": "1h"})
        made.run("--limit", "pair").ok()
        made.hosts["db1"].run(f"{ACCOUNT} {PROGRAMS}/pgbench -q -i -s 5 app 2>&1")
        yield made


def rejoin(servers: Servers, primary: str, *arguments: str, **variables: Any) -> Run:
    return servers.run("--limit", "pair", *arguments, postgres_server_primary=primary, **variables)


def crash(servers: Servers, name: str) -> None:
    """End the server of a host as a crash does, and wait until nothing of it is left."""
    host = servers.hosts[name]
    host.run(f"kill -9 $(head -1 {FOLDER}/main/postmaster.pid); while systemctl is-active --quiet postgresql@15-main; do sleep 0.2; done")


def promote(servers: Servers, name: str) -> None:
    assert servers.sql(name, "SELECT pg_promote(true, 60);") == "t"


def diverge(servers: Servers, primary: str, standby: str) -> None:
    """Let a primary take commits that its standby never gets, crash it in the middle of them, and promote the standby, which takes others."""
    # Slow enough on any machine that the log does not call for a checkpoint meanwhile: with it goes the log from before the fork, and the way back.
    benchmark = f"{ACCOUNT} {PROGRAMS}/pgbench -n -c 4 -R 40 -T 900 app >/tmp/pgbench.log 2>&1"
    host = servers.hosts[primary]
    host.run(f"systemd-run --quiet --collect --unit=load bash -c '{benchmark}'")
    wait_for(servers, primary, 50)
    servers.hosts[standby].cut_network()
    wait_for(servers, primary, 50)
    crash(servers, primary)
    servers.hosts[standby].mend_network()
    promote(servers, standby)
    servers.hosts[standby].run(f"{ACCOUNT} {PROGRAMS}/pgbench -n -c 2 -t 100 app >/dev/null 2>&1")


def wait_for(servers: Servers, name: str, more: int) -> None:
    """Wait until so many more transactions are through."""
    question = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'app';"
    wanted, deadline = int(servers.sql(name, question)) + more, time.monotonic() + 300
    while int(servers.sql(name, question)) < wanted:
        assert time.monotonic() < deadline, "pgbench does not get on"
        time.sleep(0.5)


def plan(run: Run, task: str, host: str) -> dict[str, Mapping[str, Any]]:
    return {change["field"]: change for change in run.result(task, host)["plan"]}


def require_equal(servers: Servers, primary: str, standby: str) -> None:
    """Both hold the same rows, at the same place of the log."""
    target = servers.sql(primary, "SELECT pg_current_wal_insert_lsn();")
    deadline = time.monotonic() + 240
    while servers.sql(standby, f"SELECT coalesce(pg_last_wal_replay_lsn() >= '{target}', false);") != "t":
        assert time.monotonic() < deadline, f"{standby} does not come to {target}"
        time.sleep(0.2)
    assert servers.sql(standby, "SELECT pg_is_in_recovery();") == "t"
    assert servers.sql(standby, DIGEST, "app") == servers.sql(primary, DIGEST, "app")
    assert servers.sql(primary, "SELECT application_name, state FROM pg_stat_replication;") == f"{standby}|streaming"


def require_done(servers: Servers, primary: str, standby: str, **variables: Any) -> None:
    """Nothing is left to do, neither with the host named once more nor without."""
    for more in ({"postgres_server_rejoin_host": standby, **variables}, {}):
        run = rejoin(servers, primary, **more).ok()
        assert [run.result(PRIMARY, primary)["plan"], run.result(STANDBY, standby)["plan"]] == [[], []]
    assert servers.sql(primary, "SELECT count(*) FROM pg_proc, aclexplode(proacl) WHERE grantee = 'replicator'::regrole;") == "0"
    assert "hostssl postgres" not in servers.hosts[primary].run("cat /etc/postgresql/15/main/pg_hba.conf")


def look(servers: Servers, name: str) -> str:
    """All files of the data with their times and sizes, and how the server is started."""
    return servers.hosts[name].run(f"find {FOLDER} /etc/postgresql/15 /etc/paas-hardening -printf '%p %s %T@\\n' | sort | sha256sum")


def test_one_that_is_only_behind_follows_without_a_rewind(servers: Servers) -> None:
    crash(servers, "db1")
    promote(servers, "db2")
    servers.hosts["db2"].run(f"{ACCOUNT} {PROGRAMS}/pgbench -n -t 100 app >/dev/null 2>&1")
    refused = rejoin(servers, "db2")
    assert (refused.status, "and db2 has all of it" in refused.output) == (2, True), refused.output
    predicted = rejoin(servers, "db2", "--check", postgres_server_rejoin_host="db1").ok()
    done = rejoin(servers, "db2", postgres_server_rejoin_host="db1").ok()
    told = plan(done, STANDBY, "db1")
    assert (told["standby"]["after"], "rewound" in told) == (True, False)
    assert plan(predicted, STANDBY, "db1") == told
    assert servers.hosts["db1"].run(f"ls {FOLDER}").split() == ["main"]
    require_equal(servers, "db2", "db1")
    require_done(servers, "db2", "db1")


def test_commits_that_nobody_else_has_are_told_and_given_up_only_by_who_names_the_host(servers: Servers, measured: Measured) -> None:
    diverge(servers, "db2", "db1")
    before = look(servers, "db2")
    audit = rejoin(servers, "db1", postgres_server_mode="audit").ok()
    refused = rejoin(servers, "db1")
    assert refused.status == 2
    found = re.search(
        r"they went apart at ([0-9A-F/]+) of timeline 2, and since then it wrote (\d+) bytes of log, up to ([0-9A-F/]+), with (\d+) commits", refused.output
    )
    assert found, refused.output
    assert found[0] in str(findings(audit.result(STANDBY, "db2"))["server"]["reasons"])
    assert found[1] in servers.hosts["db1"].run(f"cat {FOLDER}/main/pg_wal/00000003.history")
    assert min(int(found[2]), int(found[4])) >= 20
    predicted = rejoin(servers, "db1", "--check", postgres_server_rejoin_host="db2").ok()
    assert look(servers, "db2") == before
    begun = time.monotonic()
    done = rejoin(servers, "db1", postgres_server_rejoin_host="db2").ok()
    seconds = time.monotonic() - begun
    told = plan(done, STANDBY, "db2")
    assert plan(predicted, STANDBY, "db2") == told
    assert plan(predicted, PRIMARY, "db1") == plan(done, PRIMARY, "db1")
    assert "timeline of the checkpoint" in plan(done, PRIMARY, "db1")
    assert (told["rewound"]["after"], found[0] in told["rewound"]["why"]) == (f"{found[1]} of timeline 2", True)
    closed = plan(done, CLOSED, "db1")
    (line,) = set(closed) - {"may read the server's files", "reloaded"}
    assert (len(closed), "hostssl postgres replicator " in line) == (3, True)
    require_equal(servers, "db1", "db2")
    kept = told["given up log"]["after"]
    commits = servers.hosts["db2"].run(
        f"cd {kept} && {PROGRAMS}/pg_waldump --path=. --timeline=2 --start={found[1]} --rmgr=Transaction 2>/dev/null | grep -c COMMIT || true"
    )
    assert int(commits) == int(found[4])
    require_done(servers, "db1", "db2")
    measured(
        figures.told("former primary rewound: commits given up and kept aside", int(found[4]), "", f"{found[2]} bytes of log"),
        figures.told("former primary rewound: the whole playbook", seconds, "s"),
    )


# Kills pg_rewind as soon as its real run has begun, by its number.
KILLER = f"""import os, signal, time
while not os.path.exists("{FOLDER}/main.rewinding"):
    time.sleep(0.001)
while True:
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{{number}}/cmdline", "rb").read()
        except OSError:
            continue
        if words.startswith(b"{PROGRAMS}/pg_rewind") and b"--dry-run" not in words:
            os.kill(int(number), signal.SIGKILL)
            raise SystemExit
"""


def test_a_rewind_that_was_killed_is_recognised_and_only_a_new_copy_mends_it(servers: Servers) -> None:
    diverge(servers, "db1", "db2")
    host = servers.hosts["db1"]
    host.run("cat > /tmp/killer.py && systemd-run --quiet --collect --unit=killer python3 /tmp/killer.py", stdin=KILLER)
    killed = rejoin(servers, "db2", postgres_server_rejoin_host="db1")
    assert (killed.status, "pg_rewind failed (-9)" in killed.output) == (2, True), killed.output
    # What it left looks like a server that was stopped in good order.
    assert re.search(r"state: *shut down\n", host.run(f"{PROGRAMS}/pg_controldata {FOLDER}/main"))
    for primary, variables in (("db2", {"postgres_server_rejoin_host": "db1"}), ("db2", {}), ("db1", {})):
        refused = rejoin(servers, primary, **variables)
        assert refused.status == 2
        assert "A rewind of /var/lib/postgresql/15/main has begun and not ended" in refused.output or primary == "db1", refused.output
    host.reboot()
    assert host.run("systemctl start postgresql@15-main; pg_lsclusters --no-header").split()[3] == "down"
    done = rejoin(servers, "db2", postgres_server_rejoin_host="db1", postgres_server_rejoin_by="copy").ok()
    aside = plan(done, STANDBY, "db1")["former data"]["after"]
    assert host.run(f"cat {aside}/PG_VERSION").strip() == "15"
    assert host.run(f"ls {FOLDER}/main.rewinding {FOLDER}/main.incoming 2>/dev/null || true") == ""
    require_equal(servers, "db2", "db1")
    require_done(servers, "db2", "db1", postgres_server_rejoin_by="copy")
    host.reboot()
    require_equal(servers, "db2", "db1")


def test_a_primary_that_still_runs_is_stopped_by_a_person_first(servers: Servers) -> None:
    # Who is stopped in good order keeps its log from its own last checkpoint on: one from before the fork has to be in the same segment.
    servers.sql("db2", "CHECKPOINT;")
    require_equal(servers, "db2", "db1")
    promote(servers, "db1")
    refused = rejoin(servers, "db2", postgres_server_rejoin_host="db1")
    assert (refused.status, "This host is a primary of its own" in refused.output) == (2, True), refused.output
    servers.hosts["db1"].run("systemctl stop postgresql@15-main")
    done = rejoin(servers, "db2", postgres_server_rejoin_host="db1").ok()
    assert "rewound" in plan(done, STANDBY, "db1")
    require_equal(servers, "db2", "db1")
    assert PAIR == ["db1", "db2"]
