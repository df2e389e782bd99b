"""A PostgreSQL on a real host (Debian 13, its own pgBackRest): archived, kept, proved to a promised place in its log, drilled, lost, and brought back.

The tests tell one story, in this order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.kind import SEGMENTS
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.receiver import UNIT
from tests import labs
from tests.backup.archive_site import ARCHIVE, AS_POSTGRES, DATA, PASS, RECEIVED, REPOSITORY, Archive, opened
from tests.perf import figures
from tests.proof import Measured

# Every command line there is, many times a second.
WATCH = "while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' ; echo; sleep 0.05; done >> /srv/commands\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Archive]:
    with opened(tmp_path_factory.mktemp("archive"), report) as made:
        yield made


def well(result: Mapping[str, Any]) -> Mapping[str, Any]:
    assert not result.get("failed"), (result["msg"], result.get("exception", ""))
    return result


def reason(result: Mapping[str, Any]) -> str:
    assert result.get("failed"), result
    return str(result["failure"]["reason"])


def segments(site: Archive) -> list[str]:
    """The names of the segments in the archive, without what pgBackRest puts behind them."""
    names = site.host.run(f"find {ARCHIVE}/archive -type f -printf '%f\\n'").split()
    return sorted(name[:24] for name in names if name[24:25] == "-")


def test_the_roles_make_a_server_that_archives(site: Archive) -> None:
    site.roles().ok()
    assert site.sql("SHOW archive_mode", "postgres") == "on"
    assert '"cipher":"aes-256-cbc"' in site.pgbackrest("--output=json info")
    # The second run looks at what there is, and ends no segment of the log to see it come.
    before = site.switches()
    assert before > 0
    assert site.roles().ok().recap()["changed"] == 0
    assert site.switches() == before
    # What does not fit together is tried all the same.
    site.sql("SELECT pg_stat_reset_shared('archiver')", "postgres")
    site.roles().ok()
    assert site.switches() > before
    assert site.sql("SELECT slot_name FROM pg_replication_slots", "postgres") == "receiver"
    site.have_ledger()


def test_one_that_is_too_old_is_refused_before_it_is_installed(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> None:
    with labs.hosts(["db:bookworm"], report=report, purpose="pgold") as fleet:
        # A short name: SSH puts its socket there, whose path may have 107 characters.
        old = Archive(fleet, tmp_path_factory.mktemp("old"))
        old.prepare()
        # All that the role asks before it looks at pgBackRest.
        line = "15 main 5432 online postgres /var/lib/postgresql/15/main /var/log/postgresql.log"
        old.host.run("useradd --system postgres; cat > /usr/local/bin/pg_lsclusters; chmod 755 /usr/local/bin/pg_lsclusters", stdin=f"#!/bin/sh\necho {line}\n")
        for arguments in (("--check",), ()):
            run = old.roles(*arguments, names=["postgres_archive"])
            # Before the lists of packages were ever fetched, nothing is known, and a prediction leaves them alone.
            assert run.status == (0 if arguments else 2), run.output
        assert "is what the sources of this host have, and is too old" in run.output
        assert "Debian 13 has it" in run.output
        assert old.host.run("dpkg-query -W -f '${Status}' pgbackrest 2>&1 || true").find("install ok") < 0


def test_a_point_is_taken_and_proved_once(site: Archive, measured: Measured) -> None:
    postgres = {"engine": "pgbackrest", "rows": {"app": {"public.ledger": 50000}}}
    given = {"kinds": ["postgres"], "custody": "reported", "max_age": "1h", "postgres": postgres}
    predicted = site.do("workflow_backup", "--check", **given).ok().result("Do")
    assert site.backups() == []
    done = site.do("workflow_backup", **given).ok().result("Do")
    note = str(done["point"]["proofs"]["postgres"]["steps"])
    measured(figures.told("a server backed up by pgBackRest is back after", done["rto_seconds"], "s", note))
    assert (done["plan"], done["proof"]["verdict"]) == (predicted["plan"], "pass")
    about = done["point"]["kinds"]["postgres"]
    assert (about["kind"], about["holes"], [about["label"]]) == ("full", [], site.backups())
    whats = [check["what"] for check in done["proof"]["checks"]]
    assert {"pages with a wrong checksum", "rows of public.ledger in app", "rows that were written last before the promise"} <= set(whats)
    assert any("B-tree" in what for what in whats)
    begun = time.monotonic()
    again = well(site.keep(max_age="1h"))
    measured(figures.told("pgBackRest, with a fresh point", time.monotonic() - begun, "s", "the way to the host with it"))
    assert (again["changed"], again["plan"]) == (False, [])


def test_no_secret_is_shown(site: Archive) -> None:
    """The pass phrase is looked for while a point is made: in every command line, then in logs, units, results and the catalogue."""
    site.host.run("cat > /srv/watch.sh; systemd-run --quiet --unit=watch bash /srv/watch.sh", stdin=WATCH)
    done = well(site.keep())
    site.host.run("systemctl stop watch")
    lines = site.host.run("sort -u /srv/commands")
    assert "pgbackrest backup" in lines
    assert "archive-get" in lines
    places = "/srv/commands /var/log /etc/systemd /run/systemd /var/backups/paas /var/lib/postgresql"
    found = site.host.run(f"journalctl --no-pager > /srv/journal; grep -rlaF -f {PASS} {places} /srv/journal || true", seconds=120)
    assert found == ""
    assert site.passphrase not in str(done)
    # The search finds what is there.
    assert site.host.run(f"grep -laF -f {PASS} /etc/pgbackrest.conf").strip() == "/etc/pgbackrest.conf"


def test_what_cannot_be_trusted_is_refused(site: Archive) -> None:
    assert reason(site.keep(rows={"app": {"public.none": 1}})) == "Invalid"
    assert reason(site.keep(rows={"app": {"public.ledger": 10**9}})) == "NotProven"
    site.host.run("printf '#!/bin/sh\necho pgBackRest 2.45\n' > /srv/old; chmod 755 /srv/old")
    refused = site.keep(pgbackrest="/srv/old")
    assert (reason(refused), "older than 2.55" in refused["msg"]) == ("Refused", True)
    for harm, wanted in (
        ("chmod 644 {}", "Refused"),
        ("sed -i 's/^start-fast/archive-push-queue-max=1GiB\\n&/' {}", "Refused"),
        ("sed -i 's/cipher-pass=/&x/' {}", "NotProven"),
        ("sed -i 's/^.main./[other]/' {}", "Invalid"),
    ):
        site.host.run(f"cp -a /etc/pgbackrest.conf /srv/conf; chmod 640 /srv/conf; {harm.format('/srv/conf')}")
        assert reason(site.keep(config="/srv/conf")) == wanted, harm
    site.host.run(
        "cd /srv && sed 's/^repo1-cipher.*//; s#^repo1-path=.*#repo1-path=/srv/plain#' /etc/pgbackrest.conf > conf; chgrp postgres conf; chmod 640 conf"
    )
    site.host.run(f"install -d -o postgres /srv/plain; {AS_POSTGRES} pgbackrest --config=/srv/conf --stanza=main stanza-create")
    refused = site.keep(config="/srv/conf")
    assert (reason(refused), "not encrypted" in refused["msg"]) == ("Refused", True)


def test_the_timer_makes_points_in_its_confinement(site: Archive) -> None:
    """What systemd starts may write to no other place than it needs, and tells Prometheus what became of it."""
    site.host.run("mkdir -p /srv/metrics")
    schedule = {"name": "db", "on_calendar": "daily", "metrics_file": "/srv/metrics/paas.prom"}
    given = {"kinds": ["postgres"], "custody": "reported", "max_age": "1s", "postgres": {"engine": "pgbackrest"}}
    site.do("workflow_backup", state="scheduled", schedule=schedule, **given).ok()
    before = len(site.look()["points"])
    site.host.run("systemctl start paas-hardening-backup-db.service || journalctl -u paas-hardening-backup-db --no-pager | tail -5", seconds=300)
    points = site.look()["points"]
    assert len(points) == before + 1, site.host.run("journalctl -u paas-hardening-backup-db --no-pager | tail -5")
    told = site.host.run("cat /srv/metrics/paas.prom")
    assert f'paas_backup_run_success{{repository="{REPOSITORY}"}} 1' in told
    assert f'paas_backup_point_timestamp_seconds{{repository="{REPOSITORY}",kind="postgres"}} ' in told
    site.host.run("systemctl disable --quiet --now paas-hardening-backup-db.timer")


def test_points_stand_on_each_other_and_go_together(site: Archive) -> None:
    kept = [well(site.keep())["point"] for _ in range(2)]
    assert [point["kinds"]["postgres"]["kind"] for point in kept] == ["incr", "incr"]
    assert kept[1]["parents"][-1] == kept[0]["identifier"]
    before = site.backups()
    # One is kept, and with it all that it stands on.
    done = well(site.keep(retention={"last": 1}))
    assert site.backups()[:-1] == before
    assert [entry["kept"] for entry in done["retention"]] == [True] * len(done["retention"])
    # A new full one stands alone: what was before goes, the log before it with it.
    done = well(site.keep(retention={"last": 1}, full_age="1s"))
    about = done["point"]["kinds"]["postgres"]
    assert site.backups() == [about["label"]]
    assert min(segments(site)) >= about["first"]
    assert well(site.drill())["proof"]["verdict"] == "pass"


def test_what_somebody_made_by_hand_stays_and_what_was_left_behind_goes(site: Archive) -> None:
    site.pgbackrest("--type=full --no-expire-auto backup")
    by_hand = site.backups()[-1]
    # A run that was killed between its backup and its point leaves a backup with our mark.
    identity = site.look()["repository"]["identity"]
    site.pgbackrest(f"--type=incr --no-expire-auto --annotation=paas-hardening={identity[:12]}-gone backup")
    left = site.backups()[-1]
    well(site.keep())
    assert left not in site.backups()
    assert by_hand in site.backups()


FLIP = "import os, sys; f = open(sys.argv[1], 'r+b'); f.seek(os.path.getsize(sys.argv[1]) // 2); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 1]))"
CUT = "import os, sys; os.truncate(sys.argv[1], os.path.getsize(sys.argv[1]) // 2)"
ZERO = "import os, sys; n = os.path.getsize(sys.argv[1]); open(sys.argv[1], 'r+b').write(bytes(n))"
HARMS = {"flip": FLIP, "cut": CUT, "zero": ZERO, "gone": "import os, sys; os.unlink(sys.argv[1])", "other": ""}


def test_every_defect_of_the_repository_is_red(site: Archive, share: Callable[[int, int], int], measured: Measured) -> None:
    site.host.run("cat > /srv/load.sh; chmod 755 /srv/load.sh", stdin=LOAD)
    site.host.run(f"{AS_POSTGRES} bash /srv/load.sh")
    about = well(site.keep(full_age="1s"))["point"]["kinds"]["postgres"]
    wanted = site.host.run(f"cat $(ls -d {REPOSITORY}/points/* | tail -1)/postgres/{SEGMENTS}").split()
    assert len(wanted) >= 1
    folder = f"{ARCHIVE}/backup/main/{about['label']}"
    # Of an empty file there is nothing that could be spoilt, though it takes some bytes there.
    files = site.host.run(f"find {folder}/pg_data -type f -size +4k | sort").split()
    places = [f"{ARCHIVE}/archive/main/{about['archive']}/{name[:16]}/{name}" for name in dict.fromkeys((wanted[0], wanted[-1]))]
    # Of the manifest there are two.
    places += [f"{folder}/backup.manifest {folder}/backup.manifest.copy", *files[:: max(1, len(files) // share(2, 25))]]
    red = 0
    for place in places:
        for harm, program in HARMS.items():
            site.host.run(f"rm -rf /srv/kept; mkdir /srv/kept; cp -a {place} /srv/kept")
            for path in place.split():
                # The bytes of another file of the same repository, under this name; or a harm to its own.
                other = f"cat {files[0] if path != files[0] else files[1]} > {path}"
                site.host.run(f"python3 - {path}" if program else other, stdin=program or None)
            with site.reading_once():
                found = site.drill()
            site.host.run(f"cp -a /srv/kept/* {place.rpartition('/')[0].split()[-1]}/")
            assert found.get("failed"), (place, harm)
            assert found["failure"]["reason"] == "NotProven", (place, harm, found["msg"])
            red += 1
    count = len(places) * len(HARMS)
    measured(figures.at_least("defects of a repository of pgBackRest that are red", red, f"of {count}", count))
    assert well(site.drill())["proof"]["verdict"] == "pass"


# A few segments of log.
LOAD = """
for n in 1 2 3; do
    psql -X -q -d app -c "CREATE TABLE load AS SELECT n, md5(n::text) FROM generate_series(1, 100000) n; DROP TABLE load; SELECT pg_switch_wal()" >/dev/null
