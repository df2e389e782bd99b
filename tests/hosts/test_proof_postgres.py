"""PostgreSQL on real hosts of Debian 12 and 13: predicted, done, done once, proved from another host, up after a reboot, and every fault named and mended.

The tests tell one story, in this order.
"""

from __future__ import annotations

import time

import pytest

from tests.hosts.postgres_site import HOSTS, OURS, PAIR, Servers, findings, nothing, statuses
from tests.perf import figures
from tests.proof import Measured


def test_an_audit_of_bare_hosts_tells_what_is_missing_and_touches_nothing(servers: Servers) -> None:
    look = "ls -A /etc/systemd/system /etc/postgresql* /etc/paas-hardening /var/lib/postgresql /usr/lib/postgresql 2>&1; blkid -p /dev/vdb; true"
    before = {name: host.run(look) for name, host in servers.hosts.items()}
    run = servers.run(postgres_server_mode="audit").ok()
    for name in HOSTS:
        assert statuses(servers.result(run, name)) == {"would-fix"}, run.output
    assert "[WOULD FIX] Roles have no right that they do not need" in run.output
    assert {name: host.run(look) for name, host in servers.hosts.items()} == before


def test_what_check_mode_predicts_is_what_happens_and_it_happens_once(servers: Servers, measured: Measured) -> None:
    predicted = servers.run("--check", "--diff").ok()
    begun = time.monotonic()
    done = servers.run("--diff").ok()
    seconds = time.monotonic() - begun
    for name in HOSTS:
        assert servers.plans(done)[name] == servers.plans(predicted)[name], name
        assert statuses(servers.result(done, name)) == {"fixed"}
    begun = time.monotonic()
    again = servers.run().ok()
    again_seconds = time.monotonic() - begun
    measured(figures.told("three PostgreSQL servers from nothing", seconds, "s"), figures.told("three PostgreSQL servers: second run", again_seconds, "s"))
    assert servers.plans(again) == nothing(servers)
    assert "changed=1" not in again.output
    for name in HOSTS:
        assert statuses(servers.result(again, name)) == {"pass"}
    for run in (predicted, done, again):
        assert [name for name, password in servers.passwords.items() if password in run.output or password[:32] in run.output] == []


def test_it_is_what_it_has_to_be_by_the_word_of_others(servers: Servers) -> None:
    for name, major in HOSTS.items():
        host = servers.hosts[name]
        assert host.run("findmnt -n -o FSTYPE /var/lib/postgresql").strip() == "xfs"
        assert host.run("pg_lsclusters --no-header").split()[:4] == [str(major), "main", "5432", "online,recovery" if name == "db2" else "online"]
        assert "Data page checksum version:           1" in host.run(f"/usr/lib/postgresql/{major}/bin/pg_controldata /var/lib/postgresql/{major}/main")
        listening = {line.split()[3].rpartition(":")[0] for line in host.run("ss -Hltn sport = :5432").splitlines()}
        assert {host.address, "127.0.0.1"} <= listening <= {host.address, "127.0.0.1", "[::1]"}
        assert host.run(f"stat -c '%a %U' {OURS}/server.key {OURS}/ca.key").split() == ["600", "postgres", "600", "root"]
        assert servers.sql(
            name, "SELECT name || '=' || setting FROM pg_settings WHERE name IN ('ssl', 'password_encryption', 'wal_level') ORDER BY name;"
        ).split() == [
            "password_encryption=scram-sha-256",
            "ssl=on",
            "wal_level=replica",
        ]


def test_a_client_on_another_host_verifies_the_server_in_full(servers: Servers) -> None:
    assert servers.log_in("db1", "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid();") == "t|TLSv1.3"
    assert servers.log_in("db1", "CREATE TABLE marks (n int); INSERT INTO marks VALUES (1); SELECT n FROM marks;") == "1"
    assert servers.log_in("db1", "SELECT current_user;", role="reader") == "reader"
    assert servers.log_in("db3", "SELECT current_user;", client="db1") == "app"
    assert "no pg_hba.conf entry" in servers.log_in("db1", "SELECT 1;", mode="disable")
    assert "no pg_hba.conf entry" in servers.log_in("db1", "SELECT 1;", client="db2")
    assert "no pg_hba.conf entry" in servers.log_in("db1", "SELECT 1;", database="postgres")
    assert "permission denied" in servers.log_in("db1", "SELECT count(*) FROM marks;", role="reader")
    host = servers.hosts["db3"]
    host.run("cat > /tmp/other.crt", stdin=host.run(f"cat {OURS}/ca.crt"))
    untrusted = f"host=db1 user=app dbname=app sslmode=verify-full sslrootcert={OURS}/ca.crt passfile=/tmp/passwords"
    assert "certificate verify failed" in host.run(f"psql -X -c 'SELECT 1' '{untrusted}' 2>&1 || true")


