"""A PostgreSQL on a real host (Debian 13, its own pgBackRest): archived, kept, proved to a promised place in its log, drilled, lost, and brought back.

The tests tell one story, in this order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests import labs
from tests.backup.archive_site import ARCHIVE, REPOSITORY, Archive
from tests.contract.playbook import Run

TABLE = "CREATE TABLE IF NOT EXISTS ledger (client int, number int, PRIMARY KEY (client, number));\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Archive]:
    with labs.hosts(["db:trixie"], report=report, purpose="pgb") as fleet:
        made = Archive(fleet, tmp_path_factory.mktemp("archive"))
        made.prepare()
        yield made


def result(run: Run) -> Mapping[str, Any]:
    return run.ok().result("Do")


def failure(run: Run) -> Mapping[str, Any]:
    return run.result("Do")


def test_the_roles_make_a_server_that_archives(site: Archive) -> None:
    site.roles().ok()
    assert site.sql("SHOW archive_mode", "postgres") == "on"
    assert '"cipher":"aes-256-cbc"' in site.pgbackrest("--output=json info")
    assert site.roles().ok().recap()["changed"] == 0
    site.sql("CREATE DATABASE app", "postgres")
    site.sql(TABLE + "INSERT INTO ledger SELECT 1000, n FROM generate_series(1, 50000) n;")


def test_a_point_is_taken_and_proved_once(site: Archive) -> None:
    rows = {"app": {"public.ledger": 50000}}
    predicted = result(site.keep("--check", rows=rows))
    assert site.backups() == []
    begun = time.monotonic()
    done = result(site.keep(rows=rows))
    print(f"kept and proved in {time.monotonic() - begun:.1f} s: {done['point']['proofs']['postgres']['steps']}")
    assert (done["plan"], done["proof"]["verdict"]) == (predicted["plan"], "pass")
    about = done["point"]["kinds"]["postgres"]
    assert (about["kind"], about["holes"], [about["label"]]) == ("full", [], site.backups())
    whats = [check["what"] for check in done["proof"]["checks"]]
    assert "pages with a wrong checksum" in whats
    assert "rows of public.ledger in app" in whats
    assert any("B-tree" in what for what in whats)
    again = result(site.keep(max_age="1h", rows=rows))
    assert (again["changed"], again["plan"]) == (False, [])
    refused = failure(site.keep(rows={"app": {"public.none": 1}}))
    assert refused["failure"]["reason"] == "Invalid"


def test_no_secret_is_shown(site: Archive) -> None:
    """The pass phrase is looked for while a point is made: in every command line, then in logs, units, results and the catalogue."""
    site.host.run("cat > /srv/watch.sh; systemd-run --quiet --unit=watch bash /srv/watch.sh", stdin=WATCH)
    run = site.keep()
    site.host.run("systemctl stop watch")
    assert result(run)["changed"]
    lines = site.host.run("sort -u /srv/commands")
    assert "pgbackrest" in lines
    assert "restore" in lines
    places = "/srv/commands /var/log /etc/systemd /run/systemd /var/backups/paas /var/lib/postgresql"
    found = site.host.run(f"journalctl --no-pager > /srv/journal; grep -rlF -f /etc/paas/pass {places} /srv/journal || true", seconds=120)
    assert found == ""
    assert site.passphrase not in str(run)


# Every command line there is, many times a second.
WATCH = "while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' ; echo; sleep 0.05; done >> /srv/commands\n"


def test_points_stand_on_each_other_and_go_together(site: Archive) -> None:
    kept = [result(site.keep())["point"] for _ in range(2)]
    assert [point["kinds"]["postgres"]["kind"] for point in kept] == ["incr", "incr"]
    assert kept[1]["parents"][-1] == kept[0]["identifier"]
    before = site.backups()
    # One is kept, and with it all that it stands on.
    done = result(site.keep(retention={"last": 1}))
    assert site.backups()[:-1] == before
    assert [entry["kept"] for entry in done["retention"]] == [True] * len(done["retention"])
    # A new full one stands alone: what was before goes, the log before it with it.
    done = result(site.keep(retention={"last": 1}, full_age="1s"))
    assert site.backups() == [done["point"]["kinds"]["postgres"]["label"]]
    oldest = site.host.run(f"cd {ARCHIVE}/archive/main/17-1 && ls */ | grep -E '^[0-9A-F]{{24}}-' | sort | head -1")
    assert oldest[:24] >= done["point"]["kinds"]["postgres"]["first"]
    assert result(site.drill())["proof"]["verdict"] == "pass"


def test_what_somebody_made_by_hand_stays_and_what_was_left_behind_goes(site: Archive) -> None:
    site.pgbackrest("--type=full --no-expire-auto backup")
    by_hand = site.backups()[-1]
    # A run that was killed between its backup and its point leaves a backup with our mark.
    identity = result(site.do("workflow_backup_info"))["repository"]["identity"]
    site.pgbackrest(f"--type=incr --no-expire-auto --annotation=paas-hardening={identity[:12]}-gone backup")
    left = site.backups()[-1]
    done = result(site.keep())
    assert left not in site.backups()
    assert by_hand in site.backups()
    assert done["proof"]["verdict"] == "pass"


FLIP = "import os, sys; f = open(sys.argv[1], 'r+b'); f.seek(os.path.getsize(sys.argv[1]) // 2); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 1]))"
CUT = "import os, sys; os.truncate(sys.argv[1], os.path.getsize(sys.argv[1]) // 2)"
ZERO = "import os, sys; n = os.path.getsize(sys.argv[1]); open(sys.argv[1], 'r+b').write(bytes(n))"


@pytest.mark.parametrize("defect", ["flip", "cut", "zero", "gone"])
@pytest.mark.parametrize("place", ["first", "middle", "last", "files", "manifest"])
def test_every_defect_of_the_repository_is_red(site: Archive, place: str, defect: str) -> None:
    path = _part(site, place)
    keep = f"cp -a {path} /srv/kept"
    harm = f"rm {path}" if defect == "gone" else f"python3 - {path}"
    site.host.run(f"{keep} && {harm}", stdin={"flip": FLIP, "cut": CUT, "zero": ZERO}.get(defect))
    try:
        assert failure(site.drill())["failure"]["reason"] in ("NotProven", "Failure"), (place, defect)
    finally:
        site.host.run(f"cp -a /srv/kept {path} && rm /srv/kept")


def _part(site: Archive, place: str) -> str:
    """A file of the newest point: of its log, of its backup, or of what pgBackRest says of them."""
    about = result(site.do("workflow_backup_info", verify="none"))["newest"]["kinds"]["postgres"]
    segments = site.host.run(f"cat $(ls -d {REPOSITORY}/points/* | tail -1)/postgres/segments").split()
    if place in ("first", "middle", "last"):
        name = {"first": segments[0], "middle": segments[len(segments) // 2], "last": segments[-1]}[place]
        return f"{ARCHIVE}/archive/main/17-1/{name[:16]}/{name}"
    if place == "manifest":
        return f"{ARCHIVE}/backup/main/{about['label']}/backup.manifest"
    return site.host.run(f"find {ARCHIVE}/backup/main/{about['label']} -type f -name '*.zst' -o -type f -path '*/bundle/*' | xargs ls -S | head -1").strip()
