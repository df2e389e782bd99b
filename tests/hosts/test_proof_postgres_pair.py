"""A primary and its standby: switched over under load, power lost under load, and a standby that never comes back.

The tests tell one story, in this order; each goes on from where the one before has left the pair.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping

import pytest

from tests.hosts.postgres_site import OURS, PAIR, PRIMARY, STANDBY, Servers, findings
from tests.perf import figures
from tests.proof import Measured


@pytest.fixture(scope="module", autouse=True)
def pair(servers: Servers) -> None:
    """All servers as the inventory has them, with a table of the client's, which is on the host that is not of the pair."""
    servers.run().ok()
    assert servers.log_in("db1", "SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS marks (n int);") == ""


def test_what_a_standby_must_not_have_less_of_is_raised_there_first_and_lowered_last(servers: Servers) -> None:
    host = servers.hosts["db2"]
    host.run("truncate --size 0 /var/log/postgresql/*.log")
    for connections in (250, 200):
        run = servers.run("--limit", "pair", postgres_server_connections=connections).ok()
        for name in PAIR:
            assert servers.sql(name, "SHOW max_connections;") == str(connections), run.output
        again = servers.run("--limit", "pair", postgres_server_connections=connections).ok()
        assert [again.result(PRIMARY, "db1")["plan"], again.result(STANDBY, "db2")["plan"]] == [[], []]
    assert "insufficient parameter settings" not in host.run("cat /var/log/postgresql/*.log")


# Notes every row that the server has acknowledged, whoever is the primary.
WRITER = """#!/bin/bash
n=0
while [ ! -e /tmp/enough ]; do
    n=$((n + 1))
    mark=$(($1 * 1000000 + n))
    PGCONNECT_TIMEOUT=2 psql -X -q "$(cat /tmp/dsn)" -c "INSERT INTO marks VALUES ($mark)" 2>/dev/null && echo "$mark $(date +%s.%N)" >>"/tmp/acks.$1"
done
"""


class Writers:
    """Clients that write all the time, on the host that is no server of the pair."""

    def __init__(self, servers: Servers) -> None:
        self._host = servers.hosts["db3"]
        servers.log_in("db1", "SELECT 1;")
        authorities = "".join(servers.hosts[name].run(f"cat {OURS}/ca.crt") for name in PAIR)
        self._host.run("cat > /tmp/authorities.crt", stdin=authorities)
        words = "host=db1,db2 target_session_attrs=read-write user=app dbname=app sslmode=verify-full sslrootcert=/tmp/authorities.crt passfile=/tmp/passwords"
        self._host.run("cat > /tmp/dsn", stdin=words)
        self._host.run("cat > /tmp/writer && chmod 755 /tmp/writer && rm -f /tmp/acks.* /tmp/enough", stdin=WRITER)
        self._host.run("for n in 1 2 3 4; do systemd-run --quiet --collect --unit=writer-$n /tmp/writer $n; done")
        self.wait(4)

    def acknowledged(self) -> dict[int, float]:
        lines = self._host.run("cat /tmp/acks.* 2>/dev/null || true").split()
        return {int(number): float(moment) for number, moment in zip(lines[::2], lines[1::2], strict=True)}

    def wait(self, more: int) -> None:
        """Wait until so many more rows are acknowledged."""
        wanted = len(self.acknowledged()) + more
        deadline = time.monotonic() + 60
        while len(self.acknowledged()) < wanted:
            assert time.monotonic() < deadline, "the writers write no more"
            time.sleep(0.2)

    def end(self) -> dict[int, float]:
        self._host.run("touch /tmp/enough; for n in 1 2 3 4; do while systemctl is-active --quiet writer-$n; do sleep 0.1; done; done")
        return self.acknowledged()


def gap(acknowledged: Mapping[int, float]) -> float:
    """The longest time in which nothing was acknowledged, in seconds."""
    moments = sorted(acknowledged.values())
    return max(after - before for before, after in itertools.pairwise(moments))