def test_the_standby_follows_and_refuses_writes(servers: Servers) -> None:
    assert servers.sql("db1", "SELECT application_name, state, sync_state FROM pg_stat_replication;") == "db2|streaming|async"
    assert servers.sql("db1", "SELECT slot_name, active, wal_status FROM pg_replication_slots;") == "db2|t|reserved"
    target = servers.sql("db1", "INSERT INTO marks VALUES (2); SELECT pg_current_wal_lsn();", "app")
    for _attempt in range(100):
        if servers.sql("db2", f"SELECT pg_last_wal_replay_lsn() >= '{target}';") == "t":
            break
        time.sleep(0.1)
    assert servers.log_in("db2", "SELECT count(*) FROM marks;") == "2"
    assert "read-only transaction" in servers.log_in("db2", "INSERT INTO marks VALUES (3);")
    assert servers.sql("db1", "SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size';") != "-1"


def test_neither_passwords_nor_verifiers_are_in_any_log(servers: Servers) -> None:
    for host in servers.hosts.values():
        log = host.run("(cat /var/log/postgresql/*.log; journalctl --no-pager --quiet; cat /var/log/apt/* 2>/dev/null || true) | tr -cd '\\11\\12\\40-\\176'")
        assert "connection authenticated" in log or "statement:" in log
        assert "SCRAM-SHA-256$" not in log
        assert [name for name, password in servers.passwords.items() if password[:32] in log] == []


def test_after_a_reboot_all_is_up_and_nothing_is_to_be_done(servers: Servers) -> None:
    for host in servers.hosts.values():
        host.reboot()
    run = servers.run().ok()
    assert servers.plans(run) == nothing(servers)
    assert servers.log_in("db1", "SELECT count(*) FROM marks;") == "2"


EXPIRED = f"""openssl req -new -key {OURS}/server.key -subj /CN=db > /tmp/s.csr
printf 'subjectAltName=DNS:%s,IP:%s' $(hostname) $(hostname -I | cut -d' ' -f1) > /tmp/s.ext
openssl x509 -req -in /tmp/s.csr -CA {OURS}/ca.crt -CAkey {OURS}/ca.key -set_serial 7 -days 0 -extfile /tmp/s.ext > {OURS}/server.crt 2>/dev/null
rm /tmp/s.*"""
# What somebody does on a host by hand while the server runs, and the field by which the audit tells it. ETC and DATA are the cluster's folders.
FAULTS = {
    "an authority's key of another account": (f"chown postgres {OURS}/ca.key", "owner"),
    "an expired certificate": (EXPIRED, "valid until"),
    "ALTER SYSTEM": ("SQL ALTER SYSTEM SET work_mem = '1GB'; SELECT pg_reload_conf();", "work_mem"),
    "ALTER SYSTEM that waits for a restart": ("SQL ALTER SYSTEM SET max_connections = 50; SELECT pg_reload_conf();", "max_connections"),
    "a lower level of the log, from the next start on": ("SQL ALTER SYSTEM SET wal_level = 'minimal';", "wal_level"),
    "a line in postgresql.conf": ("echo 'fsync = off' >> ETC/postgresql.conf", "fsync"),
    "a later file": ("echo \"ssl_min_protocol_version = 'TLSv1'\" > ETC/conf.d/zzz.conf; chown postgres: ETC/conf.d/zzz.conf", "ssl_min_protocol_version"),
    "our file changed": ("sed -i '/^max_wal_size/d' ETC/conf.d/zz-paas-hardening.conf", "max_wal_size"),
    "a line for the world": ("echo 'host all all 0.0.0.0/0 md5' >> ETC/pg_hba.conf", '["host all all 0.0.0.0/0 md5"]'),
    "a trust line": ("sed -i '1i local all all trust' ETC/pg_hba.conf", "local all all trust"),
    "a line that is gone": ("sed -i '/reader/d' ETC/pg_hba.conf", "reader"),
    "a file of access that all can write": ("chmod 666 ETC/pg_hba.conf", "mode"),
    "a main file that all can write": ("chmod 666 ETC/postgresql.conf", "mode"),
    "a role that became superuser": ("SQL ALTER ROLE app SUPERUSER;", "rights"),
    "a role with another password": ("SQL ALTER ROLE app PASSWORD 'guess me if you can';", "password"),
    "a role with a limit": ("SQL ALTER ROLE reader CONNECTION LIMIT 1;", "connection limit"),
    "a role that may run programs": ("SQL GRANT pg_execute_server_program TO reader;", "member of"),
    "a database for everybody": ("SQL GRANT CONNECT ON DATABASE app TO PUBLIC;", "may enter"),
    "a database of another owner": ("SQL ALTER DATABASE app OWNER TO postgres;", "owner"),
    "a schema for everybody": ("SQL \\c app\nGRANT CREATE ON SCHEMA public TO PUBLIC;", "schema public"),
    "an extension that is gone": ("SQL \\c app\nDROP EXTENSION IF EXISTS pgcrypto;", "extension pgcrypto"),
    "packages that make clusters": ("rm -f /etc/postgresql-common/createcluster.d/paas-hardening.conf", "content"),
    "a disk that is not mounted at boot": ("systemctl --quiet disable var-lib-postgresql.mount", "at boot"),
}