done
"""


def test_a_hole_in_the_log_is_said_and_ends_what_can_be_restored(site: Archive) -> None:
    well(site.keep())
    site.host.run(f"{AS_POSTGRES} bash /srv/load.sh")
    time.sleep(2)
    names = segments(site)
    path = site.host.run(f"find {ARCHIVE}/archive -name '{names[-2]}*'").strip()
    site.host.run(f"mv {path} /srv/hole")
    # pgBackRest's own check sees nothing.
    site.pgbackrest("check")
    done = well(site.keep())
    assert any(names[-2][:24] in problem for problem in done["problems"]), done["problems"]
    assert any(names[-2][:24] in problem["what"] for problem in site.look()["problems"])
    older = site.look()["points"][-2]["identifier"]
    moment = site.sql("SELECT clock_timestamp()", "postgres")
    assert reason(site.restore(point=older, target_time=moment, data_folder="/var/lib/postgresql/17/hole")) == "NotProven"
    assert site.host.run("ls -d /var/lib/postgresql/17/hole* 2>/dev/null || true") == ""
    site.host.run(f"mv /srv/hole {path}")
    assert well(site.keep())["problems"] == []


def test_a_moment_comes_back_in_a_new_place(site: Archive) -> None:
    site.sql("CREATE TABLE moments (name text)")
    well(site.keep())
    site.sql("INSERT INTO moments VALUES ('before')")
    time.sleep(1)
    moment = site.sql("SELECT clock_timestamp()")
    time.sleep(1)
    site.sql("DROP TABLE moments; SELECT pg_switch_wal()")
    time.sleep(2)
    place = "/var/lib/postgresql/17/then"
    assert reason(site.restore(data_folder=place, target_time=moment.partition("+")[0])) == "Invalid"
    assert reason(site.restore(data_folder=place, target_time="2020-01-01 00:00:00+00:00")) == "Refused"
    assert reason(site.restore(data_folder=place, target_time="2100-01-01 00:00:00+00:00")) == "Refused"
    predicted = well(site.restore(check=True, data_folder=place, target_time=moment))
    done = well(site.restore(data_folder=place, target_time=moment))
    assert (done["plan"], done["proof"]["verdict"]) == (predicted["plan"], "pass")
    assert well(site.restore(data_folder=place, target_time=moment))["changed"] is False
    assert site.rows_in(done["restored"]["postgres"]["places"][0], "SELECT name FROM moments") == "before"
    # What runs is never put aside.
    assert reason(site.restore(state="swapped", confirm="db")) == "Refused"
    assert reason(site.restore(state="swapped", confirm="another")) == "Refused"
    site.host.run(f"rm -rf {place}.*")


def test_no_acknowledged_commit_is_lost_with_a_receiver(
    site: Archive, share: Callable[[int, int], int], measured: Measured, report: Callable[[str], None]
) -> None:
    runs, total, lost = share(2, 100), 0, 0
    for number in range(runs):
        site.receive()
        well(site.keep())
        site.sql("TRUNCATE ledger")
        site.host.run("rm -f /srv/out/acknowledged; install -d -o postgres /srv/out")
        site.host.run("systemd-run --quiet --unit=clients --uid=postgres python3 /srv/ledger.py 32 20 /srv/out/acknowledged")
        time.sleep(2 + number % 5 * 0.7)
        site.erase()
        site.host.run(f"for n in $(seq 200); do test -s /srv/out/acknowledged && break; sleep 0.2; done; systemctl stop {UNIT}; true")
        acknowledged = [int(word) for word in site.host.run("cat /srv/out/acknowledged").split()]
        done = well(site.restore(received=RECEIVED, state="swapped", confirm="db"))
        site.begin_anew()
        there = dict(line.split("|") for line in site.sql("SELECT client, count(*) FROM ledger GROUP BY client").splitlines())
        total += sum(acknowledged)
        lost += sum(max(0, number - int(there.get(str(client), 0))) for client, number in enumerate(acknowledged))
        site.host.run(f"rm -rf {DATA}.*")
        report(f"killed and erased {number + 1} of {runs} times: {lost} of {total} acknowledged commits lost")
        if not number:
            measured(figures.told("an erased server is back after", done["rto_seconds"]["postgres"], "s"))
    assert total > 100 * runs
    measured(figures.at_most(f"server killed and erased {runs} times: acknowledged commits lost", lost, f"of {total}", 0))