def lost(servers: Servers, host: str, acknowledged: Mapping[int, float]) -> set[int]:
    return set(acknowledged) - set(map(int, servers.sql(host, "SELECT n FROM marks;", "app").split()))


def test_a_switchover_loses_no_acknowledged_commit(servers: Servers, measured: Measured) -> None:
    predicted = servers.switch("db1", "db2", "--check").ok()
    assert predicted.result("Stop the primary", "db2")["changed"] is True
    assert servers.sql("db1", "SELECT pg_is_in_recovery();") == "f"
    writers = Writers(servers)
    begun = time.monotonic()
    servers.switch("db1", "db2").ok()
    seconds = time.monotonic() - begun
    writers.wait(40)
    acknowledged = writers.end()
    measured(
        figures.at_most("switchover: acknowledged commits lost", len(lost(servers, "db2", acknowledged)), f"of {len(acknowledged)}", 0),
        figures.told("switchover: nothing acknowledged for", gap(acknowledged), "s"),
        figures.told("switchover: the whole playbook", seconds, "s"),
    )
    assert servers.sql("db2", "SELECT application_name, state FROM pg_stat_replication;") == "db1|streaming"
    assert servers.sql("db1", "SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_replication_slots);") == "t|0"
    run = servers.run("--limit", "pair", postgres_server_primary="db2").ok()
    assert [run.result(PRIMARY, "db2")["plan"], run.result(STANDBY, "db1")["plan"]] == [[], []]


def test_the_old_inventory_does_not_turn_it_back(servers: Servers) -> None:
    run = servers.run("--limit", "pair")
    assert (run.status, "This host is a standby, and is wanted as a primary" in run.output) == (2, True), run.output
    refused = servers.switch("db1", "db2")
    assert (refused.status, "This host is a standby, not the primary" in refused.output) == (2, True), refused.output
    assert servers.sql("db2", "SELECT pg_is_in_recovery();") == "f"


def test_a_synchronous_primary_that_loses_its_power_takes_no_acknowledged_commit_with_it(servers: Servers, measured: Measured) -> None:
    servers.run("--limit", "pair", postgres_server_primary="db2", postgres_server_synchronous=True).ok()
    assert servers.sql("db2", "SELECT sync_state FROM pg_stat_replication;") == "quorum"
    writers = Writers(servers)
    writers.wait(40)
    # Fencing by the plug; then the standby is promoted by hand, as the runbook says.
    servers.hosts["db2"].cut_power()
    servers.sql("db1", "SELECT pg_promote(true, 60);")
    # It would wait for the one that is off: whoever promotes by hand decides that it need not.
    servers.sql("db1", "ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();")
    writers.wait(20)
    acknowledged = writers.end()
    measured(
        figures.at_most("power cut of a synchronous primary: acknowledged commits lost", len(lost(servers, "db1", acknowledged)), f"of {len(acknowledged)}", 0),
        figures.told("power cut of a synchronous primary: nothing acknowledged for", gap(acknowledged), "s", "promoted by hand at once"),
    )


def test_a_dead_standby_does_not_fill_the_disk(servers: Servers) -> None:
    run = servers.run("--limit", "db1", postgres_server_primary="db1").ok()
    assert "Slot db2" in [change["object"] for change in run.result(PRIMARY, "db1")["plan"]]
    for _segment in range(24):
        servers.sql("db1", "INSERT INTO marks VALUES (0); SELECT pg_switch_wal();", "app")
        servers.sql("db1", "CHECKPOINT;")
    assert servers.sql("db1", "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'db2';") == "lost"
    assert int(servers.hosts["db1"].run("df --output=pcent /var/lib/postgresql | tail -1").strip().rstrip("%")) < 80
    told = findings(servers.run("--limit", "db1").ok().result(PRIMARY, "db1"))["replication"]
    assert (told["status"], told["reasons"]) == ("fail", ["The standby of slot db2 is too far behind."])