def seed(servers: Servers, name: str, command: str) -> None:
    major = HOSTS[name]
    if command.startswith("SQL "):
        servers.sql(name, command[4:])
    else:
        servers.hosts[name].run(command.replace("ETC", f"/etc/postgresql/{major}/main").replace("DATA", f"/var/lib/postgresql/{major}/main"))


@pytest.mark.parametrize("name", ["db1", "db3"])
def test_every_fault_is_named_by_the_audit_and_mended(servers: Servers, name: str, measured: Measured) -> None:
    for command, _field in FAULTS.values():
        seed(servers, name, command)
    limit, hosts = ("pair", PAIR) if name == "db1" else (name, [name])
    audit = servers.run("--limit", limit, postgres_server_mode="audit").ok()
    fields = [change["field"] for change in servers.result(audit, name)["plan"]]
    unnamed = [fault for fault, (_command, field) in FAULTS.items() if not any(field in told for told in fields)]
    assert unnamed == [], fields
    count = len(FAULTS)
    measured(figures.at_least(f"faults of PostgreSQL named, {name}", count - len(unnamed), f"of {count}", count))
    assert {"would-fix"} <= statuses(servers.result(audit, name)) <= {"would-fix", "pass"}
    done = servers.run("--limit", limit).ok()
    assert servers.plans(done, [name]) == servers.plans(audit, [name])
    assert "restarted" not in fields
    assert servers.plans(servers.run("--limit", limit).ok(), hosts) == nothing(servers, hosts)
    assert servers.log_in(name, "SELECT current_user;", client="db1" if name == "db3" else "db3") == "app"
    assert servers.hosts[name].run(f"stat -c %a {OURS}/server.key").strip() == "600"


def test_a_value_in_force_that_is_wrong_is_mended_by_a_restart_and_only_if_that_is_allowed(servers: Servers) -> None:
    seed(servers, "db3", "SQL ALTER SYSTEM SET max_wal_senders = 5;")
    servers.hosts["db3"].run("systemctl restart postgresql@17-main")
    waiting = servers.run("--limit", "db3", postgres_server_restart="never").ok()
    assert findings(servers.result(waiting, "db3"))["settings"]["reasons"] == ["max_wal_senders waits for a restart."]
    assert servers.plans(servers.run("--limit", "db3", postgres_server_restart="never").ok(), ["db3"]) == {"db3": []}
    done = servers.run("--limit", "db3").ok()
    assert "restarted" in [change["field"] for change in servers.plans(done, ["db3"])["db3"]]
    assert servers.sql("db3", "SHOW max_wal_senders;") == "10"


def test_settings_that_the_server_cannot_start_with_are_taken_back(servers: Servers) -> None:
    refused = servers.run("--limit", "db3", postgres_server_settings={"shared_buffers": "64MB", "work_mem": "lots"})
    assert (refused.status, "The server does not take the settings" in refused.output) == (2, True), refused.output
    failed = servers.run("--limit", "db3", postgres_server_settings={"shared_buffers": "64MB", "shared_preload_libraries": "no_such_library"})
    assert (failed.status, "It runs again, with the settings that it had" in failed.output) == (2, True), failed.output
    assert servers.sql("db3", "SHOW shared_preload_libraries;") == ""
    assert servers.plans(servers.run("--limit", "db3").ok(), ["db3"]) == {"db3": []}


# While the server is down.
DOWN = {
    "a key that others can read": (f"chmod 644 {OURS}/server.key", "mode"),
    "the server stopped": ("systemctl stop postgresql@17-main", "running"),
    "not started at boot": ("echo manual > ETC/start.conf; systemctl --quiet disable postgresql", "at boot"),
    "the disk not mounted": ("umount /var/lib/postgresql", "mounted"),
    "the unit of the disk gone": ("rm /etc/systemd/system/var-lib-postgresql.mount; systemctl daemon-reload", "unit"),
    "our settings not read": ("sed -i '/^include_dir/d' ETC/postgresql.conf", "include_dir"),
    "our settings spoilt": ("echo \"jit = 'off'\" >> ETC/conf.d/zz-paas-hardening.conf", "content"),
}


def test_a_host_that_lost_its_disk_and_its_server_gets_both_back(servers: Servers) -> None:
    for command, _field in DOWN.values():
        seed(servers, "db3", command)
    audit = servers.run("--limit", "db3", postgres_server_mode="audit").ok()
    fields = [change["field"] for change in servers.plans(audit, ["db3"])["db3"]]
    assert [fault for fault, (_command, field) in DOWN.items() if field not in fields] == []
    assert findings(servers.result(audit, "db3"))["roles"]["status"] == "unknown"
    done = servers.run("--limit", "db3").ok()
    assert servers.plans(done, ["db3"])["db3"][: len(fields)] == servers.plans(audit, ["db3"])["db3"]
    assert servers.plans(servers.run("--limit", "db3").ok(), ["db3"]) == {"db3": []}
    servers.hosts["db3"].reboot()
    assert servers.plans(servers.run("--limit", "db3").ok(), ["db3"]) == {"db3": []}


# What is left to a person: the words by which it is told, and how the person mends it.
LEFT = {
    "There is a second cluster, 17/other on port 5433": ("pg_createcluster -p 5433 17 other", "pg_dropcluster 17 other"),
    "The role boss is not declared, and has SUPERUSER": ("SQL CREATE ROLE boss SUPERUSER;", "SQL DROP ROLE boss;"),
    "The password of the role lazy can be guessed": ("SQL CREATE ROLE lazy LOGIN PASSWORD 'lazy';", "SQL DROP ROLE lazy;"),
    "The password of the role late is kept as MD5": (
        "SQL SET password_encryption = 'md5'; CREATE ROLE late LOGIN PASSWORD 'whatever';",
        "SQL DROP ROLE late;",
    ),
    "The slot forgotten keeps the log for nobody": (
        "SQL SELECT pg_create_physical_replication_slot('forgotten');",
        "SQL SELECT pg_drop_replication_slot('forgotten');",
    ),
    "The server does not understand /etc/postgresql/17/main/conf.d/aa.conf line 1": (
        "echo 'no_such_setting = 1' > ETC/conf.d/aa.conf; chown postgres: ETC/conf.d/aa.conf",
        "rm ETC/conf.d/aa.conf",
    ),
    "max_files_per_process waits for a restart": (
        "SQL ALTER SYSTEM SET max_files_per_process = 500; SELECT pg_reload_conf();",
        "SQL ALTER SYSTEM RESET max_files_per_process; SELECT pg_reload_conf();",
    ),
    "The cluster has no checksums": (
        "systemctl stop postgresql@17-main; su postgres -c '/usr/lib/postgresql/17/bin/pg_checksums --disable DATA' && systemctl start postgresql@17-main",
        "systemctl stop postgresql@17-main; su postgres -c '/usr/lib/postgresql/17/bin/pg_checksums --enable DATA' && systemctl start postgresql@17-main",
    ),
}


def test_what_is_not_ours_is_named_and_left_to_a_person(servers: Servers) -> None:
    servers.run("--limit", "db3").ok()
    # The one that stops the server comes first: what waits for a restart is to wait.
    for command, _mend in reversed(list(LEFT.values())):
        seed(servers, "db3", command)
    run = servers.run("--limit", "db3").ok()
    result = servers.result(run, "db3")
    told = " ".join(reason for finding in result["findings"] for reason in finding["reasons"])
    assert [words for words in LEFT if words not in told] == []
    assert [change for change in result["plan"] if change["field"] != "reloaded"] == []
    assert "pg_dropcluster --stop 17 other" in run.output
    assert servers.hosts["db3"].run("pg_lsclusters --no-header | wc -l").strip() == "2"
    for _command, mend in LEFT.values():
        seed(servers, "db3", mend)
    servers.run("--limit", "db3").ok()
    again = servers.run("--limit", "db3").ok()
    assert (servers.plans(again, ["db3"]), statuses(servers.result(again, "db3"))) == ({"db3": []}, {"pass"})


OWN = "/etc/ssl/own"
# An authority, and a certificate by it of so many days, as a company's own programs would bring them.
AUTHORITY = f"""rm -rf {OWN}; mkdir {OWN} && cd {OWN}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 100 -subj /CN=company \\
    -addext keyUsage=critical,keyCertSign 2>/dev/null
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -subj /CN=db3 -out server.csr 2>/dev/null
printf 'subjectAltName=DNS:db3,IP:%s\\nsubjectKeyIdentifier=hash\\nauthorityKeyIdentifier=keyid' $(hostname -I | cut -d' ' -f1) > server.ext
chmod 644 server.key"""
SIGNED = f"cd {OWN} && openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days DAYS -extfile server.ext -out server.crt 2>/dev/null"


def test_a_certificate_of_ones_own_is_used_and_never_replaced(servers: Servers) -> None:
    host = servers.hosts["db3"]
    own = {f"postgres_server_tls_{part}": f"{OWN}/{file}" for part, file in (("certificate", "server.crt"), ("key", "server.key"), ("authority", "ca.crt"))}
    servers.run("--limit", "db3").ok()
    host.run(f"{AUTHORITY}\n{SIGNED.replace('DAYS', '90')}")
    done = servers.run("--limit", "db3", **own).ok()
    assert {"mode", "owner", "ssl_cert_file", "ssl_key_file", "reloaded"} == {change["field"] for change in servers.plans(done, ["db3"])["db3"]}
    assert host.run(f"stat -c '%a %U' {OWN}/server.key").split() == ["600", "postgres"]
    assert servers.log_in("db3", "SELECT 1;", client="db1", ca=OWN) == "1"
    assert "certificate verify failed" in servers.log_in("db3", "SELECT 1;", client="db1")
    assert servers.plans(servers.run("--limit", "db3", **own).ok(), ["db3"]) == {"db3": []}
    host.run(SIGNED.replace("DAYS", "20"))
    late = servers.run("--limit", "db3", **own).ok()
    tls = findings(servers.result(late, "db3"))["tls"]
    assert (tls["status"], [change["field"] for change in servers.plans(late, ["db3"])["db3"]]) == ("fail", ["reloaded"])
    assert "valid until: expires on" in tls["reasons"][0]
    servers.run("--limit", "db3").ok()
    assert servers.log_in("db3", "SELECT 1;", client="db1") == "1"
    assert servers.plans(servers.run("--limit", "db3").ok(), ["db3"]) == {"db3": []}


def test_what_cannot_be_meant_is_refused_before_anything_is_touched(servers: Servers) -> None:
    for variables, words in (
        ({"postgres_server_access": [{"database": "app", "role": "app", "network": "0.0.0.0/0"}]}, "access: network is 0.0.0.0/0: everybody"),
        ({"postgres_server_version": 16}, "upgrades move data"),
        ({"postgres_server_addresses": ["192.0.2.1"]}, "192.0.2.1 is no address of this host"),
        ({"postgres_server_addresses": ["0.0.0.0"]}, "every address"),
        ({"postgres_server_data_disk": "/dev/vdz"}, "there is no such disk"),
        ({"postgres_server_settings": {"fsync": False}}, "power cut"),
    ):
        run = servers.run("--limit", "db3", **variables)
        assert (run.status, words in run.output) == (2, True), run.output
    assert servers.plans(servers.run("--limit", "db3").ok(), ["db3"]) == {"db3": []}


def test_a_disk_that_holds_something_is_never_formatted(servers: Servers) -> None:
    host = servers.hosts["db3"]
    host.run("systemctl stop postgresql@17-main && umount /var/lib/postgresql && xfs_admin -L somebody /dev/vdb >/dev/null")
    run = servers.run("--limit", "db3")
    assert (run.status, "/dev/vdb is not empty: it holds xfs" in run.output) == (2, True), run.output
    host.run("xfs_admin -L postgresql /dev/vdb >/dev/null")
    servers.run("--limit", "db3").ok()
    assert servers.plans(servers.run("--limit", "db3").ok(), ["db3"]) == {"db3": []}


def test_a_primary_is_not_made_a_standby_by_mistake(servers: Servers) -> None:
    run = servers.run("--limit", "pair", postgres_server_primary="db2")
    assert run.status == 2
    assert "This host is a standby, and is wanted as a primary" in run.output
    assert servers.sql("db1", "SELECT pg_is_in_recovery();") == "f"
